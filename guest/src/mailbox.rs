//! The structures through which host and guest exchange batches. All fields are little-endian
//! 64-bit words.

use crate::vmx_msrs::VMX_MSRS;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The I/O port of the doorbell, to which the guest writes a [`Doorbell`] message.
pub const DOORBELL_PORT: u16 = 0xf8;

/// The messages that the guest sends with the doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Doorbell {
    /// The command numbered [`Control::completed`] is complete (0: the guest has booted), and the
    /// guest waits for the next.
    Completed = 1,
    /// The guest took an exception that no case can cause: see [`Control::panic`].
    Panic = 2,
}

/// Number of commands that the host may give before the guest has completed the first of them: one for
/// each arena.
pub const COMMANDS_AHEAD: usize = 2;

/// The page at [`CONTROL`](crate::layout::CONTROL).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// From the host: the number of the last command given. The guest runs all commands in order.
    pub command: u64,
    /// From the host, at [`Self::place_of`] a command: the address of the batch's arena, or
    /// [`REQUEST`](crate::system::layout::REQUEST) for a request to the virtual memory system.
    pub places: [u64; COMMANDS_AHEAD],
    /// From the guest: the number of the last command completed.
    pub completed: u64,
    /// From the guest: 0, or the vector of an unexpected exception plus one.
    pub panic: u64,
    /// From the guest, once at boot: the limit that `lsl` in ring 3 found in the descriptor whose
    /// limit is [`PROBE_LIMIT`], or [`u64::MAX`] if it found no such descriptor. Any value other
    /// than [`PROBE_LIMIT`] means that the processor read a descriptor table other than the
    /// guest's.
    pub descriptor_limit: u64,
    /// From the guest, once at boot: the number of modes, out of five, in which the reference walk
    /// gives the right result when it runs in the guest.
    pub modes_walked: u64,
    /// From the guest, once at boot: EAX, EBX, ECX and EDX of CPUID for each of [`CPUID_LEAVES`].
    pub cpuid: [[u32; 4]; CPUID_LEAVES.len()],
    /// The physical address of the [`Parameters`](crate::tape::payload::Parameters) of a tape to play instead of
    /// waiting for commands; 0 if there is a host to wait for.
    pub tape: u64,
    /// From a player in 32-bit code: where a batch returns to, without paging, on a processor without long mode;
    /// otherwise 0.
    pub flat_return: u64,
    /// From such a player: 1 if the processor has no EFER.
    pub lacks_efer: u64,
    /// From the guest, once at boot, if CPUID reports VMX: its capability MSRs
    /// ([`vmx_msrs`](crate::vmx_msrs)). An MSR that the processor lacks stays 0.
    pub vmx_msrs: [u64; VMX_MSRS],
}

impl Control {
    /// The index in [`Self::places`] of what a command names.
    ///
    /// ```
    /// use crosswalk_guest::mailbox::Control;
    /// assert_ne!(Control::place_of(7), Control::place_of(8));
    /// ```
    pub const fn place_of(command: u64) -> usize {
        command as usize % COMMANDS_AHEAD
    }
}

/// The CPUID leaves and subleaves that the guest reports.
pub const CPUID_LEAVES: [(u32, u32); 12] = [
    (0, 0),
    (1, 0),
    (7, 0),
    (7, 1),
    (0x8000_0000, 0),
    (0x8000_0001, 0),
    (0x8000_0002, 0),
    (0x8000_0003, 0),
    (0x8000_0004, 0),
    (0x8000_0008, 0),
    (0x4000_0000, 0),
    (0x8000_000a, 0),
];

/// How the guest switches from its own 4-level paging to the control state of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Switch {
    /// By loading the registers: the batch runs in 4-level paging as well.
    Stay = 0,
    /// By leaving long mode and entering it again, since CR4.LA57 cannot change in long mode
    /// (MODE-2).
    FiveLevel = 1,
    /// By leaving long mode for 32-bit code: 32-bit paging, PAE paging, or no paging.
    Legacy = 2,
}

/// The limit of a descriptor that exists only for the descriptor probe. It is a value that no other
/// system is expected to use.
pub const PROBE_LIMIT: u32 = 0x5_c0de;

/// Maximum number of tables of a batch: those of an arena, and some more in windows.
pub const MAX_TABLES: usize = 16;

