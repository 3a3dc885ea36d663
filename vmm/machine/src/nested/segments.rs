//! The segments of L2, all flat, and its flags.

use super::Lane;

/// A segment register with its hidden part. All bases are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) selector: u16,
    /// In the format of VMX (SDM "Format of Access Rights").
    pub(super) rights: u32,
    pub(super) limit: u32,
}

// Access rights.
const ACCESSED_DATA: u32 = 0x3; // Writable
const ACCESSED_CODE: u32 = 0xb; // Readable
const BUSY_TASK: u32 = 0xb;
const LOCAL_TABLE: u32 = 0x2;
const CODE_OR_DATA: u32 = 1 << 4;
const PRESENT: u32 = 1 << 7;
const LONG: u32 = 1 << 13;
const WIDE: u32 = 1 << 14;
const PAGES: u32 = 1 << 15;
const UNUSABLE: u32 = 1 << 16;

/// The selectors of the guest's GDT, which L2 does not read.
const CODE_SELECTOR: u16 = 0x08;
const DATA_SELECTOR: u16 = 0x10;
const TASK_SELECTOR: u16 = 0x18;

/// The bit of RFLAGS that is always 1.
const PLAIN_RFLAGS: u64 = 0x2;
/// RFLAGS.AC.
const ALIGNMENT_CHECK: u64 = 1 << 18;

/// The code segment of a lane.
pub(super) fn code(lane: &Lane) -> Segment {
    let size = if lane.is_64_bit { LONG } else { WIDE };
    flat(CODE_SELECTOR, ACCESSED_CODE | size, lane)
}

/// The data segment of a lane, which is also that of the stack.
pub(super) fn data(lane: &Lane) -> Segment {
    flat(DATA_SELECTOR, ACCESSED_DATA | WIDE, lane)
}

/// A task-state segment, which an entry of VMX requires.
pub(super) const fn task() -> Segment {
    Segment { selector: TASK_SELECTOR, rights: PRESENT | BUSY_TASK, limit: 0x67 }
}

/// The local descriptor table: none.
pub(super) const fn local_table() -> Segment {
    Segment { selector: 0, rights: UNUSABLE | LOCAL_TABLE, limit: 0 }
}

/// RFLAGS of a lane.
pub(super) const fn rflags(lane: &Lane) -> u64 {
    if lane.ac { PLAIN_RFLAGS | ALIGNMENT_CHECK } else { PLAIN_RFLAGS }
}

fn flat(selector: u16, rights: u32, lane: &Lane) -> Segment {
    let ring = u16::from(lane.ring.cpl());
    let common = CODE_OR_DATA | PRESENT | PAGES | u32::from(ring) << 5;
    Segment { selector: selector | ring, rights: rights | common, limit: u32::MAX }
}

impl Segment {
    /// The access rights in the format of a VMCB: bits 7:0, and 15:12 behind them.
    pub(super) const fn attributes(self) -> u16 {
        (self.rights & 0xff | self.rights >> 4 & 0xf00) as u16
    }
}
