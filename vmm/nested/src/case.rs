//! What is tried: the state of a guest in a guest, the tables of both dimensions, and one access.

use crosswalk_case::TableEntry;
use mmu_core::memory::{OutsideMemory, TableMemory};
use mmu_core::nested::SecondLevel;
use mmu_core::{Access, AccessKind, ControlState, PagingMode, PhysAddr, Profile, VirtAddr};

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

    /// What is translated, in order. A data access needs its instruction first; code that is fetched returns.
    pub fn steps(&self) -> [Step; 2] {
        let Access { address, ring, .. } = self.access;
        let fetch = |at| Access::fetch(VirtAddr::new(at), crate::stubs::FETCHED, ring);

        if self.access.kind == AccessKind::Fetch {
            let back = fetch(self.code.get().wrapping_add(crate::stubs::BACK));
            return [Step::Access(self.access), Step::Return(back)];
        }

        debug_assert!(address.get() != 0 || self.access.size > 0, "an access has bytes");
        let instruction = fetch(self.code.get().wrapping_add(crate::stubs::offset(&self.access)));
        [Step::Instruction(instruction), Step::Access(self.access)]
    }

    /// The case's memory before it runs: its entries, and zeros between them.
    pub fn memory(&self) -> CaseMemory<'_> {
        CaseMemory { case: self, updates: Vec::new(), hidden: Vec::new() }
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
}

impl TableMemory for CaseMemory<'_> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let place = at.get();
        let width = u64::from(bytes);
        let word = place & !7;

        // Entries of 32-bit paging are halves of a word.
        let mut value = 0;
        let mut is_known = false;
        for entry in self.case.entries() {
            if entry.at & !7 == word {
                is_known = true;
                value |= entry.value << ((entry.at & 4) * 8);
            }
        }
        for (updated, bits) in &self.updates {
            if updated & !7 == word {
                value |= bits << ((updated & 4) * 8);
            }
        }

        for (hidden, bits) in &self.hidden {
            if *hidden == word {
                value &= !bits;
            }
        }

        if !is_known && !crate::places::is_table_memory(place) {
            return Err(OutsideMemory(at));
        }
        Ok(if width == 4 { value >> ((place & 4) * 8) & 0xffff_ffff } else { value })
    }
}
