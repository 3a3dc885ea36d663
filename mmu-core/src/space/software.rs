//! A computer in software: memory, an MMU with its caches, and a store. What a [`System`] needs to
//! run without any machine.

use super::{
    BackingStore, Event, EventSink, FrameMemory, SlotNumber, SpaceError, SpaceId, System,
    TlbShootdown,
};
use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr};
use crate::cache::{AccessError, CachedMmu, RegisterWrite, TableMemoryUpdate};
use crate::memory::{Bytes, OutsideMemory, TableMemory, TableMemoryMut};
use crate::outcome::Outcome;
use crate::x86::control::LoadError;
use crate::x86::format::{EntryBits, Format};
use crate::x86::profile::{Features, Profile};
use crate::x86::semantics::Reference;
use crate::x86::state::{ControlState, Cr4, Efer, PagingMode};
use core::cell::Cell;

/// What the accesses of processes cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessCounts {
    /// Accesses that completed.
    pub completed: u64,
    /// Accesses that faulted.
    pub faulted: u64,
    /// Completed accesses that met the TLB only.
    pub hits: u64,
    /// Completed accesses for which a table was read.
    pub misses: u64,
    /// Entries read for the misses.
    pub entries_read: u64,
}

/// A computer without devices: `B` is its memory from physical address 0 up, the store is a part of
/// it that has no frames, and `H` keeps the history.
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
    /// A computer that nobody runs on, with caches of the default sizes. The slots of the store lie one behind the other from `store`
    /// on.
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
    /// The same with caches of any sizes, none too. They make no difference to the history.
    pub fn with_caches(bytes: B, store: PhysAddr, profile: Profile, history: H) -> Self {
        let memory = Bytes::new(PhysAddr::new(0), bytes);
        let mmu = CachedMmu::with_semantics(Reference, control_state(F::MODE, profile), profile);
        Self { memory, store, mmu, running: None, counts: AccessCounts::default(), history }
    }

    /// The process of this space runs from now on: MOV to CR3.
    ///
    /// # Errors
    /// When there is no such space, or its root table lies outside memory.
    pub fn run<const FRAMES: usize, const SLOTS: usize>(
        &mut self,
        system: &System<F, FRAMES, SLOTS>,
        space: SpaceId,
    ) -> Result<(), SpaceError> {
        let root = system.root(space)?;
        // The number of a space that ended may be given to another.
        if self.running != Some(space) || self.mmu.mmu().regime().state.cr3 != root.get() {
            self.load_root(root)?;
            self.running = Some(space);
        }
        Ok(())
    }

    /// Makes an access for the space that runs.
    ///
    /// # Errors
    /// When a table lies outside memory.
    pub fn access(&mut self, access: &Access) -> Result<Outcome, AccessError> {
        let mut tables = CountedReads { memory: &mut self.memory, reads: Cell::new(0) };
        let outcome = self.mmu.access(&mut tables, access)?;
        let reads = tables.reads.get();
        let counts = &mut self.counts;
        match outcome {
            Outcome::Fault(_) => counts.faulted += 1,
            Outcome::Translated(_) => {
                counts.completed += 1;
                counts.entries_read += reads;
                *(if reads == 0 { &mut counts.hits } else { &mut counts.misses }) += 1;
            }
        }
        Ok(outcome)
    }

    /// What the accesses so far cost.
    pub const fn counts(&self) -> &AccessCounts {
        &self.counts
    }

    /// Its memory.
    pub const fn memory(&self) -> &Bytes<B> {
        &self.memory
    }

    /// The MMU, with what it has cached.
    pub const fn mmu(&self) -> &CachedMmu<F, Reference, SETS, WAYS, STRUCTURES> {
        &self.mmu
    }

    /// The space that runs.
    pub const fn running(&self) -> Option<SpaceId> {
        self.running
    }

    fn load_root(&mut self, root: PhysAddr) -> Result<(), SpaceError> {
        let regime = self.mmu.mmu().regime();
        let (state, profile) = (regime.state, regime.profile);
        let new = if F::MODE == PagingMode::Linear {
            ControlState { cr3: root.get(), ..state }
        } else {
            match state.load_cr3(root.get(), profile, &self.memory) {
                Ok(new) => new,
                Err(LoadError::Outside(outside)) => return Err(outside.into()),
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
    let has_nx = profile.features.contains(Features::NX);
    let mut long_mode = ControlState::long_mode(0);
    long_mode.efer.set(Efer::NXE, has_nx);
    match mode {
        PagingMode::Bits32 => ControlState { cr4: Cr4::empty(), efer: Efer::empty(), ..long_mode },
        PagingMode::Pae => ControlState { efer: long_mode.efer & Efer::NXE, ..long_mode },
        PagingMode::FiveLevel => ControlState { cr4: long_mode.cr4 | Cr4::LA57, ..long_mode },
        PagingMode::Unpaged | PagingMode::FourLevel | PagingMode::Linear => long_mode,
    }
}

impl<F: Format, B: AsRef<[u8]>, H, const SETS: usize, const WAYS: usize, const STRUCTURES: usize>
    TableMemory for Software<F, B, H, SETS, WAYS, STRUCTURES>
{
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

/// There are no PCIDs: what does not run was dropped when the other was loaded.
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
            // If it has ended, its number may be another's when the root of that changes.
            self.running = None;
        }
    }

    fn root_changed(&mut self, space: SpaceId) {
        if self.running == Some(space) && F::MODE == PagingMode::Pae {
            let root = PhysAddr::new(self.mmu.mmu().regime().state.cr3);
            // The system has just written there, so there is memory, and its entries are good.
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
struct CountedReads<'m, B> {
    memory: &'m mut Bytes<B>,
    reads: Cell<u64>,
}

impl<B: AsRef<[u8]>> TableMemory for CountedReads<'_, B> {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        self.reads.set(self.reads.get() + 1);
        self.memory.read_entry(at, bytes)
    }
}

