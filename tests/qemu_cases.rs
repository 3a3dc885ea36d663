//! Single cases in every paging mode on QEMU's TCG (`single`): which bytes an access reaches, and
//! what it leaves in the tables. What QEMU itself does wrong (vmm/known/tcg.toml) is left out.

mod common;
mod single;

use common::require_qemu;
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::contents;
use crosswalk_guest::high;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Machine;
use crosswalk_machine::qemu::QemuMachine;
use mmu_core::{Cr4, PagingMode, Ring, Segment, VirtAddr};
use single::{
    A, D, LANE, P, PAGED, PS, RINGS, RW, US, after, assert_completed, assert_page_fault,
    entry_bytes, fault_of, fetch, held, is_long_mode, leaf, observe, open_qemu, places, plain_in,
    user, widest, without_pdptes,
};

/// A plain case of a mode in the first arena.
fn plain(machine: &QemuMachine, mode: PagingMode, ring: Ring, form: Form, offset: u64) -> Case {
    plain_in(mode, machine.capabilities().profile, Arena::ALL[0], ring, form, offset)
}

/// CLFLUSH is nothing to QEMU (T8).
#[test]
fn every_form_size_ring_and_segment_reaches_its_bytes() {
    require_qemu!();
    let mut machine = open_qemu();
    let profile = machine.capabilities().profile;
    let forms =
        [Form::Load, Form::Store, Form::Exchange, Form::LockedExchange, Form::FailingCompare];
    for mode in PagingMode::ALL {
        for (ring, form) in RINGS.into_iter().flat_map(|ring| forms.map(|form| (ring, form))) {
            for size in [1, 2, 4, 8].into_iter().filter(|size| *size <= widest(mode)) {
                for segment in [Segment::Data, Segment::Stack] {
                    // Both arenas, so that neither is a copy of the other.
                    let arena = Arena::ALL[usize::from(segment == Segment::Stack)];
                    let mut case = plain_in(mode, profile, arena, ring, form, 0x10b);
                    (case.access.size, case.access.segment) = (size, segment);
                    let seen = observe(&mut machine, &case);
                    let reached = places(arena.data_frames(LANE) + 0x10b, size);
                    assert_completed(&case, &seen, &reached, 1);
                }
            }
        }
    }
}

/// The code at offset 0x800 and its like starts with `mov ecx, imm32`, 64-bit and 32-bit.
#[test]
fn a_fetch_runs_the_code_of_its_frame() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PagingMode::ALL {
        for (ring, offset) in RINGS.into_iter().zip([0x800, 0x9f8]) {
            let case = plain(&machine, mode, ring, Form::Jump, offset);
            let seen = observe(&mut machine, &case);
            let code = Arena::ALL[0].data_frames(LANE) + offset;
            assert_eq!(contents::byte(code), 0xb9, "mov ecx");
            assert_eq!(seen.fault, None, "{case}");
            assert_eq!(seen.value, held(&places(code + 1, 4)), "{case}");
            let entries = without_pdptes(&case, seen.entries);
            assert_eq!(entries, without_pdptes(&case, after(&case, 1)), "{case}");
        }
    }
}

/// Two pages whose frames lie the other way round.
#[test]
fn an_access_across_pages_takes_each_part_from_its_own_frame() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PAGED {
        for (ring, form) in RINGS.into_iter().flat_map(|ring| {
            [Form::Load, Form::Store, Form::Exchange, Form::LockedExchange].map(|form| (ring, form))
        }) {
            let mut case = plain(&machine, mode, ring, form, 0xffd);
            let frames = Arena::ALL[0].data_frames(LANE);
            *leaf(&mut case) = (frames + 0x1000) | P | RW | US;
            let at = case.entries.last().expect("a leaf").at + entry_bytes(mode);
            case.entries.push(TableEntry { at, value: frames | P | RW | US });
            let seen = observe(&mut machine, &case);
            let mut reached = places(frames + 0x1ffd, 3);
            reached.extend(places(frames, widest(mode) - 3));
            assert_completed(&case, &seen, &reached, 2);
        }
    }
}

