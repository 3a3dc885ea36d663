//! Single cases in every paging mode on QEMU's TCG (`single`): which bytes an access reaches, and
//! which entries it changes. QEMU's own faults (vmm/known/tcg.toml) are left out.

use crosswalk_case::observation::Attempt;
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::contents;
use crosswalk_guest::high;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Machine;
use crosswalk_machine::batch::{Batch, Encoded};
use crosswalk_machine::qemu::QemuMachine;
use crosswalk_test_support as support;
use mmu_core::{Cr4, PagingMode, Ring, VirtAddr};
use support::require_qemu;
use support::single::{
    A, D, LANE, P, PAGED, PS, RW, US, assert_completed, assert_every_variant_completes,
    assert_page_fault, entries_after, entry_bytes, fault_of, fetch_bit, leaf, memory_at, observe,
    open_qemu, places, plain_in, user_bit, widest, without_pdptes,
};

/// A plain case of a mode in the first arena.
fn plain(machine: &QemuMachine, mode: PagingMode, ring: Ring, form: Form, offset: u64) -> Case {
    plain_in(mode, machine.capabilities().profile, Arena::ALL[0], ring, form, offset)
}

/// The data frame of plain cases in the first arena.
fn plain_frame() -> u64 {
    Arena::ALL[0].data_frames(LANE)
}

/// Every mode that has tables, with each ring.
fn paged_modes_and_rings() -> impl Iterator<Item = (PagingMode, Ring)> {
    PAGED.into_iter().flat_map(|mode| Ring::ALL.map(|ring| (mode, ring)))
}

/// The guest finds the next batch when it has run one, and the host may be late to look at either.
#[test]
fn a_batch_that_is_started_behind_another_runs() {
    require_qemu!();
    let mut machine = open_qemu();
    assert_eq!(machine.batches_ahead(), 1);
    let memory = machine.memory().clone();
    let profile = machine.capabilities().profile;

    let batches = Arena::ALL.map(|arena| {
        let (mode, ring) = (PagingMode::FourLevel, Ring::Three);
        let case = plain_in(mode, profile, arena, ring, Form::Load, 0x10);
        Encoded::new(Batch { arena, cases: vec![case] }, machine.image(), machine.capabilities())
    });
    for encoded in &batches {
        machine.start(encoded.write(&memory));
    }
    for encoded in batches {
        let log = machine.finish().expect("the guest survives");
        let attempts =
            encoded.read_back(&log, &memory, machine.provenance()).expect("good records");
        let [Attempt::Observed(seen)] = &attempts[..] else { panic!("{attempts:?}") };
        let [case] = &encoded.batch.cases[..] else { panic!("one case") };
        let first = encoded.batch.arena.data_frames(LANE) + 0x10;
        assert_completed(case, seen, &places(first, case.access.size), 1);
    }
}

/// Without CLFLUSH, which QEMU ignores (T8).
#[test]
fn every_form_size_ring_and_segment_reaches_its_bytes() {
    require_qemu!();
    let mut machine = open_qemu();
    let forms =
        [Form::Load, Form::Store, Form::Exchange, Form::LockedExchange, Form::FailingCompare];
    for mode in PagingMode::ALL {
        assert_every_variant_completes(&mut machine, mode, &forms);
    }
}

/// The code of each stub, at offset 0x800 and after, starts with `mov ecx, imm32`, 64-bit and 32-bit.
#[test]
fn a_fetch_runs_the_code_of_its_frame() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PagingMode::ALL {
        for (ring, offset) in Ring::ALL.into_iter().zip([0x800, 0x9f8]) {
            let case = plain(&machine, mode, ring, Form::Jump, offset);
            let seen = observe(&mut machine, &case);

            let code = plain_frame() + offset;
            assert_eq!(contents::byte(code), 0xb9, "mov ecx");
            assert_eq!(seen.fault, None, "{case}");
            assert_eq!(seen.value, memory_at(&places(code + 1, 4)), "{case}");
            let entries = without_pdptes(&case, seen.entries);
            assert_eq!(entries, without_pdptes(&case, entries_after(&case, 1)), "{case}");
        }
    }
}

