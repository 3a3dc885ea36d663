//! What happens in an execution, step by step.

use super::ActionResult;
use super::test::Action;
use crate::address::{PhysAddr, VirtAddr};
use alloc::vec::Vec;

/// One step of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number of the processor.
    pub processor: usize,
    /// What it does.
    pub kind: EventKind,
}

/// What a processor does in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It performs the next action of its program or handler.
    Performs {
        /// The action.
        action: Action,
        /// The walk of an access.
        walk: Option<EventWalk>,
        /// The result, if the action has one.
        result: Option<ActionResult>,
    },
    /// Its oldest store reaches memory.
    StoreReachesMemory {
        /// The physical address of the word.
        at: PhysAddr,
        /// What is there now.
        value: u64,
    },
    /// It goes to its handler.
    TakesInterrupt,
    /// It walks for no access, and sets A.
    Speculates {
        /// The address that it translates.
        address: VirtAddr,
        /// The entries.
        walk: EventWalk,
    },
    /// It sets A and D for its next write, before it is clear whether that faults.
    SetsDirtyEarly {
        /// The entries.
        walk: EventWalk,
    },
    /// It overwrites entries with their flags. No processor does so in more than one step.
    WritesEntriesBack,
}

/// The entries of a walk, the uppermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventWalk {
    /// The entries. None if nothing was read, as where an absent entry was cached.
    pub entries: Vec<WalkedEntry>,
    /// Whether the translation itself came out of a cache, so that no entry was read.
    pub is_hit: bool,
}

/// An entry of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkedEntry {
    /// The manuals' name of its level's entries.
    pub name: &'static str,
    /// Its physical address.
    pub at: PhysAddr,
    /// Its value, before the walk set flags.
    pub value: u64,
    /// Whether it came out of a cache or a register, whatever memory has.
    pub is_cached: bool,
}
