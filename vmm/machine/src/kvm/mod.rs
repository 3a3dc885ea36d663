//! The KVM of this host. Its capabilities come from its CPUID and from probes, never from
//! assumptions about its flavour.

mod pause;
mod pauser;
mod probe;
mod run;
mod slots;
mod stats;
mod thread;
mod vm;
mod watchdog;

pub use pause::{PauseError, PausedAt, PausedVcpu, VcpuRegisters};
pub use pauser::Pauser;
pub use slots::GuestRange;
pub(crate) use thread::VcpuGuard;

use crate::host::{self, Flavour};
use crate::image::Image;
use crate::jail::Jail;
use crate::memory::GuestMemory;
use crate::virtualization::Virtualization;
use crate::{
    BatchCommand, Capabilities, GuestFailure, Identity, Interrupter, Machine, MachineError, Parts,
    ProvenanceMap, RunLog, Stopwatch, capabilities,
};
use crosswalk_case::observation::Provenance;
use crosswalk_guest::layout::{Arena, CONTROL};
use crosswalk_guest::mailbox::Control;
use crosswalk_guest::system::layout::REQUEST;
use kvm_bindings::{CpuId, KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Cap, Kvm};
use pause::PausePoint;
use std::sync::Arc;
use thread::VcpuThread;
use vm::Vm;

/// KVM, with one virtual machine.
#[derive(Debug)]
pub struct KvmMachine {
    kvm: Arc<Kvm>,
    vcpu: VcpuThread,
    cpuid: CpuId,
    parts: Parts,
    /// The number of the last command since the virtual machine was started.
    command: u64,
    /// Number of commands to all of them.
    commands: u64,
    /// Number of accesses so far that did not end.
    hangs: u64,
    /// Where its vCPU can be paused.
    pause: PausePoint,
    /// The batch that was started.
    started: Option<BatchCommand>,
}

impl KvmMachine {
    /// Opens KVM, boots the guest in a jail, and probes what it can do and who decides its results.
    ///
    /// # Errors
    /// [`MachineError::Unavailable`] if this host has no KVM or this user may not open it; another
    /// error if KVM, the image or the jail does not work.
    pub fn open(image: Image, jail: &Jail) -> Result<Self, MachineError> {
        Self::open_with(image, jail, Interrupter::default())
    }

    /// Like [`Self::open`], with an interrupter that ends the opening as well.
    ///
    /// # Errors
    /// As those of `open`, and [`MachineError::Interrupted`].
    pub fn open_with(
        image: Image,
        jail: &Jail,
        interrupter: Interrupter,
    ) -> Result<Self, MachineError> {
        Self::open_narrowed(image, None, jail, interrupter)
    }

