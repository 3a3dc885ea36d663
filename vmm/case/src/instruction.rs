//! The instructions that perform an access, and their names in the text form.
#![allow(clippy::indexing_slicing, reason = "every kind of access has a form")]

use crate::Case;
use crosswalk_guest::stub::Form;
use mmu_core::AccessKind;

/// The instructions for accesses of this kind, the default first.
pub(crate) const fn forms(kind: AccessKind) -> &'static [Form] {
    match kind {
        AccessKind::Read => {
            &[Form::Load, Form::SegmentLimit, Form::CompareStrings, Form::ShadowLoad]
        }
        AccessKind::Write => &[
            Form::Store,
            Form::SegmentLoad,
            Form::MoveString,
            Form::RepeatedMove,
            Form::Push,
            Form::Pop,
            Form::Enter,
            Form::Fxsave,
            Form::Call,
            Form::ShadowStore,
        ],
        AccessKind::ReadModifyWrite => {
            &[Form::Exchange, Form::LockedExchange, Form::FailingCompare]
        }
        AccessKind::Fetch => &[Form::Jump],
        AccessKind::Clflush => &[Form::Clflush],
    }
}

/// The name of an instruction.
pub(crate) const fn name(form: Form) -> &'static str {
    match form {
        Form::Load => "mov from memory",
        Form::Store => "mov to memory",
        Form::Exchange => "xadd",
        Form::LockedExchange => "lock xadd",
        Form::FailingCompare => "lock cmpxchg",
        Form::Clflush => "clflush",
        Form::Jump => "jmp",
        Form::SegmentLimit => "lsl",
        Form::SegmentLoad => "mov to es",
        Form::MoveString => "movs",
        Form::RepeatedMove => "rep movsb",
        Form::CompareStrings => "cmps",
        Form::Push => "push",
        Form::Pop => "pop",
        Form::Enter => "enter",
        Form::Fxsave => "fxsave",
        Form::Call => "call",
        Form::ShadowStore => "wrss",
        Form::ShadowLoad => "incssp",
    }
}

impl Case {
    /// The instruction for accesses of this kind in cases that do not name one.
    pub const fn default_form(kind: AccessKind) -> Form {
        forms(kind)[0]
    }
}
