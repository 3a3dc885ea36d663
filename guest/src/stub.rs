//! Stubs: the few instructions that make one access, with one stub for each kind, size and base
//! register. The image's header lists their addresses in the order of [`Stub::index`].

use crate::tables::TableUse;
use mmu_core::{AccessKind, Ring};

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
    /// `lock cmpxchg [m], reg` with a comparison that fails, so that the old value is written back. Of 16
    /// bytes it is `lock cmpxchg16b [m]`, in ring 3 and in 64-bit code alone.
    FailingCompare,
    /// `clflush [m]`
    Clflush,
    /// `jmp` to the address. The code there loads a value that identifies its frame, and jumps
    /// back.
    Jump,
    /// `lsl` of a selector whose descriptor is at the address, which becomes the base of the local
    /// descriptor table: an implicit supervisor read. Only in ring 3 and in 64-bit code.
    SegmentLimit,
    /// `mov es, reg` of a selector whose descriptor has its access byte at the address and is not
    /// accessed. The processor reads the descriptor, and then sets the bit: an implicit supervisor
    /// write. Only in ring 3 and in 64-bit code.
    SegmentLoad,
    /// `movs`: copies from the source. This one and the following make several accesses.
    MoveString,
    /// `rep movsb`: copies byte by byte, as many as the access has.
    RepeatedMove,
    /// `cmps`: compares the source with the address.
    CompareStrings,
    /// `push [m]`: copies from the source to the stack. This one and the following are in 64-bit code alone.
    Push,
    /// `pop [m]`: copies from the stack, which is the source.
    Pop,
    /// `enter 0, 2`: pushes RBP, copies what is below it, which is the source, to the stack, and pushes the
    /// new frame pointer. The address is that of the last push. Only in ring 3.
    Enter,
    /// `fxsave [m]`.
    Fxsave,
    /// `call [m]`: reads a pointer from the source, pushes the return address, and goes to the pointer, which
    /// must be that of [`call_target`](crate::layout::call_target). That is the return address as well.
    Call,
    /// `wrssd` or `wrssq`: a store to a shadow stack. This one and the next are in 64-bit code alone, with CR4.CET=1.
    ShadowStore,
    /// `incsspd` or `incsspq` by 1, with SSP at the address: a load from a shadow stack that shows nothing of what it
    /// reads. Only in ring 3.
    ShadowLoad,
}

impl Form {
    /// All forms, in the order of the stub table.
    pub const ALL: [Self; 19] = [
        Self::Load,
        Self::Store,
        Self::Exchange,
        Self::LockedExchange,
        Self::FailingCompare,
        Self::Clflush,
        Self::Jump,
        Self::SegmentLimit,
        Self::SegmentLoad,
        Self::MoveString,
        Self::RepeatedMove,
        Self::CompareStrings,
        Self::Push,
        Self::Pop,
        Self::Enter,
        Self::Fxsave,
        Self::Call,
        Self::ShadowStore,
        Self::ShadowLoad,
    ];

    /// The kind of the access, or of the last access, that it makes.
    pub const fn kind(self) -> AccessKind {
        match self {
            Self::Load | Self::SegmentLimit | Self::CompareStrings | Self::ShadowLoad => {
                AccessKind::Read
            }
            Self::Store
            | Self::SegmentLoad
            | Self::MoveString
            | Self::RepeatedMove
            | Self::Push
            | Self::Pop
            | Self::Enter
            | Self::Fxsave
            | Self::Call
            | Self::ShadowStore => AccessKind::Write,
            Self::Exchange | Self::LockedExchange | Self::FailingCompare => {
                AccessKind::ReadModifyWrite
            }
            Self::Clflush => AccessKind::Clflush,
            Self::Jump => AccessKind::Fetch,
        }
    }

    /// Whether the instruction has a second address, from which it reads first.
    ///
    /// ```
    /// use crosswalk_guest::stub::Form;
    /// assert!(Form::Push.has_source());
    /// assert!(!Form::Store.has_source());
    /// ```
    pub const fn has_source(self) -> bool {
        matches!(
            self,
            Self::MoveString
                | Self::RepeatedMove
                | Self::CompareStrings
                | Self::Push
                | Self::Pop
                | Self::Enter
                | Self::Call
        )
    }

    /// Whether the stack pointer of the instruction is one of its operands.
    pub const fn moves_stack(self) -> bool {
        matches!(self, Self::Push | Self::Pop | Self::Enter | Self::Call)
    }

