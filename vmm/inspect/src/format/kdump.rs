//! Compressed kdumps (`IMPLEMENTATION` and `diskdump_mod.h` in makedumpfile, `include/sysemu/dump.h` in QEMU):
//! a header, a second one with the places of notes and VMCOREINFO, two bitmaps, and a descriptor for each page
//! of the second one. All are in blocks, each as large as a page.

use super::{Contents, notes};
use crate::bytes::{ImageBytes, half, word};
use crate::error::{AboutFile, MemoryImageError};
use crate::layout::{DESCRIPTOR_BYTES, KdumpPages, Layout, MAX_PAGES, PAGE_BYTES, PageBitmap};
use crate::registers::VMCOREINFO_BYTES;
use object::Endianness;
use object::elf::{FileHeader32, FileHeader64};

pub(super) const SIGNATURE: &[u8] = b"KDUMP   ";

const BLOCK: u64 = PAGE_BYTES as u64;

/// The version and the name of the processor, which is the fifth of six names of 65 bytes.
const VERSION: usize = 8;
const MACHINE: usize = 12 + 4 * 65;

/// Number of pages at the end whose bytes are looked for at once.
const LAST_PAGES: u64 = 1000;

/// The bit of the status that says that the dump was broken off.
const INCOMPLETE: u32 = 0x8;

/// Where the fields of the headers are. They depend on the size of a word of the kernel.
struct Fields {
    /// The status; block size, blocks of the second header, blocks of the bitmaps and number of pages follow,
    /// 32 bits each.
    status: usize,
    /// In the second header, whether the dump is one of several parts.
    split: usize,
    /// Offset and size of VMCOREINFO, and of the notes. A size has a word.
    vmcoreinfo: (usize, usize),
    notes: (usize, usize),
    /// The number of pages in 64 bits.
    pages: usize,
    is_64_bit: bool,
}

const FIELDS_64: Fields = Fields {
    status: 424,
    split: 12,
    vmcoreinfo: (32, 40),
    notes: (48, 56),
    pages: 96,
    is_64_bit: true,
};
const FIELDS_32: Fields = Fields {
    status: 412,
    split: 8,
    vmcoreinfo: (20, 28),
    notes: (32, 40),
    pages: 72,
    is_64_bit: false,
};

/// The fields of a dump that does not name the processor. In a header with words of 64 bits there is the upper
/// half of the microseconds, which is 0, where one of 32 bits has the size of the second header.
fn fields_of(header: &[u8]) -> Fields {
    let block_size = half(header, FIELDS_32.status.saturating_add(4));
    let second_blocks = half(header, FIELDS_32.status.saturating_add(8));
    let is_32_bit = u64::from(block_size) == BLOCK && second_blocks != 0;
    if is_32_bit { FIELDS_32 } else { FIELDS_64 }
}

pub(super) fn read(bytes: &ImageBytes, about: &AboutFile) -> Result<Contents, MemoryImageError> {
    let headers = Headers::read(bytes, about)?;
    let mut contents =
        Contents { is_64_bit: Some(headers.fields.is_64_bit), ..Contents::default() };
    headers.read_notes(bytes, about, &mut contents)?;
    contents.layout = Layout::kdump(headers.pages(bytes, about)?);
    Ok(contents)
}

/// The two headers.
struct Headers {
    fields: Fields,
    first: [u8; PAGE_BYTES],
    second: [u8; PAGE_BYTES],
}

impl Headers {
    fn read(bytes: &ImageBytes, about: &AboutFile) -> Result<Self, MemoryImageError> {
        let place = "the header";
        let first: [u8; PAGE_BYTES] =
            bytes.array(0).map_err(|error| about.unreadable(place, error))?;
        if !first.starts_with(SIGNATURE) {
            let problem = "expected a kdump; what else is flattened, `makedumpfile -R` rearranges";
            return Err(about.malformed(place, problem));
        }
        let machine = first.get(MACHINE..).unwrap_or_default();
        let fields = match machine {
            [b'x', b'8', b'6', b'_', b'6', b'4', 0, ..] => FIELDS_64,
            [b'i', b'3'..=b'6', b'8', b'6', 0, ..] => FIELDS_32,
            // QEMU 9 and later do not name it.
            [0, ..] | [b'U', b'n', b'k', b'n', b'o', b'w', b'n', 0, ..] => fields_of(&first),
            _ => return Err(about.malformed(place, "expected a dump of an x86 processor")),
        };

        let second = bytes.array(BLOCK);
        let second = second.map_err(|error| about.unreadable("the second header", error))?;
        let headers = Self { fields, first, second };
        let block_size = headers.status_field(1);
        if u64::from(block_size) != BLOCK {
            let problem = format!("expected blocks of {BLOCK} bytes, not {block_size}");
            return Err(about.malformed(place, problem));
        }
        if headers.version() >= 2 && half(&headers.second, headers.fields.split) != 0 {
            return Err(about.unsupported(
                "it is one of several parts of a dump: put them together with `makedumpfile --reassemble`",
            ));
        }
        Ok(headers)
    }

    fn version(&self) -> u32 {
        half(&self.first, VERSION)
    }

