//! `crosswalk record`: records what a machine does, for those who do not have it.

mod nested;

use super::booter::{Booter, modes_of};
use super::corpus_file::write_corpus;
use super::failure::Failure;
use super::machine::{MachineArguments, MachineKind, OpenedMachine};
use super::modes::{offered, requested};
use super::number::{parse_count, parse_seed};
use super::output::{check_replaceable, finish, print};
use super::progress;
use super::stop_flag::{goes_on, stop_flag, was_stopped};
use crate::campaign::GivenCases;
use crate::campaign::known::KnownSource;
use crate::campaign::sampler::{Sampler, ScheduleRunner, TrialSource};
use crate::corpus::read::CorpusReader;
use crate::corpus::record::{RecordOptions, Recording, record_from};
use crate::corpus::{self, BUNDLED_NAME};
use crate::finding::Findings;
use crate::generate::{CaseName, SequenceUse};
use crate::image::{CasesOfImage, ImagePlan};
use crate::report::corpus::RecordedSection;
use crate::report::document::VerdictWord;
use crate::report::{self, corpus as corpus_report};
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_machine::batch::{arena_of, cannot_run};
use crosswalk_machine::jail::JailReport;
use crosswalk_machine::{Machine, MachineError};
use mmu_core::PagingMode;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RecordArguments {
    /// The file to write: compressed with zstd, or plain text if its name ends in .jsonl
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// The machine to run on
    #[arg(long, default_value = "auto", value_parser = MachineKind::one_of(&MachineKind::RUNNING))]
    machine: MachineKind,
    /// Paging modes, separated by commas [default: all that the machine offers]
    #[arg(long, value_delimiter = ',')]
    mode: Vec<PagingMode>,
    /// Number of cases to try; the simplest cases that show something new are recorded
    #[arg(long, value_name = "N", default_value = "200000", value_parser = parse_count)]
    cases: u64,
    /// Record every case that is tried
    #[arg(long)]
    all: bool,
    /// Record cases of nested paging instead (NPT, EPT), on a machine that runs a guest in its guest
    #[arg(long)]
    nested: bool,
    /// Run the cases of this corpus, each once, instead of drawing some: what `compare` needs of
    /// several machines. bundled is the corpus that comes with the program
    #[arg(long, value_name = "FILE|bundled", conflicts_with_all = ["all", "seed"])]
    cases_of: Option<CorpusName>,
    /// Repeat the recording that had this seed
    #[arg(long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: MachineArguments,
}

impl RecordArguments {
    fn print_heading(
        &self,
        machine: &dyn Machine,
        jail: Option<&JailReport>,
        why: &str,
        seed: u64,
    ) {
        if self.json {
            return;
        }
        let cases = match &self.cases_of {
            Some(corpus) => format!("those of {corpus}"),
            None if self.machine.boots_an_image() => format!("random, seed {seed}"),
            None => format!("random and single, seed {seed}"),
        };
        let heading = report::run::text::heading;
        print(&heading(machine.identity(), machine.capabilities(), jail, why, &cases));
    }
}

/// A corpus, by its file or as the one that comes with the program.
#[derive(Clone, Debug)]
enum CorpusName {
    Bundled,
    File(PathBuf),
}

impl CorpusName {
    /// Its cases. Of those that differ in nothing but the processor the first counts.
    fn distinct_cases(&self) -> Result<Vec<(CaseName, Case)>, Failure> {
        let reader = match self {
            Self::Bundled => CorpusReader::bundled()?,
            Self::File(path) => CorpusReader::open(path)?,
        };
        Ok(corpus::distinct_cases(reader)?)
    }
}

impl FromStr for CorpusName {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(if name == "bundled" { Self::Bundled } else { Self::File(name.into()) })
    }
}

impl fmt::Display for CorpusName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled => f.write_str(BUNDLED_NAME),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Maximum number of cases with `--all`: they must fit into memory.
const MAX_OF_ALL: u64 = 1_000_000;

pub(super) fn run(arguments: &RecordArguments) -> Result<ExitCode, Failure> {
    if arguments.nested {
        return nested::run(arguments);
    }
    if arguments.all && arguments.cases > MAX_OF_ALL {
        let problem = format!("--all: expected --cases {MAX_OF_ALL} at most");
        return Err(Failure::Input(problem));
    }
    // Before the recording, which takes long.
    check_replaceable(&arguments.out)?;

    // Nothing is drawn where the cases are given.
    let is_drawn = arguments.cases_of.is_none();
    let seed = arguments.seed.unwrap_or_else(|| if is_drawn { rand::random() } else { 0 });
    let cases_of = arguments.cases_of.as_ref().map(CorpusName::distinct_cases).transpose()?;
    let mut sections = Vec::new();
    let stop = stop_flag()?;
    if arguments.machine.boots_an_image() {
        sections.push(record_booted(arguments, seed, cases_of.as_deref(), &stop)?);
    } else {
        for options in arguments.options.one_by_one() {
            if goes_on(&stop).is_break() {
                break;
            }
            sections.push(record_on(arguments, &options, seed, cases_of.as_deref(), &stop)?);
        }
    }
    let tried = sections.iter().map(|section| section.recording.source.tried).sum();
    if tried == 0 && goes_on(&stop).is_break() {
        return Err(Failure::Stopped);
    }
    let bytes = write_corpus(&arguments.out, &sections)?;

    let is_stopped = was_stopped(&stop, tried);
    let verdict = if is_stopped { VerdictWord::Incomplete } else { VerdictWord::Done };
    Ok(finish(
        arguments.json,
        verdict.into(),
        || corpus_report::recorded_document(&sections, bytes),
        || corpus_report::recorded_text(&arguments.out, &sections, bytes),
    ))
}

