//! `crosswalk check`: the main job.

use super::{Failure, MachineArguments, MachineKind, print};
use crate::campaign::{self, Limit, Plan};
use crate::finding::known::{self, Known};
use crate::generate::RandomBatches;
use crate::machine::{Identity, Machine, ModeOffer};
use crate::report::{self, RunFacts};
use crate::tally::Tally;
use crate::walker::Choice;
use indicatif::{ProgressBar, ProgressStyle};
use mmu_core::PagingMode;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long a run takes when nothing is said.
pub(super) const DEFAULT_TIME: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// The machine to run on
    #[arg(long, value_enum, default_value = "auto")]
    machine: MachineKind,
    /// Paging modes, separated by commas; all that the machine offers if not given
    #[arg(long, value_delimiter = ',', value_parser = parse_mode)]
    mode: Vec<PagingMode>,
    /// Stop after so many cases
    #[arg(long, conflicts_with = "time", value_parser = clap::value_parser!(u64).range(1..))]
    cases: Option<u64>,
    /// Stop after so long, such as 30s, 5m or 1h [default: 10s]
    #[arg(long = "for", id = "time", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Repeat the run that had this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Who predicts: reference, or mutant:ID, a walker with one known mistake; ID+ID: with two
    #[arg(long, default_value = "reference")]
    walker: Choice,
    /// A file of known findings, or none to forgive nothing [default: the one for the machine]
    #[arg(long, value_name = "FILE|none")]
    known: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: MachineArguments,
}

fn parse_mode(text: &str) -> Result<PagingMode, String> {
    PagingMode::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| {
        let names: Vec<_> = PagingMode::ALL.iter().map(|mode| mode.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let problem = || "expected a number and a unit, such as 30s, 5m or 1h".to_owned();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(problem)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(problem()),
    };
    let number: f64 = number.parse().map_err(|_| problem())?;
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(problem)
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let limit = match (arguments.cases, arguments.time) {
        (Some(cases), _) => Limit::Cases(cases),
        (None, time) => Limit::Time(time.unwrap_or(DEFAULT_TIME)),
    };
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let opened = arguments.options.open(arguments.machine)?;
    let (mut machine, why) = (opened.machine, opened.why);
    let (known, forgives) = known_findings(arguments, machine.identity())?;
    let modes = modes(arguments, machine.as_ref())?;
    if !arguments.json {
        print(&report::text::heading(machine.identity(), machine.capabilities(), &why, seed));
    }
    let offered = modes.iter().filter(|(_, offer)| offer.is_ok()).map(|(mode, _)| *mode).collect();
    let plan = Plan {
        source: RandomBatches::new(seed, machine.capabilities().clone(), offered),
        limit,
        walker: arguments.walker,
        known,
        forgives,
    };
    let progress = Progress::start(limit);
    let summary = campaign::run(machine.as_mut(), &plan, |tally| progress.show(tally))?;
    progress.bar.finish_and_clear();
    let facts = RunFacts {
        identity: machine.identity(),
        capabilities: machine.capabilities(),
        modes: &modes,
        seed,
        walker: &arguments.walker.to_string(),
        cpu_seconds: cpu_seconds(),
    };
    print(&if arguments.json {
        report::json::document(&facts, &summary)
    } else {
        report::text::summary(&facts, &summary)
    });
    Ok(ExitCode::from(u8::from(summary.has_unknown_divergence())))
}

/// The known findings, and whether they are forgiven. With `none`, and for walkers that are wrong
/// on purpose, they only lend their names.
fn known_findings(
    arguments: &Arguments,
    machine: &Identity,
) -> Result<(Vec<Known>, bool), Failure> {
    let input = |error: known::KnownError| Failure::Input(error.to_string());
    match &arguments.known {
        Some(path) if path.as_os_str() != "none" => {
            Ok((known::from_file(path).map_err(input)?, arguments.walker.is_reference()))
        }
        asked => {
            let forgives = asked.is_none() && arguments.walker.is_reference();
            Ok((known::shipped(machine.flavour, &machine.beneath).map_err(input)?, forgives))
        }
    }
}

/// Every mode asked for with the reason why it is not run, if it is not.
fn modes(arguments: &Arguments, machine: &dyn Machine) -> Result<Vec<ModeOffer>, Failure> {
    let asked = |mode: &PagingMode| arguments.mode.is_empty() || arguments.mode.contains(mode);
    let modes: Vec<_> =
        machine.capabilities().modes.iter().filter(|(mode, _)| asked(mode)).cloned().collect();
    if modes.iter().any(|(_, offered)| offered.is_ok()) {
        return Ok(modes);
    }
    let reasons: Vec<_> = modes
        .iter()
        .map(|(mode, offered)| {
            format!("{mode}: {}", offered.as_ref().err().map_or("", String::as_str))
        })
        .collect();
    Err(Failure::Machine(format!("none of these modes can be run here: {}", reasons.join("; "))))
}

/// CPU time of this process and its children so far, in seconds.
fn cpu_seconds() -> f64 {
    let seconds = |usage: Usage| {
        let times = [usage.user_time(), usage.system_time()];
        times.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).iter().sum::<f64>()
    };
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .filter_map(|who| getrusage(who).ok())
        .map(seconds)
        .sum()
}

/// A bar on a terminal's standard error, nothing elsewhere.
struct Progress {
    bar: ProgressBar,
    limit: Limit,
}

impl Progress {
    fn start(limit: Limit) -> Self {
        let length = match limit {
            Limit::Cases(cases) => cases,
            Limit::Time(time) => time.as_millis() as u64,
        };
        let bar = ProgressBar::new(length);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}");
        bar.set_style(style.expect("the template is well-formed"));
        Self { bar, limit }
    }

    fn show(&self, tally: &Tally) {
        let (cases, diverged) = (tally.cases(), tally.diverged());
        self.bar.set_position(match self.limit {
            Limit::Cases(_) => cases,
            Limit::Time(time) => self.bar.elapsed().min(time).as_millis() as u64,
        });
        self.bar.set_message(format!("{cases} cases, {diverged} diverged"));
    }
}
