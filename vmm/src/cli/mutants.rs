//! `crosswalk mutants`: which of the walker bugs known from history a machine proves wrong.

mod nested;

use super::failure::Failure;
use super::machine::{MachineArguments, MachineKind, OpenedMachine};
use super::modes::offered;
use super::number::{parse_count, parse_seed};
use super::output::{finish, print_beside_verdict};
use super::progress;
use super::stop_flag::{goes_on, stop_flag, was_stopped};
use super::time::{DEFAULT_TIME, parse_time};
use crate::campaign::sampler::Sampler;
use crate::mutation::{self, Limit, MutationProgress, MutationScore, Status};
use crate::report::document::VerdictWord;
use crate::report::{self, mutants};
use crate::walker::{MUTANTS, UNREACHABLE};
use crosswalk_machine::{Machine, MachineError};
use indicatif::HumanCount;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct MutantsArguments {
    /// The machine to run on
    #[arg(long, default_value = "auto", value_parser = MachineKind::one_of(&MachineKind::RUNNING))]
    machine: MachineKind,
    /// Those of nested paging (NPT, EPT), on a machine that runs a guest in its guest
    #[arg(long)]
    nested: bool,
    /// Stop after this number of cases
    #[arg(long, value_name = "N", conflicts_with = "time", value_parser = parse_count)]
    cases: Option<u64>,
    /// Stop after this time, such as 30s, 5m, 1h30m or 1d [default: 10s]
    #[arg(long = "for", id = "time", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Repeat the run that had this seed
    #[arg(long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: MachineArguments,
}

impl MutantsArguments {
    fn limit(&self) -> Limit {
        match self.cases {
            Some(cases) => Limit::Cases(cases),
            None => Limit::Time(self.time.unwrap_or(DEFAULT_TIME)),
        }
    }
}

/// The exit code is 0 when no mutant is missed, else 1; 4 after Ctrl-C.
pub(super) fn run(arguments: &MutantsArguments) -> Result<ExitCode, Failure> {
    if arguments.nested {
        return nested::run(arguments);
    }
    if arguments.machine.boots_an_image() {
        let name = arguments.machine.name();
        let problem = format!("--machine {name} boots an image: of mutants only --nested takes it");
        return Err(Failure::Input(problem));
    }
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let OpenedMachine { mut machine, why } = arguments.options.open_only(arguments.machine)?;

    if !arguments.json {
        let cases = format!("random and sequences, seed {seed}");
        let heading = report::run::text::heading;
        print_beside_verdict(&heading(
            machine.identity(),
            machine.capabilities(),
            Some(machine.jail()),
            &why,
            &cases,
        ));
    }

    let modes = offered(&machine.capabilities().modes);
    if modes.is_empty() {
        return Err(Failure::machine("the machine offers no mode".into()));
    }
    let mut sampler = Sampler::new(seed, &modes, machine.capabilities());
    let stop = stop_flag()?;
    let score = run_with_bar(machine.as_mut(), &mut sampler, arguments.limit(), &stop)?;

    let is_missed = score.count(Status::Missed) > 0;
    let verdict = if was_stopped(&stop, score.cases) {
        // What was missed until then says nothing.
        VerdictWord::Incomplete
    } else if is_missed {
        VerdictWord::Missed
    } else {
        VerdictWord::Caught
    };
    Ok(finish(
        arguments.json,
        verdict.into(),
        || mutants::document(machine.as_ref(), seed, &score),
        || mutants::text(&score),
    ))
}

fn run_with_bar(
    machine: &mut dyn Machine,
    sampler: &mut Sampler,
    limit: Limit,
    stop: &AtomicBool,
) -> Result<MutationScore, MachineError> {
    let total = (MUTANTS.len() + UNREACHABLE.len()) as u64;
    let bar = progress::bar(total, "{bar:30} {pos} of {len} caught  {msg}");

    let score = mutation::run(machine, sampler, limit, |progress| {
        let MutationProgress { cases, caught } = progress;
        bar.set_position(caught as u64);
        bar.set_message(format!("{} cases", HumanCount(cases)));
        goes_on(stop)
    })?;

    bar.finish_and_clear();
    Ok(score)
}