/// Records what one machine does.
fn record_on(
    arguments: &RecordArguments,
    options: &MachineArguments,
    seed: u64,
    cases_of: Option<&[(CaseName, Case)]>,
    stop: &AtomicBool,
) -> Result<RecordedSection, Failure> {
    let OpenedMachine { mut machine, why } = options.open(arguments.machine)?;
    let known = KnownSource::Shipped.load(WalkerSpec::Reference, machine.identity())?;
    let findings = known.collector(WalkerSpec::Reference, machine.capabilities());
    let options = RecordOptions {
        seed,
        modes: offered(&requested(&arguments.mode, machine.as_ref())?),
        cases: arguments.cases,
        all: arguments.all || cases_of.is_some(),
    };

    arguments.print_heading(machine.as_ref(), Some(machine.jail()), &why, seed);

    let (mut source, count): (Box<dyn TrialSource>, u64) = match cases_of {
        None => {
            let capabilities = machine.capabilities();
            let sampler = Sampler::new(options.seed, &options.modes, capabilities);
            (Box::new(sampler), options.cases)
        }
        Some(cases) => {
            let is_wanted = |(_, case): &&(_, Case)| options.modes.contains(&case.mode());
            let cases: Vec<_> = cases.iter().filter(is_wanted).cloned().collect();
            let count = cases.len() as u64;
            (Box::new(GivenCases::new(cases)), count.min(options.cases))
        }
    };
    let record = RecordingRun { count, options: &options, findings: &findings, stop };
    let recording = record.with_bar(source.as_mut(), machine.as_mut())?;
    Ok(RecordedSection {
        identity: machine.identity().clone(),
        capabilities: machine.capabilities().clone(),
        recording,
    })
}

/// Records what an emulator does that boots an image: random cases and sequences, or those of a corpus that fit an
/// image.
fn record_booted(
    arguments: &RecordArguments,
    seed: u64,
    cases_of: Option<&[(CaseName, Case)]>,
    stop: &AtomicBool,
) -> Result<RecordedSection, Failure> {
    let booter = Booter::find(arguments.machine, &arguments.options)?;
    let probe = booter.probe()?;
    let modes = modes_of(&probe.processor, &arguments.mode);
    let mut plan = ImagePlan {
        profile: probe.profile(),
        left_out: probe.lacks() | booter.does_not_survive(),
        skipped: BTreeSet::new(),
        cases: CasesOfImage::Random {
            seed,
            modes: modes.clone(),
            count: arguments.cases,
            sequences: SequenceUse::On,
        },
    };

    let (mut source, count): (Box<dyn TrialSource>, u64) = match cases_of {
        None => {
            let schedule = plan.schedule().expect("random cases have one");
            (Box::new(ScheduleRunner::new(schedule)), arguments.cases)
        }
        Some(cases) => {
            let (offered, profile) = (plan.capabilities(), plan.profile);
            let of_machine = cases.iter().map(|(name, case)| {
                let case = Case { profile, ..case.clone() };
                (*name, case)
            });
            let fitting = of_machine
                .filter(|(_, case)| arena_of(case).is_ok() && cannot_run(case, &offered).is_none());
            let fitting: Vec<_> = fitting.take(arguments.cases as usize).collect();
            let listed = fitting.iter().map(|(_, case)| case.clone()).collect();
            plan.cases = CasesOfImage::Listed(listed);
            let count = fitting.len() as u64;
            (Box::new(GivenCases::new(fitting)), count)
        }
    };

    let mut machine = booter.run(&plan)?;
    let known = KnownSource::Shipped.load(WalkerSpec::Reference, machine.identity())?;
    let findings = known.collector(WalkerSpec::Reference, machine.capabilities());
    let all = arguments.all || cases_of.is_some();
    let options = RecordOptions { seed, modes, cases: arguments.cases, all };
    arguments.print_heading(&machine, None, &booter.machine().why, seed);

    let record = RecordingRun { count, options: &options, findings: &findings, stop };
    let recording = record.with_bar(source.as_mut(), &mut machine);
    let recording = recording.map_err(|error| match error {
        MachineError::Interrupted => {
            let batch = machine.batches();
            Failure::machine(format!("it ended in batch {batch}: expected all of the image to run"))
        }
        error => error.into(),
    })?;
    Ok(RecordedSection {
        identity: machine.identity().clone(),
        capabilities: machine.capabilities().clone(),
        recording,
    })
}

/// A recording, with a bar until it ends or the user stops it.
struct RecordingRun<'r> {
    count: u64,
    options: &'r RecordOptions,
    findings: &'r Findings,
    stop: &'r AtomicBool,
}

impl RecordingRun<'_> {
    fn with_bar(
        &self,
        source: &mut dyn TrialSource,
        machine: &mut dyn Machine,
    ) -> Result<Recording, MachineError> {
        let template = "{bar:30} {human_pos} of {human_len} tried  {msg}";
        let bar = progress::bar(self.count, template);

        let recording =
            record_from(source, machine, self.options, self.findings, |tried, points| {
                bar.set_position(tried);
                bar.set_message(format!("{points} points shown"));
                goes_on(self.stop)
            })?;

        bar.finish_and_clear();
        Ok(recording)
    }
}
