//! The iterator over present entries: order, rights, holes, large pages, and tables that are not there.

use super::bit::{P, PS, RW, US, XD};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{Bytes, OutsideMemory, SparseTables};
use crate::walk::{EntryMeaning, Mmu, PresentEntry, UnreadableEntries};
use crate::x86::format::{Bits32, FourLevel, Pae};
use crate::x86::profile::Profile;
use crate::x86::semantics::Rights;
use crate::x86::state::ControlState;
use std::vec::Vec;

type Found = Vec<Result<PresentEntry, UnreadableEntries>>;

const WHOLE: (VirtAddr, VirtAddr) = (VirtAddr::new(0), VirtAddr::new(u64::MAX));

fn four_level(entries: &[(u64, u64)]) -> Found {
    let mmu = Mmu::<FourLevel>::new(ControlState::four_level(0x1000), Profile::default());
    mmu.present_entries(&SparseTables::new(entries), WHOLE.0, WHOLE.1).collect()
}

/// The first address of each page, its physical address, its level and its rights.
fn pages(found: &Found) -> Vec<(u64, u64, u8, Rights)> {
    let page = |found: &Result<PresentEntry, _>| match found.unwrap() {
        PresentEntry { first, level, rights, meaning: EntryMeaning::Page(address), .. } => {
            Some((first.get(), address.get(), level.number, rights))
        }
        _ => None,
    };
    found.iter().filter_map(page).collect()
}

#[test]
fn pages_come_in_the_order_of_addresses_with_the_rights_of_the_path() {
    let memory = vec![0; 0x6000];
    let mut memory = Bytes::new(PhysAddr::new(0), memory);
    for (at, entry) in [
        (0x1000, 0x2000 | P | RW | US),      // PML4E 0
        (0x1ff8, 0x2000 | P | XD),           // PML4E 511, which takes all rights but reading away
        (0x2008, 0x3000 | P | RW | US),      // PDPTE 1
        (0x2010, 0x4000_0000 | P | RW | PS), // PDPTE 2: a page of 1 GiB
        (0x3018, 0x4000 | P | US | RW),      // PDE 3
        (0x4020, 0x5000 | P | US | RW),      // PTE 4
        (0x4028, 0x6000 | P | US | XD),      // PTE 5
    ] {
        use crate::memory::TableMemoryMut;
        memory.write_entry(PhysAddr::new(at), 8, entry).unwrap();
    }
    let mmu = Mmu::<FourLevel>::new(ControlState::four_level(0x1000), Profile::default());
    let found: Found = mmu.present_entries(&memory, WHOLE.0, WHOLE.1).collect();

    let (write, user, execute) = (Rights::WRITE, Rights::USER, Rights::EXECUTE);
    assert_eq!(
        pages(&found),
        [
            (0x4060_4000, 0x5000, 1, write | user | execute),
            (0x4060_5000, 0x6000, 1, user),
            (0x8000_0000, 0x4000_0000, 3, write | execute),
            (0xffff_ff80_4060_4000, 0x5000, 1, Rights::empty()),
            (0xffff_ff80_4060_5000, 0x6000, 1, Rights::empty()),
            (0xffff_ff80_8000_0000, 0x4000_0000, 3, Rights::empty()),
        ]
    );
    let names = found.iter().map(|found| found.unwrap().level.entry_name);
    let once = ["PML4E", "PDPTE", "PDE", "PTE", "PTE", "PDPTE"];
    assert!(names.eq([once, once].concat()));

    let last = found[1].unwrap();
    assert_eq!((last.first.get(), last.last.get()), (0x4000_0000, 0x7fff_ffff));
    assert_eq!((last.at, last.entry), (PhysAddr::new(0x2008), 0x3007));
}

#[test]
fn a_range_leaves_out_what_lies_beside_it() {
    let entries = [(0, 0x1007), (0x1000, 0x5007), (0x1004, 0x6007), (0x1008, 0x7007)];
    let mmu = Mmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
    let pages_in = |first, last| {
        let tables = SparseTables::new(&entries);
        let range = mmu.present_entries(&tables, VirtAddr::new(first), VirtAddr::new(last));
        pages(&range.collect()).into_iter().map(|page| page.0).collect::<Vec<_>>()
    };
    assert_eq!(pages_in(0x1fff, 0x2000), [0x1000, 0x2000]);
    assert_eq!(pages_in(0x1000, 0x1000), [0x1000]);
    assert_eq!(pages_in(0x2000, 0x1000), [0; 0]);
}

