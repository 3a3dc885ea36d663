//! What a format can express: the linear addresses that exist in it, and the physical addresses that
//! fit into its entries.

use crate::address::{PhysAddr, VirtAddr, low_bits};
use crate::x86::format::{EntryBits, EntryKind, Format, Level};

/// Whether a linear address exists: canonical in long mode (CANON-1), within the width of addresses
/// elsewhere.
pub(crate) fn exists<F: Format>(address: VirtAddr) -> bool {
    if F::IS_LONG_MODE {
        address.is_canonical(F::ADDRESS_BITS)
    } else {
        address.truncated(F::ADDRESS_BITS) == address
    }
}

/// The linear address that is translated for a sum that may exceed the width of addresses: outside
/// long mode it wraps.
pub(crate) const fn wrapped<F: Format>(address: VirtAddr) -> VirtAddr {
    if F::IS_LONG_MODE { address } else { address.truncated(F::ADDRESS_BITS) }
}

/// The linear address with these indexes and this offset: in long mode the bits above repeat the
/// highest of them.
pub(crate) const fn extended<F: Format>(address: VirtAddr) -> VirtAddr {
    if F::IS_LONG_MODE { address.sign_extended(F::ADDRESS_BITS) } else { address }
}

/// An entry of `bytes` bytes in which every bit is set.
pub(crate) const fn all_ones(bytes: u8) -> u64 {
    low_bits(bytes.saturating_mul(8))
}

/// A present entry for a physical address. `None` if entries of this kind are too narrow for the
/// address, or round it.
pub(crate) fn entry_for<F: Format>(
    level: &Level,
    kind: EntryKind,
    address: PhysAddr,
) -> Option<u64> {
    let entry = F::entry(level, kind, address, EntryBits::P) & all_ones(F::ENTRY_BYTES);
    (F::address(level, kind, entry) == address).then_some(entry)
}
