//! `crosswalk explain`: the walk of one case, step by step.

mod nested;
mod pictures;

use super::booter::Booter;
use super::case_file::{case_name, named_case, needs_a_case, read_cases};
use super::failure::Failure;
use super::guest_dump;
use super::live_socket::SocketAfterCase;
use super::machine::{MachineArguments, MachineKind};
use super::nested_cases::is_nested;
use super::output::{check_replaceable, finish, print_beside_verdict};
use crate::campaign;
use crate::campaign::known::KnownSource;
use crate::campaign::predictor::Predictor;
use crate::finding::Findings;
use crate::finding::known::KnownFinding;
use crate::generate::FullCaseName;
use crate::report::document::{Ending, VerdictWord};
use crate::report::walk::json::{self, RunOfCase};
use crate::report::walk::{self, tree};
use crate::verdict::{self, Verdict};
use crate::walker::WalkerSpec;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_explain::steps::last_access;
use crosswalk_machine::{Machine, MachineError};
use mmu_core::Profile;
use mmu_core::x86::profile::GENERATIONS;
use pictures::PictureArguments;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExplainArguments {
    /// A case as JSON, a file with a case (or an array of cases), or the name of a case, such as
    /// random:4level:7:12345@skylake, which a generator makes again; without @ for --machine
    #[arg(value_name = "CASE|FILE|NAME")]
    case: String,
    /// Whose walk: reference, or mutant:ID
    #[arg(long, default_value = "reference")]
    walker: Predictor,
    /// The processor, by the name of its generation [default: the processor of the case]
    #[arg(long, value_name = "NAME", value_parser = generations())]
    profile: Option<Profile>,
    /// A file of known findings, or none to forgive nothing [default: the file for the machine]
    #[arg(long, value_name = "FILE|none", requires = "machine")]
    known: Option<KnownSource>,
    /// Also draw the tree of the case's tables
    #[arg(long)]
    tree: bool,
    /// Also run the case on this machine; on each QEMU, if several are named
    #[arg(long, value_parser = MachineKind::one_of(&MachineKind::RUNNING))]
    machine: Option<MachineKind>,
    /// Write the guest's memory after the case into an ELF dump, for `maps`, `walk` and other readers of dumps
    #[arg(long, value_name = "OUT", requires = "machine")]
    dump: Option<PathBuf>,
    /// After the case, let other terminals look at the guest of KVM by this Unix socket, until Ctrl-C:
    /// `crosswalk walk kvm:SOCKET ADDRESS`
    #[arg(long, value_name = "SOCKET", requires = "machine")]
    live: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, conflicts_with_all = ["tree", "dump", "live", "html", "svg"])]
    json: bool,
    #[command(flatten)]
    pictures: PictureArguments,
    #[command(flatten)]
    options: MachineArguments,
}

pub(super) fn run(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    if is_nested(&arguments.case) {
        return nested::run(arguments);
    }
    let name = case_name(&arguments.case)?;

    let booted = arguments.booted();
    arguments.check_use(name.as_ref(), booted)?;
    if let Some(path) = &arguments.dump {
        check_replaceable(path)?;
    }
    arguments.pictures.check(&arguments.case, arguments.walker())?;
    let mut machines = match booted {
        Some(_) => Vec::new(),
        None => open_machines(arguments)?,
    };
    let mut cases = match (name, machines.first()) {
        (Some(name), machine) => {
            let (name, case) = named_case(name, machine.map(AsRef::as_ref))?;
            if !arguments.json {
                print_beside_verdict(&format!("case      {name}\n\n"));
            }
            vec![case]
        }
        (None, _) => read_cases(&arguments.case)?,
    };
    if let Some(profile) = arguments.profile {
        for case in &mut cases {
            case.profile = profile;
        }
    }

    let of_one_case = arguments.option_of_memory().or(arguments.pictures.first_option());
    if let Some(option) = of_one_case.filter(|_| cases.len() > 1) {
        return Err(Failure::Input(format!("{option} takes one case, not {}", cases.len())));
    }

    if let Some(kind) = booted {
        let machine = Booter::find(kind, &arguments.options)?.run_cases(&cases)?;
        for case in &mut cases {
            case.profile = machine.capabilities().profile;
        }
        machines.push(Box::new(machine));
    }

    let known = machines.iter().map(|machine| KnownOnMachine::load(arguments, machine.as_ref()));
    let known = known.collect::<Result<Vec<_>, _>>()?;
    if arguments.json {
        return run_as_document(arguments, &cases, &mut machines, &known);
    }
    run_as_text(arguments, &cases, &mut machines, &known)
}

