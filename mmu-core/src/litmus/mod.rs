//! Litmus tests: which outcomes several processors may show that edit tables, use them, and invalidate what
//! they have cached.
//!
//! [`LitmusTest::explore`] enumerates every execution of a test on an abstract machine, with store buffers,
//! walks, and everything that may be cached, and returns the outcomes, each with the choices that it takes
//! and a shortest execution.
//!
//! ```
//! use mmu_core::litmus::{Action, ActionResult, LitmusTest, Program};
//! use mmu_core::{ControlState, PhysAddr, Profile, Ring, VirtAddr};
//!
//! // 0x1000 is mapped to the frame 0x50000, in which there is 10; in 0x60000 there is 11.
//! let (page, pte) = (VirtAddr::new(0x1000), PhysAddr::new(0x13_008));
//! let memory = [
//!     (0x10_000, 0x11_027),
//!     (0x11_000, 0x12_027),
//!     (0x12_000, 0x13_027),
//!     (0x13_008, 0x50_027),
//!     (0x50_000, 10),
//!     (0x60_000, 11),
//! ];
//! let edit = Action::Store(pte, 0x60_027);
//! let test = |actions: &[Action]| LitmusTest {
//!     memory: memory.map(|(at, word)| (PhysAddr::new(at), word)).to_vec(),
//!     state: ControlState::four_level(0x10_000),
//!     profile: Profile::default(),
//!     ring: Ring::Three,
//!     programs: vec![Program { actions: actions.to_vec(), ..Program::default() }],
//!     observed: Vec::new(),
//! };
//! let last = |test: LitmusTest| -> Vec<_> {
//!     let explored = test.explore(1000).unwrap();
//!     explored.outcomes.keys().map(|outcome| *outcome.results[0].last().unwrap()).collect()
//! };
//!
//! let both = [ActionResult::Value(10), ActionResult::Value(11)];
//! assert_eq!(last(test(&[edit, Action::Read(page)])), both);
//! let invalidated = [edit, Action::Invlpg(page), Action::Read(page)];
//! assert_eq!(last(test(&invalidated)), [ActionResult::Value(11)]);
//! ```
//!
//! The files: `test` is what is asked; `machine` the abstract machine and its states, `steps` what can happen next, `access` what an access may do, `walked` one walk,
//! `cached_path` what a cache holds, `caches` all that may be cached, `memory` what a processor sees; `decisions` is what a mutant overrides, `choices` what is left to
//! processors, `event` what happens; `explore` puts it all together.

mod access;
mod cached_path;
mod caches;
mod choices;
mod decisions;
mod event;
mod explore;
mod machine;
mod memory;
mod steps;
mod test;
#[cfg(test)]
mod tests;
mod walked;

pub use cached_path::{CachedEnd, CachedPath};
pub use choices::LitmusChoices;
pub use decisions::{LitmusReference, LitmusSemantics};
pub use event::{Event, EventKind, EventWalk, WalkedEntry};
pub use explore::{Exploration, LitmusOutcome, Way};
pub use test::{Action, LitmusTest, LockedOperation, Observed, Program};

use crate::memory::OutsideMemory;
use core::fmt;

/// What an action results in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionResult {
    /// It read this.
    Value(u64),
    /// It stored its value.
    Wrote,
    /// It page-faulted with this error code.
    Fault(u32),
}

/// Why the outcomes of a test are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LitmusError {
    /// Something leads to memory that the test does not have.
    Outside(OutsideMemory),
    /// The processor refuses an action with an exception that is not a page fault.
    Refused(Action),
    /// There is no processor of this number.
    NoProcessor(usize),
    /// There are more states than this.
    TooManyStates(usize),
}

impl From<OutsideMemory> for LitmusError {
    fn from(outside: OutsideMemory) -> Self {
        Self::Outside(outside)
    }
}

impl fmt::Display for LitmusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(outside) => write!(f, "the test does not say what is there: {outside}"),
            Self::Refused(action) => write!(f, "the processor refuses this with #GP: {action:?}"),
            Self::NoProcessor(number) => write!(f, "there is no processor {number} to interrupt"),
            Self::TooManyStates(limit) => write!(f, "the test has more than {limit} states"),
        }
    }
}

impl core::error::Error for LitmusError {}