#[test]
fn a_skipped_table_is_not_read() {
    // The root maps itself with entry 0: as PDPT, directory, table and page.
    let entries = [(0x1000, 0x1000 | P | RW)];
    let tables = SparseTables::new(&entries);
    let mmu = Mmu::<FourLevel>::new(ControlState::four_level(0x1000), Profile::default());
    let mut present = mmu.present_entries(&tables, WHOLE.0, WHOLE.1);

    assert_eq!(
        present.next().unwrap().unwrap().meaning,
        EntryMeaning::Table(PhysAddr::new(0x1000))
    );
    present.skip_table();
    assert_eq!(present.next(), None);

    let found = four_level(&entries);
    assert_eq!(pages(&found), [(0, 0x1000, 1, Rights::WRITE | Rights::EXECUTE)]);
}

#[test]
fn only_what_points_to_a_table_of_the_format_has_entries_below() {
    let tables = SparseTables::new(&[(0x1000, 0x2000 | P | RW), (0x2000, 0x83)]);
    let four = Mmu::<FourLevel>::new(ControlState::four_level(0x1000), Profile::default());
    let bits32 = Mmu::<Bits32>::new(ControlState::bits32(0x1000), Profile::default());
    let found: Found = four.present_entries(&tables, WHOLE.0, WHOLE.1).collect();
    let [Ok(pml4e), Ok(page)] = found[..] else { panic!("{found:?}") };

    let mut below = four.present_entries(&tables, WHOLE.0, WHOLE.1);
    below.go_below(&pml4e);
    assert_eq!((below.next(), below.next()), (Some(Ok(page)), None));
    below.go_below(&page);
    assert_eq!(below.next(), None);
    // A format of two levels has no PML4E.
    let mut below = bits32.present_entries(&tables, WHOLE.0, WHOLE.1);
    below.go_below(&pml4e);
    assert_eq!(below.next(), None);
}

#[test]
fn a_table_outside_memory_is_reported_once() {
    let found = four_level(&[(0x1008, 0x7000 | P), (0x1010, 0x8000 | P), (0x8000, 0)]);
    let [Ok(_), Err(outside), Ok(_)] = found[..] else { panic!("{found:?}") };
    assert_eq!(outside.error, OutsideMemory(PhysAddr::new(0x7000)));
    assert_eq!((outside.first.get(), outside.last.get()), (0x80_0000_0000, 0xff_ffff_ffff));
    assert_eq!(outside.level.entry_name, "PDPTE");
}

#[test]
fn a_table_that_is_partly_in_memory_is_read_where_it_is() {
    let mut words = vec![0; 0x3800];
    words[0x1000..0x1008].copy_from_slice(&(0x3000 | P).to_le_bytes());
    words[0x3000..0x3008].copy_from_slice(&(0x1000 | P).to_le_bytes());
    let memory = Bytes::new(PhysAddr::new(0), words);
    let mmu = Mmu::<FourLevel>::new(ControlState::four_level(0x1000), Profile::default());

    let last = VirtAddr::new(0x7f_ffff_ffff);
    let found: Found = mmu.present_entries(&memory, VirtAddr::new(0), last).collect();
    let names = found.iter().flatten().map(|entry| entry.level.entry_name);
    assert!(names.eq(["PML4E", "PDPTE", "PDE", "PTE"]));
    // Entries 256 to 511 of the table at 0x3000, which is a PDPT and a page table.
    let outside: Vec<_> = found.iter().filter_map(|found| found.err()).collect();
    assert_eq!(outside.len(), 2);
    assert_eq!((outside[0].first.get(), outside[0].last.get()), (0x10_0000, 0x1f_ffff));
    assert_eq!((outside[1].first.get(), outside[1].last.get()), (0x40_0000_0000, last.get()));
    assert_eq!(outside[1].error, OutsideMemory(PhysAddr::new(0x3800)));
}

#[test]
fn reserved_bits_are_named() {
    // Bit 7 of a PML4E (CODE-5), and bit 51, above the MAXPHYADDR of 48 (CODE-4).
    let found = four_level(&[(0x1000, 0x0008_0000_0000_0000 | 0x2000 | P | PS)]);
    let meaning = EntryMeaning::Reserved(0x0008_0000_0000_0080);
    assert_eq!(found[0].unwrap().meaning, meaning);
}

#[test]
fn pdptes_come_from_registers() {
    let state = ControlState::pae(0x9000, [0, 0x2001, 0, 0]);
    let mmu = Mmu::<Pae>::new(state, Profile::default());
    let tables = SparseTables::new(&[(0x2000, 0x20_0000 | P | PS)]);
    let found: Found =
        mmu.present_entries(&tables, VirtAddr::new(0), VirtAddr::new(0x401f_ffff)).collect();
    assert_eq!(pages(&found), [(0x4000_0000, 0x20_0000, 2, Rights::EXECUTE)]);
    assert_eq!(found[0].unwrap().entry, 0x2001);
}
