//! An image that reports the state in which it was started, then copies words on request: for the
//! tests of machines that start at the reset vector.
//!
//! Its control page contains a `Report` instead of the usual structure.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
use core::mem::offset_of;
#[cfg(bare_metal)]
use crosswalk_guest::layout::{CONTROL, FAULT_STACK_TOP, SUPERVISOR_WINDOW};
#[cfg(bare_metal)]
use crosswalk_guest::stub::{IMAGE_MAGIC, STUBS};

/// The contents of the control page: little-endian 64-bit words.
#[cfg(bare_metal)]
#[repr(C)]
struct Report {
    /// From the host: the number of the request. The guest copies a word when it changes.
    request: u64,
    /// From the host: the linear address of the word to read.
    from: u64,
    /// From the host: the linear address to write it to.
    to: u64,
    /// The number of the last request done.
    done: u64,
    cr0: u64,
    cr3: u64,
    cr4: u64,
    efer: u64,
    rflags: u64,
    cs: u64,
    ss: u64,
    /// Counts up while the guest waits for a request, which shows that it runs.
    count: u64,
}

#[cfg(bare_metal)]
core::arch::global_asm!(
    ".section .image_header, \"a\"",
    ".quad {MAGIC}",
    ".quad boot",
    ".fill 2 * {STUBS}, 8, 0x100000",
    ".text",
    ".global boot",
    "boot:",
    "mov ebx, {CONTROL}",
    "mov rax, cr0",
    "mov [rbx + {CR0}], rax",
    "mov rax, cr3",
    "mov [rbx + {CR3}], rax",
    "mov rax, cr4",
    "mov [rbx + {CR4}], rax",
    "mov ecx, 0xc0000080", // EFER
    "rdmsr",
    "shl rdx, 32",
    "or rax, rdx",
    "mov [rbx + {EFER}], rax",
    "mov esp, {STACK}",
    "pushfq",
    "pop [rbx + {RFLAGS}]",
    "xor eax, eax",
    "mov ax, cs",
    "mov [rbx + {CS}], rax",
    "mov ax, ss",
    "mov [rbx + {SS}], rax",
    "2: inc qword ptr [rbx + {COUNT}]",
    "pause",
    "mov rax, [rbx + {REQUEST}]",
    "cmp rax, [rbx + {DONE}]",
    "je 2b",
    "mov rsi, [rbx + {FROM}]",
    "mov rdi, [rbx + {TO}]",
    "mov rcx, [rsi]",
    "mov [rdi], rcx",
    "mov [rbx + {DONE}], rax",
    "jmp 2b",
    MAGIC = const IMAGE_MAGIC,
    STUBS = const STUBS,
    CONTROL = const CONTROL + SUPERVISOR_WINDOW,
    STACK = const FAULT_STACK_TOP + SUPERVISOR_WINDOW,
    REQUEST = const offset_of!(Report, request),
    FROM = const offset_of!(Report, from),
    TO = const offset_of!(Report, to),
    DONE = const offset_of!(Report, done),
    CR0 = const offset_of!(Report, cr0),
    CR3 = const offset_of!(Report, cr3),
    CR4 = const offset_of!(Report, cr4),
    EFER = const offset_of!(Report, efer),
    RFLAGS = const offset_of!(Report, rflags),
    CS = const offset_of!(Report, cs),
    SS = const offset_of!(Report, ss),
    COUNT = const offset_of!(Report, count),
);

#[cfg(bare_metal)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(bare_metal))]
fn main() {}
