//! `crosswalk scenario`: processes on the virtual memory system, and what becomes of their pages.

use super::failure::Failure;
use super::machine::{MachineArguments, MachineKind, Opened};
use super::output::print;
use crate::report::scenario::random::{self, NarratedRandomRuns, RandomRun};
use crate::report::scenario::{self, NarratedScenarios};
use crate::scenario::random::{Operation, operations, play, shrink};
use crate::scenario::story::Story;
use crate::scenario::{SCENARIOS, Setting, run as run_in_software, run_on};
use clap::builder::PossibleValuesParser;
use crosswalk_machine::{Machine, MachineError};
use mmu_core::PagingMode;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "They run in software, and on a machine beside it if there is one: every fault, \
                        entry and frame is compared after every step."
)]
pub(super) struct ScenarioArguments {
    /// Which scenario [default: list them]
    #[arg(value_name = "NAME|all|random", value_parser = names(), hide_possible_values = true)]
    name: Option<String>,
    /// The machine to run on, too; none for software only
    #[arg(long, value_name = "MACHINE", default_value = "auto", value_parser = machine)]
    machine: Wanted,
    /// Paging modes, separated by commas: 32bit, pae, 4level or 5level [default: all that the
    /// machine offers; in software 4level]
    #[arg(long, value_delimiter = ',', value_parser = mode)]
    mode: Vec<PagingMode>,
    /// With random: how many operations
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

/// No scenario with a story: random operations.
const RANDOM: &str = "random";

/// A machine, or none.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    None,
    Kind(MachineKind),
}

fn machine(text: &str) -> Result<Wanted, &'static str> {
    match text {
        "none" => Ok(Wanted::None),
        "auto" => Ok(Wanted::Kind(MachineKind::Auto)),
        "kvm" => Ok(Wanted::Kind(MachineKind::Kvm)),
        "qemu" => Ok(Wanted::Kind(MachineKind::Qemu)),
        _ => Err("expected auto, kvm, qemu or none"),
    }
}

/// The names of scenarios, `all`, and `random`.
fn names() -> PossibleValuesParser {
    let names = SCENARIOS.iter().map(|scenario| scenario.name);
    PossibleValuesParser::new(names.chain(["all", RANDOM]))
}

const MODES: [PagingMode; 4] =
    [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel];

fn mode(text: &str) -> Result<PagingMode, &'static str> {
    let found = MODES.into_iter().find(|mode| mode.name() == text);
    found.ok_or("expected 32bit, pae, 4level or 5level")
}

/// 0 when every claim of every scenario holds and no history parts from the machine's, else 1.
pub(super) fn run(arguments: &ScenarioArguments) -> Result<ExitCode, Failure> {
    let Some(name) = &arguments.name else {
        print(&if arguments.json { scenario::json_list() } else { scenario::list() });
        return Ok(ExitCode::SUCCESS);
    };
    let (mut opened, why_none) = open(arguments)?;
    let modes = modes(arguments, opened.as_ref().map(|opened| opened.machine.as_ref()))?;
    if name == RANDOM {
        return run_random(arguments, opened, &why_none, &modes);
    }
    let mut stories = Vec::new();
    for mode in modes {
        for known in SCENARIOS.iter().filter(|known| name == "all" || known.name == name) {
            let setting = Setting::new(mode);
            stories.extend(match &mut opened {
                Some(opened) => run_on(opened.machine.as_mut(), known.name, setting).transpose()?,
                None => run_in_software(known.name, setting),
            });
        }
    }
    let narrated = NarratedScenarios {
        stories: &stories,
        machine: opened.as_ref().map(|opened| (opened.machine.identity(), opened.why.as_str())),
        why_none: &why_none,
    };
    print(&if arguments.json { scenario::json(&narrated) } else { scenario::text(&narrated) });
    let passed = stories.iter().all(Story::passed);
    Ok(ExitCode::from(u8::from(!passed)))
}

/// The same operations in every mode. What fails is shrunk.
fn run_random(
    arguments: &ScenarioArguments,
    mut opened: Option<Opened>,
    why_none: &str,
    modes: &[PagingMode],
) -> Result<ExitCode, Failure> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let all = operations(seed, arguments.operations);
    let mut runs = Vec::new();
    for mode in modes {
        let mut perform = |operations: &[Operation]| {
            let setting = Setting::new(*mode);
            match &mut opened {
                Some(opened) => play(Some(opened.machine.as_mut()), setting, operations),
                None => play(None, setting, operations),
            }
        };
        let played = perform(&all)?;
        let failed = played.problem.is_some();
        let smallest = if failed { shrink(&all, &mut perform)? } else { Vec::new() };
        runs.push(RandomRun { mode: *mode, played, smallest });
    }
    let machine = opened.as_ref().map(|opened| (opened.machine.identity(), opened.why.as_str()));
    let narrated = NarratedRandomRuns { seed, runs: &runs, machine, why_none };
    print(&if arguments.json { random::json(&narrated) } else { random::text(&narrated) });
    Ok(ExitCode::from(u8::from(!narrated.passed())))
}

/// The machine, or why there is none. That `auto` finds none is no failure.
fn open(arguments: &ScenarioArguments) -> Result<(Option<Opened>, String), Failure> {
    let Wanted::Kind(kind) = arguments.machine else {
        return Ok((None, "no machine was asked for".into()));
    };
    match arguments.options.open(kind) {
        Ok(opened) => Ok((Some(opened), String::new())),
        Err(Failure::Machine(why)) if kind == MachineKind::Auto => Ok((None, why)),
        Err(failure) => Err(failure),
    }
}

/// The modes asked for, which the machine must offer; otherwise all that it does.
fn modes(
    arguments: &ScenarioArguments,
    machine: Option<&dyn Machine>,
) -> Result<Vec<PagingMode>, Failure> {
    let Some(machine) = machine else {
        let asked = !arguments.mode.is_empty();
        return Ok(if asked { arguments.mode.clone() } else { vec![PagingMode::FourLevel] });
    };
    let offers = &machine.capabilities().modes;
    let offered = |mode: &PagingMode| offers.iter().any(|(known, is)| known == mode && is.is_ok());
    if arguments.mode.is_empty() {
        return Ok(MODES.into_iter().filter(offered).collect());
    }
    if let Some(mode) = arguments.mode.iter().find(|mode| !offered(mode)) {
        let offer = offers.iter().find(|(known, _)| known == mode);
        let why = offer.and_then(|(_, offer)| offer.as_ref().err()).map_or("", String::as_str);
        let kind = machine.identity().kind.clone();
        let what =
            format!("{kind} cannot run {mode} here: {why}; --machine none runs the software");
        return Err(MachineError::Unavailable(what).into());
    }
    Ok(arguments.mode.clone())
}