/// Two consecutive pages whose frames are in the opposite order.
#[test]
fn an_access_across_pages_takes_each_part_from_its_own_frame() {
    require_qemu!();
    let mut machine = open_qemu();
    let frames = plain_frame();
    for (mode, ring) in paged_modes_and_rings() {
        for form in [Form::Load, Form::Store, Form::Exchange, Form::LockedExchange] {
            let mut case = plain(&machine, mode, ring, form, 0xffd);
            *leaf(&mut case) = (frames + 0x1000) | P | RW | US;
            let next = case.entries.last().expect("a leaf").at + entry_bytes(mode);
            case.entries.push(TableEntry { at: next, value: frames | P | RW | US });

            let seen = observe(&mut machine, &case);
            let reached = [places(frames + 0x1ffd, 3), places(frames, widest(mode) - 3)].concat();
            assert_completed(&case, &seen, &reached, 2);
        }
    }
}

#[test]
fn an_absent_entry_at_any_level_faults_with_the_address() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, ring) in paged_modes_and_rings() {
        for (form, code) in [(Form::Load, 0), (Form::Store, 2), (Form::Jump, fetch_bit(mode))] {
            let levels = plain(&machine, mode, ring, form, 0x808).entries.len();
            for level in 0..levels {
                let mut case = plain(&machine, mode, ring, form, 0x808);
                case.entries[level].value &= !P;
                if mode == PagingMode::Pae && level == 0 {
                    case.state.pdptes[2] &= !P;
                }

                assert_page_fault(&mut machine, &case, code | user_bit(ring));
                let seen = observe(&mut machine, &case);
                assert_eq!(seen.stored, []);
                for entry in &seen.entries[level..] {
                    assert_eq!(entry.after, entry.before, "{case}");
                }
            }
        }
    }
}

#[test]
fn a_fault_on_the_second_page_reports_that_page_s_first_byte() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, ring) in paged_modes_and_rings() {
        // The second page's entry is not listed, so it is 0.
        let case = plain(&machine, mode, ring, Form::Load, 0xffe);
        let fault = fault_of(&mut machine, &case);
        assert_eq!((fault.vector, fault.error_code), (14, user_bit(ring)), "{case}");
        assert_eq!(fault.cr2, case.access.address.get() + 2, "{case}");
    }
}

/// The entries on both sides of the used ones have every bit set but P.
#[test]
fn neighbouring_entries_do_not_change() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PAGED {
        let bytes = entry_bytes(mode);
        let noise = u64::MAX >> (64 - 8 * bytes) & !P;
        let mut case = plain(&machine, mode, Ring::Three, Form::Store, 0x108);
        let path = case.entries.clone();
        // PAE's PDPTEs have no A and D, and only valid neighbours.
        let first = usize::from(mode == PagingMode::Pae);
        for entry in &path[first..] {
            for at in [entry.at - bytes, entry.at + bytes] {
                case.entries.push(TableEntry { at, value: noise });
            }
        }

        let seen = observe(&mut machine, &case);
        assert_eq!(seen.fault, None, "{case}");
        let depth = path.len();
        for (index, entry) in seen.entries.iter().enumerate().skip(first) {
            let set = match index {
                _ if index >= depth => 0,
                _ if index == depth - 1 => A | D,
                _ => A,
            };
            assert_eq!(entry.after, entry.before | set, "{index}: {case}");
        }
        let listed = depth + 2 * (depth - first);
        assert_eq!(seen.entries.len(), listed, "another entry changed: {case}");
    }
}

