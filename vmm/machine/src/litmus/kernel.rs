//! Code of ring 0: faults, services for ring 3, and on machines that start like a PC the way into long mode.

use super::assembler::{Assembler, NOT_EQUAL, Register};
use super::layout::{
    APIC, BOOT_TABLES, CODE, CODE_0, DATA_3, GDT, IDT, STACK_SIZE, STACKS, TRAMPOLINE,
    TRAMPOLINE_GDT, WINDOW_0, task_selector,
};
use super::service::Service;
use mmu_core::litmus::LitmusTest;
use mmu_core::x86::state::ControlState;

/// The code, and where its parts are, as addresses in the window.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) code: Vec<u8>,
    pub(super) page_fault: u64,
    pub(super) general_protection: u64,
    /// `iretq`: the way to ring 3, with the frame on the stack.
    pub(super) enter: u64,
    /// Where each processor comes from, on machines that start like a PC, as physical addresses.
    pub(super) boots: [u64; 2],
}

impl Kernel {
    pub(super) fn new(test: &LitmusTest) -> Self {
        let mut code = Assembler::new(WINDOW_0 + CODE);

        let page_fault = code.here();
        // The program goes on at R15, with the error code in R14.
        code.raw(&[0x41, 0x5e]); // pop r14
        code.raw(&[0x4c, 0x89, 0x3c, 0x24]); // mov [rsp], r15
        code.raw(&[0x48, 0xcf]); // iretq

        let general_protection = services(&mut code);
        let enter = code.here();
        code.raw(&[0x48, 0xcf]); // iretq

        let boots = [0, 1].map(|number| boot(&mut code, test, number) - WINDOW_0);
        Self { code: code.finish(), page_fault, general_protection, enter, boots }
    }
}

/// HLT in ring 3 raises #GP: the service that EAX names.
fn services(code: &mut Assembler) -> u64 {
    let start = code.here();
    code.raw(&[0x48, 0x83, 0xc4, 0x08]); // add rsp, 8: the error code
    code.raw(&[0x48, 0xff, 0x04, 0x24]); // inc qword [rsp]: behind the HLT

    let done = code.label();
    for service in Service::ALL {
        let other = code.label();
        code.raw(&[0x83, 0xf8, service as u8]); // cmp eax, service
        code.jump_if(NOT_EQUAL, other);
        service.perform(code);
        code.jump(done);
        code.bind(other);
    }
    code.bind(done);
    code.raw(&[0x48, 0xcf]); // iretq
    start
}