/// Explains the cases as text for people, with all that is shown of one case alone.
fn run_as_text(
    arguments: &ExplainArguments,
    cases: &[Case],
    machines: &mut [Box<dyn Machine>],
    known: &[KnownOnMachine],
) -> Result<ExitCode, Failure> {
    let live = arguments.live.as_deref().zip(machines.first());
    let mut live =
        live.map(|(path, machine)| SocketAfterCase::new(path, machine.as_ref())).transpose()?;

    let walker = arguments.walker();
    let booted = arguments.booted();
    let mut end = CaseEnd::Agrees;
    let count = cases.len();
    for (number, case) in (1..).zip(cases) {
        if count > 1 {
            print_beside_verdict(&format!("case {number} of {count}\n\n"));
        }

        let attempts = run_on_each(machines, case);
        let fatal = booted.and(machines.first()).map(|machine| fatal(machine.as_ref(), case));
        let fatal = fatal.transpose()?.flatten();
        let first = attempts.first().and_then(|attempt| attempt.as_ref().ok()).cloned();
        let not_run = match &first {
            Some(Attempt::Unsupported(why)) => Some(why.clone()),
            _ => None,
        };

        let mut told = Told::default();
        let mut runs = Vec::new();
        told.tell(&walk::explain(case, walker, first.as_ref()));
        if arguments.tree {
            told.tell(&format!("\n{}", tree::draw(&last_access(case))));
        }
        for ((machine, known), attempt) in machines.iter().zip(known).zip(attempts) {
            let identity = machine.identity();
            if machines.len() > 1 {
                told.tell(&walk::on_machine(identity));
            }
            match (attempt, &fatal) {
                (Err(MachineError::Interrupted), Some(known)) => {
                    told.tell(&walk::did_not_return(&known.id, &known.title));
                    runs.push(RunOfCase::did_not_return(identity, &known.id, &known.title));
                    arguments.pictures.write(case, walker, None, runs, &told.text)?;
                    return after_fatal_case(number, count);
                }
                (attempt, _) => {
                    let attempt = attempt?;
                    told.tell(&walk::beside(case, walker, &attempt));
                    let shown = known.shown(walker, case, &attempt);
                    if let Some(shown) = &shown {
                        told.tell(&walk::known_as(shown, known.are_forgiven));
                    }
                    end = end.max(known.end(walker, case, &attempt, shown.as_deref()));
                    let shown = (shown, known.are_forgiven);
                    runs.push(RunOfCase::new(identity, case, walker, &attempt, shown));
                }
            }
        }
        arguments.pictures.write(case, walker, first.as_ref(), runs, &told.text)?;

        if let (Some(option), Some(why)) = (arguments.option_of_memory(), not_run) {
            return Err(Failure::Input(format!(
                "{option}: there is nothing to look at, since the case was not run: {why}"
            )));
        }
        if let (Some(path), Some(machine)) = (&arguments.dump, machines.first()) {
            print_beside_verdict(&guest_dump::write(path, machine.as_ref(), case)?);
        }
        if let (Some(live), Some(machine)) = (live.take(), machines.first()) {
            live.hold(machine.as_ref(), case)?;
        }
        if number < count {
            print_beside_verdict("\n");
        }
    }

    Ok(ending(end, machines.is_empty()).exit_code())
}

