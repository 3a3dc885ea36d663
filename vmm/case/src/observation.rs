//! What a machine did with one case, and who decided it.

use mmu_core::{Fault, Vector};
use std::fmt;

/// Who decided an observation. An emulator's work is never called the processor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provenance {
    /// The processor's own walk of the guest's tables, or its own check of an address.
    Processor,
    /// A translation that the processor used, from tables that the hypervisor built.
    ProcessorOnShadowTables,
    /// A fault that KVM's walker computed and injected into natively running code.
    KvmWalker,
    /// KVM ran the instruction itself.
    KvmEmulator,
    /// An emulated processor's own walk, beneath KVM or without it.
    Tcg,
    /// A translation that an emulated processor used, from tables that the hypervisor built.
    TcgOnShadowTables,
}

impl Provenance {
    /// Everyone who decides.
    pub const ALL: [Self; 6] = [
        Self::Processor,
        Self::ProcessorOnShadowTables,
        Self::KvmWalker,
        Self::KvmEmulator,
        Self::Tcg,
        Self::TcgOnShadowTables,
    ];

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::ProcessorOnShadowTables => "processor-on-shadow-tables",
            Self::KvmWalker => "kvm-walker",
            Self::KvmEmulator => "kvm-emulator",
            Self::Tcg => "tcg",
            Self::TcgOnShadowTables => "tcg-on-shadow-tables",
        }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An exception as the guest's handler saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedFault {
    /// The vector: any number, this is what a machine said.
    pub vector: u8,
    /// The error code as pushed.
    pub error_code: u32,
    /// CR2 in the handler.
    pub cr2: u64,
    /// CR2 before the case, which a fault other than #PF must leave (CANON-1).
    pub cr2_before: u64,
}

/// A table entry after the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryAfter {
    /// Its physical address.
    pub at: u64,
    /// What the guest wrote there for the case.
    pub before: u64,
    /// What was there in the end.
    pub after: u64,
}

/// An access that left the machine because there is no memory: it proves its physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideAccess {
    /// The physical address.
    pub address: u64,
    /// Bytes, at most 8.
    pub len: u8,
    /// Whether it was a store.
    pub is_write: bool,
    /// The bytes stored, or those handed to the load; low byte first.
    pub data: u64,
}

/// What was seen of an access before the last of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierAccess {
    /// The exception, if there was one.
    pub fault: Option<ObservedFault>,
    /// What the instruction left in its register, as wide as the register.
    pub value: u64,
}

/// Everything that was seen of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The accesses before the last, in order.
    pub earlier: Vec<EarlierAccess>,
    /// The exception, if there was one.
    pub fault: Option<ObservedFault>,
    /// What the instruction left in its register, as wide as the register.
    pub value: u64,
    /// Bytes of data memory that are no longer what they were: address and new value.
    pub stored: Vec<(u64, u8)>,
    /// Every entry of the case, and neighbours of no case that changed.
    pub entries: Vec<EntryAfter>,
    /// Accesses that left the machine, in order.
    pub outside: Vec<OutsideAccess>,
    /// Whether such accesses can be seen at all; else nothing tells where they went.
    pub sees_outside: bool,
    /// Who decided.
    pub provenance: Provenance,
}

impl Observation {
    /// What its record tells of a case; nothing is known yet of memory.
    pub fn new(fault: Option<ObservedFault>, value: u64, provenance: Provenance) -> Self {
        let (stored, entries, outside) = (Vec::new(), Vec::new(), Vec::new());
        let (earlier, sees_outside) = (Vec::new(), true);
        Self { earlier, fault, value, stored, entries, outside, sees_outside, provenance }
    }
}

/// What became of a case on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It ran.
    Observed(Observation),
    /// The machine cannot run it, and why.
    Unsupported(String),
}

/// `#PF(P|W)`, `#GP(0)`: a vector, whatever it is, and an error code.
pub fn name_of_fault(vector: u8, error_code: u32) -> String {
    match Vector::from_number(vector) {
        Some(vector) => Fault { vector, error_code, cr2: None }.to_string(),
        None => format!("exception {vector}"),
    }
}
