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

mod avml;
mod contradiction;
mod elf;
mod kdump;
mod lime;
mod notes;
mod raw;
mod windows;

pub use raw::{RamRange, RamRangeError};

use crate::bytes::{FLATTENED_SIGNATURE, ImageBytes};
use crate::error::{AboutFile, MemoryImageError};
use crate::layout::Layout;
use rustix::fs::{SeekFrom, seek};
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
    /// A compressed kdump, flattened or not: makedumpfile, or `dump-guest-memory -z` of QEMU.
    Kdump,
    /// AVML, version 2.
    Avml,
    /// A crash dump of 64-bit Windows: a complete one, or one with a bitmap.
    Windows,
    /// Memory and nothing else.
    Raw,
}

impl ImageFormat {
    /// Every format.
    pub const ALL: [Self; 6] =
        [Self::Elf, Self::Lime, Self::Kdump, Self::Avml, Self::Windows, Self::Raw];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::Lime => "lime",
            Self::Kdump => "kdump",
            Self::Avml => "avml",
            Self::Windows => "windows",
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
        found.ok_or("expected one of elf, lime, kdump, avml, windows, raw")
    }
}

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) layout: Layout,
    /// A physical address that is in the file more than once, with different bytes.
    pub(crate) contradiction: Option<u64>,
    /// Whether the header names a processor in long mode.
    pub(crate) is_64_bit: Option<bool>,
    /// The notes that QEMU wrote, one for each CPU.
    pub(crate) cpu_notes: Vec<Vec<u8>>,
    /// CR3, where the header has it and there are no notes.
    pub(crate) cr3: Option<u64>,
    /// The text of VMCOREINFO.
    pub(crate) vmcoreinfo: Option<Vec<u8>>,
}

/// The magic numbers of formats, and what they are.
const KNOWN: [(&[u8], Recognized); 9] = [
    (b"\x7fELF", Recognized::Read(ImageFormat::Elf)),
    (b"EMiL", Recognized::Read(ImageFormat::Lime)),
    (kdump::SIGNATURE, Recognized::Read(ImageFormat::Kdump)),
    (FLATTENED_SIGNATURE, Recognized::Read(ImageFormat::Kdump)),
    (b"AVML", Recognized::Read(ImageFormat::Avml)),
    (windows::SIGNATURE, Recognized::Read(ImageFormat::Windows)),
    (b"DISKDUMP", Recognized::Refused("it is a diskdump: convert it with `makedumpfile -E`")),
    (
        b"PAGEDUMP",
        Recognized::Refused(
            "it is a crash dump of 32-bit Windows, which is not read here: convert it to raw memory",
        ),
    ),
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
    file: File,
    about: &AboutFile,
    format: Option<ImageFormat>,
    ram: &[RamRange],
) -> Result<(ImageFormat, ImageBytes, Contents), MemoryImageError> {
    // Metadata know no size of a block device.
    let len =
        seek(&file, SeekFrom::End(0)).map_err(|error| about.host("its size", error.into()))?;
    let format = match format {
        Some(format) => format,
        None if !ram.is_empty() => ImageFormat::Raw,
        None => recognize(&file, about)?,
    };
    if format != ImageFormat::Raw && !ram.is_empty() {
        let advice = format!(
            "--ram says what is where in raw memory, and {format} says it by itself: leave out --ram, or say \
             --format raw"
        );
        return Err(about.unsupported(advice));
    }

    let is_flattened =
        format == ImageFormat::Kdump && beginning(&file, about)?.starts_with(FLATTENED_SIGNATURE);
    let contents = match format {
        ImageFormat::Elf => elf::read(&file, len, about)?,
        ImageFormat::Lime => lime::read(&file, len, about)?,
        ImageFormat::Raw => raw::read(len, ram, about)?,
        ImageFormat::Kdump | ImageFormat::Avml | ImageFormat::Windows => {
            let bytes = if is_flattened {
                ImageBytes::flattened(file, len, about)?
            } else {
                ImageBytes::new(file, len)
            };
            let contents = match format {
                ImageFormat::Avml => avml::read(&bytes, about)?,
                ImageFormat::Windows => windows::read(&bytes, about)?,
                _ => kdump::read(&bytes, about)?,
            };
            return Ok((format, bytes, contents));
        }
    };
    Ok((format, ImageBytes::new(file, len), contents))
}

/// Number of bytes that show the format.
const BEGINNING: usize = 12;

/// The first bytes of a file. What is behind its end is zero.
fn beginning(file: &File, about: &AboutFile) -> Result<[u8; BEGINNING], MemoryImageError> {
    let mut bytes = [0; BEGINNING];
    file.read_at(&mut bytes, 0).map_err(|error| about.host("its first bytes", error))?;
    Ok(bytes)
}

fn recognize(file: &File, about: &AboutFile) -> Result<ImageFormat, MemoryImageError> {
    let magic = beginning(file, about)?;
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
