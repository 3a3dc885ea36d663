//! `explain` of a case of nested paging: both dimensions, reference by reference.

use super::{CaseEnd, ExplainArguments, ending};
use crate::campaign::known::KnownSource;
use crate::cli::booter::Booter;
use crate::cli::failure::Failure;
use crate::cli::machine::MachineKind;
use crate::cli::nested_cases::{
    load_known, named, nested_walker, open_nested, provenance_of, read_nested,
};
use crate::cli::output::{finish, print_beside_verdict};
use crate::report::nested::{self, RunOfNestedCase};
use crosswalk_machine::{Capabilities, Identity, Machine};
use crosswalk_nested::generate::NestedName;
use crosswalk_nested::known::{KnownNested, Recognized};
use crosswalk_nested::observation::NestedAttempt;
use crosswalk_nested::requirements::adopt;
use crosswalk_nested::verdict::{NestedVerdict, judge};
use crosswalk_nested::walker::NestedWalker;
use crosswalk_nested::{NestedCase, run_alone};
use std::process::ExitCode;

/// Explains cases of nested paging, and runs them if a machine is named.
pub(super) fn run(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    arguments.check_nested()?;
    let walker = nested_walker(&arguments.walker)?;
    let (cases, mut machines) = cases_and_machines(arguments)?;

    if arguments.json {
        return run_as_document(arguments, walker, &cases, &mut machines);
    }

    let mut end = CaseEnd::Agrees;
    for (number, case) in (1..).zip(&cases) {
        if cases.len() > 1 {
            print_beside_verdict(&format!("case {number} of {}\n\n", cases.len()));
        }
        print_beside_verdict(&nested::explain(case, walker));
        let are_several = machines.len() > 1;
        for machine in &mut machines {
            let seen = machine.run(case, walker)?;
            if are_several {
                print_beside_verdict(&nested::on_machine(machine.identity()));
            }
            print_beside_verdict(&nested::draw(case, walker, &seen.attempt));
            print_beside_verdict(&machine.names(&seen.known));
            end = end.max(seen.end(machine.are_forgiven));
        }
        if number < cases.len() {
            print_beside_verdict("\n");
        }
    }
    Ok(ending(end, machines.is_empty()).exit_code())
}

/// Explains the cases as one document.
fn run_as_document(
    arguments: &ExplainArguments,
    walker: &dyn NestedWalker,
    cases: &[NestedCase],
    machines: &mut [MachineBeside],
) -> Result<ExitCode, Failure> {
    let mut ran = Vec::new();
    for case in cases {
        let seen = machines.iter_mut().map(|machine| machine.run(case, walker));
        ran.push(seen.collect::<Result<Vec<_>, _>>()?);
    }

    let mut explained = Vec::new();
    let mut end = CaseEnd::Agrees;
    for (case, seen) in cases.iter().zip(ran) {
        let mut runs = Vec::new();
        for (machine, seen) in machines.iter().zip(seen) {
            end = end.max(seen.end(machine.are_forgiven));
            let known = (seen.known, machine.are_forgiven);
            let identity = machine.identity();
            runs.push(RunOfNestedCase::new(identity, case, walker, &seen.attempt, known));
        }
        explained.push(nested::explained(case, walker, runs));
    }
    let document = || nested::explained_document(arguments.walker.to_string(), explained);
    Ok(finish(true, ending(end, machines.is_empty()), document, String::new))
}

/// A machine beside the walk, and what is known of it.
struct MachineBeside {
    machine: Box<dyn Machine>,
    known: KnownNested,
    are_forgiven: bool,
}

/// What became of a case on a machine.
struct SeenCase {
    attempt: NestedAttempt,
    verdict: NestedVerdict,
    /// The known findings that explain what differs.
    known: Recognized,
}

impl MachineBeside {
    fn new(machine: Box<dyn Machine>, arguments: &ExplainArguments) -> Result<Self, Failure> {
        let source = arguments.known.clone().unwrap_or_default();
        // What is known of a machine is known beside the reference.
        let known = if arguments.walker.is_reference() {
            load_known(&source, machine.identity())?
        } else {
            KnownNested::nothing()
        };
        Ok(Self { machine, known, are_forgiven: source != KnownSource::Unforgiven })
    }

