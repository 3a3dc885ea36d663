//! The layout of memory while processes run. No batch runs then, so the system uses the arenas'
//! memory.

use super::history;
use crate::layout::{LOW_MEMORY_END, OWN_TABLES};
use mmu_core::PhysAddr;

/// The address of the [`Request`](super::Request). No arena starts here, so this address in the
/// control page distinguishes a request from a batch.
pub const REQUEST: u64 = 0x0040_1000;
/// The address of the [`Response`](super::Response).
pub const RESPONSE: u64 = 0x0040_2000;
/// The address of the [events](super::history) of the last request.
pub const HISTORY: u64 = 0x0041_0000;
/// Maximum number of events that are kept of one request.
pub const MAX_EVENTS: usize = 0x3_0000 / size_of::<[u64; history::WORDS]>();
/// The address of the [`Accounting`](super::accounting::Accounting) after the last request.
pub const ACCOUNTING: u64 = 0x0044_0000;
/// The address of the scripts that processes play.
pub const SCRIPTS: u64 = 0x0045_0000;
/// Number of pages of scripts.
pub const SCRIPT_PAGES: u64 = 16;
/// The first of the system's frames, which hold its page tables and its pages.
pub const FRAMES: PhysAddr = PhysAddr::new(0x0060_0000);
/// Maximum number of frames of the guest's system.
pub const MAX_FRAMES: usize = 256;
/// The address of the backing store, an array of page-sized slots.
pub const STORE: PhysAddr = PhysAddr::new(0x0070_0000);
/// Maximum number of slots of the guest's system.
pub const MAX_SLOTS: usize = 64;

/// The linear address of the programs in every process, whatever its mode.
pub const PROGRAMS_IN_PROCESS: u64 = 0x804f_0000;
/// The linear address of the scripts in every process.
pub const SCRIPTS_IN_PROCESS: u64 = 0x8058_0000;

/// What a frame holds before it is first handed out. Only a wipe turns it into zeros.
pub const LEFT_BEHIND: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// Whether a table entry of this many bytes may be accessed: it is 4 or 8 bytes long, aligned, and
/// inside the memory from the kernel's own tables to the end of low memory.
pub fn holds_entry(at: PhysAddr, bytes: u8) -> bool {
    let last = LOW_MEMORY_END - u64::from(bytes);
    let is_inside = (OWN_TABLES..=last).contains(&at.get());
    is_inside && matches!(bytes, 4 | 8) && at.get().is_multiple_of(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::accounting::Accounting;
    use crate::system::{Request, Response};

    #[test]
    fn nothing_overlaps_and_all_ends_in_low_memory() {
        let pages = |count: usize| count as u64 * 0x1000;
        let history = MAX_EVENTS * size_of::<[u64; history::WORDS]>();

        assert!(REQUEST + size_of::<[u64; Request::WORDS]>() as u64 <= RESPONSE);
        assert!(RESPONSE + size_of::<Response>() as u64 <= HISTORY);
        assert!(HISTORY + history as u64 <= ACCOUNTING);
        assert!(ACCOUNTING + size_of::<Accounting>() as u64 <= SCRIPTS);
        assert!(SCRIPTS + SCRIPT_PAGES * 0x1000 <= FRAMES.get());
        assert!(FRAMES.get() + pages(MAX_FRAMES) <= STORE.get());
        assert!(STORE.get() + pages(MAX_SLOTS) <= LOW_MEMORY_END);
    }

    /// The guest's kernel makes a pointer of what is inside, so nothing else may be.
    #[test]
    fn an_entry_is_aligned_and_in_memory() {
        for (at, bytes, expected) in [
            (OWN_TABLES, 8, true),
            (OWN_TABLES + 4, 4, true),
            (LOW_MEMORY_END - 8, 8, true),
            (LOW_MEMORY_END - 4, 4, true),
            (OWN_TABLES - 8, 8, false),
            (OWN_TABLES + 4, 8, false),
            (OWN_TABLES + 2, 4, false),
            (LOW_MEMORY_END, 8, false),
            (LOW_MEMORY_END - 4, 8, false),
            // Its end is 2^64, which is 0.
            (u64::MAX - 7, 8, false),
            (u64::MAX - 3, 4, false),
            // No entry has such a size.
            (OWN_TABLES, 0, false),
            (OWN_TABLES + 1, 1, false),
            (OWN_TABLES, 16, false),
        ] {
            assert_eq!(holds_entry(PhysAddr::new(at), bytes), expected, "{at:#x}, {bytes} bytes");
        }
    }
}