    /// Whether its access is to a shadow stack.
    pub const fn is_to_shadow_stack(self) -> bool {
        matches!(self, Self::ShadowStore | Self::ShadowLoad)
    }

    /// Whether its stub is one of those that are never keyed.
    const fn is_unkeyed(self, log_size: u8) -> bool {
        self.has_source()
            || log_size > 3
            || matches!(self, Self::Fxsave)
            || self.is_to_shadow_stack()
    }

    /// The index among the stubs that are never keyed; `None` for other forms and sizes.
    const fn index_unkeyed(self, log_size: u8) -> Option<usize> {
        let size = log_size as usize;
        Some(match self {
            Self::MoveString => size,
            Self::CompareStrings => 4 + size,
            Self::RepeatedMove => 8,
            Self::Push if size % 2 == 1 => 9 + size / 2,
            Self::Pop if size % 2 == 1 => 11 + size / 2,
            Self::FailingCompare if size == 4 => 13,
            Self::Enter => 14,
            Self::Fxsave => 15,
            Self::Call if size == 3 => 16,
            Self::ShadowStore if matches!(size, 2 | 3) => 17 + size - 2,
            Self::ShadowLoad if matches!(size, 2 | 3) => 19 + size - 2,
            _ => return None,
        })
    }
}

/// The kind of code that runs a list of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 64-bit code, in long mode.
    Bits64,
    /// 32-bit code: the base register is always ESI, and sizes go up to 4 bytes.
    Bits32,
}

impl Code {
    /// The code that makes the accesses with this use of the tables.
    pub const fn of(tables: TableUse) -> Self {
        let is_64_bit = tables.mode.is_long_mode() && !tables.compatibility;
        if is_64_bit { Self::Bits64 } else { Self::Bits32 }
    }
}

/// The action of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stub {
    /// Makes an access.
    Access {
        /// The instruction.
        form: Form,
        /// Whether it goes through SS: with base register RBP in 64-bit code and with a prefix in
        /// 32-bit code. Otherwise it uses RSI (ESI) and DS. Ignored by forms with a source, which use what
        /// they use.
        stack: bool,
        /// The binary logarithm of the size in bytes, 0 to 3. Ignored by forms of a single size.
        log_size: u8,
        /// Whether PKRU has the value of the last [`Stub::SetPkru`] during the access. It is 0
        /// otherwise.
        keyed: bool,
    },
    /// Loads EFLAGS from the record's address field.
    SetFlags,
    /// Sets the PKRU of keyed accesses to the record's address field.
    SetPkru,
    /// Ends keyed accesses. Ring 3 begins with it after [`Self::EnterUser`].
    ClearPkru,
    /// Sets EFLAGS.AC by STAC. This one and the next are in 64-bit code alone, in ring 0.
    Stac,
    /// Clears EFLAGS.AC by CLAC.
    Clac,
    /// Loads RDI and RCX for a form with a source from the record's address and value.
    LoadOperands,
    /// Stores RCX, RSI and RDI as such a form has left them over the stub, the address and the value of the
    /// record.
    StoreOperands,
    /// Ring 3 continues with the next record in ring 0.
    EnterSupervisor,
    /// Ring 0 continues in ring 3. In 64-bit code it executes IRETQ, whose frame is in the record and in the
    /// next one: RIP and CS as address and value, then RFLAGS in the place of a stub, RSP and SS. In 32-bit
    /// code it continues with the next record.
    EnterUser,
    /// Makes a change that only ring 0 may make, from the list of either ring.
    Privileged(Privileged, Ring),
    /// Stores the 8 bytes of the record's value field in one go, so that no walk meets half of an
    /// entry. 32-bit code only: in 64-bit code a [`Form::Store`] does so.
    StoreEntry,
    /// Loads PKRU from the record's address field; key 0 must stay free, which the list itself has.
    /// 32-bit code only, in compatibility mode: the stubs of 64-bit code load PKRU around an access.
    WritePkru,
    /// Ends the ring-3 list.
    UserEnd,
    /// Ends the ring-0 list.
    SupervisorEnd,
}

/// A privileged change between the accesses of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privileged {
    /// `invlpg` of the record's address field. It may not fault.
    Invlpg,
    /// Loads CR3 with its current value. This one and the next are in 32-bit code alone.
    ReloadCr3,
    /// Loads CR0 from the record's address field.
    SetCr0,
    /// `mov` to CR0 of the record's address field. This one and the following are in 64-bit code alone, and observed: they may
    /// fault, and have a second record, whose value becomes what the register holds afterwards.
    MovCr0,
    /// `mov` to CR3.
    MovCr3,
    /// `mov` to CR4.
    MovCr4,
    /// `wrmsr` of EFER.
    WrmsrEfer,
    /// `invlpg` that may fault. There is no register.
    ObservedInvlpg,
    /// `invpcid` of the type in the record's address field. Address and value of the second record are the
    /// descriptor. There is no register.
    Invpcid,
}

