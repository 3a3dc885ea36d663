//! Memory as the monitor's `xp` prints it.

use super::stopped::SharedMonitor;
use crate::bytes::ReadAt;
use crate::error::ReadError;
use std::io;

/// The most words that are asked for at once: a table.
const MAX_WORDS: u64 = 512;

/// The physical memory of a guest, read through its monitor. Offsets are physical addresses.
#[derive(Debug)]
pub(super) struct PrintedMemory(pub(super) SharedMonitor);

impl PrintedMemory {
    /// Words of 64 bits from an address on that is divisible by 8.
    fn words(&self, at: u64, count: u64) -> io::Result<Vec<u64>> {
        let line = format!("xp /{count}gx {at:#x}");
        let printed = self.0.lock().human(&line);
        let printed = printed.map_err(|error| io::Error::other(error.to_string()))?;
        words(&printed, at, count).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl ReadAt for PrintedMemory {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        let mut at = offset;
        let mut rest = bytes;

        while !rest.is_empty() {
            let skipped = at % 8;
            let first = at.saturating_sub(skipped);
            let needed = (rest.len() as u64).saturating_add(skipped).div_ceil(8);
            let words = self.words(first, needed.min(MAX_WORDS));
            let words =
                words.map_err(|error| ReadError::Host { offset: first, kind: error.kind() })?;

            let read: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
            let read = read.get(skipped as usize..).unwrap_or_default();
            let (now, behind) = rest.split_at_mut(read.len().min(rest.len()));
            now.copy_from_slice(read.get(..now.len()).unwrap_or_default());
            at = at.wrapping_add(now.len() as u64);
            rest = behind;
        }
        Ok(())
    }
}

/// The words that were printed, each line with its address. `None` if it is not what was asked for.
fn words(printed: &str, at: u64, count: u64) -> Option<Vec<u64>> {
    let mut found = Vec::new();
    for line in printed.lines() {
        let (address, words) = line.split_once(": ")?;
        let expected = at.checked_add((found.len() as u64).checked_mul(8)?)?;
        if u64::from_str_radix(address, 16) != Ok(expected) {
            return None;
        }
        for word in words.split_whitespace() {
            found.push(u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()?);
        }
    }
    (found.len() as u64 == count).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_qemu_prints_them() {
        let printed = "0000000000001000: 0x0000000000002067 0x0000000000000000\r\n\
                       0000000000001010: 0x8000000000005003\r\n";
        let expected = vec![0x2067, 0, 0x8000_0000_0000_5003];
        assert_eq!(words(printed, 0x1000, 3), Some(expected));
        assert_eq!(words(printed, 0x1000, 4), None);
        assert_eq!(words(printed, 0x2000, 3), None);
        assert_eq!(words("0000000000001000: Cannot access memory\r\n", 0x1000, 1), None);
    }
}
