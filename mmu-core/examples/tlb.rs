//! What a TLB does after page tables change: a stale translation, INVLPG, and the set of outcomes
//! that the manuals allow in between (rule TLB-2).
//!
//! ```sh
//! cargo run -p mmu-core --example tlb
//! ```

use mmu_core::cache::{CachedMmu, EditError, History};
use mmu_core::memory::{Bytes, OutsideMemory, TableMemory, TableMemoryMut, Unshared};
use mmu_core::x86::format::FourLevel;
use mmu_core::x86::profile::Generation;
use mmu_core::{Access, ControlState, Mmu, Outcome, PhysAddr, Ring, VirtAddr};

/// A page: entry 0 of the PML4, the PDPT and the directory, entry 1 of the table.
const PAGE: VirtAddr = VirtAddr::new(0x1000);
const PDE: PhysAddr = PhysAddr::new(0x3000);
const PTE: PhysAddr = PhysAddr::new(0x4008);
/// The entry for the page in a second table, which is not used at first.
const OTHER_PTE: PhysAddr = PhysAddr::new(0x5008);

/// Memory that remembers up to 8 edits of its entries. [`CachedMmu`] uses it as it uses any memory;
/// only the predictions look at the past.
type TableHistory = History<Unshared<Bytes<Vec<u8>>>, 8>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut tables = TableHistory::new(page_tables()?);
    let state = ControlState::four_level(0x1000);
    let profile = "skylake".parse::<Generation>()?.profile;
    let mut mmu = CachedMmu::<FourLevel>::new(state, profile);
    let read = Access::read(PAGE, 8, Ring::Three);

    println!("The page is in the frame at 0xa000. A first read walks, and fills the caches:");
    show_access(&mut mmu, &mut tables, &read);
    show_caches(&mmu);

    println!("\nThe PTE changes to the frame at 0xb000, without an invalidation:");
    edit(&mut tables, PTE, 0xb007)?;
    show_allowed(mmu.mmu(), &tables, &read);
    show_access(&mut mmu, &mut tables, &read);

    println!("\nINVLPG drops the old translation:");
    invlpg(&mut mmu, &mut tables);
    show_allowed(mmu.mmu(), &tables, &read);
    show_access(&mut mmu, &mut tables, &read);

    // Each level can be cached: the old PDE leads to the old table, whose entries may be old or
    // new.
    println!("\nThe PDE changes to the second table, then the PTE in the first table changes too:");
    edit(&mut tables, PDE, 0x5007)?;
    edit(&mut tables, PTE, 0xd007)?;
    show_allowed(mmu.mmu(), &tables, &read);
    show_access(&mut mmu, &mut tables, &read);

    println!("\nINVLPG again:");
    invlpg(&mut mmu, &mut tables);
    show_access(&mut mmu, &mut tables, &read);

    // Nothing is cached from an entry with P=0 (TLB-1), so mapping a page needs no invalidation,
    // while unmapping one does.
    println!("\nThe page is unmapped, without an invalidation:");
    edit(&mut tables, OTHER_PTE, 0)?;
    show_allowed(mmu.mmu(), &tables, &read);
    show_access(&mut mmu, &mut tables, &read);
    Ok(())
}

/// Four tables that map the page to the frame at 0xa000, and a second last-level table.
fn page_tables() -> Result<Unshared<Bytes<Vec<u8>>>, OutsideMemory> {
    let mut memory = Unshared::new(Bytes::new(PhysAddr::new(0x1000), vec![0; 0x5000]));
    for (at, entry) in [
        (PhysAddr::new(0x1000), 0x2007),
        (PhysAddr::new(0x2000), 0x3007),
        (PDE, 0x4007),
        (PTE, 0xa007),
        (OTHER_PTE, 0xc007),
    ] {
        memory.write_entry(at, 8, entry)?;
    }
    Ok(memory)
}

/// Software stores an entry.
fn edit(tables: &mut TableHistory, at: PhysAddr, entry: u64) -> Result<(), EditError> {
    let before = tables.read_entry(at, 8)?;
    println!("  the entry at {at} changes from {before:#x} to {entry:#x}");
    tables.edit(at, 8, entry)
}

/// Software executes INVLPG. The history must know: nothing older is cached for the page.
fn invlpg(mmu: &mut CachedMmu<FourLevel>, tables: &mut TableHistory) {
    mmu.invlpg(PAGE);
    tables.forget(PAGE);
}

/// Makes an access through the caches, and checks that its outcome is allowed.
fn show_access(mmu: &mut CachedMmu<FourLevel>, tables: &mut TableHistory, access: &Access) {
    let before = tables.clone();
    let outcome = Outcome::of(mmu.translate(tables, access)).expect("all tables are in memory");
    println!("  the caching MMU: {}", describe(&outcome));

    let mut is_allowed = false;
    let predicted = mmu.mmu().predict_stale(&before, access, |prediction| {
        is_allowed |= prediction.alternatives.iter().any(|known| known.outcome == outcome);
    });
    predicted.expect("the access has a size that instructions have");
    assert!(is_allowed, "a TLB does one of the things that the manuals allow");
}

/// Prints every outcome that is allowed: the one of the entries in memory, and those of old entries
/// that a processor may have cached.
fn show_allowed(mmu: &Mmu<FourLevel>, tables: &TableHistory, access: &Access) {
    let predicted = mmu.predict_stale(tables, access, |prediction| {
        for alternative in &prediction.alternatives {
            let source = alternative.choice.map_or("memory", |(_, member)| member);
            println!("  allowed, from {source}: {}", describe(&alternative.outcome));
        }
    });
    predicted.expect("the access has a size that instructions have");
}

/// Prints what the TLB and the paging-structure caches contain.
fn show_caches(mmu: &CachedMmu<FourLevel>) {
    for entry in mmu.tlb().iter() {
        let (page, leaf) = (entry.page << entry.shift, entry.leaf);
        println!("  the TLB has page {page:#x} with the entry {leaf:#x}");
    }
    println!("  the paging-structure caches have {} entries", mmu.structures().iter().count());
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Translated(spans) => format!("reaches {}", spans[0].address),
        Outcome::Fault(fault) => format!("raises {fault}"),
    }
}
