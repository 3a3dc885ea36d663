//! A run: batches from a stream go to a machine, which runs one while the host judges the one before.

use crate::NestedCase;
use crate::batch::{self, BatchRun};
use crate::generate::{CaseBatch, Stream};
use crate::known::{KnownNested, Recognized};
use crate::observation::{NestedAttempt, SeenEnd};
use crate::verdict::{Difference, Field, NestedVerdict, judge_prediction};
use crate::walker::{CaseEnd, NestedWalker, predict};
use crosswalk_case::observation::Provenance;
use crosswalk_machine::nested::NestedBatch;
use crosswalk_machine::{Machine, MachineError};
use mmu_core::nested::{AnyRule, NestedEnd, NestedExit};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// By what cases are judged.
#[derive(Clone, Copy)]
pub struct Judge<'p> {
    /// Who predicts.
    pub walker: &'p dyn NestedWalker,
    /// What the machine is known to do.
    pub known: &'p KnownNested,
    /// Who decides what the machine does.
    pub provenance: Provenance,
}

/// What a run is to do.
pub struct Plan<'p> {
    /// Where cases come from.
    pub stream: Stream,
    /// By what they are judged.
    pub judge: Judge<'p>,
    /// The most cases.
    pub cases: Option<u64>,
    /// The most time.
    pub time: Option<Duration>,
    /// Whether to end at the first divergence that is not known.
    pub fails_fast: bool,
}

/// What a run counted.
#[derive(Clone, Debug, Default)]
pub struct NestedTally {
    /// Cases that were tried.
    pub cases: u64,
    /// Those on which machine and walker agree.
    pub agree: u64,
    /// Those that differ, known or not.
    pub diverge: u64,
    /// Those among them that are known.
    pub known: u64,
    /// Those that the machine could not run, by the reason.
    pub unsupported: BTreeMap<String, u64>,
    /// Those that lead where nothing is known.
    pub unpredicted: u64,
    /// Batches that the guest did not survive, although it survived each of their cases alone: how it failed.
    pub failures: BTreeMap<String, u64>,
    /// How cases ended on the machine.
    pub ends: BTreeMap<&'static str, u64>,
    /// How often each rule decided.
    pub rules: BTreeMap<AnyRule, u64>,
    /// The choices that the machine made.
    pub choices: BTreeMap<(AnyRule, &'static str), u64>,
    /// The findings, by what differs.
    pub findings: BTreeMap<Signature, NestedFinding>,
}

/// What differs, without the numbers of a case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    /// How the case should end.
    pub expected: &'static str,
    /// How it ended.
    pub seen: &'static str,
    /// The fields that differ, and of a qualification the bits that do.
    pub fields: Vec<(Field, u64)>,
    /// The known findings that explain it.
    pub known: Vec<String>,
}

/// Divergences with one signature.
#[derive(Clone, Debug)]
pub struct NestedFinding {
    /// Number of cases.
    pub cases: u64,
    /// The name of the first of them.
    pub name: String,
    /// A case that shows it: the first, until it is shrunk.
    pub example: NestedCase,
    /// What the walker expects of the example.
    pub expected: String,
    /// What differs.
    pub differences: Vec<Difference>,
    /// How often the example showed it when it ran alone, and how often it ran.
    pub shows: Option<(u32, u32)>,
}

impl NestedTally {
    /// Number of divergences that are not known.
    pub const fn unknown(&self) -> u64 {
        self.diverge - self.known
    }

    /// Counts a batch that the guest did not survive, unless one of its cases is to blame: that is a finding.
    pub fn note_failure(&mut self, ran: &BatchRun) {
        let Some(failure) = &ran.failure else { return };
        let is_lost = |attempt: &NestedAttempt| matches!(attempt, NestedAttempt::Observed(seen) if matches!(seen.end, SeenEnd::Lost(_)));
        if !ran.attempts.iter().any(is_lost) {
            *self.failures.entry(format!("the guest {failure}")).or_default() += 1;
        }
    }

    /// Judges a case, and counts what came of it.
    pub fn add(
        &mut self,
        judge: Judge<'_>,
        name: impl FnOnce() -> String,
        case: &NestedCase,
        run: &NestedAttempt,
    ) {
        self.cases += 1;
        let prediction = predict(judge.walker, case);
        for rule in &prediction.rules {
            *self.rules.entry(*rule).or_default() += 1;
        }
        if let NestedAttempt::Observed(seen) = run {
            *self.ends.entry(kind_of_seen(&seen.end)).or_default() += 1;
        }

        match judge_prediction(case, &prediction, run) {
            NestedVerdict::Agree { choice } => {
                self.agree += 1;
                if let Some(choice) = choice {
                    *self.choices.entry(choice).or_default() += 1;
                }
            }
            NestedVerdict::Unsupported(why) => *self.unsupported.entry(why).or_default() += 1,
            NestedVerdict::Unpredicted => self.unpredicted += 1,
            NestedVerdict::Diverge { expected, differences } => {
                self.diverge += 1;
                let recognized = judge.known.recognize(case, run);
                self.known += u64::from(!recognized.is_empty());
                let signature = Signature::of(&expected.end, run, &differences, recognized);
                let finding = self.findings.entry(signature).or_insert_with(|| NestedFinding {
                    cases: 0,
                    name: name(),
                    example: case.clone(),
                    expected: expected.to_string(),
                    differences,
                    shows: None,
                });
                finding.cases += 1;
            }
        }
    }
}

