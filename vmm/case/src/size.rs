//! How complicated a case is: what shrinking makes smaller.

use crate::Case;
use mmu_core::{Cr0, Cr4};

/// Orders cases from simple to complicated.
pub fn size_of_case(case: &Case) -> (usize, u32, bool, usize, u32, u16) {
    let state = &case.state;
    let optional = Cr4::PSE | Cr4::PGE | Cr4::PCIDE | Cr4::SMEP | Cr4::SMAP | Cr4::PKE | Cr4::PKS;
    let state_bits = (state.cr4 & optional).bits().count_ones()
        + u32::from(state.pkru != 0)
        + u32::from(state.pkrs != 0)
        + u32::from(state.ac)
        + u32::from(!state.cr0.contains(Cr0::WP));
    (
        case.before.len(),
        case.unusual_bits(),
        case.access.crosses_page(),
        case.entries.len(),
        state_bits + case.access.kind as u32,
        case.access.size,
    )
}
