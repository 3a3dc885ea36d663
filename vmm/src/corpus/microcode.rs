//! The revision of the processor's microcode.

use std::fs;

/// The microcode revision that Linux reports; `None` if it reports none.
pub fn microcode() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("microcode"))?;
    let (_, revision) = line.split_once(':')?;
    Some(revision.trim().into())
}
