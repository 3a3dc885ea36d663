//! QEMU's TCG: a processor emulated in software, in a process of its own, on memory that it shares
//! with this one. Commands go through that memory alone: the guest spins until one comes, the host
//! until it is completed. The guest finds the next command there when it completes one, so it does not
//! wait for the host.

mod arguments;
mod pace;
pub mod process;
mod program;
pub mod rom;
pub(crate) mod unnamed_file;

pub use program::{PROGRAM, QemuProgram};

use crate::host;
use crate::image::Image;
use crate::jail::Jail;
use crate::memory::{GuestMemory, SharedFiles};
use crate::patience::Patience;
use crate::probe::{self, Prober};
use crate::virtualization::Virtualization;
use crate::{
    BatchCommand, Capabilities, GuestFailure, Identity, Interrupter, Machine, MachineError, Parts,
    ProvenanceMap, RunLog, RunTime, Stopwatch, capabilities, guest_tables, nested,
};
use crosswalk_case::observation::Provenance;
use crosswalk_guest::high;
use crosswalk_guest::layout::{CONTROL, DATA_BASE};
use crosswalk_guest::mailbox::{COMMANDS_AHEAD, CPUID_LEAVES, Control};
use crosswalk_guest::system::layout::REQUEST;
use crosswalk_guest::table_windows::TableWindow;
use mmu_core::{Features, PagingMode, Profile};
use pace::Pace;
use process::{Options, QemuProcess, RamRegion};
use std::collections::VecDeque;
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long QEMU may compute until the guest has booted or completed a command. A full batch takes some
/// milliseconds.
const LIMIT: Duration = Duration::from_secs(4);

/// How long QEMU may compute for a probe that the guest may not survive: a batch of one case.
const PROBE_LIMIT: Duration = Duration::from_millis(200);

/// The processor that QEMU emulates: by which QEMU, and changes to its most capable one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QemuProcessor {
    /// The name or path of the QEMU; [`PROGRAM`] if not given.
    pub program: Option<PathBuf>,
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
    /// The batches that were started and have not been waited for, oldest first.
    started: VecDeque<StartedBatch>,
    /// When the oldest of them began to run.
    began: Moment,
    /// The processor time that this program spent on starting batches since the last has run.
    starting: Duration,
    pace: Pace,
    /// How long QEMU may compute for a command.
    limit: Duration,
}

/// A batch that was started.
#[derive(Clone, Copy, Debug)]
struct StartedBatch {
    /// The number of its command.
    command: u64,
    /// Number of its records.
    records: usize,
}