    /// The status, or a field behind it.
    fn status_field(&self, number: usize) -> u32 {
        half(&self.first, self.fields.status.saturating_add(number.saturating_mul(4)))
    }

    /// A place in the file that the second header names, unless it has no bytes.
    fn place(&self, (offset, size): (usize, usize)) -> Option<(u64, u64)> {
        let size = if self.fields.is_64_bit {
            word(&self.second, size)
        } else {
            half(&self.second, size).into()
        };
        (size > 0).then(|| (word(&self.second, offset), size))
    }

    /// Takes the notes, and VMCOREINFO.
    fn read_notes(
        &self,
        bytes: &ImageBytes,
        about: &AboutFile,
        contents: &mut Contents,
    ) -> Result<(), MemoryImageError> {
        let notes_at = self.place(self.fields.notes).filter(|_| self.version() >= 4);
        if let Some((offset, size)) = notes_at {
            let place = format!("the notes at {offset:#x}");
            let notes = take(bytes, offset, size, notes::MAX_BYTES, about, &place)?;
            let read = if self.fields.is_64_bit {
                notes::read::<FileHeader64<_>>(&notes, Endianness::Little, 4, contents)
            } else {
                notes::read::<FileHeader32<_>>(&notes, Endianness::Little, 4, contents)
            };
            read.map_err(|bad| {
                let at = offset.saturating_add(bad.offset);
                about.malformed(format!("the note at {at:#x}"), bad.problem)
            })?;
        }

        let text_at = self.place(self.fields.vmcoreinfo).filter(|_| self.version() >= 3);
        if let Some((offset, size)) = text_at {
            let place = format!("the VMCOREINFO at {offset:#x}");
            let text = take(bytes, offset, size, VMCOREINFO_BYTES as u64, about, &place)?;
            contents.vmcoreinfo = Some(text);
        }
        Ok(())
    }

    /// Where the pages are.
    fn pages(&self, bytes: &ImageBytes, about: &AboutFile) -> Result<KdumpPages, MemoryImageError> {
        let pages = match self.version() {
            6.. => word(&self.second, self.fields.pages),
            _ => self.status_field(4).into(),
        };
        if pages > MAX_PAGES {
            let problem = format!("expected at most {MAX_PAGES:#x} pages, not {pages:#x}");
            return Err(about.malformed("the second header", problem));
        }

        // The second bitmap says which pages are in the file, and begins in the middle.
        let bitmaps = u64::from(self.status_field(2)).saturating_add(1).saturating_mul(BLOCK);
        let half_size = u64::from(self.status_field(3) / 2).saturating_mul(BLOCK);
        let second = bitmaps.saturating_add(half_size);
        let place = format!("the second bitmap at {second:#x}");
        if half_size < pages.div_ceil(8) {
            let problem = format!("its {half_size:#x} bytes are too few for {pages:#x} pages");
            return Err(about.malformed(place, problem));
        }
        if !bytes.has(second, half_size) {
            return Err(about.malformed(place, "the file ends before it does"));
        }
        let bitmap = PageBitmap::new(bytes, second, pages);
        let bitmap = bitmap.map_err(|error| about.unreadable(place, error))?;

        let descriptors = second.saturating_add(half_size);
        let place = format!("the page descriptors at {descriptors:#x}");
        let present = bitmap.present();
        if !bytes.has(descriptors, present.saturating_mul(DESCRIPTOR_BYTES)) {
            let problem = format!("the file ends before those of {present:#x} pages do");
            return Err(about.malformed(place, problem));
        }

        let pages = KdumpPages { bitmap, descriptors };
        if self.status_field(0) & INCOMPLETE == 0 {
            check_last_pages(&pages, bytes, about)?;
        }
        Ok(pages)
    }
}

/// Checks that the bytes of the last pages are in the file, as far as those of zeros do not share them: a file
/// that was cut short lacks them.
fn check_last_pages(
    pages: &KdumpPages,
    bytes: &ImageBytes,
    about: &AboutFile,
) -> Result<(), MemoryImageError> {
    let present = pages.bitmap.present();
    for number in present.saturating_sub(LAST_PAGES)..present {
        let descriptor = pages.descriptor(bytes, number);
        let descriptor =
            descriptor.map_err(|error| about.unreadable("the last page descriptors", error))?;
        if !bytes.has(descriptor.offset, descriptor.size.into()) {
            let place = format!("the page descriptor at {:#x}", descriptor.at);
            return Err(about.malformed(place, "the file ends before the bytes of its page do"));
        }
    }
    Ok(())
}

/// Some bytes of a file, up to a limit.
fn take(
    bytes: &ImageBytes,
    offset: u64,
    size: u64,
    limit: u64,
    about: &AboutFile,
    place: &str,
) -> Result<Vec<u8>, MemoryImageError> {
    if size > limit {
        return Err(
            about.malformed(place, format!("expected at most {limit:#x} bytes, not {size:#x}"))
        );
    }
    if !bytes.has(offset, size) {
        return Err(about.malformed(place, format!("the file ends before its {size:#x} bytes do")));
    }
    let mut taken = vec![0; size as usize];
    bytes.read(offset, &mut taken).map_err(|error| about.unreadable(place, error))?;
    Ok(taken)
}
