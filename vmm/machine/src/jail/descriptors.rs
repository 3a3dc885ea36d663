//! Files that this program has open, or was given by its parent: no inmate inherits them.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::io;
use std::os::fd::BorrowedFd;

/// The first descriptor after standard input, output and error.
const FIRST: i32 = 3;

/// The last that is looked at on a kernel that cannot do it in one call.
const LAST: i32 = 4095;

/// Lets all files but the standard ones be closed when the program starts. It only makes system calls.
pub(super) fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: the call closes nothing now, and reads no memory.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };

    match Errno::result(result) {
        Ok(_) => Ok(()),
        // Before Linux 5.11.
        Err(Errno::ENOSYS | Errno::EINVAL) => {
            one_by_one();
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn one_by_one() {
    for descriptor in FIRST..=LAST {
        // SAFETY: it is borrowed for one call, which does nothing if it is not open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let _ = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    }
}
