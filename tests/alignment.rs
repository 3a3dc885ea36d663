//! Alignment checks on the machines at hand (ALIGN-1): single cases, with what the SDM has about each in
//! "Interrupt 17 - Alignment Check Exception (#AC)".

use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Machine;
use crosswalk_test_support as support;
use mmu_core::{Cr0, PagingMode, Ring};
use support::single::{LANE, fault_of, observe, open_kvm, open_qemu, plain_in};
use support::{require_kvm, require_qemu};

const ALIGNMENT_CHECK: u8 = 17;

const FORMS: [Form; 5] =
    [Form::Load, Form::Store, Form::Exchange, Form::LockedExchange, Form::FailingCompare];

/// An access to these bytes of a page that allows everything, with CR0.AM=1 and EFLAGS.AC=1.
fn checked(
    machine: &dyn Machine,
    mode: PagingMode,
    ring: Ring,
    form: Form,
    (offset, size): (u64, u16),
) -> Case {
    let profile = machine.capabilities().profile;
    let mut case = plain_in(mode, profile, Arena::ALL[0], ring, form, 0x100 + offset);
    case.state.cr0 |= Cr0::AM;
    case.access.ac = true;
    case.access.size = size;
    case
}

/// The offsets at which an access of 8 bytes or fewer is misaligned, and the others.
fn offsets(size: u16) -> (Vec<u64>, Vec<u64>) {
    let (aligned, misaligned) = (0..8).partition(|offset| offset % u64::from(size) == 0);
    (misaligned, aligned)
}

/// TCG checks nothing, and so does what runs beneath it (T15).
fn is_on_tcg(machine: &dyn Machine) -> bool {
    machine.identity().beneath == "tcg"
}

#[test]
fn kvm_refuses_misaligned_accesses_of_ring_3() {
    require_kvm!();
    let mut machine = open_kvm();
    if is_on_tcg(&machine) {
        return;
    }

    for form in FORMS {
        for size in [1, 2, 4, 8] {
            let (misaligned, aligned) = offsets(size);
            for offset in misaligned {
                let place = (offset, size);
                let case = checked(&machine, PagingMode::FourLevel, Ring::Three, form, place);
                let seen = observe(&mut machine, &case);
                let fault = seen.fault.unwrap_or_else(|| panic!("no fault: {case}"));
                assert_eq!((fault.vector, fault.error_code), (ALIGNMENT_CHECK, 0), "{case}");
                assert_eq!(fault.cr2, fault.cr2_before, "{case}");
                assert_eq!(seen.stored, [], "{case}");

                // D, which is bit 6, would tell of a write.
                let dirty =
                    seen.entries.iter().any(|entry| entry.after & !entry.before & 0x40 != 0);
                assert!(!dirty, "{case}");
            }

            for offset in aligned {
                let place = (offset, size);
                let case = checked(&machine, PagingMode::FourLevel, Ring::Three, form, place);
                assert_eq!(observe(&mut machine, &case).fault, None, "{case}");
            }
        }
    }
}

#[test]
fn kvm_checks_neither_ring_0_nor_without_ac_nor_fetches() {
    require_kvm!();
    let mut machine = open_kvm();
    let mode = PagingMode::FourLevel;

    let supervisor = checked(&machine, mode, Ring::Zero, Form::Load, (1, 8));
    assert_eq!(observe(&mut machine, &supervisor).fault, None, "{supervisor}");

    let mut without_ac = checked(&machine, mode, Ring::Three, Form::Store, (1, 8));
    without_ac.access.ac = false;
    assert_eq!(observe(&mut machine, &without_ac).fault, None, "{without_ac}");

    for form in [Form::Jump, Form::Clflush] {
        let profile = machine.capabilities().profile;
        // Offset 0x808 has code.
        let mut case = plain_in(mode, profile, Arena::ALL[0], Ring::Three, form, 0x808);
        case.state.cr0 |= Cr0::AM;
        case.access.ac = true;
        assert_eq!(observe(&mut machine, &case).fault, None, "{case}");
    }
}

/// An address that is not canonical, and a page that is absent, may be reported instead.
#[test]
fn kvm_reports_one_of_two_faults() {
    require_kvm!();
    let mut machine = open_kvm();
    let place = (3, 4);

    let mut absent = checked(&machine, PagingMode::FourLevel, Ring::Three, Form::Load, place);
    absent.entries[3].value = 0;
    let fault = fault_of(&mut machine, &absent);
    // A user read of an absent page: U/S is bit 2.
    let seen = (fault.vector, fault.error_code);
    assert!([(ALIGNMENT_CHECK, 0), (14, 4)].contains(&seen), "{seen:?} {absent}");

    let mut beyond = checked(&machine, PagingMode::FourLevel, Ring::Three, Form::Load, place);
    beyond.access.address = mmu_core::VirtAddr::new(beyond.access.address.get() ^ 1 << 62);
    let fault = fault_of(&mut machine, &beyond);
    let seen = (fault.vector, fault.error_code);
    assert!([(ALIGNMENT_CHECK, 0), (13, 0)].contains(&seen), "{seen:?} {beyond}");
}

/// T15: QEMU 7.2 stores CR0.AM, and that is all. The guest runs with it in every mode.
#[test]
fn qemu_runs_with_am_in_every_mode() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PagingMode::ALL {
        for ring in Ring::ALL {
            let aligned = checked(&machine, mode, ring, Form::Store, (4, 4));
            let seen = observe(&mut machine, &aligned);
            assert_eq!(seen.fault, None, "{aligned}");

            let frame = Arena::ALL[0].data_frames(LANE) + 0x104;
            let places: Vec<u64> = seen.stored.iter().map(|(at, _)| *at).collect();
            assert_eq!(places, [frame, frame + 1, frame + 2, frame + 3], "{aligned}");
        }
    }
}