/// A moment on the clock, and on that of QEMU's processor time.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    used: Duration,
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
        let mut machine = Self::start(image.clone(), processor, jail, interrupter.clone())?;
        machine.limit = PROBE_LIMIT;
        let survives = Prober::default().reserved_movs(&mut machine)?;
        if survives.is_err() {
            machine = Self::start(image.clone(), processor, jail, interrupter.clone())?;
        }

        machine.limit = LIMIT;
        machine.parts.capabilities.reserved_movs = survives;
        machine.probe()?;
        machine.parts.capabilities.nested_modes =
            nested::probe::modes(&mut machine, move |failed| {
                let capabilities = failed.parts.capabilities.clone();
                *failed = Self::start(image.clone(), processor, jail, interrupter.clone())?;
                failed.parts.capabilities = capabilities;
                Ok(())
            })?;
        Ok(machine)
    }

    /// Starts QEMU and boots the guest.
    fn start(
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
        let program = processor.program.as_deref().unwrap_or(Path::new(PROGRAM));
        let options = Options {
            program,
            phys_bits: Some(bits),
            cpu_flags: &features,
            memory: &regions(&files, bits),
            processors: 1,
        };
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
        let mut machine = Self {
            process,
            parts,
            commands: 0,
            started: VecDeque::new(),
            began: Moment { at: Instant::now(), used: Duration::ZERO },
            starting: Duration::ZERO,
            pace: Pace::default(),
            limit: LIMIT,
        };

        machine.wait_for(0)?;
        probe::check_self_test(&machine.parts.memory)?;
        machine.read_cpuid();
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
        self.parts.capabilities.virtualization = Virtualization::detect(leaf, &control.vmx_msrs);
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

        let saved_rf = prober.saved_rf(self)?;
        self.parts.capabilities.note_saved_rf(saved_rf);
        Ok(())
    }

    /// Gives the guest the next command, which names the structure at an address. Returns its number.
    fn command(&mut self, place: u64) -> u64 {
        self.commands += 1;

        let slot = 8 * Control::place_of(self.commands) as u64;
        self.parts.memory.store(CONTROL + offset_of!(Control, places) as u64 + slot, place);
        self.parts.memory.store(CONTROL + offset_of!(Control, command) as u64, self.commands);
        self.process.resume();
        self.commands
    }

    /// What the clocks say. The processor time of a QEMU that is gone does not matter any more.
    fn now(&self) -> Moment {
        Moment { at: Instant::now(), used: self.process.cpu_time().unwrap_or_default() }
    }

    /// Waits until the guest reports a command as completed.
    fn wait_for(&mut self, command: u64) -> Result<(), MachineError> {
        /// Number of polls before the host starts to sleep, for a command that is soon completed.
        const SPINS: u32 = 2000;
        const PAUSE: Duration = Duration::from_micros(20);
        /// The same while the guest has another command to go on with.
        const LONG_PAUSE: Duration = Duration::from_micros(100);
        /// Number of polls from one check of the process and its time to the next.
        const CHECK_INTERVAL: u32 = 100;

        let mut patience: Option<Patience> = None;

        self.check_interrupter()?;
        let mut polls = if self.is_soon_completed() { 0 } else { SPINS };
        let pause = if command == self.commands { PAUSE } else { LONG_PAUSE };
        std::thread::sleep(self.expected());
        while self.is_before(command) {
            polls += 1;
            if polls < SPINS {
                std::hint::spin_loop();
                continue;
            }

            std::thread::sleep(pause);
            if polls % CHECK_INTERVAL == 0 {
                self.check_guest()?;
                self.check_interrupter()?;
                let (used, now) = (self.process.cpu_time()?, Instant::now());
                let patience =
                    patience.get_or_insert_with(|| Patience::start(self.limit, used, now));
                if patience.is_over(used, now) {
                    return Err(MachineError::guest(GuestFailure::Hang, None));
                }
            }
        }

        self.check_completed(command)
    }

    /// Whether what the guest runs, as far as is known, takes hardly longer than going to sleep.
    fn is_soon_completed(&self) -> bool {
        self.started.front().is_none_or(|oldest| self.pace.expected(oldest.records).is_zero())
    }

    /// Whether the guest has completed the command before this one, and not this one.
    fn is_before(&self, command: u64) -> bool {
        self.parts.memory.load(COMPLETED) == command.wrapping_sub(1)
    }

    /// Checks that the guest reports this command as completed, or one that was given after it.
    fn check_completed(&self, expected: u64) -> Result<(), MachineError> {
        let completed = self.parts.memory.load(COMPLETED);
        if (expected..=self.commands).contains(&completed) {
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

    fn start(&mut self, command: BatchCommand) {
        let mut stopwatch = Stopwatch::start();
        if self.started.is_empty() {
            self.began = self.now();
        }

        let number = self.command(command.arena.base());
        self.started.push_back(StartedBatch { command: number, records: command.records() });
        self.starting += stopwatch.lap();
    }

    fn finish(&mut self) -> Result<RunLog, MachineError> {
        let mut stopwatch = Stopwatch::start();
        let oldest = *self.started.front().expect("a batch was started");
        self.wait_for(oldest.command)?;
        self.started.pop_front();

        // The next has been running since.
        let ended = self.now();
        let began = std::mem::replace(&mut self.began, ended);
        self.pace.note(oldest.records, ended.at.duration_since(began.at));
        let time = RunTime {
            guest: ended.used.saturating_sub(began.used),
            exit: std::mem::take(&mut self.starting) + stopwatch.lap(),
        };
        Ok(RunLog { time, ..RunLog::default() })
    }

    fn batches_ahead(&self) -> usize {
        COMMANDS_AHEAD - 1
    }

    fn expected(&self) -> Duration {
        /// How late a sleeping thread may wake up.
        const LATENESS: Duration = Duration::from_micros(60);

        let records = self.started.front().map_or(0, |oldest| oldest.records);
        let passed = self.began.at.elapsed() + LATENESS;
        self.pace.expected(records).saturating_sub(passed)
    }

    fn serve_request(&mut self) -> Result<(), MachineError> {
        let number = self.command(REQUEST);
        self.wait_for(number)
    }

    fn rest(&mut self) {
        self.process.suspend();
    }
}