/// What was printed of a case.
#[derive(Default)]
struct Told {
    text: String,
}

impl Told {
    fn tell(&mut self, text: &str) {
        print_beside_verdict(text);
        self.text.push_str(text);
    }
}

/// How a case ended beside the walker, from the best to the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CaseEnd {
    /// It agrees, or differs as a known finding says, or no machine was asked.
    Agrees,
    /// A machine could not run it.
    NotRun,
    /// A machine differs in a way that is not forgiven.
    Diverges,
}

/// How the command ends with the gravest end of its cases, or if the walker was alone.
fn ending(gravest: CaseEnd, is_alone: bool) -> Ending {
    let word = match gravest {
        _ if is_alone => VerdictWord::Done,
        CaseEnd::Agrees => VerdictWord::Agree,
        CaseEnd::NotRun => VerdictWord::NotRun,
        CaseEnd::Diverges => VerdictWord::Diverge,
    };
    word.into()
}

/// What is known of a machine beforehand.
struct KnownOnMachine {
    findings: Findings,
    are_forgiven: bool,
}

impl KnownOnMachine {
    fn load(arguments: &ExplainArguments, machine: &dyn Machine) -> Result<Self, Failure> {
        let source = arguments.known.clone().unwrap_or_default();
        let known = source.load(arguments.walker(), machine.identity())?;
        let are_forgiven = known.are_forgiven;
        let findings = known.collector(WalkerSpec::Reference, machine.capabilities());
        Ok(Self { findings, are_forgiven })
    }

    /// The known findings that a case shows; `None` for a divergence that is not known. What is known of a machine is
    /// known beside the reference.
    fn shown(
        &self,
        walker: WalkerSpec,
        case: &Case,
        attempt: &Attempt,
    ) -> Option<Vec<&KnownFinding>> {
        let verdict = verdict::judge(walker.walker(), case, attempt);
        self.findings.shown(case, attempt, &verdict).filter(|_| walker.is_reference())
    }

    /// How a case ended that shows these findings.
    fn end(
        &self,
        walker: WalkerSpec,
        case: &Case,
        attempt: &Attempt,
        shown: Option<&[&KnownFinding]>,
    ) -> CaseEnd {
        match verdict::judge(walker.walker(), case, attempt) {
            Verdict::Agree { .. } => CaseEnd::Agrees,
            Verdict::Unsupported(_) => CaseEnd::NotRun,
            Verdict::Diverge { .. } if shown.is_some() && self.are_forgiven => CaseEnd::Agrees,
            Verdict::Diverge { .. } => CaseEnd::Diverges,
        }
    }
}

/// Explains the cases as one document.
fn run_as_document(
    arguments: &ExplainArguments,
    cases: &[Case],
    machines: &mut [Box<dyn Machine>],
    known: &[KnownOnMachine],
) -> Result<ExitCode, Failure> {
    let walker = arguments.walker();
    let ran: Vec<_> = cases.iter().map(|case| run_on_each(machines, case)).collect();
    let mut explained = Vec::new();
    let mut end = CaseEnd::Agrees;

    for (case, attempts) in cases.iter().zip(ran) {
        let mut runs = Vec::new();
        let mut first = None;
        for ((machine, known), attempt) in machines.iter().zip(known).zip(attempts) {
            let identity = machine.identity();
            let attempt = match (attempt, fatal(machine.as_ref(), case)?) {
                (Err(MachineError::Interrupted), Some(known)) => {
                    runs.push(RunOfCase::did_not_return(identity, &known.id, &known.title));
                    continue;
                }
                (attempt, _) => attempt?,
            };
            let shown = known.shown(walker, case, &attempt);
            end = end.max(known.end(walker, case, &attempt, shown.as_deref()));
            runs.push(RunOfCase::new(
                identity,
                case,
                walker,
                &attempt,
                (shown, known.are_forgiven),
            ));
            first.get_or_insert(attempt);
        }

        explained.push(json::explained(case, arguments.walker(), first.as_ref(), runs));
    }

    let document = || json::document(arguments.walker(), explained);
    Ok(finish(true, ending(end, machines.is_empty()), document, String::new))
}

