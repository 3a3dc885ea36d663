//! Writing a dump: an ELF core file with a note for each CPU, as QEMU's `dump-guest-memory` makes it. QEMU's own
//! dumps, crash and this crate read the same format.

use crate::registers::CpuNote;
use std::io::{self, Write};

/// Sizes of an ELF header and of a program header of 64 bits.
const HEADER: u64 = 64;
const SEGMENT: u64 = 56;

/// `EM_X86_64`, and `EM_386`.
const MACHINES: [u16; 2] = [62, 3];

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// A range of physical memory that a dump has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpRange {
    /// The first address.
    pub start: u64,
    /// The size in bytes.
    pub len: u64,
}

/// Writes a dump of a guest in long mode or not. `read` fills a buffer with memory from an address on; it is asked for
/// each range in order, some pages at a time.
///
/// ```
/// use crosswalk_inspect::{CpuNote, DumpRange, ImageOptions, MemoryImage, write_dump};
///
/// let cpu = CpuNote { rip: 0, cs_flags: 1 << 21, cr0: 0x8000_0011, cr3: 0x1000, cr4: 0x20 };
/// let ranges = [DumpRange { start: 0x1000, len: 0x2000 }];
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("guest.elf");
/// let mut file = std::fs::File::create(&path)?;
/// write_dump(&mut file, true, &[cpu], &ranges, |_, bytes| bytes.fill(0))?;
///
/// let image = MemoryImage::open(&path, &ImageOptions::default())?;
/// assert_eq!(image.cpus(), [cpu]);
/// assert_eq!(image.memory().byte_count(), 0x2000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If it cannot be written, or there are more ranges than a dump can have.
pub fn write_dump(
    out: &mut impl Write,
    is_64_bit: bool,
    cpus: &[CpuNote],
    ranges: &[DumpRange],
    mut read: impl FnMut(u64, &mut [u8]),
) -> io::Result<()> {
    const BLOCK: u64 = 1 << 20;

    let count = u16::try_from(ranges.len() + 1).map_err(io::Error::other)?;
    let notes: Vec<u8> = cpus.iter().flat_map(note).collect();
    out.write_all(&header(is_64_bit, count))?;

    let mut offset = HEADER + SEGMENT * u64::from(count);
    out.write_all(&segment(PT_NOTE, 0, notes.len() as u64, offset))?;
    offset += notes.len() as u64;
    for range in ranges {
        out.write_all(&segment(PT_LOAD, range.start, range.len, offset))?;
        offset += range.len;
    }

    out.write_all(&notes)?;
    let mut block = vec![0; BLOCK as usize];
    for range in ranges {
        for done in (0..range.len).step_by(BLOCK as usize) {
            let bytes = &mut block[..BLOCK.min(range.len - done) as usize];
            read(range.start + done, bytes);
            out.write_all(bytes)?;
        }
    }
    Ok(())
}

/// The header of a core file, whose program headers follow it.
fn header(is_64_bit: bool, segments: u16) -> Vec<u8> {
    let [long_mode, legacy] = MACHINES;
    let machine = if is_64_bit { long_mode } else { legacy };

    // ELFCLASS64, little endian, version 1; then ET_CORE.
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0".to_vec();
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    // Entry point, program headers, section headers, flags.
    for word in [0, HEADER, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for half in [HEADER as u16, SEGMENT as u16, segments, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    bytes
}

fn segment(kind: u32, address: u64, len: u64, offset: u64) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(0_u32.to_le_bytes());
    for word in [offset, 0, address, len, len, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// What is in a note: 55 words, of which the first has the version and the size. Words 20 and up have the segments; 49
/// and up CR0, CR2, CR3 and CR4.
fn contents(cpu: &CpuNote) -> Vec<u8> {
    const WORDS: usize = 55;
    const VERSION: u64 = 1;

    let words = (0..WORDS).map(|index| match index {
        0 => VERSION | (8 * WORDS as u64) << 32,
        17 => cpu.rip,
        20 => cpu.cs_flags.into(),
        49 => cpu.cr0,
        52 => cpu.cr3,
        53 => cpu.cr4,
        _ => 0,
    });
    words.flat_map(u64::to_le_bytes).collect()
}

/// A note of QEMU with the registers of a CPU.
fn note(cpu: &CpuNote) -> Vec<u8> {
    let contents = contents(cpu);
    let mut bytes = 5_u32.to_le_bytes().to_vec();
    bytes.extend((contents.len() as u32).to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(b"QEMU\0\0\0\0");
    bytes.extend(contents);
    bytes
}
