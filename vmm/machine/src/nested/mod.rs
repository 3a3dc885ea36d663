//! Nested batches: the guest is a hypervisor, and runs a guest of its own (L2) in each lane, whose addresses are
//! translated twice. The protocol is that of [`crosswalk_guest::nested`].
//!
//! A [`NestedBatch`] is written into an arena, runs like any other batch, and is read back:
//!
//! ```
//! use crosswalk_guest::layout::Arena;
//! use crosswalk_machine::Capabilities;
//! use crosswalk_machine::memory::GuestMemory;
//! use crosswalk_machine::nested::{Lane, NestedBatch, Root};
//! use mmu_core::{ControlState, Profile, Ring};
//!
//! let [arena, _] = Arena::ALL;
//! let mut code = [0; 0x1000];
//! code[..4].copy_from_slice(&[0x8b, 0x00, 0x0f, 0xa2]); // mov eax, [rax]; cpuid
//! let batch = NestedBatch {
//!     arena,
//!     host: ControlState::four_level(0),
//!     tables: vec![[0; 512]], // The root of the second level is empty: a nested page fault.
//!     code,
//!     lanes: vec![Lane {
//!         state: ControlState::unpaged(),
//!         is_64_bit: false,
//!         ring: Ring::Zero,
//!         rip: 0x8000,
//!         rax: 0x9000,
//!         back: 0,
//!         ac: false,
//!         root: Root::Npt { ncr3: arena.nested_table(0) },
//!     }],
//! };
//!
//! let memory = GuestMemory::new()?; // Or that of a machine, as are its capabilities.
//! let command = batch.write(&memory, &Capabilities::of_everything(Profile::default()));
//! assert_eq!(command.arena, arena);
//! // let log = machine.run(command)?;
//! // let run = batch.read_back(&log, &memory)?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod encode;
pub(crate) mod probe;
mod read_back;
mod run;
mod segments;
mod vmcb;
mod vmcs;

pub use crate::virtualization::{AllowedControls, Virtualization, Vmx};
pub use run::{LaneExit, LaneRun, NestedRun};

use crosswalk_guest::layout::Arena;
use crosswalk_guest::nested::Virtualizer;
use mmu_core::{ControlState, Ring};

/// Lanes that run together.
#[derive(Clone, Debug)]
pub struct NestedBatch {
    /// The arena in which the batch runs.
    pub arena: Arena,
    /// The control state of L1 during the batch, without CR3. With SVM its paging mode is the format of nested
    /// page tables, and NXE decides about their XD bits. The mode is 4-level, 5-level, PAE or 32-bit paging; with
    /// VMX one of the first two.
    pub host: ControlState,
    /// The contents of nested tables 0 and after, which are at [`Arena::nested_table`].
    pub tables: Vec<[u64; 512]>,
    /// The contents of the code page, which is at [`Arena::nested_code`].
    pub code: [u8; 0x1000],
    /// At most [`LANES`](crosswalk_guest::nested::LANES), all with the same kind of [`Root`].
    pub lanes: Vec<Lane>,
}

/// A run of L2, from its entry to its first exit. Every exception, CPUID, HLT and all else that can be
/// intercepted is an exit. Caches of translations are empty at its entry.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The control state of L2, whose CR3 is a guest-physical address. With VMX its PDPTEs are loaded from here,
    /// with SVM from memory.
    pub state: ControlState,
    /// Whether the code segment is one of 64-bit code.
    pub is_64_bit: bool,
    /// The ring.
    pub ring: Ring,
    /// The linear address at which L2 starts.
    pub rip: u64,
    /// RAX.
    pub rax: u64,
    /// R13 and RBP. In a batch of 32-bit code, which cannot load R13, it has the value of the first lane.
    pub back: u64,
    /// EFLAGS.AC.
    pub ac: bool,
    /// The root of the second level.
    pub root: Root,
}

/// The root of the second level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Of SVM.
    Npt {
        /// nCR3.
        ncr3: u64,
    },
    /// Of VMX.
    Ept {
        /// The EPT pointer.
        eptp: u64,
        /// Whether execute permission depends on the ring (mode-based execute control).
        mode_based_execute: bool,
    },
}

impl Root {
    /// What enters L2.
    pub const fn virtualizer(self) -> Virtualizer {
        match self {
            Self::Npt { .. } => Virtualizer::Svm,
            Self::Ept { .. } => Virtualizer::Vmx,
        }
    }
}
