//! A processor's program: a loop that resets the test, waits for the others, and runs the actions.
//!
//! It runs in ring 3. Registers: RBX has the control page, RBP the delays, R12 the iteration, R13 the record,
//! RSI how many barriers it came to, R14 the error code of the last fault, R15 where it goes on after one. HLT asks
//! ring 0 for the service that EAX names. In a test of ring 0 the actions alone are made there: a KVM may emulate
//! whatever ring 0 does, a thousand times slower.

use super::assembler::{Assembler, BELOW, EQUAL, NOT_EQUAL, Register};
use super::layout::{
    ACTIONS, ACTIONS_SIZE, APIC, CONTROL, DELAYS, DELAYS_SIZE, OBSERVED_SLOTS, PROGRAM_SIZE,
    PROGRAMS, RECORD_SIZE, RESULT_SIZE, RESULTS, RESULTS_SIZE, SLOTS, WINDOW_0, WINDOW_3, barrier,
    finished, window,
};
use super::service::Service;
use mmu_core::Ring;
use mmu_core::litmus::{Action, LitmusTest, LockedOperation};
use mmu_core::x86::state::Cr4;

/// Whether processors interrupt each other.
pub(super) fn has_interrupts(test: &LitmusTest) -> bool {
    let mut actions = test.programs.iter().flat_map(|program| &program.actions);
    actions.any(|action| matches!(action, Action::Interrupt(_)))
}

/// The program of a processor.
pub(super) fn program(test: &LitmusTest, number: usize, iterations: u32) -> Vec<u8> {
    let mut writer = Writer::new(PROGRAMS + PROGRAM_SIZE * number as u64, Ring::Three);
    let code = &mut writer.code;
    code.set(Register::Rbx, WINDOW_3 + CONTROL);
    code.set(Register::Rbp, WINDOW_3 + DELAYS + DELAYS_SIZE * number as u64);
    code.set(Register::R13, WINDOW_3 + RESULTS + RESULTS_SIZE * number as u64);
    code.set(Register::R12, 0);
    code.set(Register::Rsi, 0);

    if has_interrupts(test) {
        writer.ask(Service::Listen, 0);
    }

    let start = writer.code.bound();
    if number == 0 {
        writer.reset_memory(test);
    }
    writer.reset_registers(test, number);
    writer.barrier(test, number);
    writer.drop_cached(test);
    writer.barrier(test, number);
    writer.delay();
    match test.ring {
        Ring::Three => writer.actions(&test.programs[number].actions),
        Ring::Zero => {
            let actions = WINDOW_0 + ACTIONS + ACTIONS_SIZE * number as u64;
            writer.ask(Service::Actions, actions);
        }
    }
    writer.barrier(test, number);
    if number == 0 {
        for (slot, observed) in (SLOTS - OBSERVED_SLOTS..).zip(&test.observed) {
            writer.code.set(Register::Rdx, WINDOW_3 + observed.at.get());
            writer.code.load(Register::Rax, Register::Rdx, 0);
            writer.record(slot);
        }
    }
    let code = &mut writer.code;
    code.add(Register::R13, RECORD_SIZE as u32);
    code.add(Register::R12, 1);
    code.compare_value(Register::R12, iterations);
    code.jump_if(BELOW, start);
    writer.ask(Service::Finish, WINDOW_0 + CONTROL + finished(number));
    writer.code.finish()
}

