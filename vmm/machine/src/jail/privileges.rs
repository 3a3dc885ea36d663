//! Capabilities, and the way to more of them.

use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use std::io;

/// From now on no program that the calling thread runs has more privileges than it has itself.
pub(super) fn forbid_new() -> io::Result<()> {
    Ok(set_no_new_privs()?)
}

/// Drops all capabilities of the calling thread. It only makes system calls.
pub(super) fn drop_capabilities() -> io::Result<()> {
    drop_bounding_set()?;

    match clear_ambient_capability_set() {
        // Before Linux 4.3 there is no such set.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

/// Drops what a program that is run could regain. Only those with a privilege may drop them; for
/// others [`forbid_new`] is enough.
fn drop_bounding_set() -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => {}
            Ok(false) => continue,
            // The first that this kernel does not know.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }

        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::PERM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// An error of the raw system call that was made last.
pub(super) fn last_error() -> io::Error {
    Errno::last().into()
}
