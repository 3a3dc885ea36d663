//! `mutants --nested`: which walkers of nested paging with one mistake a machine proves wrong.

use super::MutantsArguments;
use crate::cli::booter::Booter;
use crate::cli::failure::Failure;
use crate::cli::nested_booter::BATCHES_OF_IMAGE;
use crate::cli::nested_cases::{known_of, open_nested, provenance_of};
use crate::cli::output::{finish, print_beside_verdict};
use crate::cli::stop_flag::{stop_flag, was_stopped};
use crate::cli::time::DEFAULT_TIME;
use crate::report::document::VerdictWord;
use crate::report::nested;
use crosswalk_machine::{Capabilities, Identity, Machine};
use crosswalk_nested::generate::{Generator, Stream};
use crosswalk_nested::mutation::{self, NestedScore, Status};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Number of cases on an emulator that boots an image, unless the user asks for another.
const DEFAULT_BOOTED_CASES: u64 = 20_000;

/// Runs `mutants --nested`. The exit code is 0 when no mutant is missed, else 1; 4 after Ctrl-C.
pub(super) fn run(arguments: &MutantsArguments) -> Result<ExitCode, Failure> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    if arguments.machine.boots_an_image() {
        return run_booted(arguments, seed);
    }

    let (mut machine, why) = open_nested(&arguments.options, arguments.machine)?;
    let offered = machine.capabilities().clone();
    let stream = stream_for(seed, &offered)?;
    arguments.print_heading(machine.identity(), &offered, &why, seed);

    let begin = Instant::now();
    let stop = stop_flag()?;
    let provenance = provenance_of(machine.identity());
    let mut score = NestedScore::new(&offered);
    let batches = (0..).map(|number| stream.batch(number));
    let known = known_of(machine.identity());
    mutation::run(batches, machine.as_mut(), provenance, &known, &mut score, |score| {
        let is_over = match arguments.cases {
            Some(cases) => score.cases >= cases,
            None => begin.elapsed() >= arguments.time.unwrap_or(DEFAULT_TIME),
        };
        !is_over && !stop.load(Ordering::Relaxed)
    })?;
    let was_stopped = was_stopped(&stop, score.cases);
    Ok(report(arguments, (machine.identity(), &offered), seed, &score, was_stopped))
}

/// The same on an emulator that boots images, one after the other.
fn run_booted(arguments: &MutantsArguments, seed: u64) -> Result<ExitCode, Failure> {
    if arguments.time.is_some() {
        let problem = "--for needs a machine that is given one batch after another: --cases";
        return Err(Failure::Input(problem.into()));
    }
    let booter = Booter::find(arguments.machine, &arguments.options)?;
    let offered = booter.probe_nested()?;
    let stream = stream_for(seed, &offered)?;
    let cases = arguments.cases.unwrap_or(DEFAULT_BOOTED_CASES);
    let stop = stop_flag()?;

    let mut score = NestedScore::new(&offered);
    let mut identity = None;
    let mut first = 0;
    while score.cases < cases && !score.is_complete() && !stop.load(Ordering::Relaxed) {
        let numbers = first..first + BATCHES_OF_IMAGE;
        let batches: Vec<_> = numbers.map(|number| stream.batch(number)).collect();
        let mut machine = booter.run_nested(&batches, &offered)?;
        if identity.is_none() {
            let why = booter.machine().why;
            arguments.print_heading(machine.identity(), &offered, &why, seed);
            identity = Some(machine.identity().clone());
        }
        let provenance = provenance_of(machine.identity());
        let known = known_of(machine.identity());
        let batches = batches.into_iter();
        mutation::run(batches, &mut machine, provenance, &known, &mut score, |_| true)?;
        first += BATCHES_OF_IMAGE;
    }

    let was_stopped = was_stopped(&stop, score.cases);
    let Some(identity) = identity else {
        return Err(Failure::machine("nothing was run".into()));
    };
    Ok(report(arguments, (&identity, &offered), seed, &score, was_stopped))
}

fn stream_for(seed: u64, offered: &Capabilities) -> Result<Stream, Failure> {
    let stream = Stream::new(Generator::Random, seed, offered);
    stream.map_err(|why| Failure::machine(why.to_string()))
}

fn report(
    arguments: &MutantsArguments,
    machine: (&Identity, &Capabilities),
    seed: u64,
    score: &NestedScore,
    was_stopped: bool,
) -> ExitCode {
    let verdict = if was_stopped {
        VerdictWord::Incomplete
    } else if score.count(Status::Missed) > 0 {
        VerdictWord::Missed
    } else {
        VerdictWord::Caught
    };
    finish(
        arguments.json,
        verdict.into(),
        || nested::mutants_document(machine, seed, score),
        || nested::mutants_text(score),
    )
}

impl MutantsArguments {
    fn print_heading(&self, identity: &Identity, offered: &Capabilities, why: &str, seed: u64) {
        if !self.json {
            let what = format!("random, seed {seed}");
            print_beside_verdict(&nested::heading(identity, offered, why, &what));
        }
    }
}
