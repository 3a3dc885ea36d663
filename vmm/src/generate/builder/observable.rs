//! Choosing the value of a case so that storing it shows.

use crate::verdict::value::comparison_succeeds;
use crosswalk_case::Case;
use crosswalk_guest::contents;

/// Added to a byte or word until it differs from what memory has.
const STEP: u8 = 0x5b;

/// Changes the value of a case: each byte differs from what the lane's frames have in its place, so
/// that storing it shows, and no comparison with memory succeeds.
pub(in crate::generate) fn make_observable(mut case: Case, frames: u64) -> Case {
    let offset = case.access.address.get() & 0xfff;
    let [first, second] = [frames, frames + 0x1000].map(|frame| {
        let mut in_memory = [0; 8];
        contents::fill(frame + offset, &mut in_memory);
        in_memory
    });

    let mut bytes = case.value.to_le_bytes();
    for ((byte, first), second) in bytes.iter_mut().zip(first).zip(second) {
        while [0, first, second].contains(byte) {
            *byte = byte.wrapping_add(STEP);
        }
    }
    case.value = u64::from_le_bytes(bytes);

    // Unusual bits may lead to other frames than the lane's.
    while comparison_succeeds(&case) {
        case.value = case.value.wrapping_add(STEP.into());
    }
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Generator;
    use crate::generate::tests::capabilities;
    use mmu_core::{Features, PagingMode};

    /// In this batch a leaf of 4 MiB was moved to memory that has the very byte which CMPXCHG compared.
    #[test]
    fn no_comparison_succeeds_where_a_leaf_was_moved_last() {
        let mut machine = capabilities(true);
        machine.profile.features -= Features::PKS;
        let stream =
            Generator::Random(6_618_754_769_341_242_728).stream(PagingMode::Bits32, &machine);

        let cases = stream.batch(15, 480).cases;
        assert_eq!(cases.iter().filter(|case| comparison_succeeds(case)).count(), 0);
    }
}
