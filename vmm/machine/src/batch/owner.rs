//! What a record of a list shows of a case.

use super::registers::LOW_HALF;
use crosswalk_case::Operands;
use crosswalk_case::observation::{Register, SavedRip};
use crosswalk_guest::mailbox::AccessRecord;
use crosswalk_guest::stub::Form;
use mmu_core::Ring;

/// What a record shows of a case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// The index of the case in its batch.
    pub(super) case: usize,
    /// What it shows.
    pub(super) part: Part,
    /// The ring whose turn it is.
    pub(super) ring: Ring,
    /// The address of its code segment's base.
    pub(super) code_base: u64,
    /// The linear address of the instruction that it is about.
    pub(super) instruction: u64,
    /// The form of an access, and whether it uses RBP as its base. A privileged instruction keeps no frame.
    pub(super) form: Option<Form>,
    pub(super) stack: bool,
    /// The operands of an instruction with a source, before it.
    pub(super) operands: Option<Operands>,
}

/// A part of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An access before the last of a sequence.
    Earlier,
    /// The last access of a case, or the MOV in its place ([`unloadable_cr3`](super::registers::unloadable_cr3)).
    Last,
    /// The fault of a privileged instruction.
    Privileged {
        /// Whether it is about a control register.
        has_register: bool,
    },
    /// What the register of the privileged instruction before it holds afterwards.
    Register,
    /// What the operands of the instruction before it are afterwards.
    Operands {
        /// Whether that is the last access of the case.
        of_last: bool,
    },
}

impl Part {
    /// Whether the record holds operands, which may be anything.
    pub(super) const fn is_about_operands(self) -> bool {
        matches!(self, Self::Operands { .. })
    }
}

impl Owner {
    /// What registers hold while an instruction of 64-bit code makes the access, by the record before
    /// the run.
    pub(super) fn loaded(&self, record: &AccessRecord) -> Vec<(Register, u64)> {
        /// The selector that LSL and the load of ES take: the first descriptor of the local table, RPL 3.
        const SELECTOR: u64 = 4 | 3;

        let AccessRecord { address, value, .. } = *record;
        if self.operands.is_some() {
            // What becomes of RSI is among the operands.
            return vec![(Register::Rbx, value)];
        }
        let base = if self.stack { Register::Rbp } else { Register::Rsi };
        let mut loaded = vec![(base, address)];
        match self.form {
            Some(Form::SegmentLimit) => {
                loaded.extend([(Register::Rax, SELECTOR), (Register::Rbx, !0)]);
            }
            Some(Form::SegmentLoad) => {
                loaded.extend([(Register::Rax, SELECTOR), (Register::Rbx, value)]);
            }
            Some(Form::FailingCompare) => {
                loaded.extend([(Register::Rax, value), (Register::Rbx, value)]);
            }
            _ => loaded.push((Register::Rbx, value)),
        }
        loaded
    }

    /// RSP of the instruction, where it is an operand.
    pub(super) fn stack_operand(&self) -> Option<u64> {
        let is_operand = self.form.is_some_and(Form::moves_stack);
        self.operands.filter(|_| is_operand).map(|operands| operands.rdi)
    }

    /// The RIP that the fault of the access saved, by the offset in its code segment.
    pub(super) fn saved_rip(&self, offset: u64) -> SavedRip {
        let mut address = offset.wrapping_add(self.code_base);
        if self.code_base != 0 {
            address &= LOW_HALF;
        }

        let from_instruction = address.wrapping_sub(self.instruction) as i64;
        match i8::try_from(from_instruction) {
            Ok(bytes) => SavedRip::FromInstruction(bytes),
            Err(_) => SavedRip::Address(address),
        }
    }
}
