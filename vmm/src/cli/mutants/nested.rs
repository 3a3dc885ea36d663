//! `mutants --nested`: which walkers of nested paging with one mistake a machine proves wrong.

use super::MutantsArguments;
use crate::cli::failure::Failure;
use crate::cli::nested_cases::{open_nested, provenance_of};
use crate::cli::output::{finish, print_beside_verdict};
use crate::cli::stop_flag::{stop_flag, was_stopped};
use crate::cli::time::DEFAULT_TIME;
use crate::report::document::VerdictWord;
use crate::report::nested;
use crosswalk_nested::generate::{Generator, Stream};
use crosswalk_nested::mutation::{self, Status};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Runs `mutants --nested`. The exit code is 0 when no mutant is missed, else 1; 4 after Ctrl-C.
pub(super) fn run(arguments: &MutantsArguments) -> Result<ExitCode, Failure> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let (mut machine, why) = open_nested(&arguments.options, arguments.machine)?;
    let stream = Stream::new(Generator::Random, seed, machine.capabilities())
        .map_err(|why| Failure::machine(why.to_string()))?;
    if !arguments.json {
        let what = format!("random, seed {seed}");
        let heading = nested::heading(machine.identity(), machine.capabilities(), &why, &what);
        print_beside_verdict(&heading);
    }

    let begin = Instant::now();
    let stop = stop_flag()?;
    let provenance = provenance_of(machine.identity());
    let score = mutation::run(&stream, machine.as_mut(), provenance, |score| {
        let is_over = match arguments.cases {
            Some(cases) => score.cases >= cases,
            None => begin.elapsed() >= arguments.time.unwrap_or(DEFAULT_TIME),
        };
        !is_over && !stop.load(Ordering::Relaxed)
    })?;

    let verdict = if was_stopped(&stop, score.cases) {
        VerdictWord::Incomplete
    } else if score.count(Status::Missed) > 0 {
        VerdictWord::Missed
    } else {
        VerdictWord::Caught
    };
    Ok(finish(
        arguments.json,
        verdict.into(),
        || nested::mutants_document(machine.as_ref(), seed, &score),
        || nested::mutants_text(&score),
    ))
}
