//! Selects the cases of a corpus: for everything worth showing, the simplest case that shows it.
//!
//! Whether a case is kept depends on the case, on its prediction, and on whether the machine agrees,
//! but never on a choice that the rules leave open. So recording again keeps the same cases.
#![allow(clippy::arithmetic_side_effects, reason = "counts of cases that were read")]

use crate::campaign::Trial;
use crate::finding::Findings;
use crate::verdict::{self, End, Verdict};
use crate::walker::{MUTANTS, OMISSIONS, Walker};
use crosswalk_case::Case;
use crosswalk_case::{CaseSize, size_of_case};
use mmu_core::walk::Path;
use mmu_core::x86::format::EntryBits;
use mmu_core::{
    AccessKind, AnyMmu, ControlState, Cr0, Cr4, Efer, PagingMode, Prediction, Reference, Ring, Rule,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Something worth showing in a mode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    /// A rule decides, and the access ends like this.
    Rule(Rule, End),
    /// An access ends with this vector and error code.
    End(AccessKind, Ring, Option<(u8, u32)>),
    /// A walk ends like this after so many entries, and does or does not cross a page.
    Depth(usize, bool, End),
    /// A bit of an entry at this level differs from a plain mapping.
    Bit(u8, u32, End),
    /// A bit of a control register has this value.
    Control(&'static str, bool, AccessKind, End),
    /// An instruction completes, or does not.
    Instruction(u8, Ring, bool),
    /// A mutant is proved wrong.
    Mutant(&'static str),
    /// The machine obeys a rule that an omission leaves out; the index of the omission.
    Omission(usize),
    /// The machine diverges: the id of a known finding, `None` if it is not known.
    Finding(Option<String>),
}

type SelectionKey = (PagingMode, Point);

/// The simplest case for each point so far.
#[derive(Default)]
pub(super) struct Selection {
    simplest: BTreeMap<SelectionKey, Rc<SelectedCase>>,
    tried: u64,
}

#[derive(Clone)]
struct SelectedCase {
    size: CaseSize,
    /// Its place in the order in which cases were tried.
    number: u64,
    trial: Trial,
    points: Vec<SelectionKey>,
}

impl Selection {
    /// Number of cases tried.
    pub(super) const fn tried(&self) -> u64 {
        self.tried
    }

    /// Number of points that the cases show so far.
    pub(super) fn points(&self) -> usize {
        self.simplest.len()
    }

    /// Adds a case. `findings` has the known findings of the machine.
    pub(super) fn add(&mut self, trial: Trial, findings: &Findings) {
        let number = self.tried;
        self.tried += 1;

        let size = size_of_case(&trial.case);
        let points = self.points_of_trial(&trial, size, findings);
        if !points.iter().any(|key| self.is_simpler(key, size)) {
            return;
        }

        let selected = Rc::new(SelectedCase { size, number, trial, points });
        for key in &selected.points {
            if self.is_simpler(key, size) {
                self.simplest.insert(key.clone(), Rc::clone(&selected));
            }
        }
    }

    /// Everything worth showing that a case shows.
    fn points_of_trial(
        &self,
        trial: &Trial,
        size: CaseSize,
        findings: &Findings,
    ) -> Vec<SelectionKey> {
        let Trial { case, attempt, .. } = trial;
        let prediction = Reference.predict(case);
        let verdict = verdict::judge_prediction(&Reference, case, &prediction, attempt);

        let points = match verdict {
            Verdict::Agree { unproved: true, .. } => Vec::new(),
            Verdict::Agree { unproved: false, .. } => {
                let mut points = points_of_case(case, &prediction);
                points.extend(self.deviations(trial, size));
                points
            }
            _ => match findings.shown(case, attempt, &verdict) {
                None => vec![Point::Finding(None)],
                Some(known) => {
                    known.into_iter().map(|known| Point::Finding(Some(known.id.clone()))).collect()
                }
            },
        };

        let mode = case.mode();
        points.into_iter().map(|point| (mode, point)).collect()
    }

    /// The mutants and omissions that a case proves wrong, unless there is a simpler case for them.
    fn deviations(&self, Trial { case, attempt, .. }: &Trial, size: CaseSize) -> Vec<Point> {
        let is_wrong = |walker: &dyn Walker| {
            matches!(verdict::judge(walker, case, attempt), Verdict::Diverge { .. })
        };

        let mutants = MUTANTS.iter().map(|mutant| (Point::Mutant(mutant.id), mutant.walker));
        let omissions = OMISSIONS
            .iter()
            .enumerate()
            .map(|(index, omission)| (Point::Omission(index), omission.walker));

        mutants
            .chain(omissions)
            .filter(|(point, walker)| {
                self.is_simpler(&(case.mode(), point.clone()), size) && is_wrong(*walker)
            })
            .map(|(point, _)| point)
            .collect()
    }

    fn is_simpler(&self, key: &SelectionKey, size: CaseSize) -> bool {
        self.simplest.get(key).is_none_or(|known| size < known.size)
    }

    /// The selected cases, in the order in which they were tried. Cases whose points are all shown
    /// by other cases are dropped, the most complicated first.
    pub(super) fn finish(self) -> Vec<Trial> {
        let wanted: BTreeSet<SelectionKey> = self.simplest.keys().cloned().collect();
        let wanted_points = |selected: &SelectedCase| {
            let points = selected.points.iter().filter(|key| wanted.contains(key));
            points.cloned().collect::<Vec<_>>()
        };

        let selected = self.simplest.into_values().map(|selected| (selected.number, selected));
        let mut kept: BTreeMap<u64, Rc<SelectedCase>> = selected.collect();

        let mut shown: BTreeMap<SelectionKey, usize> = BTreeMap::new();
        for key in kept.values().flat_map(|selected| wanted_points(selected)) {
            *shown.entry(key).or_default() += 1;
        }

        let mut by_size: Vec<Rc<SelectedCase>> = kept.values().cloned().collect();
        by_size.sort_by_key(|selected| std::cmp::Reverse((selected.size, selected.number)));
        for selected in by_size {
            let points = wanted_points(&selected);
            if points.iter().all(|key| shown.get(key).is_some_and(|count| *count > 1)) {
                for key in points {
                    shown.entry(key).and_modify(|count| *count -= 1);
                }
                kept.remove(&selected.number);
            }
        }

        kept.into_values().map(|selected| Rc::unwrap_or_clone(selected).trial).collect()
    }
}

/// What a case shows by itself, on a machine that agrees with the reference.
fn points_of_case(case: &Case, prediction: &Prediction) -> Vec<Point> {
    let Some(likeliest) = prediction.alternatives.first() else { return Vec::new() };
    let access = &case.access;
    let end = End::of(&likeliest.outcome);
    let fault = likeliest.outcome.fault().map(|fault| (fault.vector as u8, fault.error_code));

    let mut points: Vec<Point> =
        prediction.rules.iter().map(|rule| Point::Rule(rule, end)).collect();
    points.push(Point::End(access.kind, access.ring, fault));
    points.push(Point::Instruction(case.form as u8, access.ring, fault.is_none()));
    points.extend(
        control_bits(&case.state)
            .map(|(name, value)| Point::Control(name, value, access.kind, end)),
    );
    if !case.is_sequence() {
        points.extend(points_of_walk(case, end));
    }

    points
}

/// The bits of control registers that change what is allowed.
fn control_bits(state: &ControlState) -> [(&'static str, bool); 8] {
    [
        ("CR0.WP", state.cr0.contains(Cr0::WP)),
        ("CR4.PSE", state.cr4.contains(Cr4::PSE)),
        ("CR4.PCIDE", state.cr4.contains(Cr4::PCIDE)),
        ("CR4.SMEP", state.cr4.contains(Cr4::SMEP)),
        ("CR4.SMAP", state.cr4.contains(Cr4::SMAP)),
        ("CR4.PKE", state.cr4.contains(Cr4::PKE)),
        ("CR4.PKS", state.cr4.contains(Cr4::PKS)),
        ("EFER.NXE", state.efer.contains(Efer::NXE)),
    ]
}

/// The depth of the walk, and the unusual bits on its path, if there are few.
fn points_of_walk(case: &Case, end: End) -> Vec<Point> {
    let access = &case.access;
    let mut path = Path::default();
    let mmu = AnyMmu::new(case.state, case.profile);
    let _ = mmu.walk(case, access.address, access, &mut path);

    let mut points = vec![Point::Depth(path.steps.len(), access.crosses_page(), end)];
    if case.unusual_bits() <= 2 {
        let plain = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
        for step in &path.steps {
            let unusual = (step.entry ^ plain) & !ALWAYS_ADDRESS;
            let bits = (0..64).filter(|bit| unusual >> bit & 1 != 0);
            points.extend(bits.map(|bit| Point::Bit(step.level.number, bit, end)));
        }
    }

    points
}

/// Bits 35:22: part of the address in an entry of any format, table or page of any size but 1 GiB.
const ALWAYS_ADDRESS: u64 = 0x0000_000f_ffc0_0000;
