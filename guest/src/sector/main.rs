//! The boot sector of an image on a hard disk, a USB stick or a CD: it loads the payload
//! ([`payload`](crosswalk_guest::tape::payload)) and enters it.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
core::arch::global_asm!(
    include_str!("sector.s"),
    PAYLOAD = const crosswalk_guest::tape::payload::MEDIUM_OFFSET,
    PIECE = const crosswalk_guest::tape::payload::PIECE,
    BYTES_AT = const crosswalk_guest::tape::payload::SECTOR_BYTES,
    LOAD = const crosswalk_guest::tape::payload::LOAD,
    ENTRY = const crosswalk_guest::tape::payload::LOAD + crosswalk_guest::tape::payload::ENTRY_32,
);

#[cfg(bare_metal)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(bare_metal))]
fn main() {}
