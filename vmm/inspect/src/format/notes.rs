//! The notes of a core file, which a kdump has, too: those of QEMU, and VMCOREINFO.

use super::Contents;
use object::Endianness;
use object::read::elf::{FileHeader, NoteIterator};

/// The most bytes of notes. QEMU writes about 800 for each CPU.
pub(super) const MAX_BYTES: u64 = 1 << 24;
/// What is wrong with more.
pub(super) const TOO_MANY: &str = "expected at most 16 MiB of notes";

/// Takes the notes that matter.
pub(super) fn read<Elf: FileHeader<Endian = Endianness>>(
    bytes: &[u8],
    endian: Endianness,
    align: Elf::Word,
    contents: &mut Contents,
) -> Result<(), object::Error> {
    let mut notes = NoteIterator::<Elf>::new(endian, align, bytes)?;
    while let Some(note) = notes.next()? {
        match note.name() {
            b"QEMU" => contents.cpu_notes.push(note.desc().to_vec()),
            b"VMCOREINFO" => contents.vmcoreinfo = Some(note.desc().to_vec()),
            _ => {}
        }
    }
    Ok(())
}
