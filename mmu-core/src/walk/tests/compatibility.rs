//! Compatibility mode: code segments with CS.L=0 in long mode (MODE-1, and what it means for CANON-1,
//! CANON-2 and CANON-4). APM "Compatibility Mode": from the application's viewpoint it is legacy mode;
//! from the operating system's, address translation uses the mechanisms of long mode.

use super::{
    Access, Cr4, Efer, PagingMode, Rule, TestMachine, Vector, Vendor, access, assert_fault, bit,
    code, on_stack,
};
use crate::access::AccessKind::{self, Fetch, Read, Write};
use crate::access::Ring::{self, Three, Zero};
use crate::access::Segment;
use crate::x86::state::{CR3_LAM_U48, CR3_LAM_U57};
use std::vec;
use std::vec::Vec;

/// Byte 0x234 of the page with entry 3 of the PDPT, 511 of the directory and 4 of the table.
const LOW: u64 = 0xffe0_4234;
/// The addresses of its PDPTE, PDE and PTE. Those above are entry 0 of the PML4, and of the PML5.
const PDPTE: u64 = 0x11_018;
const PDE: u64 = 0x12_ff8;
const PTE: u64 = 0x13_020;
/// The last PTE of the table, and the first and the last page below 4 GiB.
const LAST_PTE: u64 = 0x13_ff8;
const LAST_PAGE: u64 = 0xffff_f000;

/// The same access by code in compatibility mode.
fn compatible(access: Access) -> Access {
    Access { compatibility: true, ..access }
}

fn does(kind: AccessKind, address: u64, ring: Ring) -> Access {
    compatible(access(kind, address, ring))
}

/// The page at `LOW`: present, writable, user and executable at every level.
fn four_levels() -> TestMachine {
    TestMachine::with_entries(&[
        (0x10_000, 0x11_007),
        (PDPTE, 0x12_007),
        (PDE, 0x13_007),
        (PTE, 0x1_4000_0007),
    ])
}

/// The same with 5 levels, whose root is at `0xf_000`.
fn five_levels() -> TestMachine {
    let TestMachine { profile, entries, .. } = four_levels();
    let mut five = TestMachine::in_mode(PagingMode::FiveLevel, 0xf_000, &entries);
    five.profile = profile;
    five.set(0xf_000, 0x10_007)
}

/// Both, with the addresses of the entries on the path, root first.
fn both() -> [(TestMachine, Vec<u64>); 2] {
    let four = vec![0x10_000, PDPTE, PDE, PTE];
    let five = [vec![0xf_000], four.clone()].concat();
    [(four_levels(), four), (five_levels(), five)]
}

#[test]
fn mode_1_compatibility_mode_walks_every_level() {
    for (machine, path) in both() {
        for (kind, leaf) in [(Read, bit::A), (Write, bit::A | bit::D), (Fetch, bit::A)] {
            for ring in [Zero, Three] {
                let made = machine.does(does(kind, LOW, ring));
                made.reaches(0x1_4000_0234).by(Rule::Mode1).not_by(Rule::Canon1);

                let set = |at: &u64| if *at == PTE { leaf } else { bit::A };
                let updates: Vec<_> = path.iter().map(|at| (*at, set(at), 0)).collect();
                made.updates(&updates);
            }
        }
        machine.reads(LOW, Three).reaches(0x1_4000_0234).not_by(Rule::Mode1);
    }
}

#[test]
fn mode_1_each_level_decides_in_compatibility_mode() {
    for (machine, path) in both() {
        for at in path {
            let absent = machine.clone().clear(at, bit::P);
            absent.does(does(Write, LOW, Three)).faults(code::W | code::U, LOW);

            let read_only = machine.clone().clear(at, bit::RW);
            let denied = code::P | code::W | code::U;
            read_only.does(does(Write, LOW, Three)).faults(denied, LOW);

            let supervisor = machine.clone().clear(at, bit::US);
            supervisor.does(does(Read, LOW, Three)).faults(code::P | code::U, LOW);
            supervisor.does(does(Read, LOW, Zero)).reaches(0x1_4000_0234);

            let disabled = machine.clone().set(at, bit::XD);
            disabled.does(does(Fetch, LOW, Three)).faults(code::P | code::U | code::I, LOW);

            // CODE-4: bits 51:48 are reserved with a MAXPHYADDR of 48, at every level.
            let reserved = machine.clone().set(at, 1 << 51);
            let reserved = reserved.does(does(Read, LOW, Three));
            reserved.faults(code::P | code::U | code::RSVD, LOW);
        }
    }
}

#[test]
fn mode_1_the_checks_of_long_mode_bind_compatibility_mode() {
    for (machine, _) in both() {
        let smap = machine.clone().cr4(Cr4::SMEP | Cr4::SMAP);
        smap.does(does(Read, LOW, Zero)).faults(code::P, LOW);
        smap.does(does(Fetch, LOW, Zero)).faults(code::P | code::I, LOW);

        // There are keys in long mode only, and compatibility mode belongs to it (RIGHT-6). Key 5.
        let mut keys = machine.cr4(Cr4::PKE).set(PTE, 5 << 59);
        keys.state.pkru = 1 << 10;
        keys.does(does(Read, LOW, Three)).faults(code::P | code::U | code::PK, LOW);
    }
}

