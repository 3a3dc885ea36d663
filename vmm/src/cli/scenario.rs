//! `crosswalk scenario`: processes on the virtual memory system, and what happens to their pages.

use super::failure::Failure;
use super::machine::{MachineArguments, MachineKind, OpenedMachine};
use super::output::finish;
use crate::finding::known;
use crate::report::document::VerdictWord;
use crate::report::scenario::random::{self, NarratedRandomRuns, RandomRun};
use crate::report::scenario::{self, NarratedScenarios};
use crate::scenario::random::{Operation, operations, play, shrink};
use crate::scenario::story::Story;
use crate::scenario::{MachineSide, SCENARIOS, Scenario, Setting, run as run_in_software, run_on};
use crate::walker::quirk::Quirks;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use crosswalk_machine::{Capabilities, Identity, MachineError};
use mmu_core::PagingMode;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Scenarios run in software and, if there is a machine, on it as well: every \
                        fault, entry and frame is compared after every step."
)]
pub(super) struct ScenarioArguments {
    /// The scenario to run [default: list the scenarios]
    #[arg(value_name = "NAME|all|random", value_parser = selections(), hide_possible_values = true)]
    name: Option<Asked>,
    /// The machine to compare with; none for software only
    #[arg(long, value_name = "MACHINE", default_value = "auto", value_parser = parse_machine)]
    machine: ComparedMachine,
    /// Paging modes, separated by commas: 32bit, pae, 4level or 5level [default: all that the
    /// machine offers; in software 4level]
    #[arg(long, value_delimiter = ',', value_parser = parse_mode)]
    mode: Vec<PagingMode>,
    /// With random: number of operations
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    operations: usize,
    /// With random: repeat the operations of this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: MachineArguments,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
enum Asked {
    One(Scenario),
    All,
    /// Random operations, which have no story.
    Random,
}

impl Asked {
    const ALL: &'static str = "all";
    const RANDOM: &'static str = "random";

    fn from_name(name: &str) -> Option<Self> {
        match name {
            Self::ALL => Some(Self::All),
            Self::RANDOM => Some(Self::Random),
            _ => {
                let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
                scenario.copied().map(Self::One)
            }
        }
    }
}

/// Accepts the names of scenarios, `all` and `random`; the error for any other name lists them.
fn selections() -> impl TypedValueParser<Value = Asked> {
    let names = SCENARIOS.iter().map(|scenario| scenario.name);
    PossibleValuesParser::new(names.chain([Asked::ALL, Asked::RANDOM]))
        .try_map(|name| Asked::from_name(&name).ok_or("no such scenario"))
}

/// The machine to compare the software with.
#[derive(Clone, Copy, Debug)]
enum ComparedMachine {
    None,
    Kind(MachineKind),
}

fn parse_machine(text: &str) -> Result<ComparedMachine, &'static str> {
    match text {
        "none" => Ok(ComparedMachine::None),
        "auto" => Ok(ComparedMachine::Kind(MachineKind::Auto)),
        "kvm" => Ok(ComparedMachine::Kind(MachineKind::Kvm)),
        "qemu" => Ok(ComparedMachine::Kind(MachineKind::Qemu)),
        _ => Err("expected auto, kvm, qemu or none"),
    }
}

/// The modes with page tables.
const MODES: [PagingMode; 4] =
    [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel];

fn parse_mode(text: &str) -> Result<PagingMode, &'static str> {
    let mode = text.parse().ok().filter(|mode| MODES.contains(mode));
    mode.ok_or("expected 32bit, pae, 4level or 5level")
}

/// The exit code is 0 when every claim holds and the machine agrees with the software, else 1.
pub(super) fn run(arguments: &ScenarioArguments) -> Result<ExitCode, Failure> {
    let Some(selection) = arguments.name else {
        let ending = VerdictWord::Done.into();
        return Ok(finish(arguments.json, ending, scenario::list_document, scenario::list));
    };

    let mut host = Host::open(arguments)?;
    let modes = host.modes(&arguments.mode)?;
    match selection {
        Asked::One(scenario) => run_stories(&mut host, &modes, &[scenario], arguments),
        Asked::All => run_stories(&mut host, &modes, SCENARIOS, arguments),
        Asked::Random => run_random(&mut host, &modes, arguments),
    }
}

fn verdict(passed: bool) -> VerdictWord {
    if passed { VerdictWord::Passed } else { VerdictWord::Failed }
}

