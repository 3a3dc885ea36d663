//! Accesses to more than two pages, as XSAVE and XRSTOR make them: CODE-12, AD-1, AD-2, AD-3, AD-5,
//! AD-7. And the sizes that no instruction has.

use super::{FRAME, PAGE, PDE, PDPTE, PML4E, Rule, TestMachine, bit, code};
use crate::access::Ring::{Three, Zero};
use crate::access::{Access, AccessKind, MAX_FETCH_PAGES, MAX_PAGES, SizeError};
use crate::address::VirtAddr;
use crate::cache::CachedMmu;
use crate::memory::{Bytes, SparseTables, TableMemoryMut, Unshared};
use crate::outcome::{AccessError, Outcome};
use crate::x86::fault::Vector;
use crate::x86::format::{FourLevel, Linear};
use crate::x86::profile::{Profile, Vendor};
use crate::x86::state::Efer;
use crate::{Mmu, PagingMode, PhysAddr};
use std::vec;
use std::vec::Vec;

const AD: u64 = bit::A | bit::D;

/// The PTEs of four pages that follow one another, the first at `PAGE`.
const PTES: [u64; 4] = [0x13_020, 0x13_028, 0x13_030, 0x13_038];

/// Four pages that allow everything, in frames that do not follow one another.
fn four_pages() -> TestMachine {
    let machine = TestMachine::page_4k();
    let machine = machine.set(PTES[1], 0x1_8000_0007).set(PTES[2], 0x1_3000_0007);
    machine.set(PTES[3], 0x1_9000_0007)
}

/// An access from the middle of the first page into the fourth.
fn wide(kind: AccessKind) -> Access {
    Access::new(kind, VirtAddr::new(PAGE + 0x800), 0x2c00, Three)
}

/// The updates of the tables above the pages, which may get A.
fn tables_open() -> Vec<(u64, u64, u64)> {
    [PML4E, PDPTE, PDE].map(|at| (at, 0, bit::A)).to_vec()
}

#[test]
fn ad_1_a_write_to_four_pages_reaches_and_dirties_each() {
    let write = four_pages().does(wide(AccessKind::Write));
    write.reaches_spans(&[
        (FRAME + 0x800, 0x800),
        (0x1_8000_0000, 0x1000),
        (0x1_3000_0000, 0x1000),
        (0x1_9000_0000, 0x400),
    ]);

    let tables = [PML4E, PDPTE, PDE].map(|at| (at, bit::A, 0));
    let pages = PTES.map(|at| (at, AD, 0));
    write.updates(&[tables.as_slice(), &pages].concat());
}

#[test]
fn ad_1_8192_bytes_over_three_pages() {
    let read = Access::read(VirtAddr::new(PAGE + 0x800), 0x2000, Three);
    four_pages().does(read).reaches_spans(&[
        (FRAME + 0x800, 0x800),
        (0x1_8000_0000, 0x1000),
        (0x1_3000_0000, 0x800),
    ]);
}

#[test]
fn code_12_the_lowest_of_the_faulting_pages_is_reported_or_another() {
    // The third page is absent, and the fourth read-only.
    let machine = four_pages().clear(PTES[2], bit::P).clear(PTES[3], bit::RW);
    let fault = machine.does(wide(AccessKind::Write));
    let absent = (code::W | code::U, PAGE + 0x2000);
    let read_only = (code::P | code::W | code::U, PAGE + 0x3000);
    fault.faults_in_one_of(&[absent, read_only]).by(Rule::Code12);

    // With one faulting page there is no choice.
    machine.does(wide(AccessKind::Read)).faults(code::U, PAGE + 0x2000).chosen_by(&[None]);
}

#[test]
fn code_12_any_of_four_faulting_pages_may_be_reported() {
    let supervisor = TestMachine::page_2m().clear(PDE, bit::US).does(wide(AccessKind::Read));
    let denied = code::P | code::U;
    supervisor.faults_in_one_of(&[
        (denied, PAGE + 0x800),
        (denied, PAGE + 0x1000),
        (denied, PAGE + 0x2000),
        (denied, PAGE + 0x3000),
    ]);
    supervisor.chosen_by(&[Some(Rule::Code12); 4]);
}

