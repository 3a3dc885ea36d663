//! A live guest of KVM that a run of this program has. The run pauses it, copies its memory into a file that nobody can
//! change any more, and passes that on with the registers; then the guest goes on. What is read afterwards is the copy.
//!
//! Neither side trusts the other. A client has nothing to say and is never waited for; what a run says is checked, and
//! waited for in bounded time.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

mod address;
mod sealed_memory;
mod snapshot;
mod socket;
#[cfg(test)]
mod tests;

pub use address::{KvmAddress, KvmAddressError};
pub use sealed_memory::SealedMemory;
pub use snapshot::{GuestSnapshot, SnapshotMoment, SnapshotRegisters};
pub use socket::GuestSocket;

use crate::bytes::ImageBytes;
use crate::error::{AboutFile, MemoryImageError};
use crate::extents::Extents;
use crate::layout::Layout;
use crate::physical_memory::PhysicalMemory;
use crate::registers::{CpuRegisters, DerivedState, RegisterOrigin, StateOptions};
use crate::unix_socket::{connect_within, listening_process};
use snapshot::SnapshotError;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A guest of KVM as it was at one moment.
#[derive(Debug)]
pub struct KvmGuest {
    about: AboutFile,
    process: Option<i32>,
    moment: SnapshotMoment,
    paused: Duration,
    profile: String,
    registers: SnapshotRegisters,
    memory: PhysicalMemory,
}

impl KvmGuest {
    /// How long a run may take to answer: it waits for its guest, and for those who asked before.
    pub const PATIENCE: Duration = Duration::from_secs(20);

    /// Asks a run for its guest.
    ///
    /// # Errors
    /// If nobody listens, or it is not such a run, or its guest cannot be paused.
    pub fn connect(address: &KvmAddress) -> Result<Self, MemoryImageError> {
        Self::connect_within(address, Self::PATIENCE)
    }

    fn connect_within(address: &KvmAddress, patience: Duration) -> Result<Self, MemoryImageError> {
        let about = AboutFile::guest(address.to_string());
        let start = Instant::now();
        let deadline = start.checked_add(patience).unwrap_or(start);
        let stream = connect_within(address.path(), patience);
        let of_connection = |place, error| of_connection(&about, place, address, error);
        let stream = stream.map_err(|error| of_connection("connecting", error))?;
        let process = listening_process(&stream);

        let received = GuestSnapshot::receive(&stream, deadline);
        let snapshot = received.map_err(|error| match error {
            SnapshotError::Host(error) => of_connection("the guest", error),
            SnapshotError::Malformed(problem) => about.malformed("the guest", problem),
            SnapshotError::Refused(problem) => about.run_failed(format!("the run says: {problem}")),
        })?;

        let GuestSnapshot { moment, paused, profile, registers, ranges, memory } = snapshot;
        let len = memory.len();
        let bytes = ImageBytes::new(memory.into_file(), len);
        let memory = PhysicalMemory::new(bytes, Layout::Extents(Extents::new(&ranges)));
        Ok(Self { about, process, moment, paused, profile, registers, memory })
    }

    /// The process of the run, if the kernel knows it.
    pub const fn process(&self) -> Option<i32> {
        self.process
    }

    /// When the guest was looked at.
    pub const fn moment(&self) -> SnapshotMoment {
        self.moment
    }

    /// How long it stood still for that.
    pub const fn paused(&self) -> Duration {
        self.paused
    }

    /// The processor that the guest sees, as the run writes it: JSON, unless it lies.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The physical memory.
    pub const fn memory(&self) -> &PhysicalMemory {
        &self.memory
    }

    /// The control state of its only CPU, changed by the options.
    ///
    /// # Errors
    /// If another CPU is asked for, or the PDPTEs cannot be read.
    pub fn control_state(&self, options: &StateOptions) -> Result<DerivedState, MemoryImageError> {
        if options.cpu != 0 {
            return Err(self.about.lacks_cpu(1, options.cpu));
        }
        let origin = match self.moment {
            SnapshotMoment::AfterCase => RegisterOrigin::Case,
            SnapshotMoment::Batch { .. } | SnapshotMoment::Between { .. } => RegisterOrigin::Vcpu,
        };
        let SnapshotRegisters { cr0, cr3, cr4, efer, pdptes } = self.registers;
        let registers = CpuRegisters { cr0, cr3, cr4, efer, is_in_smm: false };
        let derived = DerivedState::of_registers(&registers, origin);
        derived.complete_with(pdptes, options, &self.memory, &self.about)
    }
}

/// What an error of a connection means: a run that fails, or a name that is none of a run.
fn of_connection(
    about: &AboutFile,
    place: &str,
    address: &KvmAddress,
    error: io::Error,
) -> MemoryImageError {
    let words = match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => {
            return about.run_failed("the run has closed the connection");
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            return about.run_failed("the run does not answer");
        }
        io::ErrorKind::ConnectionRefused if !is_socket(address.path()) => "this is not a socket",
        io::ErrorKind::ConnectionRefused => "nobody listens: the run is gone",
        io::ErrorKind::NotFound => {
            "there is no such socket: `crosswalk check --machine kvm --live SOCKET` makes one"
        }
        _ => return about.host(place, error),
    };
    about.host(place, io::Error::new(error.kind(), words))
}

/// Whether a path leads to a socket. A socket that went meanwhile was one.
fn is_socket(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |file| file.file_type().is_socket())
}
