//! Where things lie while processes run. No batch runs then, so it is the memory of the arenas.

use mmu_core::PhysAddr;

/// The order. No arena starts here, so its address in the control page tells it from a batch.
pub const REQUEST: u64 = 0x0040_1000;
/// The answer.
pub const RESPONSE: u64 = 0x0040_2000;
/// The events of the last order.
pub const HISTORY: u64 = 0x0041_0000;
/// The most events of an order.
pub const MAX_EVENTS: usize = 0x3_0000 / (8 * super::history::WORDS);
/// The books after the last order.
pub const ACCOUNTING: u64 = 0x0044_0000;
/// The scripts of steps that processes are to make.
pub const SCRIPTS: u64 = 0x0045_0000;
/// Pages of scripts.
pub const SCRIPT_PAGES: u64 = 16;
/// The frames of the system, tables and pages.
pub const FRAMES: PhysAddr = PhysAddr::new(0x0060_0000);
/// The most frames that the guest's system has.
pub const MAX_FRAMES: usize = 256;
/// The slots of the backing store.
pub const STORE: PhysAddr = PhysAddr::new(0x0070_0000);
/// The most slots that the guest's system has.
pub const MAX_SLOTS: usize = 64;

/// Where a process finds the programs that it can run, whatever its mode.
pub const PROGRAMS_IN_PROCESS: u64 = 0x804f_0000;
/// Where a process finds the scripts.
pub const SCRIPTS_IN_PROCESS: u64 = 0x8058_0000;

/// What frames hold before anybody was given one: only a wipe makes zeros of it.
pub const LEFT_BEHIND: u64 = 0xa5a5_a5a5_a5a5_a5a5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LOW_MEMORY_END;

    #[test]
    fn nothing_overlaps_and_all_ends_in_low_memory() {
        let pages = |count: usize| count as u64 * 0x1000;
        assert!(HISTORY + (MAX_EVENTS * 8 * crate::system::history::WORDS) as u64 <= ACCOUNTING);
        assert!(ACCOUNTING + size_of::<crate::system::accounting::Accounting>() as u64 <= SCRIPTS);
        assert!(SCRIPTS + SCRIPT_PAGES * 0x1000 <= FRAMES.get());
        assert!(FRAMES.get() + pages(MAX_FRAMES) <= STORE.get());
        assert!(STORE.get() + pages(MAX_SLOTS) <= LOW_MEMORY_END);
    }
}
