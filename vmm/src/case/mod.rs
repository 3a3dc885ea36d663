//! A case: control state, table entries, and one access. The unit of everything else.

mod plain;
mod text;

pub use plain::sign_extend;
pub use text::CaseError;

use guest::stub::Form;
use mmu_core::format::{EntryBits, FourLevel};
use mmu_core::memory::SparseTables;
use mmu_core::walk::Path;
use mmu_core::{Access, AccessKind, ControlState, Mmu, PagingMode, Profile, VirtAddr};

/// One table entry of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableEntry {
    /// Its physical address, 8-byte aligned.
    pub at: u64,
    /// Its value.
    pub value: u64,
}

/// One case. Entries that it does not list are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The processor that it is meant for.
    pub profile: Profile,
    /// The control registers.
    pub state: ControlState,
    /// The entries of its tables, root first, at most one for each address.
    pub entries: Vec<TableEntry>,
    /// The access.
    pub access: Access,
    /// The instruction that makes it.
    pub form: Form,
    /// What the instruction stores, or adds.
    pub value: u64,
}

/// The last physical address below which unlisted entries read 0; above, there is no memory for
/// tables (OUT-1).
const TABLE_MEMORY_END: u64 = guest::layout::LOW_MEMORY_END;

impl Case {
    /// The paging mode, as the control state has it.
    pub fn mode(&self) -> PagingMode {
        self.state.mode()
    }

    /// The tables as memory to walk: the case's own copy, which no machine touches.
    pub fn tables(&self) -> SparseTables {
        let entries = self.entries.iter().map(|entry| (entry.at, entry.value)).collect();
        SparseTables::new(entries).with_memory_below(TABLE_MEMORY_END)
    }

    /// How many bits of the entries on its path differ from a plain mapping, which is present,
    /// writable and a user's at every level, with every other flag 0. A, D, and the address do not
    /// count; PS does where no page of that size can be, and so does an address that is not
    /// canonical, as one bit.
    pub fn unusual_bits(&self) -> u32 {
        let plain = EntryBits::P | EntryBits::RW | EntryBits::US;
        let counted = !(EntryBits::A | EntryBits::D).bits();
        let canonical =
            self.access.address.is_canonical(48) && self.access.last_byte().is_canonical(48);
        let mut met: Vec<u64> = Vec::new();
        let mut bits = u32::from(!canonical);
        for address in [self.access.address, self.access.last_byte()] {
            for (at, value, address_field) in self.path(address) {
                if !met.contains(&at) {
                    met.push(at);
                    bits += ((value ^ plain.bits()) & counted & !address_field).count_ones();
                }
            }
        }
        bits
    }

    /// The entries that a walk for `address` meets: place, value, and the bits that are address
    /// (with PS, where it makes the entry a large leaf).
    fn path(&self, address: VirtAddr) -> Vec<(u64, u64, u64)> {
        let mut path = Path::default();
        let mmu = Mmu::<FourLevel>::new(self.state, self.profile);
        let _ = mmu.walk(&self.tables(), address, &self.access, &mut path);
        let describe = |step: &mmu_core::walk::Step| {
            let above = self.profile.bits_above_physical();
            let mut field = 0x000f_ffff_ffff_f000 & !above;
            if step.kind == mmu_core::format::EntryKind::Leaf && step.level.number > 1 {
                field &= !((1 << step.level.shift) - 1);
                field |= EntryBits::PS.bits();
            }
            (step.at.get(), step.entry, field)
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
}
