//! The reset ROM, laid out as a machine sees it: it ends with the reset vector.

use crate::image::ImageError;
use crosswalk_guest::layout::{IMAGE_BASE, ROM_BASE};
use object::{Object, ObjectSegment};

/// Bytes of the ROM.
pub const ROM_SIZE: usize = (IMAGE_BASE - ROM_BASE) as usize;

/// The ROM that was built with this program.
static BUILT_IN: &[u8] = include_bytes!(concat!(env!("GUEST_IMAGES"), "/rom"));

/// The ROM built with this program.
///
/// # Errors
/// None in a program that was built as it should be.
pub fn built_in() -> Result<Vec<u8>, ImageError> {
    from_elf("the built-in reset ROM", BUILT_IN)
}

fn from_elf(name: &str, elf: &[u8]) -> Result<Vec<u8>, ImageError> {
    let error = |problem: String| ImageError::new(name, problem);
    let file = object::File::parse(elf).map_err(|e| error(e.to_string()))?;
    let mut rom = vec![0; ROM_SIZE];
    for segment in file.segments() {
        let data = segment.data().map_err(|e| error(e.to_string()))?;
        let start = segment.address().checked_sub(ROM_BASE).map(|offset| offset as usize);
        let place = start.and_then(|start| rom.get_mut(start..start.checked_add(data.len())?));
        let place = place.ok_or_else(|| {
            let (from, size) = (segment.address(), data.len());
            error(format!(
                "its segment at {from:#x} of {size:#x} bytes lies outside {ROM_BASE:#x} to \
                 {IMAGE_BASE:#x}"
            ))
        })?;
        place.copy_from_slice(data);
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
    fn what_is_no_rom_is_refused() {
        let error = from_elf("notes.txt", b"not an ELF file").expect_err("this is no ROM");
        assert!(error.to_string().starts_with("notes.txt is not a guest image: "), "{error}");
        // The image is an ELF file, but lies elsewhere.
        let image = include_bytes!(env!("GUEST_ELF"));
        let error = from_elf("the image", image).expect_err("the image is no ROM");
        assert!(error.to_string().contains("outside 0xf0000 to 0x100000"), "{error}");
    }
}
