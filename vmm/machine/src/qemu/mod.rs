//! QEMU's TCG: a processor emulated in software, in a process of its own, on memory that it shares
//! with this one. Commands go through that memory alone: the guest spins until one comes, the host
//! until it is completed.

mod arguments;
mod pace;
pub mod process;
mod program;
pub mod rom;
mod unnamed_file;

pub use program::{PROGRAM, QemuVersion, installed_version};

use crate::host;
use crate::image::Image;
use crate::jail::Jail;
use crate::memory::{GuestMemory, SharedFiles};
use crate::patience::Patience;
use crate::probe::{self, Prober};
use crate::{
    BatchCommand, Capabilities, GuestFailure, Identity, Interrupter, Machine, MachineError, Parts,
    ProvenanceMap, RunLog, RunTime, Stopwatch, capabilities, guest_tables,
};
use crosswalk_case::observation::Provenance;
use crosswalk_guest::high;
use crosswalk_guest::layout::{CONTROL, DATA_BASE};
use crosswalk_guest::mailbox::{CPUID_LEAVES, Control};
use crosswalk_guest::system::layout::REQUEST;
use crosswalk_guest::table_windows::TableWindow;
use mmu_core::{Features, PagingMode, Profile};
use pace::Pace;
use process::{Options, QemuProcess, RamRegion};
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long QEMU may compute until the guest has booted or completed a command. A full batch takes some
/// milliseconds.
const LIMIT: Duration = Duration::from_secs(4);

/// The processor that QEMU emulates: changes to its most capable one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QemuProcessor {
    /// MAXPHYADDR; 40 if not given.
    pub physical_address_bits: Option<u8>,
    /// Features to add or remove, in QEMU's notation, such as `-nx`.
    pub features: Vec<String>,
}

/// The address of [`Control::completed`].
const COMPLETED: u64 = CONTROL + offset_of!(Control, completed) as u64;

/// The MAXPHYADDR that QEMU itself chooses.
const DEFAULT_BITS: u8 = 40;

/// QEMU, with one virtual machine.
#[derive(Debug)]
pub struct QemuMachine {
    process: QemuProcess,
    parts: Parts,
    /// The number of the last command.
    commands: u64,
    pace: Pace,
}

impl QemuMachine {
    /// Starts QEMU in a jail, boots the guest, and probes what it can do.
    ///
    /// # Errors
    /// [`MachineError::Unavailable`] if there is no QEMU or it refuses the processor; another error
    /// if QEMU or the image does not work.
    pub fn open(
        image: Image,
        processor: &QemuProcessor,
        jail: &Jail,
    ) -> Result<Self, MachineError> {
        Self::open_with(image, processor, jail, Interrupter::default())
    }

    /// Like [`Self::open`], with an interrupter that ends the opening as well.
    ///
    /// # Errors
    /// As those of `open`, and [`MachineError::Interrupted`].
    pub fn open_with(
        image: Image,
        processor: &QemuProcessor,
        jail: &Jail,
        interrupter: Interrupter,
    ) -> Result<Self, MachineError> {
        let bits = processor.physical_address_bits.unwrap_or(DEFAULT_BITS);
        let profile = Profile { physical_address_bits: bits, ..Profile::default() };
        let (memory, files) =
            GuestMemory::shared().map_err(MachineError::host("mapping guest memory"))?;
        image.load(&memory);
        guest_tables::build(&memory, profile)?;
        // As if the command before the first had been completed.
        let unbooted = Control { completed: 0_u64.wrapping_sub(1), ..Control::default() };
        memory.write_value(CONTROL, &unbooted);

        let features: Vec<&str> = processor.features.iter().map(String::as_str).collect();
        let options =
            Options { phys_bits: Some(bits), cpu_flags: &features, memory: &regions(&files, bits) };
        let process = QemuProcess::start(&options, jail)?;

        let parts = Parts {
            identity: Identity {
                kind: "qemu".into(),
                flavour: "tcg".into(),
                beneath: host::beneath(),
                cpu: String::new(),
                host_kernel: host::kernel(),
                version: Some(format!("QEMU {}", process.version())),
            },
            capabilities: Capabilities::unprobed(profile),
            provenance: ProvenanceMap::all(Provenance::Tcg),
            memory,
            image,
            interrupter,
            jail: process.jail().clone(),
        };
        let mut machine = Self { process, parts, commands: 0, pace: Pace::default() };

        machine.wait_for(0, Duration::ZERO)?;
        probe::check_self_test(&machine.parts.memory)?;
        machine.read_cpuid();
        machine.probe()?;
        Ok(machine)
    }

    /// Learns what the guest's CPUID reports.
    fn read_cpuid(&mut self) {
        let control: Control = self.parts.memory.read_value(CONTROL);
        let leaf = |leaf, subleaf| {
            let index_of = |wanted| CPUID_LEAVES.iter().position(|known| *known == wanted);
            let highest_leaf = if leaf < 0x8000_0000 { (0, 0) } else { (0x8000_0000, 0) };
            let [highest, ..] = control.cpuid[index_of(highest_leaf)?];

            // For leaves above the highest, CPUID returns those of another leaf.
            let index = index_of((leaf, subleaf))?;
            (leaf <= highest).then(|| control.cpuid[index])
        };

        let brand = (0x8000_0002..=0x8000_0004).filter_map(|number| leaf(number, 0)).flatten();
        self.parts.identity.cpu = host::text_of(&brand.collect::<Vec<u32>>());
        self.parts.capabilities.profile = capabilities::profile_of(leaf).emulated_by_tcg();
        self.parts.capabilities.vmx = capabilities::has_vmx(leaf);
    }

