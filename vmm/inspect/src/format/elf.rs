//! ELF core files. A program header with its physical address is a range of memory; the virtual address
//! that `dump-guest-memory -p` adds is of one address space only, and is not used.

use super::{Contents, notes};
use crate::bytes::is_inside;
use crate::error::{AboutFile, MemoryImageError};
use crate::extents::{Extent, Extents};
use crate::layout::Layout;
use object::Endianness;
use object::elf::{EM_386, EM_X86_64, FileHeader32, FileHeader64, PT_LOAD, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{FileKind, ReadCache, ReadRef};
use std::fs::File;

/// The most program headers that are read. A dump with `-p` has one for each mapping that is not next to
/// the one before.
const MAX_HEADERS: u32 = 1 << 18;

type Cache<'f> = ReadCache<&'f File>;

pub(super) fn read(file: &File, len: u64, about: &AboutFile) -> Result<Contents, MemoryImageError> {
    let cache = ReadCache::new(file);
    let unreadable = |error: object::Error| about.malformed("the ELF header", error.to_string());

    match FileKind::parse(&cache).map_err(unreadable)? {
        FileKind::Elf64 => {
            let header = FileHeader64::<Endianness>::parse(&cache).map_err(unreadable)?;
            read_class(header, &cache, len, about)
        }
        FileKind::Elf32 => {
            let header = FileHeader32::<Endianness>::parse(&cache).map_err(unreadable)?;
            read_class(header, &cache, len, about)
        }
        _ => Err(about.malformed("the ELF header", "expected an ELF file of 32 or 64 bits")),
    }
}

fn read_class<'f, Elf: FileHeader<Endian = Endianness>>(
    header: &'f Elf,
    cache: &'f Cache<'f>,
    len: u64,
    about: &AboutFile,
) -> Result<Contents, MemoryImageError> {
    let unreadable = |place: &str, error: object::Error| about.malformed(place, error.to_string());
    let endian = header.endian().map_err(|error| unreadable("the ELF header", error))?;
    let machine = header.e_machine(endian);
    if endian != Endianness::Little || (machine != EM_X86_64 && machine != EM_386) {
        return Err(about.malformed("the ELF header", "expected a core file of an x86 processor"));
    }

    // As many as 2^32, and they need not be in a file that is that large: holes take no space.
    let count = header.phnum(endian, cache).map_err(|e| unreadable("the ELF header", e))?;
    if count > MAX_HEADERS {
        let problem = format!("expected at most {MAX_HEADERS} program headers, not {count}");
        return Err(about.malformed("the ELF header", problem));
    }
    let segments = header.program_headers(endian, cache);
    let segments = segments.map_err(|error| unreadable("the program headers", error))?;

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
                notes::read::<Elf>(bytes, endian, segment.p_align(endian), &mut contents)
                    .map_err(|error| unreadable(&format!("the notes at {offset:#x}"), error))?;
            }
            _ => {}
        }
    }

    contents.layout = Layout::Extents(Extents::new(&extents));
    Ok(contents)
}
