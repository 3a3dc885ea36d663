//! A computer in software: memory, an MMU with its caches, and a store. With it a [`System`] runs
//! without any machine.

use super::environment::{BackingStore, EventSink, FrameMemory, TlbShootdown};
use super::error::SpaceError;
use super::event::Event;
use super::ids::{SlotNumber, SpaceId};
use super::system::System;
use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr};
use crate::cache::{CachedMmu, RegisterWrite};
use crate::memory::{
    AtomicTableMemory, Bytes, OutsideMemory, TableMemory, TableMemoryMut, Unshared,
};
use crate::outcome::{AccessError, Outcome};
use crate::table::limits;
use crate::x86::control::LoadError;
use crate::x86::format::{EntryBits, Format};
use crate::x86::profile::{Features, Profile};
use crate::x86::regime::Regime;
use crate::x86::semantics::Reference;
use crate::x86::state::{ControlState, Efer, PagingMode};
use core::cell::Cell;
use core::fmt;

/// Counts of the accesses of processes, and of their cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessCounts {
    /// Accesses that completed.
    pub completed: u64,
    /// Accesses that faulted.
    pub faulted: u64,
    /// Completed accesses for which no table was read.
    pub hits: u64,
    /// Completed accesses for which tables were read.
    pub misses: u64,
    /// Table entries read for the misses.
    pub entries_read: u64,
}

impl AccessCounts {
    /// Counts a completed access for which this number of entries was read.
    const fn complete(&mut self, reads: u64) {
        self.completed += 1;
        self.entries_read += reads;

        if reads == 0 {
            self.hits += 1;
        } else {
            self.misses += 1;
        }
    }
}

/// A computer without devices: `B` is its memory from physical address 0 up, the store is a part of
/// it without frames, and `H` keeps the history.
#[derive(Clone, Debug)]
pub struct Software<
    F: Format,
    B,
    H,
    const SETS: usize = 64,
    const WAYS: usize = 4,
    const STRUCTURES: usize = 16,
> {
    memory: Bytes<B>,
    store: PhysAddr,
    mmu: CachedMmu<F, Reference, SETS, WAYS, STRUCTURES>,
    running: Option<SpaceId>,
    counts: AccessCounts,
    /// The history.
    pub history: H,
}

impl<F: Format, B: AsRef<[u8]> + AsMut<[u8]>, H: EventSink> Software<F, B, H> {
    /// A computer on which no space runs yet, with caches of the default sizes. The slots of the store
    /// are consecutive from `store`.
    pub fn new(bytes: B, store: PhysAddr, profile: Profile, history: H) -> Self {
        Self::with_caches(bytes, store, profile, history)
    }
}

impl<
    F: Format,
    B: AsRef<[u8]> + AsMut<[u8]>,
    H: EventSink,
    const SETS: usize,
    const WAYS: usize,
    const STRUCTURES: usize,
