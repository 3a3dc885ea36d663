//! The bits of a 64-bit page-table entry (SDM "Paging-Structure Entries").

use bitflags::bitflags;

bitflags! {
    /// The flags of a 64-bit entry. The address and the protection key are fields, not flags.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct EntryBits: u64 {
        /// Present.
        const P = 1 << 0;
        /// Writable (R/W).
        const RW = 1 << 1;
        /// User (U/S).
        const US = 1 << 2;
        /// Write-through: caching, not translation.
        const PWT = 1 << 3;
        /// Cache-disable: caching, not translation.
        const PCD = 1 << 4;
        /// Accessed.
        const A = 1 << 5;
        /// Dirty, in a leaf only.
        const D = 1 << 6;
        /// Page size: the entry maps a large page. In a PTE the same bit is PAT (MODE-11).
        const PS = 1 << 7;
        /// Global, in a leaf only (CODE-7).
        const G = 1 << 8;
        /// PAT of a large leaf (MODE-11).
        const LARGE_PAT = 1 << 12;
        /// Execute-disable (CODE-3).
        const XD = 1 << 63;
    }
}

impl EntryBits {
    /// Bits 51:12: the address of a table or of a 4 KiB page. In long mode CR3 has the address of
    /// the root table in the same bits (MODE-8).
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    /// The lowest bit of the protection key.
    const KEY_SHIFT: u32 = 59;

    /// The protection key of a leaf, bits 62:59 (RIGHT-6).
    ///
    /// ```
    /// use mmu_core::x86::format::EntryBits;
    /// assert_eq!(EntryBits::key_of(0x2800_0000_0000_0000), 5);
    /// ```
    pub const fn key_of(entry: u64) -> u32 {
        (entry >> Self::KEY_SHIFT) as u32 & 0xf
    }

    /// Bits 62:59 of a leaf with this protection key, 0 to 15.
    pub const fn with_key(key: u32) -> u64 {
        ((key & 0xf) as u64) << Self::KEY_SHIFT
    }
}
