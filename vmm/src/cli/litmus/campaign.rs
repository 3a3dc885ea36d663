//! Running litmus tests on a machine.

use crate::cli::failure::Failure;
use crate::cli::progress::bar;
use crate::cli::stop_flag::stop_flag;
use crate::report::litmus::{JudgedTest, MachineFacts, TestRun};
use crosswalk_litmus::{LitmusMachine, OnKvm, OnQemu, SeenOutcomes};
use crosswalk_machine::jail::Jail;
use crosswalk_machine::litmus::MAX_LITMUS_ITERATIONS;
use crosswalk_machine::qemu::PROGRAM;
use crosswalk_machine::{Capabilities, Identity, Machine};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A machine that runs litmus tests, and what it is.
pub(super) struct OpenedLitmusMachine {
    identity: Identity,
    capabilities: Capabilities,
    pub(super) machine: Box<dyn LitmusMachine>,
}

impl OpenedLitmusMachine {
    /// The same as a machine that runs cases.
    pub(super) fn new(machine: &dyn Machine, qemu: Option<&Path>, jail: Jail) -> Self {
        let features = machine.capabilities().profile.features;
        let is_kvm = machine.identity().kind == "kvm";
        let runs: Box<dyn LitmusMachine> = if is_kvm {
            Box::new(OnKvm { features, jail })
        } else {
            let program = qemu.unwrap_or(Path::new(PROGRAM)).to_owned();
            Box::new(OnQemu { program, features, jail })
        };
        Self {
            identity: machine.identity().clone(),
            capabilities: machine.capabilities().clone(),
            machine: runs,
        }
    }

    /// What reports say of it.
    pub(super) fn facts(&self) -> MachineFacts<'_> {
        MachineFacts { identity: &self.identity, capabilities: &self.capabilities }
    }
}

/// What is to be run.
pub(super) struct Campaign<'m> {
    pub(super) machine: &'m OpenedLitmusMachine,
    pub(super) seed: u64,
    /// How often each test is run, unless there is a time.
    pub(super) runs: u64,
    pub(super) time: Option<Duration>,
}

impl Campaign<'_> {
    /// Runs every test, and adds what was seen. Returns whether the user stopped it.
    pub(super) fn run(&self, tests: &mut [JudgedTest]) -> Result<bool, Failure> {
        let stop = stop_flag()?;
        let started = Instant::now();
        let bar = bar(tests.len() as u64, "{bar:20} {pos}/{len} tests  {wide_msg}");

        let mut pass = 0;
        loop {
            for (number, judged) in tests.iter_mut().enumerate() {
                if stop.load(Ordering::Relaxed) {
                    bar.finish_and_clear();
                    return Ok(true);
                }
                bar.set_position(number as u64);
                bar.set_message(judged.test.name.clone());
                self.run_one(judged, pass, &stop)?;
            }
            pass += 1;
            let is_over = self.time.is_none_or(|time| started.elapsed() >= time);
            if is_over {
                break;
            }
        }
        bar.finish_and_clear();
        Ok(stop.load(Ordering::Relaxed))
    }

    /// Runs one test as often as it is due in a pass.
    fn run_one(
        &self,
        judged: &mut JudgedTest,
        pass: u64,
        stop: &AtomicBool,
    ) -> Result<(), Failure> {
        let machine = self.machine.machine.as_ref();
        if let Some(why) = machine.why_not(&judged.test.model) {
            judged.run = Some(TestRun::NotRun(why));
            return Ok(());
        }

        let mut found = match judged.run.take() {
            Some(TestRun::Seen(seen)) => seen,
            _ => SeenOutcomes::default(),
        };
        let mut left = self.runs;
        let mut part = 0;
        while left > 0 && !stop.load(Ordering::Relaxed) {
            let runs = left.min(u64::from(MAX_LITMUS_ITERATIONS));
            let seed = self.seed.wrapping_add(pass << 32 | part);
            judged.test.run(machine, seed, runs as u32, &mut found).map_err(|error| {
                Failure::machine(format!("the litmus test {}: {error}", judged.test.name))
            })?;
            left -= runs;
            part += 1;
        }
        judged.run = Some(TestRun::Seen(found));
        Ok(())
    }
}
