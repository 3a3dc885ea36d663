//! The KVM of this host. What it can do comes from its CPUID and from probes, never from a guess
//! about its kind.

mod probe;
mod stats;
mod vm;
mod watchdog;

use super::host::{self, Flavour};
use super::image::Image;
use super::memory::GuestMemory;
use super::{BatchCommand, Capabilities, Identity, Machine, MachineError, Parts, RunLog};
use crosswalk_guest::layout::{Arena, CONTROL};
use crosswalk_guest::mailbox::Control;
use crosswalk_guest::system::layout::REQUEST;
use kvm_bindings::{CpuId, KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Cap, Kvm};
use mmu_core::Profile;
use vm::Vm;

/// KVM, with one virtual machine.
#[derive(Debug)]
pub struct KvmMachine {
    kvm: Kvm,
    vm: Vm,
    cpuid: CpuId,
    parts: Parts,
    /// Batches run so far: the guest starts on one when its number changes.
    batches: u64,
    /// Accesses so far that did not end.
    hangs: u64,
}

impl KvmMachine {
    /// Opens KVM, boots the guest, and probes what it can do and who decides.
    ///
    /// # Errors
    /// [`MachineError::Unavailable`] when there is no KVM or it may not be opened; others when it
    /// or the image does not work.
    pub fn open(image: Image) -> Result<Self, MachineError> {
        let kvm = Kvm::new().map_err(unavailable)?;
        if kvm.get_api_version() != KVM_API_VERSION as i32 {
            let why =
                "/dev/kvm is no KVM that this program knows: a Linux of 2007 or later has one";
            return Err(MachineError::Unavailable(why.into()));
        }
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(vm::host("KVM_GET_SUPPORTED_CPUID"))?;
        let profile = profile_of(&cpuid);
        let vmx = super::has_vmx(|leaf, subleaf| leaf_of(&cpuid, leaf, subleaf));
        let read_only_tables = if kvm.check_extension(Cap::ReadonlyMem) {
            Ok(())
        } else {
            Err("KVM_CAP_READONLY_MEM is 0: no read-only memory for tables".into())
        };
        let flavour = Flavour::detect();
        let identity = Identity {
            kind: "kvm".into(),
            flavour: flavour.name().into(),
            beneath: host::beneath(),
            cpu: host::cpu_name(),
            host_kernel: host::kernel(),
            version: None,
        };
        let memory = GuestMemory::new()
            .map_err(|source| MachineError::Host { doing: "mapping guest memory", source })?;
        let vm = Vm::start(&kvm, &memory, &image, &cpuid, profile)?;
        let mut machine = Self {
            kvm,
            vm,
            cpuid,
            parts: Parts {
                identity,
                capabilities: Capabilities {
                    sees_outside: true,
                    vmx,
                    read_only_tables,
                    ..Capabilities::unprobed(profile)
                },
                provenance: probe::unprobed_provenance(),
                memory,
                image,
            },
            batches: 0,
            hangs: 0,
        };
        probe::probe(&mut machine, flavour)?;
        Ok(machine)
    }

    /// Runs a batch that lies ready. An access that never ends is given up, unless they are so many
    /// that it must be the guest: a KVM that shadows page tables can fault on one for ever.
    fn run_to_doorbell(&mut self, arena: Arena) -> Result<RunLog, MachineError> {
        let result = self.vm.run_to_doorbell(&self.parts.memory, Some(arena));
        match result {
            Err(MachineError::GuestFailed { what, at: Some(at), .. })
                if what == super::HANGS && self.hangs < 2 + self.batches / 50 =>
            {
                self.hangs += 1;
                Ok(RunLog { gave_up: Some((at, format!("the guest {what}"))), ..RunLog::default() })
            }
            other => other,
        }
    }

    /// Names what lies at this address to the guest, under the next number.
    fn command(&mut self, place: u64) {
        self.batches += 1;
        let mut control: Control = self.parts.memory.read_value(CONTROL);
        (control.arena, control.command) = (place, self.batches);
        self.parts.memory.write_value(CONTROL, &control);
    }

    /// Checks that the guest says it has done what was asked for.
    fn check_completed(&self) -> Result<(), MachineError> {
        let completed = self.parts.memory.read_value::<Control>(CONTROL).completed;
        if completed != self.batches {
            let what = format!(
                "wrote nonsense into the mailbox: it says that batch {completed} is done, and \
                 batch {} was asked for",
                self.batches
            );
            return Err(MachineError::guest(what, None));
        }
        Ok(())
    }

    /// A new virtual machine on the same memory, after the old one became useless.
    fn start_anew(&mut self) -> Result<(), MachineError> {
        let profile = self.parts.capabilities.profile;
        self.vm =
            Vm::start(&self.kvm, &self.parts.memory, &self.parts.image, &self.cpuid, profile)?;
        Ok(())
    }
}

impl Machine for KvmMachine {
    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn run(&mut self, command: BatchCommand) -> Result<RunLog, MachineError> {
        if command.fills_read_only {
            self.vm.renew_read_only()?;
        }
        if let Some(state) = &command.control {
            self.vm.force_control(state)?;
        }
        self.command(command.arena.base());
        let log = self.run_to_doorbell(command.arena)?;
        if log.gave_up.is_some() {
            self.start_anew()?;
            return Ok(log);
        }
        self.check_completed()?;
        Ok(log)
    }

    fn serve_request(&mut self) -> Result<(), MachineError> {
        self.command(REQUEST);
        self.vm.run_to_doorbell(&self.parts.memory, None)?;
        self.check_completed()
    }
}

/// What is missing, and what to do about it.
fn unavailable(error: kvm_ioctls::Error) -> MachineError {
    MachineError::Unavailable(match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => {
            "there is no /dev/kvm on this host: load the module kvm_intel or kvm_amd, or switch on \
             virtualization in the firmware or nested virtualization in the hypervisor"
                .into()
        }
        libc::EACCES | libc::EPERM => {
            "/dev/kvm may not be opened by this user: join the group kvm, or run as root".into()
        }
        _ => format!("/dev/kvm cannot be opened: {error}"),
    })
}

/// The processor that the guest sees, from the CPUID that KVM supports.
fn profile_of(cpuid: &CpuId) -> Profile {
    Profile::from_cpuid(|leaf, subleaf| leaf_of(cpuid, leaf, subleaf))
}

/// What CPUID says of a leaf and subleaf.
fn leaf_of(cpuid: &CpuId, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
    let mut entries = cpuid.as_slice().iter();
    let found = entries.find(|entry| entry.function == leaf && entry.index == subleaf)?;
    Some([found.eax, found.ebx, found.ecx, found.edx])
}