#[test]
fn mode_1_an_address_has_32_bits_in_compatibility_mode() {
    for (machine, _) in both() {
        for above in [1 << 32, 1 << 47, 0xffff_8000 << 32, 0x1234_5678 << 32] {
            let low = machine.does(does(Read, above | LOW, Three));
            low.reaches(0x1_4000_0234).not_by(Rule::Canon1);
        }
        // CR2 has 32 bits, too: bits 63:32 of a linear address are 0.
        let absent = machine.clear(PTE, bit::P);
        absent.does(does(Read, 0x1234_5678 << 32 | LOW, Three)).faults(code::U, LOW);
    }
}

#[test]
fn mode_1_compatibility_mode_uses_the_first_entry_of_the_top_levels() {
    // The page is under entry 1 of the PML4, or of the PML5, and the entries 0 are absent: no address
    // of compatibility mode leads there, and one of 64-bit mode does.
    let four = four_levels().set(0x10_008, 0x11_007).clear(0x10_000, !0);
    four.reads(1 << 39 | LOW, Three).reaches(0x1_4000_0234);
    four.does(does(Read, 1 << 39 | LOW, Three)).faults(code::U, LOW);

    let five = five_levels().set(0xf_008, 0x10_007).clear(0xf_000, !0);
    five.reads(1 << 48 | LOW, Three).reaches(0x1_4000_0234);
    five.does(does(Read, 1 << 48 | LOW, Three)).faults(code::U, LOW);

    // Of the PDPT it uses the first four.
    let fifth = four_levels().set(0x11_020, 0x12_007).clear(PDPTE, !0);
    fifth.reads(1 << 32 | LOW & 0x3fff_ffff, Three).reaches(0x1_4000_0234);
    fifth.does(does(Read, 1 << 32 | LOW & 0x3fff_ffff, Three)).faults(code::U, LOW & 0x3fff_ffff);
}

/// The first and the last page below 4 GiB.
fn both_ends(machine: TestMachine) -> TestMachine {
    let first = machine.set(0x11_000, 0x14_007).set(0x14_000, 0x15_007).set(0x15_000, 0x6_0007);
    first.set(LAST_PTE, 0x7_0007)
}

#[test]
fn canon_2_an_access_past_4_gib_wraps_or_exceeds_the_limit_in_compatibility_mode() {
    // SDM "Limit Checking": the behaviour is implementation specific. The table that maps the last
    // page is the one of `LOW`, as its directory is the last, too.
    for (machine, _) in both() {
        let machine = both_ends(machine);
        let spans = [(0x7_0ffd, 3), (0x6_0000, 5)];

        let write = machine.does(does(Write, LAST_PAGE + 0xffd, Three));
        write.reaches_spans_or_raises(&spans, Vector::GeneralProtection).by(Rule::Canon2);
        let push = machine.does(on_stack(does(Write, LAST_PAGE + 0xffd, Three)));
        push.reaches_spans_or_raises(&spans, Vector::StackFault).by(Rule::Canon2);

        // In 64-bit mode the address goes on at 4 GiB, where nothing is.
        machine.writes(LAST_PAGE + 0xffd, Three).faults(code::W | code::U, 1 << 32);
        machine.does(does(Read, LAST_PAGE + 0xff8, Three)).reaches(0x7_0ff8).not_by(Rule::Canon2);

        // The page fault is at 0.
        let absent = machine.clear(0x15_000, bit::P);
        let write = absent.does(does(Write, LAST_PAGE + 0xffd, Three));
        write.chosen_by(&[Some(Rule::Canon2), Some(Rule::Canon2)]);
        assert_fault(&write.0.alternatives[0].outcome, code::W | code::U, 0);
    }
}

#[test]
fn canon_1_descriptor_tables_have_64_bit_addresses_in_compatibility_mode() {
    // SDM "Descriptor Tables in IA-32e Mode": GDTR and LDTR have bases of 64 bits. The page is under
    // entry 1 of the root.
    let four = four_levels().set(0x10_008, 0x11_007).clear(0x10_000, !0);
    let five = five_levels().set(0xf_008, 0x10_007).clear(0xf_000, !0);

    for (machine, page) in [(four, 1 << 39 | LOW), (five, 1 << 48 | LOW)] {
        let lookup = |at| machine.does(Access { implicit: true, ..does(Read, at, Three) });
        lookup(page).reaches(0x1_4000_0234).by(Rule::Mode1);
        lookup(LOW).faults(0, LOW);

        let bad = lookup(1 << 62 | page);
        bad.raises(Vector::GeneralProtection).by(Rule::Canon1).updates(&[]);
    }
}

#[test]
fn canon_4_compatibility_mode_masks_nothing() {
    // SDM "Linear-Address Masking": in 64-bit mode only. Bits 63:32 are not part of the address.
    for lam in [CR3_LAM_U48, CR3_LAM_U57] {
        let machine = four_levels();
        let cr3 = machine.state.cr3;
        let read = machine.cr3(cr3 | lam).does(does(Read, LOW, Three));
        read.reaches(0x1_4000_0234).not_by(Rule::Canon4);
    }

    // APM "Upper Address Ignore": there is no tag that CR2 might hold.
    let mut uai = four_levels().vendor(Vendor::Amd).clear(PTE, bit::P);
    uai.state.efer |= Efer::UAIE;
    let read = Access { segment: Segment::Data, ..does(Read, 0x5a << 57 | LOW, Three) };
    uai.does(read).faults(code::U, LOW).not_by(Rule::Canon4);
}