impl Privileged {
    /// Number of privileged changes in 64-bit code.
    const COUNT: usize = 7;
    /// Number of those in 32-bit code.
    const COUNT_32: usize = 3;
}

/// Number of 64-bit stubs for one value of `keyed`: five forms with 2 segments and 4 sizes each,
/// two CLFLUSH, one jump, one LSL, one load of ES.
const PER_KEYED: usize = 5 * 8 + 2 + 1 + 1 + 1;
/// Number of 64-bit stubs that are neither accesses nor privileged changes.
const OTHERS_64: usize = 9;
/// The index of the first 64-bit stub of those that are never keyed. Before it are the accesses, nine other
/// stubs, and the privileged changes from two rings.
const FIRST_UNKEYED: usize = 2 * PER_KEYED + OTHERS_64 + 2 * Privileged::COUNT;
/// Number of 64-bit stubs that are never keyed: the two for operands, MOVS and CMPS of 4 sizes, one REP MOVSB,
/// PUSH and POP of 2 and 8 bytes, CMPXCHG16B, ENTER, FXSAVE, CALL, and WRSS and INCSSP of 4 and 8 bytes.
const UNKEYED: usize = 2 + 4 + 4 + 1 + 2 + 2 + 4 + 2 + 2;
/// Number of 64-bit stubs.
const BITS_64: usize = FIRST_UNKEYED + UNKEYED;
/// Number of 32-bit accesses: five forms with 2 segments and 3 sizes each, two CLFLUSH, one jump.
const ACCESSES_32: usize = 5 * 6 + 2 + 1;

/// The index of the first 32-bit stub of those whose registers are operands. Before it are the accesses, seven
/// other stubs, and three privileged changes from two rings.
const FIRST_OPERANDS_32: usize = ACCESSES_32 + 7 + 2 * Privileged::COUNT_32;
/// Number of 32-bit stubs: also the two for operands, MOVS and CMPS of 3 sizes, and one REP MOVSB.
const BITS_32: usize = FIRST_OPERANDS_32 + 2 + 3 + 3 + 1;

/// Number of entries in the table of stubs.
pub const STUBS: usize = BITS_64 + BITS_32;

impl Stub {
    /// The index of the stub in the image's table; `None` if this kind of code has no such stub.
    ///
    /// ```
    /// use crosswalk_guest::stub::{Code, Form, Stub, STUBS};
    /// let load = Stub::Access { form: Form::Load, stack: false, log_size: 0, keyed: false };
    /// assert_eq!(load.index(Code::Bits64), Some(0));
    /// let last = Stub::Access { form: Form::RepeatedMove, stack: false, log_size: 3, keyed: false };
    /// assert_eq!(last.index(Code::Bits32), Some(STUBS - 1));
    /// assert_eq!(Stub::SetPkru.index(Code::Bits32), None);
    /// ```
    pub const fn index(self, code: Code) -> Option<usize> {
        match code {
            Code::Bits64 => self.index_64(),
            Code::Bits32 => match self.index_32() {
                Some(index) => Some(BITS_64 + index),
                None => None,
            },
        }
    }

