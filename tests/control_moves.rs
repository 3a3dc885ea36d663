//! MOVs to control registers as actions of a sequence: how each ends on a machine, and that none concerns the
//! cases behind it. Expected ends are written by hand: SDM "MOV - Move to/from Control Registers" and
//! "Control Registers", APM "MOV `CRn`" and "Extended Feature Enable Register".

use crosswalk::campaign::run_one;
use crosswalk::verdict::{self, Verdict};
use crosswalk_case::observation::{Attempt, Observation, PrivilegedRecord, SavedRip};
use crosswalk_case::{Action, Case, Invpcid, TableEntry};
use crosswalk_guest::layout::{Arena, lane_of_sequence};
use crosswalk_guest::table_windows::TableWindow;
use crosswalk_machine::Machine;
use crosswalk_machine::batch::{Batch, Encoded};
use crosswalk_test_support as support;
use mmu_core::x86::control::Mov;
use mmu_core::{ControlState, Cr0, Cr4, Efer, Features, Reference, Ring, VirtAddr};
use support::single::{open_kvm, open_qemu};
use support::{require_kvm, require_qemu};

fn plain(machine: &dyn Machine, ring: Ring) -> Case {
    Case::plain(Arena::ALL[0], 0, ring, machine.capabilities().profile)
}

/// What a machine does with one privileged instruction before a plain read.
fn run_action(machine: &mut dyn Machine, ring: Ring, action: Action) -> PrivilegedRecord {
    let mut case = plain(machine, ring);
    case.before = vec![action];
    let attempt = run_one(machine, &case).expect("the guest survives");
    let Attempt::Observed(seen) = attempt else { panic!("{action} does not run: {attempt:?}") };
    let [record] = seen.privileged[..] else { panic!("one record of {action}") };
    record
}

/// Checks that a MOV completes, and what its register holds then.
#[track_caller]
fn assert_completes(machine: &mut dyn Machine, mov: Mov, register: u64) {
    for ring in Ring::ALL {
        let expected = PrivilegedRecord { fault: None, register: Some(register) };
        assert_eq!(run_action(machine, ring, Action::Mov(mov)), expected, "{mov}, {ring:?}");
    }
}

/// Checks that a MOV raises #GP(0), and changes neither its register nor CR2.
#[track_caller]
fn assert_gp(machine: &mut dyn Machine, mov: Mov) {
    for ring in Ring::ALL {
        let held = mov.register_in(&plain(machine, ring).state);
        let record = run_action(machine, ring, Action::Mov(mov));
        let fault = record.fault.unwrap_or_else(|| panic!("no fault of {mov}, {ring:?}"));

        assert_eq!((fault.vector, fault.error_code), (13, 0), "{mov}, {ring:?}");
        assert_eq!(fault.cr2, fault.cr2_before, "{mov}, {ring:?}");
        assert_eq!(fault.rip, Some(SavedRip::AT_INSTRUCTION), "{mov}, {ring:?}");
        assert_eq!(record.register, Some(held), "{mov}, {ring:?}");
    }
}

/// What every machine here does.
fn assert_common_ends(machine: &mut dyn Machine) {
    let ControlState { cr0, cr3, cr4, efer, .. } = plain(machine, Ring::Three).state;

    assert_completes(machine, Mov::Cr0(cr0 - Cr0::WP), (cr0 - Cr0::WP).bits());
    // ET is always 1.
    assert_completes(machine, Mov::Cr0(cr0 - Cr0::ET), cr0.bits());
    assert_completes(machine, Mov::Cr3(cr3 | 0x18), cr3 | 0x18);
    assert_completes(machine, Mov::Cr4(cr4 ^ Cr4::PGE), (cr4 ^ Cr4::PGE).bits());
    assert_completes(machine, Mov::Efer(efer - Efer::NXE), (efer - Efer::NXE).bits());
    // MODE-2.
    assert_gp(machine, Mov::Cr4(cr4 | Cr4::LA57));

    // CANON-3; SDM "INVLPG": a non-canonical address makes it a NOP.
    let invlpg = Action::Invlpg(VirtAddr::new(1 << 60));
    for ring in Ring::ALL {
        let expected = PrivilegedRecord { fault: None, register: None };
        assert_eq!(run_action(machine, ring, invlpg), expected, "{ring:?}");
    }
}

#[test]
fn movs_end_on_kvm_as_the_manuals_say() {
    require_kvm!();
    let machine = &mut open_kvm();
    assert_common_ends(machine);
    assert_invpcid(machine);

    let ControlState { cr0, cr3, cr4, efer, .. } = plain(machine, Ring::Three).state;
    assert_gp(machine, Mov::Cr0(cr0 | Cr0::NW));
    // Reserved bits of the low half stay clear.
    assert_completes(machine, Mov::Cr0(cr0 | Cr0::from_bits_retain(1 << 6)), cr0.bits());
    assert_gp(machine, Mov::Efer(efer | Efer::from_bits_retain(1 << 9)));
    assert_gp(machine, Mov::Efer(efer - Efer::LME));

    // MODE-8, where a reserved bit does not end the guest.
    if machine.capabilities().reserved_movs.is_ok() {
        assert_gp(machine, Mov::Cr3(cr3 | 1 << 63));
        assert_gp(machine, Mov::Cr3(cr3 | 1 << 52));
        assert_gp(machine, Mov::Cr4(cr4 | Cr4::from_bits_retain(1 << 15)));
    }
}

#[test]
fn movs_end_on_qemu_as_the_manuals_say() {
    require_qemu!();
    let machine = &mut open_qemu();
    assert_common_ends(machine);
    assert_invpcid(machine);
}

