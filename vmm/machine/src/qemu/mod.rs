//! QEMU's TCG: a processor emulated in software, in a process of its own, on memory that it shares
//! with this one. Batches go through that memory alone: the guest spins until a command comes, the
//! host until it is done.

mod arguments;
pub mod process;
mod program;
pub mod rom;

pub use program::{PROGRAM, QemuVersion, installed_version};

use super::host;
use super::image::Image;
use super::memory::{GuestMemory, SharedFiles};
use super::probe::{self, Prober};
use super::{
    BatchCommand, Capabilities, Identity, Machine, MachineError, Parts, ProvenanceMap, RunLog,
    guest_tables,
};
use crosswalk_case::observation::Provenance;
use crosswalk_guest::high;
use crosswalk_guest::layout::{CONTROL, DATA_BASE};
use crosswalk_guest::mailbox::{CPUID_LEAVES, Control};
use crosswalk_guest::system::layout::REQUEST;
use mmu_core::{Features, PagingMode, Profile};
use process::{Options, QemuProcess, RamRegion};
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a guest may take to boot or to run a batch. A full batch takes some milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// Which processor QEMU is to emulate, beyond its best one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QemuProcessor {
    /// MAXPHYADDR; 40 if not given.
    pub physical_address_bits: Option<u8>,
    /// Features to add or take away, in QEMU's words, such as `-nx`.
    pub features: Vec<String>,
}

/// What QEMU chooses.
const DEFAULT_BITS: u8 = 40;

/// QEMU, with one virtual machine.
#[derive(Debug)]
pub struct QemuMachine {
    process: QemuProcess,
    parts: Parts,
    /// Batches run so far.
    batches: u64,
}

impl QemuMachine {
    /// Starts QEMU, boots the guest, and finds out what it can do.
    ///
    /// # Errors
    /// [`MachineError::Unavailable`] when there is no QEMU or it refuses; others when it or the image
    /// does not work.
    pub fn open(image: Image, processor: &QemuProcessor) -> Result<Self, MachineError> {
        let bits = processor.physical_address_bits.unwrap_or(DEFAULT_BITS);
        let shared = GuestMemory::shared();
        let (memory, files) = shared
            .map_err(|source| MachineError::Host { doing: "mapping guest memory", source })?;
        image.load(&memory);
        let plain = Profile { physical_address_bits: bits, ..Profile::default() };
        guest_tables::build(&memory, plain)?;
        let unbooted = Control { completed: u64::MAX, ..Control::default() };
        memory.write_value(CONTROL, &unbooted);
        let features: Vec<&str> = processor.features.iter().map(String::as_str).collect();
        let process = QemuProcess::start(&Options {
            phys_bits: Some(bits),
            cpu_flags: &features,
            memory: &regions(&files, bits),
        })?;
        let identity = Identity {
            kind: "qemu".into(),
            flavour: "tcg".into(),
            beneath: host::beneath(),
            cpu: String::new(),
            host_kernel: host::kernel(),
            version: Some(format!("QEMU {}", process.version())),
        };
        let provenance = ProvenanceMap {
            user: [Provenance::Tcg; 3],
            supervisor: [Provenance::Tcg; 3],
            outside: Provenance::Tcg,
            load: Provenance::Tcg,
        };
        let capabilities = Capabilities::unprobed(plain);
        let parts = Parts { identity, capabilities, provenance, memory, image };
        let mut machine = Self { process, parts, batches: 0 };
        machine.wait_for(0)?;
        probe::check_self_test(&machine.parts.memory)?;
        machine.learn()?;
        Ok(machine)
    }

