//! `crosswalk explain`: the walk of one case, step by step.

use super::booter::Booter;
use super::case_file::read_cases;
use super::failure::Failure;
use super::guest_dump;
use super::live_socket::SocketAfterCase;
use super::machine::{MachineArguments, MachineKind};
use super::output::{check_replaceable, finish, print};
use crate::campaign;
use crate::campaign::known::KnownSource;
use crate::finding::known::KnownFinding;
use crate::generate::CaseName;
use crate::report::document::VerdictWord;
use crate::report::walk::json::{self, RunOfCase};
use crate::report::walk::{self, tree};
use crate::verdict;
use crate::walker::WalkerSpec;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::{Machine, MachineError};
use mmu_core::Profile;
use mmu_core::x86::profile::GENERATIONS;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExplainArguments {
    /// A case as JSON, a file with a case (or an array of cases), or the name of a case from a
    /// report, such as random:4level:7:12345, which the machine's generator makes again
    #[arg(value_name = "CASE|FILE|NAME")]
    case: String,
    /// Whose walk: reference, or mutant:ID
    #[arg(long, default_value = "reference")]
    walker: WalkerSpec,
    /// The processor, by the name of its generation [default: the processor of the case]
    #[arg(long, value_name = "NAME", value_parser = generations())]
    profile: Option<Profile>,
    /// Also draw the tree of the case's tables
    #[arg(long)]
    tree: bool,
    /// Also run the case on this machine; on each QEMU, if several are named
    #[arg(long, value_enum)]
    machine: Option<MachineKind>,
    /// Write the guest's memory after the case into an ELF dump, for `maps`, `walk` and other readers of dumps
    #[arg(long, value_name = "OUT", requires = "machine")]
    dump: Option<PathBuf>,
    /// After the case, let other terminals look at the guest of KVM by this Unix socket, until Ctrl-C:
    /// `crosswalk walk kvm:SOCKET ADDRESS`
    #[arg(long, value_name = "SOCKET", requires = "machine")]
    live: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, conflicts_with_all = ["tree", "dump", "live"])]
    json: bool,
    #[command(flatten)]
    options: MachineArguments,
}

pub(super) fn run(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let name: Option<CaseName> = CaseName::is_meant(&arguments.case)
        .then(|| arguments.case.parse())
        .transpose()
        .map_err(Failure::Input)?;

    let booted = arguments.machine.filter(|kind| kind.boots_an_image());
    if let (Some(name), Some(kind)) = (&name, booted) {
        return Err(Failure::Input(format!(
            "{name}: --machine {} takes cases, not names: its reports have each as JSON",
            kind.name()
        )));
    }

    if let (Some(option), Some(kind)) = (arguments.option_of_memory(), booted) {
        return Err(Failure::Input(format!(
            "{option} is not for {}, whose memory is its own",
            kind.name()
        )));
    }

    if let Some(path) = &arguments.dump {
        check_replaceable(path)?;
    }
    let mut machines = match booted {
        Some(_) => Vec::new(),
        None => open_machines(arguments, name.is_some())?,
    };
    let mut cases = match (name, machines.first()) {
        (Some(name), Some(machine)) => vec![named_case(name, machine.as_ref())?],
        _ => read_cases(&arguments.case)?,
    };
    if let Some(profile) = arguments.profile {
        for case in &mut cases {
            case.profile = profile;
        }
    }

    if let Some(option) = arguments.option_of_memory().filter(|_| cases.len() > 1) {
        return Err(Failure::Input(format!("{option} takes one case, not {}", cases.len())));
    }

    if let Some(kind) = booted {
        let machine = Booter::find(kind, &arguments.options)?.run_cases(&cases)?;
        for case in &mut cases {
            case.profile = machine.capabilities().profile;
        }
        machines.push(Box::new(machine));
    }

    let live = arguments.live.as_deref().zip(machines.first());
    let mut live =
        live.map(|(path, machine)| SocketAfterCase::new(path, machine.as_ref())).transpose()?;

    // A machine that was only opened for the name of a case does not run it.
    if !arguments.runs_cases() {
        machines.clear();
    }
    if arguments.json {
        return run_as_document(arguments, &cases, &mut machines);
    }
    let count = cases.len();
    for (number, case) in (1..).zip(&cases) {
        if count > 1 {
            print(&format!("case {number} of {count}\n\n"));
        }

        let attempts = run_on_each(&mut machines, case);
        let fatal = booted.and(machines.first()).map(|machine| fatal(machine.as_ref(), case));
        let fatal = fatal.transpose()?.flatten();
        let seen = attempts.first().and_then(|attempt| attempt.as_ref().ok());
        let not_run = match seen {
            Some(Attempt::Unsupported(why)) => Some(why.clone()),
            _ => None,
        };
        print(&walk::explain(case, arguments.walker, seen));
        if arguments.tree {
            print(&format!("\n{}", tree::draw(case)));
        }
        for (machine, attempt) in machines.iter().zip(attempts) {
            if machines.len() > 1 {
                print(&walk::on_machine(machine.identity()));
            }
            match (attempt, &fatal) {
                (Err(MachineError::Interrupted), Some(known)) => {
                    print(&walk::did_not_return(&known.id, &known.title));
                    return after_fatal_case(number, count);
                }
                (attempt, _) => print(&walk::beside(case, arguments.walker, &attempt?)),
            }
        }

        if let (Some(option), Some(why)) = (arguments.option_of_memory(), not_run) {
            return Err(Failure::Input(format!(
                "{option}: there is nothing to look at, since the case was not run: {why}"
            )));
        }
        if let (Some(path), Some(machine)) = (&arguments.dump, machines.first()) {
            print(&guest_dump::write(path, machine.as_ref(), case)?);
        }
        if let (Some(live), Some(machine)) = (live.take(), machines.first()) {
            live.hold(machine.as_ref(), case)?;
        }
        if number < count {
            print("\n");
        }
    }

    Ok(ExitCode::SUCCESS)
}

