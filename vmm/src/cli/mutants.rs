//! `crosswalk mutants`: can it fail? The walker bugs known to history, and which of them a machine
//! proves wrong.

use super::failure::Failure;
use super::machine::{MachineArguments, MachineKind};
use super::output::print;
use super::parse::{DEFAULT_TIME, parse_time};
use crate::campaign::sampler::Sampler;
use crate::mutation::{self, Limit, MutationProgress, Status};
use crate::report::{self, mutants};
use crate::walker::{MUTANTS, UNREACHABLE};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct MutantsArguments {
    /// The machine to run on
    #[arg(long, value_enum, default_value = "auto")]
    machine: MachineKind,
    /// Stop after so many cases
    #[arg(long, conflicts_with = "time", value_parser = clap::value_parser!(u64).range(1..))]
    cases: Option<u64>,
    /// Stop after so long, such as 30s, 5m or 1h [default: 10s]
    #[arg(long = "for", id = "time", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Repeat the run that had this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: MachineArguments,
}

/// 0 when no mutant is missed, else 1.
pub(super) fn run(arguments: &MutantsArguments) -> Result<ExitCode, Failure> {
    let limit = match (arguments.cases, arguments.time) {
        (Some(cases), _) => Limit::Cases(cases),
        (None, time) => Limit::Time(time.unwrap_or(DEFAULT_TIME)),
    };
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let opened = arguments.options.open(arguments.machine)?;
    let (mut machine, why) = (opened.machine, opened.why);
    if !arguments.json {
        let what = format!("random and sequences, seed {seed}");
        print(&report::run::text::heading(machine.identity(), machine.capabilities(), &why, &what));
    }
    let capabilities = machine.capabilities();
    let offered: Vec<_> = capabilities
        .modes
        .iter()
        .filter(|(_, offer)| offer.is_ok())
        .map(|(mode, _)| *mode)
        .collect();
    if offered.is_empty() {
        return Err(Failure::Machine("the machine offers no mode".into()));
    }
    let mut mixture = Sampler::new(seed, &offered, capabilities);
    let bar = ProgressBar::new((MUTANTS.len() + UNREACHABLE.len()) as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} caught  {msg}");
    bar.set_style(style.expect("the template is well-formed"));
    let score = mutation::run(
        machine.as_mut(),
        &mut mixture,
        limit,
        |MutationProgress { cases, caught }| {
            bar.set_position(caught as u64);
            bar.set_message(format!("{cases} cases"));
        },
    )?;
    bar.finish_and_clear();
    print(&if arguments.json {
        mutants::document(machine.as_ref(), seed, &score)
    } else {
        mutants::text(&score)
    });
    Ok(ExitCode::from(u8::from(score.count(Status::Missed) > 0)))
}
