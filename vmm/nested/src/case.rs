//! What is tried: the state of a guest in a guest, the tables of both dimensions, and one access.

use crate::places::{self, is_of_same_lane, is_table_memory};
use crate::stubs;
use crosswalk_case::TableEntry;
use crosswalk_guest::contents;
use crosswalk_guest::layout::{Arena, DATA_BASE, DATA_SIZE};
use crosswalk_guest::stub::Code;
use mmu_core::memory::{OutsideMemory, TableMemory};
use mmu_core::nested::SecondLevel;
use mmu_core::{Access, AccessKind, ControlState, PagingMode, PhysAddr, Profile, VirtAddr};
use std::cell::Cell;

/// One case of nested paging: a guest in the guest (L2), the tables of both dimensions, and an access that
/// L2 makes.
///
/// Everything in memory is listed by its *host-physical* address: the tables of L2 as well as those of the second
/// level. Entries that are not listed are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedCase {
    /// The processor that it is meant for.
    pub profile: Profile,
    /// The control registers of L2; CR3 is guest-physical.
    pub guest: ControlState,
    /// The second level of translation.
    pub second: SecondLevel,
    /// The entries of L2's own tables, root first.
    pub guest_entries: Vec<TableEntry>,
    /// The entries of the second level's tables, root first.
    pub nested_entries: Vec<TableEntry>,
    /// The linear address of the page with the instructions that make the access, and that end L2.
    pub code: VirtAddr,
    /// The access.
    pub access: Access,
}

/// A step of a case. Each of them is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The instruction that makes the access is fetched.
    Instruction(Access),
    /// The access itself.
    Access(Access),
    /// What has been fetched returns to the page with the instructions.
    Return(Access),
}

impl Step {
    /// The access that is translated.
    pub const fn access(&self) -> &Access {
        match self {
            Self::Instruction(access) | Self::Access(access) | Self::Return(access) => access,
        }
    }
}

impl NestedCase {
    /// The paging mode of L2.
    pub fn mode(&self) -> PagingMode {
        self.guest.mode()
    }

    /// Whether L2 runs 64-bit code.
    pub fn is_64_bit(&self) -> bool {
        self.mode().is_long_mode()
    }

    /// The code that L2 runs.
    pub(crate) fn kind_of_code(&self) -> Code {
        if self.is_64_bit() { Code::Bits64 } else { Code::Bits32 }
    }

    /// What is translated, in order. A data access needs its instruction first; code that is fetched returns.
    pub fn steps(&self) -> [Step; 2] {
        let ring = self.access.ring;
        let fetch = |at| Access::fetch(VirtAddr::new(at), stubs::FETCHED, ring);

        if self.access.kind == AccessKind::Fetch {
            let back = fetch(self.code.get().wrapping_add(stubs::BACK));
            return [Step::Access(self.access), Step::Return(back)];
        }

        let instruction = fetch(self.code.get().wrapping_add(stubs::offset(&self.access)));
        [Step::Instruction(instruction), Step::Access(self.access)]
    }

    /// The arena in which the case runs: the one that has all its tables.
    pub fn arena(&self) -> Option<Arena> {
        let mut arenas = self.entries().map(|entry| places::arena_of(entry.at));
        let first = arenas.next()??;
        arenas.all(|arena| arena == Some(first)).then_some(first)
    }

    /// The case's memory before it runs: its entries, and zeros between them.
    pub fn memory(&self) -> CaseMemory<'_> {
        CaseMemory {
            case: self,
            updates: Vec::new(),
            hidden: Vec::new(),
            is_shared: false,
            is_unknown: Cell::new(false),
        }
    }

    /// The same for a case that runs beside others: nothing is known of their parts of the tables.
    pub(crate) fn shared_memory(&self) -> CaseMemory<'_> {
        CaseMemory { is_shared: true, ..self.memory() }
    }

    /// Every entry of both dimensions.
    pub fn entries(&self) -> impl Iterator<Item = &TableEntry> {
        self.guest_entries.iter().chain(&self.nested_entries)
    }
}

/// The tables of a case.
#[derive(Clone, Debug)]
pub struct CaseMemory<'c> {
    case: &'c NestedCase,
    /// Bits that were set since: host-physical address and bits.
    updates: Vec<(u64, u64)>,
    /// Bits that are hidden.
    hidden: Vec<(u64, u64)>,
    /// Whether only what belongs to the case is known: other lanes have the rest of the tables.
    is_shared: bool,
    /// Whether something was read of which nothing is known.
    is_unknown: Cell<bool>,
}

impl CaseMemory<'_> {
    /// Sets bits of an entry.
    pub fn set(&mut self, at: PhysAddr, bits: u64) {
        if bits != 0 {
            self.updates.push((at.get(), bits));
        }
    }

    /// Lets bits of an entry of 8 bytes read as 0.
    pub(crate) fn hide(&mut self, at: PhysAddr, bits: u64) {
        self.hidden.push((at.get(), bits));
    }

    /// Notes that something of which nothing is known was read by a copy.
    pub(crate) fn note_unknown(&self) {
        self.is_unknown.set(true);
    }

    /// Whether something was read of which nothing is known: the hypervisor's own memory.
    pub(crate) fn is_unknown(&self) -> bool {
        self.is_unknown.get()
    }

    /// The word at an address as it is in memory, nothing hidden. `None` if nothing is known of it.
    pub(crate) fn word(&self, at: u64) -> Option<u64> {
        // Entries of 32-bit paging are halves of a word.
        let in_word = |place: u64| place & !7 == at;
        let part = |place: u64, value: u64| value << ((place & 4) * 8);
        let entries = self.case.entries().filter(|entry| in_word(entry.at));
        let mut parts = entries.map(|entry| part(entry.at, entry.value)).peekable();

        let before = if parts.peek().is_some() {
            parts.fold(0, |word, part| word | part)
        } else if is_table_memory(at) {
            let is_own = |entry: &TableEntry| is_of_same_lane(entry.at, at);
            if self.is_shared && !self.case.entries().any(is_own) {
                return None;
            }
            0
        } else if (DATA_BASE..DATA_BASE + DATA_SIZE).contains(&at) {
            data_word(at)
        } else if at & self.case.profile.bits_above_physical() != 0 {
            // No processor has such an address.
            0
        } else {
            return None;
        };
        let updates = self.updates.iter().filter(|(place, _)| in_word(*place));
        Some(updates.fold(before, |word, (place, bits)| word | part(*place, *bits)))
    }
}

/// A word of the data memory: that of a frame, or 0 where no lane has one.
fn data_word(at: u64) -> u64 {
    if Arena::of_data(at).is_none() {
        return 0;
    }
    let mut word = [0; 8];
    contents::fill(at, &mut word);
    u64::from_le_bytes(word)
}

impl TableMemory for CaseMemory<'_> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let place = at.get();
        let Some(mut word) = self.word(place & !7) else {
            self.is_unknown.set(true);
            return Err(OutsideMemory(at));
        };

        for (hidden, bits) in &self.hidden {
            if *hidden == place & !7 {
                word &= !bits;
            }
        }
        Ok(if bytes == 4 { word >> ((place & 4) * 8) & 0xffff_ffff } else { word })
    }
}
