//! What faults save beside RIP, and the registers that they leave, on the machines at hand: everything is as
//! it was before the instruction (SDM "Exception Classifications": a fault restores the state).

use crosswalk_case::Case;
use crosswalk_case::observation::SavedFrame;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Machine;
use crosswalk_test_support as support;
use mmu_core::{PagingMode, Ring, Segment};
use support::single::{fault_of, leaf, open_kvm, open_qemu, plain_in};
use support::{require_kvm, require_qemu};

const FORMS: [Form; 6] = [
    Form::Load,
    Form::Store,
    Form::Exchange,
    Form::LockedExchange,
    Form::FailingCompare,
    Form::Jump,
];

/// The bits of RFLAGS that the guest chooses: all but RF, which is bit 16. AC is bit 18, and bit 1 is always 1.
const CHOSEN: u32 = !(1 << 16);

/// An access to a page that is not present.
fn absent(machine: &dyn Machine, ring: Ring, form: Form) -> Case {
    let profile = machine.capabilities().profile;
    let offset = if form == Form::Jump { 0x808 } else { 0x100 };
    let mut case = plain_in(PagingMode::FourLevel, profile, Arena::ALL[0], ring, form, offset);
    *leaf(&mut case) &= !1;
    case
}

#[track_caller]
fn assert_frames_are_right(machine: &mut dyn Machine) {
    for ring in [Ring::Three, Ring::Zero] {
        // 64-bit code segments: the second descriptor in ring 0, the fifth in ring 3.
        let cs = if ring == Ring::Three { 4 << 3 | 3 } else { 1 << 3 };

        for form in FORMS {
            for (segment, ac) in [(Segment::Data, false), (Segment::Stack, true)] {
                let mut case = absent(machine, ring, form);
                case.access.ac = ac;
                if form != Form::Jump {
                    case.access.segment = segment;
                }

                let SavedFrame { rflags, .. } = saved_frame(machine, &case);
                let expected = if ac { 1 << 18 | 2 } else { 2 };
                assert_eq!(rflags & CHOSEN, expected, "{rflags:#x}: {case}");
                let found = SavedFrame { rflags: 0, ..saved_frame(machine, &case) };
                assert_eq!(found, SavedFrame { cs, rflags: 0, rsp: 0, changed: None }, "{case}");
            }
        }
    }
}

#[track_caller]
fn saved_frame(machine: &mut dyn Machine, case: &Case) -> SavedFrame {
    fault_of(machine, case).frame.expect("a case alone keeps the frame")
}

#[test]
fn kvm_saves_everything_as_it_was() {
    require_kvm!();
    assert_frames_are_right(&mut open_kvm());
}

#[test]
fn qemu_saves_everything_as_it_was() {
    require_qemu!();
    assert_frames_are_right(&mut open_qemu());
}