> Software<F, B, H, SETS, WAYS, STRUCTURES>
{
    /// The same with caches of any sizes, or without. They make no difference to the history.
    pub fn with_caches(bytes: B, store: PhysAddr, profile: Profile, history: H) -> Self {
        let memory = Bytes::new(PhysAddr::new(0), bytes);
        let mmu = CachedMmu::with_semantics(Reference, control_state(F::MODE, profile), profile);
        Self { memory, store, mmu, running: None, counts: AccessCounts::default(), history }
    }

    /// Switches to the process of this space: MOV to CR3.
    ///
    /// # Errors
    /// When there is no such space, or its root table is outside memory.
    pub fn run<const FRAMES: usize, const SLOTS: usize>(
        &mut self,
        system: &System<F, FRAMES, SLOTS>,
        space: SpaceId,
    ) -> Result<(), SpaceError> {
        let root = system.root(space)?;
        let loaded = self.mmu.mmu().regime().state.cr3;

        // The number of a space that has ended may be given to another, so the root counts, too.
        if self.running != Some(space) || loaded != root.get() {
            self.load_root(root)?;
            self.running = Some(space);
        }
        Ok(())
    }

    /// Performs an access for the running space.
    ///
    /// # Errors
    /// When a table is outside memory.
    pub fn access(&mut self, access: &Access) -> Result<Outcome, AccessError> {
        let memory = Unshared::new(&mut self.memory);
        let tables = CountedReads { memory, reads: Cell::new(0) };
        let outcome = Outcome::of(self.mmu.translate(&tables, access))?;
        let reads = tables.reads.get();

        match outcome {
            Outcome::Fault(_) => self.counts.faulted += 1,
            Outcome::Translated(_) => self.counts.complete(reads),
        }
        Ok(outcome)
    }

    /// Counts of the accesses so far.
    pub const fn counts(&self) -> &AccessCounts {
        &self.counts
    }

    /// The memory.
    pub const fn memory(&self) -> &Bytes<B> {
        &self.memory
    }

    /// The MMU with its caches.
    pub const fn mmu(&self) -> &CachedMmu<F, Reference, SETS, WAYS, STRUCTURES> {
        &self.mmu
    }

    /// The running space.
    pub const fn running(&self) -> Option<SpaceId> {
        self.running
    }

    /// A cached translation that the tables do not confirm, if there is one: its frame or its rights
    /// have changed in memory.
    ///
    /// # Errors
    /// When a table is outside memory.
    pub fn stale<const FRAMES: usize, const SLOTS: usize>(
        &self,
        system: &System<F, FRAMES, SLOTS>,
    ) -> Result<Option<StaleTranslation>, SpaceError> {
        let Some(space) = self.running else { return Ok(None) };

        // A and D may have been set since, in formats that have them.
        let has_flags = F::LEVELS.iter().any(|level| level.has_flags);
        let may_change = if has_flags { EntryBits::A | EntryBits::D } else { EntryBits::empty() };

        for cached in self.mmu.tlb().iter() {
            let page = limits::extended::<F>(VirtAddr::new(cached.page << cached.shift));
            let entry = system.look(&self.memory, space, page)?.map_or(0, |leaf| leaf.entry);
            let differs = (entry ^ cached.leaf) & !may_change.bits() != 0;
            if let Some(cached) = cached.frame::<F>()
                && differs
            {
                return Ok(Some(StaleTranslation { space, page, cached, entry }));
            }
        }
        Ok(None)
    }

    fn load_root(&mut self, root: PhysAddr) -> Result<(), SpaceError> {
        let Regime { state, profile, .. } = *self.mmu.mmu().regime();

        let new = if F::MODE == PagingMode::Linear {
            ControlState { cr3: root.get(), ..state }
        } else {
            match state.load_cr3(root.get(), profile, &self.memory) {
                Ok(new) => new,
                Err(LoadError::Memory(outside)) => return Err(outside.into()),
                Err(LoadError::Fault(_)) => return Err(SpaceError::FrameTooHigh(root)),
            }
        };

        self.mmu.set_state(RegisterWrite::Cr3(root.get()), new);
        Ok(())
    }
}

/// The control registers of a mode, before a root is loaded: write protection on, and
/// execute-disable where processor and entries have it.
fn control_state(mode: PagingMode, profile: Profile) -> ControlState {
    let mut state = match mode {
        PagingMode::Bits32 => ControlState::bits32(0),
        PagingMode::Pae => ControlState::pae(0, [0; 4]),
        PagingMode::FiveLevel => ControlState::five_level(0),
        PagingMode::Unpaged | PagingMode::FourLevel | PagingMode::Linear => {
            ControlState::four_level(0)
        }
    };
    if !profile.features.contains(Features::NX) {
        state.efer -= Efer::NXE;
    }
    state
}

impl<F: Format, B: AsRef<[u8]>, H, const SETS: usize, const WAYS: usize, const STRUCTURES: usize>
    TableMemory for Software<F, B, H, SETS, WAYS, STRUCTURES>
{
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        self.memory.read_entry(at, bytes)
    }
}

