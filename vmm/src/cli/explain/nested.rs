//! `explain` of a case of nested paging: both dimensions, reference by reference.

use super::ExplainArguments;
use crate::cli::failure::Failure;
use crate::cli::nested_cases::{known_of, named, open_nested, provenance_of, read_nested};
use crate::cli::output::print_beside_verdict;
use crate::report::document::{Ending, VerdictWord};
use crate::report::nested;
use crosswalk_machine::Machine;
use crosswalk_nested::generate::NestedName;
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::observation::NestedAttempt;
use crosswalk_nested::requirements::adopt;
use crosswalk_nested::verdict::{NestedVerdict, judge};
use crosswalk_nested::walker::REFERENCE;
use crosswalk_nested::{NestedCase, run_alone};
use std::process::ExitCode;

/// Explains cases of nested paging, and runs them if a machine is named.
pub(super) fn run(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    arguments.check_nested()?;
    let mut machine = match arguments.machine {
        Some(kind) => Some(open_nested(&arguments.options, kind)?.0),
        None => None,
    };

    let mut word = VerdictWord::Done;
    for case in cases(arguments, machine.as_deref())? {
        print_beside_verdict(&nested::explain(&case, &REFERENCE));
        if let Some(machine) = &mut machine {
            word = show(&case, machine.as_mut(), word)?;
        }
    }
    let word =
        if machine.is_some() && word == VerdictWord::Done { VerdictWord::Agree } else { word };
    Ok(Ending::from(word).exit_code())
}

/// The cases of the command line; on a machine they are its processor's.
fn cases(
    arguments: &ExplainArguments,
    machine: Option<&dyn Machine>,
) -> Result<Vec<NestedCase>, Failure> {
    if arguments.case.starts_with("nested:") {
        let name: NestedName = arguments.case.parse().map_err(Failure::Input)?;
        let machine = machine.ok_or_else(|| {
            let problem = "the name is one of a machine's cases: --machine";
            Failure::Input(format!("{name}: {problem}"))
        })?;
        return Ok(vec![named(name, machine.capabilities())?]);
    }
    let mut cases = read_nested(&arguments.case)?;
    if let Some(machine) = machine {
        let here = machine.capabilities();
        cases = cases.into_iter().map(|case| adopt(case, here)).collect();
    }
    Ok(cases)
}

/// Runs a case, and shows what the machine did.
fn show(
    case: &NestedCase,
    machine: &mut dyn Machine,
    word: VerdictWord,
) -> Result<VerdictWord, Failure> {
    let provenance = provenance_of(machine.identity());
    let attempt = run_alone(case, machine, provenance)?;
    print_beside_verdict(&nested::draw(case, &REFERENCE, &attempt));

    let known = known_of(machine.identity());
    let is_known = name_known(&known, case, &attempt);
    Ok(match judge(&REFERENCE, case, &attempt) {
        NestedVerdict::Diverge { .. } if !is_known => VerdictWord::Diverge,
        NestedVerdict::Unsupported(_) | NestedVerdict::Unpredicted
            if word != VerdictWord::Diverge =>
        {
            VerdictWord::NotRun
        }
        _ => word,
    })
}

/// Names the known findings that explain what the machine did. Returns whether there are any.
fn name_known(known: &KnownNested, case: &NestedCase, attempt: &NestedAttempt) -> bool {
    let is_wrong = matches!(judge(&REFERENCE, case, attempt), NestedVerdict::Diverge { .. });
    let ids = if is_wrong { known.recognize(case, attempt) } else { Vec::new() };
    for finding in ids.iter().filter_map(|id| known.finding(id)) {
        print_beside_verdict(&format!("known     {}: {}\n", finding.id, finding.title));
    }
    !ids.is_empty()
}

impl ExplainArguments {
    /// Refuses what nested cases do not have.
    fn check_nested(&self) -> Result<(), Failure> {
        let ignored = [
            (!self.walker.is_reference(), "--walker"),
            (self.profile.is_some(), "--profile"),
            (self.known.is_some(), "--known"),
            (self.tree, "--tree"),
            (self.dump.is_some(), "--dump"),
            (self.live.is_some(), "--live"),
            (self.json, "--json"),
        ];
        match ignored.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, option)) => {
                Err(Failure::Input(format!("{option} is not for a case of nested paging")))
            }
            None => Ok(()),
        }
    }
}
