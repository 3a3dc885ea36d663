//! What a machine did with one case, and who decided it.

use crate::Moved;
use mmu_core::name::{UnknownName, by_name};
use mmu_core::{Fault, Vector};
use std::fmt;
use std::str::FromStr;

/// Who decided an observation. What an emulator does is never attributed to the processor.
///
/// ```
/// use crosswalk_case::observation::Provenance;
/// assert_eq!("kvm-walker".parse::<Provenance>().unwrap(), Provenance::KvmWalker);
/// assert!("hardware".parse::<Provenance>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provenance {
    /// The processor's own walk of the guest's tables, or its own check of an address.
    Processor,
    /// A translation that the processor used, from tables that the hypervisor built.
    ProcessorOnShadowTables,
    /// A fault that KVM's walker computed and injected into natively running code.
    KvmWalker,
    /// KVM emulated the instruction.
    KvmEmulator,
    /// An emulated processor's own walk, beneath KVM or without it.
    Tcg,
    /// A translation that an emulated processor used, from tables that the hypervisor built.
    TcgOnShadowTables,
    /// An emulated processor's own walk beneath KVM, if the emulator is not TCG; or an emulator or a hypervisor that has
    /// run an image by itself, and which part of it is not known.
    Emulator,
    /// A translation that such an emulated processor used, from tables that the hypervisor built.
    EmulatorOnShadowTables,
    /// Unknown: an image ran by itself, and nothing says on what.
    Unknown,
}

impl Provenance {
    /// Every provenance.
    pub const ALL: [Self; 9] = [
        Self::Processor,
        Self::ProcessorOnShadowTables,
        Self::KvmWalker,
        Self::KvmEmulator,
        Self::Tcg,
        Self::TcgOnShadowTables,
        Self::Emulator,
        Self::EmulatorOnShadowTables,
        Self::Unknown,
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
            Self::Emulator => "emulator",
            Self::EmulatorOnShadowTables => "emulator-on-shadow-tables",
            Self::Unknown => "unknown",
        }
    }
}

/// The name of a provenance, as [`Provenance::name`] returns it.
impl FromStr for Provenance {
    type Err = UnknownName<Self>;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(&Self::ALL, Self::name, name)
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
    /// The vector; a faulty machine may report any number.
    pub vector: u8,
    /// The error code that was pushed.
    pub error_code: u32,
    /// CR2 in the handler.
    pub cr2: u64,
    /// CR2 before the case, which only #PF may change (CANON-1).
    pub cr2_before: u64,
    /// The RIP that was saved; `None` where it was not observed.
    pub rip: Option<SavedRip>,
    /// What else was saved; `None` where it was not observed.
    pub frame: Option<SavedFrame>,
}

/// What an exception saved beside RIP, and the registers that its handler found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedFrame {
    /// The selector that was saved as CS.
    pub cs: u16,
    /// The low half of the saved RFLAGS, without [`Self::STATUS_FLAGS`].
    pub rflags: u32,
    /// The distance of the saved RSP from the RSP that the instruction had.
    pub rsp: i64,
    /// The first register that does not hold what it held before the instruction.
    pub changed: Option<Register>,
}

impl SavedFrame {
    /// CF, PF, AF, ZF, SF and OF: they are those of an earlier instruction, perhaps of another case.
    pub const STATUS_FLAGS: u32 = 0x8d5;
    /// RF, which says that an instruction breakpoint there has been taken.
    pub const RF: u32 = 1 << 16;

    /// Whether RF was saved as 1.
    pub const fn has_rf(self) -> bool {
        self.rflags & Self::RF != 0
    }
}

/// A register that the guest loads before an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// RAX.
    Rax,
    /// RBX.
    Rbx,
    /// RSI.
    Rsi,
    /// RBP.
    Rbp,
}

impl Register {
    /// Every register.
    pub const ALL: [Self; 4] = [Self::Rax, Self::Rbx, Self::Rsi, Self::Rbp];

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rax => "RAX",
            Self::Rbx => "RBX",
            Self::Rsi => "RSI",
            Self::Rbp => "RBP",
        }
    }
}

/// The RIP that an exception saved.
///
/// ```
/// use crosswalk_case::observation::SavedRip;
/// assert_eq!(SavedRip::AT_INSTRUCTION.to_string(), "the instruction");
/// assert_eq!(SavedRip::FromInstruction(3).to_string(), "the instruction + 3");
/// assert_eq!(SavedRip::Address(0x4000_1000).to_string(), "0x40001000");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedRip {
    /// Bytes from the start of the instruction that makes the access. Where that is depends on the
    /// image.
    FromInstruction(i8),
    /// A linear address that is not near it, such as that of code to be fetched.
    Address(u64),
}

