//! `check --nested`: cases of nested paging, on a machine that runs a guest in its guest.

mod booted;
mod given;

use super::CheckArguments;
use super::session::SHARD_WITHOUT_SEED;
use crate::campaign::check_alike;
use crate::campaign::known::KnownSource;
use crate::cli::failure::Failure;
use crate::cli::machine::MachineKind;
use crate::cli::nested_cases::{
    ending_of, known_of, load_known, nested_walker, open_nested, provenance_of,
};
use crate::cli::output::{finish, print_beside_verdict};
use crate::cli::output_arguments::Format;
use crate::cli::progress::CaseBar;
use crate::cli::stop_flag::stop_flag;
use crate::cli::time::DEFAULT_TIME;
use crate::generate::Shard;
use crate::report::nested::{self, NestedFacts};
use crosswalk_machine::{Capabilities, Identity, Interrupter, Machine, MachineLine};
use crosswalk_nested::campaign::{self, Fleet, Plan};
use crosswalk_nested::generate::{Generator, Stream};
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::schedule::Schedule;
use crosswalk_nested::tally::{Judge, NestedTally};
use crosswalk_nested::walker::NestedWalker;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Runs `check --nested`.
pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    arguments.check_nested()?;
    let walker = nested_walker(&arguments.walker)?;
    let are_given = !arguments.cases_given.is_empty();
    match (arguments.machine.boots_an_image(), are_given) {
        (false, false) => run_generated(arguments, walker),
        (false, true) => given::run(arguments, walker),
        (true, false) => booted::run(arguments, walker),
        (true, true) => given::run_booted(arguments, walker),
    }
}

/// Runs the cases of a generator on machines that are given one batch after the other.
fn run_generated(
    arguments: &CheckArguments,
    walker: &'static dyn NestedWalker,
) -> Result<ExitCode, Failure> {
    let begin = Instant::now();
    let seed = arguments.nested_seed();
    let (mut machine, why) = open_nested(&arguments.options, arguments.machine)?;
    let (identity, offered) = (machine.identity().clone(), machine.capabilities().clone());
    let known = known_findings(arguments, &identity)?;
    let judge = Judge { walker, known: &known, provenance: provenance_of(&identity) };
    let schedule = arguments.schedule(seed, &offered, arguments.cases)?;
    arguments.print_heading(&identity, &offered, &why, &arguments.drawn(seed));

    let is_endless = arguments.cases.is_none() && !arguments.exhaustive;
    let plan = Plan {
        schedule,
        judge,
        time: arguments.time.or_else(|| is_endless.then_some(DEFAULT_TIME)),
        fails_fast: arguments.fail_fast,
    };
    let (mut tally, complete) = run_plan(arguments, &plan, machine.as_mut())?;
    if complete {
        crosswalk_nested::examine(judge, machine.as_mut(), &mut tally)?;
    }

    let facts = NestedFacts {
        identity: &identity,
        capabilities: &offered,
        sources: &[],
        generator: arguments.nested_generator().name(),
        seed: Some(seed),
        shard: arguments.whole_or_shard(),
        walker: &arguments.walker.to_string(),
        known: &known,
        complete,
        seconds: begin.elapsed().as_secs_f64(),
    };
    Ok(report(arguments, &facts, &tally))
}

/// Runs a plan on as many machines as the user asked for. Returns the counts, and whether everything was run.
fn run_plan(
    arguments: &CheckArguments,
    plan: &Plan<'_>,
    machine: &mut dyn Machine,
) -> Result<(NestedTally, bool), Failure> {
    let (options, jail) = (&arguments.options, arguments.options.jail.jail()?);
    let identity = machine.identity().clone();
    let line = MachineLine::new(&identity, machine.capabilities());
    let open = || {
        let another = options.open_like(&identity, &jail, Interrupter::default())?;
        check_alike(another.as_ref(), &line)?;
        Ok(another)
    };
    let machines = arguments.machines_for(arguments.cases, &identity);
    let fleet = Fleet { first: machine, machines, open: &open };

    let stop = stop_flag()?;
    let bar = CaseBar::start(arguments.cases, plan.time);
    let tally = campaign::run(plan, fleet, &|progress| {
        bar.show(progress.cases, progress.diverged, progress.unknown);
        !stop.load(Ordering::Relaxed)
    })?;
    bar.end();
    Ok((tally, !stop.load(Ordering::Relaxed)))
}