/// What a read of ring 3 sees after a MOV to CR3 of another root, whose entry for the page is this one.
fn read_by_other_root(machine: &mut dyn Machine, entry_of: impl Fn(u64) -> u64) -> Observation {
    let mut case = plain(machine, Ring::Three);
    let bits = machine.capabilities().profile.physical_address_bits;
    let window = TableWindow::within(bits).next().expect("40 address bits are enough");
    let first = case.entries[0];
    let other = TableEntry { at: first.at + window.distance(), value: entry_of(first.value) };
    let cr3 = case.state.cr3 + window.distance();

    case.before = vec![Action::Access(case.access_step()), Action::Mov(Mov::Cr3(cr3))];
    case.entries.push(other);
    let attempt = run_one(machine, &case).expect("the guest survives");
    let Attempt::Observed(seen) = attempt else { panic!("it does not run: {attempt:?}") };
    assert_eq!(seen.privileged, [PrivilegedRecord { fault: None, register: Some(cr3) }]);
    assert_eq!(seen.earlier[0].fault, None);
    seen
}

/// SDM "Operations that Invalidate TLBs and Paging-Structure Caches": MOV to CR3 invalidates all that is not
/// global, so the read goes by the other root. 4: a user access, not present. 5: a user access, denied.
fn assert_other_root(machine: &mut dyn Machine) {
    let code = |seen: Observation| seen.fault.map(|fault| (fault.vector, fault.error_code));
    assert_eq!(code(read_by_other_root(machine, |value| value)), None);
    assert_eq!(code(read_by_other_root(machine, |_| 0)), Some((14, 4)));
    assert_eq!(code(read_by_other_root(machine, |value| value & !4)), Some((14, 5)));
}

#[test]
fn another_root_is_used_after_mov_to_cr3_on_kvm() {
    require_kvm!();
    assert_other_root(&mut open_kvm());
}

#[test]
fn another_root_is_used_after_mov_to_cr3_on_qemu() {
    require_qemu!();
    assert_other_root(&mut open_qemu());
}

/// A machine without INVPCID says which bit of CPUID is missing.
fn assert_invpcid(machine: &mut dyn Machine) {
    let mut case = plain(machine, Ring::Three);
    case.before = vec![Action::Invpcid(Invpcid { kind: 4, descriptor: [0; 2] })];
    let attempt = run_one(machine, &case).expect("the guest survives");
    if machine.capabilities().profile.features.contains(Features::INVPCID) {
        let verdict = verdict::judge(&Reference, &case, &attempt);
        assert!(matches!(verdict, Verdict::Agree { .. }), "{verdict:?}");
    } else {
        let missing = "this machine has no INVPCID: CPUID 7 EBX[10] is 0";
        assert_eq!(attempt, Attempt::Unsupported(missing.into()));
    }
}

/// A lane that moves something to every register, once in vain, and plain lanes behind it.
fn assert_nothing_is_left(machine: &mut dyn Machine) {
    let [_, arena] = Arena::ALL;
    let profile = machine.capabilities().profile;
    for ring in Ring::ALL {
        let cases = (0..12).map(|number| {
            let mut case = Case::plain(arena, lane_of_sequence(number), ring, profile);
            case.state.cr4 |= Cr4::PGE;
            case.before = vec![Action::Access(case.access_step())];
            case
        });
        let mut cases: Vec<Case> = cases.collect();

        let ControlState { cr0, cr3, cr4, efer, .. } = cases[0].state;
        let movs = [
            Mov::Cr0(cr0 - Cr0::WP),
            Mov::Cr3(cr3 | 0x18),
            Mov::Cr4(cr4 - Cr4::PGE),
            Mov::Cr4(cr4 | Cr4::LA57),
            Mov::Efer(efer - Efer::NXE),
        ];
        cases[0].before.extend(movs.map(Action::Mov));
        // Some machines accept a bit that CPUID lacks (K20), against all expectation.
        let has_smep = profile.features.contains(Features::SMEP);
        if has_smep || machine.capabilities().reserved_movs.is_ok() {
            cases[2].before.push(Action::Mov(Mov::Cr4(cr4 | Cr4::SMEP)));
        }
        // The next lane reads CR4 by a MOV that faults; the last one moves to each what it should hold.
        cases[3].before.push(Action::Mov(Mov::Cr4(cr4 | Cr4::LA57)));
        let held = [Mov::Cr0(cr0), Mov::Cr3(cr3), Mov::Cr4(cr4), Mov::Efer(efer)];
        cases[11].before.extend(held.map(Action::Mov));

        let attempts = run_together(machine, arena, cases.clone());
        for (number, (case, attempt)) in cases.iter().zip(attempts).enumerate() {
            if number == 2 {
                continue;
            }
            let verdict = verdict::judge(&Reference, case, &attempt);
            assert!(matches!(verdict, Verdict::Agree { .. }), "{case}: {verdict:?}");
        }
    }
}

fn run_together(machine: &mut dyn Machine, arena: Arena, cases: Vec<Case>) -> Vec<Attempt> {
    let memory = machine.memory().clone();
    let batch = Batch { arena, cases };
    let encoded = Encoded::new(batch, machine.image(), machine.capabilities());
    let log = machine.run(encoded.write(&memory)).expect("the guest survives");
    encoded.read_back(&log, &memory, machine.provenance()).expect("its records are good")
}

#[test]
fn a_lane_leaves_no_register_behind_on_kvm() {
    require_kvm!();
    assert_nothing_is_left(&mut open_kvm());
}

#[test]
fn a_lane_leaves_no_register_behind_on_qemu() {
    require_qemu!();
    assert_nothing_is_left(&mut open_qemu());
}
