//! The layout of the guest's physical memory and of its own linear addresses.
//!
//! ```text
//! physical                        contents                          linear (user / supervisor)
//! 0x0010_0000                     the image, then its stacks        same / +0x4000_0000
//! 0x0020_0000                     the guest's own page tables       same / +0x4000_0000
//! 0x0030_0000                     the control page                  same / +0x4000_0000
//! 0x003f_0000                     two read-only page tables         same / +0x4000_0000
//! 0x0040_0000, 0x0060_0000        arena 0, arena 1; while           same / +0x4000_0000
//!                                 processes run, the memory of
//!                                 their system (system/layout.rs)
//! 0x4000_0000 .. 0x8000_0000      data frames, few of them in use   mapped by cases only
//! 0x8000_0000 .. 0xa000_0000      the first half of them again      mapped by cases only
//! from 0x1_0000_0000              the data frames again, at high    mapped by cases only
//!                                 addresses (high.rs), and holes
//! 0x40_0040_0000, 0xbf_0040_0000  windows of further page tables    0x0002_0000
//!                                 (table_windows.rs)
//! ```
//!
//! The guest's own memory is mapped twice, through the slots of every root that tables.rs lists: as
//! user pages and, 1 GiB higher, as supervisor pages (the supervisor window). Ring 3 thus reaches
//! everything it needs, and ring 0 never touches a user page of its own accord, whatever SMEP and
//! SMAP require. Without paging there is no window, and ring 0 uses the user addresses, which equal
//! the physical ones.

use crate::mailbox::AccessRecord;
use mmu_core::Ring;

/// The address at which the reset ROM appears below 1 MiB, on machines that have one. It ends at
/// [`IMAGE_BASE`].
pub const ROM_BASE: u64 = 0x000f_0000;
/// The physical address at which the image is loaded, which is also its user address.
pub const IMAGE_BASE: u64 = 0x0010_0000;
/// The page of the code that changes paging (switch.s). It runs in ring 0 at its physical address
/// while paging changes underneath it. It is not a user page, because SMEP may be on.
pub const SWITCH_PAGE: u64 = IMAGE_BASE + 0x4000;
/// The supervisor pages that every process maps: descriptor tables, vectors, switch.s, and
/// processes.s with its data.
pub const PROCESS_PAGES: core::ops::Range<u64> = IMAGE_BASE + 0x1000..IMAGE_BASE + 0x7000;
/// The page of the programs that processes run (programs.s).
pub const PROGRAMS_PAGE: u64 = PROCESS_PAGES.end;
/// Where a call through memory goes in ring 3, and returns to: the instruction behind it (operands.s).
pub const CALL_TARGET: u64 = PROGRAMS_PAGE + 0x1040;
/// The end of the image and its stacks.
pub const IMAGE_END: u64 = 0x0018_0000;
/// The top of the ring-3 stack.
pub const USER_STACK_TOP: u64 = 0x0016_0000;
/// The top of the stack for exceptions (IST 1).
pub const FAULT_STACK_TOP: u64 = 0x0017_0000;
/// The top of the stack for double faults (IST 2).
pub const DOUBLE_FAULT_STACK_TOP: u64 = 0x0017_8000;

/// The page of the shadow stack on which a fault of ring 0 goes on: in the supervisor window it is one (RIGHT-7).
pub const SHADOW_STACK: u64 = 0x0017_9000;
/// The token at the start of that shadow stack.
pub const SHADOW_STACK_TOKEN: u64 = SHADOW_STACK + 0xff8;

/// The page tables that map the guest itself in long mode: the root, then the others. The host
/// builds them before the first instruction.
pub const OWN_TABLES: u64 = 0x0020_0000;
/// The tables that map the guest itself in 32-bit paging.
pub const OWN_TABLES_32BIT: u64 = 0x0024_0000;
/// Number of frames reserved for each of the two sets of tables.
pub const OWN_TABLE_FRAMES: usize = 64;
/// The control page, through which host and guest communicate:
/// [`Control`](crate::mailbox::Control).
pub const CONTROL: u64 = 0x0030_0000;
/// Page tables that the guest can only read, one per arena, on machines with read-only memory.
pub const READ_ONLY_TABLES: u64 = 0x003f_0000;
/// The end of low memory: everything the guest uses itself, and all page tables.
pub const LOW_MEMORY_END: u64 = 0x0080_0000;