#[test]
fn an_absent_entry_at_any_level_faults_with_the_address() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PAGED {
        for ring in RINGS {
            for (form, code) in [(Form::Load, 0), (Form::Store, 2), (Form::Jump, fetch(mode))] {
                let levels = plain(&machine, mode, ring, form, 0x808).entries.len();
                for level in 0..levels {
                    let mut case = plain(&machine, mode, ring, form, 0x808);
                    case.entries[level].value &= !P;
                    if mode == PagingMode::Pae && level == 0 {
                        case.state.pdptes[2] &= !P;
                    }
                    assert_page_fault(&mut machine, &case, code | user(ring));
                    let seen = observe(&mut machine, &case);
                    assert_eq!(seen.stored, []);
                    for entry in &seen.entries[level..] {
                        assert_eq!(entry.after, entry.before, "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_fault_on_the_second_page_names_its_first_byte() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, ring) in PAGED.into_iter().flat_map(|mode| RINGS.map(|ring| (mode, ring))) {
        // The second page's entry is not listed, so it is 0.
        let case = plain(&machine, mode, ring, Form::Load, 0xffe);
        let fault = fault_of(&mut machine, &case);
        assert_eq!((fault.vector, fault.error_code), (14, user(ring)), "{case}");
        assert_eq!(fault.cr2, case.access.address.get() + 2, "{case}");
    }
}

/// Entries on both sides that hold anything but an entry in use.
#[test]
fn entries_leave_their_neighbours_alone() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PAGED {
        let bytes = entry_bytes(mode);
        // All ones in all bytes of an entry but P.
        let noise = u64::MAX >> (64 - 8 * bytes) & !P;
        let mut case = plain(&machine, mode, Ring::Three, Form::Store, 0x108);
        let path = case.entries.clone();
        let own = usize::from(mode == PagingMode::Pae);
        for entry in &path[own..] {
            for at in [entry.at - bytes, entry.at + bytes] {
                case.entries.push(TableEntry { at, value: noise });
            }
        }
        let seen = observe(&mut machine, &case);
        assert_eq!(seen.fault, None, "{case}");
        let depth = path.len();
        for (index, entry) in seen.entries.iter().enumerate().skip(own) {
            let set = match index {
                _ if index >= depth => 0,
                _ if index == depth - 1 => A | D,
                _ => A,
            };
            assert_eq!(entry.after, entry.before | set, "{index}: {case}");
        }
        assert_eq!(seen.entries.len(), depth + 2 * (depth - own), "nothing else changed: {case}");
    }
}

/// Where an entry at a depth maps a page: that depth, and the bits of the offset.
const LARGE: [(PagingMode, usize, u32); 6] = [
    (PagingMode::Bits32, 0, 22),
    (PagingMode::Pae, 1, 21),
    (PagingMode::FourLevel, 2, 21),
    (PagingMode::FourLevel, 1, 30),
    (PagingMode::FiveLevel, 3, 21),
    (PagingMode::FiveLevel, 2, 30),
];

/// Pages of every size, in memory below 4 GiB and where it appears again. In 32-bit paging bits 20:13
/// of a PDE are address bits 39:32 (SDM "32-Bit Paging", PSE-36).
#[test]
fn large_pages_reach_low_and_high_memory() {
    require_qemu!();
    let mut machine = open_qemu();
    let bits = machine.capabilities().profile.physical_address_bits;
    let frame = Arena::ALL[0].data_frames(LANE);
    let high = high::places(bits).map(|place| high::appears_at(place, frame));
    let pages: Vec<u64> = [frame].into_iter().chain(high).collect();
    assert_eq!(pages.len(), 3, "40 bits have two high places");
    for (mode, depth, shift) in LARGE {
        for (ring, page) in
            RINGS.into_iter().flat_map(|ring| pages.iter().map(move |page| (ring, *page)))
        {
            for form in [Form::Load, Form::Store, Form::LockedExchange] {
                let mut case = plain(&machine, mode, ring, form, 0);
                let within = (1 << shift) - 1;
                let base = page & !within;
                let field = match mode {
                    PagingMode::Bits32 => base & 0xffff_ffff | base >> 32 << 13,
                    _ => base,
                };
                case.entries.truncate(depth + 1);
                *leaf(&mut case) = field | PS | P | RW | US;
                case.state.cr4.set(Cr4::PSE, mode == PagingMode::Bits32);
                let address = case.access.address.get() & !within | page & within | 0x10b;
                case.access.address = VirtAddr::new(address);
                let seen = observe(&mut machine, &case);
                assert_completed(&case, &seen, &places(page + 0x10b, widest(mode)), 1);
            }
        }
    }
}

/// Pages of 4 KiB reach high memory wherever an entry has 8 bytes.
#[test]
fn small_pages_reach_high_memory() {
    require_qemu!();
    let mut machine = open_qemu();
    let bits = machine.capabilities().profile.physical_address_bits;
    let frame = Arena::ALL[0].data_frames(LANE);
    for mode in [PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel] {
        for place in high::places(bits) {
            let page = high::appears_at(place, frame);
            for form in [Form::Load, Form::Store] {
                let mut case = plain(&machine, mode, Ring::Three, form, 0x108);
                *leaf(&mut case) = page | P | RW | US;
                let seen = observe(&mut machine, &case);
                assert_completed(&case, &seen, &places(page + 0x108, widest(mode)), 1);
            }
        }
    }
}

/// MODE-4: PS of a PDE means nothing while CR4.PSE is 0.
#[test]
fn page_size_is_ignored_without_pse() {
    require_qemu!();
    let mut machine = open_qemu();
    let mut case = plain(&machine, PagingMode::Bits32, Ring::Three, Form::Store, 0x108);
    case.entries[0].value |= PS;
    let seen = observe(&mut machine, &case);
    assert_completed(&case, &seen, &places(Arena::ALL[0].data_frames(LANE) + 0x108, 4), 1);
}

/// MODE-8: what of CR3 is the root's address, and what is not. In PAE paging the root has 32 bytes.
#[test]
fn the_low_bits_of_cr3_are_base_or_nothing() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, low, moved) in [
        (PagingMode::Bits32, 0xfff, 0),
        (PagingMode::Pae, 0x3ff, 0x3e0),
        (PagingMode::FourLevel, 0x18, 0),
        (PagingMode::FiveLevel, 0x18, 0),
    ] {
        let mut case = plain(&machine, mode, Ring::Three, Form::Load, 0x108);
        case.state.cr3 |= low;
        case.entries[0].at += moved;
        let seen = observe(&mut machine, &case);
        let reached = places(Arena::ALL[0].data_frames(LANE) + 0x108, widest(mode));
        assert_completed(&case, &seen, &reached, 1);
    }
}

/// Loaded as one thing, then edited to another: a processor that walks PDPTEs sees the edit
/// (PDPTE-4), and QEMU does.
#[test]
fn an_edited_pdpte_is_the_one_that_is_walked() {
    require_qemu!();
    let mut machine = open_qemu();
    assert_eq!(machine.capabilities().profile.pins.pdptes_are_walked, Some(true));
    for ring in RINGS {
        let mut case = plain(&machine, PagingMode::Pae, ring, Form::Load, 0x108);
        let good = case.entries[0].value;
        assert_eq!(case.state.pdptes[2], good, "plain cases go through PDPTE 2");
        case.entries[0].value = 0;
        assert_page_fault(&mut machine, &case, user(ring));

        // The table of PDPTE 3 has nothing in the slot.
        case.entries[0].value = case.state.pdptes[3];
        assert_page_fault(&mut machine, &case, user(ring));

        (case.entries[0].value, case.state.pdptes[2]) = (good, 0);
        let seen = observe(&mut machine, &case);
        assert_completed(&case, &seen, &places(Arena::ALL[0].data_frames(LANE) + 0x108, 4), 1);
    }
}

/// Addresses whose upper bits only 5-level paging translates, in both halves.
#[test]
fn the_fifth_level_translates_bits_48_to_56() {
    require_qemu!();
    let mut machine = open_qemu();
    let reached = places(Arena::ALL[0].data_frames(LANE) + 0x108, 8);
    for (slot, above) in [(1, 0), (255, 0), (256, 0x7f << 57), (511, 0x7f << 57)] {
        for ring in RINGS {
            let mut case = plain(&machine, PagingMode::FiveLevel, ring, Form::Store, 0x108);
            case.entries[0].at = Arena::ALL[0].table(0) + 8 * slot;
            let low = case.access.address.get() & 0xffff_ffff_ffff;
            case.access.address = VirtAddr::new(above | slot << 48 | low);
            let seen = observe(&mut machine, &case);
            assert_completed(&case, &seen, &reached, 1);
        }
    }
}

/// CANON-1. Bit 56 must be repeated above it with five levels, bit 47 with four. References through
/// SS are #GP, too (T3).
#[test]
fn a_bad_address_is_no_page_fault_and_leaves_cr2() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, bits) in
        [(PagingMode::FourLevel, [47, 48, 55, 63]), (PagingMode::FiveLevel, [56, 57, 58, 63])]
    {
        for (ring, bit) in RINGS.into_iter().flat_map(|ring| bits.map(|bit| (ring, bit))) {
            let mut case = plain(&machine, mode, ring, Form::Load, 0x108);
            case.access.address = VirtAddr::new(case.access.address.get() ^ 1 << bit);
            let seen = observe(&mut machine, &case);
            let fault = seen.fault.unwrap_or_else(|| panic!("no fault: {case}"));
            assert_eq!((fault.vector, fault.error_code), (13, 0), "{case}");
            assert_eq!(fault.cr2, fault.cr2_before, "{case}");
            assert!(seen.entries.iter().all(|entry| entry.after == entry.before), "{case}");
        }
    }
}

/// Outside long mode addresses have 32 bits and are all good.
#[test]
fn linear_addresses_of_32_bits_use_all_of_them() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in [PagingMode::Bits32, PagingMode::Pae] {
        assert!(!is_long_mode(mode));
        let mut case = plain(&machine, mode, Ring::Three, Form::Load, 0x108);
        let low = case.access.address.get() & 0x3fff_ffff;
        let root = case.entries[0].at & !0xfff;
        // The last quarter of the addresses: PDEs from 768 on, or PDPTE 3 with a table of its own.
        if mode == PagingMode::Bits32 {
            case.entries[0].at = root + 4 * (768 + (low >> 22));
        } else {
            case.entries[0] = TableEntry { at: root + 24, value: case.state.pdptes[3] };
            case.entries[1].at = (case.state.pdptes[3] & !0xfff) + 8 * (low >> 21);
        }
        case.access.address = VirtAddr::new(low | 3 << 30);
        let seen = observe(&mut machine, &case);
        assert_completed(&case, &seen, &places(Arena::ALL[0].data_frames(LANE) + 0x108, 4), 1);
    }
}
