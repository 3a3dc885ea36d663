//! Properties of the walks for many addresses, in every format on random memory: each answer is that of
//! the walk for one.

use super::garbage::{FlatMemory, Garbage, any_access, garbage};
use crate::access::Access;
use crate::address::{VirtAddr, low_bits};
use crate::outcome::Translation;
use crate::walk::{EntryMeaning, PageRun, PresentEntry, WalkError};
use crate::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae, Unpaged};
use crate::x86::semantics::{Cause, EntryError};
use proptest::prelude::*;
use std::vec::Vec;

/// Addresses near each other and far apart, more than a batch has at once.
fn addresses() -> impl Strategy<Value = Vec<u64>> {
    let address = prop_oneof![
        any::<u64>(),
        any::<u64>().prop_map(|address| address & 0x3f_ffff),
        Just(0x1234_5678_9abc),
    ];
    prop::collection::vec(address, 0..300)
}

/// The address of the format that has these bits.
fn canonical<F: Format>(address: u64) -> VirtAddr {
    if F::IS_LONG_MODE {
        VirtAddr::new(address).sign_extended(F::ADDRESS_BITS)
    } else {
        VirtAddr::new(address & low_bits(F::ADDRESS_BITS))
    }
}

fn a_batch_is_many_walks<F: Format>(
    garbage: &Garbage,
    addresses: &[u64],
    access: &Access,
) -> Result<(), TestCaseError> {
    let memory = garbage.memory::<F>();
    let mmu = garbage.mmu::<F>();
    let addresses: Vec<_> = addresses.iter().map(|address| canonical::<F>(*address)).collect();

    let mut results = Vec::new();
    mmu.walk_batch(&memory, &addresses, access, |address, result| results.push((address, result)));

    prop_assert_eq!(results.len(), addresses.len());
    for (address, (of, result)) in addresses.iter().zip(results) {
        prop_assert_eq!(*address, of);
        prop_assert_eq!(mmu.walk(&memory, *address, access, &mut ()), result);
    }
    Ok(())
}

/// A range of addresses of the format, not beyond the half, and without the highest address.
fn range_of<F: Format>(first: u64, len: u64) -> (VirtAddr, u64) {
    let first = canonical::<F>(first);
    let half = if F::IS_LONG_MODE { F::ADDRESS_BITS - 1 } else { F::ADDRESS_BITS };
    let end = (first.get() | low_bits(half)).min(u64::MAX - 0x1000);
    (first, first.get().saturating_add(len).min(end).max(first.get()))
}

fn a_range_is_many_walks<F: Format>(
    garbage: &Garbage,
    (first, len): (u64, u64),
    access: &Access,
) -> Result<(), TestCaseError> {
    let memory = garbage.memory::<F>();
    let mmu = garbage.mmu::<F>();
    let (first, last) = range_of::<F>(first, len);

    let mut answers = Vec::new();
    mmu.walk_range(&memory, first, VirtAddr::new(last), access, |run| {
        let mut address = run.first.max(first).get();
        while address <= run.last.get().min(last) {
            answers.push((address, answer(&run, address)));
            address = next_page(address);
        }
    });

    let mut expected = first.get();
    for (address, answer) in answers {
        prop_assert_eq!(address, expected);
        prop_assert_eq!(mmu.walk(&memory, VirtAddr::new(address), access, &mut ()), answer);
        expected = next_page(address);
    }
    prop_assert!(expected > last, "{:#x} is missing", expected);
    Ok(())
}

/// The first address of the next page of 4 KiB. The last page is not looked at.
fn next_page(address: u64) -> u64 {
    (address | 0xfff).saturating_add(1)
}

/// What a run says about one of its addresses.
fn answer<F: Format>(run: &PageRun<'_, F>, address: u64) -> Result<Translation, WalkError> {
    let offset = address - run.first.get();
    run.pages.map(|pages| {
        let shift = pages.level.map_or(63, |level| level.shift);
        let page = pages.translations().nth((offset >> shift) as usize).unwrap();
        Translation { address: page.address + (offset & low_bits(shift)), ..page }
    })
}

/// Each address of a range leads where the present entry with the smallest range says that it does, and the entries
/// can be found apart.
fn present_entries_are_many_walks<F: Format>(
    garbage: &Garbage,
    (first, len): (u64, u64),
) -> Result<(), TestCaseError> {
    present_entries_can_be_found_apart::<F>(garbage, (first, len))?;
    let memory = garbage.memory::<F>();
    let mmu = garbage.mmu::<F>();
    let (first, last) = range_of::<F>(first, len);

    let mut expected = first.get();
    let mut check_up_to = |end: u64, entry: Option<PresentEntry>| {
        while expected <= end.min(last) {
            let address = VirtAddr::new(expected);
            let located = mmu.locate(&memory, address);
            match entry.map(|entry| (entry, entry.meaning)) {
                Some((entry, EntryMeaning::Page(page))) => {
                    prop_assert_eq!(located, Ok(page + (expected - entry.first.get())));
                }
                Some((_, EntryMeaning::Reserved(bits))) => {
                    let cause = Cause::Entry(EntryError::Reserved(bits));
                    prop_assert_eq!(located, Err(WalkError::Fault(cause)));
                }
                _ => {
                    let cause = Cause::Entry(EntryError::NotPresent);
                    prop_assert_eq!(located, Err(WalkError::Fault(cause)));
                }
            }
            expected = next_page(expected);
        }
        Ok(())
    };

    for found in mmu.present_entries(&memory, first, VirtAddr::new(last)) {
        match found {
            Ok(PresentEntry { meaning: EntryMeaning::Table(_), .. }) => {}
            Ok(entry) => {
                if entry.first > first {
                    check_up_to(entry.first.get() - 1, None)?;
                }
                check_up_to(entry.last.get(), Some(entry))?;
            }
            Err(unreadable) => {
                // Memory is one piece, and so is what lies outside it.
                let located = mmu.locate(&memory, unreadable.first.max(first));
                prop_assert_eq!(located, Err(WalkError::Memory(unreadable.error)));
                return Ok(());
            }
        }
    }
    check_up_to(last, None)
}

