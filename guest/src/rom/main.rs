//! The reset ROM of machines that start like a PC: from the reset vector through protected mode into long
//! mode, on the guest's own page tables, and to the entry of the image.
//!
//! The host puts the image and the page tables into memory before the first instruction. The ROM sets up the
//! state that a host with access to the registers sets up itself: `ControlState::long_mode` of mmu-core, with
//! NXE if the processor has it.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
core::arch::global_asm!(
    include_str!("reset.s"),
    ROM = const crosswalk_guest::layout::ROM_BASE,
    OWN_TABLES = const crosswalk_guest::layout::OWN_TABLES,
    ENTRY = const crosswalk_guest::layout::IMAGE_BASE + core::mem::offset_of!(crosswalk_guest::stub::ImageHeader, entry) as u64,
    WINDOW = const crosswalk_guest::layout::SUPERVISOR_WINDOW,
    STAGE = const crosswalk_guest::layout::DOUBLE_FAULT_STACK_TOP - 0x1000,
);

#[cfg(bare_metal)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(bare_metal))]
fn main() {}
