//! The protocol of nested batches: the guest is a hypervisor (L1), and runs a guest of its own (L2) for each
//! lane. L2 translates its addresses twice, by its own page tables and by those of the second level.
//!
//! The host writes a *control block* for each lane, and a [`NestedRecord`] that leads to it. For SVM the block is
//! the VMCB. For VMX it is two lists of [`VmcsField`]s: those to write before L2 is entered, and those to
//! read after its exit. The guest's kernel writes the nested tables and the code page from the host's copies, as it
//! does the tables of other batches. Then ring 0 goes through the records (nested.s).
//!
//! ```text
//! offset in the arena             contents
//! 0x0c_0000                       control blocks, one page for each lane
//! 0x0f_0000                       nested tables: of L2's paging, and of the second level
//! 0x16_8000                       the host's copies of them
//! 0x1e_0000                       the code page of L2, and the host's copy of it
//! 0x1e_2000                       what the processor saves L1's state in (SVM)
//! 0x1e_3000                       permission maps, which intercept every port and every MSR (SVM)
//! 0x1e_6000                       the VMXON region, the VMCS (VMX)
//! ```

use crate::layout::Arena;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Maximum number of lanes of a nested batch.
pub const LANES: usize = 48;
/// Number of nested tables in an arena.
pub const TABLES: usize = 120;

const CONTROL_BLOCKS: u64 = 0xc_0000;
const NESTED_TABLES: u64 = 0xf_0000;
const IMAGES: u64 = 0x16_8000;
const CODE: u64 = 0x1e_0000;
const CODE_IMAGE: u64 = 0x1e_1000;

/// The distance from an arena's address to the page in which SVM saves the host's state.
pub const HOST_SAVE_AREA: u64 = 0x1e_2000;
/// The distance to the permission maps of SVM: that of ports, which has [`PERMISSION_BYTES`], and that of MSRs
/// in the same memory.
pub const PERMISSION_MAPS: u64 = 0x1e_3000;
/// Size of the permission maps in bytes.
pub const PERMISSION_BYTES: u64 = 0x3000;
/// The distance to the VMXON region.
pub const VMXON_REGION: u64 = 0x1e_6000;
/// The distance to the VMCS.
pub const VMCS: u64 = 0x1e_7000;

/// With what ring 0 runs guests of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Virtualizer {
    /// It runs none: the batch is a list of accesses.
    None = 0,
    /// AMD's SVM.
    Svm = 1,
    /// Intel's VMX. The batch runs in 64-bit code.
    Vmx = 2,
}

/// A run of L2. A record whose [`block`](Self::block) is 0 ends the list.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct NestedRecord {
    /// The control block: its physical address with SVM, and with VMX the address at which ring 0 has it.
    pub block: u64,
    /// R13 and RBP.
    pub back: u64,
    /// RAX of VMX, before and after. SVM has it in the VMCB.
    pub rax: u64,
    /// From the guest: RCX, which was 0.
    pub rcx: u64,
    /// From the guest, with VMX: CR2.
    pub cr2: u64,
    /// PKRU, if [`Self::loads`] says so.
    pub pkru: u32,
    /// `IA32_PKRS`, if [`Self::loads`] says so.
    pub pkrs: u32,
    /// [`LOADS_PKRU`] and [`LOADS_PKRS`].
    pub loads: u64,
    /// From the guest: how it ended.
    pub end: u64,
}

/// In [`NestedRecord::loads`]: L2 uses protection keys for user pages.
pub const LOADS_PKRU: u64 = 1 << 0;
/// In [`NestedRecord::loads`]: L2 uses protection keys for supervisor pages.
pub const LOADS_PKRS: u64 = 1 << 1;

/// How a record ended, as [`NestedRecord::end`] says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordEnd {
    /// It did not run.
    NotRun,
    /// L2 has exited.
    Exited,
    /// VMX did not enter L2: the number of the VM-instruction error; 0 if there was no current VMCS.
    Failed(u32),
}

impl RecordEnd {
    /// The word of an exit.
    pub const EXITED: u64 = 1;
    /// The upper half of the word of a failure. The lower half is the error.
    pub const FAILED: u64 = 2;

    /// Reads a word; `None` if no guest of ours writes it.
    ///
    /// ```
    /// use crosswalk_guest::nested::RecordEnd;
    /// assert_eq!(RecordEnd::of_word(0x2_0000_0007), Some(RecordEnd::Failed(7)));
    /// assert_eq!(RecordEnd::of_word(2), None);
    /// ```
    pub const fn of_word(word: u64) -> Option<Self> {
        match (word >> 32, word as u32) {
            (0, 0) => Some(Self::NotRun),
            (0, low) if low as u64 == Self::EXITED => Some(Self::Exited),
            (Self::FAILED, error) => Some(Self::Failed(error)),
            _ => None,
        }
    }
}

/// A field of the VMCS in a list of them, which ends with [`VmcsField::END`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VmcsField {
    /// The encoding of the field.
    pub field: u64,
    /// The value to write, or the one that was read.
    pub value: u64,
}

impl VmcsField {
    /// The end of a list.
    pub const END: Self = Self { field: u64::MAX, value: 0 };
}

