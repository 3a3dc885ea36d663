//! Whether L2 is entered at all: the roots of both dimensions must be addresses that the processor has.

use crate::NestedCase;
use mmu_core::nested::SecondLevel;

/// EXITCODE of an entry that is refused: -1 (APM volume 2, appendix C).
pub(crate) const INVALID: u64 = !0;

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