#[test]
fn ad_7_a_wide_store_may_complete_on_each_page_that_does_not_fault() {
    // SDM "Guaranteed Atomic Operations": a store of more than a quadword "may be implemented using
    // multiple memory accesses", of which some "may complete (writing to memory) while another causes
    // the operation to fault". No order is promised, so this holds for the pages behind, too.
    let fault = four_pages().clear(PTES[1], bit::P).does(wide(AccessKind::Write));
    fault.faults(code::W | code::U, PAGE + 0x1000).by(Rule::Ad7).not_by(Rule::Ad5);

    let pages = [PTES[0], PTES[2], PTES[3]].map(|at| (at, 0, AD));
    fault.updates(&[tables_open(), pages.to_vec()].concat());
    assert_eq!(fault.update_of(PTES[3]).open_by, Rule::Ad7);
}

#[test]
fn ad_7_a_store_of_16_bytes_may_complete_on_the_page_behind() {
    let write = Access::write(VirtAddr::new(PAGE + 0xff8), 16, Zero);
    let fault = four_pages().clear(PTES[0], bit::P).does(write);
    fault.faults(code::W, PAGE + 0xff8).by(Rule::Ad7);
    fault.updates(&[tables_open(), vec![(PTES[1], 0, AD)]].concat());
}

#[test]
fn ad_3_a_denying_page_of_a_wide_store_stays_clean() {
    let fault = four_pages().clear(PTES[2], bit::RW).does(wide(AccessKind::Write));
    fault.faults(code::P | code::W | code::U, PAGE + 0x2000).by(Rule::Ad3);

    let pages = [(PTES[0], 0, AD), (PTES[1], 0, AD), (PTES[2], 0, bit::A), (PTES[3], 0, AD)];
    fault.updates(&[tables_open(), pages.to_vec()].concat());
}

#[test]
fn ad_5_pages_behind_the_faulting_one_of_a_wide_load_may_be_accessed() {
    let fault = four_pages().clear(PTES[1], bit::P).does(wide(AccessKind::Read));
    fault.faults(code::U, PAGE + 0x1000).not_by(Rule::Ad7);

    let pages = [PTES[0], PTES[2], PTES[3]].map(|at| (at, 0, bit::A));
    fault.updates(&[tables_open(), pages.to_vec()].concat());
    assert_eq!(fault.update_of(PTES[0]).open_by, Rule::Ad2);
    assert_eq!(fault.update_of(PTES[2]).open_by, Rule::Ad5);
}

#[test]
fn canon_2_every_byte_of_a_wide_access_is_tested() {
    // The last of 0x2801 bytes is the first behind the lower half.
    let write = Access::write(VirtAddr::new(0x7fff_ffff_d800), 0x2801, Three);
    four_pages().does(write).raises(Vector::GeneralProtection).by(Rule::Canon2).updates(&[]);
}

#[test]
fn mode_12_wide_accesses_wrap_at_4_gib_without_paging() {
    let machine = TestMachine::in_mode(PagingMode::Unpaged, 0, &[]);
    let read = Access::read(VirtAddr::new(0xffff_e800), 0x2800, Zero);
    let spans = [(0xffff_e800, 0x800), (0xffff_f000, 0x1000), (0, 0x1000)];
    // CANON-2: or it exceeds the segment's limit (SDM "Limit Checking").
    let wraps = machine.does(read);
    wraps.reaches_spans_or_raises(&spans, Vector::GeneralProtection).by(Rule::Canon2);
}

/// CODE-12 with CANON-4, CODE-7 and OUT-1: each of four pages may be reported, with or without its tag,
/// since G of the PML4E is reserved, or for the directory outside memory, which reads as zeros or ones.
#[test]
fn code_12_no_alternative_is_lost_of_a_wide_access_with_a_tag() {
    let tables = TestMachine::with_entries(&[(PML4E, 0x11_107), (PDPTE, 0x70_007)]);
    let mut machine = tables.vendor(Vendor::Unknown);
    machine.state.efer |= Efer::UAIE;
    let tag = 1 << 60;
    let read = Access { address: VirtAddr::new(tag | (PAGE + 0x800)), ..wide(AccessKind::Read) };

    let reserved = code::P | code::U | code::RSVD;
    let mut expected = Vec::new();
    for cr2_tag in [0, tag] {
        for code in [code::U, reserved, reserved] {
            expected
                .extend([0x800, 0x1000, 0x2000, 0x3000].map(|at| (code, cr2_tag | (PAGE + at))));
        }
    }
    machine.does(read).faults_in_one_of(&expected);
}