impl<
    F: Format,
    B: AsRef<[u8]> + AsMut<[u8]>,
    H,
    const SETS: usize,
    const WAYS: usize,
    const STRUCTURES: usize,
> TableMemoryMut for Software<F, B, H, SETS, WAYS, STRUCTURES>
{
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, new: u64) -> Result<(), OutsideMemory> {
        self.memory.write_entry(at, bytes, new)
    }
}

impl<
    F: Format,
    B: AsRef<[u8]> + AsMut<[u8]>,
    H,
    const SETS: usize,
    const WAYS: usize,
    const STRUCTURES: usize,
> FrameMemory for Software<F, B, H, SETS, WAYS, STRUCTURES>
{
}

impl<
    F: Format,
    B: AsRef<[u8]> + AsMut<[u8]>,
    H,
    const SETS: usize,
    const WAYS: usize,
    const STRUCTURES: usize,
> BackingStore for Software<F, B, H, SETS, WAYS, STRUCTURES>
{
    fn place(&self, slot: SlotNumber) -> PhysAddr {
        self.store + slot.offset()
    }
}

/// There are no PCIDs: a space that does not run was dropped when another was loaded.
impl<
    F: Format,
    B: AsRef<[u8]> + AsMut<[u8]>,
    H: EventSink,
    const SETS: usize,
    const WAYS: usize,
    const STRUCTURES: usize,
> TlbShootdown for Software<F, B, H, SETS, WAYS, STRUCTURES>
{
    fn flush_page(&mut self, space: SpaceId, page: VirtAddr) {
        if self.running == Some(space) {
            self.mmu.invlpg(page);
        }
    }

    fn flush_space(&mut self, space: SpaceId) {
        if self.running == Some(space) {
            let state = self.mmu.mmu().regime().state;
            self.mmu.set_state(RegisterWrite::Cr3(state.cr3), state);
            // If it has ended, its number may be given to another space, whose root changes next.
            self.running = None;
        }
    }

    fn root_changed(&mut self, space: SpaceId) {
        if self.running == Some(space) && F::MODE == PagingMode::Pae {
            let root = PhysAddr::new(self.mmu.mmu().regime().state.cr3);
            // The system has just written to the root, so there is memory and the entries are good.
            let loaded = self.load_root(root);
            debug_assert_eq!(loaded, Ok(()));
        }
    }
}

impl<F: Format, B, H: EventSink, const SETS: usize, const WAYS: usize, const STRUCTURES: usize>
    EventSink for Software<F, B, H, SETS, WAYS, STRUCTURES>
{
    fn record(&mut self, event: Event) {
        self.history.record(event);
    }
}

/// Memory that counts what a walk reads.
struct CountedReads<M> {
    memory: M,
    reads: Cell<u64>,
}

impl<M: TableMemory> TableMemory for CountedReads<M> {
    type Error = M::Error;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, M::Error> {
        self.reads.set(self.reads.get() + 1);
        self.memory.read_entry(at, bytes)
    }
}

/// The compare of a locked update does not count as a read.
impl<M: AtomicTableMemory> AtomicTableMemory for CountedReads<M> {
    fn compare_exchange(
        &self,
        at: PhysAddr,
        bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<bool, M::Error> {
        self.memory.compare_exchange(at, bytes, current, new)
    }
}

/// Keeps no history.
impl EventSink for () {
    fn record(&mut self, _event: Event) {}
}

/// A translation that is cached for the running space although its tables have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleTranslation {
    /// The running space.
    pub space: SpaceId,
    /// The page.
    pub page: VirtAddr,
    /// The frame that the cache leads to.
    pub cached: PhysAddr,
    /// The leaf entry now, 0 without a table.
    pub entry: u64,
}

impl fmt::Display for StaleTranslation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { space, page, cached, entry } = self;
        write!(
            f,
            "the TLB still leads {page} of space {space} to frame {cached}, though its entry is \
             {entry:#x} by now: the shoot-down is missing"
        )
    }
}
