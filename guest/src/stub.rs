//! The stubs: the few instructions that make one access, one stub for each kind, size and base
//! register. The image's header lists their addresses in the order of [`Stub::index`].

use mmu_core::{PagingMode, Ring};

/// An instruction that accesses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// `mov reg, [m]`
    Load,
    /// `mov [m], reg`
    Store,
    /// `xadd [m], reg`
    Exchange,
    /// `lock xadd [m], reg`
    LockedExchange,
    /// `lock cmpxchg [m], reg` with a comparison that fails: the old value is written back.
    FailingCompare,
    /// `clflush [m]`
    Clflush,
    /// `jmp` to the address; the code there names its frame and comes back.
    Jump,
    /// `lsl` of a selector whose descriptor lies at the address, which becomes the base of the local
    /// descriptor table: an implicit supervisor read. Ring 3 and 64-bit code only.
    SegmentLimit,
}

impl Form {
    /// Every form, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Load,
        Self::Store,
        Self::Exchange,
        Self::LockedExchange,
        Self::FailingCompare,
        Self::Clflush,
        Self::Jump,
        Self::SegmentLimit,
    ];
}

/// Which code a list of records is run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 64-bit code, in long mode.
    Bits64,
    /// 32-bit code: base register ESI always, sizes up to 4 bytes, no protection keys.
    Bits32,
}

impl Code {
    /// The code that makes the accesses of a mode.
    pub const fn of(mode: PagingMode) -> Self {
        match mode {
            PagingMode::FourLevel | PagingMode::FiveLevel => Self::Bits64,
            _ => Self::Bits32,
        }
    }
}

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stub {
    /// Makes an access.
    Access {
        /// The instruction.
        form: Form,
        /// Through SS: base register RBP in 64-bit code, a prefix in 32-bit code; else RSI and DS.
        stack: bool,
        /// The binary logarithm of the size in bytes, 0 to 3. Ignored by the forms that have one
        /// size.
        log_size: u8,
        /// Made with PKRU as the last [`Stub::SetPkru`] says, which is 0 again afterwards.
        keyed: bool,
    },
    /// Loads EFLAGS from the record's address field.
    SetFlags,
    /// Keeps the record's address field as the PKRU of keyed accesses.
    SetPkru,
    /// Ends keyed accesses.
    ClearPkru,
    /// Makes a change that only ring 0 may make, from the list of a ring. 64-bit code only.
    Privileged(Privileged, Ring),
    /// Ends the ring-3 list.
    UserEnd,
    /// Ends the ring-0 list.
    SupervisorEnd,
}

/// A change between the accesses of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privileged {
    /// `invlpg` of the record's address field.
    Invlpg,
    /// Loads CR3 with what it holds.
    ReloadCr3,
    /// Loads CR0 from the record's address field.
    SetCr0,
}

/// 64-bit stubs for one value of `keyed`: five forms of 2 segments and 4 sizes, two CLFLUSH, one
/// jump, one LSL.
const PER_KEYED: usize = 5 * 8 + 2 + 1 + 1;
/// 64-bit stubs.
const BITS_64: usize = 2 * PER_KEYED + 5 + 2 * 3;
/// 32-bit accesses: five forms of 2 segments and 3 sizes, two CLFLUSH, one jump.
const ACCESSES_32: usize = 5 * 6 + 2 + 1;

/// Entries in the table of stubs.
pub const STUBS: usize = BITS_64 + ACCESSES_32 + 3;

impl Stub {
    /// The stub's place in the image's table, or `None` where that code has no such stub.
    ///
    /// ```
    /// use crosswalk_guest::stub::{Code, Form, Stub, STUBS};
    /// let load = Stub::Access { form: Form::Load, stack: false, log_size: 0, keyed: false };
    /// assert_eq!(load.index(Code::Bits64), Some(0));
    /// assert_eq!(Stub::SupervisorEnd.index(Code::Bits32), Some(STUBS - 1));
    /// assert_eq!(Stub::SetPkru.index(Code::Bits32), None);
    /// ```
    pub const fn index(self, code: Code) -> Option<usize> {
        match code {
            Code::Bits64 => Some(self.index_64()),
            Code::Bits32 => match self.index_32() {
                Some(index) => Some(BITS_64 + index),
                None => None,
            },
        }
    }

    const fn index_64(self) -> usize {
        match self {
            Self::Access { form, stack, log_size, keyed } => {
                let within = match form {
                    Form::Clflush => 5 * 8 + stack as usize,
                    Form::Jump => 5 * 8 + 2,
                    Form::SegmentLimit => 5 * 8 + 3,
                    _ => form as usize * 8 + stack as usize * 4 + log_size as usize,
                };
                keyed as usize * PER_KEYED + within
            }
            Self::SetFlags => 2 * PER_KEYED,
            Self::SetPkru => 2 * PER_KEYED + 1,
            Self::ClearPkru => 2 * PER_KEYED + 2,
            Self::UserEnd => 2 * PER_KEYED + 3,
            Self::SupervisorEnd => 2 * PER_KEYED + 4,
            Self::Privileged(change, ring) => {
                let from_ring_0 = matches!(ring, Ring::Zero) as usize;
                2 * PER_KEYED + 5 + 2 * change as usize + from_ring_0
            }
        }
    }

    const fn index_32(self) -> Option<usize> {
        match self {
            Self::Access { keyed: true, .. }
            | Self::Access { form: Form::SegmentLimit, .. }
            | Self::SetPkru
            | Self::ClearPkru
            | Self::Privileged(..) => None,
            Self::Access { form: Form::Clflush, stack, .. } => Some(5 * 6 + stack as usize),
            Self::Access { form: Form::Jump, .. } => Some(5 * 6 + 2),
            Self::Access { log_size: 3.., .. } => None,
            Self::Access { form, stack, log_size, .. } => {
                Some(form as usize * 6 + stack as usize * 3 + log_size as usize)
            }
            Self::SetFlags => Some(ACCESSES_32),
            Self::UserEnd => Some(ACCESSES_32 + 1),
            Self::SupervisorEnd => Some(ACCESSES_32 + 2),
        }
    }
}

/// "XWALK" and the version of the protocol: the first word of an image.
pub const IMAGE_MAGIC: u64 = 0x0003_4b4c_4157_5800;

/// The start of an image, at [`IMAGE_BASE`](crate::layout::IMAGE_BASE). All addresses are user
/// addresses.
#[derive(Clone, Copy, Debug, zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
#[repr(C)]
pub struct ImageHeader {
    /// [`IMAGE_MAGIC`].
    pub magic: u64,
    /// The first instruction, to be run in ring 0 through the supervisor window.
    pub entry: u64,
    /// The stubs, by [`Stub::index`].
    pub stubs: [u64; STUBS],
}
