//! `compare --nested`: the same nested cases on several machines of this host.

use super::CompareArguments;
use crate::campaign::known::KnownSource;
use crate::cli::booter::Booter;
use crate::cli::failure::Failure;
use crate::cli::machine::{MachineArguments, MachineKind};
use crate::cli::nested_booter::BATCHES_OF_IMAGE;
use crate::cli::nested_cases::{known_of, provenance_of, read_nested};
use crate::cli::output::finish;
use crate::cli::progress::CaseBar;
use crate::report::compare::nested::{self, KindComparison, LeftAlone};
use crate::report::document::VerdictWord;
use clap::ValueEnum;
use crosswalk_machine::{Capabilities, Identity, Machine};
use crosswalk_nested::NestedCase;
use crosswalk_nested::batch::{self, run_alone};
use crosswalk_nested::compare::{ComparedMachine, MachineCounts, NestedComparison, common, is_ept};
use crosswalk_nested::generate::{CaseBatch, Generator, Stream};
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::observation::NestedAttempt;
use crosswalk_nested::requirements::adopt;
use std::process::ExitCode;
use std::str::FromStr;

/// Number of cases, unless the user asks for another.
const DEFAULT_CASES: u64 = 2_000;

/// A machine as the user names it: its kind, and of Bochs the processor or of QEMU the program behind a colon.
#[derive(Clone, Debug)]
pub(in crate::cli) struct NamedMachine {
    kind: MachineKind,
    of: Option<String>,
}

impl FromStr for NamedMachine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, of) = match text.split_once(':') {
            None => (text, None),
            Some((kind, of)) => (kind, Some(of.to_owned())),
        };
        let known = MachineKind::from_str(kind, false).ok();
        match (known, &of) {
            (Some(kind @ (MachineKind::Qemu | MachineKind::Bochs)), _)
            | (Some(kind @ MachineKind::Kvm), None) => Ok(Self { kind, of }),
            _ => Err("expected kvm, qemu, qemu:PROGRAM, bochs or bochs:MODEL".into()),
        }
    }
}

/// A machine, and how it takes cases.
struct Runner {
    name: String,
    identity: Identity,
    capabilities: Capabilities,
    way: Way,
}

enum Way {
    /// One batch after the other.
    Batches(Box<dyn Machine>),
    /// Some hundred batches on an image.
    Images(Booter),
}

/// Runs `compare --nested`. The exit code is 1 if a machine differs from the manuals in a way that is not known, 3 if no
/// two machines ran the same, else 0.
pub(super) fn run(arguments: &CompareArguments) -> Result<ExitCode, Failure> {
    arguments.check_nested()?;
    let given = given(arguments)?;
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let runners = arguments.machine.iter().map(|named| Runner::open(named, arguments));
    let runners: Vec<Runner> = runners.collect::<Result<_, _>>()?;

    let (ept, npt): (Vec<_>, Vec<_>) =
        runners.into_iter().partition(|runner| is_ept(&runner.capabilities));
    let mut kinds = Vec::new();
    let mut alone = Vec::new();
    for (kind, runners) in [("NPT", npt), ("EPT", ept)] {
        match runners.as_slice() {
            [] => {}
            [one] => alone.push(LeftAlone { name: one.name.clone(), kind }),
            _ => kinds.push(compare(arguments, kind, runners, &given, seed)?),
        }
    }

    let verdict = verdict(&kinds);
    let seed = given.is_empty().then_some(seed);
    Ok(finish(
        arguments.json,
        verdict.into(),
        || nested::document(&kinds, &alone, seed),
        || nested::text(&kinds, &alone, seed),
    ))
}

fn verdict(kinds: &[KindComparison]) -> VerdictWord {
    let is_shared = |kind: &KindComparison| kind.comparison.shared > 0;
    let has_news = |kind: &KindComparison| {
        kind.comparison.machines.iter().any(|machine| machine.counts.unknown > 0)
    };
    if !kinds.iter().any(is_shared) {
        VerdictWord::NothingCompared
    } else if kinds.iter().any(has_news) {
        VerdictWord::Diverge
    } else {
        VerdictWord::Agree
    }
}

