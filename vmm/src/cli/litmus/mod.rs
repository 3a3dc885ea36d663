//! `crosswalk litmus`: what several processors may show that edit tables and use them, and what they do.

mod campaign;
mod explain;
mod mutants;
mod random;

use super::failure::Failure;
use super::jail::JailArguments;
use super::machine::{MachineArguments, MachineKind};
use super::number::{parse_count, parse_seed};
use super::output::{check_replaceable, finish, replace_file};
use super::time::parse_time;
use crate::campaign::known::KnownSource;
use crate::file;
use crate::report::document::VerdictWord;
use crate::report::litmus::{self, JudgedTest, LitmusRunFacts};
use crate::walker::WalkerSpec;
use campaign::{Campaign, OpenedLitmusMachine};
use crosswalk_litmus::{Litmus, catalogue};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The longest file of a test that is read. The text form has a lower limit of its own.
const MAX_BYTES: u64 = 1 << 20;

/// How often a test is run if the user does not say.
const DEFAULT_RUNS: u64 = 1000;

#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct LitmusArguments {
    #[command(subcommand)]
    command: Option<LitmusCommand>,
    /// The name of a test, `all`, or a file with a test [default: a list of all]
    #[arg(value_name = "NAME|all|FILE")]
    test: Option<String>,
    #[command(flatten)]
    run: RunArguments,
    /// Go on with other delays until this time is over, such as 30s
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time, requires = "machine", conflicts_with = "runs")]
    time: Option<Duration>,
    /// Write a page with the outcomes as bars to this file
    #[arg(long, value_name = "FILE", requires = "test")]
    report: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// The options of a run on a machine.
#[derive(Clone, Debug, clap::Args)]
struct RunArguments {
    /// Run the tests on this machine, too [default: what is allowed alone]
    #[arg(long, value_name = "MACHINE", value_parser = MachineKind::one_of(&[MachineKind::Auto, MachineKind::Kvm, MachineKind::Qemu]))]
    machine: Option<MachineKind>,
    /// How often each test is run, such as 1e4 [default: 1000]
    #[arg(long, value_name = "N", value_parser = parse_count, requires = "machine")]
    runs: Option<u64>,
    /// Repeat the run that had this seed
    #[arg(long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// Another QEMU than the one in PATH
    #[arg(long, value_name = "PROGRAM", requires = "machine")]
    qemu: Option<PathBuf>,
    /// A file of known findings, or none to forgive nothing [default: the file for the machine]
    #[arg(long, value_name = "FILE|none", requires = "machine")]
    known: Option<KnownSource>,
    #[command(flatten)]
    jail: JailArguments,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum LitmusCommand {
    /// Draw a shortest execution that leads to an outcome
    Explain(explain::ExplainLitmusArguments),
    /// Judge random tests, and run them on a machine
    Random(random::RandomLitmusArguments),
    /// Show which mistakes of processors the catalogue finds
    Mutants(mutants::LitmusMutantsArguments),
}

impl RunArguments {
    fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(rand::random)
    }

    /// Where known findings come from.
    fn known(&self) -> KnownSource {
        self.known.clone().unwrap_or_default()
    }

    /// Opens the machine, if one was asked for.
    fn open(&self) -> Result<Option<OpenedLitmusMachine>, Failure> {
        let Some(kind) = self.machine else { return Ok(None) };
        let arguments = MachineArguments::by_default(self.qemu.clone(), self.jail);
        let opened = arguments.open_only(kind)?;
        let machine = opened.machine.as_ref();
        let known = self.known().load(WalkerSpec::Reference, machine.identity())?;
        let jail = self.jail.jail()?;
        Ok(Some(OpenedLitmusMachine::new(machine, known, self.qemu.as_deref(), jail)?))
    }
}

pub(super) fn run(arguments: &LitmusArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Some(LitmusCommand::Explain(explained)) => return explain::run(explained),
        Some(LitmusCommand::Random(random)) => return random::run(random),
        Some(LitmusCommand::Mutants(mutants)) => return mutants::run(mutants),
        None => {}
    }
    if let Some(path) = &arguments.report {
        check_replaceable(path)?;
    }

    let tests = match arguments.test.as_deref() {
        None | Some("all") => catalogue::all().collect(),
        Some(name) => vec![read(name)?],
    };
    let is_list = arguments.test.is_none() && arguments.run.machine.is_none();
    let mut judged = tests.into_iter().map(judge).collect::<Result<Vec<_>, _>>()?;

    let seed = arguments.run.seed();
    let machine = arguments.run.open()?;
    let mut is_stopped = false;
    if let Some(machine) = &machine {
        let runs = arguments.run.runs.unwrap_or(DEFAULT_RUNS);
        let campaign = Campaign { machine, seed, runs, time: arguments.time };
        is_stopped = campaign.run(&mut judged)?;
    }

    let facts = LitmusRunFacts {
        machine: machine.as_ref().map(OpenedLitmusMachine::facts),
        known: &arguments.run.known(),
        seed,
    };
    if let Some(path) = &arguments.report {
        replace_file(path, litmus::page(&judged, &facts))?;
    }
    Ok(finish(
        arguments.json,
        verdict(&judged, is_stopped).into(),
        || litmus::document(&judged, &facts),
        || match &judged[..] {
            _ if is_list => litmus::list(&judged),
            [judged] => litmus::test(judged, &facts),
            _ => litmus::table(&judged, &facts),
        },
    ))
}

/// How a run ends: with a forbidden outcome, a claim that does not hold, or neither.
fn verdict(judged: &[JudgedTest], is_stopped: bool) -> VerdictWord {
    let is_refuted = judged.iter().any(|judged| !judged.refuted_claims().is_empty());
    let is_forbidden = judged.iter().any(|judged| judged.forbidden().next().is_some());
    match (is_refuted || is_forbidden, is_stopped) {
        (true, _) => VerdictWord::Failed,
        (false, true) => VerdictWord::Incomplete,
        (false, false) if judged.iter().any(JudgedTest::was_run) => VerdictWord::Passed,
        (false, false) if judged.iter().any(|judged| judged.not_run().is_some()) => {
            VerdictWord::NotRun
        }
        (false, false) => VerdictWord::Done,
    }
}

/// The test of a name, or in a file.
fn read(argument: &str) -> Result<Litmus, Failure> {
    if let Some(test) = catalogue::named(argument) {
        return Ok(test);
    }

    let path = Path::new(argument);
    let name = file::input_name(path);
    let text = file::read_input(path, MAX_BYTES).map_err(|error| {
        let hint = "it is no test either: `crosswalk litmus` lists them";
        Failure::Input(format!("{name}: cannot be read: {error}; {hint}"))
    })?;
    text.parse().map_err(|error| Failure::Input(format!("{name}: {error}")))
}

fn judge(test: Litmus) -> Result<JudgedTest, Failure> {
    match test.judge() {
        Ok(judgement) if judgement.outcomes.is_empty() => Err(Failure::Input(format!(
            "{}: no execution of it ends: something waits for what never comes",
            test.name
        ))),
        Ok(judgement) => Ok(JudgedTest { test, judgement, run: None, known: BTreeMap::new() }),
        Err(error) => Err(Failure::Input(format!("{}: {error}", test.name))),
    }
}
