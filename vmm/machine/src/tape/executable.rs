//! An ELF file for loaders of kernels: those of Multiboot read its header, those of PVH its note, and those of Linux
//! its entry in long mode.

use super::Payload;
use crosswalk_guest::tape::payload::{ENTRY_32, ENTRY_64, LOAD};
use object::elf::{
    EM_X86_64, ET_EXEC, EV_CURRENT, FileHeader64, Ident, NoteHeader32, NoteType, PF_R, PF_W, PF_X,
    PT_LOAD, PT_NOTE, ProgramHeader64,
};
use object::pod::bytes_of;
use object::{LittleEndian as LE, U16, U32, U64, elf};

/// Where the payload begins in the file. The note is before it.
const PAYLOAD: u64 = 0x1000;
const NOTE: u64 = 0x200;
/// The type of the note that holds the entry of PVH (Xen's public/elfnote.h, `XEN_ELFNOTE_PHYS32_ENTRY`).
const PHYS32_ENTRY: NoteType = NoteType(18);

/// The file.
pub fn executable(payload: &Payload) -> Vec<u8> {
    let mut file = vec![0; PAYLOAD as usize];
    let mut put = |at: u64, bytes: &[u8]| {
        file[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    };

    let headers = size_of::<FileHeader64<LE>>() as u64;
    let of_segment = size_of::<ProgramHeader64<LE>>() as u64;
    put(0, bytes_of(&file_header(headers, of_segment)));
    put(headers, bytes_of(&load_segment(payload)));
    let note = note();
    put(headers + of_segment, bytes_of(&note_segment(note.len() as u64)));
    put(NOTE, &note);

    file.extend(&payload.bytes);
    file
}

fn file_header(headers: u64, of_segment: u64) -> FileHeader64<LE> {
    FileHeader64 {
        e_ident: Ident {
            magic: elf::ELFMAG,
            class: elf::ELFCLASS64,
            data: elf::ELFDATA2LSB,
            version: EV_CURRENT,
            os_abi: elf::ELFOSABI_NONE,
            abi_version: 0,
            padding: [0; 7],
        },
        e_type: U16::new(LE, ET_EXEC),
        e_machine: U16::new(LE, EM_X86_64),
        e_version: U32::new(LE, EV_CURRENT.0.into()),
        e_entry: U64::new(LE, LOAD + ENTRY_64),
        e_phoff: U64::new(LE, headers),
        e_shoff: U64::new(LE, 0),
        e_flags: U32::new(LE, elf::FileFlags(0)),
        e_ehsize: U16::new(LE, headers as u16),
        e_phentsize: U16::new(LE, of_segment as u16),
        e_phnum: U16::new(LE, 2),
        e_shentsize: U16::new(LE, 0),
        e_shnum: U16::new(LE, 0),
        e_shstrndx: U16::new(LE, elf::SHN_UNDEF),
    }
}

fn load_segment(payload: &Payload) -> ProgramHeader64<LE> {
    ProgramHeader64 {
        p_type: U32::new(LE, PT_LOAD),
        p_flags: U32::new(LE, PF_R | PF_W | PF_X),
        p_offset: U64::new(LE, PAYLOAD),
        p_vaddr: U64::new(LE, LOAD),
        p_paddr: U64::new(LE, LOAD),
        p_filesz: U64::new(LE, payload.bytes.len() as u64),
        p_memsz: U64::new(LE, payload.memory_end - LOAD),
        p_align: U64::new(LE, PAYLOAD),
    }
}

fn note_segment(size: u64) -> ProgramHeader64<LE> {
    ProgramHeader64 {
        p_type: U32::new(LE, PT_NOTE),
        p_flags: U32::new(LE, PF_R),
        p_offset: U64::new(LE, NOTE),
        p_vaddr: U64::new(LE, 0),
        p_paddr: U64::new(LE, 0),
        p_filesz: U64::new(LE, size),
        p_memsz: U64::new(LE, size),
        p_align: U64::new(LE, 4),
    }
}

/// The note with the entry of PVH.
fn note() -> Vec<u8> {
    const OWNER: &[u8; 4] = b"Xen\0";
    let entry = (LOAD + ENTRY_32) as u32;

    let header = NoteHeader32 {
        n_namesz: U32::new(LE, OWNER.len() as u32),
        n_descsz: U32::new(LE, size_of::<u32>() as u32),
        n_type: U32::new(LE, PHYS32_ENTRY),
    };
    [bytes_of(&header), OWNER, &entry.to_le_bytes()].concat()
}
