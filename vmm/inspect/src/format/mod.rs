//! The formats of memory images: which physical addresses a file has, and what it says about the
//! processors.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

mod elf;
mod lime;
mod raw;

pub use raw::{RamRange, RamRangeError};

use crate::error::{AboutFile, MemoryImageError};
use crate::extents::Extents;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::str::FromStr;

/// The format of a memory image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// An ELF core file: `dump-guest-memory` of QEMU, `virsh dump --memory-only`, a vmcore.
    Elf,
    /// `LiME`, version 1.
    Lime,
    /// Memory and nothing else.
    Raw,
}

impl ImageFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Elf, Self::Lime, Self::Raw];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::Lime => "lime",
            Self::Raw => "raw",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ImageFormat {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or("expected one of elf, lime, raw")
    }
}

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) extents: Extents,
    /// Whether the ELF header names a processor in long mode.
    pub(crate) is_64_bit: Option<bool>,
    /// The notes that QEMU wrote, one for each CPU.
    pub(crate) cpu_notes: Vec<Vec<u8>>,
    /// The text of VMCOREINFO.
    pub(crate) vmcoreinfo: Option<Vec<u8>>,
}

/// The magic numbers of formats, and what they are.
const KNOWN: [(&[u8], Recognized); 9] = [
    (b"\x7fELF", Recognized::Read(ImageFormat::Elf)),
    (b"EMiL", Recognized::Read(ImageFormat::Lime)),
    (
        b"KDUMP   ",
        Recognized::Refused(
            "it is a compressed kdump: convert it to ELF, for instance with `makedumpfile -E`",
        ),
    ),
    (b"DISKDUMP", Recognized::Refused("it is a compressed diskdump: convert it to ELF")),
    (
        b"makedumpfile",
        Recognized::Refused(
            "it is a flattened kdump: rearrange it with `makedumpfile -R`, and convert it to ELF",
        ),
    ),
    (
        b"LMVA",
        Recognized::Refused("it is an AVML image of version 2: convert it with `avml-convert`"),
    ),
    (b"PAGEDU64", Recognized::Refused("it is a Windows crash dump: convert it to raw memory")),
    (b"PAGEDUMP", Recognized::Refused("it is a Windows crash dump: convert it to raw memory")),
    (
        b"QEVM",
        Recognized::Refused(
            "it is a QEMU migration stream, or a file of `savevm`: load it into QEMU, and use `dump-guest-memory`",
        ),
    ),
];

#[derive(Clone, Copy)]
enum Recognized {
    Read(ImageFormat),
    Refused(&'static str),
}

/// Reads what a file says, in the format that is asked for or that its beginning shows.
pub(crate) fn read(
    file: &File,
    about: &AboutFile,
    format: Option<ImageFormat>,
    ram: &[RamRange],
) -> Result<(ImageFormat, Contents), MemoryImageError> {
    let len = file.metadata().map_err(|error| about.host("its size", error))?.len();
    let format = match format {
        Some(format) => format,
        None if !ram.is_empty() => ImageFormat::Raw,
        None => recognize(file, about)?,
    };

    let contents = match format {
        ImageFormat::Elf => elf::read(file, len, about)?,
        ImageFormat::Lime => lime::read(file, len, about)?,
        ImageFormat::Raw => raw::read(len, ram, about)?,
    };
    Ok((format, contents))
}

fn recognize(file: &File, about: &AboutFile) -> Result<ImageFormat, MemoryImageError> {
    let mut magic = [0; 12];
    let count =
        file.read_at(&mut magic, 0).map_err(|error| about.host("its first bytes", error))?;
    let magic = magic.get(..count).unwrap_or_default();

    let known = KNOWN.iter().find(|(start, _)| magic.starts_with(start));
    match known.map(|(_, recognized)| *recognized) {
        Some(Recognized::Read(format)) => Ok(format),
        Some(Recognized::Refused(advice)) => Err(about.unsupported(advice)),
        None => Err(about.unsupported(
            "its first bytes are of no format that is known here; if it is raw memory, say what is \
             where: --ram START:LENGTH@OFFSET, or --format raw if it begins at address 0",
        )),
    }
}

/// Whether `len` bytes at `offset` are in a file of this size.
pub(crate) fn is_inside(offset: u64, len: u64, file_len: u64) -> bool {
    offset.checked_add(len).is_some_and(|end| end <= file_len)
}
