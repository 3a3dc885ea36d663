//! The system calls of a thread that runs a vCPU.

use super::{any, bits, is, only};
use kvm_bindings::{kvm_cpuid2, kvm_regs, kvm_sregs, kvm_userspace_memory_region};
use seccompiler::BpfProgram;
use std::io;
use vmm_sys_util::{ioctl_io_nr, ioctl_ior_nr, ioctl_iow_nr};

/// What the thread does: it runs the vCPU with a timer beside it, reads clocks, allocates memory, and
/// waits for work.
const CALLS: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_pread64,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_settime,
];

ioctl_io_nr!(KVM_CREATE_VM, kvm_bindings::KVMIO, 0x01);
ioctl_io_nr!(KVM_CHECK_EXTENSION, kvm_bindings::KVMIO, 0x03);
ioctl_io_nr!(KVM_GET_VCPU_MMAP_SIZE, kvm_bindings::KVMIO, 0x04);
ioctl_io_nr!(KVM_CREATE_VCPU, kvm_bindings::KVMIO, 0x41);
ioctl_iow_nr!(KVM_SET_USER_MEMORY_REGION, kvm_bindings::KVMIO, 0x46, kvm_userspace_memory_region);
ioctl_io_nr!(KVM_SET_TSS_ADDR, kvm_bindings::KVMIO, 0x47);
ioctl_io_nr!(KVM_RUN, kvm_bindings::KVMIO, 0x80);
ioctl_ior_nr!(KVM_GET_REGS, kvm_bindings::KVMIO, 0x81, kvm_regs);
ioctl_iow_nr!(KVM_SET_REGS, kvm_bindings::KVMIO, 0x82, kvm_regs);
ioctl_ior_nr!(KVM_GET_SREGS, kvm_bindings::KVMIO, 0x83, kvm_sregs);
ioctl_iow_nr!(KVM_SET_SREGS, kvm_bindings::KVMIO, 0x84, kvm_sregs);
ioctl_iow_nr!(KVM_SET_CPUID2, kvm_bindings::KVMIO, 0x90, kvm_cpuid2);
ioctl_io_nr!(KVM_GET_STATS_FD, kvm_bindings::KVMIO, 0xce);

/// The filters of the calling thread, which runs a vCPU.
pub(in crate::jail) fn vcpu() -> io::Result<Vec<BpfProgram>> {
    let mut allowed = any(CALLS);

    let requests = [
        KVM_RUN(),
        KVM_GET_REGS(),
        KVM_SET_REGS(),
        KVM_GET_SREGS(),
        KVM_SET_SREGS(),
        KVM_SET_USER_MEMORY_REGION(),
        KVM_CREATE_VM(),
        KVM_CREATE_VCPU(),
        KVM_CHECK_EXTENSION(),
        KVM_GET_VCPU_MMAP_SIZE(),
        KVM_SET_TSS_ADDR(),
        KVM_SET_CPUID2(),
        KVM_GET_STATS_FD(),
    ];
    let requests = requests.map(|request| is(1, request as u32));
    allowed.insert(libc::SYS_ioctl, requests.into_iter().collect::<io::Result<_>>()?);

    // Memory, but no code.
    let without_execution = bits(2, libc::PROT_EXEC as u64, 0)?;
    allowed.insert(libc::SYS_mmap, vec![without_execution.clone()]);
    allowed.insert(libc::SYS_mprotect, vec![without_execution]);

    // The words of a panic, and the end of the whole program.
    allowed.insert(libc::SYS_write, vec![is(0, libc::STDERR_FILENO as u32)?]);
    allowed.insert(libc::SYS_tgkill, vec![is(0, std::process::id())?]);
    // The standard library looks at a descriptor before it closes it.
    allowed.insert(libc::SYS_fcntl, vec![is(1, libc::F_GETFD as u32)?]);

    Ok(vec![only(allowed)?])
}
