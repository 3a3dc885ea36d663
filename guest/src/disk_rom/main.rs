//! A reset ROM that boots a medium without firmware: it loads the payload
//! ([`payload`](crosswalk_guest::tape::payload)) from the first IDE disk, and enters it.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
use crosswalk_guest::{layout, tape::payload};

#[cfg(bare_metal)]
core::arch::global_asm!(
    include_str!("load.s"),
    ROM = const layout::ROM_BASE,
    LOAD = const payload::LOAD,
    PAYLOAD = const payload::MEDIUM_OFFSET,
    BYTES_AT = const payload::SECTOR_BYTES,
    ENTRY = const payload::LOAD + payload::ENTRY_32,
);

#[cfg(bare_metal)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(bare_metal))]
fn main() {}
