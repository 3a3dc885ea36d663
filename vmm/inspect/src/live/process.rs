//! The process of a guest, whose memory has that of the guest.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The most threads that are looked at.
const MAX_THREADS: usize = 1 << 16;

/// How the programs of QEMU are called: `qemu-system-x86_64`, `qemu-kvm`.
const PROGRAM: &str = "qemu";

/// Opens the memory of a process that is to be the QEMU with these threads of vCPUs. The error says why not, in
/// words.
pub(super) fn open_memory(process: i32, threads: &[u64]) -> Result<File, String> {
    let directory = PathBuf::from(format!("/proc/{process}"));
    let path = directory.join("mem");
    // The memory stays that of this process, even if another one has its number later.
    let memory = File::open(&path).map_err(|error| {
        format!(
            "{} cannot be opened ({error}): run as the user of QEMU or as root, and see \
             /proc/sys/kernel/yama/ptrace_scope",
            path.display()
        )
    })?;

    let program = fs::read_link(directory.join("exe")).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    if !name.starts_with(PROGRAM) {
        return Err(format!("process {process}, which made the socket, is not QEMU"));
    }
    let is_its = |thread: &u64| has_thread(&directory, *thread);
    if threads.is_empty() || !threads.iter().all(is_its) {
        return Err(format!("process {process}, which made the socket, does not run the guest"));
    }
    Ok(memory)
}

/// Whether a process has a thread which in its own namespace has this number.
fn has_thread(process: &Path, number: u64) -> bool {
    let Ok(tasks) = fs::read_dir(process.join("task")) else { return false };
    tasks.flatten().take(MAX_THREADS).any(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let innermost = numbers.and_then(|numbers| numbers.split_whitespace().next_back());
        innermost.and_then(|found| found.parse().ok()) == Some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_not_a_guest() {
        let own = std::process::id();
        let directory = PathBuf::from(format!("/proc/{own}"));
        assert!(has_thread(&directory, own.into()));
        assert!(!has_thread(&directory, 1));
        let error = open_memory(own as i32, &[own.into()]).unwrap_err();
        assert!(error.contains("is not QEMU"), "{error}");
        assert!(open_memory(i32::MAX, &[1]).unwrap_err().contains("cannot be opened"));
    }
}
