//! The tests that were run by hand on four machines, with what the manuals allow in each.
//!
//! An outcome is written as the results in the order of the processors, `a` for the old content of a page, `b`
//! for the new one, `np` for a fault by an absent entry and `pf` for another, `ok` for a store; then the observed
//! bits of memory.

mod accessed_and_dirty;
mod mistakes;
mod one_processor;
mod stale;
mod two_processors;

use super::{
    Action, ActionResult, Exploration, LitmusChoices, LitmusOutcome, LitmusTest, LockedOperation,
    Observed, Program,
};
use crate::access::Ring;
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::state::{ControlState, Cr4};
use std::collections::BTreeSet;
use std::string::String;
use std::vec::Vec;

/// The page, its PTE and its PDE.
const X: VirtAddr = VirtAddr::new(0x1000);
const PTE: PhysAddr = PhysAddr::new(0x13_008);
const PDE: PhysAddr = PhysAddr::new(0x12_000);
/// Another page of the same table, which is mapped to A as well.
const Y: VirtAddr = VirtAddr::new(0x2000);
const PTE_OF_Y: PhysAddr = PhysAddr::new(0x13_010);
/// Another table, which maps both pages to B.
const OTHER_TABLE: u64 = 0x14_027;
/// What the frames contain.
const A: u64 = 0x50_027;
const B: u64 = 0x60_027;
/// A flag, for one processor to tell the other.
const FLAG: PhysAddr = PhysAddr::new(0x70_000);
const ACK: PhysAddr = PhysAddr::new(0x70_008);

/// Bits of entries.
const P: u64 = 1;
const RW: u64 = 1 << 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const G: u64 = 1 << 8;

/// A test that starts with x and y mapped to A.
struct Bench(LitmusTest);

impl Bench {
    fn new(programs: &[&[Action]]) -> Self {
        let memory = [
            (0x10_000, 0x11_027),
            (0x11_000, 0x12_027),
            (PDE.get(), 0x13_027),
            (PTE.get(), A),
            (PTE_OF_Y.get(), A),
            (0x14_008, B),
            (0x14_010, B),
            (0x50_000, 10),
            (0x60_000, 11),
            (FLAG.get(), 0),
            (ACK.get(), 0),
        ];
        let program =
            |actions: &&[Action]| Program { actions: actions.to_vec(), ..Program::default() };
        Self(LitmusTest {
            memory: memory.map(|(at, word)| (PhysAddr::new(at), word)).to_vec(),
            state: ControlState::four_level(0x10_000),
            profile: Profile { vendor: Vendor::Intel, ..Profile::default() },
            ring: Ring::Three,
            programs: programs.iter().map(program).collect(),
            observed: Vec::new(),
        })
    }

    /// The word at an address is this when the test begins.
    fn with(mut self, at: PhysAddr, value: u64) -> Self {
        self.0.memory.iter_mut().find(|(known, _)| *known == at).unwrap().1 = value;
        self
    }

    fn observing(mut self, at: PhysAddr, mask: u64) -> Self {
        self.0.observed.push(Observed { at, mask });
        self
    }

    fn on(mut self, vendor: Vendor) -> Self {
        self.0.profile.vendor = vendor;
        self
    }

    fn without_cet(mut self) -> Self {
        self.0.profile.features -= Features::CET_SS;
        self
    }

    fn with_cr4(mut self, bits: Cr4) -> Self {
        self.0.state.cr4 |= bits;
        self
    }

    fn with_handler(mut self, processor: usize, actions: &[Action]) -> Self {
        self.0.programs[processor].handler = actions.to_vec();
        self
    }

    fn explore(&self) -> Exploration {
        self.0.explore(20_000).unwrap()
    }

    /// The outcomes that take no choice.
    fn shows(&self, expected: &[&str]) {
        self.shows_by(LitmusChoices::empty(), expected);
    }

    /// The outcomes that take these choices, and not fewer.
    fn shows_by(&self, choices: LitmusChoices, expected: &[&str]) {
        let explored = self.explore();
        let outcomes = explored.outcomes.iter();
        let by_choices = outcomes.filter(|(_, ways)| ways.iter().any(|way| way.choices == choices));
        let found: BTreeSet<String> = by_choices.map(|(outcome, _)| written(outcome)).collect();
        let expected: BTreeSet<String> = expected.iter().map(|outcome| (*outcome).into()).collect();
        assert_eq!(found, expected);
    }
}

/// An outcome in short.
fn written(outcome: &LitmusOutcome) -> String {
    let results = outcome.results.iter().flatten().map(|result| match result {
        ActionResult::Value(10) => "a".into(),
        ActionResult::Value(11) => "b".into(),
        ActionResult::Value(12) => "d".into(),
        ActionResult::Value(value) => format!("{value:#x}"),
        ActionResult::Wrote => "ok".into(),
        ActionResult::Fault(code) if code & 1 == 0 => "np".into(),
        ActionResult::Fault(_) => "pf".into(),
    });
    let memory = outcome.memory.iter().map(|bits| format!("{bits:#x}"));
    results.chain(memory).collect::<Vec<String>>().join(" ")
}

const fn read() -> Action {
    Action::Read(X)
}

const fn write() -> Action {
    Action::Write(X, 12)
}

const fn set(entry: u64) -> Action {
    Action::Store(PTE, entry)
}

const fn invlpg() -> Action {
    Action::Invlpg(X)
}

const fn reload_cr3() -> Action {
    Action::WriteCr3(0x10_000)
}