/// Where the parts of a nested batch are in an arena.
impl Arena {
    /// The address of record `number` of a nested batch.
    pub const fn nested_record(self, number: usize) -> u64 {
        self.record(0) + number as u64 * size_of::<NestedRecord>() as u64
    }

    /// The address of the control block of a lane.
    pub const fn control_block(self, lane: usize) -> u64 {
        self.base() + CONTROL_BLOCKS + lane as u64 * 0x1000
    }

    /// The address of nested table `index`, which must be less than [`TABLES`].
    pub const fn nested_table(self, index: usize) -> u64 {
        self.base() + NESTED_TABLES + index as u64 * 0x1000
    }

    /// The address of the host's copy of nested table `index`.
    pub const fn nested_table_image(self, index: usize) -> u64 {
        self.base() + IMAGES + index as u64 * 0x1000
    }

    /// The index of the nested table that contains an address, if it is one of this arena.
    ///
    /// ```
    /// use crosswalk_guest::layout::Arena;
    /// let arena = Arena::ALL[1];
    /// assert_eq!(arena.nested_table_at(arena.nested_table(3) + 0xff8), Some(3));
    /// assert_eq!(arena.nested_table_at(arena.nested_table(120)), None);
    /// ```
    pub const fn nested_table_at(self, address: u64) -> Option<usize> {
        let Some(offset) = address.checked_sub(self.nested_table(0)) else { return None };
        let index = offset / 0x1000;
        if index < TABLES as u64 { Some(index as usize) } else { None }
    }

    /// The address of the code page of L2.
    pub const fn nested_code(self) -> u64 {
        self.base() + CODE
    }

    /// The address of the host's copy of the code page.
    pub const fn nested_code_image(self) -> u64 {
        self.base() + CODE_IMAGE
    }

    /// The address of the permission maps.
    pub const fn permission_maps(self) -> u64 {
        self.base() + PERMISSION_MAPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LOW_MEMORY_END;
    use crate::layout::{FRAME_DISTANCE, REGISTERS_DISTANCE};
    use std::vec::Vec;

    /// The end of what a nested batch uses of an arena.
    const END: u64 = 0x1e_8000;

    #[test]
    fn no_part_of_an_arena_overlaps_another() {
        for arena in Arena::ALL {
            let page = |at: u64| (at, at + 0x1000);
            let records = (arena.record(0), arena.record(Arena::RECORDS));
            let mut parts = Vec::from([
                page(arena.base()),
                records,
                (records.0 + FRAME_DISTANCE, records.1 + FRAME_DISTANCE),
                (records.0 + REGISTERS_DISTANCE, records.1 + REGISTERS_DISTANCE),
                (arena.table(0), arena.table(Arena::TABLES)),
                (arena.table_image(0), arena.table_image(crate::mailbox::MAX_TABLES)),
                page(arena.nested_code()),
                page(arena.nested_code_image()),
                page(arena.base() + HOST_SAVE_AREA),
                (arena.permission_maps(), arena.permission_maps() + PERMISSION_BYTES),
                page(arena.base() + VMXON_REGION),
                page(arena.base() + VMCS),
            ]);
            parts.extend((0..LANES).map(|lane| page(arena.control_block(lane))));
            parts.extend((0..TABLES).map(|index| page(arena.nested_table(index))));
            parts.extend((0..TABLES).map(|index| page(arena.nested_table_image(index))));

            parts.sort_unstable();
            assert!(parts.windows(2).all(|two| two[0].1 <= two[1].0), "{parts:x?}");
            let end = parts.last().map(|part| part.1);
            assert_eq!(end, Some(arena.base() + END));
        }
        assert!(Arena::ALL[0].base() + END <= Arena::ALL[1].base());
        assert!(Arena::ALL[1].base() + END <= LOW_MEMORY_END);
    }

    #[test]
    fn the_records_of_all_lanes_and_their_end_have_room() {
        let arena = Arena::ALL[0];
        assert!(arena.nested_record(LANES + 1) <= arena.record(Arena::RECORDS));
    }

    #[test]
    fn a_nested_table_is_found_by_its_address() {
        for arena in Arena::ALL {
            for index in 0..TABLES {
                let at = arena.nested_table(index);
                assert_eq!(arena.nested_table_at(at), Some(index));
                assert_eq!(arena.nested_table_at(at + 0xfff), Some(index));
            }
            for outside in [0, arena.nested_table(0) - 1, arena.nested_table(TABLES), u64::MAX] {
                assert_eq!(arena.nested_table_at(outside), None);
            }
        }
    }

    #[test]
    fn only_words_of_the_guest_are_ends() {
        assert_eq!(RecordEnd::of_word(0), Some(RecordEnd::NotRun));
        assert_eq!(RecordEnd::of_word(1), Some(RecordEnd::Exited));
        assert_eq!(RecordEnd::of_word(2 << 32), Some(RecordEnd::Failed(0)));
        for word in [2, 1 << 32, 3 << 32, u64::MAX] {
            assert_eq!(RecordEnd::of_word(word), None, "{word:#x}");
        }
    }
}
