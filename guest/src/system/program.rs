//! The programs that processes run (programs.s), and what they leave behind.
//!
//! A program ends and speaks with `hlt`, which ring 3 may not execute: the kernel finds a [`Call`] in
//! EAX. All addresses of programs lie below 4 GiB, so the same source is good as 64-bit and as
//! 32-bit code; only the player of scripts is written twice, as its 64-bit form reaches everything.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which program. Its arguments come in EDI (RDI), ECX and EDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum GuestProgram {
    /// Makes the [`ScriptStep`]s at the address of the first argument.
    Play = 0,
    /// Stores a pattern in the first and the last 8 bytes of each page: from an address, so many
    /// pages, and who.
    Fill = 1,
    /// Loads the pattern and compares it.
    Check = 2,
    /// Builds a linked list through the first words of pages, then follows it by what it loads: from
    /// an address, so many pages, each link so many pages on.
    List = 3,
    /// Calls itself: pushes a pattern on each page of a stack, then pops it again: from the top, so
    /// many pages.
    Calls = 4,
}

impl GuestProgram {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Play, Self::Fill, Self::Check, Self::List, Self::Calls];
}

/// What a process asks the kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Call {
    /// The program has ended.
    Exit = 0,
    /// It is another's turn.
    Yield = 1,
    /// A load did not find what it should: EDI (RDI) has the address, EBX and ECX the low and the
    /// high half of what it found.
    Mismatch = 2,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum StepKind {
    /// The script ends.
    End = 0,
    /// Loads 8 bytes and compares them.
    Read = 1,
    /// Stores 8 bytes.
    Write = 2,
    /// Jumps to code that names its place ([`code_word`]), and compares the name.
    Fetch = 3,
    /// Lets the others run.
    Yield = 4,
}

/// One step of a script.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ScriptStep {
    /// A [`StepKind`].
    pub kind: u64,
    /// The linear address.
    pub address: u64,
    /// What is stored, or must be found.
    pub value: u64,
}

/// Eight bytes of code that leave a name in ECX and go back to the player: `mov ecx, name` and, in
/// 64-bit code, `jmp r13`; the same bytes are `inc ecx` and `jmp ebp` in 32-bit code.
///
/// ```
/// use crosswalk_guest::system::program::{code_word, name_in};
/// assert_eq!(code_word(0x1234_5678).to_le_bytes(), [0xb9, 0x78, 0x56, 0x34, 0x12, 0x41, 0xff, 0xe5]);
/// assert_eq!(name_in(code_word(0x1234_5678)), 0x1234_5678);
/// ```
pub const fn code_word(name: u32) -> u64 {
    0xe5ff_4100_0000_00b9 | (name as u64) << 8
}

/// The name in such code.
pub const fn name_in(code: u64) -> u32 {
    (code >> 8) as u32
}

/// What the word at an offset of a slot with an image holds: code that names the place.
pub const fn image_word(slot: u32, offset: u64) -> u64 {
    code_word(0xc0 << 24 | slot << 12 | offset as u32)
}