/// Runs scenarios in every mode.
fn run_stories(
    host: &mut Host,
    modes: &[PagingMode],
    scenarios: &[Scenario],
    arguments: &ScenarioArguments,
) -> Result<ExitCode, Failure> {
    let mut stories = Vec::new();
    for mode in modes {
        for scenario in scenarios {
            stories.extend(host.run(scenario, Setting::new(*mode))?);
        }
    }

    let narrated = NarratedScenarios {
        stories: &stories,
        machine: host.compared_with(),
        why_none: &host.why_none,
    };
    let verdict = verdict(stories.iter().all(Story::passed));
    Ok(finish(
        arguments.json,
        verdict.into(),
        || scenario::document(&narrated),
        || scenario::text(&narrated),
    ))
}

/// Runs the same random operations in every mode, and shrinks those that fail.
fn run_random(
    host: &mut Host,
    modes: &[PagingMode],
    arguments: &ScenarioArguments,
) -> Result<ExitCode, Failure> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let all = operations(seed, arguments.operations);

    let mut runs = Vec::new();
    for mode in modes {
        let setting = Setting::new(*mode);
        let mut perform = |operations: &[Operation]| play(host.machine(), setting, operations);

        let played = perform(&all)?;
        let failed = played.problem.is_some();
        let smallest = if failed { shrink(&all, &mut perform)? } else { Vec::new() };
        runs.push(RandomRun { mode: *mode, played, smallest });
    }

    let narrated = NarratedRandomRuns {
        seed,
        runs: &runs,
        machine: host.compared_with(),
        why_none: &host.why_none,
    };
    Ok(finish(
        arguments.json,
        verdict(narrated.passed()).into(),
        || random::document(&narrated),
        || random::text(&narrated),
    ))
}

/// Where scenarios run: in software and, if there is one, on a machine.
struct Host {
    opened: Option<OpenedMachine>,
    /// Why there is no machine.
    why_none: String,
}

impl Host {
    /// Opens the machine. With `auto` there may be none.
    fn open(arguments: &ScenarioArguments) -> Result<Self, Failure> {
        let ComparedMachine::Kind(kind) = arguments.machine else {
            return Ok(Self { opened: None, why_none: "no machine was asked for".into() });
        };

        match arguments.options.open_only(kind) {
            Ok(opened) => Ok(Self { opened: Some(opened), why_none: String::new() }),
            Err(Failure::Machine { problem, .. }) if kind == MachineKind::Auto => {
                Ok(Self { opened: None, why_none: problem })
            }
            Err(failure) => Err(failure),
        }
    }

    fn machine(&mut self) -> Option<MachineSide<'_>> {
        let machine = self.opened.as_mut()?.machine.as_mut();
        let loose_pdptes = known::id_of(Quirks::LOOSE_PDPTES, machine.identity());
        Some(MachineSide { machine, loose_pdptes })
    }

    /// The machine that the software is compared with, and why it was chosen.
    fn compared_with(&self) -> Option<(&Identity, &str)> {
        self.opened.as_ref().map(|opened| (opened.machine.identity(), opened.why.as_str()))
    }

    /// Runs one scenario.
    fn run(
        &mut self,
        scenario: &Scenario,
        setting: Setting,
    ) -> Result<Option<Story>, MachineError> {
        match self.machine() {
            Some(machine) => run_on(machine, scenario.name, setting).transpose(),
            None => Ok(run_in_software(scenario.name, setting)),
        }
    }

    /// The requested modes, which the machine must offer; if none is requested, all that it offers.
    fn modes(&self, requested: &[PagingMode]) -> Result<Vec<PagingMode>, Failure> {
        let Some(OpenedMachine { machine, .. }) = &self.opened else {
            let default = &[PagingMode::FourLevel][..];
            return Ok(if requested.is_empty() { default } else { requested }.to_vec());
        };

        let why_not = |mode: &PagingMode| why_not_offered(*mode, machine.capabilities());
        if requested.is_empty() {
            return Ok(MODES.into_iter().filter(|mode| why_not(mode).is_none()).collect());
        }

        for mode in requested {
            if let Some(why) = why_not(mode) {
                let kind = &machine.identity().kind;
                return Err(Failure::machine(format!(
                    "{kind} cannot run {mode} here: {why}; --machine none runs the software"
                )));
            }
        }
        Ok(requested.to_vec())
    }
}

/// Why a machine does not offer a mode; `None` if it does.
fn why_not_offered(mode: PagingMode, machine: &Capabilities) -> Option<&str> {
    match machine.modes.iter().find(|(known, _)| *known == mode) {
        Some((_, Ok(()))) => None,
        Some((_, Err(why))) => Some(why),
        None => Some(""),
    }
}
