//! The regime of a walk: the control state, the processor, and the choices left to processors.

use crate::x86::profile::{Pin, Profile};
use crate::x86::state::ControlState;

/// The member that a walk follows of each choice on which processors legally differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate choice")]
pub struct Choices {
    /// CODE-7: G in a PML4E is reserved.
    pub global_in_pml4e_is_reserved: bool,
    /// PDPTE-4: PDPTEs are read during the walk.
    pub pdptes_are_walked: bool,
    /// PDPTE-2: reserved bits are checked when a PDPTE is loaded even where P is 0.
    pub absent_pdptes_are_checked: bool,
    /// CODE-8: a fetch is reported with SMEP even while NXE=0.
    pub smep_alone_reports_fetch: bool,
    /// CANON-2: under LAM the address of the first byte is masked, and those of the others follow
    /// it; otherwise each byte is masked and checked by itself.
    pub bytes_follow_the_masked_first: bool,
    /// CANON-2: outside 64-bit mode an access past 4 GiB exceeds the limit of its segment; otherwise
    /// it wraps.
    pub limit_ends_at_4_gib: bool,
    /// CANON-4: CR2 holds the bits that UAI ignores.
    pub cr2_holds_the_tag: bool,
}

/// Everything that decides a walk apart from the tables and the access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Regime {
    /// The control registers.
    pub state: ControlState,
    /// The processor.
    pub profile: Profile,
    /// Its choices: pinned by the profile, or one combination of those to try.
    pub choices: Choices,
}

impl Regime {
    /// The regime of a processor in a control state, with the likeliest member of each open choice.
    pub fn new(state: ControlState, profile: Profile) -> Self {
        let choices = Choices {
            global_in_pml4e_is_reserved: profile.global_in_pml4e_is_reserved() == Pin::Yes,
            pdptes_are_walked: profile.pdptes_are_walked() == Pin::Yes,
            absent_pdptes_are_checked: profile.absent_pdptes_are_checked() == Pin::Yes,
            smep_alone_reports_fetch: profile.smep_alone_reports_fetch() != Pin::No,
            bytes_follow_the_masked_first: false,
            limit_ends_at_4_gib: false,
            cr2_holds_the_tag: false,
        };
        Self { state, profile, choices }
    }
}
