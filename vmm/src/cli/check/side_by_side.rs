//! `check` on several machines: the same run on each, one after the other, and their findings side by
//! side.

use super::CheckArguments;
use super::finished::FinishedRun;
use super::session::Session;
use crate::cli::failure::Failure;
use crate::cli::machine::MachineArguments;
use crate::cli::output::{finish, print_beside_verdict};
use crate::cli::publish::write_report;
use crate::report::run::conclusion::Conclusion;
use crate::report::run::side_by_side::{self, ComparedRun};
use crate::report::run::text;
use std::process::ExitCode;

/// Runs on each machine that the options name. The exit code is the gravest of the runs.
pub(super) fn run(
    arguments: &CheckArguments,
    options: Vec<MachineArguments>,
) -> Result<ExitCode, Failure> {
    arguments.output.check_text_or_json("several machines")?;
    if arguments.update_known.is_some() {
        let problem = "--update-known: the findings of one machine are no other's: expected one";
        return Err(Failure::Input(problem.into()));
    }
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut finished: Vec<(String, FinishedRun)> = Vec::new();

    for (number, options) in (1..).zip(options) {
        let name = options.qemu_name().map_or_else(String::new, |name| name.display().to_string());
        // A directory for each, so that a run can be resumed and merged like any other.
        let report = arguments.report.as_ref().map(|directory| directory.join(number.to_string()));
        let of_one = CheckArguments {
            seed: (!arguments.exhaustive).then_some(seed),
            report,
            options,
            ..arguments.clone()
        };

        let run = run_one(&of_one)?;
        let is_complete = run.is_complete;
        finished.push((name, run));
        if !is_complete {
            break;
        }
    }

    let compared: Vec<_> = finished
        .iter()
        .map(|(name, run)| ComparedRun { name, facts: run.facts(), summary: &run.summary })
        .collect();
    let gravest = compared.iter().map(|run| Conclusion::of(&run.facts, run.summary)).max();
    let gravest = gravest.unwrap_or(Conclusion::NothingCompared);
    Ok(finish(
        !arguments.output.is_text(),
        gravest.ending(arguments.output.allow_incomplete),
        || side_by_side::document(&compared),
        || side_by_side::text(&compared),
    ))
}

/// Runs on one machine, and prints its report unless one document for all follows.
fn run_one(arguments: &CheckArguments) -> Result<FinishedRun, Failure> {
    let machine = arguments.options.open(arguments.machine)?;
    let mut session = Session::open(arguments, machine)?;
    session.resume()?;
    session.forget_cpu_time();
    session.run()?;

    let run = session.finish()?;
    if let Some(directory) = &arguments.report {
        let conclusion = Conclusion::of(&run.facts(), &run.summary);
        let ending = conclusion.ending(arguments.output.allow_incomplete);
        write_report(&run.facts(), &run.summary, ending, directory)?;
    }
    if arguments.output.is_text() {
        print_beside_verdict(
            &(text::summary(&run.facts(), &run.summary, "", arguments.output.detail()) + "\n"),
        );
    }
    Ok(run)
}
