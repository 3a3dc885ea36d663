//! What only ring 0 can do. Programs, which are in ring 3, ask for it; what runs in ring 0 does it itself.

use super::assembler::{Assembler, Register};
use super::layout::{APIC, FINISHED_PORT, INTERRUPT, WINDOW_0};

/// A service. Its operand is in RDI; it may change RAX, RCX and RDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Service {
    /// INVLPG of the address in RDI.
    Invlpg = 1,
    /// MOV of RDI to CR3, CR4, CR0.
    Cr3 = 2,
    Cr4 = 3,
    Cr0 = 4,
    /// WRMSR of EFER from RDI.
    Efer = 5,
    /// INVPCID of the type in RDX, with the PCID in RDI and the address in RCX.
    Invpcid = 6,
    /// An interrupt for the processor in RDI.
    Interrupt = 7,
    /// Interrupts are accepted from now on.
    Listen = 8,
    /// The actions of a test of ring 0, which are at RDI and return by themselves.
    Actions = 9,
    /// This processor has finished: the byte at RDI is set.
    Finish = 10,
}

impl Service {
    /// Every service.
    pub(super) const ALL: [Self; 10] = [
        Self::Invlpg,
        Self::Cr3,
        Self::Cr4,
        Self::Cr0,
        Self::Efer,
        Self::Invpcid,
        Self::Interrupt,
        Self::Listen,
        Self::Actions,
        Self::Finish,
    ];

    /// The instructions of ring 0.
    pub(super) fn perform(self, code: &mut Assembler) {
        match self {
            Self::Invlpg => code.raw(&[0x0f, 0x01, 0x3f]), // invlpg [rdi]
            Self::Cr3 => code.raw(&[0x0f, 0x22, 0xdf]),    // mov cr3, rdi
            Self::Cr4 => code.raw(&[0x0f, 0x22, 0xe7]),    // mov cr4, rdi
            Self::Cr0 => code.raw(&[0x0f, 0x22, 0xc7]),    // mov cr0, rdi
            Self::Efer => {
                code.raw(&[0xb9, 0x80, 0x00, 0x00, 0xc0]); // mov ecx, EFER
                code.raw(&[0x89, 0xf8, 0x31, 0xd2]); // mov eax, edi; xor edx, edx
                code.raw(&[0x0f, 0x30]); // wrmsr
            }
            Self::Invpcid => {
                // The descriptor on the stack: the PCID, and the address above it.
                code.raw(&[0x51, 0x57]); // push rcx; push rdi
                code.raw(&[0x66, 0x0f, 0x38, 0x82, 0x14, 0x24]); // invpcid rdx, [rsp]
                code.raw(&[0x5f, 0x59]); // pop rdi; pop rcx
            }
            Self::Interrupt => {
                code.set(Register::Rdx, WINDOW_0 + APIC);
                code.raw(&[0x89, 0xba, 0x10, 0x03, 0, 0]); // mov [rdx+0x310], edi: the destination
                code.raw(&[0x89, 0xf8, 0xc1, 0xe8, 0x18]); // mov eax, edi; shr eax, 24
                code.raw(&[0x05, INTERRUPT, 0x40, 0, 0]); // add eax, the vector for that processor, assert
                code.raw(&[0x89, 0x82, 0x00, 0x03, 0, 0]); // mov [rdx+0x300], eax
            }
            Self::Listen => {
                // The APIC is on, with a vector for what is spurious.
                code.set(Register::Rdx, WINDOW_0 + APIC);
                code.raw(&[0xc7, 0x82, 0xf0, 0, 0, 0, 0xff, 0x01, 0, 0]); // mov dword [rdx+0xf0], 0x1ff
            }
            Self::Actions => code.raw(&[0xff, 0xe7]), // jmp rdi
            Self::Finish => {
                code.raw(&[0xc6, 0x07, 0x01]); // mov byte [rdi], 1
                let again = code.bound();
                code.raw(&[0xe6, FINISHED_PORT]); // out FINISHED_PORT, al
                code.raw(&[0xfa, 0xf4]); // cli; hlt
                code.jump(again);
            }
        }
    }
}
