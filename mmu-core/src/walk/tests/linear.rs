//! The flat table of textbooks, `frame = table[page]`, with several address widths, page sizes and
//! entry sizes.

use super::{CheckedPrediction, Rule, SparseTables, access, code, state_of};
use crate::access::AccessKind::{Fetch, Read, Write};
use crate::access::Ring::{Three, Zero};
use crate::access::{Access, AccessKind};
use crate::address::VirtAddr;
use crate::walk::Mmu;
use crate::x86::format::{Format, Linear};
use crate::x86::profile::Profile;
use crate::x86::state::{Cr4, PagingMode};

/// The prediction for an access with the table at `0x10_0000`, which has these entries.
fn does<F: Format>(entries: &[(u64, u64)], access: &Access) -> CheckedPrediction {
    let state = state_of(PagingMode::Linear, 0x10_0000);
    let mmu = Mmu::<F>::new(state, Profile::default());
    CheckedPrediction(mmu.predict(&SparseTables::new(entries), access).unwrap())
}

#[test]
fn linear_32_bits_with_4_kib_pages_and_4_byte_entries() {
    // Page 0x12345 has its entry at offset 4 * 0x12345, and is in frame 0x77.
    let table = [(0x14_8d14, 0x77 << 1 | 1), (0x14_8d18, 0)];
    let read = does::<Linear<32, 12, 4>>(&table, &access(Read, 0x1234_5678, Three));
    read.reaches(0x7_7678).updates(&[]);

    // The next page is absent. Bits above 31 are ignored.
    let at = 0x1234_6000;
    does::<Linear<32, 12, 4>>(&table, &access(Read, at, Three)).faults(code::U, at);
    does::<Linear<32, 12, 4>>(&table, &access(Write, at, Zero)).faults(code::W, at);

    let read = does::<Linear<32, 12, 4>>(&table, &access(Read, 0x7_1234_5678, Zero));
    read.reaches(0x7_7678).not_by(Rule::Canon1);
}

#[test]
fn linear_64_bits_with_4_kib_pages_and_8_byte_entries() {
    // The last page, 2^52 - 1, has its entry at offset 2^55 - 8.
    let table = [(0x0080_0000_000f_fff8, 0xf_ffff_ffff << 1 | 1)];
    let read = does::<Linear<64, 12, 8>>(&table, &access(Read, 0xffff_ffff_ffff_f008, Zero));
    read.reaches(0xffff_ffff_f008);

    // Every address is translated: a page in the middle is in frame 2.
    let table = [(0x0040_0000_0010_0000, 2 << 1 | 1)];
    let read = does::<Linear<64, 12, 8>>(&table, &access(Read, 1 << 63, Zero));
    read.reaches(0x2000).not_by(Rule::Canon1);
}

#[test]
fn linear_20_bits_with_1_byte_entries() {
    // 256 pages: page 0xab is in frame 5; the highest frame is 127.
    let table = [(0x10_00ab, 5 << 1 | 1), (0x10_00ac, 0xff)];
    does::<Linear<20, 12, 1>>(&table, &access(Read, 0xa_b123, Zero)).reaches(0x5123);
    does::<Linear<20, 12, 1>>(&table, &access(Read, 0x7a_b123, Zero)).reaches(0x5123);
    does::<Linear<20, 12, 1>>(&table, &access(Read, 0xa_c123, Zero)).reaches(0x7_f123);
    does::<Linear<20, 12, 1>>(&table, &access(Read, 0xa_d123, Zero)).faults(0, 0xa_d123);
}

#[test]
fn linear_pages_of_one_byte() {
    // 2^32 entries of 4 bytes: byte 0x123 has its entry at offset 4 * 0x123, and is at 0x9999.
    let table = [(0x10_048c, 0x9999 << 1 | 1)];
    let read = Access::read(VirtAddr::new(0x123), 1, Three);
    does::<Linear<32, 0, 4>>(&table, &read).reaches_spans(&[(0x9999, 1)]);

    let next = Access::read(VirtAddr::new(0x124), 1, Three);
    does::<Linear<32, 0, 4>>(&table, &next).faults(code::U, 0x124);
}

#[test]
fn linear_large_pages() {
    // 64 KiB pages: page 3 is in frame 9.
    let table = [(0x10_0018, 9 << 1 | 1)];
    let read = does::<Linear<32, 16, 8>>(&table, &access(Read, 0x3_fff8, Zero));
    read.reaches(0x9_fff8);

    let read = does::<Linear<32, 16, 8>>(&table, &access(Read, 0x3_8ffc, Zero));
    read.reaches_spans(&[(0x9_8ffc, 4), (0x9_9000, 4)]);
}

#[test]
fn linear_an_access_touches_two_small_pages() {
    // 256-byte pages: page 3 is in frame 5, page 4 in frame 8.
    let table = [(0x10_0006, 5 << 1 | 1), (0x10_0008, 8 << 1 | 1)];
    let read = does::<Linear<16, 8, 2>>(&table, &access(Read, 0x3fc, Three));
    read.reaches_spans(&[(0x5fc, 4), (0x800, 4)]);

    let read = does::<Linear<16, 8, 2>>(&table, &access(Read, 0x2fc, Three));
    read.faults(code::U, 0x2fc);

    let read = does::<Linear<16, 8, 2>>(&table, &access(Read, 0x4fc, Three));
    read.faults(code::U, 0x500).by(Rule::Code12);
    does::<Linear<16, 8, 2>>(&table, &access(Read, 0x3f8, Three)).reaches(0x5f8);
}

#[test]
fn linear_addresses_wrap_at_the_end_of_the_space() {
    let table = [(0x10_0000, 1 << 1 | 1), (0x10_01fe, 2 << 1 | 1)];
    let read = does::<Linear<16, 8, 2>>(&table, &access(Read, 0xfffd, Three));
    read.reaches_spans(&[(0x2fd, 3), (0x100, 5)]);
}

#[test]
fn linear_tables_have_no_rights() {
    // Nothing in CR0 and CR4 denies an access to a page that is present.
    let mut state = state_of(PagingMode::Linear, 0x10_0000);
    state.cr4 |= Cr4::SMEP | Cr4::SMAP | Cr4::PKE | Cr4::PKS;
    state.pkru = !0;
    state.pkrs = !0;
    let mmu = Mmu::<Linear<32, 12, 4>>::new(state, Profile::default());
    let table = [(0x10_0004, 7 << 1 | 1)];

    for kind in [Read, Write, Fetch, AccessKind::ReadModifyWrite, AccessKind::Clflush] {
        for ring in [Zero, Three] {
            let any = mmu.predict(&SparseTables::new(&table), &access(kind, 0x1234, ring)).unwrap();
            CheckedPrediction(any).reaches(0x7234).updates(&[]);
        }
    }
}
