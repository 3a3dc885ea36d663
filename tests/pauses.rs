//! A vCPU of KVM that another thread pauses, through the library (`Machine::pauser`).

use crosswalk::campaign::run_one;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_guest::layout::Arena;
use crosswalk_machine::Machine;
use crosswalk_machine::kvm::{GuestRange, KvmMachine, PauseError, PausedAt, PausedVcpu};
use crosswalk_test_support as support;
use mmu_core::Ring;
use std::thread::{self, sleep};
use std::time::Duration;
use support::require_kvm;
use support::single::open_kvm;

/// Asserts that the machine still runs cases.
fn assert_works(machine: &mut KvmMachine) {
    let case = Case::plain(Arena::ALL[0], 0, Ring::Three, machine.capabilities().profile);
    let attempt = run_one(machine, &case).expect("it works");
    assert!(matches!(attempt, Attempt::Observed(_)), "{attempt:?}");
}

/// The number of batches before it.
#[track_caller]
fn between(vcpu: PausedVcpu) -> u64 {
    match vcpu.at {
        PausedAt::Between { batches } => batches,
        PausedAt::Batch { .. } => panic!("no batch runs: {vcpu:?}"),
    }
}

#[test]
fn a_guest_that_has_nothing_to_run_is_paused_in_its_own_kernel() {
    require_kvm!();
    let mut machine = open_kvm();
    let pauser = machine.pauser().expect("KVM can be paused");

    let before = pauser.pause(|vcpu| *vcpu).expect("it is paused");
    let registers = before.registers;
    // PE and PG; the guest's own root table; PAE; LME and LMA.
    assert_eq!((registers.cr0 & 0x8000_0001, registers.cr3), (0x8000_0001, 0x20_0000));
    assert_eq!((registers.cr4 & 0x20, registers.efer & 0x500), (0x20, 0x500));

    assert_works(&mut machine);
    let behind = pauser.pause(|vcpu| *vcpu).expect("it is paused");
    assert_eq!(between(behind), between(before) + 1);
}

/// Each once for low memory and data memory, and the data memory again at bit 31.
#[test]
fn the_memory_of_a_guest_is_where_its_layout_says() {
    require_kvm!();
    let machine = open_kvm();
    let pauser = machine.pauser().expect("KVM can be paused");
    let range = |start, len, place| GuestRange { start, len, place };
    for expected in [
        range(0, 0x80_0000, 0),
        range(0x4000_0000, 0x4000_0000, 0x4000_0000),
        range(0x8000_0000, 0x2000_0000, 0x4000_0000),
    ] {
        assert!(pauser.ranges().contains(&expected), "{expected:?}: {:?}", pauser.ranges());
    }
}

#[test]
fn a_guest_does_not_wait_for_who_looks_too_long() {
    require_kvm!();
    let mut machine = open_kvm();
    let pauser = machine.pauser().expect("KVM can be paused");

    thread::scope(|scope| {
        let (looks, is_paused) = std::sync::mpsc::channel();
        let looker = scope.spawn(move || {
            pauser.pause(|_| {
                looks.send(()).expect("the test waits");
                sleep(Duration::from_secs(5));
            })
        });
        is_paused.recv().expect("it looks");
        assert_works(&mut machine);
        assert_eq!(looker.join().expect("it ends"), Err(PauseError::WentOn));
    });
    assert_works(&mut machine);
}

#[test]
fn a_machine_that_is_gone_is_told() {
    require_kvm!();
    let machine = open_kvm();
    let pauser = machine.pauser().expect("KVM can be paused");
    drop(machine);
    assert_eq!(pauser.pause(|_| ()), Err(PauseError::Gone));
}
