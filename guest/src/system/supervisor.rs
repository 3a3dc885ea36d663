//! What every process maps besides its own regions: the programs, and the supervisor's pages that
//! the processor needs when the process faults.

use super::layout::{PROGRAMS_IN_PROCESS, SCRIPT_PAGES, SCRIPTS, SCRIPTS_IN_PROCESS};
use crate::layout::{OWN_TABLES, PROCESS_PAGES, PROGRAMS_PAGE, SUPERVISOR_WINDOW, SWITCH_PAGE};
use mmu_core::memory::TableMemoryMut;
use mmu_core::space::{Backing, PAGE_BYTES, Protection, Region, RegionKind};
use mmu_core::x86::format::EntryBits;
use mmu_core::{PagingMode, PhysAddr, VirtAddr};

/// The address space in which the kernel is while a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Residence {
    /// A space of its own: a process maps nothing of the kernel except [`regions`]. Every switch is
    /// a MOV to CR3, which drops cached translations (TLB-4).
    Separate = 0,
    /// The space of the process, as user pages, for which only 4-level paging has room. Faults are
    /// served without a MOV to CR3, so a missing TLB shootdown has visible effects.
    InProcess = 1,
}

/// The regions that every process starts with. [`PagingMode::Linear`], which no machine has, needs
/// none.
pub fn regions(mode: PagingMode, residence: Residence) -> impl Iterator<Item = Region> {
    let fixed = |at: u64, frame: u64, pages: u64, protection| {
        Region::new(RegionKind::Kernel, VirtAddr::new(at), pages, protection)
            .from_backing(Backing::Fixed(PhysAddr::new(frame)))
    };
    let read = Protection::READ | Protection::USER;
    let all_rights = Protection::READ | Protection::WRITE | Protection::EXECUTE;

    let user = [
        fixed(PROGRAMS_IN_PROCESS, PROGRAMS_PAGE, 1, read | Protection::EXECUTE),
        fixed(SCRIPTS_IN_PROCESS, SCRIPTS, SCRIPT_PAGES, read),
    ];

    // A kernel that resides in the process brings the window with its own tables.
    let window = (residence == Residence::Separate).then(|| {
        let start = PROCESS_PAGES.start + SUPERVISOR_WINDOW;
        let pages = (PROCESS_PAGES.end - PROCESS_PAGES.start) / PAGE_BYTES;
        fixed(start, PROCESS_PAGES.start, pages, all_rights)
    });

    // The way out of other modes leads through code that runs without paging.
    let switch =
        (mode != PagingMode::FourLevel).then(|| fixed(SWITCH_PAGE, SWITCH_PAGE, 1, all_rights));

    let regions = user.into_iter().chain(window).chain(switch);
    regions.filter(move |_| mode != PagingMode::Linear)
}

/// Links the kernel's own page directories into a process of 4-level paging that has [`regions`]:
/// one for its user pages, one for the supervisor window. Each covers 1 GiB.
///
/// # Errors
/// When a table cannot be read or written.
pub fn link_kernel<M: TableMemoryMut>(memory: &mut M, root: PhysAddr) -> Result<(), M::Error> {
    let table = |entry: u64| PhysAddr::new(entry & EntryBits::ADDRESS);
    let kernel_pdpt = table(memory.read_entry(PhysAddr::new(OWN_TABLES), 8)?);
    let process_pdpt = table(memory.read_entry(root, 8)?);

    for offset in [0, 8] {
        let entry = memory.read_entry(kernel_pdpt + offset, 8)?;
        memory.write_entry(process_pdpt + offset, 8, entry | EntryBits::A.bits())?;
    }

    Ok(())
}
