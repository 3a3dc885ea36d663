//! What a loader puts into memory: the front, the guest's image and tables, and the tape, all in one piece from
//! [`LOAD`] on. The front begins with the header of Multiboot and these [`Parameters`], and starts the guest.

use crate::layout::OWN_TABLES;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The physical address at which a loader puts the payload.
pub const LOAD: u64 = 0x0100_0000;
/// The first address that the payload and its buffers cannot use: the data memory follows, and loaders put
/// tables of their own below it.
pub const END: u64 = 0x3f00_0000;
/// The offset in the payload of [`Parameters`].
pub const PARAMETERS: u64 = 0x100;
/// The offset of the entry in 32-bit protected mode without paging: of Multiboot, of PVH, and of the boot sector.
pub const ENTRY_32: u64 = 0x200;
/// The offset of the entry in long mode, with the payload and low memory identity-mapped: that of Linux.
pub const ENTRY_64: u64 = 0x210;

/// Where the payload begins on a medium that a BIOS boots, whatever the size of its sectors.
pub const MEDIUM_OFFSET: u64 = 0x1_0000;
/// A BIOS is asked for pieces of this size.
pub const PIECE: u64 = 0x8000;
/// The offset in the boot sector of the size of the payload in bytes.
pub const SECTOR_BYTES: u64 = 436;

/// The distance from a physical address below 2 GiB to the linear address at which the guest's own page tables map
/// it for ring 3, far from what the cases of any mode use.
pub const FAR_WINDOW: u64 = 0x1_0000_0000;
/// The same for ring 0.
pub const FAR_SUPERVISOR_WINDOW: u64 = FAR_WINDOW + FAR_SIZE;
/// Size of each of these windows.
pub const FAR_SIZE: u64 = 0x8000_0000;
/// The first of the four page directories of these windows: the last of the frames reserved for the guest's own
/// tables.
pub const FAR_DIRECTORIES: u64 = OWN_TABLES + 60 * 0x1000;

/// Where everything is. All addresses are physical.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Parameters {
    /// The guest's image, and its size in bytes.
    pub image: u32,
    /// Its size in bytes.
    pub image_bytes: u32,
    /// The guest's own tables of both formats.
    pub own_tables: u32,
    /// The control page.
    pub control: u32,
    /// The first line of the log.
    pub head: u32,
    /// Its size in bytes.
    pub head_bytes: u32,
    /// The blocks of the tape.
    pub blocks: u32,
    /// Their number.
    pub block_count: u32,
    /// Room for an arena as the tape has it.
    pub scratch: u32,
    /// Room for the original contents of all data frames.
    pub pristine: u32,
    /// Room for text.
    pub text: u32,
    /// From the front: how many bytes the serial port takes at once.
    pub burst: u32,
}

/// Size of the room for text.
pub const TEXT_BYTES: u64 = 0x2_0000;

/// The signature of a hypervisor: EBX, ECX and EDX of CPUID 40000000h.
pub const HYPERVISOR_LEAF: u32 = 0x4000_0000;
