//! The structures through which a batch passes. All fields are little-endian 64-bit words.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The port of the doorbell. The guest writes a [`Doorbell`] to it.
pub const DOORBELL_PORT: u16 = 0xf8;

/// What the guest says with the doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Doorbell {
    /// The command in [`Control::completed`] is done (0: booted); waiting for the next.
    Completed = 1,
    /// An exception that no case can cause: see [`Control::panic`].
    Panic = 2,
}

/// The page at [`CONTROL`](crate::layout::CONTROL).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// From the host: the number of the batch to run. The guest runs it when it changes.
    pub command: u64,
    /// From the host: the address of the batch's arena, or [`REQUEST`](crate::system::layout::ORDER) for
    /// an order.
    pub arena: u64,
    /// From the guest: the last batch completed.
    pub completed: u64,
    /// From the guest: 0, or one more than the vector of an unexpected exception.
    pub panic: u64,
    /// From the guest, once: what `lsl` in ring 3 said of the descriptor whose limit is
    /// [`PROBE_LIMIT`], or [`u64::MAX`] if it found none. Anything else than the limit means that
    /// the processor read another descriptor table than the guest's.
    pub descriptor_limit: u64,
    /// From the guest, once: in how many of the five modes the reference walk, run in the guest,
    /// ends where it must.
    pub modes_walked: u64,
    /// From the guest, once: what CPUID says there of [`CPUID_LEAVES`], as EAX, EBX, ECX and EDX.
    pub cpuid: [[u32; 4]; CPUID_LEAVES.len()],
}

/// The leaves and subleaves of CPUID that the guest reports.
pub const CPUID_LEAVES: [(u32, u32); 10] = [
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
];

/// How the guest gets from its own 4-level paging to the control state of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Switch {
    /// By loading the registers: the batch is in 4-level paging, too.
    Stay = 0,
    /// Out of long mode and back into it, since CR4.LA57 cannot change within (MODE-2).
    FiveLevel = 1,
    /// Out of long mode, into 32-bit code: 32-bit paging, PAE paging, or none.
    Legacy = 2,
}

/// The limit in a descriptor of the guest that is there for this only: no other system has it.
pub const PROBE_LIMIT: u32 = 0x5_c0de;

/// The start of an arena: the control state of the batch.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// CR0, loaded unless [`Self::keep_control`].
    pub cr0: u64,
    /// What CR2 is set to before the first case; from the guest with [`Self::load_fault`], CR2 then.
    pub cr2: u64,
    /// CR3, always loaded: it makes the processor forget old translations.
    pub cr3: u64,
    /// CR4, loaded unless [`Self::keep_control`]; first without PGE, which forgets global ones.
    pub cr4: u64,
    /// EFER, loaded unless [`Self::keep_control`].
    pub efer: u64,
    /// 1 when the host has set CR0, CR4 and EFER itself (a feature that is not in CPUID).
    pub keep_control: u64,
    /// The first record of the ring-3 list, as a user address.
    pub user_records: u64,
    /// The first record of the ring-0 list, as a supervisor address; without paging as a physical
    /// one.
    pub supervisor_records: u64,
    /// A [`Switch`].
    pub switch: u64,
    /// How many of the arena's tables the guest is to write.
    pub tables: u64,
    /// 1 when [`Self::pkrs`] is to be loaded.
    pub loads_pkrs: u64,
    /// `IA32_PKRS`. Key 0 must be free: the guest's own pages have it.
    pub pkrs: u64,
    /// From the guest: 0, or [`FAULT_TAG`] with the vector in the high half and the error code in
    /// the low one, when loading CR0 faulted (PDPTE-2); the lists were not run then.
    pub load_fault: u64,
    /// 1 when the PDPTEs in memory are to be changed after they were loaded (PDPTE-1).
    pub edits_pdptes: u64,
    /// What they are changed to.
    pub pdptes: [u64; 4],
    /// 1 when a process is to be entered instead of a list: this is no arena's header then.
    pub enters_process: u64,
}

/// One case, or a step between cases, in a list that the guest runs with RSP as its instruction
/// pointer: each stub returns into the next record's stub.
///
/// Before: the stub, the linear address, and the value to store. When the access is made RSP
/// already points to the next record, so that a fault needs no bookkeeping. Afterwards: a record
/// that faulted holds the vector and error code, and CR2; one that read holds the value.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AccessRecord {
    /// The address of the stub; after a fault [`FAULT_TAG`] with the vector, and the error code.
    pub stub: u64,
    /// The linear address of the access; after a fault, CR2.
    pub address: u64,
    /// The value to store; afterwards, the value read.
    pub value: u64,
}

/// The high half of [`AccessRecord::stub`] after a fault, less the vector.
pub const FAULT_TAG: u32 = 0xfa17_0000;

impl AccessRecord {
    /// The vector and the error code, if the case faulted.
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

/// The vector and the error code in a word that has [`FAULT_TAG`].
pub const fn tagged_fault(word: u64) -> Option<(u8, u32)> {
    let high = (word >> 32) as u32;
    if high & 0xffff_ff00 == FAULT_TAG { Some((high as u8, word as u32)) } else { None }
}
