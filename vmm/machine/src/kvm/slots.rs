//! KVM's memory slots: the guest's physical memory, some pages of which the guest can only read.

use crate::MachineError;
use crate::memory::{GuestMemory, HostRegion};
use crosswalk_guest::high;
use crosswalk_guest::layout::Arena;
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VmFd};

/// A range of the guest's physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestRange {
    /// The first guest-physical address.
    pub start: u64,
    /// The size in bytes.
    pub len: u64,
    /// Where [`GuestMemory`] has the bytes: at `start`, unless they appear a second time there.
    pub place: u64,
}

/// The guest's physical memory on a processor with addresses of this width: low memory and the data memory, the windows
/// of page tables that are within, and the data memory again at further addresses.
pub(super) fn ranges(
    memory: &GuestMemory,
    physical_address_bits: u8,
) -> impl Iterator<Item = GuestRange> {
    let is_within =
        move |range: &GuestRange| (range.start + range.len - 1) >> physical_address_bits == 0;
    let own = memory.regions().map(|HostRegion { guest_physical: start, len, .. }| GuestRange {
        start,
        len,
        place: start,
    });
    let again = high::parts(physical_address_bits);
    let again = again.map(|(start, place)| GuestRange { start, len: high::PART_SIZE, place });
    own.filter(is_within).chain(again)
}

/// The memory slots of a virtual machine.
#[derive(Debug)]
pub(super) struct MemorySlots {
    /// The slots that the guest can only read.
    read_only: Vec<kvm_userspace_memory_region>,
    /// Keeps the memory behind the slots mapped.
    _memory: GuestMemory,
}

impl MemorySlots {
    /// Gives a virtual machine all memory: low memory and the data memory, with pages that can only
    /// be read where KVM supports them, and the data memory again at further addresses.
    pub(super) fn map(
        kvm: &Kvm,
        vm: &VmFd,
        memory: &GuestMemory,
        physical_address_bits: u8,
    ) -> Result<Self, MachineError> {
        let can_be_read_only = kvm.check_extension(Cap::ReadonlyMem);
        let parts =
            ranges(memory, physical_address_bits).map(|GuestRange { start, len, place }| {
                HostRegion { guest_physical: start, host_address: memory.host_address(place), len }
            });
        let parts = parts.flat_map(split_at_read_only_pages);

        let mut read_only = Vec::new();
        for (slot, HostRegion { guest_physical, host_address, len }) in (0..).zip(parts) {
            let is_read_only = can_be_read_only && is_read_only_page(guest_physical);
            let region = kvm_userspace_memory_region {
                slot,
                flags: if is_read_only { KVM_MEM_READONLY } else { 0 },
                guest_phys_addr: guest_physical,
                memory_size: len,
                userspace_addr: host_address,
            };

            // SAFETY: the region is part of `memory`, which the result keeps mapped.
            unsafe { set_region(vm, region) }?;
            if is_read_only {
                read_only.push(region);
            }
        }

        Ok(Self { read_only, _memory: memory.clone() })
    }

    /// Removes the read-only slots and adds them again. The host has written to this memory, and
    /// KVM drops what it derived from it together with the slots.
    pub(super) fn renew_read_only(&self, vm: &VmFd) -> Result<(), MachineError> {
        for region in &self.read_only {
            let removed = kvm_userspace_memory_region { memory_size: 0, ..*region };

            // SAFETY: a size of 0 removes the slot, so the guest loses access to memory and gains
            // none.
            unsafe { set_region(vm, removed) }?;
            // SAFETY: `map` took the region from memory that `self` keeps mapped.
            unsafe { set_region(vm, *region) }?;
        }

        Ok(())
    }
}

/// Adds, or with a size of 0 removes, a memory slot.
///
/// # Safety
/// The region must be part of a [`GuestMemory`] that outlives the virtual machine. (The host
/// accesses such memory with volatile accesses only, so the guest may write to it at any time.)
unsafe fn set_region(vm: &VmFd, region: kvm_userspace_memory_region) -> Result<(), MachineError> {
    // SAFETY: the caller guarantees that the memory is mapped as long as the guest can access it.
    unsafe { vm.set_user_memory_region(region) }
        .map_err(MachineError::host("KVM_SET_USER_MEMORY_REGION"))
}

/// Cuts a region so that each read-only page becomes a part of its own.
fn split_at_read_only_pages(region: HostRegion) -> Vec<HostRegion> {
    let HostRegion { guest_physical, host_address, len } = region;
    let end = guest_physical + len;

    let read_only = Arena::ALL.map(Arena::read_only_table);
    let mut cuts: Vec<u64> = read_only.into_iter().flat_map(|page| [page, page + 0x1000]).collect();
    cuts.retain(|cut| (guest_physical + 1..end).contains(cut));
    cuts.dedup();
    cuts.push(end);

    let mut start = guest_physical;
    cuts.into_iter()
        .map(|end| {
            let part = HostRegion {
                guest_physical: start,
                host_address: host_address + (start - guest_physical),
                len: end - start,
            };
            start = end;
            part
        })
        .collect()
}

/// Whether a part that starts at an address is a page that the guest can only read.
fn is_read_only_page(start: u64) -> bool {
    Arena::ALL.into_iter().any(|arena| arena.read_only_table() == start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_pages_become_parts_of_their_own() {
        let [first, second] = Arena::ALL.map(Arena::read_only_table);
        let low = HostRegion { guest_physical: 0, host_address: 0x7000_0000, len: 0x80_0000 };

        let parts: Vec<_> = split_at_read_only_pages(low)
            .into_iter()
            .map(|part| (part.guest_physical, part.host_address - 0x7000_0000, part.len))
            .collect();

        assert_eq!(
            parts,
            [
                (0, 0, first),
                (first, first, 0x1000),
                (second, second, 0x1000),
                (second + 0x1000, second + 0x1000, 0x80_0000 - second - 0x1000),
            ]
        );
    }

    #[test]
    fn other_memory_stays_in_one_part() {
        let data =
            HostRegion { guest_physical: 0x4000_0000, host_address: 0x1000, len: 0x4000_0000 };
        assert_eq!(split_at_read_only_pages(data).len(), 1);
    }
}
