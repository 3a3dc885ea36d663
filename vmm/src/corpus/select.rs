//! What a corpus keeps of the cases that were tried: of everything worth showing, the simplest case
//! that shows it. Whether a case is kept depends on the case and its prediction, and on whether the
//! machine agrees: never on a choice that the rules leave, so that recording again keeps the same.

use crate::campaign::sampler::Trial;
use crate::verdict::{self, End, Verdict};
use crate::walker::{MUTANTS, OMISSIONS, Walker};
use crosswalk_case::Case;
use crosswalk_case::{CaseSize, size_of_case};
use mmu_core::walk::{Path, walk_in_mode};
use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, Cr0, Cr4, Efer, PagingMode, Prediction, Reference, Ring, Rule};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Something worth showing, in a mode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    /// A rule decides, and the access ends so.
    Rule(Rule, End),
    /// An access ends so: its vector and error code.
    End(AccessKind, Ring, Option<(u8, u32)>),
    /// A walk ends so at this many entries, crossing a page or not.
    Depth(usize, bool, End),
    /// A bit of an entry of this level differs from a plain mapping.
    Bit(u8, u32, End),
    /// A bit of a control register has this value.
    Control(&'static str, bool, AccessKind, End),
    /// An instruction, and whether it completes.
    Instruction(u8, Ring, bool),
    /// A mutant is proved wrong.
    Mutant(&'static str),
    /// The machine obeys a rule that could be left out: by its place in the list.
    Omission(usize),
    /// The machine does not agree: a known finding, or one that is not known.
    Finding(Option<String>),
}

type SelectionKey = (PagingMode, Point);

/// The simplest case for each point so far.
#[derive(Default)]
pub(super) struct Selection {
    simplest: BTreeMap<SelectionKey, Rc<SelectedCase>>,
    tried: u64,
}

struct SelectedCase {
    size: CaseSize,
    number: u64,
    tried: Trial,
    points: Vec<SelectionKey>,
}

impl Selection {
    /// How many cases were tried.
    pub(super) const fn tried(&self) -> u64 {
        self.tried
    }

    /// How many points are shown so far.
    pub(super) fn points(&self) -> usize {
        self.simplest.len()
    }

    /// Takes a case into account. `findings` are the ids of the known findings that it shows, `None`
    /// for a divergence that is not known.
    pub(super) fn add(
        &mut self,
        tried: Trial,
        prediction: &Prediction,
        verdict: &Verdict,
        findings: Option<&[&str]>,
    ) {
        let number = self.tried;
        self.tried += 1;
        let size = size_of_case(&tried.case);
        let mode = tried.case.mode();
        let mut points = Vec::new();
        match (verdict, findings) {
            (Verdict::Agree { unproved: false, .. }, _) => {
                points = points_of(&tried.case, prediction);
                points.extend(self.deviations(&tried, size));
            }
            (Verdict::Agree { .. }, _) => {}
            (_, None) => points.push(Point::Finding(None)),
            (_, Some(ids)) => {
                let finding = |id: &&str| Point::Finding(Some((*id).to_owned()));
                points.extend(ids.iter().map(finding));
            }
        }
        let points: Vec<SelectionKey> = points.into_iter().map(|point| (mode, point)).collect();
        if !points.iter().any(|key| self.is_simpler(key, size)) {
            return;
        }
        let kept = Rc::new(SelectedCase { size, number, tried, points });
        for key in &kept.points {
            if self.is_simpler(key, size) {
                self.simplest.insert(key.clone(), Rc::clone(&kept));
            }
        }
    }

    /// The mutants and omissions that a case tells from the machine, as far as there is no simpler
    /// case for them.
    fn deviations(&self, Trial { case, run, .. }: &Trial, size: CaseSize) -> Vec<Point> {
        let is_told = |walker: &dyn Walker| {
            matches!(verdict::judge(walker, case, run), Verdict::Diverge { .. })
        };
        let mutants = MUTANTS.iter().map(|mutant| (Point::Mutant(mutant.id), mutant.walker));
        let omissions = OMISSIONS.iter().enumerate();
        let omissions =
            omissions.map(|(place, omission)| (Point::Omission(place), omission.walker));
        let wanted = mutants.chain(omissions).filter(|(point, walker)| {
            self.is_simpler(&(case.mode(), point.clone()), size) && is_told(*walker)
        });
        wanted.map(|(point, _)| point).collect()
    }

    fn is_simpler(&self, key: &SelectionKey, size: CaseSize) -> bool {
        self.simplest.get(key).is_none_or(|known| size < known.size)
    }

    /// The cases that are kept, in the order in which they were tried: without those whose points
    /// others show as well, the most complicated dropped first.
    pub(super) fn finish(self) -> Vec<Trial> {
        let wanted: BTreeSet<SelectionKey> = self.simplest.keys().cloned().collect();
        let mut kept: BTreeMap<u64, Rc<SelectedCase>> = BTreeMap::new();
        kept.extend(self.simplest.into_values().map(|kept| (kept.number, kept)));
        let mut shown: BTreeMap<&SelectionKey, usize> = BTreeMap::new();
        let all: Vec<Rc<SelectedCase>> = kept.values().cloned().collect();
        for key in all.iter().flat_map(|kept| &kept.points).filter(|key| wanted.contains(key)) {
            *shown.entry(key).or_default() += 1;
        }
        let mut by_size: Vec<&Rc<SelectedCase>> = all.iter().collect();
        by_size.sort_by_key(|kept| std::cmp::Reverse((kept.size, kept.number)));
        for case in by_size {
            let its = || case.points.iter().filter(|key| wanted.contains(key));
            if its().all(|key| shown[key] > 1) {
                for key in its() {
                    *shown.get_mut(key).expect("it was counted") -= 1;
                }
                kept.remove(&case.number);
            }
        }
        drop(all);
        let tried = |kept: Rc<SelectedCase>| {
            Rc::try_unwrap(kept).map_or_else(|kept| kept.tried.clone(), |kept| kept.tried)
        };
        kept.into_values().map(tried).collect()
    }
}

/// What a case shows by itself, on a machine that agrees with the reference.
fn points_of(case: &Case, prediction: &Prediction) -> Vec<Point> {
    let Some(likeliest) = prediction.alternatives.first() else { return Vec::new() };
    let end = End::of(&likeliest.outcome);
    let access = &case.access;
    let fault = likeliest.outcome.fault().map(|fault| (fault.vector as u8, fault.error_code));
    let mut points: Vec<Point> =
        prediction.rules.iter().map(|rule| Point::Rule(rule, end)).collect();
    points.push(Point::End(access.kind, access.ring, fault));
    points.push(Point::Instruction(case.form as u8, access.ring, fault.is_none()));
    let state = &case.state;
    for (name, value) in [
        ("CR0.WP", state.cr0.contains(Cr0::WP)),
        ("CR4.PSE", state.cr4.contains(Cr4::PSE)),
        ("CR4.PCIDE", state.cr4.contains(Cr4::PCIDE)),
        ("CR4.SMEP", state.cr4.contains(Cr4::SMEP)),
        ("CR4.SMAP", state.cr4.contains(Cr4::SMAP)),
        ("CR4.PKE", state.cr4.contains(Cr4::PKE)),
        ("CR4.PKS", state.cr4.contains(Cr4::PKS)),
        ("EFER.NXE", state.efer.contains(Efer::NXE)),
    ] {
        points.push(Point::Control(name, value, access.kind, end));
    }
    if case.is_sequence() {
        return points;
    }
    let mut path = Path::default();
    let at = (access.address, access);
    let _ = walk_in_mode(Reference, case.state, case.profile, case, at, &mut path);
    points.push(Point::Depth(path.steps.len(), access.crosses_page(), end));
    if case.unusual_bits() <= 2 {
        let plain = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
        for step in &path.steps {
            let unusual = (step.entry ^ plain) & !ADDRESS;
            let bits = (0..64).filter(|bit| unusual >> bit & 1 != 0);
            points.extend(bits.map(|bit| Point::Bit(step.level.number, bit, end)));
        }
    }
    points
}

/// The bits that are an address in any entry, and no alignment bit of a large leaf.
const ADDRESS: u64 = 0x0000_000f_ffc0_0000 & !(1 << 21);
