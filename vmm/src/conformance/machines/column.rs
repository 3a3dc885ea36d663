//! What one machine did, beside the manuals: counts, and marks for each rule.

use crate::campaign::known::KnownSource;
use crate::conformance::attribution::{self, Aspect, Deviation};
use crate::conformance::mark::Mark;
use crate::conformance::marks::{Mistake, RuleMarks};
use crate::conformance::side::Side;
use crate::finding::Findings;
use crate::finding::known::{Kind, KnownError, KnownFinding};
use crate::verdict::{
    self, Difference, Verdict, describe_expectation, describe_observation, observed_until,
};
use crate::walker::WalkerSpec;
use crosswalk_case::observation::Attempt;
use crosswalk_case::{Case, CaseSize, size_of_case};
use crosswalk_machine::{Capabilities, Identity, MachineLine};
use mmu_core::{Alternative, Prediction, Reference, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// A machine of the table.
pub struct MachineColumn {
    /// The machine.
    pub line: MachineLine,
    /// Number of its cases.
    pub cases: u64,
    /// Number of cases in which it did what the manuals allow.
    pub right: u64,
    /// Number of cases in which it differs from the manuals in a way that is known of it.
    pub known: u64,
    /// The same for what is not known.
    pub unknown: u64,
    /// Number of cases that it could not run.
    pub unsupported: u64,
    /// Number of cases that it ran twice, and not alike.
    pub unsteady: u64,
    /// Number of cases that others ran as well.
    pub shared: u64,
    /// Number of these in which it did not do what most machines did that are allowed the same.
    pub outvoted: u64,
    /// Its marks, rule by rule.
    pub marks: RuleMarks,
    /// The known findings that cases about a rule showed, each with the number of cases.
    pub findings: BTreeMap<Aspect, BTreeMap<String, u64>>,
    /// The members of choices that it took, each with the number of cases.
    pub choices: BTreeMap<Rule, BTreeMap<&'static str, u64>>,
    known_findings: Vec<KnownFinding>,
    recognizer: Findings,
    smallest: BTreeMap<Aspect, SmallestMistake>,
}

/// The best example of a mistake so far: one that shows as few findings as possible, then the smallest.
struct SmallestMistake {
    findings: usize,
    size: CaseSize,
    mistake: Mistake,
}

/// What a case showed of a machine.
pub(super) enum MachineVerdict {
    /// What the manuals allow, with the rules and members of the choices taken.
    Right(BTreeSet<(Rule, &'static str)>),
    /// What they do not allow: known findings by id, or the fields that differ.
    Wrong { about: Vec<String>, is_known: bool, expected: String },
    /// The machine could not run it.
    Unsupported,
}

impl MachineColumn {
    /// A machine whose cases have not been added.
    pub(super) fn new(
        line: MachineLine,
        (identity, capabilities): (Identity, Capabilities),
        known: &KnownSource,
    ) -> Result<Self, KnownError> {
        let known = known.load(WalkerSpec::Reference, &identity)?;
        Ok(Self {
            line,
            cases: 0,
            right: 0,
            known: 0,
            unknown: 0,
            unsupported: 0,
            unsteady: 0,
            shared: 0,
            outvoted: 0,
            marks: RuleMarks::default(),
            findings: BTreeMap::new(),
            choices: BTreeMap::new(),
            known_findings: if known.are_forgiven { known.findings.clone() } else { Vec::new() },
            recognizer: known.collector(WalkerSpec::Reference, &capabilities),
            smallest: BTreeMap::new(),
        })
    }

    /// Judges a case by the reference's predictions for all of its accesses.
    pub(super) fn add(
        &mut self,
        case: &Case,
        attempt: &Attempt,
        predictions: &[Prediction],
        deviations: &[Deviation],
    ) -> MachineVerdict {
        self.cases += 1;
        let allowed = predictions.last().map_or(&[][..], |last| &last.alternatives);
        let verdict = verdict::judge_accesses(&Reference, case, predictions, attempt);

        match &verdict {
            Verdict::Unsupported(_) => {
                self.unsupported += 1;
                MachineVerdict::Unsupported
            }
            Verdict::Agree { choices, .. } => {
                self.right += 1;
                let taken: BTreeSet<_> =
                    choices.iter().map(|choice| (choice.rule, choice.member)).collect();
                for (rule, member) in &taken {
                    *self.choices.entry(*rule).or_default().entry(member).or_default() += 1;
                }
                self.add_right(case, attempt, allowed, deviations);
                MachineVerdict::Right(taken)
            }
            Verdict::Diverge { at, expected, differences } => {
                let differs = (*at, expected.as_ref(), differences.as_slice());
                self.add_wrong(case, attempt, &verdict, differs, allowed, deviations)
            }
        }
    }

    /// Adds a case in which the machine is right. It shows that the machine follows a rule if one of the
    /// rule's deviations does not do what the machine did.
    fn add_right(
        &mut self,
        case: &Case,
        attempt: &Attempt,
        allowed: &[Alternative],
        deviations: &[Deviation],
    ) {
        let mut refuted_on: BTreeMap<Aspect, BTreeSet<Side>> = BTreeMap::new();
        for deviation in deviations {
            let sides = refuted_on.entry(deviation.aspect).or_default();
            if !verdict::agrees(deviation.walker, case, attempt) {
                sides.insert(deviation.side);
                self.marks.refute(case.mode(), deviation.cause());
            }
        }
        self.marks.add_right(allowed, refuted_on);
    }

    fn add_wrong(
        &mut self,
        case: &Case,
        attempt: &Attempt,
        verdict: &Verdict,
        (at, expected, differences): (usize, &Alternative, &[Difference]),
        allowed: &[Alternative],
        deviations: &[Deviation],
    ) -> MachineVerdict {
        let expected = describe_expectation(expected);
        let mistake = Mistake {
            case: case.clone(),
            expected: expected.clone(),
            answered: observed_in_words(case, attempt, at, differences),
            explained_by: None,
        };

        let shown = self.recognizer.shown(case, attempt, verdict);
        let shown: Vec<_> = shown.into_iter().flatten().map(|known| known.id.clone()).collect();
        let known: Vec<_> = self
            .known_findings
            .iter()
            .filter(|known| known.kind == Kind::Divergence && shown.contains(&known.id))
            .cloned()
            .collect();
        if known.is_empty() {
            self.unknown += 1;
            let marked_by = |way: &Deviation| {
                if verdict::agrees(way.walker, case, attempt) {
                    Mark::Right
                } else {
                    let (expected, answered) = (String::new(), String::new());
                    Mark::Wrong { expected, answered }
                }
            };
            let causes = attribution::causes(deviations, marked_by, case, allowed);
            self.marks.add_mistake(causes, mistake);
            let about = differences.iter().map(|found| found.field.name().to_owned());
            let about: BTreeSet<_> = about.collect();
            return MachineVerdict::Wrong {
                about: about.into_iter().collect(),
                is_known: false,
                expected,
            };
        }

        self.known += 1;
        for KnownFinding { id, title, rule, .. } in &known {
            let explained_by = Some(format!("{id}: {title}"));
            self.add_known(*rule, id, known.len(), Mistake { explained_by, ..mistake.clone() });
        }
        let about = known.into_iter().map(|known| known.id).collect();
        MachineVerdict::Wrong { about, is_known: true, expected }
    }

    fn add_known(&mut self, rule: Rule, id: &str, findings: usize, mistake: Mistake) {
        let aspect = Aspect::Rule(rule);
        self.marks.cells.entry(aspect).or_default().wrong += 1;
        *self.findings.entry(aspect).or_default().entry(id.to_owned()).or_default() += 1;

        let size = size_of_case(&mistake.case);
        let is_better = self
            .smallest
            .get(&aspect)
            .is_none_or(|known| (findings, size) < (known.findings, known.size));
        if is_better {
            self.smallest.insert(aspect, SmallestMistake { findings, size, mistake });
        }
    }

    /// Attributes the mistakes, once all cases have been added.
    pub(super) fn finish(&mut self) {
        self.marks.finish();
        for (aspect, smallest) in std::mem::take(&mut self.smallest) {
            let cell = self.marks.cells.entry(aspect).or_default();
            cell.mistake.get_or_insert(smallest.mistake);
        }
    }

    /// Whether the members of a choice that it took are not those that another machine took.
    pub fn chooses_otherwise(&self, rule: Rule, other: &Self) -> bool {
        let members = |column: &Self| -> Option<Vec<&str>> {
            column.choices.get(&rule).map(|members| members.keys().copied().collect())
        };
        match (members(self), members(other)) {
            (Some(own), Some(others)) => own != others,
            _ => false,
        }
    }
}

/// What a machine did at the action that differs, with the fields that differ if words alone do not tell.
pub(super) fn observed_in_words(
    case: &Case,
    attempt: &Attempt,
    at: usize,
    differences: &[Difference],
) -> String {
    let Attempt::Observed(seen) = attempt else { return String::new() };
    let mut words = match observed_until(case, seen, at) {
        Some((until, seen)) => describe_observation(&until, &seen),
        None => describe_observation(case, seen),
    };
    for difference in differences {
        words += "; ";
        words += &difference.to_string();
    }
    words
}