/// Explains the cases as one document.
fn run_as_document(
    arguments: &ExplainArguments,
    cases: &[Case],
    machines: &mut [Box<dyn Machine>],
) -> Result<ExitCode, Failure> {
    let ran: Vec<_> = cases.iter().map(|case| run_on_each(machines, case)).collect();
    let mut explained = Vec::new();
    let mut verdict = if machines.is_empty() { VerdictWord::Done } else { VerdictWord::NotRun };

    for (case, attempts) in cases.iter().zip(ran) {
        let mut runs = Vec::new();
        let mut first = None;
        for (machine, attempt) in machines.iter().zip(attempts) {
            let identity = machine.identity();
            let attempt = match (attempt, fatal(machine.as_ref(), case)?) {
                (Err(MachineError::Interrupted), Some(known)) => {
                    runs.push(RunOfCase::did_not_return(identity, &known.id, &known.title));
                    continue;
                }
                (attempt, _) => attempt?,
            };
            let known = known_findings(arguments.walker, machine.as_ref(), case, &attempt)?;
            runs.push(RunOfCase::new(identity, case, arguments.walker, &attempt, known));
            first.get_or_insert(attempt);
        }

        if runs.iter().any(RunOfCase::differs) {
            verdict = VerdictWord::Diverge;
        } else if verdict == VerdictWord::NotRun && runs.iter().any(RunOfCase::has_run) {
            verdict = VerdictWord::Agree;
        }
        explained.push(json::explained(case, arguments.walker, first.as_ref(), runs));
    }

    let document = || json::document(arguments.walker, explained);
    Ok(finish(true, verdict.into(), document, String::new))
}

fn run_on_each(
    machines: &mut [Box<dyn Machine>],
    case: &Case,
) -> Vec<Result<Attempt, MachineError>> {
    machines.iter_mut().map(|machine| campaign::run_one(machine.as_mut(), case)).collect()
}

/// The ids of the known findings that explain what a machine did, if they do. They are about the reference.
fn known_findings(
    walker: WalkerSpec,
    machine: &dyn Machine,
    case: &Case,
    attempt: &Attempt,
) -> Result<Option<Vec<String>>, Failure> {
    if !walker.is_reference() {
        return Ok(None);
    }
    let known = KnownSource::Shipped.load(walker, machine.identity())?;
    let findings = known.collector(walker, machine.capabilities());
    let verdict = verdict::judge(walker.walker(), case, attempt);
    let shown = findings.shown(case, attempt, &verdict);
    Ok(shown.map(|ids| ids.into_iter().map(str::to_owned).collect()))
}

impl ExplainArguments {
    /// Whether the user named a machine. One that is only opened for the name of a case does not run it.
    const fn runs_cases(&self) -> bool {
        self.machine.is_some() || self.options.names_qemu()
    }

    /// The first option that shows the memory of the guest after one case, if there is one.
    fn option_of_memory(&self) -> Option<&'static str> {
        [(self.dump.is_some(), "--dump"), (self.live.is_some(), "--live")]
            .into_iter()
            .find_map(|(is_given, option)| is_given.then_some(option))
    }
}

/// The machines to run on, or the one whose capabilities a generator needs to make a named case.
fn open_machines(
    arguments: &ExplainArguments,
    is_named: bool,
) -> Result<Vec<Box<dyn Machine>>, Failure> {
    let is_wanted = arguments.runs_cases() || is_named;
    let kind = arguments.machine.or(is_wanted.then_some(MachineKind::Auto));
    let Some(kind) = kind else { return Ok(Vec::new()) };

    let each = arguments.options.one_by_one();
    let opened = each.iter().map(|options| Ok(options.open(kind)?.machine));
    opened.collect()
}

/// The known finding that says that a machine does not come back from a case.
fn fatal(machine: &dyn Machine, case: &Case) -> Result<Option<KnownFinding>, Failure> {
    let known = KnownSource::Shipped.load(WalkerSpec::Reference, machine.identity())?;
    Ok(known.fatal(case).cloned())
}

/// The end after a case from which a machine did not come back: the others were not run.
fn after_fatal_case(number: usize, count: usize) -> Result<ExitCode, Failure> {
    if number == count {
        return Ok(ExitCode::SUCCESS);
    }
    let problem = format!("the cases after case {number} of {count} were not run");
    Err(Failure::machine(problem))
}

/// Makes a named case again.
fn named_case(name: CaseName, machine: &dyn Machine) -> Result<Case, Failure> {
    let case = name.case(machine.capabilities());
    case.ok_or_else(|| Failure::Input(format!("{name}: there is no such index")))
}

/// Accepts the names of generations; the error for any other name lists them.
fn generations() -> impl TypedValueParser<Value = Profile> {
    let names = GENERATIONS.iter().map(|generation| generation.name);
    PossibleValuesParser::new(names)
        .try_map(|name| Profile::generation(&name).ok_or("no such generation"))
}