/// The cases of the command line.
fn given(arguments: &CompareArguments) -> Result<Vec<NestedCase>, Failure> {
    let mut cases = Vec::new();
    for path in &arguments.corpora {
        let name = path.display().to_string();
        if name.starts_with("nested:") {
            let problem = "the name is one of a single machine's cases: expected the case as JSON";
            return Err(Failure::Input(format!("{name}: {problem}")));
        }
        cases.extend(read_nested(&name)?);
    }
    Ok(cases)
}

/// Compares machines whose second levels are of one kind.
fn compare(
    arguments: &CompareArguments,
    kind: &'static str,
    mut runners: Vec<Runner>,
    given: &[NestedCase],
    seed: u64,
) -> Result<KindComparison, Failure> {
    let machines = runners.iter().map(|runner| ComparedMachine {
        capabilities: runner.capabilities.clone(),
        known: match arguments.known {
            Some(KnownSource::Unforgiven) => KnownNested::nothing(),
            _ => known_of(&runner.identity),
        },
        counts: MachineCounts::default(),
    });
    let mut comparison = NestedComparison::new(machines.collect());
    if given.is_empty() {
        run_generated(arguments, &mut runners, &mut comparison, seed)?;
    } else {
        run_given(&mut runners, &mut comparison, given)?;
    }

    let names = runners.iter().map(|runner| runner.name.clone()).collect();
    let identities = runners.into_iter().map(|runner| runner.identity).collect();
    Ok(KindComparison { kind, names, identities, comparison })
}

/// Runs the cases of a stream that is made for what all machines have.
fn run_generated(
    arguments: &CompareArguments,
    runners: &mut [Runner],
    comparison: &mut NestedComparison,
    seed: u64,
) -> Result<(), Failure> {
    let all: Vec<_> = runners.iter().map(|runner| &runner.capabilities).collect();
    let offered = common(&all).ok_or_else(|| Failure::machine("no second level".into()))?;
    let stream = Stream::new(Generator::Random, seed, &offered)
        .map_err(|why| Failure::machine(why.to_string()))?;
    let cases = arguments.cases.unwrap_or(DEFAULT_CASES);
    let bar = CaseBar::start(Some(cases), None);

    let mut number = 0;
    while comparison.cases < cases {
        let mut left = cases - comparison.cases;
        let mut batches = Vec::new();
        for number in number..number + BATCHES_OF_IMAGE {
            if left == 0 {
                break;
            }
            let batch = stream.first_of_batch(number, left);
            left -= batch.cases.len() as u64;
            batches.push(batch);
        }
        number += BATCHES_OF_IMAGE;

        let runs = runners.iter_mut().map(|runner| runner.run(&batches));
        let runs: Vec<Vec<NestedAttempt>> = runs.collect::<Result<_, _>>()?;
        let indexed = batches.iter().flat_map(|batch| (batch.first..).zip(&batch.cases));
        for (place, (index, case)) in indexed.enumerate() {
            let of_case: Vec<_> = runs.iter().filter_map(|run| run.get(place).cloned()).collect();
            comparison.add(|| stream.name(index).to_string(), case, &of_case);
        }
        bar.show(comparison.cases, 0, 0);
    }
    bar.end();
    Ok(())
}

/// Runs cases that the user gave, on each machine that can run them.
fn run_given(
    runners: &mut [Runner],
    comparison: &mut NestedComparison,
    cases: &[NestedCase],
) -> Result<(), Failure> {
    let runs = runners.iter_mut().map(|runner| runner.run_given(cases));
    let runs: Vec<Vec<NestedAttempt>> = runs.collect::<Result<_, _>>()?;
    for (place, case) in cases.iter().enumerate() {
        let of_case: Vec<_> = runs.iter().filter_map(|run| run.get(place).cloned()).collect();
        comparison.add(|| format!("case {}", place + 1), case, &of_case);
    }
    Ok(())
}

