//! Whether L2 is entered at all: the roots of both dimensions must be addresses that the processor has.

use crate::NestedCase;
use crosswalk_case::TableEntry;
use mmu_core::PagingMode;
use mmu_core::nested::SecondLevel;

/// EXITCODE of an entry that is refused: -1 (APM volume 2, appendix C).
pub(crate) const INVALID: u64 = !0;
/// EXITCODE of a shutdown.
pub(crate) const SHUTDOWN: u64 = 0x7f;

/// Whether the processor enters L2 (APM volume 2, "Canonicalization and Consistency Checks", "Nested Paging").
pub(crate) fn is_legal(case: &NestedCase) -> bool {
    has_legal_root(case) && has_legal_guest_root(case)
}

/// Whether nCR3 of a hypervisor in long mode has no bit above MAXPHYADDR. In the other modes it has 32 bits, and the
/// pointer of EPT is always legal here.
pub(crate) fn has_legal_root(case: &NestedCase) -> bool {
    match case.second {
        SecondLevel::Npt(host) if !host.mode().is_long_mode() => true,
        SecondLevel::Npt(host) => host.cr3 & case.profile.bits_above_physical() == 0,
        SecondLevel::Ept(_) => true,
    }
}

/// Whether CR3 of a guest in long mode has no bit above MAXPHYADDR.
pub(crate) fn has_legal_guest_root(case: &NestedCase) -> bool {
    let is_checked = case.mode().is_long_mode() && matches!(case.second, SecondLevel::Npt(_));
    !is_checked || case.guest.cr3 & case.profile.bits_above_physical() == 0
}

/// Whether one of the four PDPTEs of a second level in PAE paging is present, and has a bit above MAXPHYADDR.
pub(crate) fn has_far_pdpte(case: &NestedCase) -> bool {
    let SecondLevel::Npt(host) = case.second else { return false };
    let table = host.cr3 & 0xffff_ffe0;
    let within = case.profile.physical_address_mask() | 0xfff;
    let is_far = |entry: &TableEntry| {
        (table..table + 4 * 8).contains(&entry.at)
            && entry.value & 1 == 1
            && entry.value & !within != 0
    };
    host.mode() == PagingMode::Pae && case.nested_entries.iter().any(is_far)
}
