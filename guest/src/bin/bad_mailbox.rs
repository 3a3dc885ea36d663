//! Takes a batch, then writes nonsense over its records and says that it is done.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
#[path = "bad/mod.rs"]
mod bad;

#[cfg(bare_metal)]
bad::image!(
    "mov r8, rax",
    "mov r9, [rax]",           // Control.command
    "lea rdi, [rbx + 0x1000]", // the records of ring 3
    "mov ecx, 0x3000",
    "mov eax, 0xa5",
    "rep stosb",
    "mov [r8 + 16], r9", // Control.completed, last: with QEMU the host looks as soon as it sees it
    "mov al, {COMPLETED}",
    "out {DOORBELL_PORT}, al",
    "2: jmp 2b",
);

#[cfg(not(bare_metal))]
fn main() {}
