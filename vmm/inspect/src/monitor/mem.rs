//! The lines of `info mem`: ranges of pages whose paths grant the same R/W and U/S.

use mmu_core::PagingMode;
use mmu_core::walk::{EntryMeaning, PresentEntry};
use mmu_core::x86::semantics::Rights;
use std::fmt;

/// A range as `info mem` shows it: `ffffffff81000000-ffffffff81a00000 0000000000a00000 -r-`. The end is the
/// address behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemLine {
    /// The first address and the one behind the last, without sign extension.
    start: u64,
    end: u64,
    rights: Rights,
    mode: PagingMode,
}

impl MemLine {
    /// Number of bits of a linear address.
    const fn bits(mode: PagingMode) -> u32 {
        match mode {
            PagingMode::FiveLevel => 57,
            PagingMode::FourLevel => 48,
            _ => 32,
        }
    }

    /// Sign extension as QEMU does it, to sizes, too.
    const fn extended(&self, address: u64) -> u64 {
        let bits = Self::bits(self.mode);
        if self.mode.is_long_mode() && address >> (bits - 1) & 1 != 0 {
            address | u64::MAX << bits
        } else {
            address
        }
    }
}

impl fmt::Display for MemLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [start, end, size] =
            [self.start, self.end, self.end - self.start].map(|address| self.extended(address));
        let letter = |right, letter| if self.rights.contains(right) { letter } else { '-' };

        let user = letter(Rights::USER, 'u');
        let write = letter(Rights::WRITE, 'w');
        write!(f, "{start:016x}-{end:016x} {size:016x} {user}r{write}")
    }
}

/// Merges pages, given one after the other, into lines.
#[derive(Clone, Copy, Debug)]
pub struct MemRanges {
    mode: PagingMode,
    open: Option<MemLine>,
}

impl MemRanges {
    /// No page yet.
    pub const fn new(mode: PagingMode) -> Self {
        Self { mode, open: None }
    }

    /// Adds the next page. Returns the line before it, if it begins another.
    pub fn push(&mut self, page: &PresentEntry) -> Option<MemLine> {
        let EntryMeaning::Page(_) = page.meaning else { return None };
        let start = page.first.truncated(MemLine::bits(self.mode) as u8).get();
        let end = start + (1 << page.level.shift);
        let rights = page.rights & (Rights::USER | Rights::WRITE);

        if let Some(open) = &mut self.open
            && open.end == start
            && open.rights == rights
        {
            open.end = end;
            return None;
        }
        self.open.replace(MemLine { start, end, rights, mode: self.mode })
    }

    /// The last line.
    pub const fn finish(&mut self) -> Option<MemLine> {
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_qemu_prints() {
        let line = |start, end, rights| {
            MemLine { start, end, rights, mode: PagingMode::FourLevel }.to_string()
        };
        assert_eq!(
            line(0xffff_8100_0000, 0xffff_8100_2000, Rights::WRITE | Rights::EXECUTE),
            "ffffffff81000000-ffffffff81002000 0000000000002000 -rw"
        );
        assert_eq!(
            line(0x7fff_ffff_f000, 0x8000_0000_0000, Rights::USER),
            "00007ffffffff000-ffff800000000000 0000000000001000 ur-"
        );
    }
}