/// The distance from a user address of the guest to the supervisor address of the same memory.
pub const SUPERVISOR_WINDOW: u64 = 0x4000_0000;

/// Where a call through memory goes in a ring, and returns to.
pub const fn call_target(ring: Ring) -> u64 {
    match ring {
        Ring::Zero => CALL_TARGET + SUPERVISOR_WINDOW,
        Ring::Three => CALL_TARGET,
    }
}

/// The start of the memory that holds data frames.
pub const DATA_BASE: u64 = 0x4000_0000;
/// Size of the data memory: one naturally aligned 1 GiB page.
pub const DATA_SIZE: u64 = 0x4000_0000;
/// Size of the area that each lane owns: one naturally aligned 2 MiB page.
pub const AREA_SIZE: u64 = 0x0020_0000;
/// The first physical address that is certain to have neither memory nor a device.
pub const HOLE_BASE: u64 = 0x1_0000_0000;

/// The distances from low memory to the windows of further page tables (`table_windows.rs`). Over low memory
/// and both windows, every address bit from 32 to 39 takes both values.
pub const TABLE_WINDOWS: [u64; 2] = [0x40_0000_0000, 0xbf_0000_0000];

/// Whether a physical address is in a window of further page tables: a copy of the addresses of both arenas.
///
/// ```
/// use crosswalk_guest::layout::is_in_table_window;
/// assert!(is_in_table_window(0x40_0040_0000) && is_in_table_window(0xbf_007f_ffff));
/// assert!(!is_in_table_window(0x40_003f_ffff) && !is_in_table_window(0x0040_0000));
/// ```
pub const fn is_in_table_window(address: u64) -> bool {
    let [first, second] = TABLE_WINDOWS;
    let low = address.wrapping_sub(if address < second { first } else { second });
    low >= Arena::ALL[0].base() && low < LOW_MEMORY_END
}

/// A hole below 4 GiB, within reach of a 32-bit page-table entry.
pub const LOW_HOLE: core::ops::Range<u64> = 0xa000_0000..0xb000_0000;

/// The last page below 4 GiB, to which a 32-bit entry of all ones points. It holds at most a ROM.
const LAST_PAGE: u64 = 0xffff_f000;

/// Whether an address is outside everything in this layout, except possibly the data memory at further
/// addresses (high.rs).
///
/// ```
/// use crosswalk_guest::layout::is_above_the_layout;
/// assert!(is_above_the_layout(0xa000_0000) && is_above_the_layout(0xffff_f000));
/// assert!(!is_above_the_layout(0x9fff_ffff) && !is_above_the_layout(0xfee0_0000));
/// ```
pub const fn is_above_the_layout(address: u64) -> bool {
    if is_in_table_window(address) {
        return false;
    }
    address >= LAST_PAGE || (address >= LOW_HOLE.start && address < LOW_HOLE.end)
}

/// Maximum number of cases in a batch. Each case has a lane of its own, and lane `i` owns data area
/// `i`.
pub const MAX_LANES: usize = 480;
/// Lanes at this distance have their frames at the same place of their areas.
const SPREAD: usize = 127;
/// Lanes at this distance are twins: their frames are at the same place of their areas, and the areas at
/// the same place of 4 MiB. A large page of one, moved to the other's area, has frames there.
pub const TWIN_DISTANCE: usize = 2 * SPREAD;
/// Maximum number of sequences that run together. Each has the frames of a lane and of its twin, and
/// their records must fit the lists.
pub const MAX_SEQUENCES: usize = 192;

/// The lane of a sequence in its batch. Its twin belongs to it, too.
///
/// ```
/// use crosswalk_guest::layout::{MAX_LANES, MAX_SEQUENCES, TWIN_DISTANCE, lane_of_sequence};
/// assert!(lane_of_sequence(MAX_SEQUENCES - 1) < TWIN_DISTANCE);
/// assert!(lane_of_sequence(MAX_SEQUENCES - 1) + TWIN_DISTANCE < MAX_LANES);
/// ```
pub const fn lane_of_sequence(number: usize) -> usize {
    number
}

