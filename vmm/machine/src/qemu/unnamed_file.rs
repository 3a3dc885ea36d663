//! Files in memory without a name, for what passes between this program and QEMU.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use crate::MachineError;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The most that a program can write into a file for messages. The kernel refuses as a whole what does
/// not fit, so it is more than a program writes at once.
const MAX_MESSAGE_BYTES: u64 = 1 << 20;

/// The most that is read of it.
const MAX_READ_BYTES: usize = 1000;

/// Creates an empty file. The name is for those who look into `/proc`.
pub(crate) fn unnamed_file(name: &str) -> Result<File, MachineError> {
    create(name, MFdFlags::MFD_CLOEXEC)
}

/// Creates a file for the messages of a program. It cannot grow, so a program that writes without end
/// fills no memory: the kernel refuses what does not fit.
pub(crate) fn message_file(name: &str) -> Result<File, MachineError> {
    let file = create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let failed = MachineError::host("limiting a file");

    if let Err(error) = file.set_len(MAX_MESSAGE_BYTES) {
        return Err(failed(error));
    }
    match fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK)) {
        Ok(_) => Ok(file),
        Err(error) => Err(failed(error.into())),
    }
}

fn create(name: &str, flags: MFdFlags) -> Result<File, MachineError> {
    let file = memfd_create(name, flags).map_err(MachineError::host("memfd_create"))?;
    Ok(file.into())
}

/// The beginning of the messages in a [`message_file`], as text. Another program may have written anything.
pub(super) fn messages(file: &File) -> String {
    let mut bytes = [0; MAX_READ_BYTES];
    let len = file.read_at(&mut bytes, 0).unwrap_or(0);
    let written = bytes.get(..len).unwrap_or_default();

    // Nobody has written to the rest.
    String::from_utf8_lossy(written).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn messages_without_end_take_no_memory() {
        let mut file = message_file("test").expect("memory files exist");
        assert_eq!(messages(&file), "");

        file.write_all(b"one").expect("there is room");
        assert_eq!(messages(&file), "one");

        let lines = [b'x'; 10_000];
        let written = (0..1_000).take_while(|_| file.write_all(&lines).is_ok()).count();
        assert_eq!(written, 104, "1 MiB holds 104.8 times 10,000 bytes");
        assert_eq!(file.metadata().expect("it is open").len(), 1 << 20);
        assert!(messages(&file).starts_with("onexxx"));
    }
}
