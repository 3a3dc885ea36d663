//! `crosswalk check`: the main job.

use super::failure::Failure;
use super::known::{known_findings, modes};
use super::machine::{Chosen, MachineArguments, MachineKind, Opened};
use super::output::print;
use super::output::show;
use super::parse::{DEFAULT_TIME, parse_mode, parse_time};
use super::predictor::Predictor;
use super::progress::Bar;
use super::replay;
use super::usage::cpu_seconds;
use crate::campaign::journal::{
    Checkpoint, Journal, JournalError, ProgressLine, RunLine, SmallestLine,
};
use crate::campaign::{self, CampaignPlan, CampaignProgress, Observer};
use crate::conformance::process::CommandCandidate;
use crate::conformance::score::CandidateScore;
use crate::finding::known::KnownFinding;
use crate::generate::{Generator, Schedule, Shard};
use crate::report::{self, RunFacts};
use crate::verdict::Verdict;
use crosswalk_case::Case;
use crosswalk_machine::{Machine, ModeOffer};
use mmu_core::{PagingMode, Prediction};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "options of the command line")]
pub(super) struct CheckArguments {
    /// The machine to run on
    #[arg(long, value_enum, default_value = "auto")]
    machine: MachineKind,
    /// Paging modes, separated by commas; all that the machine offers if not given
    #[arg(long, value_delimiter = ',', value_parser = parse_mode)]
    mode: Vec<PagingMode>,
    /// Stop after so many cases, all shards together
    #[arg(long, conflicts_with = "time", value_parser = clap::value_parser!(u64).range(1..))]
    cases: Option<u64>,
    /// Stop after so long, such as 30s, 5m or 1h [default: 10s]
    #[arg(long = "for", id = "time", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Repeat the run that had this seed
    #[arg(long, conflicts_with = "exhaustive")]
    seed: Option<u64>,
    /// Every combination of entry bits, accesses and control bits, to the end if no limit is given
    #[arg(long)]
    exhaustive: bool,
    /// Random cases, steered to what chance seldom shows
    #[arg(long, conflicts_with = "exhaustive")]
    guided: bool,
    /// One of N parts of the run: I from 0 to N-1. Without --exhaustive it needs --seed
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Who predicts: reference; mutant:ID, a walker with one known mistake; ID+ID: with two; or
    /// cmd:PATH, a program that answers cases
    #[arg(long, default_value = "reference")]
    walker: Predictor,
    /// A file of known findings, or none to forgive nothing [default: the one for the machine]
    #[arg(long, value_name = "FILE|none")]
    known: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Keep a journal in this directory, and write the report there, too: JSON and a page of HTML
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Go on with the run in the report's directory, if there is one
    #[arg(long, requires = "report")]
    resume: bool,
    #[command(flatten)]
    options: MachineArguments,
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::Input(error.to_string())
    }
}

pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    match arguments.options.choose(arguments.machine)? {
        Chosen::Machine(opened) => run_on(opened, arguments),
        Chosen::Corpus { why } => replay_instead(&why, arguments),
    }
}

/// Replays the bundled corpus, if nothing was asked that it cannot do.
fn replay_instead(why: &str, arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let asked = [
        (arguments.exhaustive, "--exhaustive"),
        (arguments.guided, "--guided"),
        (arguments.seed.is_some(), "--seed"),
        (arguments.shard.is_some(), "--shard"),
        (arguments.resume, "--resume"),
    ];
    let asked = asked.into_iter().find_map(|(asked, option)| asked.then_some(option));
    if let Some(option) = asked.or_else(|| arguments.options.asked_of_machine()) {
        let problem = format!("{option} needs a machine, and the corpus was recorded before");
        return Err(if arguments.machine == MachineKind::Auto {
            Failure::Machine(format!("no machine: {why}; {problem}"))
        } else {
            Failure::Input(problem)
        });
    }
    let why = if arguments.machine == MachineKind::Auto {
        format!("no machine here: {why}")
    } else {
        why.to_owned()
    };
    replay::bundled(
        &why,
        &replay::What {
            walker: arguments.walker.clone(),
            mode: arguments.mode.clone(),
            cases: arguments.cases,
            known: arguments.known.clone(),
            json: arguments.json,
            report: arguments.report.clone(),
        },
    )
}

