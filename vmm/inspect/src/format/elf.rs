//! ELF core files. A program header with its physical address is a range of memory; the virtual address
//! that `dump-guest-memory -p` adds is of one address space only, and is not used.

use super::{Contents, contradiction, notes};
use crate::bytes::is_inside;
use crate::error::{AboutFile, MemoryImageError};
use crate::extents::{Extent, Extents};
use crate::layout::Layout;
use object::Endianness;
use object::elf::{
    EM_386, EM_X86_64, ET_CORE, ET_DYN, ET_EXEC, ET_REL, FileHeader32, FileHeader64, PT_LOAD,
    PT_NOTE,
};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{FileKind, ReadCache, ReadRef};
use std::fs::File;

/// The most program headers that are read. A dump with `-p` has one for each mapping that is not next to
/// the one before.
const MAX_HEADERS: u32 = 1 << 18;

type Cache<'f> = ReadCache<&'f File>;

/// Where the header is, for errors.
const HEADER: &str = "the ELF header";
/// The number of bytes of a program header, in files of 32 and of 64 bits.
const SIZES: [u16; 2] = [32, 56];

pub(super) fn read(file: &File, len: u64, about: &AboutFile) -> Result<Contents, MemoryImageError> {
    let cache = ReadCache::new(file);
    let kind = FileKind::parse(&cache).map_err(|_| {
        about.malformed(HEADER, "the file ends before it does: expected at least 52 bytes")
    })?;
    let unreadable = |_| {
        let expected = "expected one of little-endian words and version 1, with all of its bytes";
        about.malformed(HEADER, expected)
    };

    match kind {
        FileKind::Elf64 => {
            let header = FileHeader64::<Endianness>::parse(&cache).map_err(unreadable)?;
            read_class(header, file, &cache, len, about)
        }
        FileKind::Elf32 => {
            let header = FileHeader32::<Endianness>::parse(&cache).map_err(unreadable)?;
            read_class(header, file, &cache, len, about)
        }
        _ => Err(about.malformed(HEADER, "expected an ELF file of 32 or 64 bits")),
    }
}

/// Checks that it is a core file of an x86 processor. `dump-guest-memory`, makedumpfile and kdump write no other.
fn check_core<Elf: FileHeader<Endian = Endianness>>(
    header: &Elf,
    about: &AboutFile,
) -> Result<(), MemoryImageError> {
    let expected = "expected a core file of an x86 processor";
    let other_order = |_| about.malformed(HEADER, expected);
    let endian = header.endian().map_err(other_order)?;
    let machine = header.e_machine(endian);
    if endian != Endianness::Little || (machine != EM_X86_64 && machine != EM_386) {
        return Err(about.malformed(HEADER, expected));
    }

    let found = match header.e_type(endian) {
        ET_CORE => return Ok(()),
        ET_REL => "an object file".to_owned(),
        ET_EXEC => "an executable".to_owned(),
        ET_DYN => "a shared object, or an executable".to_owned(),
        other => format!("an ELF file of type {:#x}", other.0),
    };
    let advice = format!(
        "it is {found}, not a core file: expected what dump-guest-memory, kdump or makedumpfile writes"
    );
    Err(about.unsupported(advice))
}

fn read_class<'f, Elf: FileHeader<Endian = Endianness>>(
    header: &'f Elf,
    file: &File,
    cache: &'f Cache<'f>,
    len: u64,
    about: &AboutFile,
) -> Result<Contents, MemoryImageError> {
    check_core(header, about)?;
    let endian = Endianness::Little;
    let machine = header.e_machine(endian);

    // As many as 2^32, and they need not be in a file that is that large: holes take no space.
    let count = header.phnum(endian, cache).map_err(|_| {
        let sections: u64 = header.e_shoff(endian).into();
        let problem = format!(
            "the number of program headers is in the first section header, which is not at {sections:#x}"
        );
        about.malformed(HEADER, problem)
    })?;
    if count > MAX_HEADERS {
        let problem = format!("expected at most {MAX_HEADERS} program headers, not {count}");
        return Err(about.malformed(HEADER, problem));
    }
    let segments = header.program_headers(endian, cache).map_err(|_| {
        let at: u64 = header.e_phoff(endian).into();
        let size = header.e_phentsize(endian);
        let [small, large] = SIZES;
        let problem = if size == (if header.is_type_64() { large } else { small }) {
            format!("expected {count} of {size} bytes each, and the file ends before")
        } else {
            format!("expected {small} bytes each, or {large} in a file of 64 bits, not {size}")
        };
        about.malformed(format!("the program headers at {at:#x}"), problem)
    })?;

    let mut contents = Contents { is_64_bit: Some(machine == EM_X86_64), ..Contents::default() };
    let mut extents = Vec::new();
    let mut note_bytes: u64 = 0;
    for (number, segment) in segments.iter().enumerate() {
        let place = format!("program header {number}");
        let offset: u64 = segment.p_offset(endian).into();
        let size: u64 = segment.p_filesz(endian).into();
        if !is_inside(offset, size, len) {
            let problem =
                format!("its {size:#x} bytes at {offset:#x} end beyond the {len:#x} of the file");
            return Err(about.malformed(place, problem));
        }

        match segment.p_type(endian) {
            PT_LOAD if size > 0 => {
                let start: u64 = segment.p_paddr(endian).into();
                let extent = Extent::new(start, size, offset);
                extents.push(extent.ok_or_else(|| {
                    about.malformed(
                        &place,
                        format!("{size:#x} bytes at {start:#x} do not fit into 64 bits"),
                    )
                })?);
            }
            PT_NOTE => {
                note_bytes = note_bytes.saturating_add(size);
                if note_bytes > notes::MAX_BYTES {
                    let problem = notes::TOO_MANY;
                    return Err(about.malformed(place, problem));
                }
                let bytes = cache.read_bytes_at(offset, size);
                let bytes =
                    bytes.map_err(|()| about.malformed(&place, "its notes cannot be read"))?;
                notes::read::<Elf>(bytes, endian, segment.p_align(endian), &mut contents).map_err(
                    |bad| {
                        let at = offset.saturating_add(bad.offset);
                        about.malformed(format!("the note at {at:#x}"), bad.problem)
                    },
                )?;
            }
            _ => {}
        }
    }

    let listed = extents;
    let extents = Extents::new(&listed);
    contents.contradiction = contradiction::find(file, &listed, &extents);
    contents.layout = Layout::Extents(extents);
    Ok(contents)
}
