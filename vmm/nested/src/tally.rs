//! What a run counted: cases by what came of them, and what differs, in groups.

use crate::NestedCase;
use crate::batch::BatchRun;
use crate::generate::{CaseBatch, Stream};
use crate::known::KnownNested;
use crate::observation::{NestedAttempt, SeenEnd};
use crate::verdict::{self, Difference, Field, NestedVerdict, judge_prediction};
use crate::walker::{CaseAlternative, CaseEnd, NestedWalker, REFERENCE, predict};
use crosswalk_case::observation::Provenance;
use mmu_core::nested::{AnyRule, NestedEnd, NestedExit};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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

/// What divergences have in common that are one finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signature {
    /// Known findings explain them: their ids. How the cases end does not matter.
    Known(Vec<String>),
    /// They are new, and differ in the same way.
    New {
        /// How the cases should end.
        expected: &'static str,
        /// How they ended.
        seen: &'static str,
        /// The fields that differ, and of a set of bits those that do.
        fields: Vec<(Field, u64)>,
    },
}

/// Divergences with one signature.
#[derive(Clone, Debug)]
pub struct NestedFinding {
    /// Number of cases.
    pub cases: u64,
    /// The index of the first of them.
    pub index: u64,
    /// Its name.
    pub name: String,
    /// A case that shows it: the first, until it is shrunk.
    pub example: Shown,
    /// How often the example showed it when it ran alone, and how often it ran.
    pub shows: Option<(u32, u32)>,
}

/// A case, and how a machine differs there from what a walker expects.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The case.
    pub case: NestedCase,
    /// What the walker expects.
    pub expected: String,
    /// The kind of that end, and of the machine's.
    pub ends: (&'static str, &'static str),
    /// What differs.
    pub differences: Vec<Difference>,
}

impl NestedTally {
    /// Number of divergences that are not known.
    pub const fn unknown(&self) -> u64 {
        self.diverge - self.known
    }

    /// Judges the cases of a batch, and counts what came of them.
    pub fn add_batch(
        &mut self,
        judge: Judge<'_>,
        stream: &Stream,
        batch: &CaseBatch,
        ran: &BatchRun,
    ) {
        self.note_failure(ran);
        let cases = batch.cases.iter().zip(&ran.attempts);
        for (index, (case, attempt)) in (batch.first..).zip(cases) {
            self.add(judge, (index, || stream.name(index).to_string()), case, attempt);
        }
    }

    /// Counts a batch that the guest did not survive, unless one of its cases is to blame: that is a finding.
    fn note_failure(&mut self, ran: &BatchRun) {
        let Some(failure) = &ran.failure else { return };
        if !ran.attempts.iter().any(|attempt| kind_of_attempt(attempt) == LOST) {
            *self.failures.entry(format!("the guest {failure}")).or_default() += 1;
        }
    }

    /// Judges a case, and counts what came of it. It has an index and a name.
    pub fn add(
        &mut self,
        judge: Judge<'_>,
        (index, name): (u64, impl FnOnce() -> String),
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
            NestedVerdict::Unpredicted => match Shown::elsewhere(case, run) {
                Some(example) => self.add_example(judge, (index, name()), example, run),
                None => self.unpredicted += 1,
            },
            NestedVerdict::Diverge { expected, differences } => {
                let example = Shown::new(case, &expected, differences, run);
                self.add_example(judge, (index, name()), example, run);
            }
        }
    }

    /// Counts a case that differs.
    fn add_example(
        &mut self,
        judge: Judge<'_>,
        (index, name): (u64, String),
        example: Shown,
        run: &NestedAttempt,
    ) {
        let signature = Signature::of(judge, &example, run);
        self.diverge += 1;
        self.known += u64::from(signature.is_known());
        self.add_finding(signature, NestedFinding { cases: 1, index, name, example, shows: None });
    }

    /// Adds what another part of the same run counted.
    pub fn merge(&mut self, part: Self) {
        self.cases += part.cases;
        self.agree += part.agree;
        self.diverge += part.diverge;
        self.known += part.known;
        self.unpredicted += part.unpredicted;
        add_counts(&mut self.unsupported, part.unsupported);
        add_counts(&mut self.failures, part.failures);
        add_counts(&mut self.ends, part.ends);
        add_counts(&mut self.rules, part.rules);
        add_counts(&mut self.choices, part.choices);
        for (signature, finding) in part.findings {
            self.add_finding(signature, finding);
        }
    }

    /// Adds cases to a finding, whose example is the case with the lowest index.
    fn add_finding(&mut self, signature: Signature, finding: NestedFinding) {
        match self.findings.entry(signature) {
            Entry::Vacant(new) => {
                new.insert(finding);
            }
            Entry::Occupied(known) => {
                let known = known.into_mut();
                let cases = known.cases + finding.cases;
                if finding.index < known.index {
                    *known = finding;
                }
                known.cases = cases;
            }
        }
    }
}