/// The code of ring 0 for the actions of a processor, if they are made there.
pub(super) fn actions_in_ring_0(test: &LitmusTest, number: usize) -> Vec<u8> {
    let mut writer = Writer::new(ACTIONS + ACTIONS_SIZE * number as u64, Ring::Zero);
    // The record as ring 0 sees it, and in the end again as ring 3 does.
    writer.code.set(Register::Rdx, WINDOW_0 - WINDOW_3);
    writer.code.raw(&[0x49, 0x01, 0xd5]); // add r13, rdx
    // The gate of the service has cleared IF.
    if has_interrupts(test) {
        writer.code.raw(&[0xfb]); // sti
    }
    writer.actions(&test.programs[number].actions);
    writer.code.raw(&[0xfa]); // cli
    writer.code.set(Register::Rdx, WINDOW_0 - WINDOW_3);
    writer.code.raw(&[0x49, 0x29, 0xd5]); // sub r13, rdx
    writer.code.raw(&[0x48, 0xcf]); // iretq
    writer.code.finish()
}

/// The code of ring 0 for an interrupt: a processor's handler.
pub(super) fn handler(actions: &[Action], base: u64) -> Vec<u8> {
    let mut writer = Writer { is_handler: true, ..Writer::new(base, Ring::Zero) };
    let code = &mut writer.code;
    code.raw(&[0x50, 0x51, 0x52, 0x57]); // push rax, rcx, rdx, rdi
    code.raw(&[0x41, 0x50, 0x41, 0x51]); // push r8, r9
    for action in actions {
        writer.action(action, None);
    }
    let code = &mut writer.code;
    // The end of the interrupt.
    code.set(Register::Rdx, WINDOW_0 + APIC);
    code.raw(&[0xc7, 0x82, 0xb0, 0, 0, 0, 0, 0, 0, 0]); // mov dword [rdx+0xb0], 0
    code.raw(&[0x41, 0x59, 0x41, 0x58]); // pop r9, r8
    code.raw(&[0x5f, 0x5a, 0x59, 0x58]); // pop rdi, rdx, rcx, rax
    code.raw(&[0x48, 0xcf]); // iretq
    writer.code.finish()
}

/// The actions, each with the number of its result.
fn numbered(actions: &[Action]) -> impl Iterator<Item = (Option<usize>, &Action)> {
    actions.iter().scan(0, |next, action| {
        let number = action.is_observed().then_some(*next);
        *next += usize::from(action.is_observed());
        Some((number, action))
    })
}

struct Writer {
    code: Assembler,
    ring: Ring,
    is_handler: bool,
}

impl Writer {
    const fn new(base: u64, ring: Ring) -> Self {
        Self { code: Assembler::new(window(ring) + base), ring, is_handler: false }
    }

    /// Where the program sees a physical address.
    const fn seen_at(&self, at: u64) -> u64 {
        window(self.ring) + at
    }

    /// Gives every word of the test the value that it begins with. A store into a table can take long, so only
    /// what has changed is stored.
    fn reset_memory(&mut self, test: &LitmusTest) {
        for (at, value) in &test.memory {
            let same = self.code.label();
            self.code.set(Register::Rdx, self.seen_at(at.get()));
            self.code.set(Register::Rax, *value);
            self.code.compare(Register::Rdx, 0, Register::Rax);
            self.code.jump_if(EQUAL, same);
            self.code.store(Register::Rdx, 0, Register::Rax);
            self.code.bind(same);
        }
    }

    /// Gives the registers that the program writes their first values.
    fn reset_registers(&mut self, test: &LitmusTest, number: usize) {
        for action in &test.programs[number].actions {
            match action {
                Action::WriteCr0(_) => self.ask(Service::Cr0, test.state.cr0.bits()),
                Action::WriteCr4(_) => self.ask(Service::Cr4, test.state.cr4.bits()),
                Action::WriteEfer(_) => self.ask(Service::Efer, test.state.efer.bits()),
                Action::WritePkru(_) => self.action(&Action::WritePkru(test.state.pkru), None),
                _ => {}
            }
        }
    }

