//! The page tables that map the guest itself. The host builds them once and links them into the
//! root of every batch.

use crate::MachineError;
use crate::memory::GuestMemory;
use crosswalk_case::TableEntry;
use crosswalk_guest::layout::{
    Arena, IMAGE_BASE, LOW_MEMORY_END, OWN_TABLE_FRAMES, OWN_TABLES, OWN_TABLES_32BIT,
    SHADOW_STACK, SUPERVISOR_WINDOW, SWITCH_PAGE,
};
use crosswalk_guest::table_windows::{TablePlace, TableWindow};
use crosswalk_guest::tables::{self, TableUse};
use mmu_core::memory::{Bytes, TableMemory, TableMemoryMut};
use mmu_core::table::mapping::{FrameRange, Mapper};
use mmu_core::x86::format::{Bits32, EntryBits, Format, FourLevel};
use mmu_core::{
    Access, ControlState, Cr4, Efer, Features, Mmu, PageSize, PagingMode, PhysAddr, Profile, Ring,
    VirtAddr,
};
use std::fmt::Display;
use std::io;
use std::sync::LazyLock;

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

    /// Whether a page is a shadow stack there.
    fn is_shadow_stack(&self, page: u64) -> bool {
        self.ring == Ring::Zero && page == SHADOW_STACK
    }

    /// The flags of a page.
    fn flags_of(&self, page: u64) -> EntryBits {
        let mut flags = if self.is_shadow_stack(page) { EntryBits::D } else { EntryBits::RW };
        flags.set(EntryBits::US, self.ring_of(page) == Ring::Three);
        flags
    }
}

/// The control state in which the guest boots.
pub(super) fn own_state(profile: Profile) -> ControlState {
    let mut state = ControlState::four_level(OWN_TABLES);
    state.efer.set(Efer::NXE, profile.features.contains(Features::NX));
    state
}

/// The page tables in one format, from their root on.
type Content = Vec<u8>;

/// The tables in the formats of long mode and of 32-bit paging, as the host builds them. A guest can
/// write to its copy, so nothing is ever read from that.
struct OwnTables {
    long: Content,
    bits32: Content,
    /// The address of the first page table of long mode, which maps the first 2 MiB.
    page_table: u64,
}

/// They depend on the layout alone: no processor reserves a bit of their entries.
static OWN: LazyLock<OwnTables> = LazyLock::new(|| {
    let profile = Profile::default();
    let long = map_windows::<FourLevel>(own_state(profile), profile);
    let page_table = first_page_table(&long);
    let bits32 = map_windows::<Bits32>(own_state_32bit(profile), profile);
    OwnTables { long, bits32, page_table }
});

fn own_state_32bit(profile: Profile) -> ControlState {
    let long = own_state(profile);
    ControlState { cr3: OWN_TABLES_32BIT, cr4: Cr4::empty(), efer: Efer::empty(), ..long }
}

/// The address of the page table at the end of the first entries.
fn first_page_table(long: &Content) -> u64 {
    let tables = Bytes::new(PhysAddr::new(OWN_TABLES), long.as_slice());
    [(); 3].iter().fold(OWN_TABLES, |table, ()| {
        let entry = tables.read_entry(PhysAddr::new(table), 8);
        entry.expect("own tables lead to own tables") & EntryBits::ADDRESS
    })
}

/// Maps the guest's own memory through both [`WINDOWS`].
fn map_windows<F: Format>(state: ControlState, profile: Profile) -> Content {
    let mut content = vec![0; OWN_TABLE_FRAMES * 0x1000];
    let mut tables = Bytes::new(PhysAddr::new(state.cr3), &mut *content);
    let frames = FrameRange::new(PhysAddr::new(state.cr3 + 0x1000), OWN_TABLE_FRAMES - 1);
    let mut mapper = Mapper::<F, _, _>::new(state, profile, &mut tables, frames);

    for window in WINDOWS {
        for page in pages() {
            let address = VirtAddr::new(page + window.offset);
            let flags = window.flags_of(page);
            let result = mapper.map(address, PhysAddr::new(page), PageSize::Size4KiB, flags);
            result.expect("the frames suffice, and no page is mapped twice");
        }
    }
    content
}