    fn identity(&self) -> &Identity {
        self.machine.identity()
    }

    fn run(&mut self, case: &NestedCase, walker: &dyn NestedWalker) -> Result<SeenCase, Failure> {
        let provenance = provenance_of(self.identity());
        let attempt = run_alone(case, self.machine.as_mut(), provenance)?;
        let verdict = judge(walker, case, &attempt);
        let known = match verdict {
            NestedVerdict::Diverge { .. } => self.known.recognize(case, &attempt),
            _ => Vec::new(),
        };
        Ok(SeenCase { attempt, verdict, known })
    }

    /// Names the known findings that a case shows.
    fn names(&self, known: &Recognized) -> String {
        let findings = known.iter().filter_map(|id| self.known.finding(id));
        nested::known_as(findings, self.are_forgiven)
    }
}

impl SeenCase {
    fn end(&self, are_forgiven: bool) -> CaseEnd {
        match self.verdict {
            NestedVerdict::Agree { .. } => CaseEnd::Agrees,
            NestedVerdict::Diverge { .. } if are_forgiven && !self.known.is_empty() => {
                CaseEnd::Agrees
            }
            NestedVerdict::Diverge { .. } => CaseEnd::Diverges,
            NestedVerdict::Unsupported(_) | NestedVerdict::Unpredicted => CaseEnd::NotRun,
        }
    }
}

/// The cases of the command line, and the machines that they run on, if there are any. The cases are those of the first
/// machine's processor.
fn cases_and_machines(
    arguments: &ExplainArguments,
) -> Result<(Vec<NestedCase>, Vec<MachineBeside>), Failure> {
    if let Some(kind) = arguments.machine.filter(|kind| kind.boots_an_image()) {
        let booter = Booter::find(kind, &arguments.options)?;
        let offered = booter.probe_nested()?;
        let cases = cases(arguments, Some(&offered))?;
        let machine = booter.run_nested_alone(&cases, &offered)?;
        return Ok((cases, vec![MachineBeside::new(Box::new(machine), arguments)?]));
    }

    let mut machines = Vec::new();
    if arguments.runs_cases() {
        let kind = arguments.machine.unwrap_or(MachineKind::Auto);
        for options in arguments.options.one_by_one() {
            machines.push(MachineBeside::new(open_nested(&options, kind)?.0, arguments)?);
        }
    }
    let offered = machines.first().map(|first| first.machine.capabilities());
    Ok((cases(arguments, offered)?, machines))
}

/// The cases of the command line; on a machine they are its processor's.
fn cases(
    arguments: &ExplainArguments,
    offered: Option<&Capabilities>,
) -> Result<Vec<NestedCase>, Failure> {
    if arguments.case.starts_with("nested:") {
        let name: NestedName = arguments.case.parse().map_err(Failure::Input)?;
        let offered = offered.ok_or_else(|| {
            let problem = "the name is one of a machine's cases: --machine";
            Failure::Input(format!("{name}: {problem}"))
        })?;
        return Ok(vec![named(name, offered)?]);
    }
    let mut cases = read_nested(&arguments.case)?;
    if let Some(offered) = offered {
        cases = cases.into_iter().map(|case| adopt(case, offered)).collect();
    }
    Ok(cases)
}

impl ExplainArguments {
    /// Refuses what nested cases do not have.
    fn check_nested(&self) -> Result<(), Failure> {
        self.check_machine_options()?;
        let ignored = [
            (self.profile.is_some(), "--profile"),
            (self.tree, "--tree"),
            (self.dump.is_some(), "--dump"),
            (self.live.is_some(), "--live"),
        ];
        let ignored = ignored.into_iter().find_map(|(is_given, option)| is_given.then_some(option));
        match ignored.or(self.pictures.first_option()) {
            Some(option) => {
                Err(Failure::Input(format!("{option} is not for a case of nested paging")))
            }
            None => Ok(()),
        }
    }
}
