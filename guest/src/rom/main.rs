//! The reset ROM of machines that start like a PC: from the reset vector through protected mode
//! into long mode, on the guest's own page tables, and to the entry of the image.
//!
//! The host puts the image and the page tables into memory before the first instruction. The ROM
//! sets up the state that a host with access to the registers sets up itself:
//! `ControlState::four_level` of mmu-core, with NXE if the processor has it.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
use crosswalk_guest::{layout, stub::ImageHeader};

#[cfg(bare_metal)]
core::arch::global_asm!(
    include_str!("reset.s"),
    ROM = const layout::ROM_BASE,
    OWN_TABLES = const layout::OWN_TABLES,
    ENTRY = const layout::IMAGE_BASE + core::mem::offset_of!(ImageHeader, entry) as u64,
    WINDOW = const layout::SUPERVISOR_WINDOW,
    STAGE = const layout::DOUBLE_FAULT_STACK_TOP - 0x1000,
);

#[cfg(bare_metal)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(bare_metal))]
fn main() {}
