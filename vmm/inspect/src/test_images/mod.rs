//! Memory images for tests: small guests, and the formats to put them in. `crosswalk-inspect` has this module
//! with the feature `test-images`.

mod avml;
mod kdump;
pub mod mutated;
mod windows;

pub use crate::registers::CpuNote;
pub use avml::avml;
pub use kdump::{PageCompression, flattened, kdump};
pub use windows::{windows, windows_with_bitmap};

/// Memory from physical address 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallMemory(pub Vec<u8>);

impl SmallMemory {
    /// Memory of this size, filled with zeros.
    pub fn new(len: usize) -> Self {
        Self(vec![0; len])
    }

    /// Stores an entry of 64 bits.
    pub fn entry(&mut self, at: usize, entry: u64) -> &mut Self {
        self.0[at..at + 8].copy_from_slice(&entry.to_le_bytes());
        self
    }

    /// Stores an entry of 32 bits.
    pub fn entry_32(&mut self, at: usize, entry: u32) -> &mut Self {
        self.0[at..at + 4].copy_from_slice(&entry.to_le_bytes());
        self
    }
}

/// The registers of a CPU in 64-bit mode with its root table at `cr3`.
pub const fn cpu_64(cr3: u64) -> CpuNote {
    CpuNote { rip: 0x40_0000, cs_flags: 0x00af_9b00, cr0: 0x8005_0033, cr3, cr4: 0x6f0 }
}

/// The registers of a CPU with 32-bit paging and 4 MiB pages.
pub const fn cpu_32(cr3: u64) -> CpuNote {
    CpuNote { rip: 0x40_0000, cs_flags: 0x00cf_9b00, cr0: 0x8001_0033, cr3, cr4: 0x10 }
}

/// Where the tables of [`small_guest`] are.
pub mod small {
    /// The PML4.
    pub const PML4: usize = 0x1000;
    /// The page table of the program, at 0x400000.
    pub const PROGRAM: usize = 0x4000;
    /// The page table of the kernel, at `0xffff_ffff_8120_0000`.
    pub const KERNEL: usize = 0x7000;
}

/// 64 KiB of a guest in 4-level paging: a program, a kernel, and something wrong with both.
///
/// The program has two pages of code, two of data, one that is writable and executable, and one that is
/// executable by its PTE and not by its PML4E. The kernel has 2 MiB of code, a page of data, a second
/// mapping of the program's first page, a PDPTE with a reserved bit, and a PML4E that leads out of memory.
pub fn small_guest() -> SmallMemory {
    const XD: u64 = 1 << 63;

    let mut memory = SmallMemory::new(0x10000);
    memory
        // PML4Es: the program, what is barred from execution, nowhere, and the kernel.
        .entry(0x1000, 0x2067)
        .entry(0x1008, 0x8067 | XD)
        .entry(0x1f80, 0x9_0000_0063)
        .entry(0x1ff8, 0x5063)
        // The program's PDPTE, PDE and PTEs.
        .entry(0x2000, 0x3067)
        .entry(0x3010, 0x4067)
        .entry(0x4000, 0xa025)
        .entry(0x4008, 0xb025)
        .entry(0x4080, 0xc067 | XD)
        .entry(0x4088, 0xd047 | XD)
        .entry(0x4100, 0xe067)
        // Below the PML4E with XD the same directory again, from 0x8000000000 on.
        .entry(0x8000, 0x3067)
        // The kernel: PDPTEs, one of them with bit 13 of a large page set (CODE-6), PDEs and PTEs.
        .entry(0x5fe0, 0x4000_20e3)
        .entry(0x5ff0, 0x6063)
        .entry(0x6040, 0x20_01e1)
        .entry(0x6048, 0x7063)
        .entry(0x7000, 0xf163 | XD)
        .entry(0x7008, 0xa163 | XD);
    memory
}

/// The same guest a little later: its first data page became read-only, the second one is gone, and a new
/// page is there.
pub fn small_guest_later() -> SmallMemory {
    const XD: u64 = 1 << 63;

    let mut memory = small_guest();
    memory.entry(0x4080, 0xc065 | XD).entry(0x4088, 0).entry(0x4090, 0xd067 | XD);
    memory
}

/// An ELF dump as QEMU writes it: a note for each CPU, and memory, each piece with its physical address.
pub fn elf(is_64_bit: bool, cpus: &[CpuNote], memory: &[(u64, &[u8])]) -> Vec<u8> {
    elf_with_notes(is_64_bit, &notes_of(cpus), memory)
}

/// The notes that QEMU writes into a dump.
pub fn notes_of(cpus: &[CpuNote]) -> Vec<u8> {
    cpus.iter().flat_map(|cpu| note(b"QEMU\0\0\0\0", 5, &note_of(cpu))).collect()
}

/// An ELF core file with these notes, which [`note`] makes.
pub fn elf_with_notes(is_64_bit: bool, notes: &[u8], memory: &[(u64, &[u8])]) -> Vec<u8> {
    const HEADER: usize = 64;
    const SEGMENT: usize = 56;

    let count = memory.len() + 1;
    let mut offset = HEADER + SEGMENT * count;
    let machine: u16 = if is_64_bit { 62 } else { 3 };

    // e_ident, then ET_CORE, the machine, and the version.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([4, 0]);
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    // Entry point, program headers, section headers.
    for word in [0, HEADER as u64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [HEADER, SEGMENT, count, 0, 0, 0] {
        file.extend((half as u16).to_le_bytes());
    }

    let pieces = [(4_u32, 0, notes)].into_iter();
    let pieces: Vec<_> = pieces.chain(memory.iter().map(|(at, bytes)| (1, *at, *bytes))).collect();
    for (kind, address, bytes) in &pieces {
        file.extend(kind.to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        let len = bytes.len() as u64;
        for word in [offset as u64, 0, *address, len, len, 0] {
            file.extend(word.to_le_bytes());
        }
        offset += bytes.len();
    }
    for (_, _, bytes) in pieces {
        file.extend(bytes);
    }
    file
}

/// A note of an ELF file. The name has `name_len` bytes and is padded to a multiple of four.
pub fn note(name: &[u8], name_len: u32, contents: &[u8]) -> Vec<u8> {
    let mut note = name_len.to_le_bytes().to_vec();
    note.extend((contents.len() as u32).to_le_bytes());
    note.extend(0_u32.to_le_bytes());
    note.extend(name);
    note.extend(contents);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// The contents of a note of QEMU: 440 bytes.
pub fn note_of(cpu: &CpuNote) -> Vec<u8> {
    let mut words = [0_u64; 55];
    words[0] = 440 << 32 | 1;
    words[17] = cpu.rip;
    words[20] = cpu.cs_flags.into();
    words[49] = cpu.cr0;
    words[52] = cpu.cr3;
    words[53] = cpu.cr4;
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A `LiME` image.
pub fn lime(memory: &[(u64, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    for (start, bytes) in memory {
        file.extend(b"EMiL\x01\0\0\0");
        for word in [*start, start + bytes.len() as u64 - 1, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(*bytes);
    }
    file
}