/// From the boot tables in 64-bit code to the program of a processor. The first one starts the second. Returns
/// where it is in the window.
fn boot(code: &mut Assembler, test: &LitmusTest, number: usize) -> u64 {
    let start = code.here();
    let in_window = code.label();
    code.set_label(Register::Rax, in_window);
    code.raw(&[0xff, 0xe0]); // jmp rax
    code.bind(in_window);

    let ControlState { cr0, cr3, cr4, efer, .. } = test.state;
    code.raw(&[0xb9, 0x80, 0x00, 0x00, 0xc0]); // mov ecx, EFER
    code.set(Register::Rax, efer.bits());
    code.raw(&[0x31, 0xd2, 0x0f, 0x30]); // xor edx, edx; wrmsr
    code.set(Register::Rax, cr4.bits());
    code.raw(&[0x0f, 0x22, 0xe0]); // mov cr4, rax
    code.set(Register::Rax, cr0.bits());
    code.raw(&[0x0f, 0x22, 0xc0]); // mov cr0, rax
    code.set(Register::Rax, cr3 & !0xfff);
    code.raw(&[0x0f, 0x22, 0xd8]); // mov cr3, rax

    code.set(Register::Rax, WINDOW_0 + GDT + GDT_POINTER);
    code.raw(&[0x0f, 0x01, 0x10]); // lgdt [rax]
    code.set(Register::Rax, WINDOW_0 + IDT + IDT_POINTER);
    code.raw(&[0x0f, 0x01, 0x18]); // lidt [rax]
    code.set(Register::Rax, u64::from(task_selector(number)));
    code.raw(&[0x0f, 0x00, 0xd8]); // ltr ax
    code.set(Register::Rax, u64::from(DATA_3));
    code.raw(&[0x8e, 0xd8, 0x8e, 0xc0]); // mov ds, ax; mov es, ax
    code.set(Register::Rsp, entry_frame(number));

    code.set(Register::Rdx, WINDOW_0 + APIC);
    if number == 0 && test.programs.len() > 1 {
        // INIT, and a startup interrupt for the page of the trampoline.
        code.raw(&[0xc7, 0x82, 0x10, 0x03, 0, 0, 0, 0, 0, 1]); // mov dword [rdx+0x310], 1 << 24
        code.raw(&[0xc7, 0x82, 0x00, 0x03, 0, 0, 0x00, 0x45, 0, 0]); // mov dword [rdx+0x300], INIT
        code.raw(&[0xb9, 0x00, 0x00, 0x01, 0x00]); // mov ecx, 0x10000
        let again = code.bound();
        code.raw(&[0xf3, 0x90, 0xff, 0xc9]); // pause; dec ecx
        code.jump_if(NOT_EQUAL, again);
        code.raw(&[0xc7, 0x82, 0x10, 0x03, 0, 0, 0, 0, 0, 1]);
        code.raw(&[0xc7, 0x82, 0x00, 0x03, 0, 0, (TRAMPOLINE >> 12) as u8, 0x46, 0, 0]); // startup
    }
    code.raw(&[0x48, 0xcf]); // iretq
    start
}

/// Where the descriptors of the GDT and the IDT are, behind the tables.
pub(super) const GDT_POINTER: u64 = 0x800;
pub(super) const IDT_POINTER: u64 = 0xf00;

/// Where the frame is with which a processor enters ring 3 for the first time: at the top of its stack.
pub(super) const fn entry_frame(number: usize) -> u64 {
    WINDOW_0 + STACKS + STACK_SIZE * (number as u64 + 1) - 0x40
}

/// Real-mode code for the second processor: into long mode at once, and to its boot code.
pub(super) fn trampoline(kernel: &Kernel) -> Vec<u8> {
    let mut code = vec![0xfa, 0x31, 0xc0, 0x8e, 0xd8]; // cli; xor ax, ax; mov ds, ax
    let mut with = |prefix: &[u8], value: u32| {
        code.extend_from_slice(prefix);
        code.extend_from_slice(&value.to_le_bytes());
    };
    with(&[0x66, 0xb8], 0x20); // mov eax, PAE
    with(&[0x0f, 0x22, 0xe0, 0x66, 0xb8], BOOT_TABLES as u32); // mov cr4, eax; mov eax, tables
    with(&[0x0f, 0x22, 0xd8, 0x66, 0xb9], 0xc000_0080); // mov cr3, eax; mov ecx, EFER
    with(&[0x66, 0xb8], 0x900); // mov eax, LME and NXE
    code.extend_from_slice(&[0x66, 0x31, 0xd2, 0x0f, 0x30]); // xor edx, edx; wrmsr
    code.extend_from_slice(&[0x66, 0x0f, 0x01, 0x16]); // lgdt [TRAMPOLINE_GDT]
    code.extend_from_slice(&(TRAMPOLINE_GDT as u16).to_le_bytes());
    code.extend_from_slice(&[0x66, 0xb8]); // mov eax, PG, WP, ET, PE
    code.extend_from_slice(&0x8001_0011_u32.to_le_bytes());
    code.extend_from_slice(&[0x0f, 0x22, 0xc0]); // mov cr0, eax
    code.extend_from_slice(&[0x66, 0xea]); // jmp CODE_0:boot
    code.extend_from_slice(&(kernel.boots[1] as u32).to_le_bytes());
    code.extend_from_slice(&CODE_0.to_le_bytes());
    code
}
