//! Selects the nested cases of a corpus: for everything worth showing, the plainest case that shows it.
#![allow(clippy::arithmetic_side_effects, reason = "counts of cases that were read")]

use crosswalk_case::TableEntry;
use crosswalk_nested::NestedCase;
use crosswalk_nested::generate::NestedName;
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::mutants::NestedMutant;
use crosswalk_nested::mutation::Evidence;
use crosswalk_nested::observation::NestedAttempt;
use crosswalk_nested::tally::{kind_of_attempt, kind_of_end};
use crosswalk_nested::verdict::{NestedVerdict, judge_prediction};
use crosswalk_nested::walker::{REFERENCE, predict};
use mmu_core::nested::{AnyRule, SecondLevel};
use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, PagingMode, Ring};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A case that has run.
#[derive(Clone, Debug)]
pub(super) struct NestedTrial {
    pub(super) name: NestedName,
    pub(super) case: NestedCase,
    pub(super) attempt: NestedAttempt,
}

/// Something worth showing, below one second level.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    /// A rule decides, and the case ends like this.
    Rule(AnyRule, &'static str),
    /// A guest in this mode makes this access, which ends like this.
    Access(PagingMode, AccessKind, Ring, &'static str),
    /// A rule leaves a choice, and this is the machine's.
    Choice(AnyRule, &'static str),
    /// A mutant is proved wrong.
    Mutant(&'static str),
    /// Known findings explain what the machine does.
    Known(Vec<String>),
    /// It differs in a way that is not known: how it should end, and how it ended.
    New(&'static str, &'static str),
    /// The machine cannot run it.
    NotRun,
}

/// The second level: the mode that is its format, or the number of levels of EPT.
type SelectionKey = (Result<PagingMode, u8>, Point);

/// How plain a case is: by the bits of its entries that are unusual, and by the number of entries.
type Plainness = (u32, usize);

/// The plainest case for each point so far.
#[derive(Default)]
pub(super) struct NestedSelection {
    plainest: BTreeMap<SelectionKey, Rc<Selected>>,
    tried: u64,
}

struct Selected {
    plainness: Plainness,
    /// Its place in the order in which cases were tried.
    number: u64,
    trial: NestedTrial,
    points: Vec<SelectionKey>,
}

impl NestedSelection {
    /// Number of cases tried.
    pub(super) const fn tried(&self) -> u64 {
        self.tried
    }

    /// Number of points that the cases show so far.
    pub(super) fn points(&self) -> usize {
        self.plainest.len()
    }

    /// Adds a case. It is asked about these mutants.
    pub(super) fn add(
        &mut self,
        trial: NestedTrial,
        known: &KnownNested,
        mutants: &[&'static NestedMutant],
    ) {
        let number = self.tried;
        self.tried += 1;

        let plainness = plainness(&trial.case);
        let mut points = points_of(&trial, known);
        points.extend(self.mutants_caught(&trial, plainness, known, mutants));
        if !points.iter().any(|key| self.is_plainer(key, plainness)) {
            return;
        }
        let selected = Rc::new(Selected { plainness, number, trial, points });
        for key in &selected.points {
            if self.is_plainer(key, plainness) {
                self.plainest.insert(key.clone(), Rc::clone(&selected));
            }
        }
    }

    fn is_plainer(&self, key: &SelectionKey, plainness: Plainness) -> bool {
        self.plainest.get(key).is_none_or(|known| plainness < known.plainness)
    }

    /// The mutants that a case proves wrong, unless there is a plainer case for them.
    fn mutants_caught(
        &self,
        NestedTrial { case, attempt, .. }: &NestedTrial,
        plainness: Plainness,
        known: &KnownNested,
        mutants: &[&'static NestedMutant],
    ) -> Vec<SelectionKey> {
        let evidence = Evidence::new(case, attempt, known);
        let keys =
            mutants.iter().map(|mutant| (mutant, (second_level(case), Point::Mutant(mutant.id))));
        let caught = keys.filter(|(mutant, key)| {
            self.is_plainer(key, plainness) && evidence.against(mutant).is_some()
        });
        caught.map(|(_, key)| key).collect()
    }

    /// The selected cases, in the order in which they were tried. Cases whose points are all shown by other cases are
    /// dropped, the least plain first.
    pub(super) fn finish(self) -> Vec<NestedTrial> {
        let points: Vec<SelectionKey> = self.plainest.keys().cloned().collect();
        let of_run = |selected: &Selected| {
            let points = selected.points.iter().filter(|key| points.binary_search(key).is_ok());
            points.cloned().collect::<Vec<_>>()
        };
        let selected = self.plainest.into_values().map(|selected| (selected.number, selected));
        let mut kept: BTreeMap<u64, Rc<Selected>> = selected.collect();

        let mut shown: BTreeMap<SelectionKey, usize> = BTreeMap::new();
        for key in kept.values().flat_map(|selected| of_run(selected)) {
            *shown.entry(key).or_default() += 1;
        }
        let mut least_plain: Vec<Rc<Selected>> = kept.values().cloned().collect();
        least_plain
            .sort_by_key(|selected| std::cmp::Reverse((selected.plainness, selected.number)));
        for selected in least_plain {
            let points = of_run(&selected);
            if points.iter().all(|key| shown.get(key).is_some_and(|count| *count > 1)) {
                for key in points {
                    shown.entry(key).and_modify(|count| *count -= 1);
                }
                kept.remove(&selected.number);
            }
        }
        kept.into_values().map(|selected| selected.trial.clone()).collect()
    }
}

/// Everything worth showing that a case shows, besides mutants.
fn points_of(
    NestedTrial { case, attempt, .. }: &NestedTrial,
    known: &KnownNested,
) -> Vec<SelectionKey> {
    let prediction = predict(&REFERENCE, case);
    let seen = kind_of_attempt(attempt);

    let points = match judge_prediction(case, &prediction, attempt) {
        NestedVerdict::Agree { choice } => {
            let access = &case.access;
            let mut points = vec![Point::Access(case.mode(), access.kind, access.ring, seen)];
            points.extend(prediction.rules.iter().map(|rule| Point::Rule(*rule, seen)));
            points.extend(choice.map(|(rule, member)| Point::Choice(rule, member)));
            points
        }
        NestedVerdict::Diverge { expected, .. } => match known.recognize(case, attempt) {
            ids if ids.is_empty() => vec![Point::New(kind_of_end(&expected.end), seen)],
            ids => vec![Point::Known(ids)],
        },
        NestedVerdict::Unsupported(_) => vec![Point::NotRun],
        NestedVerdict::Unpredicted => Vec::new(),
    };
    points.into_iter().map(|point| (second_level(case), point)).collect()
}

fn second_level(case: &NestedCase) -> Result<PagingMode, u8> {
    match case.second {
        SecondLevel::Npt(host) => Ok(host.mode()),
        SecondLevel::Ept(ept) => Err(ept.levels()),
    }
}

fn plainness(case: &NestedCase) -> Plainness {
    const PLAIN: u64 = 0x7;
    let unusual = |entry: &TableEntry| ((entry.value ^ PLAIN) & !EntryBits::ADDRESS).count_ones();
    (case.entries().map(unusual).sum(), case.entries().count())
}
