//! Instructions that make several accesses: which ones, in what order, and what happens to the registers
//! that are their operands.

use crate::{AccessStep, Action, Case, instruction};
use arrayvec::ArrayVec;
use crosswalk_guest::stub::Form;
use mmu_core::{Access, AccessKind, Segment, VirtAddr};

/// Maximum number of accesses of an instruction: a repeated one copies in runs.
pub const MAX_PARTS: usize = 2 * MAX_RUNS;

/// Maximum number of runs: the first iteration, then those up to a page's end, and those behind it.
const MAX_RUNS: usize = 3;

/// Bytes of the area that FXSAVE stores to.
pub const SAVED_AREA: u16 = 512;
/// Bytes of it that have registers in 64-bit code; the rest is reserved, or software's own (SDM, APM
/// "FXSAVE").
pub const SAVED_REGISTERS: u16 = 416;

/// The registers that are operands of an instruction with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operands {
    /// RSI: of `push`, `pop` and `call`, the address of the operand in memory; of `enter`, RBP.
    pub rsi: u64,
    /// RDI: of `push`, `pop`, `enter` and `call`, RSP.
    pub rdi: u64,
    /// RCX: of `rep movsb`, the number of bytes.
    pub rcx: u64,
}

/// How far an instruction has moved its operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// What has been added to RSI: by `enter`, to RBP.
    pub rsi: i64,
    /// What has been added to RDI: by `push`, `pop`, `enter` and `call`, to RSP.
    pub rdi: i64,
    /// What has been added to RCX.
    pub rcx: i64,
}

impl Operands {
    /// How far the operands have moved when they are these.
    pub const fn moved_to(self, now: Self) -> Moved {
        Moved {
            rsi: now.rsi.wrapping_sub(self.rsi) as i64,
            rdi: now.rdi.wrapping_sub(self.rdi) as i64,
            rcx: now.rcx.wrapping_sub(self.rcx) as i64,
        }
    }
}

impl Moved {
    /// The same of registers of 32 bits, which may have gone past their end.
    #[must_use]
    pub const fn in_32_bits(self) -> Self {
        Self {
            rsi: self.rsi as i32 as i64,
            rdi: self.rdi as i32 as i64,
            rcx: self.rcx as i32 as i64,
        }
    }
}

impl Case {
    /// Whether any instruction of the case has a source.
    pub fn has_source(&self) -> bool {
        self.script().any(|action| matches!(action, Action::Access(step) if step.form.has_source()))
    }
}

impl AccessStep {
    /// The address from which the instruction reads first, if it is one with a source.
    pub fn source(&self) -> Option<VirtAddr> {
        self.form.has_source().then(|| VirtAddr::new(self.value))
    }

    /// The name of the instruction, as the text form of a case has it.
    pub const fn instruction(&self) -> &'static str {
        instruction::name(self.form)
    }

    /// What the operands are before the instruction, if it is one with a source.
    pub fn operands(&self) -> Option<Operands> {
        let source = self.source()?.get();
        let address = self.access.address.get();
        let size = u64::from(self.access.size);
        Some(match self.form {
            // RSP is decremented before the store (SDM, APM "PUSH", "CALL").
            Form::Push | Form::Call => {
                Operands { rsi: source, rdi: address.wrapping_add(size), rcx: 0 }
            }
            Form::Pop => Operands { rsi: address, rdi: source, rcx: 0 },
            Form::RepeatedMove => Operands { rsi: source, rdi: address, rcx: size },
            Form::Enter => {
                Operands { rsi: source.wrapping_add(WORD), rdi: address.wrapping_add(size), rcx: 0 }
            }
            _ => Operands { rsi: source, rdi: address, rcx: 0 },
        })
    }

    /// How far the operands move if the instruction completes (SDM, APM "MOVS", "CMPS", "PUSH", "POP",
    /// "ENTER", "CALL", "REP").
    pub fn moves(&self) -> Moved {
        let size = i64::from(self.access.size);
        match self.form {
            Form::MoveString | Form::CompareStrings => Moved { rsi: size, rdi: size, rcx: 0 },
            Form::RepeatedMove => Moved { rsi: size, rdi: size, rcx: size.wrapping_neg() },
            Form::Push | Form::Call => Moved { rdi: size.wrapping_neg(), ..Moved::default() },
            Form::Pop => Moved { rdi: size, ..Moved::default() },
            Form::Enter => {
                let frame = self.frame_pointer();
                let rbp = self.value.wrapping_add(WORD);
                let rsi = frame.wrapping_sub(rbp) as i64;
                Moved { rsi, rdi: size.wrapping_neg(), rcx: 0 }
            }
            _ => Moved::default(),
        }
    }

    /// The frame pointer that `enter` pushes last, and leaves in RBP: where it has pushed the old one.
    pub const fn frame_pointer(&self) -> u64 {
        self.access.address.get().wrapping_add(2 * WORD)
    }

    /// Every access that the instruction makes, in order. The load of a segment counts as one.
    ///
    /// ```
    /// use crosswalk_case::Case;
    /// use crosswalk_guest::layout::Arena;
    /// use crosswalk_guest::stub::Form;
    /// use mmu_core::{Access, AccessKind, Profile, Ring, VirtAddr};
    ///
    /// let mut step = Case::plain(Arena::ALL[0], 0, Ring::Three, Profile::default()).access_step();
    /// step.access = Access::write(VirtAddr::new(0x5010), 4, Ring::Three);
    /// step.form = Form::RepeatedMove;
    /// step.value = 0x7ffe;
    /// let parts: Vec<_> =
    ///     step.parts().iter().map(|part| (part.kind, part.address.get(), part.size)).collect();
    /// assert_eq!(parts, [
    ///     (AccessKind::Read, 0x7ffe, 1),
    ///     (AccessKind::Write, 0x5010, 1),
    ///     (AccessKind::Read, 0x7fff, 1),
    ///     (AccessKind::Write, 0x5011, 1),
    ///     (AccessKind::Read, 0x8000, 2),
    ///     (AccessKind::Write, 0x5012, 2),
    /// ]);
    /// ```
    pub fn parts(&self) -> ArrayVec<Access, MAX_PARTS> {
        let access = self.access;
        let Some(source) = self.source() else {
            return [access].into_iter().collect();
        };

        // Other operands go through DS and ES, whatever the access has.
        let access = Access { segment: Segment::Data, ..access };
        let read = Access { kind: AccessKind::Read, address: source, ..access };
        match self.form {
            Form::RepeatedMove => self.runs(read, access),
            Form::Push | Form::Call => {
                let store = Access { segment: Segment::Stack, ..access };
                [read, store].into_iter().collect()
            }
            Form::Enter => {
                let push = |at: u64| {
                    let address = access.address.wrapping_add(at);
                    Access { segment: Segment::Stack, address, size: WORD as u16, ..access }
                };
                let read = Access { segment: Segment::Stack, size: WORD as u16, ..read };
                [push(2 * WORD), read, push(WORD), push(0)].into_iter().collect()
            }
            Form::Pop => {
                let load = Access { segment: Segment::Stack, ..read };
                [load, access].into_iter().collect()
            }
            _ => [read, access].into_iter().collect(),
        }
    }

    /// The accesses of a repeated copy, in runs of iterations that keep to one page of the source and to one
    /// of the destination. The first iteration is a run of its own: what it does to the tables, or to what
    /// is cached of them, may lead the others elsewhere (TLB-2).
    fn runs(&self, read: Access, write: Access) -> ArrayVec<Access, MAX_PARTS> {
        let mut parts = ArrayVec::new();
        let mut done = 0;
        while done < self.access.size && !parts.is_full() {
            let at = |access: &Access| access.address.wrapping_add(done.into());
            let [from, to] = [at(&read), at(&write)];
            let left = self.access.size.saturating_sub(done);
            let most = if done == 0 { 1 } else { left };
            let size = most.min(left_in_page(from)).min(left_in_page(to));
            parts.push(Access { address: from, size, ..read });
            parts.push(Access { address: to, size, ..write });
            done = done.saturating_add(size);
        }
        parts
    }
}