fn run_on(opened: Opened, arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    if arguments.resume && matches!(arguments.walker, Predictor::Program(_)) {
        let problem = "--resume: a journal does not keep what a program answered";
        return Err(Failure::Input(problem.into()));
    }
    let candidate = arguments.walker.candidate()?;
    let mut journal = arguments.report.as_deref().map(Journal::new).transpose()?;
    let earlier = earlier(journal.as_ref(), arguments.resume)?;
    let (generator, seed) = generator(arguments, earlier.as_ref())?;
    let (mut machine, why) = (opened.machine, opened.why);
    let known_name = arguments.known.as_deref().map(|path| path.display().to_string());
    let (known, forgives) = known_findings(
        known_name.as_deref(),
        arguments.walker.judge_observation(),
        machine.identity(),
    )?;
    let modes = modes(&arguments.mode, machine.as_ref())?;
    let run = RunLine::new(
        generator,
        seed,
        &modes,
        arguments.cases,
        arguments.walker.to_string(),
        known_name,
        arguments.shard.unwrap_or(Shard::WHOLE),
        (machine.identity(), machine.capabilities()),
    );
    let plan = plan(arguments, generator, &modes, machine.as_ref(), (known, forgives));
    let mut progress = CampaignProgress::start(&plan, machine.capabilities());
    let mut cpu_before = 0.0;
    if let (Some(journal), Some(earlier)) = (&journal, earlier) {
        cpu_before = earlier.progress.cpu_seconds;
        restore(&mut progress, journal, &run, earlier)?;
    }
    if !arguments.json {
        let cases = report::run::text::describe_cases(&run);
        print(&report::run::text::heading(
            machine.identity(),
            machine.capabilities(),
            &why,
            &cases,
        ));
    }
    let cpu_seconds = || cpu_before + cpu_seconds();
    let stop = stop_flag()?;
    let mut desk = RunObserver {
        bar: Bar::start(plan.schedule.about_cases(), plan.time),
        candidate: candidate.map(|candidate| (candidate, CandidateScore::default())),
        journal: journal.as_mut(),
        run: &run,
        cpu_before,
        stop: &stop,
        failed: None,
    };
    campaign::run(machine.as_mut(), &plan, &mut progress, &stop, &mut desk)?;
    let RunObserver { bar, candidate, failed, .. } = desk;
    bar.end();
    if let Some(error) = failed {
        return Err(error.into());
    }
    let complete = !stop.load(Ordering::Relaxed);
    let mut last = record(&run, &progress, cpu_seconds(), complete);
    if let Some(journal) = &mut journal {
        journal.write(&last)?;
    }
    let summary = campaign::finish(machine.as_mut(), &plan, progress)?;
    let facts = RunFacts {
        identity: machine.identity(),
        capabilities: machine.capabilities(),
        modes: &modes,
        run: &run,
        sources: &[],
        covered: &[],
        candidate: candidate.as_ref().map(|(_, score)| score),
        complete,
        cpu_seconds: cpu_seconds(),
    };
    if let Some(journal) = &mut journal {
        last.smallest = SmallestLine::of(&summary.findings);
        last.progress.cpu_seconds = facts.cpu_seconds;
        journal.write(&last)?;
    }
    show(&facts, &summary, arguments.json, arguments.report.as_deref())
}

/// What is done while a run goes on: its progress is shown and kept, and a program is asked beside it.
struct RunObserver<'r> {
    bar: Bar,
    candidate: Option<(CommandCandidate, CandidateScore)>,
    journal: Option<&'r mut Journal>,
    run: &'r RunLine,
    cpu_before: f64,
    stop: &'r AtomicBool,
    failed: Option<JournalError>,
}

