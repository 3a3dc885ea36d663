//! Machines: what runs cases. Each runs the guest image in a memory of the same layout, and takes
//! batches from it; encoding and reading batches is shared ([`batch`]).

pub mod batch;
mod guest_tables;
pub mod host;
pub mod image;
pub mod kvm;
pub mod memory;
mod probe;
pub mod qemu;
mod record;

use crosswalk_case::Case;
use crosswalk_case::observation::{OutsideAccess, Provenance};
use crosswalk_guest::layout::Arena;
pub use record::{MachineLine, offers, read_offers};

use image::Image;
use memory::GuestMemory;
use mmu_core::{ControlState, Cr4, PagingMode, Profile, Ring};

/// What a machine is, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `kvm`, `qemu`, or `corpus` for what was recorded elsewhere.
    pub kind: String,
    /// How it translates: `pvm`, `svm-npt`, ... ([`host::Flavour`]).
    pub flavour: String,
    /// What lies beneath: `bare`, or the name of the hypervisor that this host's CPUID gives.
    pub beneath: String,
    /// The processor's name.
    pub cpu: String,
    /// The kernel of this host.
    pub host_kernel: String,
    /// The name and version of the program that emulates, if it is one.
    pub version: Option<String>,
}

/// What a guest does that misses its deadline.
const HANGS: &str = "did not come back: it hangs or loops";

/// Which results a provenance is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultClass {
    /// The access completed.
    Translation,
    /// A page fault.
    PageFault,
    /// A fault of the address itself: #GP or #SS.
    AddressFault,
}

/// Who decides which results, as found by a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenanceMap {
    /// For ring 3: translations, page faults, address faults.
    pub user: [Provenance; 3],
    /// The same for ring 0.
    pub supervisor: [Provenance; 3],
    /// For accesses that reached an address without memory.
    pub outside: Provenance,
    /// For a fault when CR0 is loaded, and with it PAE's PDPTEs.
    pub load: Provenance,
}

impl ProvenanceMap {
    /// Who decided a result in this ring.
    pub const fn of(&self, ring: Ring, class: ResultClass) -> Provenance {
        match ring {
            Ring::Three => self.user[class as usize],
            Ring::Zero => self.supervisor[class as usize],
        }
    }
}

/// A paging mode, and the reason why a machine does not offer it.
pub type ModeOffer = (PagingMode, Result<(), String>);

/// What a machine offers.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Capabilities {
    /// The processor that the guest sees, from its CPUID.
    pub profile: Profile,
    /// Control bits that the machine accepts and obeys although its CPUID lacks the feature.
    pub not_in_cpuid: Cr4,
    /// Modes, each with the reason why not.
    pub modes: Vec<ModeOffer>,
    /// Whether a descriptor read at CPL 3 uses the guest's own descriptor table.
    pub implicit_accesses: Result<(), String>,
    /// Whether PKRU can be loaded in ring 3 although CPUID lacks PKU.
    pub pkru_without_pku: bool,
    /// Whether PKRU can be loaded in ring 0, too.
    pub pkru_in_ring_0: bool,
    /// Whether the data memory appears again at high addresses (`crosswalk_guest::high`).
    pub high_memory: bool,
    /// Whether the guest's tables can lie in memory that it can only read.
    pub read_only_tables: Result<(), String>,
    /// Whether the guest could run guests of its own under EPT: CPUID 1 ECX\[5\].
    pub vmx: bool,
    /// Whether accesses to addresses without memory leave the machine, so that they can be seen.
    pub sees_outside: bool,
}

/// Whether CPUID, by leaf and subleaf, says that there is VMX.
fn has_vmx(leaf: impl Fn(u32, u32) -> Option<[u32; 4]>) -> bool {
    leaf(1, 0).is_some_and(|[_, _, ecx, _]| ecx >> 5 & 1 != 0)
}

impl Capabilities {
    /// A machine that offers everything, for the tests of generators.
    pub fn of_everything(profile: Profile) -> Self {
        Self {
            pkru_without_pku: true,
            pkru_in_ring_0: true,
            read_only_tables: Ok(()),
            sees_outside: true,
            ..Self::unprobed(profile)
        }
    }

