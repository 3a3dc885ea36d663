//! Memory that remembers what its entries were before they were edited.

use crate::address::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::memory::{AtomicTableMemory, OutsideMemory, TableMemory, TableMemoryMut};
use arrayvec::ArrayVec;
use core::fmt;

/// Why an edit was not made. `E` is the error of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError<E = OutsideMemory> {
    /// The entry cannot be read or written, for instance because it is outside memory.
    Memory(E),
    /// The history is full: it holds as many edits as it can since [`History::forget_all`].
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

/// A moment, as the number of edits made before it.
pub(super) type EditNumber = u32;

/// What an entry was before an edit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    at: PhysAddr,
    /// With every flag that the processor may have set: it may have cached the entry with them.
    pub(super) value: u64,
    /// The first moment at which it was gone.
    pub(super) until: EditNumber,
}

/// Memory that remembers up to `N` edits of its entries, for the caches of one address space.
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
    now: EditNumber,
    /// Oldest first.
    past: ArrayVec<Past, N>,
    /// Pages of 4 KiB, with the moment of the last invalidation of each.
    forgotten: ArrayVec<(u64, EditNumber), N>,
    /// The moment of the last invalidation of all but global translations.
    only_global_since: EditNumber,
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
            forgotten: ArrayVec::new_const(),
            only_global_since: 0,
            maybe_set: ArrayVec::new_const(),
        }
    }

    /// The memory as it is now.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Records that everything has been invalidated.
    pub fn forget_all(&mut self) {
        self.past.clear();
        self.forgotten.clear();
        self.now = 0;
        self.only_global_since = 0;
    }

    /// Records INVLPG of this address, or a page fault at it (TLB-3): nothing older is cached for its
    /// page. That is the whole page if it was cached as a large one, whichever byte the address is
    /// (SDM "Details of TLB Use": both "invalidate all TLB entries corresponding to the translation
    /// specified by the paging structures"; APM "INVLPG": "regardless of the page size"). A
    /// translation of another size for another 4 KiB stays.
    ///
    /// That INVLPG also drops upper entries for other addresses is not recorded, which allows more.
    pub fn forget(&mut self, address: VirtAddr) {
        let page = address.get() >> PAGE_SHIFT;
        self.forgotten.retain(|(known, _)| *known != page);

        if self.forgotten.is_full() {
            // Losing a record allows more.
            self.forgotten.pop_at(0);
        }
        // A history of no edits has no room, and needs none.
        let _ = self.forgotten.try_push((page, self.now));
    }

    /// Records MOV to CR3 while CR4.PGE=1: of what is older, only translations whose leaf has G are
    /// still cached, and no upper entries on their own (TLB-4; SDM "Operations that Invalidate TLBs
    /// and Paging-Structure Caches"). While CR4.PGE=0 there are no global translations, and it is
    /// [`History::forget_all`].
    pub const fn forget_non_global(&mut self) {
        self.only_global_since = self.now;
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

    /// The moment since which a translation of a page of `1 << shift` bytes can have been cached.
    pub(super) fn cached_since(&self, address: VirtAddr, shift: u8) -> EditNumber {
        let shift = shift.max(PAGE_SHIFT);
        let is_in_page = |page: u64| page >> (shift - PAGE_SHIFT) == address.get() >> shift;
        let known = self.forgotten.iter().filter(|(page, _)| is_in_page(*page));
        known.map(|(_, since)| *since).max().unwrap_or(0)
    }

    /// The moment since which upper entries, and translations that are not global, can have been
    /// cached.
    pub(super) const fn only_global_since(&self) -> EditNumber {
        self.only_global_since
    }

    /// The earlier values of an entry, newest first.
    pub(super) fn past(&self, at: PhysAddr) -> impl Iterator<Item = &Past> {
        self.past.iter().rev().filter(move |past| past.at == at)
    }

    /// The number of these that were still there at a moment, or came later.
    pub(super) fn past_since(&self, at: PhysAddr, since: EditNumber) -> usize {
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

        if is_new && self.past.is_full() {
            return Err(EditError::Full);
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