/// Where an entry can map a large page: the index in the path, root first, and the offset's bits.
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
    let high = high::places(bits).map(|place| high::appears_at(place, plain_frame()));
    let pages: Vec<u64> = [plain_frame()].into_iter().chain(high).collect();
    assert_eq!(pages.len(), 3, "a processor with 40 address bits has two high places");

    for (mode, depth, shift) in LARGE {
        let within = (1 << shift) - 1;
        for page in &pages {
            let base = page & !within;
            let field = match mode {
                PagingMode::Bits32 => base & 0xffff_ffff | base >> 32 << 13,
                _ => base,
            };
            for ring in Ring::ALL {
                for form in [Form::Load, Form::Store, Form::LockedExchange] {
                    let mut case = plain(&machine, mode, ring, form, 0);
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
}

/// Pages of 4 KiB reach high memory in every mode with 8-byte entries.
#[test]
fn small_pages_reach_high_memory() {
    require_qemu!();
    let mut machine = open_qemu();
    let bits = machine.capabilities().profile.physical_address_bits;
    for mode in [PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel] {
        for place in high::places(bits) {
            let page = high::appears_at(place, plain_frame());
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
    assert_completed(&case, &seen, &places(plain_frame() + 0x108, 4), 1);
}

/// MODE-8: which bits of CR3 are the root's address. In PAE paging the root table has 32 bytes.
#[test]
fn the_low_bits_of_cr3_are_part_of_the_base_in_pae_paging_only() {
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
        assert_completed(&case, &seen, &places(plain_frame() + 0x108, widest(mode)), 1);
    }
}

/// A PDPTE is loaded, then edited in memory: a processor that reads PDPTEs during the walk uses the
/// edited one (PDPTE-4), and QEMU does so.
#[test]
fn an_edited_pdpte_is_used_by_the_next_walk() {
    require_qemu!();
    let mut machine = open_qemu();
    assert_eq!(machine.capabilities().profile.pins.pdptes_are_walked, Some(true));
    for ring in Ring::ALL {
        let mut case = plain(&machine, PagingMode::Pae, ring, Form::Load, 0x108);
        let good = case.entries[0].value;
        assert_eq!(case.state.pdptes[2], good, "plain cases use PDPTE 2");
        case.entries[0].value = 0;
        assert_page_fault(&mut machine, &case, user_bit(ring));

        // The table of PDPTE 3 has nothing in the slot.
        case.entries[0].value = case.state.pdptes[3];
        assert_page_fault(&mut machine, &case, user_bit(ring));

        case.entries[0].value = good;
        case.state.pdptes[2] = 0;
        let seen = observe(&mut machine, &case);
        assert_completed(&case, &seen, &places(plain_frame() + 0x108, 4), 1);
    }
}

/// Addresses in both halves whose upper bits only 5-level paging translates.
#[test]
fn the_fifth_level_translates_bits_48_to_56() {
    require_qemu!();
    let mut machine = open_qemu();
    let reached = places(plain_frame() + 0x108, 8);
    for (slot, above) in [(1, 0), (255, 0), (256, 0x7f << 57), (511, 0x7f << 57)] {
        for ring in Ring::ALL {
            let mut case = plain(&machine, PagingMode::FiveLevel, ring, Form::Store, 0x108);
            case.entries[0].at = Arena::ALL[0].table(0) + 8 * slot;
            let low = case.access.address.get() & 0xffff_ffff_ffff;
            case.access.address = VirtAddr::new(above | slot << 48 | low);
            let seen = observe(&mut machine, &case);
            assert_completed(&case, &seen, &reached, 1);
        }
    }
}

/// CANON-1: the bits above bit 56 must equal it with five levels, those above bit 47 with four.
/// Accesses through SS cause #GP, too (T3).
#[test]
fn a_non_canonical_address_is_not_a_page_fault_and_leaves_cr2() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, bits) in
        [(PagingMode::FourLevel, [47, 48, 55, 63]), (PagingMode::FiveLevel, [56, 57, 58, 63])]
    {
        for (ring, bit) in Ring::ALL.into_iter().flat_map(|ring| bits.map(|bit| (ring, bit))) {
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

/// Outside long mode addresses have 32 bits and are all canonical.
#[test]
fn linear_addresses_of_32_bits_use_all_of_them() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in [PagingMode::Bits32, PagingMode::Pae] {
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
        assert_completed(&case, &seen, &places(plain_frame() + 0x108, 4), 1);
    }
}