    /// What is known before the probes: what CPUID says and no more.
    fn unprobed(profile: Profile) -> Self {
        Self {
            read_only_tables: Err("this machine has no read-only memory for tables".into()),
            vmx: false,
            profile,
            not_in_cpuid: Cr4::empty(),
            modes: Vec::new(),
            implicit_accesses: Ok(()),
            pkru_without_pku: false,
            pkru_in_ring_0: false,
            high_memory: true,
            sees_outside: false,
        }
    }
}

/// A batch that lies encoded in an arena, ready to run.
#[derive(Clone, Copy, Debug)]
pub struct BatchCommand {
    /// Where it lies.
    pub arena: Arena,
    /// The control state for the machine to set itself, when the guest may not.
    pub control: Option<ControlState>,
    /// Whether the host has filled the table that the guest can only read.
    pub fills_read_only: bool,
}

/// The place in a list of records where the guest was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Whose list.
    pub ring: Ring,
    /// The record's index.
    pub record: usize,
}

/// What a machine says of a batch besides what it left in memory.
#[derive(Clone, Debug, Default)]
pub struct RunLog {
    /// Accesses that left the machine, each with the record that made it.
    pub outside: Vec<(Position, OutsideAccess)>,
    /// The record at which the machine had to give up, and why. The batch must be run again
    /// without it; the machine is ready for that.
    pub gave_up: Option<(Position, String)>,
}

/// Why a machine is of no use, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// It cannot be had on this host.
    #[error("{0}")]
    Unavailable(String),
    /// The guest died or misbehaved.
    #[error("the guest {what}")]
    GuestFailed {
        /// What happened.
        what: String,
        /// Where in the lists it was, if that can be told.
        at: Option<Position>,
        /// The case that it was at, or all of its batch when that cannot be told.
        cases: Vec<Case>,
    },
    /// The host's own interface failed.
    #[error("{doing}: {source}")]
    Host {
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The image is not one of ours.
    #[error(transparent)]
    Image(#[from] image::ImageError),
}

impl MachineError {
    /// A guest that did something wrong at a place in its lists.
    pub fn guest(what: impl Into<String>, at: Option<Position>) -> Self {
        Self::GuestFailed { what: what.into(), at, cases: Vec::new() }
    }
}

/// What every machine has.
#[derive(Debug)]
pub struct Parts {
    /// What it is.
    pub identity: Identity,
    /// What it offers.
    pub capabilities: Capabilities,
    /// Who decides which results.
    pub provenance: ProvenanceMap,
    /// The guest's memory, shared with whoever encodes and judges.
    pub memory: GuestMemory,
    /// The image that runs in the guest.
    pub image: Image,
}

/// Something that runs batches.
pub trait Machine: Send {
    /// What it has.
    fn parts(&self) -> &Parts;

    /// Runs one batch to its end.
    ///
    /// # Errors
    /// When the guest or the machine is dead. A case that the machine cannot run is no error:
    /// [`RunLog::gave_up`].
    fn run(&mut self, command: BatchCommand) -> Result<RunLog, MachineError>;

    /// Has the guest's kernel carry out the order that lies at its place (`crosswalk_guest::system`).
    ///
    /// # Errors
    /// When the guest or the machine is dead.
    fn serve_request(&mut self) -> Result<(), MachineError>;

    /// What it is.
    fn identity(&self) -> &Identity {
        &self.parts().identity
    }

    /// What it offers.
    fn capabilities(&self) -> &Capabilities {
        &self.parts().capabilities
    }

    /// Who decides which results.
    fn provenance(&self) -> &ProvenanceMap {
        &self.parts().provenance
    }

    /// The guest's memory.
    fn memory(&self) -> &GuestMemory {
        &self.parts().memory
    }

    /// The image that runs in the guest.
    fn image(&self) -> &Image {
        &self.parts().image
    }
}
