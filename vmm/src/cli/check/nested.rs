//! `check --nested`: cases of nested paging, on a machine that runs a guest in its guest.

use super::CheckArguments;
use crate::campaign::known::KnownSource;
use crate::campaign::predictor::Predictor;
use crate::cli::booter::Booter;
use crate::cli::failure::Failure;
use crate::cli::machine::MachineKind;
use crate::cli::nested_booter::BATCHES_OF_IMAGE;
use crate::cli::nested_cases::{known_of, named, open_nested, provenance_of, read_nested};
use crate::cli::output::print_beside_verdict;
use crate::cli::output_arguments::Format;
use crate::cli::progress::CaseBar;
use crate::cli::stop_flag::stop_flag;
use crate::cli::time::DEFAULT_TIME;
use crate::file;
use crate::report::document::{Ending, VerdictWord};
use crate::report::nested::{self, NestedFacts};
use crosswalk_machine::{Capabilities, Identity, Machine};
use crosswalk_nested::campaign::{self, Judge, NestedTally, Plan};
use crosswalk_nested::generate::{CaseBatch, Generator, NestedName, Stream};
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::requirements::{adopt, cannot_run};
use crosswalk_nested::walker::{NestedWalker, REFERENCE};
use crosswalk_nested::{NestedCase, run_alone};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The longest file of known findings that is read.
const MAX_KNOWN_BYTES: u64 = 1 << 20;
/// Number of cases on an emulator that boots an image, unless the user asks for another.
const DEFAULT_BOOTED_CASES: u64 = 20_000;

/// Runs `check --nested`.
pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    arguments.check_nested()?;
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let walker = walker_of(&arguments.walker)?;
    if arguments.machine.boots_an_image() {
        return if arguments.cases_given.is_empty() {
            run_booted(arguments, walker, seed)
        } else {
            run_given_booted(arguments, walker)
        };
    }

    let begin = Instant::now();
    let (mut machine, why) = open_nested(&arguments.options, arguments.machine)?;
    let known = known_findings(arguments, machine.identity())?;
    let judge = Judge { walker, known: &known, provenance: provenance_of(machine.identity()) };
    let generated = arguments.cases_given.is_empty().then_some(seed);
    let cases = given(arguments, machine.capabilities())?;
    let what = generated.map_or_else(|| in_words(cases.len()), |seed| arguments.drawn(seed));
    arguments.print_heading(machine.identity(), machine.capabilities(), &why, &what);

    let (tally, complete) = match generated {
        Some(seed) => run_generated(arguments, machine.as_mut(), judge, seed)?,
        None => (run_given(cases, machine.as_mut(), judge)?, true),
    };
    let facts = NestedFacts {
        identity: machine.identity(),
        capabilities: machine.capabilities(),
        generator: generated.map_or("given", |_| arguments.nested_generator().name()),
        seed: generated,
        walker: &arguments.walker.to_string(),
        known: &known,
        complete,
        seconds: begin.elapsed().as_secs_f64(),
    };
    Ok(report(arguments, &facts, &tally))
}

