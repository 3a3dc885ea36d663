//! Memory that remembers what its entries were before they were edited.

use super::invalidation::{Invalidation, RegisterWrite, must_be_invalidated_by, pcid};
use super::moments::{MomentNumber, MomentSet};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{AtomicTableMemory, OutsideMemory, TableMemory, TableMemoryMut};
use crate::x86::format::Format;
use crate::x86::profile::{Profile, Vendor};
use crate::x86::rule::Rule;
use crate::x86::state::{ControlState, Cr4, Efer};
use arrayvec::ArrayVec;
use core::fmt;

/// Why an edit was not made. `E` is the error of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError<E = OutsideMemory> {
    /// The entry cannot be read or written, for instance because it is outside memory.
    Memory(E),
    /// The history is full: since everything was last invalidated there were as many edits or changes of
    /// registers as it can hold.
    Full,
}

impl<E: fmt::Display> fmt::Display for EditError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => error.fmt(f),
            Self::Full => f.write_str("too many edits without an invalidation"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for EditError<E> {}

impl<E> From<E> for EditError<E> {
    fn from(error: E) -> Self {
        Self::Memory(error)
    }
}

/// What an entry was before an edit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    at: PhysAddr,
    /// With every flag that the processor may have set: it may have cached the entry with them.
    pub(super) value: u64,
    /// The first moment at which it was gone.
    pub(super) until: MomentNumber,
}

/// Registers by which the processor has walked, until they changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct PastRegisters {
    pub(super) state: ControlState,
    /// The first moment at which they were others.
    until: MomentNumber,
}

/// What was dropped, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct PastInvalidation {
    pub(super) what: Invalidation,
    /// TLB-3 or TLB-4; or CANON-3, by which nothing was dropped.
    pub(super) rule: Rule,
    /// What was cached before this moment is concerned.
    pub(super) before: MomentNumber,
}

/// Number of earlier registers that a history holds.
pub(super) const MAX_PAST_REGISTERS: usize = 6;

/// Memory that remembers up to `N` edits of its entries (at most 59), the registers by which they were
/// walked, and what has been invalidated.
///
/// A and D that the processor sets are not edits: they become part of the entry in which they are
/// set, and show whether it can have been cached. Where an access only *may* have set them (AD-2, AD-3,
/// AD-7), [`History::may_set`] records that: the entry may have been cached, too.
///
/// ```
/// use mmu_core::cache::History;
/// use mmu_core::x86::format::Bits32;
/// use mmu_core::memory::{Bytes, TableMemoryMut};
/// use mmu_core::{Access, ControlState, Mmu, PhysAddr, Profile, Ring, VirtAddr};
///
/// let mut memory = Bytes::new(PhysAddr::new(0), [0; 0x2000]);
/// memory.write_entry(PhysAddr::new(0), 4, 0x1027)?; // PDE 0
/// memory.write_entry(PhysAddr::new(0x1004), 4, 0x5027)?; // PTE 1
/// let mmu = Mmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
///
/// let mut tables = History::<_, 8>::new(memory);
/// tables.edit(PhysAddr::new(0x1004), 4, 0x6007)?;
/// let read = Access::read(VirtAddr::new(0x1234), 4, Ring::Three);
/// let mut reached = Vec::new();
/// mmu.predict_stale(&tables, &read, |allowed| {
///     let outcome = &allowed.alternatives[0].outcome;
///     reached.push(outcome.physical_address().unwrap().get());
/// })?;
/// assert_eq!(reached, [0x6234, 0x5234]); // the new frame, or still the old one
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct History<M, const N: usize> {
    memory: M,
    now: MomentNumber,
    /// Oldest first, as the next two.
    past: ArrayVec<Past, N>,
    past_registers: ArrayVec<PastRegisters, MAX_PAST_REGISTERS>,
    invalidations: ArrayVec<PastInvalidation, N>,
    /// Flags that the processor may have set in an entry since software last stored it.
    maybe_set: ArrayVec<(PhysAddr, u64), N>,
}

impl<M, const N: usize> History<M, N> {
    /// Memory of which nothing is cached.
    pub const fn new(memory: M) -> Self {
        Self {
            memory,
            now: 0,
            past: ArrayVec::new_const(),
            past_registers: ArrayVec::new_const(),
            invalidations: ArrayVec::new_const(),
            maybe_set: ArrayVec::new_const(),
        }
    }

    /// The memory as it is now.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Whether nothing can be cached but what memory has now and the registers lead to.
    pub const fn is_plain(&self) -> bool {
        self.now == 0
    }

