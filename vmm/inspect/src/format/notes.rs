//! The notes of a core file, which a kdump has, too: those of QEMU, and VMCOREINFO.

use super::Contents;
use object::Endianness;
use object::read::elf::{FileHeader, NoteIterator};

/// The most bytes of notes. QEMU writes about 800 for each CPU.
pub(super) const MAX_BYTES: u64 = 1 << 24;
/// Three words: the number of bytes of the name and of the contents, and the type.
const HEADER_BYTES: u64 = 12;
/// What is wrong with more.
pub(super) const TOO_MANY: &str = "expected at most 16 MiB of notes";

/// What is wrong with notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadNotes {
    /// The offset of the bad note among the others.
    pub(super) offset: u64,
    pub(super) problem: String,
}

/// Takes the notes that matter.
pub(super) fn read<Elf: FileHeader<Endian = Endianness>>(
    bytes: &[u8],
    endian: Endianness,
    align: Elf::Word,
    contents: &mut Contents,
) -> Result<(), BadNotes> {
    let align_bytes: u64 = align.into();
    let mut notes = NoteIterator::<Elf>::new(endian, align, bytes).map_err(|_| BadNotes {
        offset: 0,
        problem: format!("expected notes aligned to 4 or 8 bytes, not to {align_bytes}"),
    })?;

    let mut offset: u64 = 0;
    loop {
        let note = notes.next().map_err(|_| BadNotes {
            offset,
            problem: format!("the note ends beyond the {:#x} bytes of notes", bytes.len()),
        })?;
        let Some(note) = note else { return Ok(()) };
        match note.name() {
            b"QEMU" => contents.cpu_notes.push(note.desc().to_vec()),
            b"VMCOREINFO" => contents.vmcoreinfo = Some(note.desc().to_vec()),
            _ => {}
        }

        let aligned = |len: u64| len.next_multiple_of(if align_bytes == 8 { 8 } else { 4 });
        let desc = HEADER_BYTES.saturating_add(note.n_namesz(endian).into());
        let behind = aligned(desc).saturating_add(note.desc().len() as u64);
        offset = offset.saturating_add(aligned(behind));
    }
}
