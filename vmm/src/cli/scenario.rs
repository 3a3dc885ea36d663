//! `crosswalk scenario`: processes on the virtual memory system, and what happens to their pages.

use super::failure::{Failure, print_error};
use super::machine::{MachineArguments, MachineKind, OpenedMachine};
use super::number::{parse_count, parse_seed};
use super::output::{check_replaceable, finish, is_same_file, replace_file};
use super::stop_flag::{goes_on, stop_flag};
use crate::file;
use crate::finding::known;
use crate::report::document::VerdictWord;
use crate::report::scenario::random::{self, NarratedRandomRuns, RandomRun};
use crate::report::scenario::{self, NarratedScenarios};
use crate::scenario::random::{Operation, operations, play, shrink};
use crate::scenario::story::Story;
use crate::scenario::{MAX_BYTES, MachineSide, SCENARIOS, Scenario, Setting};
use crate::walker::quirk::Quirks;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use crosswalk_machine::{Capabilities, Identity, MachineError};
use mmu_core::PagingMode;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Scenarios run in software and, if there is a machine, on it as well: every \
                        fault, entry and frame is compared after every step."
)]
pub(super) struct ScenarioArguments {
    /// The scenario to run, by its name or from a file [default: list the scenarios]
    #[arg(value_name = "NAME|FILE.toml|all|random", value_parser = Selections, hide_possible_values = true)]
    name: Option<Asked>,
    /// The machine to compare with: auto, kvm or qemu; none for software only [default: auto]
    #[arg(long, value_name = "MACHINE", value_parser = parse_machine)]
    machine: Option<ComparedMachine>,
    /// Paging modes, separated by commas: 32bit, pae, 4level or 5level [default: all that the
    /// machine offers; in software 4level]
    #[arg(long, value_delimiter = ',', value_parser = parse_mode)]
    mode: Vec<PagingMode>,
    /// With random: number of operations [default: 10000]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    operations: Option<u64>,
    /// With random: repeat the operations of this seed
    #[arg(long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Write a page for a browser too: a player of the history, step by step
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    options: MachineArguments,
}

impl ScenarioArguments {
    fn machine(&self) -> ComparedMachine {
        self.machine.unwrap_or(ComparedMachine::Kind(MachineKind::Auto))
    }

    /// The number of random operations. All of them are in memory.
    fn operations(&self) -> Result<usize, Failure> {
        const MOST: u64 = 10_000_000;

        let count = self.operations.unwrap_or(10_000);
        if count > MOST {
            let problem = format!("--operations: expected at most {MOST}, found {count}");
            return Err(Failure::Input(problem));
        }
        Ok(count as usize)
    }

    /// The first option that would be ignored, if there is one, and why.
    fn first_ignored(&self) -> Option<(&'static str, &'static str)> {
        let is_random = matches!(self.name, Some(Asked::Random));
        let of_random =
            [(self.operations.is_some(), "--operations"), (self.seed.is_some(), "--seed")];
        let ignored = of_random.into_iter().find(|(is_given, _)| *is_given && !is_random);
        if let Some((_, option)) = ignored {
            return Some((option, "is for random operations: expected `scenario random`"));
        }

        if self.html.is_some() && !self.name.as_ref().is_some_and(Asked::is_one) {
            return Some(("--html", "needs the name of one scenario"));
        }

        let of_run = [(self.machine.is_some(), "--machine"), (!self.mode.is_empty(), "--mode")];
        let given = of_run.into_iter().find_map(|(is_given, option)| is_given.then_some(option));
        let of_machine = self.options.first_option();
        match (&self.name, self.machine) {
            (None, _) => {
                given.or(of_machine).map(|option| (option, "needs the name of a scenario, or all"))
            }
            (Some(_), Some(ComparedMachine::None)) => of_machine
                .map(|option| (option, "is about a machine, and --machine none runs none")),
            _ => None,
        }
    }
}

/// What to run.
#[derive(Clone, Debug)]
enum Asked {
    /// One of this name.
    One(String),
    /// The one in a file.
    File(PathBuf),
    All,
    /// Random operations, which have no story.
    Random,
}

impl Asked {
    const ALL: &'static str = "all";
    const RANDOM: &'static str = "random";

    fn from_name(name: String) -> Self {
        match &*name {
            Self::ALL => Self::All,
            Self::RANDOM => Self::Random,
            _ => Self::One(name),
        }
    }

    /// Whether it is one scenario.
    const fn is_one(&self) -> bool {
        matches!(self, Self::One(_) | Self::File(_))
    }

    /// The scenarios.
    fn scenarios(&self) -> Result<Vec<Scenario>, Failure> {
        Ok(match self {
            Self::One(name) => Scenario::named(name).cloned().into_iter().collect(),
            Self::File(path) => vec![read(path)?],
            Self::All => SCENARIOS.clone(),
            Self::Random => Vec::new(),
        })
    }
}

