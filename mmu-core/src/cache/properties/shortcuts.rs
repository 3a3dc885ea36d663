//! The short ways through the caches, and lists of addresses, do what the detailed walk does for one
//! address after the other: the same answers, and the same memory and caches afterwards.

use super::{
    Access, Bits32, CacheEvent, EightEntries, FiveLevel, Format, FourLevel, Pae, PropertyBench,
    TextbookTable, Unpaged, VirtAddr, access_in_page, address, event, placed, tables,
};
use crate::memory::Unshared;
use crate::x86::semantics::{Reference, Semantics};
use proptest::prelude::*;
use std::vec::Vec;

/// What the manuals define, by a walk that takes no shortcut.
#[derive(Clone, Copy, Debug)]
struct InDetail;

impl Semantics for InDetail {}

/// Edits are not followed by an invalidation: what is cached may differ from memory.
fn happens<F: Format, R: Semantics>(bench: &mut PropertyBench<F, 2, R>, event: &CacheEvent) {
    match *event {
        CacheEvent::Edit { slot, flip, .. } => bench.tables.0[slot] ^= flip,
        CacheEvent::Cr3 { number, no_flush } => {
            bench.mov_to_cr3(number, no_flush);
        }
        CacheEvent::Registers { bits, pkru } => bench.change_registers(bits, pkru),
        CacheEvent::Access { path, access } => {
            bench.access(&placed::<F>(path, &access));
        }
    }
}

fn shortcuts_change_nothing<F: Format>(
    tables: EightEntries,
    global: bool,
    events: &[CacheEvent],
    paths: &[u64],
    access: &Access,
) -> Result<(), TestCaseError> {
    let mut short = PropertyBench::<F, 2, _>::with_semantics(Reference, tables, global);
    let mut detailed = PropertyBench::<F, 2, _>::with_semantics(InDetail, tables, global);
    for event in events {
        happens(&mut short, event);
        happens(&mut detailed, event);
    }

    let addresses: Vec<_> = paths.iter().map(|path| VirtAddr::new(address::<F>(*path))).collect();
    let memory = Unshared::new(&mut detailed.tables);
    let walks = addresses.iter().map(|address| detailed.mmu.walk(&memory, *address, access));
    let expected: Vec<_> = walks.collect();

    let memory = Unshared::new(&mut short.tables);
    let mut found = Vec::new();
    short.mmu.walk_batch(&memory, &addresses, access, |_, result| found.push(result));

    prop_assert_eq!(found, expected);
    prop_assert_eq!(short.tables, detailed.tables);
    prop_assert_eq!(short.translations(), detailed.translations());
    let structures: Vec<_> = short.mmu.structures().iter().collect();
    prop_assert_eq!(structures, detailed.mmu.structures().iter().collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #[test]
    fn lists(
        tables in tables(),
        global in any::<bool>(),
        events in prop::collection::vec(event(), 0..20),
        paths in prop::collection::vec(0..32_u64, 0..80),
        access in access_in_page(),
    ) {
        shortcuts_change_nothing::<FourLevel>(tables, global, &events, &paths, &access)?;
        shortcuts_change_nothing::<FiveLevel>(tables, global, &events, &paths, &access)?;
        shortcuts_change_nothing::<Pae>(tables, global, &events, &paths, &access)?;
        shortcuts_change_nothing::<Bits32>(tables, global, &events, &paths, &access)?;
        shortcuts_change_nothing::<TextbookTable>(tables, global, &events, &paths, &access)?;
        shortcuts_change_nothing::<Unpaged>(tables, global, &events, &paths, &access)?;
    }
}
