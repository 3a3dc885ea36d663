//! The system calls that a walker may not make. A walker is any program, in any language, so the list is
//! that of the refused ones.

use super::{REFUSED, Rules, UNKNOWN, all_but, any, bits, is, is_not};
use seccompiler::BpfProgram;
use std::io;

/// Sockets reach past the network: to other programs of this host, through files.
const NETWORK: &[i64] = &[libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen];

/// Changes of files that Landlock does not know.
const FILES: &[i64] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_lchown,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_removexattr,
    libc::SYS_setxattr,
    libc::SYS_utime,
    libc::SYS_utimensat,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    FCHMODAT2,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    // A lock that stays behind stops others.
    libc::SYS_flock,
];

/// Since Linux 6.6, 6.13, 6.13 and 6.17.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const FILE_SETATTR: i64 = 469;

/// Requests of fcntl that lock a file, or make those wait who open it.
const LOCKS: [libc::c_int; 5] =
    [libc::F_SETLK, libc::F_SETLKW, libc::F_OFD_SETLK, libc::F_OFD_SETLKW, libc::F_SETLEASE];

/// Requests that type into a terminal, take it over, or change it; and those that change the attributes of a
/// file.
const REQUESTS: [libc::c_ulong; 16] = [
    libc::TIOCSTI,
    libc::TIOCLINUX,
    libc::TIOCSPGRP,
    libc::TIOCSCTTY,
    libc::TIOCNOTTY,
    libc::TIOCSWINSZ,
    libc::TIOCSETD,
    libc::TIOCEXCL,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TCSETS2,
    libc::TCSETSW2,
    libc::TCSETSF2,
    libc::FS_IOC_SETFLAGS,
    FS_IOC_FSSETXATTR,
];
const FS_IOC_FSSETXATTR: libc::c_ulong = 0x401c_5820;

/// Other processes, and other views of the system.
const PROCESSES: &[i64] = &[
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_setns,
    // What leaves the group of the walker would not end with it.
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_unshare,
];

/// Calls about a process, which the argument names: 0 is the caller.
const ABOUT_A_PROCESS: [(i64, u8); 7] = [
    (libc::SYS_prlimit64, 0),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
];

/// The system itself, and parts of the kernel that a walker has no use for.
const SYSTEM: &[i64] = &[
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
];

/// Calls whose programs fall back to others: rings make calls that no filter sees, and `clone3` has its
/// flags in memory.
const OTHER_WAYS: &[i64] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
];

/// The bit in the numbers of the calls of x32, which a kernel may offer beside the usual ones.
const X32: i64 = 0x4000_0000;

/// The filters of a walker.
pub(in crate::jail) fn walker() -> io::Result<Vec<BpfProgram>> {
    let mut refused: Rules =
        [NETWORK, FILES, PROCESSES, SYSTEM].into_iter().flat_map(any).collect();

    // No process in namespaces of its own, where it would have privileges.
    let namespaces = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    let namespaces = namespaces.map(|flag| bits(0, flag as u64, flag as u64));
    refused.insert(libc::SYS_clone, namespaces.into_iter().collect::<io::Result<_>>()?);

    // A pair of sockets that may name others as receivers; a stream reaches nobody but its end.
    let datagrams = [libc::SOCK_DGRAM, libc::SOCK_RAW].map(|kind| bits(1, 0xf, kind as u64));
    let pairs = datagrams.into_iter().chain([is_not(0, libc::AF_UNIX as u32)]);
    refused.insert(libc::SYS_socketpair, pairs.collect::<io::Result<_>>()?);

    for (call, process) in ABOUT_A_PROCESS {
        refused.insert(call, vec![is_not(process, 0)?]);
    }
    let requests = REQUESTS.map(|request| is(1, request as u32));
    refused.insert(libc::SYS_ioctl, requests.into_iter().collect::<io::Result<_>>()?);
    let locks = LOCKS.map(|request| is(1, request as u32));
    refused.insert(libc::SYS_fcntl, locks.into_iter().collect::<io::Result<_>>()?);

    let unknown = any(OTHER_WAYS);
    Ok(vec![all_but(with_x32(refused), REFUSED)?, all_but(with_x32(unknown), UNKNOWN)?])
}

/// The same rules for the calls of x32, most of which have the same numbers.
fn with_x32(rules: Rules) -> Rules {
    let of_x32: Rules = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
    rules.into_iter().chain(of_x32).collect()
}
