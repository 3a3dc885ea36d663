//! Machines that run cases: KVM and QEMU.
//!
//! Every [`Machine`] runs the guest image in memory of the same layout, and takes the same
//! requests: a [batch] of cases to run, a [nested batch](nested), or a request to the guest's virtual memory
//! system ([`crosswalk_guest::system`]). Encoding batches and reading them back is common to all machines.
//!
//! A machine reports [what it is](Identity), [what it offers](Capabilities), and [who decides its
//! results](ProvenanceMap). It learns the latter two from CPUID and from probes: batches of plain
//! cases whose results show what works, and who did the work.

pub mod batch;
pub mod booted;
mod capabilities;
pub mod child;
mod elf;
mod error;
mod guest_tables;
pub mod host;
mod identity;
pub mod image;
pub mod jail;
pub mod kvm;
pub mod litmus;
pub mod log;
pub mod memory;
pub mod nested;
mod patience;
mod probe;
mod provenance;
pub mod qemu;
mod record;
mod run;
mod stopwatch;
pub mod tape;
mod version;
mod virtualization;

pub use capabilities::{Capabilities, LeftOut, ModeOffer};
pub use elf::ImageError;
pub use error::{GuestFailure, MachineError};
pub use identity::Identity;
pub use provenance::{Deciders, ProvenanceMap, ResultClass};
pub use record::{MachineLine, offers, read_offers};
pub use run::{BatchCommand, Interrupter, Position, RunLog, RunTime};
pub use stopwatch::Stopwatch;
pub use version::Version;
pub use virtualization::Virtualization;

use image::Image;
use jail::JailReport;
use kvm::Pauser;
use memory::GuestMemory;
use std::time::Duration;

/// A virtual machine that runs the guest image.
pub trait Machine: Send {
    /// What every machine has.
    fn parts(&self) -> &Parts;

    /// Starts a batch that has been encoded into an arena ([`batch::Encoded::write`]). It runs behind
    /// those that were started before; there may be [`Self::batches_ahead`] of them.
    fn start(&mut self, command: BatchCommand);

    /// Waits until the oldest of the batches that were started has run.
    ///
    /// # Errors
    /// If the guest or the machine fails, or the run is interrupted. A case that the machine cannot run
    /// is not an error but [`RunLog::gave_up`].
    ///
    /// # Panics
    /// If no batch was started.
    fn finish(&mut self) -> Result<RunLog, MachineError>;

    /// Starts a batch and waits until it has run. No other may be under way.
    ///
    /// # Errors
    /// Those of [`Self::finish`].
    fn run(&mut self, command: BatchCommand) -> Result<RunLog, MachineError> {
        self.start(command);
        self.finish()
    }

    /// Starts the guest again, on the same memory, after it has failed.
    ///
    /// # Errors
    /// If this machine has no such way: with the failure. If it cannot be started again.
    fn recover(&mut self, failure: MachineError) -> Result<(), MachineError> {
        Err(failure)
    }

    /// Number of batches that can be started before one that is under way has run. Such a machine goes on
    /// with the next while the host looks at the last.
    fn batches_ahead(&self) -> usize {
        0
    }

    /// The time before which the oldest batch will hardly have run.
    fn expected(&self) -> Duration {
        Duration::ZERO
    }

    /// Lets the guest's virtual memory system serve a request.
    ///
    /// The caller writes the [`Request`](crosswalk_guest::system::Request) to
    /// [`REQUEST`](crosswalk_guest::system::layout::REQUEST) in [`Self::memory`] first, and finds
    /// the [`Response`](crosswalk_guest::system::Response) at
    /// [`RESPONSE`](crosswalk_guest::system::layout::RESPONSE) afterwards. No batch may be in
    /// flight: the system uses the memory of both arenas.
    ///
    /// # Errors
    /// If the guest or the machine fails. A request that the system refuses is not an error: the
    /// response says so.
    fn serve_request(&mut self) -> Result<(), MachineError>;

    /// Has nothing to run for now. A guest that waits for a command actively stops using a processor, until
    /// the next command.
    fn rest(&mut self) {}

    /// What pauses the guest for another thread, if the machine can be paused: a guest of KVM.
    fn pauser(&self) -> Option<Pauser> {
        None
    }

    /// What ends the run in progress, from another thread.
    fn interrupter(&self) -> &Interrupter {
        &self.parts().interrupter
    }

    /// What the machine is.
    fn identity(&self) -> &Identity {
        &self.parts().identity
    }

    /// What the machine offers.
    fn capabilities(&self) -> &Capabilities {
        &self.parts().capabilities
    }

    /// Who decides which results.
    fn provenance(&self) -> &ProvenanceMap {
        &self.parts().provenance
    }

    /// The jail that the guest is in.
    fn jail(&self) -> &JailReport {
        &self.parts().jail
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

/// What every machine has.
#[derive(Debug)]
pub struct Parts {
    /// What the machine is.
    pub identity: Identity,
    /// What the machine offers.
    pub capabilities: Capabilities,
    /// Who decides which results.
    pub provenance: ProvenanceMap,
    /// The guest's memory. Clones of it serve those who encode and judge batches.
    pub memory: GuestMemory,
    /// The image that runs in the guest.
    pub image: Image,
    /// What ends the run in progress.
    pub interrupter: Interrupter,
    /// The jail that the guest is in.
    pub jail: JailReport,
}
