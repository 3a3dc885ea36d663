//! Cases that the user gives.

use super::{CheckArguments, known_findings, report};
use crate::cli::booter::Booter;
use crate::cli::failure::Failure;
use crate::cli::nested_cases::{named, open_nested, provenance_of, read_nested};
use crate::generate::Shard;
use crate::report::nested::NestedFacts;
use crosswalk_machine::{Capabilities, Identity, Machine};
use crosswalk_nested::generate::NestedName;
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::requirements::adopt;
use crosswalk_nested::tally::{Judge, NestedTally};
use crosswalk_nested::walker::NestedWalker;
use crosswalk_nested::{NestedCase, run_alone};
use std::process::ExitCode;
use std::time::Instant;

/// Runs the cases on a machine that is given one batch after the other.
pub(super) fn run(
    arguments: &CheckArguments,
    walker: &'static dyn NestedWalker,
) -> Result<ExitCode, Failure> {
    let begin = Instant::now();
    let (mut machine, why) = open_nested(&arguments.options, arguments.machine)?;
    let offered = machine.capabilities().clone();
    let cases = given(arguments, &offered)?;
    arguments.run_given(cases, machine.as_mut(), (&offered, &why), walker, begin)
}

/// Runs them on an emulator that boots an image, each in a batch of its own.
pub(super) fn run_booted(
    arguments: &CheckArguments,
    walker: &'static dyn NestedWalker,
) -> Result<ExitCode, Failure> {
    let begin = Instant::now();
    let booter = Booter::find(arguments.machine, &arguments.options)?;
    let offered = booter.probe_nested()?;
    let cases = given(arguments, &offered)?;
    let mut machine = booter.run_nested_alone(cases.iter().map(|(_, case)| case), &offered)?;
    let why = booter.machine().why;
    arguments.run_given(cases, &mut machine, (&offered, &why), walker, begin)
}

impl CheckArguments {
    /// Runs the cases one by one.
    fn run_given(
        &self,
        cases: Vec<(String, NestedCase)>,
        machine: &mut dyn Machine,
        (offered, why): (&Capabilities, &str),
        walker: &'static dyn NestedWalker,
        begin: Instant,
    ) -> Result<ExitCode, Failure> {
        let identity: Identity = machine.identity().clone();
        let known: KnownNested = known_findings(self, &identity)?;
        let judge = Judge { walker, known: &known, provenance: provenance_of(&identity) };
        self.print_heading(&identity, offered, why, &format!("{} given", cases.len()));

        let mut tally = NestedTally::default();
        for (index, (name, case)) in (0..).zip(cases) {
            let attempt = run_alone(&case, machine, judge.provenance)?;
            tally.add(judge, (index, || name), &case, &attempt);
        }
        let facts = NestedFacts {
            identity: &identity,
            capabilities: offered,
            sources: &[],
            generator: "given",
            seed: None,
            shard: Shard::WHOLE,
            walker: &self.walker.to_string(),
            known: &known,
            complete: true,
            seconds: begin.elapsed().as_secs_f64(),
        };
        Ok(report(self, &facts, &tally))
    }
}

/// The cases of the command line, each with its name. Each is adopted by this machine's processor.
fn given(
    arguments: &CheckArguments,
    machine: &Capabilities,
) -> Result<Vec<(String, NestedCase)>, Failure> {
    let mut cases = Vec::new();
    for argument in &arguments.cases_given {
        if argument.starts_with("nested:") {
            let name: NestedName = argument.parse().map_err(Failure::Input)?;
            let case = named(name, machine)?;
            cases.push((argument.clone(), case));
            continue;
        }
        for case in read_nested(argument)? {
            let number = cases.len() + 1;
            cases.push((format!("case {number}"), adopt(case, machine)));
        }
    }
    Ok(cases)
}