    /// What the guest's CPUID and a few plain accesses say.
    fn learn(&mut self) -> Result<(), MachineError> {
        let control: Control = self.parts.memory.read_value(CONTROL);
        let leaf = |leaf, subleaf| {
            let place = CPUID_LEAVES.iter().position(|known| *known == (leaf, subleaf))?;
            // Above the highest leaf CPUID answers with that of another.
            let highest = control.cpuid[if leaf < 0x8000_0000 { 0 } else { 4 }][0];
            (leaf <= highest).then(|| control.cpuid[place])
        };
        self.parts.capabilities.profile = Profile::from_cpuid(leaf).emulated_by_tcg();
        self.parts.capabilities.vmx = super::has_vmx(leaf);
        let brand = (0x8000_0002..=0x8000_0004).filter_map(|number| leaf(number, 0)).flatten();
        self.parts.identity.cpu = host::text_of(&brand.collect::<Vec<u32>>());
        self.parts.capabilities.implicit_accesses = probe::implicit_accesses(&self.parts.memory);
        let mut prober = Prober::default();
        if self.parts.capabilities.profile.features.contains(Features::PKU) {
            // Else the probe's cases are left out.
            self.parts.capabilities.pkru_in_ring_0 = true;
            self.parts.capabilities.pkru_in_ring_0 = prober.pkru_in_ring_0(self)?;
        }
        for mode in PagingMode::ALL {
            let offer = prober.mode(self, mode)?;
            self.parts.capabilities.modes.push((mode, offer));
        }
        Ok(())
    }

    /// Names what lies at this address to the guest, under the next number, and waits.
    fn command(&mut self, place: u64) -> Result<(), MachineError> {
        self.batches += 1;
        self.parts.memory.store(CONTROL + offset_of!(Control, arena) as u64, place);
        self.parts.memory.store(CONTROL + offset_of!(Control, command) as u64, self.batches);
        self.wait_for(self.batches)
    }

    /// Waits until the guest says that it has completed this batch.
    fn wait_for(&mut self, batch: u64) -> Result<(), MachineError> {
        const SPINS: u32 = 2000;
        const PAUSE: Duration = Duration::from_micros(20);
        let completed = CONTROL + offset_of!(Control, completed) as u64;
        let panic = CONTROL + offset_of!(Control, panic) as u64;
        let deadline = Instant::now() + DEADLINE;
        let mut polls = 0;
        while self.parts.memory.load(completed) != batch {
            polls += 1;
            if polls < SPINS {
                std::hint::spin_loop();
                continue;
            }
            std::thread::sleep(PAUSE);
            if polls % 100 != 0 {
                continue;
            }
            self.process.check_alive()?;
            if let Some(vector) = self.parts.memory.load(panic).checked_sub(1) {
                let what = format!("met exception {vector}, which no case causes");
                return Err(MachineError::guest(what, None));
            }
            if Instant::now() > deadline {
                return Err(MachineError::guest(super::HANGS, None));
            }
        }
        Ok(())
    }
}

/// The guest's memory for QEMU: low memory, the data memory in two halves, and these again at every
/// high place.
fn regions(files: &SharedFiles, physical_address_bits: u8) -> Vec<RamRegion<'_>> {
    let [low, first, second] = [&files.low, &files.halves[0], &files.halves[1]].map(AsFd::as_fd);
    let half = high::PART_SIZE;
    let mut regions = vec![
        RamRegion { guest_physical: 0, len: DATA_BASE, file: low },
        RamRegion { guest_physical: DATA_BASE, len: half, file: first },
        RamRegion { guest_physical: DATA_BASE + half, len: half, file: second },
    ];
    let parts = high::places(physical_address_bits).flat_map(high::parts);
    regions.extend(parts.map(|(guest_physical, data)| {
        let file = if data == DATA_BASE { first } else { second };
        RamRegion { guest_physical, len: half, file }
    }));
    regions
}

impl Machine for QemuMachine {
    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn run(&mut self, command: BatchCommand) -> Result<RunLog, MachineError> {
        self.command(command.arena.base())?;
        Ok(RunLog::default())
    }

    fn serve_request(&mut self) -> Result<(), MachineError> {
        self.command(REQUEST)
    }
}
