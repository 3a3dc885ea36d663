//! Tells in what state it was started, then copies words on request: for the tests of machines that
//! start at the reset vector.
//!
//! The control page holds, as words: 0 the request (a number, from the host), 1 the linear address
//! to read, 2 the linear address to write to, 3 the last request done, then CR0, CR3, CR4, EFER and
//! RFLAGS, then CS and SS, and at last a count that shows that the guest runs.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
core::arch::global_asm!(
    ".section .image_header, \"a\"",
    ".quad {MAGIC}",
    ".quad boot",
    ".fill {STUBS}, 8, 0x100000",
    ".text",
    ".global boot",
    "boot:",
    "mov ebx, {CONTROL}",
    "mov rax, cr0",
    "mov [rbx + 32], rax",
    "mov rax, cr3",
    "mov [rbx + 40], rax",
    "mov rax, cr4",
    "mov [rbx + 48], rax",
    "mov ecx, 0xc0000080", // EFER
    "rdmsr",
    "shl rdx, 32",
    "or rax, rdx",
    "mov [rbx + 56], rax",
    "mov esp, {STACK}",
    "pushfq",
    "pop [rbx + 64]",
    "xor eax, eax",
    "mov ax, cs",
    "mov [rbx + 72], rax",
    "mov ax, ss",
    "mov [rbx + 80], rax",
    "2: inc qword ptr [rbx + 88]",
    "pause",
    "mov rax, [rbx]",
    "cmp rax, [rbx + 24]",
    "je 2b",
    "mov rsi, [rbx + 8]",
    "mov rdi, [rbx + 16]",
    "mov rcx, [rsi]",
    "mov [rdi], rcx",
    "mov [rbx + 24], rax",
    "jmp 2b",
    MAGIC = const crosswalk_guest::stub::IMAGE_MAGIC,
    STUBS = const crosswalk_guest::stub::STUBS,
    CONTROL = const crosswalk_guest::layout::CONTROL + crosswalk_guest::layout::SUPERVISOR_WINDOW,
    STACK = const crosswalk_guest::layout::FAULT_STACK_TOP + crosswalk_guest::layout::SUPERVISOR_WINDOW,
);

#[cfg(bare_metal)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(bare_metal))]
fn main() {}
