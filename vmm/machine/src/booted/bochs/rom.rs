//! A ROM from which an image starts without firmware: the payload, and the way there from the reset vector.
//!
//! Bochs maps a ROM of up to 2 MiB so that it ends at 4 GiB. Without a BIOS it needs no disk, and no seconds.

use super::BochsError;
use crate::tape::Payload;
use crosswalk_guest::tape::payload::{ENTRY_32, LOAD};

/// The largest ROM that Bochs 2.7 takes: one of 4 MiB is "too large".
const MAX_ROM: usize = 2 << 20;
/// The last 64 KiB of the ROM, which the processor sees through CS after a reset.
const LAST: usize = 0x1_0000;
/// The code and its descriptors: the last page but for the reset vector. Offsets in the last 64 KiB.
const CODE_AT: usize = 0xf000;
const DESCRIPTORS_AT: usize = 0xff00;
const RESET_VECTOR: usize = 0xfff0;

/// Flat segments: nothing, code, data (SDM "Segment Descriptors").
const DESCRIPTORS: [u64; 3] = [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
const CODE: u16 = 0x08;
const DATA: u8 = 0x10;

/// The ROM.
///
/// # Errors
/// If the payload is too long.
pub(super) fn rom(payload: &Payload) -> Result<Vec<u8>, BochsError> {
    let needed = payload.bytes.len().next_multiple_of(4) + (LAST - CODE_AT);
    let size = needed.max(LAST).next_power_of_two();
    if size > MAX_ROM {
        return Err(BochsError::TooLong { needed, room: MAX_ROM });
    }
    let base = (1_u64 << 32) - size as u64;
    let last_base = (1_u64 << 32) - LAST as u64;

    // HLT everywhere else.
    let mut rom = vec![0xf4; size];
    rom[..payload.bytes.len()].copy_from_slice(&payload.bytes);
    let last = &mut rom[size - LAST..];
    let mut put = |at: usize, bytes: &[u8]| last[at..at + bytes.len()].copy_from_slice(bytes);

    for (index, descriptor) in DESCRIPTORS.iter().enumerate() {
        put(DESCRIPTORS_AT + 8 * index, &descriptor.to_le_bytes());
    }
    let pointer_at = DESCRIPTORS_AT + 8 * DESCRIPTORS.len();
    put(pointer_at, &(8 * DESCRIPTORS.len() as u16 - 1).to_le_bytes());
    put(pointer_at + 2, &((last_base + DESCRIPTORS_AT as u64) as u32).to_le_bytes());

    let real = real_mode(pointer_at as u16, (last_base as usize + CODE_AT) as u32);
    put(CODE_AT, &real);
    let protected = protected_mode(base as u32, payload.bytes.len());
    put(CODE_AT + real.len(), &protected);

    // jmp rel16: back to the code.
    let back = (CODE_AT as u16).wrapping_sub(RESET_VECTOR as u16 + 3);
    put(RESET_VECTOR, &[&[0xe9][..], &back.to_le_bytes()].concat());
    Ok(rom)
}

/// From real mode, with CS at the last 64 KiB, to protected mode without paging. The 32-bit code follows.
fn real_mode(pointer: u16, code_at: u32) -> Vec<u8> {
    const LENGTH: u32 = 24;
    let code = [
        &[0xfa][..],                     // cli
        &[0x2e, 0x66, 0x0f, 0x01, 0x16], // lgdtd cs:[pointer]
        &pointer.to_le_bytes(),
        &[0x0f, 0x20, 0xc0], // mov eax, cr0
        &[0x0c, 0x01],       // or al, 1
        &[0x0f, 0x22, 0xc0], // mov cr0, eax
        &[0x66, 0xea],       // jmp CODE:code_at + LENGTH
        &(code_at + LENGTH).to_le_bytes(),
        &CODE.to_le_bytes(),
    ];
    let code = code.concat();
    debug_assert_eq!(code.len(), LENGTH as usize);
    code
}

/// Copies the payload to where it belongs, and goes to its entry for protected mode.
fn protected_mode(base: u32, bytes: usize) -> Vec<u8> {
    let doublewords = bytes.div_ceil(4) as u32;
    let code = [
        &[0xb8, DATA, 0, 0, 0][..], // mov eax, DATA
        &[0x8e, 0xd8],              // mov ds, eax
        &[0x8e, 0xc0],              // mov es, eax
        &[0x8e, 0xd0],              // mov ss, eax
        &[0xfc],                    // cld
        &[0xbe],                    // mov esi, base
        &base.to_le_bytes(),
        &[0xbf], // mov edi, LOAD
        &(LOAD as u32).to_le_bytes(),
        &[0xb9], // mov ecx, doublewords
        &doublewords.to_le_bytes(),
        &[0xf3, 0xa5], // rep movsd
        &[0xb9],       // mov ecx, the entry
        &((LOAD + ENTRY_32) as u32).to_le_bytes(),
        &[0xff, 0xe1], // jmp ecx
    ];
    code.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: usize) -> Payload {
        let bytes: Vec<u8> = (0..bytes).map(|index| index as u8).collect();
        Payload { memory_end: LOAD + bytes.len() as u64, bytes }
    }

    #[test]
    fn the_reset_vector_leads_to_the_code() {
        let rom = rom(&payload(100_000)).unwrap();
        assert_eq!(rom.len(), 0x2_0000);
        assert_eq!(&rom[..3], [0, 1, 2]);

        let last = &rom[0x1_0000..];
        assert_eq!(last[0xfff0], 0xe9);
        let distance = u16::from_le_bytes([last[0xfff1], last[0xfff2]]);
        let target = usize::from(0xfff3_u16.wrapping_add(distance));
        assert_eq!(last[target], 0xfa, "CLI comes first");
        // The far jump's offset is that of the code behind it, just below 4 GiB.
        assert_eq!(last[target + 16..target + 18], [0x66, 0xea]);
        assert_eq!(last[target + 18..target + 24], [0x18, 0xf0, 0xff, 0xff, 0x08, 0]);
        assert_eq!(last[target + 24], 0xb8);
    }

    #[test]
    fn a_payload_that_fits_no_rom_is_refused() {
        assert_eq!(rom(&payload(2_000_000)).unwrap().len(), 2 << 20);
        let error = rom(&payload(2_100_000)).unwrap_err().to_string();
        assert!(error.contains("fewer cases"), "{error}");
    }
}
