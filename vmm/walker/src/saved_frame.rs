//! What a fault saves beside RIP (SDM "Exception- or Interrupt-Handler Procedures"; APM "Long-Mode Interrupt
//! Control Transfers").

use crosswalk_case::Case;
use crosswalk_case::observation::SavedFrame;
use crosswalk_guest::selector::{SUPERVISOR_CODE, USER_CODE};
use mmu_core::Ring;
use mmu_core::x86::profile::Vendor;
use std::fmt;

/// Alignment check or access control.
const AC: u32 = 1 << 18;
/// Resume. A fault saves 1 (SDM "Instruction-Breakpoint Exception Condition"). The APM ("RFLAGS Register") says only
/// that this is "normally" so: on processors that are not Intel's it may be 0.
const RF: u32 = 1 << 16;
/// The bit that is always 1.
const ONE: u32 = 1 << 1;

/// A frame of 64-bit code, in which RSP is that of the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedFrame {
    /// The selector of CS.
    pub cs: u16,
    /// RFLAGS without the status flags.
    pub rflags: u32,
    /// The bits of it that the manuals leave open.
    pub open: u32,
    /// The distance from the RSP of the instruction.
    pub rsp: i64,
}

impl ExpectedFrame {
    /// What an observed frame has of it.
    pub const fn of(frame: &SavedFrame) -> Self {
        let SavedFrame { cs, rflags, rsp, .. } = *frame;
        Self { cs, rflags, open: 0, rsp }
    }

    /// Whether another frame is as this one, but for what is open.
    pub const fn allows(self, other: Self) -> bool {
        let is_same = (self.rflags ^ other.rflags) & !self.open == 0;
        self.cs == other.cs && is_same && self.rsp == other.rsp
    }

    /// The same frame with RF 0, as an emulator may save it.
    #[must_use]
    pub const fn without_rf(self) -> Self {
        Self { rflags: self.rflags & !RF, open: self.open & !RF, ..self }
    }
}

impl fmt::Display for ExpectedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cs, rflags, rsp, .. } = self;
        write!(f, "CS {cs:#x}, RFLAGS {rflags:#x}, RSP {rsp:+}")
    }
}

/// What a fault of the case's access saves, in 64-bit code.
pub(crate) fn of_fault(case: &Case) -> ExpectedFrame {
    let cs = if case.access.ring == Ring::Three { USER_CODE } else { SUPERVISOR_CODE };
    let ac = if case.access.ac { AC } else { 0 };
    let open = if case.profile.vendor == Vendor::Intel { 0 } else { RF };
    ExpectedFrame { cs, rflags: ONE | RF | ac, open, rsp: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::Profile;

    fn case_of(vendor: Vendor) -> Case {
        let profile = Profile { vendor, ..Profile::default() };
        Case::plain(Arena::ALL[0], 3, Ring::Three, profile)
    }

    /// The selectors are those of the guest's descriptor table, with the ring in the low two bits. Bit 1 of
    /// RFLAGS is always 1, RF is bit 16, AC is bit 18.
    #[test]
    fn a_fault_saves_its_ring_and_ac() {
        for (ring, ac, expected) in [
            (Ring::Three, false, (0x23, 0x1_0002)),
            (Ring::Three, true, (0x23, 0x5_0002)),
            (Ring::Zero, false, (0x08, 0x1_0002)),
            (Ring::Zero, true, (0x08, 0x5_0002)),
        ] {
            let mut case = Case::plain(Arena::ALL[0], 3, ring, Profile::default());
            case.access.ac = ac;
            let ExpectedFrame { cs, rflags, rsp, .. } = of_fault(&case);
            assert_eq!(((cs, rflags), rsp), (expected, 0));
        }
    }

    /// IF is bit 9, and was 0.
    #[test]
    fn only_rf_is_open_and_not_on_intel() {
        let frame = |rflags| SavedFrame { cs: 0x23, rflags, rsp: 0, changed: None };
        for vendor in Vendor::ALL {
            let case = case_of(vendor);
            let allows = |frame| of_fault(&case).allows(ExpectedFrame::of(&frame));

            assert!(allows(frame(0x1_0002)), "{vendor:?}");
            assert_eq!(allows(frame(0x2)), vendor != Vendor::Intel, "{vendor:?}");
            assert!(
                [0x1_0202, 0x5_0002, 0x1_0000].into_iter().all(|rflags| !allows(frame(rflags)))
            );
            assert!(!allows(SavedFrame { rsp: 8, ..frame(0x1_0002) }));
            assert!(!allows(SavedFrame { cs: 0x8, ..frame(0x1_0002) }));
        }
    }
}
