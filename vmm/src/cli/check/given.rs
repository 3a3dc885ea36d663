//! `check` of cases that the user gave: a bug report's case becomes a regression test.

use super::CheckArguments;
use super::accept::accept;
use crate::campaign::given::{name_of_given, run_given};
use crate::campaign::journal::{RunLine, RunOptions};
use crate::cli::booter::Booter;
use crate::cli::case_file::{case_name, named_case, needs_a_case, read_cases};
use crate::cli::cpu_time::cpu_seconds;
use crate::cli::failure::Failure;
use crate::cli::modes::offered;
use crate::cli::output::print_beside_verdict;
use crate::cli::program::AskedProgram;
use crate::cli::progress;
use crate::cli::publish::{lock_report, publish};
use crate::cli::stop_flag::stop_flag;
use crate::generate::{CaseName, FullCaseName};
use crate::report::{Resuming, RunFacts, run::text};
use crate::walker::Walker;
use crosswalk_case::Case;
use crosswalk_machine::{Machine, ModeOffer};
use mmu_core::{PagingMode, Reference};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// Runs the cases that the command line gives, and ends as `check` does.
pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    if let Some(option) = arguments.first_option_of_generators() {
        let problem = format!("{option} is about cases that are generated: these are given");
        return Err(Failure::Input(problem));
    }
    let _lock = arguments.report.as_deref().map(lock_report).transpose()?;

    let (mut machine, why) = open(arguments)?;
    let mut cases = given(arguments, Some(machine.as_ref()))?;
    let of_others = adopt(&mut cases, machine.as_ref());
    let modes = modes_of(&cases, machine.as_ref());
    let given = cases.len();
    cases.retain(|(_, case)| offered(&modes).contains(&case.mode()));
    let without_mode = given - cases.len();

    let identity = machine.identity().clone();
    let capabilities = machine.capabilities().clone();
    let known = arguments.known();
    let options = RunOptions {
        modes: &modes,
        modes_by_name: true,
        cases: None,
        walker: &arguments.walker,
        known: &known,
    };
    let run = RunLine::given(options, &identity, &capabilities);
    if arguments.output.has_heading() {
        let cases = describe(given, of_others, without_mode);
        let jail = Some(machine.jail());
        print_beside_verdict(&text::heading(&identity, &capabilities, jail, &why, &cases));
    }

    let walker = arguments.walker.judge();
    let mut program = AskedProgram::start(&arguments.walker, arguments.options.jail)?;
    let stop = stop_flag()?;
    let counter = progress::case_counter();
    let judge = (walker, known.load(walker, &identity)?);
    let mut summary = run_given(machine.as_mut(), &cases, judge, |case, verdict| {
        if let Some(program) = &mut program {
            program.ask(case, &Reference.predict(case), verdict);
        }
        counter.inc(1);
        !stop.load(Ordering::Relaxed)
    })?;
    counter.finish_and_clear();
    if let Some(program) = &mut program {
        program.end();
    }

    accept(arguments, &identity, &mut summary)?;

    let facts = RunFacts {
        identity: &identity,
        capabilities: &capabilities,
        modes: &modes,
        run: &run,
        sources: &[],
        covered: &[],
        candidate: program.as_ref().map(AskedProgram::score),
        complete: summary.tally.cases() == cases.len() as u64,
        resuming: Resuming::Never,
        jobs: Some(1),
        jail: Some(machine.jail()),
        cpu_seconds: cpu_seconds(),
    };
    publish(&facts, &summary, "", arguments.output, arguments.report.as_deref())
}

/// Opens the machine. One that boots an image needs the cases before it does.
fn open(arguments: &CheckArguments) -> Result<(Box<dyn Machine>, String), Failure> {
    if arguments.machine.boots_an_image() {
        let cases = given(arguments, None)?;
        let cases: Vec<_> = cases.into_iter().map(|(_, case)| case).collect();
        let booter = Booter::find(arguments.machine, &arguments.options)?;
        return Ok((Box::new(booter.run_cases(&cases)?), booter.machine().why));
    }

    let opened = arguments.options.open_only(arguments.machine)?;
    Ok((opened.machine, opened.why))
}

/// The cases of the command line, in order. The names of generated cases need a machine.
fn given(
    arguments: &CheckArguments,
    machine: Option<&dyn Machine>,
) -> Result<Vec<(CaseName, Case)>, Failure> {
    let mut cases = Vec::new();

    for argument in &arguments.cases_given {
        match (case_name(argument)?, machine) {
            (Some(name), None) if name.origin.is_none() => {
                return Err(needs_a_case(&name, arguments.machine));
            }
            (Some(name), machine) => {
                let (FullCaseName { name, .. }, case) = named_case(name, machine)?;
                cases.push((name, case));
            }
            (None, _) => {
                for case in read_cases(argument)? {
                    let place = cases.len() as u64 + 1;
                    cases.push((name_of_given(&case, place), case));
                }
            }
        }
    }
    Ok(cases)
}

/// Makes cases those of this machine's processor. Returns the number of those that were saved for another one.
fn adopt(cases: &mut [(CaseName, Case)], machine: &dyn Machine) -> usize {
    let profile = machine.capabilities().profile;
    let mut of_others = 0;
    for (_, case) in cases {
        of_others += usize::from(case.profile != profile);
        case.profile = profile;
    }
    of_others
}

/// The modes of the cases, each with the reason if the machine does not offer it.
fn modes_of(cases: &[(CaseName, Case)], machine: &dyn Machine) -> Vec<ModeOffer> {
    let is_used = |mode: PagingMode| cases.iter().any(|(_, case)| case.mode() == mode);
    let all = machine.capabilities().modes.iter();
    all.filter(|(mode, _)| is_used(*mode)).cloned().collect()
}

/// The cases in words.
fn describe(count: usize, of_others: usize, without_mode: usize) -> String {
    let others = match of_others {
        0 => String::new(),
        _ => {
            format!(", {of_others} saved for another processor and judged by the rules of this one")
        }
    };
    let without_mode = match without_mode {
        0 => String::new(),
        _ => format!(", {without_mode} in modes that this machine does not have"),
    };
    format!("{count} given{others}{without_mode}")
}