/// The number of the sequence to which a lane belongs.
///
/// ```
/// use crosswalk_guest::layout::{TWIN_DISTANCE, lane_of_sequence, sequence_of_lane};
/// let lane = lane_of_sequence(150);
/// assert_eq!([lane, lane + TWIN_DISTANCE].map(sequence_of_lane), [150; 2]);
/// ```
pub const fn sequence_of_lane(lane: usize) -> usize {
    lane % TWIN_DISTANCE
}

/// The distance from a record to the frame of its fault, which is as long.
pub const FRAME_DISTANCE: u64 = 0x6_0000;
/// The distance from a record to the registers at its fault, which are as long.
pub const REGISTERS_DISTANCE: u64 = 0x8_0000;

/// Number of contiguous data frames that a lane has in each arena.
pub const FRAMES_PER_LANE: u64 = 2;

/// The memory of one batch. There are two arenas, so that the host can judge one batch while the
/// guest runs the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arena(u8);

impl Arena {
    /// Both arenas.
    pub const ALL: [Self; 2] = [Self(0), Self(1)];
    /// Number of page tables in an arena.
    pub const TABLES: usize = 10;

    /// The arena of the batch with this number: batches alternate between the two.
    pub const fn for_batch(number: u64) -> Self {
        Self((number & 1) as u8)
    }

    /// The arena's number, 0 or 1.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The address of the arena, where its [`Header`](crate::mailbox::Header) is.
    pub const fn base(self) -> u64 {
        0x0040_0000 + self.0 as u64 * 0x0020_0000
    }

    /// The number of the first record of the ring-0 list.
    pub const FIRST_SUPERVISOR_RECORD: usize = 2560;
    /// Number of records for which there is room: of both lists, or of the one list of sequences.
    pub const RECORDS: usize =
        (Self::IMAGES - Self::FIRST_RECORD) as usize / size_of::<AccessRecord>();

    const FIRST_RECORD: u64 = 0x1000;
    const IMAGES: u64 = 0x2_0000;

    /// The address of record `number`. The ring-3 list starts with record 0, and so does the one list of
    /// sequences.
    pub const fn record(self, number: usize) -> u64 {
        self.base() + Self::FIRST_RECORD + number as u64 * size_of::<AccessRecord>() as u64
    }

    /// The number of the record that contains an address; `None` if none does.
    ///
    /// ```
    /// use crosswalk_guest::layout::Arena;
    /// let arena = Arena::ALL[0];
    /// assert_eq!(arena.record_at(arena.record(7) + 23), Some(7));
    /// assert_eq!(arena.record_at(arena.record(0) - 1), None);
    /// assert_eq!(arena.record_at(arena.record(Arena::RECORDS)), None);
    /// ```
    pub const fn record_at(self, address: u64) -> Option<usize> {
        let Some(offset) = address.checked_sub(self.record(0)) else { return None };
        let number = offset as usize / size_of::<AccessRecord>();
        if number < Self::RECORDS { Some(number) } else { None }
    }

    /// The address at which the guest keeps the frame of a fault
    /// ([`FrameRecord`](crate::mailbox::FrameRecord)).
    pub const fn frame(self, record: usize) -> u64 {
        self.record(record) + FRAME_DISTANCE
    }

    /// The address at which it keeps the registers
    /// ([`RegisterRecord`](crate::mailbox::RegisterRecord)).
    pub const fn registers(self, record: usize) -> u64 {
        self.record(record) + REGISTERS_DISTANCE
    }

    /// The address of the records of the ring-3 list.
    pub const fn user_records(self) -> u64 {
        self.record(0)
    }

    /// The address of the records of the ring-0 list.
    pub const fn supervisor_records(self) -> u64 {
        self.record(Self::FIRST_SUPERVISOR_RECORD)
    }

    /// The address of the host's copy of table `index`, which the guest copies to [`Self::table`].
    pub const fn table_image(self, index: usize) -> u64 {
        self.base() + Self::IMAGES + index as u64 * 0x1000
    }

