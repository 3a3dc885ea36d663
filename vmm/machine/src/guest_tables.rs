//! The page tables that map the guest itself: built once by the host, and linked into the root of
//! every batch.

use super::MachineError;
use super::memory::GuestMemory;
use crosswalk_case::TableEntry;
use crosswalk_guest::layout::{
    Arena, IMAGE_BASE, LOW_MEMORY_END, OWN_TABLE_FRAMES, OWN_TABLES, OWN_TABLES_32BIT,
    SUPERVISOR_WINDOW, SWITCH_PAGE,
};
use crosswalk_guest::tables;
use mmu_core::memory::{Bytes, TableMemory};
use mmu_core::table::mapping::{FrameRange, Mapper};
use mmu_core::x86::format::{Bits32, EntryBits, Format, FourLevel};
use mmu_core::{
    Access, ControlState, Cr4, Efer, Features, Mmu, PageSize, PagingMode, PhysAddr, Profile, Ring,
    VirtAddr,
};
use std::fmt::Display;

/// The control state in which the guest boots.
pub(super) fn own_state(profile: Profile) -> ControlState {
    let mut state = ControlState::long_mode(OWN_TABLES);
    state.efer.set(Efer::NXE, profile.features.contains(Features::NX));
    state
}

/// Maps the guest's own memory twice, as user and as supervisor pages (but one), in the formats of long mode
/// and of 32-bit paging.
pub(super) fn build(memory: &GuestMemory, profile: Profile) -> Result<(), MachineError> {
    let state = own_state(profile);
    build_in::<FourLevel>(memory, state, profile)?;
    let mut state = ControlState { cr3: OWN_TABLES_32BIT, ..state };
    (state.cr4, state.efer) = (Cr4::empty(), Efer::empty());
    build_in::<Bits32>(memory, state, profile)
}

/// Maps in one format, then walks the tables from the host's side to see that they say so. They are
/// made elsewhere first: when a machine starts anew, a batch may be being encoded, and links to them.
fn build_in<F: Format>(
    memory: &GuestMemory,
    state: ControlState,
    profile: Profile,
) -> Result<(), MachineError> {
    let mut content = vec![0; OWN_TABLE_FRAMES * 0x1000];
    let mut tables = Bytes::new(PhysAddr::new(state.cr3), &mut *content);
    let frames = FrameRange::new(PhysAddr::new(state.cr3 + 0x1000), OWN_TABLE_FRAMES - 1);
    let mut mapper = Mapper::<F, _, _>::new(state, profile, &mut tables, frames);
    let windows = [(0, EntryBits::US), (SUPERVISOR_WINDOW, EntryBits::empty())];
    let pages = || (IMAGE_BASE..LOW_MEMORY_END).step_by(0x1000);
    let failed = |error: &dyn Display| MachineError::Host {
        doing: "building the guest's own page tables",
        source: std::io::Error::other(error.to_string()),
    };
    for (offset, flags) in windows {
        for page in pages() {
            let (address, frame) = (VirtAddr::new(page + offset), PhysAddr::new(page));
            let rights = if page == SWITCH_PAGE { EntryBits::empty() } else { flags };
            mapper
                .map(address, frame, PageSize::Size4KiB, rights | EntryBits::RW)
                .map_err(|error| failed(&error))?;
        }
    }
    memory.write(state.cr3, &content);
    let mmu = Mmu::<F>::new(state, profile);
    for ((offset, _), ring) in windows.into_iter().zip([Ring::Three, Ring::Zero]) {
        for page in pages() {
            let ring = if page == SWITCH_PAGE { Ring::Zero } else { ring };
            let access = Access::write(VirtAddr::new(page + offset), 8, ring);
            let walked = mmu.walk(memory, access.address, &access, &mut ());
            if !walked.is_ok_and(|translation| translation.address.get() == page) {
                return Err(failed(&format_args!("{page:#x} is not mapped as it should be")));
            }
        }
    }
    Ok(())
}

/// The entries for the own slots of an arena's tables in a mode.
///
/// # Panics
/// When the guest's own tables have not been built.
pub(super) fn links(memory: &GuestMemory, mode: PagingMode, arena: Arena) -> Vec<TableEntry> {
    let read = |at: u64, bytes| {
        memory.read_entry(PhysAddr::new(at), bytes).expect("the own tables lie in memory")
    };
    let frame = |entry: u64| entry & EntryBits::ADDRESS;
    let slots = tables::own_slots(mode).iter();
    let slots = slots.flat_map(|(table, slots)| slots.clone().map(move |slot| (*table, slot)));
    slots
        .map(|(table, slot)| {
            let index = slot as u64;
            let value = match mode {
                PagingMode::Bits32 => read(OWN_TABLES_32BIT + index * 4, 4),
                // PAE's entries below the PDPTEs are those of long mode: the page directory that
                // long mode has under PDPTE 0 or 1.
                PagingMode::Pae => {
                    let pdpt = frame(read(OWN_TABLES, 8));
                    let directory = frame(read(pdpt + (table as u64 - 1) * 8, 8));
                    read(directory + index * 8, 8)
                }
                PagingMode::FiveLevel => {
                    OWN_TABLES | (EntryBits::P | EntryBits::RW | EntryBits::US).bits()
                }
                _ => read(OWN_TABLES + index * 8, 8),
            };
            TableEntry { at: arena.table(table) + index * tables::entry_bytes(mode), value }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Batches went wrong that were encoded while a machine started anew.
    #[test]
    fn links_can_be_read_while_the_tables_are_built_again() {
        let memory = GuestMemory::new().unwrap();
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        build(&memory, profile).unwrap();
        let values = || -> Vec<u64> {
            let links = PagingMode::ALL.map(|mode| links(&memory, mode, Arena::ALL[0]));
            links.into_iter().flatten().map(|link| link.value).collect()
        };
        let wanted = values();
        let built = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..5).for_each(|_| build(&memory, profile).unwrap());
                built.store(true, Ordering::Relaxed);
            });
            while !built.load(Ordering::Relaxed) {
                assert_eq!(values(), wanted);
            }
        });
    }
}
