//! What the system tells of its processor's microcode.

use std::fs;

/// The microcode's revision as Linux has it; `None` where it does not tell.
pub fn microcode() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("microcode"))?;
    let (_, revision) = line.split_once(':')?;
    Some(revision.trim().into())
}
