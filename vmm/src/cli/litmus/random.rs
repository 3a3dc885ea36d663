//! `crosswalk litmus random`: random tests, judged by the model and run on a machine.

use super::campaign::{Campaign, OpenedLitmusMachine};
use super::{DEFAULT_RUNS, RunArguments, judge, verdict};
use crate::cli::failure::Failure;
use crate::cli::number::parse_count;
use crate::cli::output::finish;
use crate::report::litmus::{self, JudgedTest, LitmusRunFacts};
use crosswalk_litmus::random::Extra;
use crosswalk_litmus::{Litmus, SeenOutcomes, random, shrink};
use std::process::ExitCode;

/// How many tests there are if the user does not say.
const DEFAULT_TESTS: u64 = 100;

/// More tests than this are not held at once; there are more of another seed.
const MAX_TESTS: u64 = 100_000;

/// How often a candidate is run while a test is made plainer.
const SHRINKING_RUNS: u32 = 4000;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RandomLitmusArguments {
    /// How many tests, such as 1e3 [default: 100]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    tests: Option<u64>,
    /// What tests may have besides what every processor has, separated by commas: supervisor (ring 0 and CR0.WP), pcid
    /// (PCIDs and INVPCID)
    #[arg(long, value_name = "EXTRAS", value_delimiter = ',', value_parser = parse_extra)]
    with: Vec<Extra>,
    #[command(flatten)]
    run: RunArguments,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

fn parse_extra(name: &str) -> Result<Extra, String> {
    let known = Extra::ALL.into_iter().find(|extra| extra.name() == name);
    known.ok_or_else(|| format!("no extra is called {name:?}; there are supervisor and pcid"))
}

pub(super) fn run(arguments: &RandomLitmusArguments) -> Result<ExitCode, Failure> {
    let seed = arguments.run.seed();
    let tests = arguments.tests.unwrap_or(DEFAULT_TESTS);
    if tests > MAX_TESTS {
        let problem = format!("--tests: at most {MAX_TESTS} at once; another --seed has others");
        return Err(Failure::Input(problem));
    }
    let mut extras = arguments.with.clone();
    extras.sort_unstable();
    extras.dedup();
    let judged = (0..tests).map(|number| judge(random::test(seed, number, &extras)));
    let mut judged = judged.collect::<Result<Vec<_>, _>>()?;

    let machine = arguments.run.open()?;
    let mut is_stopped = false;
    if let Some(machine) = &machine {
        let runs = arguments.run.runs.unwrap_or(DEFAULT_RUNS);
        let campaign = Campaign { machine, seed, runs, time: None };
        is_stopped = campaign.run(&mut judged)?;
        for judged in judged.iter_mut().filter(|judged| judged.forbidden().next().is_some()) {
            make_plainer(judged, machine, seed);
        }
    }

    let facts = LitmusRunFacts {
        machine: machine.as_ref().map(OpenedLitmusMachine::facts),
        known: &arguments.run.known(),
        seed,
    };
    Ok(finish(
        arguments.json,
        verdict(&judged, is_stopped).into(),
        || litmus::document(&judged, &facts),
        || litmus::random(&judged, &facts),
    ))
}

/// Replaces a test that shows a forbidden outcome by the plainest one that still does.
fn make_plainer(judged: &mut JudgedTest, machine: &OpenedLitmusMachine, seed: u64) {
    let mut plainest = None;
    shrink::shrink(&judged.test, |candidate: &Litmus| {
        let Ok(mut judged) = judge(candidate.clone()) else { return false };
        let mut outcomes = SeenOutcomes::default();
        let ran = candidate.run(machine.machine.as_ref(), seed, SHRINKING_RUNS, &mut outcomes);
        judged.run = Some(litmus::TestRun::Seen(outcomes));
        let is_recognized = machine.recognize(&mut judged).is_ok();
        let shows = ran.is_ok() && is_recognized && judged.forbidden().next().is_some();
        if shows {
            plainest = Some(judged);
        }
        shows
    });
    if let Some(plainest) = plainest {
        *judged = plainest;
    }
}