    /// Like [`Self::open_with`], with a guest whose MAXPHYADDR is this one, in bits, or that of the KVM.
    ///
    /// # Errors
    /// As those of `open_with`, and [`MachineError::Unavailable`] if the KVM has no such guest: its own is narrower, or
    /// a probe shows that it does not enforce this one (NEST-4).
    pub fn open_narrowed(
        image: Image,
        physical_address_bits: Option<u8>,
        jail: &Jail,
        interrupter: Interrupter,
    ) -> Result<Self, MachineError> {
        let kvm = Kvm::new().map_err(unavailable)?;
        let version = kvm.get_api_version();
        if version != KVM_API_VERSION as i32 {
            return Err(MachineError::Unavailable(format!(
                "/dev/kvm is not a KVM that this program knows: its API version is {version}, and \
                 that of every Linux since 2007 is {KVM_API_VERSION}"
            )));
        }

        let mut cpuid = supported_cpuid(&kvm)?;
        if let Some(bits) = physical_address_bits {
            narrow(&mut cpuid, bits)?;
        }
        let profile = capabilities::profile_of(|leaf, subleaf| leaf_of(&cpuid, leaf, subleaf));

        let flavour = Flavour::detect();
        let identity = Identity {
            kind: "kvm".into(),
            flavour: flavour.name().into(),
            beneath: host::beneath(),
            cpu: host::cpu_name(),
            host_kernel: host::kernel(),
            version: None,
        };
        let capabilities = Capabilities {
            sees_outside: true,
            vmx: capabilities::has_vmx(|leaf, subleaf| leaf_of(&cpuid, leaf, subleaf)),
            read_only_tables: read_only_tables(&kvm),
            ..Capabilities::unprobed(profile)
        };

        let memory = GuestMemory::new().map_err(MachineError::host("mapping guest memory"))?;
        let vcpu = VcpuThread::start(jail)?;
        // The weakest claim, until a probe shows more. It stays for `load`: changing CR0.PG leaves
        // the guest under every KVM, and KVM itself loads the PDPTEs.
        let provenance = ProvenanceMap::all(Provenance::KvmEmulator);

        let jail = jail.report_vcpu();
        let parts = Parts { identity, capabilities, provenance, memory, image, interrupter, jail };
        let kvm = Arc::new(kvm);
        let mut machine = Self {
            kvm,
            vcpu,
            cpuid,
            parts,
            command: 0,
            commands: 0,
            hangs: 0,
            pause: PausePoint::default(),
            started: None,
        };
        machine.restart()?;
        machine.note_virtualization();
        probe::probe(&mut machine, flavour)?;
        if physical_address_bits.is_some() {
            probe::check_width(&mut machine, flavour)?;
        }
        Ok(machine)
    }

    /// Learns with what the guest can run guests of its own.
    fn note_virtualization(&mut self) {
        let control: Control = self.parts.memory.read_value(CONTROL);
        let leaf = |leaf, subleaf| leaf_of(&self.cpuid, leaf, subleaf);
        let found = Virtualization::detect(leaf, &control.vmx_msrs);
        self.parts.capabilities.virtualization = found;
    }

    /// Runs the batch in an arena after its command has been given.
    ///
    /// An access that never ends is given up, since a KVM that shadows page tables can fault on one
    /// indefinitely. If half of the commands end like that, the guest is to blame.
    fn run_batch(&mut self, arena: Arena) -> Result<RunLog, MachineError> {
        match self.run_to_doorbell(Some(arena)) {
            Err(MachineError::GuestFailed {
                failure: failure @ GuestFailure::Hang,
                at: Some(at),
                ..
            }) if self.hangs < 8 + self.commands / 2 => {
                self.hangs += 1;
                let why = format!("the guest {failure}");
                Ok(RunLog { gave_up: Some((at, why)), ..RunLog::default() })
            }
            other => other,
        }
    }

    /// Runs the guest to its next doorbell. `arena` is the arena of the batch, if a batch is running.
    fn run_to_doorbell(&self, arena: Option<Arena>) -> Result<RunLog, MachineError> {
        let memory = self.parts.memory.clone();
        let interrupter = self.parts.interrupter.clone();
        let pause = self.pause.clone();
        self.vcpu.run(move |vm| vm.run_to_doorbell(&memory, &interrupter, arena, &pause))
    }

    /// Gives the guest the next command, which names the structure at an address.
    fn command(&mut self, place: u64) {
        self.command += 1;
        self.commands += 1;

        let mut control: Control = self.parts.memory.read_value(CONTROL);
        control.places[Control::place_of(self.command)] = place;
        control.command = self.command;
        self.parts.memory.write_value(CONTROL, &control);
    }

    /// Checks that the guest reports the last command as completed.
    fn check_completed(&self) -> Result<(), MachineError> {
        let expected = self.command;
        let completed = self.parts.memory.read_value::<Control>(CONTROL).completed;

        if completed == expected {
            Ok(())
        } else {
            Err(MachineError::guest(GuestFailure::BadCompletion { completed, expected }, None))
        }
    }

    /// Replaces the virtual machine, which can no longer be used, by a new one on the same memory.
    fn restart(&mut self) -> Result<(), MachineError> {
        self.command = 0;

        let Parts { memory, image, capabilities, .. } = &self.parts;
        let kvm = self.kvm.clone();
        let memory = memory.clone();
        let image = image.clone();
        let cpuid = self.cpuid.clone();
        let profile = capabilities.profile;

        self.vcpu.replace(move || Vm::start(&kvm, &memory, &image, &cpuid, profile))
    }
}