    /// What was cached of the last iteration is gone, and of this one nothing is yet.
    fn drop_cached(&mut self, test: &LitmusTest) {
        self.ask(Service::Cr3, test.state.cr3);
        // That spares what is global, and other PCIDs; a change of CR4.PGE spares nothing (SDM, Operations that
        // Invalidate TLBs and Paging-Structure Caches).
        if test.state.cr4.intersects(Cr4::PGE | Cr4::PCIDE) {
            self.ask(Service::Cr4, (test.state.cr4 ^ Cr4::PGE).bits());
            self.ask(Service::Cr4, test.state.cr4.bits());
        }
    }

    /// Waits until every processor is here.
    fn barrier(&mut self, test: &LitmusTest, number: usize) {
        self.code.add(Register::Rsi, 1);
        self.code.store(Register::Rbx, barrier(number) as u32, Register::Rsi);
        for other in (0..test.programs.len()).filter(|other| *other != number) {
            let done = self.code.label();
            let again = self.code.bound();
            self.code.load(Register::Rax, Register::Rbx, barrier(other) as u32);
            self.code.raw(&[0x48, 0x39, 0xf0]); // cmp rax, rsi
            self.code.jump_if(3, done); // not below
            self.code.raw(&[0xf3, 0x90]); // pause
            self.code.jump(again);
            self.code.bind(done);
        }
    }

    /// Counts down from this iteration's delay.
    fn delay(&mut self) {
        let done = self.code.label();
        self.code.raw(&[0x42, 0x8b, 0x4c, 0xa5, 0x00]); // mov ecx, [rbp+r12*4]
        let again = self.code.bound();
        self.code.raw(&[0x85, 0xc9]); // test ecx, ecx
        self.code.jump_if(EQUAL, done);
        self.code.raw(&[0xff, 0xc9]); // dec ecx
        self.code.jump(again);
        self.code.bind(done);
    }

    /// Has ring 0 do something, which this may be.
    fn ask(&mut self, service: Service, operand: u64) {
        self.code.set(Register::Rdi, operand);
        match self.ring {
            Ring::Zero => service.perform(&mut self.code),
            Ring::Three => {
                self.code.set(Register::Rax, service as u64);
                self.code.raw(&[0xf4]); // hlt
            }
        }
    }

    /// Puts RAX and the error code into the record.
    fn record(&mut self, slot: usize) {
        let at = slot as u32 * RESULT_SIZE as u32;
        self.code.store(Register::R13, at, Register::Rax);
        // mov [r13+at+8], r14
        self.code.raw(&[0x4d, 0x89, 0xb5]);
        self.code.raw(&(at + 8).to_le_bytes());
    }

    /// `mov r14, -1`: no fault yet.
    fn no_fault(&mut self) {
        self.code.raw(&[0x49, 0xc7, 0xc6, 0xff, 0xff, 0xff, 0xff]);
    }

    /// The actions of a program.
    fn actions(&mut self, actions: &[Action]) {
        for (result, action) in numbered(actions) {
            self.action(action, result);
        }
    }