#[test]
fn sizes_that_no_instruction_has_are_refused() {
    let machine = four_pages();
    let memory = SparseTables::new(&machine.entries);
    let mmu = Mmu::<FourLevel>::new(machine.state, machine.profile);
    let predict = |kind, offset, size| {
        let access = Access::new(kind, VirtAddr::new(PAGE + offset), size, Three);
        mmu.predict(&memory, &access).map(|_| ())
    };
    let too_many = |pages, limit| Err(SizeError::TooManyPages { pages, limit });

    for kind in AccessKind::ALL {
        assert_eq!(predict(kind, 0, 0), Err(SizeError::Empty));
    }
    assert_eq!(predict(AccessKind::Read, 0, 0x4000), Ok(()));
    assert_eq!(predict(AccessKind::Read, 1, 0x4000), too_many(5, MAX_PAGES));
    assert_eq!(predict(AccessKind::Write, 0xfff, u16::MAX), too_many(17, MAX_PAGES));
    assert_eq!(predict(AccessKind::Fetch, 0xfff, 0x1001), Ok(()));
    assert_eq!(predict(AccessKind::Fetch, 0xfff, 0x1002), too_many(3, MAX_FETCH_PAGES));

    let error = predict(AccessKind::Read, 0, 0x4001).unwrap_err();
    assert_eq!(std::format!("{error}"), "the access touches 5 pages; one access touches at most 4");
}

#[test]
fn pages_smaller_than_4_kib_count_as_pages() {
    // Pages of 256 bytes: pages 3, 4 and 5 are in frames 9, 7 and 8.
    let table = [(0x1006, 9 << 1 | 1), (0x1008, 7 << 1 | 1), (0x100a, 8 << 1 | 1)];
    let state = super::state_of(PagingMode::Linear, 0x1000);
    let mmu = Mmu::<Linear<16, 8, 2>>::new(state, Profile::default());
    let predict = |size| {
        let read = Access::read(VirtAddr::new(0x3f0), size, Three);
        mmu.predict(&SparseTables::new(&table), &read)
    };

    let prediction = predict(0x120).unwrap();
    let Outcome::Translated(spans) = &prediction.alternatives[0].outcome else { panic!() };
    let spans: Vec<_> = spans.iter().map(|span| (span.address.get(), span.len)).collect();
    assert_eq!(spans, [(0x9f0, 0x10), (0x700, 0x100), (0x800, 0x10)]);
    let error = predict(0x1000).unwrap_err();
    assert_eq!(error, SizeError::TooManyPages { pages: 17, limit: MAX_PAGES });
}

#[test]
fn the_caching_mmu_makes_wide_accesses_and_refuses_other_sizes() {
    let mut memory = Unshared::new(Bytes::new(PhysAddr::new(0), vec![0; 0x5000]));
    let tables = [(0x1000, 0x2007), (0x2000, 0x3007), (0x3000, 0x4007)];
    let pages = [(0x4000, 0x9007), (0x4008, 0x7007), (0x4010, 0x8007)];
    for (at, entry) in tables.into_iter().chain(pages) {
        memory.write_entry(PhysAddr::new(at), 8, entry).unwrap();
    }
    let state = super::state_of(PagingMode::FourLevel, 0x1000);
    let mut mmu = CachedMmu::<FourLevel>::new(state, Profile::default());

    for _ in ["a miss", "a hit"] {
        let write = Access::write(VirtAddr::new(0x800), 0x2000, Three);
        let translated = mmu.translate(&memory, &write).unwrap();
        let spans: Vec<_> = translated.spans().map(|span| (span.address.get(), span.len)).collect();
        assert_eq!(spans, [(0x9800, 0x800), (0x7000, 0x1000), (0x8000, 0x800)]);
    }

    let empty = Access::read(VirtAddr::new(0), 0, Three);
    let refused = mmu.translate(&memory, &empty);
    assert_eq!(refused, Err(AccessError::Size(SizeError::Empty)));
}
