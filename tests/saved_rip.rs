//! The RIP that faults save, on the machines at hand: that of the instruction, in every form, ring and
//! mode (SDM "Exception Classifications", "Interrupt 14").

use crosswalk_case::Case;
use crosswalk_case::observation::SavedRip;
use crosswalk_guest::contents::crossing_code;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables::TableUse;
use crosswalk_machine::Machine;
use crosswalk_test_support as support;
use mmu_core::{PagingMode, Ring, VirtAddr};
use support::single::{fault_of, open_kvm, open_qemu, plain_with};
use support::{require_kvm, require_qemu};

const FORMS: [Form; 6] = [
    Form::Load,
    Form::Store,
    Form::Exchange,
    Form::LockedExchange,
    Form::FailingCompare,
    Form::Jump,
];

/// How code can run in a mode.
fn uses(machine: &dyn Machine) -> Vec<TableUse> {
    let modes = machine.capabilities().modes.iter().filter(|(_, offer)| offer.is_ok());
    let paged = modes.map(|(mode, _)| *mode).filter(|mode| *mode != PagingMode::Unpaged);

    let compatibility = |mode: PagingMode| mode.is_long_mode().then_some(true);
    paged
        .flat_map(|mode| {
            let ways = [Some(false), compatibility(mode)].into_iter().flatten();
            ways.map(move |compatibility| TableUse { mode, compatibility })
        })
        .collect()
}

/// An access to a page that is not present.
fn absent(machine: &dyn Machine, tables: TableUse, ring: Ring, form: Form) -> Case {
    let profile = machine.capabilities().profile;
    let offset = if form == Form::Jump { 0x808 } else { 0x100 };
    let mut case = plain_with(tables, profile, Arena::ALL[0], ring, form, offset);
    case.access.size = match form {
        Form::Clflush => 1,
        Form::Jump => 8,
        _ => 4,
    };
    let leaf = case.entries.last_mut().expect("the page is mapped");
    leaf.value &= !1;
    case
}

fn every_fault_saves_its_instruction(machine: &mut dyn Machine, forms: &[Form]) {
    for tables in uses(machine) {
        for ring in [Ring::Three, Ring::Zero] {
            for form in forms.iter().copied() {
                let case = absent(machine, tables, ring, form);
                let fault = fault_of(machine, &case);

                let expected = match form {
                    Form::Jump => SavedRip::Address(case.access.address.get()),
                    _ => SavedRip::AT_INSTRUCTION,
                };
                assert_eq!((fault.vector, fault.rip), (14, Some(expected)), "{case}");
            }
        }
    }
}

/// What crosses into an absent page is one instruction in 64-bit code, and in 32-bit code the second of
/// two of four bytes each.
fn a_fetch_across_pages_saves_the_instruction_that_is_cut(machine: &mut dyn Machine) {
    for tables in uses(machine) {
        let code = Code::of(tables);
        let (offset, size) = crossing_code(code);
        let mut case = absent(machine, tables, Ring::Three, Form::Jump);
        let page = case.access.address.get() & !0xfff;
        case.access.address = VirtAddr::new(page + offset);
        case.access.size = size;
        case.entries.last_mut().expect("the page is mapped").value |= 1;

        let cut = if code == Code::Bits64 { 0xff8 } else { 0xffe };
        let fault = fault_of(machine, &case);
        assert_eq!(fault.rip, Some(SavedRip::Address(page + cut)), "{case}");
        assert_eq!(fault.cr2, page + 0x1000, "{case}");
    }
}

/// A near jump to an address that is not canonical.
fn bad_jump(machine: &dyn Machine, ring: Ring) -> Case {
    let tables = TableUse::of(PagingMode::FourLevel);
    let mut case = absent(machine, tables, ring, Form::Jump);
    case.access.address = VirtAddr::new(case.access.address.get() ^ 1 << 60);
    case
}

#[test]
fn kvm_saves_the_rip_of_the_instruction() {
    require_kvm!();
    let mut machine = open_kvm();
    every_fault_saves_its_instruction(&mut machine, &FORMS);
    every_fault_saves_its_instruction(&mut machine, &[Form::Clflush]);
    a_fetch_across_pages_saves_the_instruction_that_is_cut(&mut machine);
}

/// TCG does nothing for CLFLUSH (T8), so it is not asked for it.
#[test]
fn qemu_saves_the_rip_of_the_instruction() {
    require_qemu!();
    let mut machine = open_qemu();
    every_fault_saves_its_instruction(&mut machine, &FORMS);
    a_fetch_across_pages_saves_the_instruction_that_is_cut(&mut machine);
}

/// SDM, APM "JMP": #GP(0), which is the jump's own.
#[test]
fn kvm_refuses_a_jump_to_an_address_that_is_not_canonical() {
    require_kvm!();
    let mut machine = open_kvm();
    for ring in [Ring::Three, Ring::Zero] {
        let case = bad_jump(&machine, ring);
        let fault = fault_of(&mut machine, &case);
        assert_eq!((fault.vector, fault.rip), (13, Some(SavedRip::AT_INSTRUCTION)), "{case}");
    }
}

/// T17: TCG makes the jump, and the fetch faults.
#[test]
fn qemu_jumps_to_an_address_that_is_not_canonical() {
    require_qemu!();
    let mut machine = open_qemu();
    for ring in [Ring::Three, Ring::Zero] {
        let case = bad_jump(&machine, ring);
        let fault = fault_of(&mut machine, &case);
        let target = SavedRip::Address(case.access.address.get());
        assert_eq!((fault.vector, fault.rip), (13, Some(target)), "{case}");
    }
}