    /// Learns what plain accesses show.
    fn probe(&mut self) -> Result<(), MachineError> {
        let mut prober = Prober::default();
        self.parts.capabilities.implicit_accesses = probe::implicit_accesses(&self.parts.memory);
        // TCG's LLDT checks no base.
        self.parts.capabilities.any_local_table = true;
        self.parts.capabilities.live_page_sizes = true;

        if self.parts.capabilities.profile.features.contains(Features::PKU) {
            // The probe's cases would be left out otherwise.
            self.parts.capabilities.pkru_in_ring_0 = true;
            self.parts.capabilities.pkru_in_ring_0 = prober.pkru_in_ring_0(self)?;
        }

        for mode in PagingMode::ALL {
            let offer = prober.mode(self, mode)?;
            self.parts.capabilities.modes.push(offer);
        }
        self.parts.capabilities.compatibility = prober.compatibility(self)?;
        Ok(())
    }

    /// Gives the guest the next command, which names the structure at an address, and waits for it. It will
    /// hardly be completed before the expected time.
    fn command(&mut self, place: u64, expected: Duration) -> Result<(), MachineError> {
        self.check_interrupter()?;
        self.commands += 1;
        self.parts.memory.store(CONTROL + offset_of!(Control, arena) as u64, place);
        self.parts.memory.store(CONTROL + offset_of!(Control, command) as u64, self.commands);

        self.process.resume()?;
        self.wait_for(self.commands, expected)
    }

    /// Waits until the guest reports a command as completed, which takes at least the expected time.
    fn wait_for(&mut self, command: u64, expected: Duration) -> Result<(), MachineError> {
        /// Number of polls before the host starts to sleep.
        const SPINS: u32 = 2000;
        /// How late a sleeping thread may wake up.
        const LATENESS: Duration = Duration::from_micros(60);
        const PAUSE: Duration = Duration::from_micros(20);
        /// Number of polls from one check of the process and its time to the next.
        const CHECK_INTERVAL: u32 = 100;

        let mut patience: Option<Patience> = None;

        let mut polls = 0;
        if expected > LATENESS {
            std::thread::sleep(expected.saturating_sub(LATENESS));
            polls = SPINS;
        }
        while self.parts.memory.load(COMPLETED) != command {
            polls += 1;
            if polls < SPINS {
                std::hint::spin_loop();
                continue;
            }

            std::thread::sleep(PAUSE);
            if polls % CHECK_INTERVAL == 0 {
                self.check_guest()?;
                self.check_completed(command)?;
                self.check_interrupter()?;
                let (used, now) = (self.process.cpu_time()?, Instant::now());
                let patience = patience.get_or_insert_with(|| Patience::start(LIMIT, used, now));
                if patience.is_over(used, now) {
                    return Err(MachineError::guest(GuestFailure::Hang, None));
                }
            }
        }

        Ok(())
    }

    /// Checks that the guest reports this command as completed, or the one before it.
    fn check_completed(&self, expected: u64) -> Result<(), MachineError> {
        let completed = self.parts.memory.load(COMPLETED);
        if completed == expected || completed == expected.wrapping_sub(1) {
            return Ok(());
        }
        Err(MachineError::guest(GuestFailure::BadCompletion { completed, expected }, None))
    }

    fn check_interrupter(&self) -> Result<(), MachineError> {
        if self.parts.interrupter.is_interrupted() {
            return Err(MachineError::Interrupted);
        }
        Ok(())
    }

    /// Checks that QEMU is running and that the guest has not reported an exception.
    fn check_guest(&mut self) -> Result<(), MachineError> {
        self.process.check_alive()?;

        let panic = self.parts.memory.load(CONTROL + offset_of!(Control, panic) as u64);
        match panic {
            0 => Ok(()),
            _ => Err(MachineError::guest(GuestFailure::of_report(panic), None)),
        }
    }
}

/// The guest's memory for QEMU: low memory, the data memory in two halves, and these halves again
/// at every further place; and the windows of further page tables.
fn regions(files: &SharedFiles, physical_address_bits: u8) -> Vec<RamRegion<'_>> {
    let [low, first, second] = [&files.low, &files.halves[0], &files.halves[1]].map(AsFd::as_fd);
    let half = high::PART_SIZE;
    let mut regions = vec![
        RamRegion { guest_physical: 0, len: DATA_BASE, file: low },
        RamRegion { guest_physical: DATA_BASE, len: half, file: first },
        RamRegion { guest_physical: DATA_BASE + half, len: half, file: second },
    ];

    regions.extend(high::parts(physical_address_bits).map(|(guest_physical, data)| {
        let file = if data == DATA_BASE { first } else { second };
        RamRegion { guest_physical, len: half, file }
    }));
    let windows = TableWindow::within(physical_address_bits).zip(&files.windows);
    regions.extend(windows.map(|(window, file)| RamRegion {
        guest_physical: window.start(),
        len: TableWindow::SIZE,
        file: file.as_fd(),
    }));

    regions
}

impl Machine for QemuMachine {
    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn run(&mut self, command: BatchCommand) -> Result<RunLog, MachineError> {
        let mut stopwatch = Stopwatch::start();
        let before = self.process.cpu_time()?;
        let start = Instant::now();
        self.command(command.arena.base(), self.pace.expected(command.records))?;
        self.pace.note(command.records, start.elapsed());
        let guest = self.process.cpu_time()?.saturating_sub(before);

        let time = RunTime { guest, exit: stopwatch.lap() };
        Ok(RunLog { time, ..RunLog::default() })
    }

    fn serve_request(&mut self) -> Result<(), MachineError> {
        self.command(REQUEST, Duration::ZERO)
    }

    fn rest(&mut self) {
        self.process.suspend();
    }
}
