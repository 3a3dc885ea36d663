//! The stubs: the few instructions that make one access, one stub for each kind, size and base
//! register. The image's header lists their addresses in the order of [`Stub::index`].

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
}

impl Form {
    /// Every form, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Load,
        Self::Store,
        Self::Exchange,
        Self::LockedExchange,
        Self::FailingCompare,
        Self::Clflush,
        Self::Jump,
    ];
}

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stub {
    /// Makes an access.
    Access {
        /// The instruction.
        form: Form,
        /// Base register RBP, and so the segment SS; else RSI and DS.
        stack: bool,
        /// The binary logarithm of the size in bytes, 0 to 3. Ignored by `Clflush` and `Jump`.
        log_size: u8,
        /// Made with PKRU as the last [`Stub::SetPkru`] says, which is 0 again afterwards.
        keyed: bool,
    },
    /// Loads RFLAGS from the record's address field.
    SetFlags,
    /// Keeps the record's address field as the PKRU of keyed accesses.
    SetPkru,
    /// Ends keyed accesses.
    ClearPkru,
    /// Ends the ring-3 list.
    UserEnd,
    /// Ends the ring-0 list.
    SupervisorEnd,
}

/// Stubs for one value of `keyed`: five forms of 2 segments and 4 sizes, two CLFLUSH, one jump.
const PER_KEYED: usize = 5 * 8 + 2 + 1;

/// Entries in the table of stubs.
pub const STUBS: usize = 2 * PER_KEYED + 5;

impl Stub {
    /// The stub's place in the image's table.
    ///
    /// ```
    /// use guest::stub::{Form, Stub, STUBS};
    /// let load = Stub::Access { form: Form::Load, stack: false, log_size: 0, keyed: false };
    /// assert_eq!(load.index(), 0);
    /// assert_eq!(Stub::SupervisorEnd.index(), STUBS - 1);
    /// ```
    pub const fn index(self) -> usize {
        match self {
            Self::Access { form, stack, log_size, keyed } => {
                let within = match form {
                    Form::Clflush => 5 * 8 + stack as usize,
                    Form::Jump => 5 * 8 + 2,
                    _ => form as usize * 8 + stack as usize * 4 + log_size as usize,
                };
                keyed as usize * PER_KEYED + within
            }
            Self::SetFlags => 2 * PER_KEYED,
            Self::SetPkru => 2 * PER_KEYED + 1,
            Self::ClearPkru => 2 * PER_KEYED + 2,
            Self::UserEnd => 2 * PER_KEYED + 3,
            Self::SupervisorEnd => 2 * PER_KEYED + 4,
        }
    }
}

/// "XWALK" and the version of the protocol: the first word of an image.
pub const IMAGE_MAGIC: u64 = 0x0001_4b4c_4157_5800;

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
