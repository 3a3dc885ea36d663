//! Litmus tests on KVM: a virtual machine with a vCPU for each processor, each in a thread of its own that is pinned
//! to a processor of the host.

use super::image;
use super::kernel::{Kernel, entry_frame};
use super::layout::{
    CODE_0, CONTROL, DATA_0, FINISHED_PORT, GDT, IDT, MEMORY_SIZE, TASK_SIZE, TASKS, WINDOW_0,
    barrier, finished, task_selector,
};
use super::program::has_interrupts;
use super::{LitmusPlan, OutcomeCounts, counts};
use crate::jail::Jail;
use crate::kvm::{VcpuGuard, supported_cpuid};
use crate::{GuestFailure, MachineError};
use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, kvm_dtable, kvm_mp_state, kvm_segment, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use mmu_core::litmus::LitmusTest;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// The most that counts between two looks at the clock. The watchdog interrupts far more often, so whatever is longer
/// was spent stopped, or waiting for a processor.
const MAX_GAP: Duration = Duration::from_millis(250);

/// The KVM of this host, which runs each test in a virtual machine of its own.
///
/// Linux edits its own code when the first vCPU of all is made and when the last one is gone, and another kind of
/// vCPU has switches of its own. A QEMU beneath this host may run the old code for ever after (finding T26 of TCG),
/// so that the whole host hangs: the more often it is edited, the likelier. Two vCPUs that never run are therefore
/// kept as long as this is.
#[derive(Debug)]
pub struct LitmusKvm {
    kvm: Kvm,
    _kept: [(VmFd, VcpuFd); 2],
}

impl LitmusKvm {
    /// Opens `/dev/kvm`.
    ///
    /// # Errors
    /// If there is no KVM, or it does not make a vCPU.
    pub fn open() -> Result<Self, MachineError> {
        let kvm = Kvm::new().map_err(crate::kvm::unavailable)?;
        let kept = [keep(&kvm, false)?, keep(&kvm, true)?];
        Ok(Self { kvm, _kept: kept })
    }

    /// Runs a test.
    ///
    /// # Errors
    /// If a vCPU hangs or ends otherwise than it should, or the host fails.
    pub fn run(
        &self,
        test: &LitmusTest,
        plan: &LitmusPlan,
        jail: &Jail,
    ) -> Result<OutcomeCounts, MachineError> {
        run_on_kvm(&self.kvm, test, plan, jail)
    }
}

/// Makes a vCPU that never runs, with an APIC in the kernel or without.
fn keep(kvm: &Kvm, has_interrupts: bool) -> Result<(VmFd, VcpuFd), MachineError> {
    let vm = kvm.create_vm().map_err(MachineError::host("KVM_CREATE_VM"))?;
    if has_interrupts {
        vm.create_irq_chip().map_err(MachineError::host("KVM_CREATE_IRQCHIP"))?;
    }
    let vcpu = vm.create_vcpu(0).map_err(MachineError::host("KVM_CREATE_VCPU"))?;
    Ok((vm, vcpu))
}

fn run_on_kvm(
    kvm: &Kvm,
    test: &LitmusTest,
    plan: &LitmusPlan,
    jail: &Jail,
) -> Result<OutcomeCounts, MachineError> {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE as usize)]).map_err(
        |error| MachineError::host("mapping guest memory")(std::io::Error::other(error)),
    )?;
    let iterations = plan.iterations();
    let kernel = image::load(&memory, test, iterations, &plan.delays);

    let vm = kvm.create_vm().map_err(MachineError::host("KVM_CREATE_VM"))?;
    map(&vm, &memory)?;
    let has_interrupts = has_interrupts(test);
    if has_interrupts {
        vm.create_irq_chip().map_err(MachineError::host("KVM_CREATE_IRQCHIP"))?;
    }
    let cpuid = supported_cpuid(kvm)?;
    let vcpus = (0..test.programs.len())
        .map(|number| {
            let vcpu =
                vm.create_vcpu(number as u64).map_err(MachineError::host("KVM_CREATE_VCPU"))?;
            vcpu.set_cpuid2(&cpuid).map_err(MachineError::host("KVM_SET_CPUID2"))?;
            enter(&vcpu, test, &kernel, number)?;
            if has_interrupts {
                // Without an APIC in the kernel every vCPU runs from the beginning.
                let mp_state = kvm_mp_state { mp_state: KVM_MP_STATE_RUNNABLE };
                vcpu.set_mp_state(mp_state).map_err(MachineError::host("KVM_SET_MP_STATE"))?;
            }
            Ok(vcpu)
        })
        .collect::<Result<Vec<_>, MachineError>>()?;

    run_all(vcpus, &memory, jail, plan.patience)?;
    counts(&memory, test, iterations)
}

