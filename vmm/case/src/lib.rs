//! A case: control state, table entries, and one access. The unit of everything else.

mod action;
mod hex;
mod memory;
pub mod observation;
mod plain;
pub mod protocol;
mod size;
mod text;

pub use action::{AccessStep, Action};
pub use hex::Hex;
pub use plain::{plain_state, sign_extend};
pub use size::size_of_case;
pub use text::{CaseError, EntryText, FullProfile};

use crosswalk_guest::stub::Form;
use mmu_core::walk::{Path, Step, walk_in_mode};
use mmu_core::x86::format::{EntryBits, EntryKind};
use mmu_core::{Access, AccessKind, ControlState, PagingMode, Profile, Reference, VirtAddr};

/// One table entry of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableEntry {
    /// Its physical address, a multiple of its bytes: 4 in 32-bit paging, else 8.
    pub at: u64,
    /// Its value.
    pub value: u64,
}

/// One case; with actions before its access, a sequence. Entries that it does not list are 0, but for PAE's PDPTEs: memory holds what their
/// registers hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The processor that it is meant for.
    pub profile: Profile,
    /// The control registers, at first.
    pub state: ControlState,
    /// The entries of its tables at first, root first, at most one for each address.
    pub entries: Vec<TableEntry>,
    /// What comes before the access; nothing in most cases.
    pub before: Vec<Action>,
    /// The access.
    pub access: Access,
    /// The instruction that makes it.
    pub form: Form,
    /// What the instruction stores, or adds.
    pub value: u64,
}

impl Case {
    /// The paging mode, as the control state has it.
    pub fn mode(&self) -> PagingMode {
        self.state.mode()
    }

    /// How many bits of the entries on its path differ from a plain mapping, which is present,
    /// writable and a user's at every level, with every other flag 0. A, D, and the address do not
    /// count; PS does where no page of that size can be, and so does an address that is not
    /// canonical, as one bit. Of PAE's PDPTEs everything but P and the address counts, and memory
    /// that differs from the registers as one bit each.
    pub fn unusual_bits(&self) -> u32 {
        let plain = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
        let uncounted = (EntryBits::A | EntryBits::D).bits();
        let canonical = self.canonical_ends().iter().all(|canonical| *canonical);
        let mut met: Vec<u64> = Vec::new();
        let mut bits = u32::from(!canonical) + self.edited_pdptes();
        for address in [self.access.address, self.access.last_byte()] {
            for (step, address_field) in self.path(address) {
                if met.contains(&step.at.get()) {
                    continue;
                }
                met.push(step.at.get());
                let (plain, uncounted) = if step.level.has_flags {
                    (plain, uncounted)
                } else {
                    (EntryBits::P.bits(), 0)
                };
                bits += ((step.entry ^ plain) & !uncounted & !address_field).count_ones();
            }
        }
        bits
    }

    /// Whether the first and the last byte of the access have canonical addresses; outside long mode
    /// every address is one.
    pub fn canonical_ends(&self) -> [bool; 2] {
        let bits = match self.mode() {
            PagingMode::FourLevel => 48,
            PagingMode::FiveLevel => 57,
            _ => return [true; 2],
        };
        [self.access.address, self.access.last_byte()].map(|byte| byte.is_canonical(bits))
    }

    /// Which of PAE's PDPTEs lies at an address.
    pub fn pdpte_at(&self, at: u64) -> Option<usize> {
        let offset = at.checked_sub(self.state.cr3 & 0xffff_ffe0)?;
        (self.mode() == PagingMode::Pae && offset < 32 && offset.is_multiple_of(8))
            .then_some(offset as usize / 8)
    }

    /// How many of PAE's PDPTEs differ between the registers and the memory that the case lists.
    fn edited_pdptes(&self) -> u32 {
        let edited = self.entries.iter().filter(|entry| {
            self.pdpte_at(entry.at).is_some_and(|pdpte| self.state.pdptes[pdpte] != entry.value)
        });
        edited.count() as u32
    }

    /// The entries that a walk for `address` meets, each with the bits that are address (with PS,
    /// where it makes the entry a large leaf).
    fn path(&self, address: VirtAddr) -> Vec<(Step, u64)> {
        let mut path = Path::default();
        let at = (address, &self.access);
        let _ = walk_in_mode(Reference, self.state, self.profile, self, at, &mut path);
        let describe = |step: &Step| {
            // The target's bits, as far as the entry has them in place.
            let mut field = EntryBits::ADDRESS & !self.profile.bits_above_physical();
            if step.kind == EntryKind::Leaf && step.level.number > 1 {
                field &= !((1 << step.level.shift) - 1);
                field |= EntryBits::PS.bits();
                if self.mode() == PagingMode::Bits32 && step.target.get() >> 32 != 0 {
                    // MODE-5: address bits 39:32.
                    field |= 0x001f_e000;
                }
            }
            (*step, field)
        };
        path.steps.iter().map(describe).collect()
    }

    /// The instruction that makes an access of this kind unless the case says otherwise.
    pub const fn default_form(kind: AccessKind) -> Form {
        match kind {
            AccessKind::Read => Form::Load,
            AccessKind::Write => Form::Store,
            AccessKind::ReadModifyWrite => Form::Exchange,
            AccessKind::Fetch => Form::Jump,
            AccessKind::Clflush => Form::Clflush,
        }
    }

    /// The data memory behind a physical address, for this case's processor (`crosswalk_guest::high`).
    pub fn data_behind(&self, address: u64) -> Option<u64> {
        crosswalk_guest::high::data_behind(address, self.profile.physical_address_bits)
    }

    /// Whether there is neither data memory nor anything else at a physical address.
    pub fn is_outside(&self, address: u64) -> bool {
        crosswalk_guest::layout::is_above_the_layout(address) && self.data_behind(address).is_none()
    }
}
