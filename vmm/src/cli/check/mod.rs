//! `crosswalk check`: runs cases on a machine and compares every outcome.

mod accept;
mod booted;
mod finished;
mod given;
mod nested;
mod session;
mod side_by_side;

use super::failure::Failure;
use super::machine::{MachineArguments, MachineChoice, MachineKind};
use super::nested_cases::is_nested;
use super::number::{parse_count, parse_seed};
use super::output_arguments::OutputArguments;
use super::publish::publish;
use super::replay::{self, ReplayOptions};
use super::time::parse_time;
use crate::campaign::known::KnownSource;
use crate::campaign::predictor::Predictor;
use crate::generate::{SequenceUse, Shard};
use mmu_core::PagingMode;
use session::Session;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "options of the command line")]
pub(super) struct CheckArguments {
    /// Cases to run instead of generated ones: JSON, files with a case or an array of cases, or names from
    /// a report, such as random:4level:7:12345
    #[arg(value_name = "CASE|FILE|NAME")]
    cases_given: Vec<String>,
    /// The machine to run on
    #[arg(long, value_enum, default_value = "auto")]
    machine: MachineKind,
    /// Paging modes, separated by commas [default: all that the machine offers]
    #[arg(long, value_delimiter = ',')]
    mode: Vec<PagingMode>,
    /// Stop after this number of cases, all shards together
    #[arg(long, value_name = "N", conflicts_with = "time", value_parser = parse_count)]
    cases: Option<u64>,
    /// Stop after this time, such as 30s, 5m, 1h30m or 1d [default: 10s]
    #[arg(long = "for", id = "time", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Run this number of machines at once; the result does not depend on it [default: one for
    /// each processor available, and of QEMU for every two]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Repeat the run that had this seed
    #[arg(long, conflicts_with = "exhaustive", value_parser = parse_seed)]
    seed: Option<u64>,
    /// Run every combination of entry bits, accesses and control bits, and every short sequence; to the
    /// end unless limited
    #[arg(long)]
    exhaustive: bool,
    /// Run random cases, guided towards what chance rarely shows
    #[arg(long, conflicts_with = "exhaustive")]
    guided: bool,
    /// Whether to run sequences of actions besides single accesses, or only them [default: on]
    #[arg(long, value_enum)]
    sequences: Option<SequenceUse>,
    /// Run one of N parts of the run: I from 0 to N-1. Needs --seed, unless --exhaustive is given
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Who predicts: reference; mutant:ID, a walker with one known mistake; ID+ID: with two; or
    /// cmd:COMMAND, a program that answers cases, with its arguments: 'cmd:node w.mjs'
    #[arg(long, default_value = "reference")]
    walker: Predictor,
    /// A file of known findings, or none to forgive nothing [default: the file for the machine]
    #[arg(long, value_name = "FILE|none")]
    known: Option<KnownSource>,
    /// Forgive the known findings in this file, if it exists, and add what this run finds to it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["known", "resume"])]
    update_known: Option<PathBuf>,
    /// Run cases of nested paging instead (NPT, EPT): the accesses of a guest in the guest, through the tables of both
    #[arg(long)]
    nested: bool,
    /// Stop at the first divergence that is not forgiven
    #[arg(long)]
    fail_fast: bool,
    /// Fail where no machine works, instead of comparing what recorded machines did
    #[arg(long)]
    require_machine: bool,
    #[command(flatten)]
    output: OutputArguments,
    /// Keep a journal in this directory, and write the report there as JSON and HTML
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Resume the run in the report's directory, if there is one
    #[arg(long, requires = "report")]
    resume: bool,
    /// Let other terminals look at the guest of KVM while it runs, by this Unix socket: `crosswalk maps
    /// kvm:SOCKET`, and walk, rmap, diff and audit
    #[arg(long, value_name = "SOCKET")]
    live: Option<PathBuf>,
    #[command(flatten)]
    options: MachineArguments,
}

pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    arguments.check_update_known()?;
    if arguments.nested {
        return nested::run(arguments);
    }
    arguments.check_one_dimension()?;
    if !arguments.cases_given.is_empty() {
        return given::run(arguments);
    }
    if arguments.machine.boots_an_image() {
        return booted::run(arguments);
    }
    let options = arguments.options.one_by_one();
    if options.len() > 1 {
        return side_by_side::run(arguments, options);
    }

    match arguments.options.choose(arguments.machine)? {
        MachineChoice::Corpus { why } => replay_instead(&why, arguments),
        MachineChoice::Machine(machine) => {
            let mut session = Session::open(arguments, machine)?;
            session.resume()?;
            session.run()?;
            let mut run = session.finish()?;
            accept::accept(arguments, &run.identity, &mut run.summary)?;
            publish(&run.facts(), &run.summary, "", arguments.output, arguments.report.as_deref())
        }
    }
}

/// Replays the bundled corpus, unless the user asked for something that needs a machine.
fn replay_instead(why: &str, arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let is_automatic = arguments.machine == MachineKind::Auto;

    // Without a machine the time of a run by default is not missed.
    let time = arguments.time.filter(|_| !is_automatic).map(|_| "--for");
    if let Some(option) = arguments.first_option_of_machine().or(time) {
        let problem = format!("{option} needs a machine: the cases of the corpus are recorded");
        return Err(if is_automatic {
            Failure::machine(format!("no machine: {why}; {problem}"))
        } else {
            Failure::Input(problem)
        });
    }

    if arguments.require_machine {
        return Err(if is_automatic {
            Failure::machine(format!("no machine, and --require-machine asks for one: {why}"))
        } else {
            Failure::Input("--require-machine: --machine corpus is none".into())
        });
    }
    if is_automatic {
        arguments.output.print_no_machine(why);
    }

    let why = if is_automatic { format!("no machine here: {why}") } else { why.to_owned() };
    let options = ReplayOptions {
        walker: arguments.walker.clone(),
        mode: arguments.mode.clone(),
        cases: arguments.cases,
        known: arguments.known.clone(),
        output: arguments.output,
        report: arguments.report.clone(),
        jail: arguments.options.jail,
    };
    replay::run_bundled(&why, &options)
}

impl CheckArguments {
    /// Refuses what is of nested paging.
    fn check_one_dimension(&self) -> Result<(), Failure> {
        if let Predictor::Nested(mutant) = &self.walker {
            let problem =
                format!("--walker: mutant:{} is one of nested paging: --nested", mutant.id);
            return Err(Failure::Input(problem));
        }
        match self.cases_given.iter().find(|case| is_nested(case)) {
            Some(_) => Err(Failure::Input("a case of nested paging was given: --nested".into())),
            None => Ok(()),
        }
    }

    /// The first option that says which cases are generated, or for how long, if there is one.
    fn first_option_of_generators(&self) -> Option<&'static str> {
        [
            (self.exhaustive, "--exhaustive"),
            (self.guided, "--guided"),
            (self.seed.is_some(), "--seed"),
            (self.sequences.is_some(), "--sequences"),
            (self.shard.is_some(), "--shard"),
            (self.cases.is_some(), "--cases"),
            (self.time.is_some(), "--for"),
            (!self.mode.is_empty(), "--mode"),
            (self.jobs.is_some(), "--jobs"),
            (self.resume, "--resume"),
            (self.live.is_some(), "--live"),
            (self.fail_fast, "--fail-fast"),
        ]
        .into_iter()
        .find_map(|(is_given, option)| is_given.then_some(option))
    }

    /// The first option that only makes sense with a machine, if there is one.
    fn first_option_of_machine(&self) -> Option<&'static str> {
        [
            (self.exhaustive, "--exhaustive"),
            (self.guided, "--guided"),
            (self.seed.is_some(), "--seed"),
            (self.sequences.is_some(), "--sequences"),
            (self.shard.is_some(), "--shard"),
            (self.jobs.is_some(), "--jobs"),
            (self.resume, "--resume"),
            (self.live.is_some(), "--live"),
            (self.fail_fast, "--fail-fast"),
            (self.update_known.is_some(), "--update-known"),
        ]
        .into_iter()
        .find_map(|(is_given, option)| is_given.then_some(option))
        .or_else(|| self.options.first_option())
    }
}