    /// Forgets what was before: everything has been invalidated.
    pub fn forget_all(&mut self) {
        self.past.clear();
        self.past_registers.clear();
        self.invalidations.clear();
        self.now = 0;
    }

    /// Records INVLPG of this address, or a page fault at it, in PCID 0: what both of them drop.
    pub fn forget(&mut self, address: VirtAddr) {
        self.invalidate(Invalidation::Path { address, pcid: 0 });
    }

    /// Records MOV to CR3 in PCID 0: of what is older, only translations whose leaf has G are still
    /// cached, while CR4.PGE=1.
    pub fn forget_non_global(&mut self) {
        self.invalidate(Invalidation::Context { pcid: 0 });
    }

    /// Records that an instruction has invalidated this (TLB-4). Where it may drop more or less, it is
    /// the least.
    pub fn invalidate(&mut self, what: Invalidation) {
        self.record(what, Rule::Tlb4);
    }

    /// Records INVLPG, which drops nothing if the address is not canonical (CANON-3).
    pub fn invlpg<F: Format>(
        &mut self,
        state: &ControlState,
        profile: &Profile,
        address: VirtAddr,
    ) {
        match Invalidation::invlpg::<F>(state, profile, address).first() {
            Some(Invalidation::Nothing) => self.record(Invalidation::Everything, Rule::Canon3),
            Some(least) => self.invalidate(*least),
            None => {}
        }
    }

    /// Records a page fault at an address, which drops what is cached for it (TLB-3).
    pub fn page_fault(&mut self, state: &ControlState, address: VirtAddr) {
        self.record(Invalidation::Path { address, pcid: pcid(state) }, Rule::Tlb3);
    }

    /// Records that a register was written: what the manuals of this vendor require to be dropped
    /// ([`must_be_invalidated_by`]), and that entries cached before were reached by other registers. The
    /// paging mode changes only with [`Self::forget_all`].
    ///
    /// # Errors
    /// When there is no room. Nothing is recorded then.
    pub fn write_register(
        &mut self,
        write: RegisterWrite,
        old: &ControlState,
        new: &ControlState,
        vendor: Vendor,
    ) -> Result<(), EditError> {
        if !walk_alike(old, new) {
            self.make_room(self.past_registers.is_full())?;
            let past = PastRegisters { state: *old, until: self.next_moment() };
            let _ = self.past_registers.try_push(past);
        }

        self.invalidate(must_be_invalidated_by(write, old, new, vendor));
        Ok(())
    }

    fn record(&mut self, what: Invalidation, rule: Rule) {
        let is_last = |known: &PastInvalidation| {
            (known.what, known.rule, known.before) == (what, rule, self.now)
        };
        let is_repeated = self.invalidations.last().is_some_and(is_last);
        if self.is_plain() || is_repeated || what == Invalidation::Nothing {
            return;
        }

        if self.invalidations.is_full() {
            // Losing a record allows more.
            self.invalidations.pop_at(0);
        }
        let before = self.next_moment();
        // A history of no edits has no room, and needs none.
        let _ = self.invalidations.try_push(PastInvalidation { what, rule, before });
    }

    /// Makes room in a list that `is_full`, by forgetting what was before everything was last
    /// invalidated.
    fn make_room<E>(&mut self, is_full: bool) -> Result<(), EditError<E>> {
        if !is_full {
            return Ok(());
        }

        let is_everything = |known: &&PastInvalidation| {
            known.what == Invalidation::Everything && known.rule == Rule::Tlb4
        };
        let last = self.invalidations.iter().rfind(is_everything);
        let start = last.ok_or(EditError::Full)?.before;
        self.past.retain(|past| past.until > start);
        self.past_registers.retain(|past| past.until > start);
        self.invalidations.retain(|known| known.before > start);
        let is_still_full = self.past.is_full() || self.past_registers.is_full();
        if is_still_full { Err(EditError::Full) } else { Ok(()) }
    }

    /// Begins another moment.
    fn next_moment(&mut self) -> MomentNumber {
        if self.now + 1 == MomentSet::ROOM {
            self.renumber();
        }
        self.now += 1;
        self.now
    }

    /// Leaves out the moments with which nothing begins that is still recorded.
    fn renumber(&mut self) {
        const { assert!(2 * N + MAX_PAST_REGISTERS + 2 < MomentSet::ROOM as usize) };

        let past = self.past.iter_mut().map(|past| &mut past.until);
        let registers = self.past_registers.iter_mut().map(|past| &mut past.until);
        let invalidations = self.invalidations.iter_mut().map(|known| &mut known.before);
        let mut known: ArrayVec<&mut MomentNumber, { MomentSet::ROOM as usize }> =
            past.chain(registers).chain(invalidations).collect();

        let first_moments: MomentSet = known.iter().map(|moment| **moment).collect();
        for moment in &mut known {
            **moment = first_moments.count_to(**moment);
        }
        self.now = first_moments.count_to(self.now);
    }