fn add_counts<K: Ord>(counts: &mut BTreeMap<K, u64>, more: BTreeMap<K, u64>) {
    for (key, count) in more {
        *counts.entry(key).or_default() += count;
    }
}

impl Shown {
    /// How a machine differs in a case; `None` if it does not.
    pub fn of(judge: Judge<'_>, case: &NestedCase, run: &NestedAttempt) -> Option<Self> {
        match judge_prediction(case, &predict(judge.walker, case), run) {
            NestedVerdict::Diverge { expected, differences } => {
                Some(Self::new(case, &expected, differences, run))
            }
            NestedVerdict::Unpredicted => Self::elsewhere(case, run),
            NestedVerdict::Agree { .. } | NestedVerdict::Unsupported(_) => None,
        }
    }

    /// A walker that leads to memory of which nothing is known is wrong where the reference is right. `None` where that
    /// leads there, too, or is wrong.
    fn elsewhere(case: &NestedCase, run: &NestedAttempt) -> Option<Self> {
        const ELSEWHERE: &str = "an access to other memory";

        let is_right = matches!(verdict::judge(&REFERENCE, case, run), NestedVerdict::Agree { .. });
        is_right.then(|| Self {
            case: case.clone(),
            expected: ELSEWHERE.into(),
            ends: (ELSEWHERE, kind_of_attempt(run)),
            differences: Vec::new(),
        })
    }

    fn new(
        case: &NestedCase,
        expected: &CaseAlternative,
        differences: Vec<Difference>,
        run: &NestedAttempt,
    ) -> Self {
        Self {
            case: case.clone(),
            expected: expected.to_string(),
            ends: (kind_of_end(&expected.end), kind_of_attempt(run)),
            differences,
        }
    }
}

impl Signature {
    /// The signature of a divergence.
    pub fn of(judge: Judge<'_>, shown: &Shown, run: &NestedAttempt) -> Self {
        let known = judge.known.recognize(&shown.case, run);
        if !known.is_empty() {
            return Self::Known(known);
        }
        let (expected, seen) = shown.ends;
        let differences = shown.differences.iter();
        let mut fields: Vec<(Field, u64)> =
            differences.map(|difference| (difference.field, difference.bits())).collect();
        fields.sort_unstable();
        fields.dedup();
        Self::New { expected, seen, fields }
    }

    /// The ids of the known findings that explain the divergences; none if they are new.
    pub fn known(&self) -> &[String] {
        match self {
            Self::Known(ids) => ids,
            Self::New { .. } => &[],
        }
    }

    /// Whether known findings explain them.
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
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

/// The kind of what became of a case on a machine.
pub const fn kind_of_attempt(run: &NestedAttempt) -> &'static str {
    match run {
        NestedAttempt::Observed(seen) => kind_of_seen(&seen.end),
        NestedAttempt::Unsupported(_) => "nothing",
    }
}

/// The same of an end that was seen.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Generator, machine_with_npt};
    use crate::observation::NestedObservation;
    use crosswalk_machine::GuestFailure;

    /// Machines of one run count in whatever order their batches end.
    #[test]
    fn parts_of_a_run_make_the_whole_in_any_order() {
        let known = KnownNested::nothing();
        let judge = Judge { walker: &REFERENCE, known: &known, provenance: Provenance::Tcg };
        let stream = Stream::new(Generator::Random, 7, &machine_with_npt()).unwrap();
        // What no machine does: every case differs, by how it should end.
        let attempt = NestedAttempt::Observed(NestedObservation {
            end: SeenEnd::Other { code: 0x7f },
            rip: 0,
            changed: Vec::new(),
            stored: Vec::new(),
            provenance: Provenance::Tcg,
        });

        let mut whole = NestedTally::default();
        let mut parts = [NestedTally::default(), NestedTally::default()];
        for number in 0..8 {
            let batch = stream.batch(number);
            let attempts = vec![attempt.clone(); batch.cases.len()];
            // The guest did not survive the batch, and each case alone.
            let ran = BatchRun { attempts, failure: Some(GuestFailure::Hang) };
            whole.add_batch(judge, &stream, &batch, &ran);
            parts[number as usize % 2].add_batch(judge, &stream, &batch, &ran);
        }
        let [even, mut odd] = parts;
        odd.merge(even);

        assert!(whole.findings.len() > 3 && whole.diverge == whole.cases);
        assert_eq!(whole.failures.values().sum::<u64>(), 8);
        let all = |tally: &NestedTally| format!("{tally:?}");
        assert_eq!(all(&odd), all(&whole));

        // The example of a finding is the case with the lowest index.
        let case = &stream.batch(0).cases[0];
        let mut same = NestedTally::default();
        for index in [5, 3, 9] {
            same.add(judge, (index, || format!("case {index}")), case, &attempt);
        }
        let [found] = same.findings.values().collect::<Vec<_>>()[..] else { panic!("one finding") };
        assert_eq!((found.index, found.name.as_str(), found.cases), (3, "case 3", 3));
    }
}
