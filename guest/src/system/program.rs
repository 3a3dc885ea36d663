//! The programs that processes run (programs.s), and their interface to the kernel.
//!
//! A program calls the kernel with `hlt`, which ring 3 may not execute: the kernel serves the fault
//! and finds a [`Call`] in EAX. All addresses of programs are below 4 GiB, so one source serves as
//! 64-bit and as 32-bit code. Only the player of scripts is written twice, since its 64-bit form
//! reaches every address.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A program. Its three arguments are in EDI (RDI), ECX and EDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum GuestProgram {
    /// Plays the [`ScriptStep`]s at an address.
    ///
    /// Argument: the address.
    Play = 0,
    /// Stores a pattern in the first and the last 8 bytes of each page.
    ///
    /// Arguments: the address of the first page, the number of pages, a number that identifies the
    /// writer.
    Fill = 1,
    /// Loads the pattern of [`Self::Fill`] and compares it. It takes the same arguments.
    Check = 2,
    /// Builds a linked list through the first words of pages, then follows the links that it loads.
    ///
    /// Arguments: the address of the first page, the number of pages, the number of pages from a
    /// node to the next.
    List = 3,
    /// Acts like nested calls: pushes a pattern on each page of a stack, then pops it again.
    ///
    /// Arguments: the top of the stack, the number of pages.
    Calls = 4,
}

impl GuestProgram {
    /// All programs, in the order of the table in programs.s.
    pub const ALL: [Self; 5] = [Self::Play, Self::Fill, Self::Check, Self::List, Self::Calls];
}

/// A call of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Call {
    /// The program has ended.
    Exit = 0,
    /// The next process takes its turn.
    Yield = 1,
    /// A load did not find the expected value. EDI (RDI) holds its address, EBX and ECX the low and
    /// the high half of the value found.
    Mismatch = 2,
}

/// The kind of a [`ScriptStep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum StepKind {
    /// Ends the script.
    End = 0,
    /// Loads 8 bytes and compares them.
    Read = 1,
    /// Stores 8 bytes.
    Write = 2,
    /// Jumps to code that loads a name ([`code_word`]), and compares the name.
    Fetch = 3,
    /// Lets the other processes run.
    Yield = 4,
}

/// One step of a script.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ScriptStep {
    /// A [`StepKind`].
    pub kind: u64,
    /// The linear address of the access.
    pub address: u64,
    /// The value to store, or the value expected.
    pub value: u64,
}

/// Eight bytes of code that load a name into ECX and return to the player: `mov ecx, name` and, in
/// 64-bit code, `jmp r13`. In 32-bit code the last three bytes are `inc ecx` and `jmp ebp`.
///
/// ```
/// use crosswalk_guest::system::program::{code_word, name_in};
/// assert_eq!(code_word(0x1234_5678).to_le_bytes(), [0xb9, 0x78, 0x56, 0x34, 0x12, 0x41, 0xff, 0xe5]);
/// assert_eq!(name_in(code_word(0x1234_5678)), 0x1234_5678);
/// ```
pub const fn code_word(name: u32) -> u64 {
    0xe5ff_4100_0000_00b9 | (name as u64) << 8
}

/// The name in a word of such code.
pub const fn name_in(code: u64) -> u32 {
    (code >> 8) as u32
}

/// The word at an offset of a slot that holds an image: code whose name identifies slot and offset.
pub const fn image_word(slot: u32, offset: u64) -> u64 {
    code_word(0xc0 << 24 | slot << 12 | offset as u32)
}
