//! Namespaces: a network without interfaces, mounts that are all read-only, and IPC of its own. An
//! ordinary user gets them by way of a user namespace, where the host allows one.
//!
//! There is no namespace for process ids. It takes a process between this one and the inmate, and the
//! other parts of the jail keep an inmate from signalling and tracing processes outside.

use super::privileges::last_error;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::fmt;
use std::io;
use std::mem::size_of;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The namespaces that this host lets a process of this user have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Namespaces {
    users: bool,
    read_only: bool,
}

/// The namespaces that are tried, the strongest first.
const TRIED: [Namespaces; 4] = [
    Namespaces { users: true, read_only: true },
    Namespaces { users: true, read_only: false },
    Namespaces { users: false, read_only: true },
    Namespaces { users: false, read_only: false },
];

impl Namespaces {
    /// Tries which namespaces this host offers. Whether a user may have them depends on settings of
    /// several kernels and distributions, so a child process tries.
    pub(super) fn ask() -> Result<Self, String> {
        let mut first = None;
        for namespaces in TRIED {
            match try_in_child(move || namespaces.enter()) {
                Ok(()) => return Ok(namespaces),
                Err(error) => first = first.or(Some(error)),
            }
        }

        let why = first.map_or_else(String::new, |error| match error.raw_os_error() {
            Some(libc::ENOSPC) => "user.max_user_namespaces allows no more".into(),
            _ => error.to_string(),
        });
        Err(format!("this host lets this user have none: {why}"))
    }

    /// Whether it is a user namespace, too.
    pub(super) const fn has_users(self) -> bool {
        self.users
    }

    /// Moves this process, which must have one thread, into new namespaces. It only makes system calls.
    pub(super) fn enter(self) -> io::Result<()> {
        let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
        flags |= CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        flags.set(CloneFlags::CLONE_NEWUSER, self.users);
        unshare(flags)?;

        if self.read_only { make_mounts_read_only() } else { Ok(()) }
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users = if self.users { "users, " } else { "" };
        let mounts = if self.read_only { "mounts (all read-only)" } else { "mounts" };
        write!(f, "{users}network, {mounts}, IPC and UTS of its own")
    }
}

/// Runs a test in a child process, which then ends.
fn try_in_child(test: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> io::Result<()> {
    /// What the child reports if the test passes, since an error is all that it can report. No system
    /// call of a test fails in this way.
    const PASSED: Errno = Errno::ECANCELED;

    let mut command = Command::new("the child runs no program");
    // SAFETY: the tests only make system calls, which is all that is allowed between fork and exec.
    unsafe { command.pre_exec(move || test().and(Err(PASSED.into()))) };

    match command.spawn() {
        Err(error) if error.raw_os_error() == Some(PASSED as i32) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("the child went on")),
    }
}

/// Makes all mounts of this mount namespace read-only. Devices can still be written to.
fn make_mounts_read_only() -> io::Result<()> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    let attributes =
        libc::mount_attr { attr_set: MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };

    // SAFETY: the path ends with a zero, and the kernel reads as many bytes of the attributes as they
    // have.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_in_a_child_reports_its_error_and_success() {
        try_in_child(|| Ok(())).unwrap();
        let error = try_in_child(|| Err(Errno::EXDEV.into())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EXDEV));
    }
}
