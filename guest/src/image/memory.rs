//! The memory functions that compiled code calls. They use string instructions, because the
//! compiler would turn a loop into a call of the function itself.

use core::arch::naked_asm;

macro_rules! function {
    ($name:ident, $($line:literal),+) => {
        // SAFETY: the instructions keep the C calling convention (DF is clear on return, only
        // caller-saved registers change) and access only the ranges that the C function may access.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name() {
            naked_asm!($($line),+)
        }
    };
}

// Compares forwards; returns the difference of the first bytes that differ, or 0.
function!(
    memcmp,
    "xor eax, eax",
    "mov rcx, rdx",
    "cmp rcx, rcx",
    "repe cmpsb",
    "je 2f",
    "movzx eax, byte ptr [rdi - 1]",
    "movzx ecx, byte ptr [rsi - 1]",
    "sub eax, ecx",
    "2: ret"
);
function!(bcmp, "jmp memcmp");
// By 8 bytes, since emulators take as long for a byte.
function!(
    memcpy,
    "mov rax, rdi",
    "mov rcx, rdx",
    "shr rcx, 3",
    "rep movsq",
    "mov ecx, edx",
    "and ecx, 7",
    "rep movsb",
    "ret"
);
// Copies backwards only if copying forwards would overwrite the end of the source before reading
// it.
function!(
    memmove,
    "mov rax, rdi",
    "mov rcx, rdx",
    "mov r8, rdi",
    "sub r8, rsi",
    "cmp r8, rdx",
    "jb 2f",
    "rep movsb",
    "ret",
    "2: lea rdi, [rdi + rcx - 1]",
    "lea rsi, [rsi + rcx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret"
);
function!(
    memset,
    "mov r8, rdi",
    "movzx eax, sil",
    "mov rcx, 0x0101010101010101",
    "imul rax, rcx",
    "mov rcx, rdx",
    "shr rcx, 3",
    "rep stosq",
    "mov ecx, edx",
    "and ecx, 7",
    "rep stosb",
    "mov rax, r8",
    "ret"
);