/// Runs the cases of a generator on an emulator that boots images, one image after the other.
fn run_booted(
    arguments: &CheckArguments,
    walker: &'static dyn NestedWalker,
    seed: u64,
) -> Result<ExitCode, Failure> {
    let begin = Instant::now();
    let booter = Booter::find(arguments.machine, &arguments.options)?;
    let offered = booter.probe_nested()?;
    let stream = Stream::new(arguments.nested_generator(), seed, &offered)
        .map_err(|why| Failure::machine(why.to_string()))?;
    let cases = arguments.cases.unwrap_or(DEFAULT_BOOTED_CASES);
    let stop = stop_flag()?;
    let bar = CaseBar::start(Some(cases), None);

    let mut tally = NestedTally::default();
    let mut last = None;
    let mut known = KnownNested::nothing();
    let mut first = 0;
    while tally.cases < cases && !stop.load(Ordering::Relaxed) {
        let mut left = cases - tally.cases;
        let mut batches = Vec::new();
        for number in first..first + BATCHES_OF_IMAGE {
            let is_there = stream.batches().is_none_or(|all| number < all);
            if left == 0 || !is_there {
                break;
            }
            let batch = stream.first_of_batch(number, left);
            left -= batch.cases.len() as u64;
            batches.push(batch);
        }
        if batches.is_empty() {
            break;
        }

        let mut machine = booter.run_nested(&batches, &offered)?;
        if last.is_none() {
            known = known_findings(arguments, machine.identity())?;
            let why = booter.machine().why;
            arguments.print_heading(machine.identity(), &offered, &why, &arguments.drawn(seed));
        }
        let judge = Judge { walker, known: &known, provenance: provenance_of(machine.identity()) };
        let plan = Plan {
            stream: stream.clone(),
            judge,
            cases: Some(cases - left),
            time: None,
            fails_fast: false,
        };
        first = campaign::run(&plan, &mut machine, &mut tally, first, |tally| {
            bar.show(tally.cases, tally.diverge, tally.unknown());
            true
        })?;
        last = Some(machine);
    }
    bar.end();

    let Some(machine) = last else {
        return Err(Failure::machine("nothing was run".into()));
    };
    let facts = NestedFacts {
        identity: machine.identity(),
        capabilities: &offered,
        generator: arguments.nested_generator().name(),
        seed: Some(seed),
        walker: &arguments.walker.to_string(),
        known: &known,
        complete: !stop.load(Ordering::Relaxed),
        seconds: begin.elapsed().as_secs_f64(),
    };
    Ok(report(arguments, &facts, &tally))
}

/// Runs the cases that the user gave on such an emulator, each in a batch of its own.
fn run_given_booted(
    arguments: &CheckArguments,
    walker: &'static dyn NestedWalker,
) -> Result<ExitCode, Failure> {
    let begin = Instant::now();
    let booter = Booter::find(arguments.machine, &arguments.options)?;
    let offered = booter.probe_nested()?;
    let given = given(arguments, &offered)?;
    let runs = |(_, case): &&(String, NestedCase)| cannot_run(case, &offered).is_none();
    let batches = given.iter().filter(runs).map(|(_, case)| CaseBatch::alone(case));
    let batches: Vec<_> = batches.collect();

    let mut machine = booter.run_nested(&batches, &offered)?;
    let known = known_findings(arguments, machine.identity())?;
    let provenance = provenance_of(machine.identity());
    let judge = Judge { walker, known: &known, provenance };
    let why = booter.machine().why;
    arguments.print_heading(machine.identity(), &offered, &why, &in_words(given.len()));

    let mut tally = NestedTally::default();
    // The image has the cases that can run, in order.
    for (name, case) in given {
        let attempt = run_alone(&case, &mut machine, provenance)?;
        tally.add(judge, || name, &case, &attempt);
    }
    let facts = NestedFacts {
        identity: machine.identity(),
        capabilities: &offered,
        generator: "given",
        seed: None,
        walker: &arguments.walker.to_string(),
        known: &known,
        complete: true,
        seconds: begin.elapsed().as_secs_f64(),
    };
    Ok(report(arguments, &facts, &tally))
}

/// Cases that the user gave, in words.
fn in_words(count: usize) -> String {
    format!("{count} given")
}