/// Gives the virtual machine its memory.
fn map(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), MachineError> {
    let host_address = memory.get_host_address(GuestAddress(0)).map_err(|error| {
        MachineError::host("mapping guest memory")(std::io::Error::other(error))
    })?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY_SIZE,
        userspace_addr: host_address as u64,
    };
    // SAFETY: the region is all of `memory`, which `run_on_kvm` keeps mapped until the virtual machine is gone.
    unsafe { vm.set_user_memory_region(region) }
        .map_err(MachineError::host("KVM_SET_USER_MEMORY_REGION"))
}

/// The first instruction is IRETQ to the program.
fn enter(
    vcpu: &VcpuFd,
    test: &LitmusTest,
    kernel: &Kernel,
    number: usize,
) -> Result<(), MachineError> {
    let data = kvm_segment {
        limit: 0xffff_ffff,
        selector: DATA_0,
        type_: 3,
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        ..Default::default()
    };
    let code = kvm_segment { selector: CODE_0, type_: 11, db: 0, l: 1, ..data };
    let task = kvm_segment {
        base: WINDOW_0 + TASKS + TASK_SIZE * number as u64,
        limit: 0x67,
        selector: task_selector(number),
        type_: 11,
        present: 1,
        ..Default::default()
    };

    let mut sregs = vcpu.get_sregs().map_err(MachineError::host("KVM_GET_SREGS"))?;
    sregs.cs = code;
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
        *segment = data;
    }
    sregs.tr = task;
    sregs.gdt = kvm_dtable { base: WINDOW_0 + GDT, limit: 0x47, ..Default::default() };
    sregs.idt = kvm_dtable { base: WINDOW_0 + IDT, limit: 0x41f, ..Default::default() };
    sregs.cr0 = test.state.cr0.bits();
    sregs.cr3 = test.state.cr3;
    sregs.cr4 = test.state.cr4.bits();
    sregs.efer = test.state.efer.bits();
    vcpu.set_sregs(&sregs).map_err(MachineError::host("KVM_SET_SREGS"))?;

    let mut regs = vcpu.get_regs().map_err(MachineError::host("KVM_GET_REGS"))?;
    regs.rip = kernel.enter;
    regs.rsp = entry_frame(number);
    regs.rflags = 2;
    vcpu.set_regs(&regs).map_err(MachineError::host("KVM_SET_REGS"))
}

