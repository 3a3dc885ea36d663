//! What the misbehaving images share: a valid header, and a start that answers the first doorbell
//! like a good image, so that the host sends a batch before things go wrong.

/// Defines an image that takes a batch and then runs these lines, in ring 0, with the address of
/// the batch's arena in `rbx` and that of the control page in `rax`.
macro_rules! image {
    ($($line:literal),+ $(,)?) => {
        core::arch::global_asm!(
            ".section .image_header, \"a\"",
            ".quad {MAGIC}",
            ".quad boot",
            ".fill {STUBS}, 8, 0x100000",
            ".text",
            ".global boot",
            "boot:",
            "mov eax, {CONTROL}",
            "mov qword ptr [rax + 40], 5", // Control.modes_walked: the self-test went well
            // Last: with QEMU the host goes on as soon as it sees this.
            "mov qword ptr [rax + 16], 0", // Control.completed
            "mov al, {COMPLETED}",
            "out {DOORBELL_PORT}, al",
            "mov eax, {CONTROL}",
            "3: cmp qword ptr [rax], 0", // Control.command
            "je 3b",
            "mov rbx, [rax + 8]", // Control.arena
            "add rbx, {WINDOW}",
            $($line,)+
            MAGIC = const crosswalk_guest::stub::IMAGE_MAGIC,
            STUBS = const crosswalk_guest::stub::STUBS,
            CONTROL = const crosswalk_guest::layout::CONTROL + crosswalk_guest::layout::SUPERVISOR_WINDOW,
            WINDOW = const crosswalk_guest::layout::SUPERVISOR_WINDOW,
            DOORBELL_PORT = const crosswalk_guest::mailbox::DOORBELL_PORT,
            COMPLETED = const crosswalk_guest::mailbox::Doorbell::Completed as u8,
        );

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            loop {}
        }
    };
}
pub(crate) use image;
