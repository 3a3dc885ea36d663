//! crosswalk-memory: an access through the default caches, on memory of vm-memory.

use crate::measure::Run;
use crate::workload::{MEMORY, Memory, Workload};
use crosswalk_memory::VirtualMemory;
use mmu_core::{Access, Profile, Ring, VirtAddr};
use nix::sys::mman::{MapFlags, ProtFlags};
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// The whole answer to an access, with its span.
pub(crate) fn translate<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    // It borrows the memory, for the rest of the program.
    let memory = Box::leak(Box::new(as_guest_memory(memory)));
    let mut guest = VirtualMemory::new(&*memory, workload.state(), Profile::default());

    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            let read = Access::read(VirtAddr::new(*address), 8, Ring::Three);
            if let Ok(translated) = guest.translate(&read) {
                sum = sum.wrapping_add(translated.address().get());
            }
        }
        sum
    })
}

#[expect(unsafe_code, reason = "vm-memory takes memory that is mapped already as a pointer")]
fn as_guest_memory(memory: &Memory) -> GuestMemoryMmap {
    let start = memory.words().as_ptr().cast_mut().cast();
    let protection = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE).bits();
    let flags = MapFlags::MAP_PRIVATE.bits();
    // SAFETY: the memory is mapped like this until the program ends, and consists of atomic words, so
    // that a write through the region is one that they allow.
    let region = unsafe { MmapRegion::build_raw(start, MEMORY as usize, protection, flags) };

    let region = region.ok().and_then(|region| GuestRegionMmap::new(region, GuestAddress(0)));
    let region = region.expect("the memory begins at a page and fits into addresses");
    GuestMemoryMmap::from_regions(vec![region]).expect("one region overlaps no other")
}