/// Where each table is read by itself, all is found that is found otherwise, in the same order.
fn present_entries_can_be_found_apart<F: Format>(
    garbage: &Garbage,
    (first, len): (u64, u64),
) -> Result<(), TestCaseError> {
    let memory = garbage.memory::<F>();
    let mmu = garbage.mmu::<F>();
    let (first, last) = range_of::<F>(first, len);
    let last = VirtAddr::new(last);

    let mut apart = Vec::new();
    // The tables that are open, the innermost one last.
    let mut tables = vec![mmu.present_entries(&memory, first, last)];
    while let Some(table) = tables.last_mut() {
        let Some(found) = table.next() else {
            tables.pop();
            continue;
        };
        apart.push(found);
        if let Ok(entry) = found {
            table.skip_table();
            // It goes on there, wherever it has been.
            let mut below = tables[0].clone();
            below.go_below(&entry);
            tables.push(below);
        }
    }

    let together: Vec<_> = mmu.present_entries(&memory, first, last).collect();
    prop_assert_eq!(apart, together);
    Ok(())
}

fn what_is_located_is_what_the_walk_finds<F: Format>(
    garbage: &Garbage,
    access: &Access,
) -> Result<(), TestCaseError> {
    let memory = garbage.memory::<F>();
    let mmu = garbage.mmu::<F>();
    let address = canonical::<F>(access.address.get());
    let located = mmu.locate(&memory, address);

    match mmu.walk(&memory, address, access, &mut ()) {
        Ok(translation) => prop_assert_eq!(located, Ok(translation.address)),
        // The page is there.
        Err(WalkError::Fault(Cause::Denied(_))) => prop_assert!(located.is_ok()),
        Err(error) => prop_assert_eq!(located, Err(error)),
    }
    Ok(())
}

proptest! {
    #[test]
    fn batches(garbage in garbage(), addresses in addresses(), access in any_access()) {
        a_batch_is_many_walks::<FourLevel>(&garbage, &addresses, &access)?;
        a_batch_is_many_walks::<FiveLevel>(&garbage, &addresses, &access)?;
        a_batch_is_many_walks::<Pae>(&garbage, &addresses, &access)?;
        a_batch_is_many_walks::<Bits32>(&garbage, &addresses, &access)?;
        a_batch_is_many_walks::<FlatMemory>(&garbage, &addresses, &access)?;
        a_batch_is_many_walks::<Unpaged>(&garbage, &addresses, &access)?;
    }

    #[test]
    fn ranges(
        garbage in garbage(),
        first in any::<u64>(),
        len in prop_oneof![0..0x10_0000_u64, 0..0x80_0000_u64],
        access in any_access(),
    ) {
        a_range_is_many_walks::<FourLevel>(&garbage, (first, len), &access)?;
        a_range_is_many_walks::<FiveLevel>(&garbage, (first, len), &access)?;
        a_range_is_many_walks::<Pae>(&garbage, (first, len), &access)?;
        a_range_is_many_walks::<Bits32>(&garbage, (first, len), &access)?;
        a_range_is_many_walks::<FlatMemory>(&garbage, (first, len), &access)?;
        a_range_is_many_walks::<Unpaged>(&garbage, (first, len), &access)?;
    }

    #[test]
    fn present_entries(
        garbage in garbage(),
        first in any::<u64>(),
        len in prop_oneof![0..0x10_0000_u64, 0..0x80_0000_u64],
    ) {
        present_entries_are_many_walks::<FourLevel>(&garbage, (first, len))?;
        present_entries_are_many_walks::<FiveLevel>(&garbage, (first, len))?;
        present_entries_are_many_walks::<Pae>(&garbage, (first, len))?;
        present_entries_are_many_walks::<Bits32>(&garbage, (first, len))?;
        present_entries_are_many_walks::<FlatMemory>(&garbage, (first, len))?;
    }

    #[test]
    fn places(garbage in garbage(), access in any_access()) {
        what_is_located_is_what_the_walk_finds::<FourLevel>(&garbage, &access)?;
        what_is_located_is_what_the_walk_finds::<FiveLevel>(&garbage, &access)?;
        what_is_located_is_what_the_walk_finds::<Pae>(&garbage, &access)?;
        what_is_located_is_what_the_walk_finds::<Bits32>(&garbage, &access)?;
        what_is_located_is_what_the_walk_finds::<FlatMemory>(&garbage, &access)?;
        what_is_located_is_what_the_walk_finds::<Unpaged>(&garbage, &access)?;
    }
}