fn report(arguments: &CheckArguments, facts: &NestedFacts<'_>, tally: &NestedTally) -> ExitCode {
    let ending = ending_of(nested::verdict(facts, tally), arguments.output);
    finish(
        arguments.output.format() == Format::Json,
        ending,
        || nested::document(facts, tally),
        || nested::summary(facts, tally, "", arguments.output.detail()),
    )
}

/// What the run forgives. What the machine itself does differently is no finding about a walker with a mistake, either.
fn known_findings(arguments: &CheckArguments, machine: &Identity) -> Result<KnownNested, Failure> {
    match &arguments.known {
        Some(KnownSource::Unforgiven) => Ok(KnownNested::nothing()),
        Some(source) => load_known(source, machine),
        None => Ok(known_of(machine)),
    }
}

impl CheckArguments {
    /// How cases are chosen.
    const fn nested_generator(&self) -> Generator {
        if self.exhaustive {
            Generator::Exhaustive
        } else if self.guided {
            Generator::Guided
        } else {
            Generator::Random
        }
    }

    /// The seed of the cases.
    fn nested_seed(&self) -> u64 {
        self.seed.unwrap_or_else(rand::random)
    }

    /// The batches that a generator makes for a machine.
    fn schedule(
        &self,
        seed: u64,
        machine: &Capabilities,
        cases: Option<u64>,
    ) -> Result<Schedule, Failure> {
        let stream = Stream::new(self.nested_generator(), seed, machine)
            .map_err(|why| Failure::machine(why.to_string()))?;
        let Shard { index, count } = self.whole_or_shard();
        Ok(Schedule::new(stream, (index, count), cases))
    }

    /// Cases that a generator draws, in words.
    fn drawn(&self, seed: u64) -> String {
        let shard = self.shard.map_or_else(String::new, |shard| format!(", shard {shard}"));
        format!("{}, seed {seed}{shard}", self.nested_generator().name())
    }

    /// Says what is about to run, unless the result stands alone.
    fn print_heading(
        &self,
        identity: &Identity,
        capabilities: &Capabilities,
        why: &str,
        what: &str,
    ) {
        if self.output.has_heading() {
            print_beside_verdict(&nested::heading(identity, capabilities, why, what));
        }
    }

    /// Refuses what `--nested` would ignore.
    fn check_nested(&self) -> Result<(), Failure> {
        let ignored = [
            (!self.mode.is_empty(), "--mode"),
            (self.sequences.is_some(), "--sequences"),
            (self.report.is_some(), "--report"),
            (self.live.is_some(), "--live"),
            (self.update_known.is_some(), "--update-known"),
            (self.require_machine, "--require-machine"),
        ];
        let given = !self.cases_given.is_empty();
        let of_generators = [
            (given && self.seed.is_some(), "--seed"),
            (given && self.cases.is_some(), "--cases"),
            (given && self.time.is_some(), "--for"),
            (given && self.guided, "--guided"),
            (given && self.exhaustive, "--exhaustive"),
            (given && self.shard.is_some(), "--shard"),
            (given && self.jobs.is_some(), "--jobs"),
        ];
        let booted = self.machine.boots_an_image();
        let of_batches = [
            (booted && self.time.is_some(), "--for"),
            (booted && self.fail_fast, "--fail-fast"),
            (booted && self.jobs.is_some(), "--jobs"),
        ];

        let find = |options: &[(bool, &'static str)]| {
            options.iter().find_map(|(is_given, option)| is_given.then_some(*option))
        };
        if let Some(option) = find(&ignored) {
            return Err(Failure::Input(format!("{option} is not for --nested")));
        }
        if let Some(option) = find(&of_generators) {
            let problem = "is about cases that are generated: these are given";
            return Err(Failure::Input(format!("{option} {problem}")));
        }
        if let Some(option) = find(&of_batches) {
            let name = self.machine.name();
            let problem = format!("{option} needs a machine that is given one batch after another");
            return Err(Failure::Input(format!("{problem}: --machine {name} boots an image")));
        }
        if self.shard.is_some() && self.seed.is_none() && !self.exhaustive {
            return Err(Failure::Input(SHARD_WITHOUT_SEED.into()));
        }
        if self.machine == MachineKind::Corpus {
            return Err(Failure::Input(
                "--nested --machine corpus: `crosswalk replay --nested` replays recorded cases"
                    .into(),
            ));
        }
        self.output.check_text_or_json("a run of nested cases")
    }
}
