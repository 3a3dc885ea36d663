//! `record --nested`: records what a machine does with nested cases.

use super::RecordArguments;
use crate::cli::booter::Booter;
use crate::cli::corpus_file::write_sections;
use crate::cli::failure::Failure;
use crate::cli::nested_booter::BATCHES_OF_IMAGE;
use crate::cli::nested_cases::{known_of, open_nested, provenance_of};
use crate::cli::output::{check_replaceable, finish, print};
use crate::cli::progress;
use crate::cli::stop_flag::{goes_on, stop_flag, was_stopped};
use crate::corpus::nested::record::NestedRecorder;
use crate::corpus::nested::section;
use crate::report::document::VerdictWord;
use crate::report::nested::{self, RecordedNestedSection};
use crosswalk_machine::{Capabilities, Machine};
use crosswalk_nested::batch;
use crosswalk_nested::generate::{Generator, Stream};
use crosswalk_nested::schedule::Schedule;
use indicatif::ProgressBar;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// Maximum number of cases with `--all`: they must fit into memory.
const MAX_OF_ALL: u64 = 100_000;

/// Runs `record --nested`.
pub(super) fn run(arguments: &RecordArguments) -> Result<ExitCode, Failure> {
    arguments.check_nested()?;
    // Before the recording, which takes long.
    check_replaceable(&arguments.out)?;

    let stop = stop_flag()?;
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let bar = progress::bar(arguments.cases, "{bar:30} {human_pos} of {human_len} tried  {msg}");
    let record = NestedRecord { arguments, seed, stop: &stop, bar };
    let section = if arguments.machine.boots_an_image() {
        record.on_booted()?
    } else {
        record.on_machine()?
    };
    record.bar.finish_and_clear();

    let tried = section.recording.source.tried;
    if tried == 0 && goes_on(&stop).is_break() {
        return Err(Failure::Stopped);
    }
    let text = self::section(&section.recording.source, &section.recording.cases);
    let bytes = write_sections(&arguments.out, &[text])?;

    let is_stopped = was_stopped(&stop, tried);
    let verdict = if is_stopped { VerdictWord::Incomplete } else { VerdictWord::Done };
    Ok(finish(
        arguments.json,
        verdict.into(),
        || nested::recorded_document(&section, bytes),
        || nested::recorded_text(&arguments.out, &section, bytes),
    ))
}

/// A recording under way.
struct NestedRecord<'r> {
    arguments: &'r RecordArguments,
    seed: u64,
    stop: &'r AtomicBool,
    bar: ProgressBar,
}

impl NestedRecord<'_> {
    /// Records on a machine that is given one batch after the other.
    fn on_machine(&self) -> Result<RecordedNestedSection, Failure> {
        let (mut machine, why) = open_nested(&self.arguments.options, self.arguments.machine)?;
        let offered = machine.capabilities().clone();
        let mut schedule = self.schedule(&offered)?;
        self.print_heading(machine.as_ref(), &offered, &why);

        let mut recorder = NestedRecorder::new(&offered, self.arguments.all);
        while goes_on(self.stop).is_continue() {
            if self.run_some(2, &mut schedule, machine.as_mut(), &mut recorder)? == 0 {
                break;
            }
        }
        Ok(self.section(recorder, machine.as_ref(), offered))
    }

    /// Records on an emulator that boots images, one after the other.
    fn on_booted(&self) -> Result<RecordedNestedSection, Failure> {
        let booter = Booter::find(self.arguments.machine, &self.arguments.options)?;
        let offered = booter.probe_nested()?;
        let mut schedule = self.schedule(&offered)?;

        let mut recorder = NestedRecorder::new(&offered, self.arguments.all);
        let mut last = None;
        while goes_on(self.stop).is_continue() {
            let mut image = schedule.clone();
            let batches = schedule.take(BATCHES_OF_IMAGE as usize);
            if batches.is_empty() {
                break;
            }
            let mut machine = booter.run_nested(&batches, &offered)?;
            if last.is_none() {
                self.print_heading(&machine, &offered, &booter.machine().why);
            }
            self.run_some(batches.len(), &mut image, &mut machine, &mut recorder)?;
            last = Some(machine);
        }
        let machine = last.ok_or(Failure::Stopped)?;
        Ok(self.section(recorder, &machine, offered))
    }

    fn schedule(&self, offered: &Capabilities) -> Result<Schedule, Failure> {
        let stream = Stream::new(Generator::Random, self.seed, offered)
            .map_err(|why| Failure::machine(why.to_string()))?;
        Ok(Schedule::new(stream, (0, 1), Some(self.arguments.cases)))
    }

    /// Runs the next batches, at most so many. Returns their number.
    fn run_some(
        &self,
        most: usize,
        schedule: &mut Schedule,
        machine: &mut dyn Machine,
        recorder: &mut NestedRecorder,
    ) -> Result<usize, Failure> {
        let known = known_of(machine.identity());
        let provenance = provenance_of(machine.identity());
        let batches = schedule.take(most);
        for batch in &batches {
            let attempts = batch::run(batch, machine, provenance)?.attempts;
            recorder.add(&known, schedule.stream(), batch, attempts);
            self.bar.set_position(recorder.tried());
            self.bar.set_message(format!("{} points shown", recorder.points()));
        }
        Ok(batches.len())
    }

    fn section(
        &self,
        recorder: NestedRecorder,
        machine: &dyn Machine,
        offered: Capabilities,
    ) -> RecordedNestedSection {
        let known = known_of(machine.identity());
        RecordedNestedSection {
            identity: machine.identity().clone(),
            capabilities: offered,
            recording: recorder.finish(machine, &known, self.seed),
        }
    }

    fn print_heading(&self, machine: &dyn Machine, offered: &Capabilities, why: &str) {
        if !self.arguments.json {
            let what = format!("random, seed {}", self.seed);
            print(&nested::heading(machine.identity(), offered, why, &what));
        }
    }
}

impl RecordArguments {
    /// Refuses what `--nested` would ignore.
    fn check_nested(&self) -> Result<(), Failure> {
        let ignored = [(!self.mode.is_empty(), "--mode"), (self.cases_of.is_some(), "--cases-of")];
        if let Some((_, option)) = ignored.into_iter().find(|(is_given, _)| *is_given) {
            return Err(Failure::Input(format!("{option} is not for --nested")));
        }
        if self.all && self.cases > MAX_OF_ALL {
            let problem = format!("--all: expected --cases {MAX_OF_ALL} at most with --nested");
            return Err(Failure::Input(problem));
        }
        Ok(())
    }
}