impl Signature {
    /// The signature of a divergence.
    pub fn of(
        expected: &CaseEnd,
        run: &NestedAttempt,
        differences: &[Difference],
        known: Recognized,
    ) -> Self {
        let seen = match run {
            NestedAttempt::Observed(seen) => kind_of_seen(&seen.end),
            NestedAttempt::Unsupported(_) => "nothing",
        };
        let mut fields: Vec<(Field, u64)> =
            differences.iter().map(|difference| (difference.field, difference.bits())).collect();
        fields.sort_unstable();
        fields.dedup();
        Self { expected: kind_of_end(expected), seen, fields, known }
    }
}

/// The kind of an end from which the machine does not come back.
pub(crate) const LOST: &str = "the hypervisor is lost";

/// The kind of an end, in a word or two.
pub const fn kind_of_end(end: &CaseEnd) -> &'static str {
    let end = match end {
        CaseEnd::NotEntered { .. } => return "not entered",
        CaseEnd::Lost(_) => return LOST,
        CaseEnd::Of(end) => end,
    };
    match end {
        NestedEnd::Translated(_) => "completes",
        NestedEnd::Fault(_) => "guest fault",
        NestedEnd::Exit(NestedExit::NestedPageFault { .. }) => "nested page fault",
        NestedEnd::Exit(NestedExit::EptViolation { .. }) => "EPT violation",
        NestedEnd::Exit(NestedExit::EptMisconfiguration { .. }) => "EPT misconfiguration",
    }
}

/// The same of what was seen.
pub const fn kind_of_seen(end: &SeenEnd) -> &'static str {
    match end {
        SeenEnd::Completed { .. } => "completes",
        SeenEnd::Fault { .. } => "guest fault",
        SeenEnd::Npf { .. } => "nested page fault",
        SeenEnd::EptViolation { .. } => "EPT violation",
        SeenEnd::EptMisconfiguration { .. } => "EPT misconfiguration",
        SeenEnd::NotEntered { .. } => "not entered",
        SeenEnd::Other { .. } => "another exit",
        SeenEnd::Lost(_) => LOST,
    }
}

/// A batch that is under way.
struct Started {
    batch: CaseBatch,
    encoded: NestedBatch,
}

/// Runs a plan on a machine from a batch on, and adds to what is counted. `progress` is told how far it is, and says
/// whether to go on. Returns the batch after the last.
///
/// # Errors
/// If the guest or the machine fails.
pub fn run(
    plan: &Plan<'_>,
    machine: &mut dyn Machine,
    tally: &mut NestedTally,
    mut number: u64,
    mut progress: impl FnMut(&NestedTally) -> bool,
) -> Result<u64, MachineError> {
    let begin = Instant::now();
    let mut under_way: Option<Started> = None;

    loop {
        let cases_under_way = under_way.as_ref().map_or(0, |started| started.batch.cases.len());
        let taken = tally.cases + cases_under_way as u64;
        let is_over = plan.cases.is_some_and(|cases| taken >= cases)
            || plan.time.is_some_and(|time| begin.elapsed() >= time)
            || plan.stream.batches().is_some_and(|batches| number >= batches)
            || (plan.fails_fast && tally.unknown() > 0)
            || !progress(tally);

        // The next batch is written into the other arena, while the machine runs one.
        let next = (!is_over).then(|| {
            let left = plan.cases.map_or(u64::MAX, |cases| cases - taken);
            let batch = plan.stream.first_of_batch(number, left);
            number += 1;
            Started { encoded: batch::encode(&batch), batch }
        });
        let command =
            next.as_ref().map(|next| next.encoded.write(machine.memory(), machine.capabilities()));

        let ran = match under_way.take() {
            Some(Started { batch, encoded }) => {
                Some((batch::finish(&batch, &encoded, machine, plan.judge.provenance)?, batch))
            }
            None => None,
        };
        if let Some(command) = command {
            machine.start(command);
        }
        under_way = next;

        if let Some((ran, batch)) = ran {
            tally.note_failure(&ran);
            for (lane, (case, attempt)) in batch.cases.iter().zip(&ran.attempts).enumerate() {
                let name = || plan.stream.name(batch.first + lane as u64).to_string();
                tally.add(plan.judge, name, case, attempt);
            }
        }
        if is_over && under_way.is_none() {
            return Ok(number);
        }
    }
}