/// Writes the tables into guest memory, and walks them there to check the result.
pub(super) fn build(memory: &GuestMemory, profile: Profile) -> Result<(), MachineError> {
    let OwnTables { long, bits32, .. } = &*OWN;
    memory.write(OWN_TABLES, long);
    memory.write(OWN_TABLES_32BIT, bits32);
    map_table_windows(memory, profile)?;

    check::<FourLevel>(memory, own_state(profile), profile)?;
    check::<Bits32>(memory, own_state_32bit(profile), profile)
}

/// Maps the further page tables for the kernel, in the table that maps the start of its image, too.
fn map_table_windows(memory: &GuestMemory, profile: Profile) -> Result<(), MachineError> {
    let mut memory = memory.clone();
    let bits = profile.physical_address_bits;
    let flags = EntryBits::P | EntryBits::RW | EntryBits::US;

    for (arena, place) in TableWindow::within(bits).flat_map(TableWindow::tables) {
        let address = place.address(arena);
        let entry = OWN.page_table + (place.linear(arena) >> 12) * 8;
        let written = memory.write_entry(PhysAddr::new(entry), 8, address | flags.bits());
        written.map_err(|error| cannot_build(&error))?;
    }
    Ok(())
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
            let shadow_stack = window.is_shadow_stack(page);
            let write = Access::write(address, 8, window.ring_of(page));
            let access = Access { shadow_stack, ..write };
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

/// The entries for the guest's own slots in these tables of an arena in a mode. They lead to the guest's
/// own tables.
pub(super) fn links(table_use: TableUse, arena: Arena, places: &[TablePlace]) -> Vec<TableEntry> {
    let own_slots = tables::own_slots(table_use).iter();
    let slots = own_slots.flat_map(|(table, slots)| slots.clone().map(move |slot| (*table, slot)));

    let links = slots.flat_map(|(table, slot)| {
        let places = places.iter().filter(move |place| place.index == table);
        places.map(move |place| TableEntry {
            at: place.address(arena) + slot as u64 * tables::entry_bytes(table_use.mode),
            value: OWN.link(table_use, table, slot as u64),
        })
    });
    links.collect()
}

/// The address of the entry that leads to the table of linear page 0, in the modes in which a case may
/// bring this table itself: 32-bit and PAE paging.
pub(super) fn first_entry(table_use: TableUse, arena: Arena) -> Option<u64> {
    let is_legacy = matches!(table_use.mode, PagingMode::Bits32 | PagingMode::Pae);
    let (table, _) = tables::own_slots(table_use).first().filter(|_| is_legacy)?;
    Some(arena.table(*table))
}

/// The offset in the table of linear page 0 from which on the guest itself is mapped.
pub(super) const fn own_part(mode: PagingMode) -> u64 {
    (IMAGE_BASE >> 12) * tables::entry_bytes(mode)
}

/// The entries of the guest itself for the table of linear page 0, by their offsets in it. A and D are set,
/// so that the guest changes nothing.
pub(super) fn own_pages(table_use: TableUse) -> Vec<(u64, u64)> {
    let OwnTables { long, bits32, .. } = &*OWN;
    let mode = table_use.mode;
    let (content, start) =
        if mode == PagingMode::Bits32 { (bits32, OWN_TABLES_32BIT) } else { (long, OWN_TABLES) };
    let tables = Bytes::new(PhysAddr::new(start), content.as_slice());
    let table = OWN.link(table_use, tables::own_slots(table_use)[0].0, 0) & EntryBits::ADDRESS;

    let bytes = tables::entry_bytes(mode);
    let offsets = (own_part(mode)..0x1000).step_by(bytes as usize);
    let entry = |offset| {
        let entry = tables.read_entry(PhysAddr::new(table + offset), bytes as u8);
        entry.expect("own tables lead to own tables")
    };
    let flags = (EntryBits::A | EntryBits::D).bits();
    offsets.map(|offset| (offset, entry(offset) | flags)).collect()
}

impl OwnTables {
    /// The value of one of the guest's own slots.
    fn link(&self, table_use: TableUse, table: usize, slot: u64) -> u64 {
        let frame = |entry: u64| entry & EntryBits::ADDRESS;
        let entry = |content: &Content, start: u64, at: u64, bytes| {
            let tables = Bytes::new(PhysAddr::new(start), content.as_slice());
            tables.read_entry(PhysAddr::new(at), bytes).expect("own tables lead to own tables")
        };
        let read = |at| entry(&self.long, OWN_TABLES, at, 8);

        match table_use.mode {
            PagingMode::Bits32 => {
                entry(&self.bits32, OWN_TABLES_32BIT, OWN_TABLES_32BIT + slot * 4, 4)
            }
            // Below PDPTEs that the lanes share, take the entries of the page directory that long mode
            // has under PDPTE 0 or 1. PAE's have the same format.
            _ if tables::shared_levels(table_use) > 0 => {
                let first = tables::of_levels(table_use)[tables::shared_levels(table_use)].start;
                let pdpt = frame(read(OWN_TABLES));
                let directory = frame(read(pdpt + (table - first) as u64 * 8));
                read(directory + slot * 8)
            }
            PagingMode::FiveLevel => {
                OWN_TABLES | (EntryBits::P | EntryBits::RW | EntryBits::US).bits()
            }
            _ => read(OWN_TABLES + slot * 8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn low() -> Vec<TablePlace> {
        (0..Arena::TABLES).map(TablePlace::low).collect()
    }

    /// The kernel writes a table of a window at a linear address below its image.
    #[test]
    fn the_kernel_reaches_every_window_that_the_machine_has() {
        for bits in [36, 39, 40, 48] {
            let memory = GuestMemory::new().unwrap();
            let profile = Profile { physical_address_bits: bits, ..Profile::default() };
            build(&memory, profile).unwrap();

            let state = own_state(profile);
            let mmu = Mmu::<FourLevel>::new(state, profile);
            let present: Vec<_> = TableWindow::within(bits).collect();
            for window in TableWindow::ALL {
                for (arena, place) in window.tables() {
                    let address = VirtAddr::new(place.linear(arena));
                    let access = Access::write(address, 8, Ring::Three);
                    let walked = mmu.walk(&memory, address, &access, &mut ());
                    let reached = walked.ok().map(|translation| translation.address.get());
                    let expected = present.contains(&window).then(|| place.address(arena));
                    assert_eq!(reached, expected, "{bits}: {place:?}");
                }
            }
        }
    }

    /// RIGHT-7: R/W=0 and D=1, for ring 0 alone; ring 3 has an ordinary page there.
    #[test]
    fn the_supervisor_window_has_a_shadow_stack() {
        let memory = GuestMemory::new().unwrap();
        let profile = Profile::default();
        build(&memory, profile).unwrap();
        let mmu = Mmu::<FourLevel>::new(own_state(profile), profile);
        let is_allowed = |window: u64, ring, shadow_stack| {
            let address = VirtAddr::new(SHADOW_STACK + window);
            let access = Access { shadow_stack, ..Access::write(address, 8, ring) };
            mmu.walk(&memory, address, &access, &mut ()).is_ok()
        };
        assert!(is_allowed(SUPERVISOR_WINDOW, Ring::Zero, true));
        assert!(!is_allowed(SUPERVISOR_WINDOW, Ring::Zero, false));
        assert!(is_allowed(0, Ring::Three, false) && !is_allowed(0, Ring::Three, true));
    }

    /// A guest can write to its copy of the tables. What it writes there used to end in a panic, and
    /// would mislead the host where it does not.
    #[test]
    fn links_do_not_depend_on_what_the_guest_writes() {
        let memory = GuestMemory::new().unwrap();
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        build(&memory, profile).unwrap();
        let values = || -> Vec<u64> {
            let links = TableUse::ALL.map(|table_use| links(table_use, Arena::ALL[0], &low()));
            links.into_iter().flatten().map(|link| link.value).collect()
        };

        let expected = values();
        assert!(!expected.is_empty());
        let garbage = vec![0xff; OWN_TABLE_FRAMES * 0x1000];
        memory.write(OWN_TABLES, &garbage);
        memory.write(OWN_TABLES_32BIT, &garbage);
        assert_eq!(values(), expected);
    }

    /// The links lead to the tables that a walk of the guest's memory goes through.
    #[test]
    fn links_are_the_entries_of_the_guests_tables() {
        let memory = GuestMemory::new().unwrap();
        build(&memory, Profile::default()).unwrap();

        for link in links(TableUse::of(PagingMode::FourLevel), Arena::ALL[0], &low()) {
            let own = OWN_TABLES + (link.at - Arena::ALL[0].table(0));
            assert_eq!(memory.read_entry(PhysAddr::new(own), 8), Ok(link.value));
        }
    }
}
