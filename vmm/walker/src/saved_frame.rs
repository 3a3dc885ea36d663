//! What a fault saves beside RIP (SDM "Exception- or Interrupt-Handler Procedures"; APM "Long-Mode Interrupt
//! Control Transfers").

use crosswalk_case::Case;
use crosswalk_case::observation::SavedFrame;
use crosswalk_guest::selector::{SUPERVISOR_CODE, USER_CODE};
use mmu_core::Ring;
use std::fmt;

/// Alignment check or access control.
const AC: u32 = 1 << 18;
/// The bit that is always 1.
const ONE: u32 = 1 << 1;

/// A frame of 64-bit code, in which RSP is that of the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedFrame {
    /// The selector of CS.
    pub cs: u16,
    /// RFLAGS without the status flags.
    pub rflags: u32,
    /// The bits of it that nothing decides.
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

    /// The same frame with RF 0.
    #[must_use]
    pub const fn without_rf(self) -> Self {
        Self { rflags: self.rflags & !SavedFrame::RF, open: self.open & !SavedFrame::RF, ..self }
    }
}

impl fmt::Display for ExpectedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cs, rflags, rsp, .. } = self;
        write!(f, "CS {cs:#x}, RFLAGS {rflags:#x}, RSP {rsp:+}")
    }
}

/// What a fault of the case's access saves, in 64-bit code.
///
/// RF is 1 (SDM "Instruction-Breakpoint Exception Condition"; APM "RFLAGS Register": "normally"). Emulators may
/// save 0, as QEMU 7.2 does, always: then a pin of the profile says so, and without a pin RF is open.
pub fn saved_frame(case: &Case) -> ExpectedFrame {
    let cs = if case.access.ring == Ring::Three { USER_CODE } else { SUPERVISOR_CODE };
    let ac = if case.access.ac { AC } else { 0 };
    let (rf, open) = match case.profile.pins.faults_save_rf {
        Some(true) => (SavedFrame::RF, 0),
        Some(false) => (0, 0),
        None => (SavedFrame::RF, SavedFrame::RF),
    };

    ExpectedFrame { cs, rflags: ONE | rf | ac, open, rsp: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::Profile;

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
            let ExpectedFrame { cs, rflags, rsp, .. } = saved_frame(&case);
            assert_eq!(((cs, rflags), rsp), (expected, 0));
        }
    }

    /// IF is bit 9, and was 0.
    #[test]
    fn rf_is_as_it_is_pinned_and_nothing_else_is_open() {
        let frame = |rflags| SavedFrame { cs: 0x23, rflags, rsp: 0, changed: None };
        for (pin, allowed) in
            [(None, &[0x1_0002, 0x2][..]), (Some(true), &[0x1_0002]), (Some(false), &[0x2])]
        {
            let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
            case.profile.pins.faults_save_rf = pin;
            let allows = |frame| saved_frame(&case).allows(ExpectedFrame::of(&frame));

            for rflags in [0x1_0002, 0x2, 0x1_0202, 0x202, 0x5_0002, 0x4_0002, 0x1_0000, 0] {
                assert_eq!(
                    allows(frame(rflags)),
                    allowed.contains(&rflags),
                    "{pin:?}: {rflags:#x}"
                );
            }
            assert!(!allows(SavedFrame { rsp: 8, ..frame(allowed[0]) }));
            assert!(!allows(SavedFrame { cs: 0x8, ..frame(allowed[0]) }));
        }
    }
}