impl Observer for RunObserver<'_> {
    fn judged(&mut self, case: &Case, prediction: &Prediction, verdict: &Verdict) {
        if let Some((candidate, score)) = &mut self.candidate {
            score.ask(candidate, case, prediction, verdict);
        }
    }

    fn batch_done(&mut self, progress: &CampaignProgress) {
        self.bar.show(progress);
        let due = self.journal.as_mut().filter(|journal| journal.is_due());
        let seconds = self.cpu_before + cpu_seconds();
        if let Some(journal) = due
            && let Err(error) = journal.write(&record(self.run, progress, seconds, false))
        {
            self.failed = Some(error);
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// What the journal has of a run, to go on with it.
fn earlier(journal: Option<&Journal>, resume: bool) -> Result<Option<Checkpoint>, Failure> {
    let Some(journal) = journal else { return Ok(None) };
    let earlier = if resume || journal.path().exists() { journal.read()? } else { None };
    if earlier.is_some() && !resume {
        return Err(Failure::Input(format!(
            "{}: there is a run already: expected --resume to go on with it, or another directory",
            journal.path().display()
        )));
    }
    Ok(earlier)
}

/// What makes the cases, and from which seed.
fn generator(
    arguments: &CheckArguments,
    earlier: Option<&Checkpoint>,
) -> Result<(Generator, u64), Failure> {
    if arguments.exhaustive {
        return Ok((Generator::Exhaustive, 0));
    }
    let seed = arguments.seed.or(earlier.map(|record| record.run.seed));
    if seed.is_none() && arguments.shard.is_some() {
        let problem = "--shard needs --seed or --exhaustive: all shards must have the same cases";
        return Err(Failure::Input(problem.into()));
    }
    let seed = seed.unwrap_or_else(rand::random);
    let generator =
        if arguments.guided { Generator::Guided(seed) } else { Generator::Random(seed) };
    Ok((generator, seed))
}

fn plan(
    arguments: &CheckArguments,
    generator: Generator,
    modes: &[ModeOffer],
    machine: &dyn Machine,
    (known, forgives): (Vec<KnownFinding>, bool),
) -> CampaignPlan {
    let offered = modes.iter().filter(|(_, offer)| offer.is_ok()).map(|(mode, _)| *mode);
    let offered: Vec<_> = offered.collect();
    let has_an_end = arguments.cases.is_some() || arguments.exhaustive;
    let shard = arguments.shard.unwrap_or(Shard::WHOLE);
    let capabilities = machine.capabilities();
    CampaignPlan {
        schedule: Schedule::new(generator, &offered, capabilities, shard, arguments.cases),
        time: arguments.time.or((!has_an_end).then_some(DEFAULT_TIME)),
        walker: arguments.walker.judge_observation(),
        known,
        forgives,
    }
}

/// Puts a run back to where its journal has it.
fn restore(
    progress: &mut CampaignProgress,
    journal: &Journal,
    run: &RunLine,
    earlier: Checkpoint,
) -> Result<(), Failure> {
    let shards = (run.shard != earlier.run.shard)
        .then(|| format!("expected shard {:?}, found {:?}", run.shard, earlier.run.shard));
    if let Some(difference) = run.difference(&earlier.run).or(shards) {
        return Err(journal.error(Some(1), format!("another run: {difference}")).into());
    }
    progress.turn = earlier.progress.turn;
    progress.elapsed = Duration::try_from_secs_f64(earlier.progress.seconds)
        .map_err(|error| journal.error(Some(2), error.to_string()))?;
    progress.tally = earlier.tally;
    for saved in earlier.findings {
        progress.findings.add_saved(saved).map_err(|problem| journal.error(None, problem))?;
    }
    Ok(())
}

fn record(
    run: &RunLine,
    progress: &CampaignProgress,
    cpu_seconds: f64,
    complete: bool,
) -> Checkpoint {
    Checkpoint {
        run: run.clone(),
        progress: ProgressLine {
            turn: progress.turn,
            seconds: progress.elapsed.as_secs_f64(),
            cpu_seconds,
            complete,
        },
        tally: progress.tally.clone(),
        findings: progress.findings.save(),
        smallest: Vec::new(),
    }
}

/// A flag that the first Ctrl-C or SIGTERM sets, so that the run ends with its report; the second
/// ends the program at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let second =
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop.clone());
        second
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|error| Failure::Machine(format!("signals cannot be caught: {error}")))?;
    }
    Ok(stop)
}