fn run_on_each(
    machines: &mut [Box<dyn Machine>],
    case: &Case,
) -> Vec<Result<Attempt, MachineError>> {
    machines.iter_mut().map(|machine| campaign::run_one(machine.as_mut(), case)).collect()
}

impl ExplainArguments {
    /// Checks that no option would be ignored, and that a name means one case.
    fn check_use(
        &self,
        name: Option<&FullCaseName>,
        booted: Option<MachineKind>,
    ) -> Result<(), Failure> {
        match &self.walker {
            Predictor::BuiltIn(_) => {}
            Predictor::Nested(mutant) => {
                let problem = format!(
                    "--walker: mutant:{} is one of nested paging, the case is not",
                    mutant.id
                );
                return Err(Failure::Input(problem));
            }
            Predictor::Program(_) => {
                let problem = "--walker: a program is asked about cases by check and replay: expected \
                               reference or mutant:ID";
                return Err(Failure::Input(problem.into()));
            }
        }
        self.check_machine_options()?;

        let bare_name = name.filter(|name| name.origin.is_none());
        if let (Some(name), Some(kind)) = (bare_name, booted) {
            return Err(needs_a_case(name, kind));
        }
        if let Some(name) = bare_name.filter(|_| !self.runs_cases()) {
            return Err(Failure::Input(format!(
                "{name}: on another machine this is another case: expected --machine with the one that is meant, or a \
                 name with its properties, such as {name}@skylake"
            )));
        }

        if let Some(kind) = booted {
            Booter::check(kind, &self.options)?;
        }
        if let (Some(option), Some(kind)) = (self.option_of_memory(), booted) {
            return Err(Failure::Input(format!(
                "{option} is not for {}, whose memory is its own",
                kind.name()
            )));
        }
        Ok(())
    }

    /// Checks that no option about machines would be ignored.
    fn check_machine_options(&self) -> Result<(), Failure> {
        match self.options.first_option().filter(|_| !self.runs_cases()) {
            None => Ok(()),
            Some(option) => Err(Failure::Input(format!(
                "{option} is about a machine: expected --machine with it"
            ))),
        }
    }

    /// Whose walk a case of one dimension is explained by.
    const fn walker(&self) -> WalkerSpec {
        self.walker.judge()
    }

    /// The machine that boots an image of the cases, if that is the one to run on.
    fn booted(&self) -> Option<MachineKind> {
        self.machine.filter(|kind| kind.boots_an_image())
    }

    /// Whether the user named a machine.
    const fn runs_cases(&self) -> bool {
        self.machine.is_some() || self.options.asks_for_qemu()
    }

    /// The first option that shows the memory of the guest after one case, if there is one.
    fn option_of_memory(&self) -> Option<&'static str> {
        [(self.dump.is_some(), "--dump"), (self.live.is_some(), "--live")]
            .into_iter()
            .find_map(|(is_given, option)| is_given.then_some(option))
    }
}

/// The machines to run on.
fn open_machines(arguments: &ExplainArguments) -> Result<Vec<Box<dyn Machine>>, Failure> {
    let kind = arguments.machine.or(arguments.runs_cases().then_some(MachineKind::Auto));
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

/// Accepts the names of generations; the error for any other name lists them.
fn generations() -> impl TypedValueParser<Value = Profile> {
    let names = GENERATIONS.iter().map(|generation| generation.name);
    PossibleValuesParser::new(names)
        .try_map(|name| Profile::generation(&name).ok_or("no such generation"))
}