impl Machine for KvmMachine {
    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn start(&mut self, command: BatchCommand) {
        self.started = Some(command);
    }

    /// The guest runs only as long as this waits.
    fn finish(&mut self) -> Result<RunLog, MachineError> {
        let command = self.started.take().expect("a batch was started");
        let mut stopwatch = Stopwatch::start();

        if command.fills_read_only {
            self.vcpu.run(|vm| vm.renew_read_only())?;
        }
        if let Some(state) = command.control {
            self.vcpu.run(move |vm| vm.force_control(&state))?;
        }

        self.command(command.arena.base());
        self.pause.batch_begins();
        let mut log = self.run_batch(command.arena)?;

        if log.gave_up.is_some() {
            self.restart()?;
        } else {
            self.check_completed()?;
        }

        log.time.exit += stopwatch.lap();
        Ok(log)
    }

    fn recover(&mut self, failure: MachineError) -> Result<(), MachineError> {
        match failure {
            MachineError::GuestFailed { .. } => self.restart(),
            other => Err(other),
        }
    }

    fn pauser(&self) -> Option<Pauser> {
        let Parts { memory, capabilities, .. } = &self.parts;
        let ranges = slots::ranges(memory, capabilities.profile.physical_address_bits);
        Some(Pauser::new(self.pause.clone(), &self.vcpu, ranges.collect()))
    }

    fn serve_request(&mut self) -> Result<(), MachineError> {
        self.command(REQUEST);
        self.run_to_doorbell(None)?;
        self.check_completed()
    }
}

/// The reason why KVM cannot be opened, and what to do about it.
pub(crate) fn unavailable(error: kvm_ioctls::Error) -> MachineError {
    MachineError::Unavailable(match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => {
            "there is no /dev/kvm on this host: load the module kvm_intel or kvm_amd, or enable \
             virtualization in the firmware or nested virtualization in the hypervisor"
                .into()
        }
        libc::EACCES | libc::EPERM => {
            "/dev/kvm may not be opened by this user: join the group kvm, or run as root".into()
        }
        _ => format!("/dev/kvm cannot be opened: {error}"),
    })
}

/// The CPUID that this KVM gives its guests.
pub(crate) fn supported_cpuid(kvm: &Kvm) -> Result<CpuId, MachineError> {
    kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(MachineError::host("KVM_GET_SUPPORTED_CPUID"))
}

/// Whether KVM has memory that the guest can only read.
fn read_only_tables(kvm: &Kvm) -> Result<(), String> {
    if kvm.check_extension(Cap::ReadonlyMem) {
        Ok(())
    } else {
        Err("KVM_CAP_READONLY_MEM is 0: no read-only memory for tables".into())
    }
}

/// EAX, EBX, ECX and EDX of a leaf and subleaf.
/// Sets MAXPHYADDR in a CPUID: leaf 80000008h, EAX\[7:0\].
fn narrow(cpuid: &mut CpuId, bits: u8) -> Result<(), MachineError> {
    let mut entries = cpuid.as_mut_slice().iter_mut();
    let widths = entries.find(|entry| entry.function == 0x8000_0008).ok_or_else(|| {
        MachineError::Unavailable("this KVM's CPUID has no leaf for MAXPHYADDR".into())
    })?;

    let own = widths.eax as u8;
    if bits > own {
        let problem = format!("this KVM's guests have a MAXPHYADDR of at most {own}, not {bits}");
        return Err(MachineError::Unavailable(problem));
    }
    widths.eax = widths.eax & !0xff | u32::from(bits);
    Ok(())
}

fn leaf_of(cpuid: &CpuId, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
    let mut entries = cpuid.as_slice().iter();
    let found = entries.find(|entry| entry.function == leaf && entry.index == subleaf)?;
    Some([found.eax, found.ebx, found.ecx, found.edx])
}