/// Runs every vCPU until it has finished.
fn run_all(
    vcpus: Vec<VcpuFd>,
    memory: &GuestMemoryMmap,
    jail: &Jail,
    patience: Duration,
) -> Result<(), MachineError> {
    let given_up = AtomicBool::new(false);
    let own =
        sched_getaffinity(Pid::from_raw(0)).map_err(MachineError::host("asking for processors"))?;
    let allowed: Vec<usize> =
        (0..CpuSet::count()).filter(|cpu| own.is_set(*cpu).unwrap_or(false)).collect();

    std::thread::scope(|scope| {
        let threads: Vec<_> = vcpus
            .into_iter()
            .enumerate()
            .map(|(number, vcpu)| {
                let cpu = allowed[number % allowed.len()];
                let given_up = &given_up;
                scope.spawn(move || {
                    let at = GuestAddress(CONTROL + barrier(number));
                    let progress = || memory.read_obj(at).unwrap_or(0);
                    let ended = run(vcpu, cpu, jail, (given_up, patience), progress);
                    if ended.is_err() {
                        given_up.store(true, Ordering::Relaxed);
                    }
                    let done = memory.read_obj::<u8>(GuestAddress(CONTROL + finished(number)));
                    match (ended, done) {
                        (Ok(()), Ok(1)) => Ok(()),
                        (Ok(()), _) => Err(MachineError::guest(GuestFailure::Hang, None)),
                        (Err(error), _) => Err(error),
                    }
                })
            })
            .collect();
        // The first error is the cause of the others.
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(lost())));
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

fn lost() -> MachineError {
    MachineError::host("running a vCPU")(std::io::Error::other("its thread panicked"))
}

/// Runs one vCPU until it has finished.
fn run(
    mut vcpu: VcpuFd,
    cpu: usize,
    jail: &Jail,
    (given_up, patience): (&AtomicBool, Duration),
    progress: impl Fn() -> u64,
) -> Result<(), MachineError> {
    let mut set = CpuSet::new();
    set.set(cpu).map_err(MachineError::host("choosing a processor"))?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(MachineError::host("pinning a vCPU"))?;
    let _guard = VcpuGuard::close(jail)?;

    let mut idle = Duration::ZERO;
    let mut last = (progress(), Instant::now());
    loop {
        let now = (progress(), Instant::now());
        let passed = now.1.duration_since(last.1).min(MAX_GAP);
        idle = if now.0 == last.0 { idle + passed } else { Duration::ZERO };
        last = now;
        if given_up.load(Ordering::Relaxed) || idle > patience {
            return Err(MachineError::guest(GuestFailure::Hang, None));
        }
        match vcpu.run() {
            Ok(VcpuExit::IoOut(port, _)) if port == u16::from(FINISHED_PORT) => return Ok(()),
            Ok(VcpuExit::Intr) => {}
            Err(error) if error.errno() == libc::EINTR || error.errno() == libc::EAGAIN => {}
            Ok(VcpuExit::Shutdown) => {
                return Err(MachineError::guest(GuestFailure::TripleFault, None));
            }
            Ok(other) => {
                let exit = std::io::Error::other(format!("the vCPU stopped with {other:?}"));
                return Err(MachineError::host("running a litmus test")(exit));
            }
            Err(error) => return Err(MachineError::host("KVM_RUN")(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::litmus::{Action, Program};
    use mmu_core::{ControlState, PhysAddr, Profile, Ring};

    #[test]
    fn a_processor_that_hangs_is_an_error() {
        if !std::path::Path::new("/dev/kvm").exists() {
            eprintln!("skipped: no /dev/kvm");
            return;
        }
        // Nobody sets the flag.
        let flag = PhysAddr::new(0x17_0000);
        let waits = Program { actions: vec![Action::WaitFor(flag, 1)], ..Program::default() };
        let tables = [(0x1_0000, 0), (0x17_0000, 0)];
        let test = LitmusTest {
            memory: tables.map(|(at, word)| (PhysAddr::new(at), word)).to_vec(),
            state: ControlState::four_level(0x1_0000),
            profile: Profile::default(),
            ring: Ring::Three,
            programs: vec![waits],
            observed: Vec::new(),
        };
        let patience = Duration::from_millis(300);
        let plan = LitmusPlan { delays: vec![vec![0]], patience };
        let kvm = match LitmusKvm::open() {
            Ok(kvm) => kvm,
            // A KVM that cannot be opened.
            Err(MachineError::Unavailable(why)) => return eprintln!("skipped: {why}"),
            Err(error) => panic!("{error}"),
        };
        match kvm.run(&test, &plan, &Jail::none()) {
            Err(MachineError::GuestFailed { failure: GuestFailure::Hang, .. }) => {}
            other => panic!("expected a hang, found {other:?}"),
        }
    }
}
