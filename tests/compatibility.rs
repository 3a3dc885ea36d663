//! Compatibility mode on KVM and QEMU (MODE-1): single cases, with results worked out by hand. The faults
//! of machines (vmm/known) are left out.

use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_guest::contents;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_guest::tables::TableUse;
use crosswalk_machine::Machine;
use crosswalk_test_support as support;
use mmu_core::{PagingMode, Ring, VirtAddr};
use support::single::{
    A, LANE, P, RW, US, assert_page_fault, assert_variants_complete, fault_of, leaf, memory_at,
    observe, open_kvm, open_qemu, places, plain_with, user_bit,
};
use support::{require_kvm, require_qemu};

const FOUR_LEVELS: TableUse = TableUse { mode: PagingMode::FourLevel, compatibility: true };
const FIVE_LEVELS: TableUse = TableUse { mode: PagingMode::FiveLevel, compatibility: true };

fn plain(machine: &dyn Machine, table_use: TableUse, ring: Ring, form: Form, offset: u64) -> Case {
    let profile = machine.capabilities().profile;
    plain_with(table_use, profile, Arena::ALL[0], ring, form, offset)
}

/// The long modes of a machine that runs code in compatibility mode.
fn uses(machine: &dyn Machine) -> Vec<TableUse> {
    let capabilities = machine.capabilities();
    if let Err(why) = &capabilities.compatibility {
        eprintln!("no compatibility mode here: {why}");
        return Vec::new();
    }

    let is_offered = |table_use: &TableUse| {
        let mut modes = capabilities.modes.iter();
        modes.any(|(mode, offer)| *mode == table_use.mode && offer.is_ok())
    };
    [FOUR_LEVELS, FIVE_LEVELS].into_iter().filter(is_offered).collect()
}

/// Everything that holds on every machine.
fn check(machine: &mut dyn Machine) {
    for table_use in uses(machine) {
        accesses_reach_their_bytes(machine, table_use);
        for ring in Ring::ALL {
            a_fetch_runs_the_code_of_its_frame(machine, table_use, ring);
            each_level_decides(machine, table_use, ring);
            rights_are_those_of_long_mode(machine, table_use, ring);
            an_access_past_4_gib_does_not_complete(machine, table_use, ring);
        }
    }
}

fn accesses_reach_their_bytes(machine: &mut dyn Machine, table_use: TableUse) {
    let forms =
        [Form::Load, Form::Store, Form::Exchange, Form::LockedExchange, Form::FailingCompare];
    assert_variants_complete(machine, table_use, &forms);
}

/// The code at offset 0x800 of a frame starts with `mov ecx, imm32`.
fn a_fetch_runs_the_code_of_its_frame(machine: &mut dyn Machine, table_use: TableUse, ring: Ring) {
    let case = plain(machine, table_use, ring, Form::Jump, 0x808);
    let seen = observe(machine, &case);

    let code = Arena::ALL[0].data_frames(LANE) + 0x808;
    assert_eq!(contents::byte(code), 0xb9, "mov ecx");
    assert_eq!(seen.fault, None, "{case}");
    assert_eq!(seen.value, memory_at(&places(code + 1, 4)), "{case}");
}

/// SDM "Page-Fault Exceptions": the PDPTE, the PDE and the PTE, and all of the levels above are walked.
/// The guest itself is below the entries of the top levels.
fn each_level_decides(machine: &mut dyn Machine, table_use: TableUse, ring: Ring) {
    let entries = plain(machine, table_use, ring, Form::Load, 0x123).entries.len();
    assert_eq!(entries, if table_use == FOUR_LEVELS { 4 } else { 5 });

    for (form, code) in [(Form::Load, 0), (Form::Store, 2), (Form::Jump, 0x10)] {
        for level in entries - 3..entries {
            let mut case = plain(machine, table_use, ring, form, 0x808);
            case.entries[level].value &= !P;
            assert_page_fault(machine, &case, code | user_bit(ring));
        }
    }

    // A is set on the path, except where it is set already.
    let mut case = plain(machine, table_use, ring, Form::Load, 0x123);
    case.entries[entries - 3].value &= !A;
    let seen = observe(machine, &case);
    let after: Vec<u64> = seen.entries.iter().map(|entry| entry.after).collect();
    let expected: Vec<u64> = case.entries.iter().map(|entry| entry.value | A).collect();
    assert_eq!(after, expected, "{case}");
}

/// XD is bit 63; plain cases have EFER.NXE and CR0.WP.
fn rights_are_those_of_long_mode(machine: &mut dyn Machine, table_use: TableUse, ring: Ring) {
    let mut disabled = plain(machine, table_use, ring, Form::Jump, 0x808);
    *leaf(&mut disabled) |= 1 << 63;
    assert_page_fault(machine, &disabled, 0x11 | user_bit(ring));

    let mut read_only = plain(machine, table_use, ring, Form::Store, 0x808);
    *leaf(&mut read_only) &= !RW;
    assert_page_fault(machine, &read_only, 0x3 | user_bit(ring));

    let mut supervisor = plain(machine, table_use, ring, Form::Load, 0x808);
    *leaf(&mut supervisor) &= !US;
    if ring == Ring::Three {
        assert_page_fault(machine, &supervisor, 0x5);
    } else {
        assert_eq!(observe(machine, &supervisor).fault, None);
    }
}

/// It wraps to address 0, where nothing is mapped, or exceeds the limit of its segment. QEMU goes on at
/// 4 GiB (T16), where nothing is mapped either.
fn an_access_past_4_gib_does_not_complete(
    machine: &mut dyn Machine,
    table_use: TableUse,
    ring: Ring,
) {
    let mut case = plain(machine, table_use, ring, Form::Load, 0);
    let [.., pdpte, pde, pte] = case.entries.as_mut_slice() else { panic!("three levels") };
    // PDPTE 3, whose directory follows that of PDPTE 2, and the last entries of the others.
    pdpte.at += 8;
    pdpte.value += 0x1000;
    pde.at = (pdpte.value & !0xfff) + 0xff8;
    pte.at |= 0xff8;
    case.access.address = VirtAddr::new(0xffff_fffe);

    let fault = fault_of(machine, &case);
    let found = (fault.vector, fault.error_code);
    assert!([(14, user_bit(ring)), (13, 0)].contains(&found), "{found:?}: {case}");

    // Up to 4 GiB it completes.
    case.access.address = VirtAddr::new(0xffff_fffc);
    let seen = observe(machine, &case);
    assert_eq!(seen.fault, None, "{case}");
    let reached = places(Arena::ALL[0].data_frames(LANE) + 0xffc, 4);
    assert_eq!(seen.value, memory_at(&reached), "{case}");
}

#[test]
fn mode_1_on_kvm() {
    require_kvm!();
    check(&mut open_kvm());
}

#[test]
fn mode_1_on_qemu() {
    require_qemu!();
    check(&mut open_qemu());
}

#[test]
fn the_entries_that_map_the_guest_itself_are_refused() {
    require_qemu!();
    let mut machine = open_qemu();
    let mut case = plain(&machine, FOUR_LEVELS, Ring::Three, Form::Load, 0);
    case.entries[0].value &= !US;
    let refused = crosswalk::campaign::run_one(&mut machine, &case);
    match refused {
        Ok(Attempt::Unsupported(why)) => assert!(why.contains("the guest itself"), "{why}"),
        other => panic!("not refused: {other:?}"),
    }
}
