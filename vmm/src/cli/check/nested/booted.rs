//! Generated cases on an emulator that boots images, one image after the other.

use super::{CheckArguments, known_findings, report};
use crate::cli::booter::Booter;
use crate::cli::failure::Failure;
use crate::cli::nested_booter::BATCHES_OF_IMAGE;
use crate::cli::nested_cases::provenance_of;
use crate::cli::progress::CaseBar;
use crate::cli::stop_flag::stop_flag;
use crate::report::nested::NestedFacts;
use crosswalk_machine::Machine;
use crosswalk_nested::batch;
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::tally::{Judge, NestedTally};
use crosswalk_nested::walker::NestedWalker;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Number of cases, unless the user asks for another.
const DEFAULT_CASES: u64 = 20_000;

/// Runs the cases of a generator.
pub(super) fn run(
    arguments: &CheckArguments,
    walker: &'static dyn NestedWalker,
) -> Result<ExitCode, Failure> {
    let begin = Instant::now();
    let seed = arguments.nested_seed();
    let booter = Booter::find(arguments.machine, &arguments.options)?;
    let offered = booter.probe_nested()?;
    let cases = arguments.cases.or((!arguments.exhaustive).then_some(DEFAULT_CASES));
    let mut schedule = arguments.schedule(seed, &offered, cases)?;
    let stop = stop_flag()?;
    let bar = CaseBar::start(cases, None);

    let mut tally = NestedTally::default();
    let mut known = KnownNested::nothing();
    let mut last = None;
    while !stop.load(Ordering::Relaxed) {
        let batches = schedule.take(BATCHES_OF_IMAGE as usize);
        // An image with nothing on it says what the machine is, if the shard has no case.
        if batches.is_empty() && last.is_some() {
            break;
        }

        let mut machine = booter.run_nested(&batches, &offered)?;
        if last.is_none() {
            known = known_findings(arguments, machine.identity())?;
            let why = booter.machine().why;
            arguments.print_heading(machine.identity(), &offered, &why, &arguments.drawn(seed));
        }
        let judge = Judge { walker, known: &known, provenance: provenance_of(machine.identity()) };
        for batch in &batches {
            let ran = batch::run(batch, &mut machine, judge.provenance)?;
            tally.add_batch(judge, schedule.stream(), batch, &ran);
            bar.show(tally.cases, tally.diverge, tally.unknown());
        }
        last = Some(machine);
    }
    bar.end();

    let Some(machine) = last else { return Err(Failure::Stopped) };
    let facts = NestedFacts {
        identity: machine.identity(),
        capabilities: &offered,
        sources: &[],
        generator: arguments.nested_generator().name(),
        seed: Some(seed),
        shard: arguments.whole_or_shard(),
        walker: &arguments.walker.to_string(),
        known: &known,
        complete: !stop.load(Ordering::Relaxed),
        seconds: begin.elapsed().as_secs_f64(),
    };
    Ok(report(arguments, &facts, &tally))
}
