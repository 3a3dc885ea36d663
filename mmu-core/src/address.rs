//! Addresses and page sizes.

use core::fmt;

/// Number of low address bits inside the smallest page.
pub const PAGE_SHIFT: u8 = 12;

/// The number whose lowest `bits` bits are set, at most all 64.
pub(crate) const fn low_bits(bits: u8) -> u64 {
    if bits < 64 { (1 << bits) - 1 } else { u64::MAX }
}

/// A linear address as an instruction forms it: any 64-bit value, canonical or not.
///
/// ```
/// use mmu_core::VirtAddr;
/// let edge = VirtAddr::new(0x7fff_ffff_fffc);
/// assert!(edge.is_canonical(48));
/// assert!(!edge.wrapping_add(4).is_canonical(48));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VirtAddr(u64);

impl VirtAddr {
    /// Wraps a number. Any 64-bit value is a linear address; the walk checks whether it is
    /// canonical.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The address as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether bits 63 down to `bits - 1` are all equal: `bits` is 48 for 4-level paging
    /// (SDM "Canonical Addressing"). Every address is canonical in 64 bits or more.
    pub const fn is_canonical(self, bits: u8) -> bool {
        self.sign_extended(bits).0 == self.0
    }

    /// The lowest `bits` bits. Outside long mode a linear address has 32.
    #[must_use]
    pub const fn truncated(self, bits: u8) -> Self {
        Self(self.0 & low_bits(bits))
    }

    /// The address with bit `bits - 1` copied to bits 63:`bits`; 0 if `bits` is 0.
    #[must_use]
    pub const fn sign_extended(self, bits: u8) -> Self {
        if bits == 0 {
            return Self(0);
        }

        let unused = 64_u32.saturating_sub(bits as u32);
        Self(((self.0 << unused) as i64 >> unused) as u64)
    }

    /// The address `bytes` further up; addresses wrap at 2^64 (CODE-12).
    #[must_use]
    pub const fn wrapping_add(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// The `bits` bits from `shift` up: the index into a table.
    pub const fn index(self, shift: u8, bits: u8) -> u64 {
        if shift < 64 { (self.0 >> shift) & low_bits(bits) } else { 0 }
    }

    /// The same for the level of a table, whose `shift` and `bits` are below 64: without a comparison
    /// in every step of a walk.
    pub(crate) const fn table_index(self, shift: u8, bits: u8) -> u64 {
        let mask = 1_u64.wrapping_shl(bits as u32) - 1;
        self.0.wrapping_shr(shift as u32) & mask
    }

    /// The lowest `bits` bits: the offset into a page of 2^`bits` bytes.
    pub const fn offset(self, bits: u8) -> u64 {
        self.0 & low_bits(bits)
    }
}

/// A physical address. In a guest it is a guest-physical address (GPA).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// Wraps a number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The address as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether the address is a multiple of `size`'s bytes.
    pub const fn is_aligned(self, size: PageSize) -> bool {
        self.0 & (size.bytes() - 1) == 0
    }

    /// The start of the 4 KiB frame that contains this address.
    #[must_use]
    pub const fn frame(self) -> Self {
        Self(self.0 & !(PageSize::Size4KiB.bytes() - 1))
    }
}

impl core::ops::Add<u64> for PhysAddr {
    type Output = Self;

    fn add(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// The page sizes of x86.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageSize {
    /// 4 KiB, mapped by a PTE.
    Size4KiB,
    /// 2 MiB, mapped by a PDE with PS set in PAE paging and long mode.
    Size2MiB,
    /// 4 MiB, mapped by a PDE with PS set in 32-bit paging.
    Size4MiB,
    /// 1 GiB, mapped by a PDPTE with PS set.
    Size1GiB,
}

impl PageSize {
    /// Number of bits in the offset into the page.
    pub const fn shift(self) -> u8 {
        match self {
            Self::Size4KiB => 12,
            Self::Size2MiB => 21,
            Self::Size4MiB => 22,
            Self::Size1GiB => 30,
        }
    }

    /// Number of bytes in the page.
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }
}

macro_rules! format_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    )*};
}

format_as_hex!(VirtAddr, PhysAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_edges_of_48_bits() {
        // SDM "Canonical Addressing": 0 to 00007FFF_FFFFFFFF and FFFF8000_00000000 to the top.
        for good in [0, 0x7fff_ffff_ffff, 0xffff_8000_0000_0000, u64::MAX] {
            assert!(VirtAddr::new(good).is_canonical(48), "{good:#x}");
        }

        for bad in [0x8000_0000_0000, 0xffff_7fff_ffff_ffff, 1 << 63, 0x0100_0000_0000_0000] {
            assert!(!VirtAddr::new(bad).is_canonical(48), "{bad:#x}");
        }
    }

    #[test]
    fn index_takes_bits_from_the_shift_up() {
        let address = VirtAddr::new(0x0000_1234_5678_9abc);

        assert_eq!(address.index(39, 9), 0x24);
        assert_eq!(address.index(30, 9), 0xd1);
        assert_eq!(address.index(21, 9), 0xb3);
        assert_eq!(address.index(12, 9), 0x189);
        assert_eq!(address.offset(12), 0xabc);
    }
}
