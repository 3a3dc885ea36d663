//! What faults save beside RIP, and the registers that they leave, on the machines at hand: everything is as
//! it was before the instruction (SDM "Exception Classifications": a fault restores the state).

use crosswalk::verdict::{Field, Verdict, judge};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, SavedFrame};
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Machine;
use crosswalk_test_support as support;
use mmu_core::{PagingMode, Reference, Ring, Segment};
use support::single::{fault_of, leaf, observe, open_kvm, open_qemu, plain_in};
use support::{require_kvm, require_qemu};

const FORMS: [Form; 6] = [
    Form::Load,
    Form::Store,
    Form::Exchange,
    Form::LockedExchange,
    Form::FailingCompare,
    Form::Jump,
];

/// RF, which processors save as 1 (SDM "Instruction-Breakpoint Exception Condition").
const RF: u32 = 1 << 16;

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
    let rf = machine.capabilities().profile.pins.faults_save_rf.expect("a probe found it");
    assert_eq!(machine.capabilities().saved_rf.is_ok(), rf);

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
                // AC is bit 18, and bit 1 is always 1.
                let expected = if ac { 1 << 18 | 2 } else { 2 } | if rf { RF } else { 0 };
                assert_eq!(rflags, expected, "{rflags:#x}: {case}");
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

/// A machine that saves another RF than its probe saw differs from the model.
#[track_caller]
fn assert_rf_is_judged(machine: &mut dyn Machine) {
    let mut case = absent(machine, Ring::Zero, Form::Load);
    let run = Attempt::Observed(observe(machine, &case));
    assert!(matches!(judge(&Reference, &case, &run), Verdict::Agree { .. }), "{case}");

    let rf = &mut case.profile.pins.faults_save_rf;
    *rf = rf.map(|saved| !saved);
    let verdict = judge(&Reference, &case, &run);
    let Verdict::Diverge { differences, .. } = verdict else { panic!("{verdict:?}: {case}") };
    let fields: Vec<_> = differences.iter().map(|difference| difference.field).collect();
    assert_eq!(fields, [Field::SavedFrame], "{case}");
}

#[test]
fn kvm_saves_everything_as_it_was() {
    require_kvm!();
    let mut machine = open_kvm();
    assert_frames_are_right(&mut machine);
    assert_rf_is_judged(&mut machine);
    assert_eq!(machine.capabilities().profile.pins.faults_save_rf, Some(true));
}

/// The TCG of QEMU 7.2 saves RF=0 (T25), and that of 10.0.2 saves 1.
#[test]
fn qemu_saves_everything_as_it_was() {
    require_qemu!();
    let mut machine = open_qemu();
    assert_frames_are_right(&mut machine);
    assert_rf_is_judged(&mut machine);
}
