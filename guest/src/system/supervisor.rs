//! What a process has in its space besides its own: the supervisor's pages that the processor needs
//! when the process faults, and the programs. They are the same in every process.

use super::layout::{PROGRAMS_IN_PROCESS, SCRIPT_PAGES, SCRIPTS, SCRIPTS_IN_PROCESS};
use crate::layout::{OWN_TABLES, PROCESS_PAGES, PROGRAMS_PAGE, SUPERVISOR_WINDOW, SWITCH_PAGE};
use mmu_core::memory::{OutsideMemory, TableMemoryMut};
use mmu_core::space::{Backing, PAGE_BYTES, Protection, Region, RegionKind};
use mmu_core::x86::format::EntryBits;
use mmu_core::{PagingMode, PhysAddr, VirtAddr};

/// Where the kernel is while a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Residence {
    /// In a space of its own: the process sees nothing of it but [`regions`]. Every switch is a MOV to
    /// CR3, which drops what was cached (TLB-4).
    Separate = 0,
    /// In the space of the process, as user pages, which 4-level paging alone has room for. Faults
    /// are served without a MOV to CR3, so a forgotten shoot-down shows.
    InProcess = 1,
}

/// The regions that every process starts with. No machine has the flat table of the textbook.
pub fn regions(mode: PagingMode, residence: Residence) -> impl Iterator<Item = Region> {
    let fixed = |at: u64, frame: u64, pages: u64, protection| {
        Region::new(RegionKind::Kernel, VirtAddr::new(at), pages, protection)
            .from_backing(Backing::Fixed(PhysAddr::new(frame)))
    };
    let read = Protection::READ | Protection::USER;
    let all = Protection::READ | Protection::WRITE | Protection::EXECUTE;
    let user = [
        fixed(PROGRAMS_IN_PROCESS, PROGRAMS_PAGE, 1, read | Protection::EXECUTE),
        fixed(SCRIPTS_IN_PROCESS, SCRIPTS, SCRIPT_PAGES, read),
    ];
    let pages = (PROCESS_PAGES.end - PROCESS_PAGES.start) / PAGE_BYTES;
    let window = fixed(PROCESS_PAGES.start + SUPERVISOR_WINDOW, PROCESS_PAGES.start, pages, all);
    let is_separate = residence == Residence::Separate;
    // The way out of other modes leads through code without paging.
    let switch = (mode != PagingMode::FourLevel).then(|| fixed(SWITCH_PAGE, SWITCH_PAGE, 1, all));
    let all = user.into_iter().chain(is_separate.then_some(window)).chain(switch);
    all.filter(move |_| mode != PagingMode::Linear)
}

/// Links the kernel's own page directories into a process of 4-level paging that has [`regions`].
/// Both cover 1 GiB: its user pages, and the window.
///
/// # Errors
/// When a table lies outside memory.
pub fn link_kernel<M: TableMemoryMut>(memory: &mut M, root: PhysAddr) -> Result<(), OutsideMemory> {
    let table = |entry: u64| PhysAddr::new(entry & EntryBits::ADDRESS);
    let own = table(memory.read_entry(PhysAddr::new(OWN_TABLES), 8)?);
    let pdpt = table(memory.read_entry(root, 8)?);
    for offset in [0, 8] {
        let entry = memory.read_entry(own + offset, 8)?;
        memory.write_entry(pdpt + offset, 8, entry | EntryBits::A.bits())?;
    }
    Ok(())
}
