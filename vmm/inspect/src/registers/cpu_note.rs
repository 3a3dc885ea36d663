//! The note with the registers of a CPU in a dump of QEMU (`target/i386/arch_dump.c` there): words of 64
//! bits, little endian.

use crate::bytes::{half, word};

/// The least that a note has, up to CR4. Newer versions of QEMU add a word under the same version.
const LEAST_BYTES: usize = 0x1b0;
const VERSION: u32 = 1;

const RIP: usize = 0x88;
/// The flags of the first segment, which is CS: 32 bits after the selector and the limit.
const CS_FLAGS: usize = 0xa0;
const CR0: usize = 0x188;
const CR3: usize = 0x1a0;
const CR4: usize = 0x1a8;

/// The L bit of a code segment in the upper half of its descriptor (SDM "Segment Descriptors").
const CS_L: u32 = 1 << 21;

/// The registers of a CPU, as far as they decide about translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuNote {
    /// The instruction pointer.
    pub rip: u64,
    /// The flags of CS, as in the upper half of its descriptor.
    pub cs_flags: u32,
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
}

impl CpuNote {
    /// Reads a note.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < LEAST_BYTES {
            let len = bytes.len();
            return Err(format!("expected at least {LEAST_BYTES} bytes of registers, not {len}"));
        }

        let version = half(bytes, 0);
        if version != VERSION {
            return Err(format!("expected registers of version {VERSION}, not {version}"));
        }
        Ok(Self {
            rip: word(bytes, RIP),
            cs_flags: half(bytes, CS_FLAGS),
            cr0: word(bytes, CR0),
            cr3: word(bytes, CR3),
            cr4: word(bytes, CR4),
        })
    }

    /// Whether the code segment is one of 64-bit mode, which exists in long mode only.
    pub const fn cs_is_64_bit(&self) -> bool {
        self.cs_flags & CS_L != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A note of 440 bytes with a number in each word: that of the word.
    fn note() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..55_u64).flat_map(u64::to_le_bytes).collect();
        bytes[..8].copy_from_slice(&[1, 0, 0, 0, 0xb8, 1, 0, 0]);
        bytes
    }

    #[test]
    fn registers_are_where_qemu_writes_them() {
        // After version and size come RAX to R15, then RIP; CS follows RFLAGS; CR0 to CR4 are the last
        // words but one.
        let read = CpuNote::parse(&note()).unwrap();
        assert_eq!((read.rip, read.cs_flags), (17, 20));
        assert_eq!((read.cr0, read.cr3, read.cr4), (49, 52, 53));
    }

    #[test]
    fn a_note_of_an_older_version_is_eight_bytes_shorter() {
        assert!(CpuNote::parse(&note()[..432]).is_ok());
        let error = CpuNote::parse(&note()[..431]).unwrap_err();
        assert_eq!(error, "expected at least 432 bytes of registers, not 431");
        let mut other = note();
        other[0] = 2;
        let error = CpuNote::parse(&other).unwrap_err();
        assert_eq!(error, "expected registers of version 1, not 2");
    }
}