    /// The address of page table `index`, which must be less than [`Self::TABLES`]. Table 0 is the
    /// root; tables.rs assigns the others to levels.
    pub const fn table(self, index: usize) -> u64 {
        self.base() + 0x4_0000 + index as u64 * 0x1000
    }

    /// The address of the page table that the guest can only read, on machines with read-only
    /// memory. The host fills it.
    pub const fn read_only_table(self) -> u64 {
        READ_ONLY_TABLES + self.0 as u64 * 0x1000
    }

    /// Whether an address lies in the read-only table.
    pub const fn is_read_only(self, address: u64) -> bool {
        address & !0xfff == self.read_only_table()
    }

    /// The index of the table that contains an address, if it is a table of this arena.
    ///
    /// ```
    /// use crosswalk_guest::layout::Arena;
    /// let arena = Arena::ALL[1];
    /// assert_eq!(arena.table_at(arena.table(3) + 8), Some(3));
    /// assert_eq!(arena.table_at(0), None);
    /// ```
    pub const fn table_at(self, address: u64) -> Option<usize> {
        let first = self.table(0);
        let end = first + Self::TABLES as u64 * 0x1000;

        if address >= first && address < end {
            Some(((address - first) / 0x1000) as usize)
        } else {
            None
        }
    }

    /// The address of the first of a lane's two contiguous data frames. Their offset in the lane's
    /// area varies from lane to lane, so that every address bit from 12 to 29 takes both values.
    pub const fn data_frames(self, lane: usize) -> u64 {
        let spread = (lane as u64 * 89 + 17) % SPREAD as u64;
        let frame = spread * 4 + self.0 as u64 * FRAMES_PER_LANE;

        DATA_BASE + lane as u64 * AREA_SIZE + frame * 0x1000
    }

    /// The arena that uses the data frame at an address; `None` if no lane uses that frame.
    pub fn of_data(address: u64) -> Option<Self> {
        let lane = lane_of_data(address).filter(|lane| *lane < MAX_LANES)?;

        let owns = |arena: &Self| {
            let first = arena.data_frames(lane);
            (first..first + FRAMES_PER_LANE * 0x1000).contains(&address)
        };

        Self::ALL.into_iter().find(owns)
    }
}

/// The lane whose area contains a data address; `None` outside the data memory.
pub const fn lane_of_data(address: u64) -> Option<usize> {
    if address >= DATA_BASE && address < DATA_BASE + DATA_SIZE {
        Some(((address - DATA_BASE) / AREA_SIZE) as usize)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arenas_do_not_overlap_and_end_in_low_memory() {
        let [first, second] = Arena::ALL;
        assert!(first.table(Arena::TABLES) <= second.base());
        assert!(second.table(Arena::TABLES) <= LOW_MEMORY_END);
    }

    #[test]
    fn data_frames_are_disjoint_within_their_area() {
        for lane in 0..MAX_LANES {
            let [a, b] = Arena::ALL.map(|arena| arena.data_frames(lane));
            assert_eq!((lane_of_data(a), lane_of_data(b + 0x1fff)), (Some(lane), Some(lane)));
            assert!(a + 0x2000 <= b || b + 0x2000 <= a);
        }
    }

    /// (lane * 89 + 17) mod 127 is the same for lanes that are 2 * 127 apart, and so is the half of 4 MiB.
    #[test]
    fn twins_have_their_frames_at_the_same_place() {
        for number in 0..MAX_SEQUENCES {
            let lane = lane_of_sequence(number);
            let twin = lane + TWIN_DISTANCE;
            assert!(twin < MAX_LANES);
            let places = Arena::ALL
                .map(|arena| [lane, twin].map(|lane| arena.data_frames(lane) % (2 * AREA_SIZE)));
            assert!(places.iter().all(|[one, other]| one == other), "{number}");
            assert_eq!([lane, twin].map(sequence_of_lane), [number; 2]);
        }
    }

    #[test]
    fn every_frame_bit_varies() {
        let frames = || (0..MAX_LANES).map(|lane| Arena::ALL[0].data_frames(lane));
        let (all, any) = frames().fold((!0, 0), |(all, any), frame| (all & frame, any | frame));
        assert_eq!((any & !all) & 0x3fff_c000, 0x3fff_c000);
    }
}
