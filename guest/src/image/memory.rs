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
function!(memset, "mov r8, rdi", "mov eax, esi", "mov rcx, rdx", "rep stosb", "mov rax, r8", "ret");