/// Runs the cases of a generator. Returns the counts, and whether everything was run.
fn run_generated(
    arguments: &CheckArguments,
    machine: &mut dyn Machine,
    judge: Judge<'_>,
    seed: u64,
) -> Result<(NestedTally, bool), Failure> {
    let generator = arguments.nested_generator();
    let stream = Stream::new(generator, seed, machine.capabilities())
        .map_err(|why| Failure::machine(why.to_string()))?;
    let is_endless = arguments.cases.is_none() && generator != Generator::Exhaustive;
    let plan = Plan {
        stream,
        judge,
        cases: arguments.cases,
        time: arguments.time.or_else(|| is_endless.then_some(DEFAULT_TIME)),
        fails_fast: arguments.fail_fast,
    };

    let stop = stop_flag()?;
    let bar = CaseBar::start(plan.cases, plan.time);
    let mut tally = NestedTally::default();
    campaign::run(&plan, machine, &mut tally, 0, |tally| {
        bar.show(tally.cases, tally.diverge, tally.unknown());
        !stop.load(Ordering::Relaxed)
    })?;
    bar.end();

    let complete = !stop.load(Ordering::Relaxed);
    if complete {
        crosswalk_nested::examine(judge, machine, &mut tally)?;
    }
    Ok((tally, complete))
}

/// Runs the cases that the user gave.
fn run_given(
    cases: Vec<(String, NestedCase)>,
    machine: &mut dyn Machine,
    judge: Judge<'_>,
) -> Result<NestedTally, Failure> {
    let mut tally = NestedTally::default();
    for (name, case) in cases {
        let attempt = run_alone(&case, machine, judge.provenance)?;
        tally.add(judge, || name, &case, &attempt);
    }
    Ok(tally)
}

/// The cases of the command line, each with its name. Those of another processor become this one's.
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

fn report(arguments: &CheckArguments, facts: &NestedFacts<'_>, tally: &NestedTally) -> ExitCode {
    let verdict = nested::verdict(facts, tally);
    let ending = match verdict {
        VerdictWord::Incomplete if arguments.output.allow_incomplete => Ending::ALLOWED_INCOMPLETE,
        verdict => verdict.into(),
    };

    let is_json = arguments.output.format() == Format::Json;
    crate::cli::output::finish(
        is_json,
        ending,
        || nested::document(facts, tally),
        || nested::summary(facts, tally, arguments.output.is_verbose()),
    )
}

/// Who predicts.
fn walker_of(predictor: &Predictor) -> Result<&'static dyn NestedWalker, Failure> {
    match predictor {
        Predictor::Nested(mutant) => Ok(mutant.walker),
        predictor if predictor.is_reference() => Ok(&REFERENCE),
        other => Err(Failure::Input(format!(
            "--walker {other} predicts one dimension only: expected reference or a mutant of nested paging; \
             `crosswalk mutants --nested` lists them"
        ))),
    }
}

fn known_findings(arguments: &CheckArguments, machine: &Identity) -> Result<KnownNested, Failure> {
    match &arguments.known {
        // A walker with a mistake is not forgiven what the machine does.
        None if arguments.walker.is_reference() => Ok(known_of(machine)),
        None | Some(KnownSource::Shipped | KnownSource::Unforgiven) => Ok(KnownNested::nothing()),
        Some(KnownSource::File(path)) => {
            let problem = |error: String| Failure::Input(format!("{path}: {error}"));
            let text = file::read_input(Path::new(path), MAX_KNOWN_BYTES)
                .map_err(|error| problem(error.to_string()))?;
            KnownNested::from_toml(&text).map_err(problem)
        }
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

    /// Cases that a generator draws, in words.
    fn drawn(&self, seed: u64) -> String {
        format!("{}, seed {seed}", self.nested_generator().name())
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
            (self.shard.is_some(), "--shard"),
            (self.jobs.is_some(), "--jobs"),
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
        ];
        let booted = self.machine.boots_an_image();
        let of_batches =
            [(booted && self.time.is_some(), "--for"), (booted && self.fail_fast, "--fail-fast")];

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
        if self.machine == MachineKind::Corpus {
            return Err(Failure::Input(
                "--nested needs a machine: the corpus has no such cases".into(),
            ));
        }
        self.output.check_text_or_json("a run of nested cases")
    }
}