    /// Records that an access may have set these flags in the entry at this address, or may not.
    ///
    /// # Errors
    /// When there is no room: a history holds such flags for `N` entries.
    pub fn may_set(&mut self, at: PhysAddr, flags: u64) -> Result<(), EditError> {
        if flags == 0 {
            return Ok(());
        }

        match self.maybe_set.iter_mut().find(|(known, _)| *known == at) {
            Some((_, known_flags)) => *known_flags |= flags,
            None => self.maybe_set.try_push((at, flags)).map_err(|_| EditError::Full)?,
        }
        Ok(())
    }

    /// The flags that the processor may have set in an entry since software last stored it.
    pub fn maybe_set(&self, at: PhysAddr) -> u64 {
        let known = self.maybe_set.iter().find(|(known, _)| *known == at);
        known.map_or(0, |(_, flags)| *flags)
    }

    /// The current moment.
    pub(super) const fn now(&self) -> MomentNumber {
        self.now
    }

    /// The registers before the current ones, oldest first.
    pub(super) fn past_registers(&self) -> &[PastRegisters] {
        &self.past_registers
    }

    /// What was invalidated, oldest first.
    pub(super) fn invalidations(&self) -> &[PastInvalidation] {
        &self.invalidations
    }

    /// The moments of registers that are as wanted. `current` are those of the last moment.
    pub(super) fn moments_with(
        &self,
        current: &ControlState,
        is_wanted: impl Fn(&ControlState) -> bool,
    ) -> MomentSet {
        let mut first = 0;
        let mut wanted = MomentSet::default();
        for past in &self.past_registers {
            if is_wanted(&past.state) {
                wanted = wanted.or(MomentSet::between(first, past.until));
            }
            first = past.until;
        }

        if is_wanted(current) { wanted.or(MomentSet::since(first)) } else { wanted }
    }

    /// The earlier values of an entry, newest first.
    pub(super) fn past(&self, at: PhysAddr) -> impl Iterator<Item = &Past> {
        self.past.iter().rev().filter(move |past| past.at == at)
    }

    /// The number of these that were still there at a moment, or came later.
    pub(super) fn past_since(&self, at: PhysAddr, since: MomentNumber) -> usize {
        self.past(at).take_while(|past| past.until > since).count()
    }
}

impl<M: TableMemoryMut, const N: usize> History<M, N> {
    /// Software stores an entry of `bytes` bytes at `at`, a multiple of `bytes`, and invalidates
    /// nothing.
    ///
    /// # Errors
    /// When the memory cannot store it, or there is no room in the history. Nothing is stored then.
    pub fn edit(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), EditError<M::Error>> {
        let before = self.memory.read_entry(at, bytes)?;
        let value = before | self.maybe_set(at);
        let is_new = value != entry;

        if is_new {
            self.make_room(self.past.is_full())?;
        }
        if before != entry {
            self.memory.write_entry(at, bytes, entry)?;
        }
        self.maybe_set.retain(|(known, _)| *known != at);

        if is_new {
            self.now += 1;
            let _ = self.past.try_push(Past { at, value, until: self.now });
        }
        Ok(())
    }

    /// The processor sets these flags in an entry. That is no edit.
    ///
    /// # Errors
    /// When the memory cannot store it.
    pub fn set_flags(&mut self, at: PhysAddr, bytes: u8, flags: u64) -> Result<(), M::Error> {
        let before = self.memory.read_entry(at, bytes)?;
        self.memory.write_entry(at, bytes, before | flags)
    }
}

/// Whether walks by both registers start in the same table, with the same PCID, and read an entry the
/// same way. Everything else acts on what is cached at each access.
pub(super) fn walk_alike(one: &ControlState, other: &ControlState) -> bool {
    let cr4 = Cr4::PSE | Cr4::PCIDE;
    one.cr3 == other.cr3
        && one.pdptes == other.pdptes
        && one.cr4 & cr4 == other.cr4 & cr4
        && one.efer & Efer::NXE == other.efer & Efer::NXE
}

/// The memory as it is now.
impl<M: TableMemory, const N: usize> TableMemory for History<M, N> {
    type Error = M::Error;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, M::Error> {
        self.memory.read_entry(at, bytes)
    }
}

/// The processor sets A and D.
impl<M: AtomicTableMemory, const N: usize> AtomicTableMemory for History<M, N> {
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
