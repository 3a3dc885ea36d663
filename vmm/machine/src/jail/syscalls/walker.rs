//! The system calls that a walker may not make. A walker is any program, in any language, so the list is
//! that of the refused ones.

use super::{REFUSED, Rules, UNKNOWN, all_but, any, bits, is};
use seccompiler::BpfProgram;
use std::io;

/// Sockets reach past the network: to other programs of this host, through files.
/// (`socketpair` reaches nobody, and an adapter uses it.)
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
    FCHMODAT2,
];

/// Since Linux 6.6.
const FCHMODAT2: i64 = 452;

/// Other processes, and other views of the system.
const PROCESSES: &[i64] = &[
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_setns,
    libc::SYS_unshare,
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

    // Input for the terminal that standard error may be.
    let terminal = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| is(1, request as u32));
    refused.insert(libc::SYS_ioctl, terminal.into_iter().collect::<io::Result<_>>()?);

    let unknown = any(OTHER_WAYS);
    Ok(vec![all_but(with_x32(refused), REFUSED)?, all_but(with_x32(unknown), UNKNOWN)?])
}

/// The same rules for the calls of x32, most of which have the same numbers.
fn with_x32(rules: Rules) -> Rules {
    let of_x32: Rules = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
    rules.into_iter().chain(of_x32).collect()
}
