//! The data memory as it appears a second time at high physical addresses, so that address bits
//! above 4 GiB take part in translations.
//!
//! The frames are the same, with the two halves of the data memory swapped. A walker that drops a
//! high address bit therefore reaches another lane's area instead of the same frame.

use crate::layout::{DATA_BASE, DATA_SIZE};

const HALF: u64 = DATA_SIZE / 2;

/// The start of the place below 4 GiB: the first half of the data memory again, with address bit 31 set,
/// within reach of a 32-bit page-table entry. Unlike in the high places, no halves are swapped.
pub const BIT_31: u64 = 0x8000_0000;

/// Two complementary patterns of the address bits from 30 up.
const PATTERNS: [u64; 2] = [0x000a_aaaa_8000_0000, 0x0005_5555_4000_0000];

/// The addresses at which the data memory appears for a MAXPHYADDR, each aligned to 1 GiB. Over
/// these places every address bit from 32 up to MAXPHYADDR takes both values, and so does every bit
/// below 40, the limit of PSE-36. Empty if MAXPHYADDR leaves no room.
///
/// ```
/// let places: Vec<u64> = crosswalk_guest::high::places(36).collect();
/// assert_eq!(places, [0xa_8000_0000, 0x5_4000_0000]);
/// assert_eq!(crosswalk_guest::high::places(48).count(), 4);
/// assert_eq!(crosswalk_guest::high::places(32).count(), 0);
/// ```
pub fn places(physical_address_bits: u8) -> impl Iterator<Item = u64> {
    let bits = physical_address_bits;
    let narrow = (bits >= 36).then_some((bits.min(40), 0));
    // Distinct from the narrow places, whatever the bits above 40 are.
    let wide = (bits > 40).then_some((bits, DATA_SIZE));
    let widths = narrow.into_iter().chain(wide);

    widths.flat_map(|(bits, shift)| PATTERNS.map(|all| (all ^ shift) & ((1 << bits) - 1)))
}

/// Whether a data address appears in the place that starts at [`BIT_31`], too.
///
/// ```
/// use crosswalk_guest::high::appears_at_bit_31;
/// assert!(appears_at_bit_31(0x5fff_ffff) && !appears_at_bit_31(0x6000_0000));
/// ```
pub const fn appears_at_bit_31(data: u64) -> bool {
    data >= DATA_BASE && data < DATA_BASE + HALF
}

/// The address at which a data address appears in a place: one of [`places`], or [`BIT_31`].
pub const fn appears_at(place: u64, data: u64) -> u64 {
    match place {
        BIT_31 => place + (data - DATA_BASE),
        _ => place + (data - DATA_BASE + HALF) % DATA_SIZE,
    }
}

/// The contiguous parts of all places, each of [`PART_SIZE`]: the address of each, and the data address
/// behind it. The first is the place at [`BIT_31`].
pub fn parts(physical_address_bits: u8) -> impl Iterator<Item = (u64, u64)> {
    let high = places(physical_address_bits)
        .flat_map(|place| [(place, DATA_BASE + HALF), (place + HALF, DATA_BASE)]);
    core::iter::once((BIT_31, DATA_BASE)).chain(high)
}

/// Size of a part in bytes.
pub const PART_SIZE: u64 = HALF;

/// The data address behind a physical address, which may itself be a data address or lie in a
/// place. `None` where there is no data memory.
///
/// ```
/// use crosswalk_guest::high::data_behind;
/// assert_eq!(data_behind(0x4000_1234, 40), Some(0x4000_1234));
/// assert_eq!(data_behind(0xaa_a000_1234, 40), Some(0x4000_1234));
/// assert_eq!(data_behind(0xaa_a000_1234, 36), None);
/// assert_eq!(data_behind(0x9fff_ffff, 36), Some(0x5fff_ffff));
/// assert_eq!(data_behind(0xa000_0000, 36), None);
/// ```
pub fn data_behind(address: u64, physical_address_bits: u8) -> Option<u64> {
    let within = |start: u64| address.checked_sub(start).filter(|offset| *offset < DATA_SIZE);
    if within(DATA_BASE).is_some() {
        return Some(address);
    }
    if let Some(offset) = within(BIT_31).filter(|offset| *offset < HALF) {
        return Some(DATA_BASE + offset);
    }

    let offset = places(physical_address_bits).find_map(within)?;
    Some(DATA_BASE + (offset + HALF) % DATA_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_disjoint_and_within_maxphyaddr() {
        for bits in 32..=52 {
            let all: std::vec::Vec<u64> = places(bits).collect();
            for (i, place) in all.iter().enumerate() {
                assert!(place.is_multiple_of(DATA_SIZE) && place + DATA_SIZE <= 1 << bits);
                assert!(*place >= 1 << 32, "{bits}: {place:#x}");
                assert!(!all[..i].contains(place), "{bits}: {place:#x}");
            }
        }
    }

    #[test]
    fn every_high_bit_takes_both_values() {
        for bits in [36_u8, 40, 48, 52] {
            let (and, or) =
                places(bits).fold((!0, 0), |(and, or), place| (and & place, or | place));
            assert_eq!(and >> 32, 0, "{bits}");
            assert_eq!(or >> 32, (1 << (bits - 32)) - 1, "{bits}");
        }
    }

    #[test]
    fn data_behind_is_the_inverse_of_appears_at() {
        for bits in [36, 40, 48] {
            for place in places(bits) {
                for data in [DATA_BASE, DATA_BASE + HALF - 1, DATA_BASE + HALF, 0x7fff_ffff] {
                    let high = appears_at(place, data);
                    assert_eq!(data_behind(high, bits), Some(data));
                    assert_ne!(
                        high & 0xffff_ffff,
                        data,
                        "dropping the high bits must lead elsewhere"
                    );
                }
            }
            for data in [DATA_BASE, DATA_BASE + HALF - 1] {
                assert_eq!(data_behind(appears_at(BIT_31, data), bits), Some(data));
            }
            for (part, behind) in parts(bits) {
                assert_eq!(data_behind(part, bits), Some(behind));
                assert_eq!(data_behind(part + PART_SIZE - 1, bits), Some(behind + PART_SIZE - 1));
            }
        }
    }
}