    /// One action, and its result.
    fn action(&mut self, action: &Action, result: Option<usize>) {
        // A handler leaves the registers of the program alone: the program may be between a fault and its record.
        if !self.is_handler {
            self.no_fault();
        }
        match *action {
            Action::Read(address) => {
                self.code.set(Register::Rdx, address.get());
                self.may_fault(|code| code.raw(&[0x48, 0x8b, 0x02])); // mov rax, [rdx]
            }
            Action::Write(address, value) => {
                self.code.set(Register::Rdx, address.get());
                self.code.set(Register::Rax, value);
                self.may_fault(|code| code.raw(&[0x48, 0x89, 0x02])); // mov [rdx], rax
            }
            Action::Fetch(address) => {
                self.code.set(Register::Rdx, address.get());
                let after = self.code.label();
                self.code.set_label(Register::R15, after);
                self.code.set_label(Register::R11, after);
                self.code.raw(&[0xff, 0xe2]); // jmp rdx
                self.code.bind(after);
            }
            Action::Load(at) => {
                self.code.set(Register::Rdx, self.seen_at(at.get()));
                self.code.load(Register::Rax, Register::Rdx, 0);
            }
            Action::Store(at, value) => {
                self.code.set(Register::Rdx, self.seen_at(at.get()));
                self.code.set(Register::Rax, value);
                self.code.store(Register::Rdx, 0, Register::Rax);
            }
            Action::Locked(at, operation) => self.locked(at.get(), operation),
            Action::WaitFor(at, value) => {
                self.code.set(Register::Rdx, self.seen_at(at.get()));
                self.code.set(Register::Rax, value);
                let done = self.code.label();
                let again = self.code.bound();
                self.code.compare(Register::Rdx, 0, Register::Rax);
                self.code.jump_if(EQUAL, done);
                self.code.raw(&[0xf3, 0x90]); // pause
                self.code.jump(again);
                self.code.bind(done);
            }
            Action::Fence => self.code.raw(&[0x0f, 0xae, 0xf0]), // mfence
            Action::Invlpg(address) => self.ask(Service::Invlpg, address.get()),
            Action::WriteCr3(value) => self.ask(Service::Cr3, value),
            Action::WriteCr4(value) => self.ask(Service::Cr4, value.bits()),
            Action::WriteCr0(value) => self.ask(Service::Cr0, value.bits()),
            Action::WriteEfer(value) => self.ask(Service::Efer, value.bits()),
            Action::WritePkru(value) => {
                self.code.raw(&[0x31, 0xc9, 0x31, 0xd2, 0xb8]); // ecx, edx = 0; mov eax, value
                self.code.raw(&value.to_le_bytes());
                self.code.raw(&[0x0f, 0x01, 0xef]); // wrpkru
            }
            Action::Interrupt(other) => {
                self.code.raw(&[0x0f, 0xae, 0xf0]); // mfence
                self.ask(Service::Interrupt, (other as u64) << 24);
            }
            Action::Invpcid(kind, [pcid, address]) => {
                self.code.set(Register::Rdx, kind);
                self.code.set(Register::Rcx, address);
                self.ask(Service::Invpcid, pcid);
            }
        }
        if let Some(slot) = result {
            self.record(slot);
        }
    }

    /// An instruction, after which the program goes on whether it faults or not.
    fn may_fault(&mut self, write: impl FnOnce(&mut Assembler)) {
        let after = self.code.label();
        self.code.set_label(Register::R15, after);
        write(&mut self.code);
        self.code.bind(after);
    }

    /// A locked operation, with what was there in RAX.
    fn locked(&mut self, at: u64, operation: LockedOperation) {
        self.code.set(Register::Rdx, self.seen_at(at));
        let combine: &[u8] = match operation {
            LockedOperation::Exchange(value) => {
                self.code.set(Register::Rax, value);
                return self.code.raw(&[0x48, 0x87, 0x02]); // xchg [rdx], rax
            }
            LockedOperation::CompareExchange(expected, new) => {
                self.code.set(Register::Rax, expected);
                self.code.set(Register::R8, new);
                return self.code.raw(&[0xf0, 0x4c, 0x0f, 0xb1, 0x02]); // lock cmpxchg [rdx], r8
            }
            LockedOperation::And(mask) => {
                self.code.set(Register::R9, mask);
                &[0x4d, 0x21, 0xc8] // and r8, r9
            }
            LockedOperation::Or(mask) => {
                self.code.set(Register::R9, mask);
                &[0x4d, 0x09, 0xc8] // or r8, r9
            }
        };
        self.code.load(Register::Rax, Register::Rdx, 0);
        let again = self.code.bound();
        self.code.raw(&[0x49, 0x89, 0xc0]); // mov r8, rax
        self.code.raw(combine);
        self.code.raw(&[0xf0, 0x4c, 0x0f, 0xb1, 0x02]); // lock cmpxchg [rdx], r8
        self.code.jump_if(NOT_EQUAL, again);
    }
}