impl Runner {
    fn open(named: &NamedMachine, arguments: &CompareArguments) -> Result<Self, Failure> {
        let NamedMachine { kind, of } = named;
        let options = MachineArguments::of(*kind, of.as_deref(), arguments.jail);
        if kind.boots_an_image() {
            let booter = Booter::find(*kind, &options)?;
            let capabilities = booter.probe_nested()?;
            let identity = booter.run_nested(&[], &capabilities)?.identity().clone();
            let name = format!("{}, {}", booter.machine().version, options.cpu());
            return Ok(Self { name, identity, capabilities, way: Way::Images(booter) });
        }

        let machine = options.open_only(*kind)?.machine;
        let identity = machine.identity().clone();
        let capabilities = machine.capabilities().clone();
        if let Err(why) = &capabilities.virtualization {
            return Err(Failure::machine(format!("{}: {why}", kind.name())));
        }
        let name = crate::report::compare::plain_name(&identity);
        Ok(Self { name, identity, capabilities, way: Way::Batches(machine) })
    }

    /// Runs batches, and returns what each case did, in order.
    fn run(&mut self, batches: &[CaseBatch]) -> Result<Vec<NestedAttempt>, Failure> {
        let provenance = provenance_of(&self.identity);
        let mut of_log;
        let machine: &mut dyn Machine = match &mut self.way {
            Way::Batches(machine) => machine.as_mut(),
            Way::Images(booter) => {
                of_log = booter.run_nested(batches, &self.capabilities)?;
                &mut of_log
            }
        };

        let mut attempts = Vec::new();
        for batch in batches {
            attempts.extend(batch::run(batch, machine, provenance)?.attempts);
        }
        Ok(attempts)
    }

    /// The same of cases that may not fit the machine.
    fn run_given(&mut self, cases: &[NestedCase]) -> Result<Vec<NestedAttempt>, Failure> {
        let provenance = provenance_of(&self.identity);
        let own: Vec<_> =
            cases.iter().map(|case| adopt(case.clone(), &self.capabilities)).collect();
        let mut of_log;
        let machine: &mut dyn Machine = match &mut self.way {
            Way::Batches(machine) => machine.as_mut(),
            Way::Images(booter) => {
                of_log = booter.run_nested_alone(&own, &self.capabilities)?;
                &mut of_log
            }
        };
        let runs = own.iter().map(|case| run_alone(case, machine, provenance));
        Ok(runs.collect::<Result<_, _>>()?)
    }
}

impl CompareArguments {
    /// Refuses what `--nested` would ignore.
    fn check_nested(&self) -> Result<(), Failure> {
        let ignored = [(!self.mode.is_empty(), "--mode"), (self.page.is_some(), "--page")];
        let of_generators = [(self.seed.is_some(), "--seed"), (self.cases.is_some(), "--cases")];
        let find = |options: &[(bool, &'static str)]| {
            options.iter().find_map(|(is_given, option)| is_given.then_some(*option))
        };

        if let Some(option) = find(&ignored) {
            return Err(Failure::Input(format!("{option} is not for --nested")));
        }
        if let Some(option) = find(&of_generators)
            && !self.corpora.is_empty()
        {
            let problem = "is about cases that are generated: these are given";
            return Err(Failure::Input(format!("{option} {problem}")));
        }
        if matches!(self.known, Some(KnownSource::File(_))) {
            let problem = "--known: of several machines expected none";
            return Err(Failure::Input(problem.into()));
        }
        if self.machine.len() < 2 {
            let problem = "--nested: expected at least two machines, such as --machine qemu --machine bochs:ryzen";
            return Err(Failure::Input(problem.into()));
        }
        Ok(())
    }
}