    const fn index_64(self) -> Option<usize> {
        Some(match self {
            Self::Access { form, log_size, keyed, .. } if form.is_unkeyed(log_size) => {
                match form.index_unkeyed(log_size) {
                    Some(index) if !keyed => FIRST_UNKEYED + 2 + index,
                    _ => return None,
                }
            }
            Self::Access { form, stack, log_size, keyed } => {
                let within = match form {
                    Form::Clflush => 5 * 8 + stack as usize,
                    Form::Jump => 5 * 8 + 2,
                    Form::SegmentLimit => 5 * 8 + 3,
                    Form::SegmentLoad => 5 * 8 + 4,
                    _ => form as usize * 8 + stack as usize * 4 + log_size as usize,
                };
                keyed as usize * PER_KEYED + within
            }
            Self::SetFlags => 2 * PER_KEYED,
            Self::SetPkru => 2 * PER_KEYED + 1,
            Self::ClearPkru => 2 * PER_KEYED + 2,
            Self::UserEnd => 2 * PER_KEYED + 3,
            Self::SupervisorEnd => 2 * PER_KEYED + 4,
            Self::EnterSupervisor => 2 * PER_KEYED + 5,
            Self::EnterUser => 2 * PER_KEYED + 6,
            Self::Stac => 2 * PER_KEYED + 7,
            Self::Clac => 2 * PER_KEYED + 8,
            Self::LoadOperands => FIRST_UNKEYED,
            Self::StoreOperands => FIRST_UNKEYED + 1,
            Self::StoreEntry
            | Self::WritePkru
            | Self::Privileged(Privileged::ReloadCr3 | Privileged::SetCr0, _) => return None,
            Self::Privileged(Privileged::Invlpg, ring) => {
                2 * PER_KEYED + OTHERS_64 + Privileged::Invlpg.index_from(ring)
            }
            // Behind INVLPG, since the two of 32-bit code are missing.
            Self::Privileged(change, ring) => {
                2 * PER_KEYED + OTHERS_64 + change.index_from(ring) - 2 * 2
            }
        })
    }

    const fn index_32(self) -> Option<usize> {
        match self {
            Self::Access { keyed: true, .. }
            | Self::Access { form: Form::SegmentLimit | Form::SegmentLoad, .. }
            | Self::SetPkru
            | Self::Stac
            | Self::Clac
            | Self::ClearPkru => None,
            Self::Access { form: Form::Clflush, stack, .. } => Some(5 * 6 + stack as usize),
            Self::Access { form: Form::Jump, .. } => Some(5 * 6 + 2),
            Self::LoadOperands => Some(FIRST_OPERANDS_32),
            Self::StoreOperands => Some(FIRST_OPERANDS_32 + 1),
            Self::Access { form: Form::RepeatedMove, .. } => Some(FIRST_OPERANDS_32 + 2 + 6),
            Self::Access { log_size: 3.., .. } => None,
            Self::Access { form: Form::MoveString, log_size, .. } => {
                Some(FIRST_OPERANDS_32 + 2 + log_size as usize)
            }
            Self::Access { form: Form::CompareStrings, log_size, .. } => {
                Some(FIRST_OPERANDS_32 + 2 + 3 + log_size as usize)
            }
            Self::Access { form, log_size, .. } if form.is_unkeyed(log_size) => None,
            Self::Access { form, stack, log_size, .. } => {
                Some(form as usize * 6 + stack as usize * 3 + log_size as usize)
            }
            Self::SetFlags => Some(ACCESSES_32),
            Self::UserEnd => Some(ACCESSES_32 + 1),
            Self::SupervisorEnd => Some(ACCESSES_32 + 2),
            Self::StoreEntry => Some(ACCESSES_32 + 3),
            Self::WritePkru => Some(ACCESSES_32 + 4),
            Self::EnterSupervisor => Some(ACCESSES_32 + 5),
            Self::EnterUser => Some(ACCESSES_32 + 6),
            Self::Privileged(change, _) if change as usize >= Privileged::COUNT_32 => None,
            Self::Privileged(change, ring) => Some(ACCESSES_32 + 7 + change.index_from(ring)),
        }
    }
}

impl Privileged {
    /// The index among the stubs of privileged changes.
    const fn index_from(self, ring: Ring) -> usize {
        2 * self as usize + matches!(ring, Ring::Zero) as usize
    }
}

/// "XWALK" and the version of the protocol: the first word of an image.
pub const IMAGE_MAGIC: u64 = 0x000d_4b4c_4157_5800;

/// The header of an image, at [`IMAGE_BASE`](crate::layout::IMAGE_BASE). All addresses in it are
/// user addresses.
#[derive(Clone, Copy, Debug, zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
#[repr(C)]
pub struct ImageHeader {
    /// [`IMAGE_MAGIC`].
    pub magic: u64,
    /// The address of the first instruction, which runs in ring 0 through the supervisor window.
    pub entry: u64,
    /// The addresses of the stubs, by [`Stub::index`].
    pub stubs: [u64; STUBS],
    /// The addresses of the instructions that make the stubs' accesses, or the changes that are observed; 0
    /// for a stub without such an instruction.
    pub accesses: [u64; STUBS],
    /// The address of the code that enters another mode than 4-level paging, in flat 32-bit code without paging,
    /// with the address of the batch's header in EBX.
    pub enter_other_mode: u64,
    /// The address of the word that holds the address of the batch's header.
    pub saved_header: u64,
}