/// The scenario in a file.
fn read(path: &Path) -> Result<Scenario, Failure> {
    let name = file::input_name(path);
    let text = file::read_input(path, MAX_BYTES as u64)
        .map_err(|error| Failure::of_io(format!("{name}: cannot be read: {error}"), &error))?;
    Scenario::from_toml(&name, &text).map_err(|error| Failure::Input(error.to_string()))
}

/// Accepts the names of scenarios, `all` and `random`, and the names of files, which have a dot or a slash, and `-`. The
/// error for anything else lists the names.
#[derive(Clone)]
struct Selections;

impl Selections {
    fn names() -> PossibleValuesParser {
        let names = SCENARIOS.iter().map(|scenario| scenario.name.as_str());
        PossibleValuesParser::new(names.chain([Asked::ALL, Asked::RANDOM]))
    }
}

impl TypedValueParser for Selections {
    type Value = Asked;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Asked, clap::Error> {
        let bytes = value.as_encoded_bytes();
        if bytes == b"-" || bytes.iter().any(|byte| b"./".contains(byte)) {
            return Ok(Asked::File(value.into()));
        }
        Self::names().parse_ref(command, argument, value).map(Asked::from_name)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values: Vec<_> = Self::names().possible_values()?.collect();
        Some(Box::new(values.into_iter()))
    }
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

/// The exit code is 0 when every claim holds and the machine agrees with the software, else 1; 4 after Ctrl-C, and where
/// a scenario tested no claim.
pub(super) fn run(arguments: &ScenarioArguments) -> Result<ExitCode, Failure> {
    if let Some((option, why)) = arguments.first_ignored() {
        return Err(Failure::Input(format!("{option} {why}")));
    }
    let Some(selection) = &arguments.name else {
        let ending = VerdictWord::Done.into();
        return Ok(finish(arguments.json, ending, scenario::list_document, scenario::list));
    };

    let scenarios = selection.scenarios()?;
    if let Some(path) = &arguments.html {
        check_replaceable(path)?;
        if matches!(selection, Asked::File(file) if is_same_file(file, path)) {
            let problem = format!("--html: {} is the scenario that is read", path.display());
            return Err(Failure::Input(problem));
        }
    }
    let mut host = Host::open(arguments)?;
    let stop = stop_flag()?;
    let modes = host.modes(&arguments.mode)?;
    match selection {
        Asked::Random => run_random(&mut host, &modes, arguments, &stop),
        _ => run_stories(&mut host, &modes, &scenarios, arguments, &stop),
    }
}

/// The verdict on what had run when it ended, by itself or by Ctrl-C.
fn unless_stopped(verdict: VerdictWord, stop: &AtomicBool) -> VerdictWord {
    let is_stopped = goes_on(stop).is_break();
    if is_stopped {
        print_error("interrupted: this is the result of what had run");
    }
    match verdict {
        VerdictWord::Passed if is_stopped => VerdictWord::Incomplete,
        verdict => verdict,
    }
}

/// Runs scenarios in every mode.
fn run_stories(
    host: &mut Host,
    modes: &[PagingMode],
    scenarios: &[Scenario],
    arguments: &ScenarioArguments,
    stop: &AtomicBool,
) -> Result<ExitCode, Failure> {
    let mut stories = Vec::new();
    for mode in modes {
        for scenario in scenarios {
            if goes_on(stop).is_continue() {
                stories.extend(host.run(scenario, Setting::new(*mode))?);
            }
        }
    }
    if stories.is_empty() {
        return Err(Failure::Stopped);
    }

    let narrated = NarratedScenarios {
        stories: &stories,
        machine: host.compared_with(),
        why_none: &host.why_none,
    };
    let verdict = unless_stopped(narrated.verdict(), stop);
    if let Some(path) = &arguments.html {
        replace_file(path, scenario::page(&narrated))?;
    }
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
    stop: &AtomicBool,
) -> Result<ExitCode, Failure> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let all = operations(seed, arguments.operations()?);

    let mut runs = Vec::new();
    for mode in modes {
        if goes_on(stop).is_break() {
            break;
        }
        let setting = Setting::new(*mode);
        let mut perform = |operations: &[Operation]| {
            let until_stopped = operations.iter().take_while(|_| goes_on(stop).is_continue());
            play(host.machine(), setting, until_stopped)
        };

        let played = perform(&all)?;
        let failed = played.problem.is_some();
        let smallest = if failed { shrink(&all, &mut perform)? } else { Vec::new() };
        runs.push(RandomRun { mode: *mode, played, smallest });
    }

    if runs.iter().all(|run| run.played.performed == 0) && goes_on(stop).is_break() {
        return Err(Failure::Stopped);
    }

    let narrated = NarratedRandomRuns {
        seed,
        runs: &runs,
        machine: host.compared_with(),
        why_none: &host.why_none,
    };
    let verdict = if narrated.passed() { VerdictWord::Passed } else { VerdictWord::Failed };
    Ok(finish(
        arguments.json,
        unless_stopped(verdict, stop).into(),
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
        let ComparedMachine::Kind(kind) = arguments.machine() else {
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
            Some(machine) => scenario.run_on(machine, setting).transpose(),
            None => Ok(scenario.run(setting)),
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
