//! The memory functions that compiled code calls. Written with string instructions: a loop would be
//! compiled into a call of itself.

use core::arch::naked_asm;

macro_rules! function {
    ($name:ident, $($line:literal),+) => {
        // SAFETY: keeps the C calling convention and touches only what the C function may.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name() {
            naked_asm!($($line),+)
        }
    };
}

// Compares forwards; the difference of the first bytes that differ, or 0.
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
function!(memcpy, "mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret");
// Backwards only where the end of the source would be written over first.
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
function!(memset, "mov r8, rdi", "mov eax, esi", "mov rcx, rdx", "rep stosb", "mov rax, r8", "ret");
