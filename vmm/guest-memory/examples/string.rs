//! Reads and writes guest memory by virtual address: a string across two pages, and a fault.
//!
//! ```sh
//! cargo run --package crosswalk-memory --example string
//! ```

use crosswalk_memory::VirtualMemory;
use mmu_core::{ControlState, Profile, Ring, VirtAddr};
use std::error::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Flags of an entry: present, writable, user.
const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;

fn main() -> Result<(), Box<dyn Error>> {
    let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)])?;

    // Two consecutive pages, whose frames are not consecutive; the second is read-only for user code.
    for (at, entry) in [
        (0x1000, 0x2000 | P | RW | US), // PML4E
        (0x2000, 0x3000 | P | RW | US), // PDPTE
        (0x3000, 0x4000 | P | RW | US), // PDE
        (0x4008, 0x9000 | P | RW | US), // PTE of linear 0x1000
        (0x4010, 0x6000 | P | US),      // PTE of linear 0x2000
    ] {
        memory.write_obj(entry, GuestAddress(at))?;
    }
    memory.write_slice(b"Hello, ", GuestAddress(0x9ff9))?;
    memory.write_slice(b"guest!", GuestAddress(0x6000))?;

    let state = ControlState::four_level(0x1000);
    let mut guest = VirtualMemory::new(&memory, state, Profile::default());

    // The read takes each part of the string from its own frame.
    let address = VirtAddr::new(0x1ff9);
    let mut text = [0; 13];
    guest.read(address, &mut text, Ring::Three)?;
    println!("read at {address}: {}", String::from_utf8_lossy(&text));

    // The write faults on the second page, and stores nothing on the first (AD-7).
    match guest.write(address, b"HELLO, GUEST!", Ring::Three) {
        Ok(()) => unreachable!("the second page is read-only"),
        Err(error) => println!("write at {address}: {error}"),
    }
    guest.read(address, &mut text, Ring::Three)?;
    println!("read at {address}: {}", String::from_utf8_lossy(&text));

    // A write to the first page alone completes, and sets A and D in its entry.
    guest.write(address, b"HELLO, ", Ring::Three)?;
    guest.read(address, &mut text, Ring::Three)?;
    println!("read at {address}: {}", String::from_utf8_lossy(&text));
    println!("the PTE is {:#x}", memory.read_obj::<u64>(GuestAddress(0x4008))?);
    Ok(())
}