/// The start of an arena: the control state of the batch.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// CR0, loaded unless [`Self::keep_control`].
    pub cr0: u64,
    /// The value of CR2 before the first case; from the guest, if [`Self::load_fault`] is set, CR2
    /// after that fault.
    pub cr2: u64,
    /// CR3, always loaded, which drops cached translations.
    pub cr3: u64,
    /// CR4, loaded unless [`Self::keep_control`]; first without PGE, which drops global
    /// translations.
    pub cr4: u64,
    /// EFER, loaded unless [`Self::keep_control`].
    pub efer: u64,
    /// 1 if the host has set CR0, CR4 and EFER itself, for a feature that is not in CPUID.
    pub keep_control: u64,
    /// The user address of the first record of the ring-3 list.
    pub user_records: u64,
    /// The supervisor address of the first record of the ring-0 list; without paging, its physical
    /// address.
    pub supervisor_records: u64,
    /// A [`Switch`].
    pub switch: u64,
    /// The number of tables that the guest writes, at most [`MAX_TABLES`].
    pub tables: u64,
    /// 1 if the guest loads [`Self::pkrs`].
    pub loads_pkrs: u64,
    /// `IA32_PKRS`. It must not restrict key 0, which the guest's own pages use.
    pub pkrs: u64,
    /// From the guest: 0; or, when loading CR0 faulted (PDPTE-2), [`FAULT_TAG`] with the vector in
    /// the high half and the error code in the low half. In that case the lists did not run.
    pub load_fault: u64,
    /// 1 if the guest changes the PDPTEs in memory after they have been loaded (PDPTE-1).
    pub edits_pdptes: u64,
    /// The PDPTEs in memory after that change.
    pub pdptes: [u64; 4],
    /// 1 if the lists run in compatibility mode: 32-bit code in long mode.
    pub compatibility: u64,
    /// 1 if the guest enters a process instead of a list. Such a header is not in an arena.
    pub enters_process: u64,
    /// The places of the tables, in the order of their images: the words of
    /// [`TablePlace`](crate::table_windows::TablePlace)s.
    pub table_places: [u64; MAX_TABLES],
    /// 1 if ring 0 keeps frames in a list of its own, too ([`FrameRecord`]).
    pub keeps_frames: u64,
    /// With what ring 0 runs guests of its own instead of the lists: a
    /// [`Virtualizer`](crate::nested::Virtualizer).
    pub virtualizer: u64,
    /// The address of the first [`NestedRecord`](crate::nested::NestedRecord), as ring 0 addresses it.
    pub nested_records: u64,
    /// The number of their lanes, at most [`LANES`](crate::nested::LANES).
    pub nested_lanes: u64,
    /// The number of nested tables that the guest writes, at most [`TABLES`](crate::nested::TABLES).
    pub nested_tables: u64,
    /// R13 of nested guests, if the batch runs in 32-bit code, which cannot load it.
    pub nested_back: u64,
}

/// One access, or one step between accesses, in a list that the guest runs with RSP as its
/// instruction pointer: each stub returns into the stub of the next record.
///
/// The host fills in the stub, the linear address, and the value to store. While the access runs,
/// RSP already points to the next record, so a fault needs no bookkeeping. Afterwards the record of
/// an access that faulted holds the vector, the error code, CR2 and the saved RIP; the record of a read
/// holds the value.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AccessRecord {
    /// The address of the stub; after a fault, [`FAULT_TAG`] with the vector in the high half and
    /// the error code in the low half.
    pub stub: u64,
    /// The linear address of the access; after a fault, CR2.
    pub address: u64,
    /// The value to store; after a read, the value read; after a fault, the saved RIP.
    pub value: u64,
}

/// What 64-bit code keeps of a fault beside its record, at
/// [`Arena::frame`](crate::layout::Arena::frame): ring 3 always does.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FrameRecord {
    /// The low half of the saved RFLAGS.
    pub rflags: u32,
    /// The selector that was saved as CS.
    pub cs: u32,
    /// The saved RSP.
    pub rsp: u64,
    /// RAX at the fault.
    pub rax: u64,
}

/// More registers at a fault, at [`Arena::registers`](crate::layout::Arena::registers).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RegisterRecord {
    /// RBX.
    pub rbx: u64,
    /// RSI.
    pub rsi: u64,
    /// RBP.
    pub rbp: u64,
}

/// The high half of [`AccessRecord::stub`] after a fault, without the vector in its low byte.
pub const FAULT_TAG: u32 = 0xfa17_0000;

impl AccessRecord {
    /// The vector and the error code, if the access faulted.
    ///
    /// ```
    /// use crosswalk_guest::mailbox::AccessRecord;
    /// let record = AccessRecord { stub: 0xfa17_000e_0000_0007, address: 0x1000, value: 0 };
    /// assert_eq!(record.fault(), Some((14, 7)));
    /// assert_eq!(AccessRecord { stub: 0x10_2000, ..record }.fault(), None);
    /// ```
    pub const fn fault(&self) -> Option<(u8, u32)> {
        tagged_fault(self.stub)
    }
}

/// The vector and the error code in a word tagged with [`FAULT_TAG`]; `None` for any other word.
pub const fn tagged_fault(word: u64) -> Option<(u8, u32)> {
    let high = (word >> 32) as u32;
    if high & 0xffff_ff00 == FAULT_TAG { Some((high as u8, word as u32)) } else { None }
}