/// Bytes of what 64-bit code pushes.
const WORD: u64 = 8;

/// The number of bytes up to the end of the page.
fn left_in_page(address: VirtAddr) -> u16 {
    const PAGE: u16 = 0x1000;
    PAGE.saturating_sub((address.get() & 0xfff) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    fn step(form: Form, size: u16) -> AccessStep {
        let mut case = Case::plain(Arena::ALL[0], 0, Ring::Three, Profile::default());
        case.access = Access { kind: form.kind(), size, ..case.access };
        case.access.address = VirtAddr::new(0x5010);
        AccessStep { form, value: 0x7020, ..case.access_step() }
    }

    /// SDM and APM: MOVS and CMPS read RSI and go on by their size, PUSH decrements RSP first, POP increments
    /// it, and REP counts RCX down.
    #[test]
    fn operands_are_those_of_the_manuals() {
        let operands = |rsi, rdi, rcx| Some(Operands { rsi, rdi, rcx });
        let moved = |rsi, rdi, rcx| Moved { rsi, rdi, rcx };
        for (form, size, before, moves) in [
            (Form::MoveString, 4, operands(0x7020, 0x5010, 0), moved(4, 4, 0)),
            (Form::CompareStrings, 8, operands(0x7020, 0x5010, 0), moved(8, 8, 0)),
            (Form::RepeatedMove, 7, operands(0x7020, 0x5010, 7), moved(7, 7, -7)),
            (Form::Push, 8, operands(0x7020, 0x5018, 0), moved(0, -8, 0)),
            (Form::Call, 8, operands(0x7020, 0x5018, 0), moved(0, -8, 0)),
            (Form::Pop, 2, operands(0x5010, 0x7020, 0), moved(0, 2, 0)),
            // RBP, 8 bytes behind the source, becomes the place of the first push.
            (Form::Enter, 24, operands(0x7028, 0x5028, 0), moved(0x5020 - 0x7028, -24, 0)),
            (Form::Store, 8, None, moved(0, 0, 0)),
        ] {
            let step = step(form, size);
            assert_eq!((step.operands(), step.moves()), (before, moves), "{form:?}");
        }
    }

    /// From `0xffff_fffe` on, ESI goes to 2.
    #[test]
    fn registers_of_32_bits_wrap() {
        let before = Operands { rsi: 0xffff_fffe, rdi: 0x5010, rcx: 4 };
        let moved = before.moved_to(Operands { rsi: 2, rdi: 0x5014, rcx: 0 }).in_32_bits();
        assert_eq!(moved, Moved { rsi: 4, rdi: 4, rcx: -4 });
    }

    #[test]
    fn what_pushes_and_pops_uses_the_stack() {
        let segments =
            |form: Form| step(form, 8).parts().iter().map(|part| part.segment).collect::<Vec<_>>();
        assert_eq!(segments(Form::MoveString), [Segment::Data, Segment::Data]);
        assert_eq!(segments(Form::Push), [Segment::Data, Segment::Stack]);
        assert_eq!(segments(Form::Call), [Segment::Data, Segment::Stack]);
        assert_eq!(segments(Form::Pop), [Segment::Stack, Segment::Data]);
        assert_eq!(segments(Form::Store), [Segment::Data]);
    }
}
