//! `replay` of a corpus of nested cases.

use super::ReplayOptions;
use crate::campaign::known::KnownSource;
use crate::cli::failure::Failure;
use crate::cli::nested_cases::{ending_of, known_file, known_of, nested_walker};
use crate::cli::output::finish;
use crate::cli::output_arguments::Format;
use crate::cli::progress;
use crate::cli::stop_flag::{goes_on, stop_flag};
use crate::corpus::nested::NestedCorpusReader;
use crate::corpus::nested::replay::{NestedReplayPlan, replay};
use crate::generate::Shard;
use crate::report::nested::{self, NestedFacts};
use crosswalk_machine::Identity;
use crosswalk_nested::known::KnownNested;
use std::process::ExitCode;
use std::time::Instant;

/// Replays a corpus.
pub(super) fn run(
    mut reader: NestedCorpusReader,
    options: &ReplayOptions,
) -> Result<ExitCode, Failure> {
    options.check_nested()?;
    let begin = Instant::now();
    let walker = nested_walker(&options.walker)?;
    let file = match &options.known {
        Some(KnownSource::File(path)) => Some(known_file(path)?),
        Some(KnownSource::Unforgiven) => Some(KnownNested::nothing()),
        Some(KnownSource::Shipped) | None => None,
    };
    let known = |machine: &Identity| file.clone().unwrap_or_else(|| known_of(machine));
    let plan = NestedReplayPlan { walker, known: &known, cases: options.cases };

    let stop = stop_flag()?;
    let counter = progress::case_counter();
    let replayed = replay(&mut reader, &plan, || {
        counter.inc(1);
        goes_on(&stop)
    })?;
    counter.finish_and_clear();

    let is_complete = goes_on(&stop).is_continue();
    let tally = &replayed.tally;
    if !is_complete && tally.cases == 0 {
        return Err(Failure::Stopped);
    }
    let heading = nested::replay_heading(reader.name(), &replayed.sources);
    let facts = NestedFacts {
        identity: &replayed.identity,
        capabilities: &replayed.capabilities,
        sources: &replayed.sources,
        generator: "recorded",
        seed: None,
        shard: Shard::WHOLE,
        walker: &options.walker.to_string(),
        known: &replayed.known,
        complete: is_complete,
        seconds: begin.elapsed().as_secs_f64(),
    };
    Ok(finish(
        options.output.format() == Format::Json,
        ending_of(nested::verdict(&facts, tally), options.output),
        || nested::document(&facts, tally),
        || nested::summary(&facts, tally, &heading, options.output.detail()),
    ))
}

impl ReplayOptions {
    /// Refuses what such a corpus does not have.
    fn check_nested(&self) -> Result<(), Failure> {
        let ignored = [(!self.mode.is_empty(), "--mode"), (self.report.is_some(), "--report")];
        if let Some((_, option)) = ignored.into_iter().find(|(is_given, _)| *is_given) {
            return Err(Failure::Input(format!("{option} is not for a corpus of nested cases")));
        }
        self.output.check_text_or_json("a replay of nested cases")
    }
}
