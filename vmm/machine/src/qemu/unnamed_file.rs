//! Files in memory without a name, for what passes between this program and QEMU.

use crate::MachineError;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Creates an empty file. The name is for those who look into `/proc`.
pub(super) fn unnamed_file(name: &str) -> Result<File, MachineError> {
    let file =
        memfd_create(name, MFdFlags::MFD_CLOEXEC).map_err(MachineError::host("memfd_create"))?;
    Ok(file.into())
}

/// The beginning of a file, as text. Another program may have written any amount of anything.
pub(super) fn beginning(file: &File) -> String {
    const MAX_BYTES: usize = 1000;

    let mut bytes = [0; MAX_BYTES];
    let len = file.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}
