//! An image that takes a batch, then writes nonsense over its records and reports the batch as
//! completed.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
#[path = "bad/mod.rs"]
mod bad;

#[cfg(bare_metal)]
bad::image!(
    "mov r8, rax",
    "mov r9, [rax + {COMMAND}]",
    "lea rdi, [rbx + {USER_RECORDS}]",
    "mov ecx, 0x3000",
    "mov eax, 0xa5",
    "rep stosb",
    // Last: with QEMU the host continues as soon as it sees this.
    "mov [r8 + {COMPLETED}], r9",
    "mov al, {DONE}",
    "out {DOORBELL_PORT}, al",
    "2: jmp 2b";
    USER_RECORDS = ARENA.user_records() - ARENA.base(),
);

#[cfg(bare_metal)]
const ARENA: crosswalk_guest::layout::Arena = crosswalk_guest::layout::Arena::ALL[0];

#[cfg(not(bare_metal))]
fn main() {}
