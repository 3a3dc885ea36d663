//! A live guest of QEMU, by its monitor (QMP): it is stopped, its registers and the layout of its memory are
//! read, its memory is read where its tables are, and it runs again, if it ran before.
//!
//! The other side of the socket is not trusted. Whatever it answers, or does not, is one error in bounded time.
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
mod layout;
mod memory;
mod printed_memory;
mod process;
mod qmp;
mod stopped;
mod stream;
#[cfg(test)]
mod tests;

pub use address::{MonitorAddress, MonitorAddressError};
pub use memory::MemoryAccess;

use crate::error::{AboutFile, MemoryImageError};
use crate::physical_memory::PhysicalMemory;
use crate::registers::{CpuRegisters, DerivedState, RegisterOrigin, StateOptions};
use qmp::Qmp;
use std::time::Duration;
use stopped::{SharedMonitor, StoppedGuest};

/// How long `info tlb` may take.
const LISTING: Duration = Duration::from_secs(60);

/// A live guest of QEMU. It does not run as long as this exists.
#[derive(Debug)]
pub struct LiveGuest {
    about: AboutFile,
    version: String,
    cpus: Vec<CpuRegisters>,
    memory: PhysicalMemory,
    access: MemoryAccess,
    monitor: SharedMonitor,
    stopped: StoppedGuest,
}

impl LiveGuest {
    /// Connects to the monitor of a guest, stops the guest if it runs, and reads its registers.
    ///
    /// # Errors
    /// If there is no monitor, or it is not one of QEMU, or it serves another program. The guest then runs
    /// again, or the error says that it does not.
    pub fn connect(address: &MonitorAddress) -> Result<Self, MemoryImageError> {
        let about = AboutFile::guest(address.to_string());
        let qmp = Qmp::connect(address, &about)?;
        let version = qmp.version().to_owned();
        let monitor = SharedMonitor::new(qmp);

        let stopped = StoppedGuest::stop(&monitor, &about)?;
        let read = read_guest(&monitor, &about);
        let (cpus, memory, access) = read.map_err(|error| stopped.resume_after(error))?;
        Ok(Self { about, version, cpus, memory, access, monitor, stopped })
    }

    /// The version of QEMU.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The run state that the guest had, in QEMU's words: `running`, `paused`.
    pub fn run_state(&self) -> &str {
        self.stopped.run_state()
    }

    /// The physical memory.
    pub const fn memory(&self) -> &PhysicalMemory {
        &self.memory
    }

    /// How the memory is read.
    pub const fn access(&self) -> &MemoryAccess {
        &self.access
    }

    /// The registers of each CPU.
    pub fn cpus(&self) -> &[CpuRegisters] {
        &self.cpus
    }

    /// The control state of a CPU: its registers, changed by the options.
    ///
    /// # Errors
    /// If the CPU does not exist, or the PDPTEs cannot be read.
    pub fn control_state(&self, options: &StateOptions) -> Result<DerivedState, MemoryImageError> {
        let registers = self.cpus.get(options.cpu);
        let registers =
            registers.ok_or_else(|| self.about.lacks_cpu(self.cpus.len(), options.cpu))?;
        let derived = DerivedState::of_registers(registers, RegisterOrigin::Monitor);
        derived.complete(options, &self.memory, &self.about)
    }

    /// What `info tlb` of the monitor prints for a CPU. It lists every page: where tables map more than a few
    /// million, or point to themselves, QEMU is busy with it for a long time.
    ///
    /// # Errors
    /// If QEMU does not answer within a minute.
    pub fn info_tlb(&self, cpu: usize) -> Result<String, MemoryImageError> {
        self.monitor.lock().human_within(LISTING, "info tlb", cpu)
    }

    /// Lets the guest run again, if it ran before. Without this, dropping it does so, and nobody learns of an error.
    ///
    /// # Errors
    /// If the guest stays stopped.
    pub fn resume(&self) -> Result<(), MemoryImageError> {
        self.stopped.resume()
    }
}

fn read_guest(
    monitor: &SharedMonitor,
    about: &AboutFile,
) -> Result<(Vec<CpuRegisters>, PhysicalMemory, MemoryAccess), MemoryImageError> {
    let printed = monitor.lock().human("info registers -a")?;
    let cpus = CpuRegisters::parse_all(&printed);
    let cpus = cpus.map_err(|problem| about.malformed("info registers -a", problem))?;

    let printed = monitor.lock().human("info mtree -f")?;
    let sections = layout::parse(&printed);
    let sections = sections.map_err(|problem| about.malformed("info mtree -f", problem))?;

    let roots: Vec<u64> = cpus.iter().map(|cpu| cpu.cr3).collect();
    let (memory, access) = memory::open(monitor, about, &sections, &roots)?;
    Ok((cpus, memory, access))
}
