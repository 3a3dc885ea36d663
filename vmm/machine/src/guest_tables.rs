//! The page tables that map the guest itself. The host builds them once and links them into the
//! root of every batch.

use crate::MachineError;
use crate::memory::GuestMemory;
use crosswalk_case::TableEntry;
use crosswalk_guest::layout::{
    Arena, IMAGE_BASE, LOW_MEMORY_END, OWN_TABLE_FRAMES, OWN_TABLES, OWN_TABLES_32BIT,
    SUPERVISOR_WINDOW, SWITCH_PAGE,
};
use crosswalk_guest::tables::{self, TableUse};
use mmu_core::memory::{Bytes, TableMemory};
use mmu_core::table::mapping::{FrameRange, Mapper};
use mmu_core::x86::format::{Bits32, EntryBits, Format, FourLevel};
use mmu_core::{
    Access, ControlState, Cr4, Efer, Features, Mmu, PageSize, PagingMode, PhysAddr, Profile, Ring,
    VirtAddr,
};
use std::fmt::Display;
use std::io;

/// A mapping of the guest's whole low memory.
struct Window {
    /// The distance from physical to linear addresses.
    offset: u64,
    /// The ring that uses the window. Ring 3 gets user pages.
    ring: Ring,
}

const WINDOWS: [Window; 2] = [
    Window { offset: 0, ring: Ring::Three },
    Window { offset: SUPERVISOR_WINDOW, ring: Ring::Zero },
];

impl Window {
    /// The ring that uses a page of the window. The switch page is a supervisor page in both.
    fn ring_of(&self, page: u64) -> Ring {
        if page == SWITCH_PAGE { Ring::Zero } else { self.ring }
    }
}

/// The control state in which the guest boots.
pub(super) fn own_state(profile: Profile) -> ControlState {
    let mut state = ControlState::long_mode(OWN_TABLES);
    state.efer.set(Efer::NXE, profile.features.contains(Features::NX));
    state
}

/// Maps the guest's own memory through both [`WINDOWS`], in the formats of long mode and of 32-bit
/// paging.
pub(super) fn build(memory: &GuestMemory, profile: Profile) -> Result<(), MachineError> {
    let long = own_state(profile);
    let bits32 =
        ControlState { cr3: OWN_TABLES_32BIT, cr4: Cr4::empty(), efer: Efer::empty(), ..long };

    build_in::<FourLevel>(memory, long, profile)?;
    build_in::<Bits32>(memory, bits32, profile)
}

/// Builds the tables in one format, then walks them in guest memory to check the result.
///
/// They are built in a buffer first. When a machine restarts, a batch may be encoded at the same
/// time, which reads the tables in guest memory.
fn build_in<F: Format>(
    memory: &GuestMemory,
    state: ControlState,
    profile: Profile,
) -> Result<(), MachineError> {
    let mut content = vec![0; OWN_TABLE_FRAMES * 0x1000];
    let mut tables = Bytes::new(PhysAddr::new(state.cr3), &mut *content);
    let frames = FrameRange::new(PhysAddr::new(state.cr3 + 0x1000), OWN_TABLE_FRAMES - 1);
    let mut mapper = Mapper::<F, _, _>::new(state, profile, &mut tables, frames);

    for window in WINDOWS {
        for page in pages() {
            let address = VirtAddr::new(page + window.offset);
            let mut flags = EntryBits::RW;
            flags.set(EntryBits::US, window.ring_of(page) == Ring::Three);

            mapper
                .map(address, PhysAddr::new(page), PageSize::Size4KiB, flags)
                .map_err(|error| cannot_build(&error))?;
        }
    }

    memory.write(state.cr3, &content);
    check::<F>(memory, state, profile)
}

/// Walks the tables in guest memory for every page.
fn check<F: Format>(
    memory: &GuestMemory,
    state: ControlState,
    profile: Profile,
) -> Result<(), MachineError> {
    let mmu = Mmu::<F>::new(state, profile);

    for window in WINDOWS {
        for page in pages() {
            let address = VirtAddr::new(page + window.offset);
            let access = Access::write(address, 8, window.ring_of(page));
            let walked = mmu.walk(memory, address, &access, &mut ());

            if !walked.is_ok_and(|translation| translation.address.get() == page) {
                return Err(cannot_build(&format_args!("{page:#x} is not mapped correctly")));
            }
        }
    }

    Ok(())
}

/// The pages of the guest's own memory.
fn pages() -> impl Iterator<Item = u64> {
    (IMAGE_BASE..LOW_MEMORY_END).step_by(0x1000)
}

fn cannot_build(why: &dyn Display) -> MachineError {
    MachineError::host("building the guest's own page tables")(io::Error::other(why.to_string()))
}

/// The entries for the guest's own slots in an arena's tables in a mode. They lead to the guest's
/// own tables.
///
/// # Panics
/// If the guest's own tables have not been built.
pub(super) fn links(memory: &GuestMemory, table_use: TableUse, arena: Arena) -> Vec<TableEntry> {
    let own_slots = tables::own_slots(table_use).iter();
    let slots = own_slots.flat_map(|(table, slots)| slots.clone().map(move |slot| (*table, slot)));

    slots
        .map(|(table, slot)| TableEntry {
            at: arena.table(table) + slot as u64 * tables::entry_bytes(table_use.mode),
            value: link(memory, table_use, table, slot as u64),
        })
        .collect()
}

/// The value of one of the guest's own slots.
fn link(memory: &GuestMemory, table_use: TableUse, table: usize, slot: u64) -> u64 {
    let read = |at: u64, bytes| {
        memory.read_entry(PhysAddr::new(at), bytes).expect("the own tables are in memory")
    };
    let frame = |entry: u64| entry & EntryBits::ADDRESS;

    match table_use.mode {
        PagingMode::Bits32 => read(OWN_TABLES_32BIT + slot * 4, 4),
        // Below PDPTEs that the lanes share, take the entries of the page directory that long mode has
        // under PDPTE 0 or 1. PAE's have the same format.
        _ if tables::shared_levels(table_use) > 0 => {
            let first = tables::of_levels(table_use)[tables::shared_levels(table_use)].start;
            let pdpt = frame(read(OWN_TABLES, 8));
            let directory = frame(read(pdpt + (table - first) as u64 * 8, 8));
            read(directory + slot * 8, 8)
        }
        PagingMode::FiveLevel => OWN_TABLES | (EntryBits::P | EntryBits::RW | EntryBits::US).bits(),
        _ => read(OWN_TABLES + slot * 8, 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Batches that were encoded while a machine restarted used to go wrong.
    #[test]
    fn links_can_be_read_while_the_tables_are_rebuilt() {
        let memory = GuestMemory::new().unwrap();
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        build(&memory, profile).unwrap();

        let values = || -> Vec<u64> {
            let links = TableUse::ALL.map(|table_use| links(&memory, table_use, Arena::ALL[0]));
            links.into_iter().flatten().map(|link| link.value).collect()
        };
        let expected = values();
        let built = AtomicBool::new(false);

        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..5).for_each(|_| build(&memory, profile).unwrap());
                built.store(true, Ordering::Relaxed);
            });
            while !built.load(Ordering::Relaxed) {
                assert_eq!(values(), expected);
            }
        });
    }
}
