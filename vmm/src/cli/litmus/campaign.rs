//! Running litmus tests on a machine.

use crate::campaign::known::KnownFindings;
use crate::cli::failure::Failure;
use crate::cli::progress::bar;
use crate::cli::stop_flag::stop_flag;
use crate::report::litmus::{JudgedTest, MachineFacts, TestRun};
use crate::walker::quirk::Quirks;
use crosswalk_litmus::{LitmusMachine, OnKvm, OnQemu, SeenOutcomes};
use crosswalk_machine::jail::Jail;
use crosswalk_machine::litmus::{LitmusKvm, MAX_LITMUS_ITERATIONS};
use crosswalk_machine::qemu::PROGRAM;
use crosswalk_machine::{Capabilities, Identity, Machine, MachineError};
use mmu_core::litmus::LitmusError;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A machine that runs litmus tests, and what it is.
pub(super) struct OpenedLitmusMachine {
    identity: Identity,
    capabilities: Capabilities,
    /// The quirks of the machine, and the findings that they are.
    known: Vec<(Quirks, String)>,
    pub(super) machine: Box<dyn LitmusMachine>,
}

impl OpenedLitmusMachine {
    /// The same as a machine that runs cases, and what is known of it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn new(
        machine: &dyn Machine,
        known: KnownFindings,
        qemu: Option<&Path>,
        jail: Jail,
    ) -> Result<Self, MachineError> {
        let features = machine.capabilities().profile.features;
        let is_kvm = machine.identity().kind == "kvm";
        let runs: Box<dyn LitmusMachine> = if is_kvm {
            Box::new(OnKvm { kvm: LitmusKvm::open()?, features, jail })
        } else {
            let program = qemu.unwrap_or(Path::new(PROGRAM)).to_owned();
            Box::new(OnQemu { program, features, jail })
        };
        Ok(Self {
            identity: machine.identity().clone(),
            capabilities: machine.capabilities().clone(),
            known: Self::forgiven(known),
            machine: runs,
        })
    }

    /// The quirks that do not fail a run.
    fn forgiven(known: KnownFindings) -> Vec<(Quirks, String)> {
        let KnownFindings { mut findings, are_forgiven } = known;
        findings.retain(|finding| are_forgiven && !finding.quirk.is_empty());
        findings.into_iter().map(|finding| (finding.quirk, finding.id)).collect()
    }

    /// Says of what was seen and no manual allows whether the machine is known to show it.
    pub(super) fn recognize(&self, judged: &mut JudgedTest) -> Result<(), LitmusError> {
        let quirks: Quirks = self.known.iter().map(|(quirk, _)| *quirk).collect();
        let mut recognized = BTreeMap::new();
        for (outcome, _) in judged.not_allowed() {
            let Some(shown) = judged.test.explain(outcome, quirks)? else { continue };
            let ids = self.known.iter().filter(|(quirk, _)| shown.contains(*quirk));
            recognized.insert(outcome.to_owned(), ids.map(|(_, id)| id.clone()).collect());
        }
        judged.known = recognized;
        Ok(())
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
        let name = &judged.test.name.clone();
        let too_large = |error| Failure::Input(format!("{name}: {error}"));
        self.machine.recognize(judged).map_err(too_large)
    }
}
