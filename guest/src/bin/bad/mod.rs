//! What the misbehaving images share: a valid header, and a start that reports a successful boot
//! like a good image, so that the host sends a batch before things go wrong.

/// Defines an image that waits for a batch and then runs these lines, in ring 0, with the
/// supervisor address of the batch's arena in `rbx` and that of the control page in `rax`.
/// Constants of the lines follow after a semicolon.
macro_rules! image {
    ($($line:literal),+ $(,)? $(; $($name:ident = $value:expr),+ $(,)?)?) => {
        use core::mem::offset_of;
        use crosswalk_guest::layout::{CONTROL, SUPERVISOR_WINDOW};
        use crosswalk_guest::mailbox::{Control, DOORBELL_PORT, Doorbell};
        use crosswalk_guest::stub::{IMAGE_MAGIC, STUBS};

        core::arch::global_asm!(
            ".section .image_header, \"a\"",
            ".quad {MAGIC}",
            ".quad boot",
            ".fill {STUBS}, 8, 0x100000",
            ".text",
            ".global boot",
            "boot:",
            "mov eax, {CONTROL}",
            "mov qword ptr [rax + {MODES_WALKED}], 5", // The self-test succeeded.
            // Last: with QEMU the host continues as soon as it sees this.
            "mov qword ptr [rax + {COMPLETED}], 0",
            "mov al, {DONE}",
            "out {DOORBELL_PORT}, al",
            "mov eax, {CONTROL}",
            "3: cmp qword ptr [rax + {COMMAND}], 0",
            "je 3b",
            "mov rbx, [rax + {ARENA}]",
            "add rbx, {WINDOW}",
            $($line,)+
            MAGIC = const IMAGE_MAGIC,
            STUBS = const STUBS,
            CONTROL = const CONTROL + SUPERVISOR_WINDOW,
            COMMAND = const offset_of!(Control, command),
            ARENA = const offset_of!(Control, arena),
            COMPLETED = const offset_of!(Control, completed),
            MODES_WALKED = const offset_of!(Control, modes_walked),
            WINDOW = const SUPERVISOR_WINDOW,
            DOORBELL_PORT = const DOORBELL_PORT,
            DONE = const Doorbell::Completed as u8,
            $($($name = const $value,)+)?
        );

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            loop {}
        }
    };
}
pub(crate) use image;