impl SavedRip {
    /// The start of the instruction that makes the access.
    pub const AT_INSTRUCTION: Self = Self::FromInstruction(0);
}

impl fmt::Display for SavedRip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromInstruction(0) => f.write_str("the instruction"),
            Self::FromInstruction(bytes @ 1..) => write!(f, "the instruction + {bytes}"),
            Self::FromInstruction(bytes) => write!(f, "the instruction - {}", bytes.unsigned_abs()),
            Self::Address(address) => write!(f, "{address:#x}"),
        }
    }
}

/// A table entry after the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryAfter {
    /// Its physical address.
    pub at: u64,
    /// The value that the guest wrote there for the case.
    pub before: u64,
    /// The value after the case.
    pub after: u64,
}

/// An access that left the machine because there is no memory at its address. It proves the physical
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideAccess {
    /// The physical address.
    pub address: u64,
    /// Number of bytes, at most 8.
    pub len: u8,
    /// Whether it was a store.
    pub is_write: bool,
    /// The bytes that were stored, or those that the load received; low byte first.
    pub data: u64,
}

/// What was observed of an access before the last of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierAccess {
    /// The exception, if there was one.
    pub fault: Option<ObservedFault>,
    /// What the instruction left in its register, at the full width of the register.
    pub value: u64,
    /// How far it has moved its operands; `None` for an instruction without a source.
    pub moved: Option<Moved>,
}

/// What was observed of a privileged instruction of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivilegedRecord {
    /// The exception, if there was one.
    pub fault: Option<ObservedFault>,
    /// What its control register held afterwards; `None` for an instruction that has none.
    pub register: Option<u64>,
}

/// Everything that was observed of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The accesses before the last, in order.
    pub earlier: Vec<EarlierAccess>,
    /// The privileged instructions of a sequence ([`Action::is_privileged`]), in order. None where they
    /// were not observed.
    ///
    /// [`Action::is_privileged`]: crate::Action::is_privileged
    pub privileged: Vec<PrivilegedRecord>,
    /// The exception, if there was one.
    pub fault: Option<ObservedFault>,
    /// What the instruction left in its register, at the full width of the register.
    pub value: u64,
    /// How far it has moved its operands; `None` for an instruction without a source.
    pub moved: Option<Moved>,
    /// The bytes of data memory that changed: address and new value.
    pub stored: Vec<(u64, u8)>,
    /// Every entry of the case, and the entries beside them that changed.
    pub entries: Vec<EntryAfter>,
    /// Accesses that left the machine, in order.
    pub outside: Vec<OutsideAccess>,
    /// Whether accesses that leave the machine are visible; if not, nothing shows where they went.
    pub sees_outside: bool,
    /// Who decided.
    pub provenance: Provenance,
}

impl EarlierAccess {
    /// The record alone, as the observation of a case: nothing is known about memory.
    pub fn alone(&self, provenance: Provenance) -> Observation {
        let Self { fault, value, moved } = *self;
        Observation { moved, ..Observation::new(fault, value, provenance) }
    }
}

impl Observation {
    /// An observation of fault, register and provenance; nothing is known about memory yet.
    pub fn new(fault: Option<ObservedFault>, value: u64, provenance: Provenance) -> Self {
        Self {
            earlier: Vec::new(),
            privileged: Vec::new(),
            fault,
            value,
            moved: None,
            stored: Vec::new(),
            entries: Vec::new(),
            outside: Vec::new(),
            sees_outside: true,
            provenance,
        }
    }
}

/// The result of running a case on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The case ran.
    Observed(Observation),
    /// The machine cannot run the case, for this reason.
    Unsupported(String),
}

/// A vector and an error code as text, such as `#PF(P|W)` or `#GP(0)`. The vector may be any number.
///
/// ```
/// use crosswalk_case::observation::name_of_fault;
/// assert_eq!(name_of_fault(14, 0x3), "#PF(P|W)");
/// assert_eq!(name_of_fault(99, 0), "exception 99");
/// ```
pub fn name_of_fault(vector: u8, error_code: u32) -> String {
    match Vector::from_number(vector) {
        Some(vector) => Fault { vector, error_code, cr2: None }.to_string(),
        None => format!("exception {vector}"),
    }
}
