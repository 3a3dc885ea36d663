//! What a fault saves beside RIP (SDM "Exception- or Interrupt-Handler Procedures"; APM "Long-Mode Interrupt
//! Control Transfers").

use crosswalk_case::Case;
use crosswalk_case::observation::SavedFrame;
use crosswalk_guest::selector::{SUPERVISOR_CODE, USER_CODE};
use mmu_core::Ring;
use std::fmt;

/// Alignment check or access control.
const AC: u32 = 1 << 18;
/// Resume. Processors save 1 (SDM "Instruction-Breakpoint Exception Condition"; APM "RFLAGS Register":
/// "normally"), emulators may not: TCG does from QEMU 10.0 on, or earlier, and not in 7.2. It is not compared.
const RF: u32 = 1 << 16;
/// The bit that is always 1.
const ONE: u32 = 1 << 1;

/// A frame of 64-bit code, in which RSP is that of the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedFrame {
    /// The selector of CS.
    pub cs: u16,
    /// RFLAGS without RF, and without the status flags.
    pub rflags: u32,
    /// The distance from the RSP of the instruction.
    pub rsp: i64,
}

impl ExpectedFrame {
    /// What an observed frame has of it.
    pub fn of(frame: &SavedFrame) -> Self {
        let SavedFrame { cs, rflags, rsp, .. } = *frame;
        Self { cs, rflags: rflags & !RF, rsp }
    }
}

impl fmt::Display for ExpectedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cs, rflags, rsp } = self;
        write!(f, "CS {cs:#x}, RFLAGS {rflags:#x}, RSP {rsp:+}")
    }
}

/// What a fault of the case's access saves, in 64-bit code.
pub fn saved_frame(case: &Case) -> ExpectedFrame {
    let cs = if case.access.ring == Ring::Three { USER_CODE } else { SUPERVISOR_CODE };
    let ac = if case.access.ac { AC } else { 0 };
    ExpectedFrame { cs, rflags: ONE | ac, rsp: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::Profile;

    /// The selectors are those of the guest's descriptor table, with the ring in the low two bits. Bit 1 of
    /// RFLAGS is always 1, AC is bit 18.
    #[test]
    fn a_fault_saves_its_ring_and_ac() {
        for (ring, ac, expected) in [
            (Ring::Three, false, (0x23, 0x2)),
            (Ring::Three, true, (0x23, 0x4_0002)),
            (Ring::Zero, false, (0x08, 0x2)),
            (Ring::Zero, true, (0x08, 0x4_0002)),
        ] {
            let mut case = Case::plain(Arena::ALL[0], 3, ring, Profile::default());
            case.access.ac = ac;
            let ExpectedFrame { cs, rflags, rsp } = saved_frame(&case);
            assert_eq!(((cs, rflags), rsp), (expected, 0));
        }
    }

    /// IF is bit 9, and was 0.
    #[test]
    fn only_rf_is_free() {
        let case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
        let frame = |rflags| SavedFrame { cs: 0x23, rflags, rsp: 0, changed: None };
        let is_expected = |frame| ExpectedFrame::of(&frame) == saved_frame(&case);

        assert!([0x2, 0x1_0002].into_iter().all(|rflags| is_expected(frame(rflags))));
        assert!([0x202, 0x4_0002, 0].into_iter().all(|rflags| !is_expected(frame(rflags))));
        assert!(!is_expected(SavedFrame { rsp: 8, ..frame(0x2) }));
        assert!(!is_expected(SavedFrame { cs: 0x8, ..frame(0x2) }));
    }
}