/// The compare of a locked update is no read of its own.
impl<B: AsRef<[u8]> + AsMut<[u8]>> TableMemoryUpdate for CountedReads<'_, B> {
    fn update_entry(
        &mut self,
        at: PhysAddr,
        bytes: u8,
        old: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        self.memory.update_entry(at, bytes, old, new)
    }
}

/// Nobody keeps a history.
impl EventSink for () {
    fn record(&mut self, _event: Event) {}
}

/// A translation that is cached for the running space though its tables say something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleTranslation {
    /// The space that runs.
    pub space: SpaceId,
    /// The page.
    pub page: VirtAddr,
    /// The frame that the cache leads to.
    pub cached: PhysAddr,
    /// The leaf entry by now, 0 without a table.
    pub entry: u64,
}

impl core::fmt::Display for StaleTranslation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { space, page, cached, entry } = self;
        write!(
            f,
            "the TLB still leads {page} of space {space} to frame {cached}, though its entry is \
             {entry:#x} by now: the shoot-down is missing"
        )
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
    /// A cached translation that the tables do not confirm, if there is one: frame or rights are
    /// others by now.
    ///
    /// # Errors
    /// When a table lies outside memory.
    pub fn stale<const FRAMES: usize, const SLOTS: usize>(
        &self,
        system: &System<F, FRAMES, SLOTS>,
    ) -> Result<Option<StaleTranslation>, SpaceError> {
        let Some(space) = self.running else { return Ok(None) };
        let sign = |page: u64| {
            let page = VirtAddr::new(page);
            if F::IS_LONG_MODE { page.sign_extended(F::ADDRESS_BITS) } else { page }
        };
        for entry in self.mmu.tlb().iter() {
            let page = sign(entry.page << entry.shift);
            let leaf = system.look(&self.memory, space, page)?.map_or(0, |leaf| leaf.entry);
            // A and D may be set since, where there are such flags.
            let flags = (EntryBits::A | EntryBits::D).bits();
            let flags = if F::LEVELS.iter().any(|level| level.has_flags) { flags } else { 0 };
            if (leaf ^ entry.leaf) & !flags != 0 {
                return Ok(Some(StaleTranslation {
                    space,
                    page,
                    cached: entry.frame,
                    entry: leaf,
                }));
            }
        }
        Ok(None)
    }
}
