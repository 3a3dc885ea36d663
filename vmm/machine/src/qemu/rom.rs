//! The reset ROM as a machine maps it. It ends with the reset vector.

use crate::elf::{self, ImageError};
use crosswalk_guest::layout::{IMAGE_BASE, ROM_BASE};

/// Size of the ROM in bytes.
pub const ROM_SIZE: usize = (IMAGE_BASE - ROM_BASE) as usize;

/// The ROM that was built with this program.
static BUILT_IN: &[u8] = include_bytes!(concat!(env!("GUEST_IMAGES"), "/rom"));

/// The contents of the ROM that was built with this program.
///
/// # Errors
/// Only if this program was not built properly.
pub fn built_in() -> Result<Vec<u8>, ImageError> {
    from_elf("the built-in reset ROM", BUILT_IN)
}

/// The contents of a ROM that was built as an ELF file; errors call it `name`.
///
/// # Errors
/// If the file is not a ROM.
pub(crate) fn from_elf(name: &str, elf: &[u8]) -> Result<Vec<u8>, ImageError> {
    let mut rom = vec![0; ROM_SIZE];
    for segment in elf::segments(name, elf, &(ROM_BASE..IMAGE_BASE))? {
        rom[segment.offset..][..segment.data.len()].copy_from_slice(segment.data);
    }

    Ok(rom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reset_vector_jumps_backwards_within_its_segment() {
        let rom = built_in().expect("the ROM was built");
        assert_eq!(rom.len(), 0x1_0000);

        // JMP rel16: the instruction pointer wraps within 64 KiB.
        assert_eq!(rom[0xfff0], 0xe9);
        let target = 0xfff3_u16.wrapping_add(u16::from_le_bytes([rom[0xfff1], rom[0xfff2]]));
        assert_eq!(rom[usize::from(target)], 0xfa, "CLI comes first");
    }

    #[test]
    fn a_file_that_is_not_a_rom_is_refused() {
        let error = from_elf("notes.txt", b"not an ELF file").expect_err("this is not a ROM");
        assert!(error.to_string().starts_with("notes.txt is not a guest image: "), "{error}");

        // The image is an ELF file, but at other addresses.
        let image = include_bytes!(env!("GUEST_ELF"));
        let error = from_elf("the image", image).expect_err("the image is not a ROM");
        assert!(error.to_string().contains("outside 0xf0000 to 0x100000"), "{error}");
    }
}
