//! Bounds on what a process may use.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A bound on one resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    resource: Resource,
    value: u64,
}

/// The limits of a QEMU whose guest has this much memory.
///
/// It was seen to map 0.5 GiB beside the guest's memory, and to have 90 MiB of data with its buffer for
/// translated code. The only file that it writes to is the one for its messages.
pub(super) fn qemu(memory: u64) -> Vec<Limit> {
    [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, 256),
        (Resource::RLIMIT_FSIZE, MIB),
        (Resource::RLIMIT_DATA, GIB),
        (Resource::RLIMIT_AS, memory.saturating_add(2 * GIB)),
    ]
    .map(|(resource, value)| Limit { resource, value })
    .to_vec()
}

/// The limits of an emulator that boots an image with this much memory. It writes the log of the image.
pub(super) fn booted(memory: u64) -> Vec<Limit> {
    [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, 256),
        (Resource::RLIMIT_FSIZE, 256 * MIB),
        (Resource::RLIMIT_DATA, memory.saturating_add(GIB)),
        (Resource::RLIMIT_AS, memory.saturating_add(2 * GIB)),
    ]
    .map(|(resource, value)| Limit { resource, value })
    .to_vec()
}

/// The limits of v86 in Node.js with this much memory. It reserves address space by the GiB, which takes no memory.
pub(super) fn v86(memory: u64) -> Vec<Limit> {
    let bounds_memory = |limit: &Limit| limit.resource != Resource::RLIMIT_AS;
    booted(memory).into_iter().filter(bounds_memory).collect()
}

/// The limits of a walker. Address space is free: an adapter maps 64 GiB and touches little of it.
pub(super) fn walker(counts_processes: bool) -> Vec<Limit> {
    let mut limits = vec![
        Limit { resource: Resource::RLIMIT_CORE, value: 0 },
        Limit { resource: Resource::RLIMIT_NOFILE, value: 1024 },
        Limit { resource: Resource::RLIMIT_DATA, value: 4 * GIB },
    ];
    if counts_processes {
        limits.push(Limit { resource: Resource::RLIMIT_NPROC, value: 256 });
    }
    limits
}

/// The limits, where those of this process are not lower already.
pub(super) fn lower(limits: &[Limit]) -> io::Result<Vec<Limit>> {
    let lower = |limit: &Limit| {
        let (_, hard) = getrlimit(limit.resource)?;
        Ok(Limit { value: limit.value.min(hard), ..*limit })
    };
    limits.iter().map(lower).collect()
}

/// Sets a limit of this process, for good. It only makes a system call.
pub(super) fn set(limit: Limit) -> io::Result<()> {
    Ok(setrlimit(limit.resource, limit.value, limit.value)?)
}

/// The limits in words.
pub(super) fn describe(limits: &[Limit]) -> String {
    let describe = |limit: &Limit| match (limit.resource, limit.value) {
        (Resource::RLIMIT_CORE, _) => "no core file".into(),
        (Resource::RLIMIT_NOFILE, count @ 1000..1_000_000) => {
            format!("{},{:03} open files", count / 1000, count % 1000)
        }
        (Resource::RLIMIT_NOFILE, count) => format!("{count} open files"),
        (Resource::RLIMIT_FSIZE, bytes) => format!("files of {} MiB", bytes / MIB),
        (Resource::RLIMIT_DATA, bytes) => format!("{} GiB of data", bytes / GIB),
        (Resource::RLIMIT_AS, bytes) => format!("{} GiB of addresses", bytes.div_ceil(GIB)),
        (Resource::RLIMIT_NPROC, count) => format!("{count} processes"),
        (other, value) => format!("{other:?} {value}"),
    };
    limits.iter().map(describe).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_space_of_qemu_follows_the_memory_of_its_guest() {
        let described = describe(&qemu(4 * GIB));
        assert_eq!(
            described,
            "no core file, 256 open files, files of 1 MiB, 1 GiB of data, 6 GiB of addresses"
        );
    }

    #[test]
    fn a_limit_is_never_raised() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let above = Limit { resource: Resource::RLIMIT_NOFILE, value: hard.saturating_add(1) };
        assert_eq!(lower(&[above]).unwrap()[0].value, hard);
    }
}
