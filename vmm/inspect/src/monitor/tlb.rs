//! A line of `info tlb`: a page, and the flags of its leaf.

use mmu_core::walk::{EntryMeaning, PresentEntry};
use mmu_core::x86::format::EntryBits;
use std::fmt;
use std::str::FromStr;

/// The letters of flags, in the order of a line.
const LETTERS: [(EntryBits, char); 9] = [
    (EntryBits::XD, 'X'),
    (EntryBits::G, 'G'),
    (EntryBits::PS, 'P'),
    (EntryBits::D, 'D'),
    (EntryBits::A, 'A'),
    (EntryBits::PCD, 'C'),
    (EntryBits::PWT, 'T'),
    (EntryBits::US, 'U'),
    (EntryBits::RW, 'W'),
];

/// A page as `info tlb` shows it: `ffffffff81000000: 0000000001000000 -GPDA---W`. The flags are those of
/// the leaf alone, whatever the entries above it allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlbLine {
    /// The linear address.
    pub address: u64,
    /// The physical address.
    pub page: u64,
    /// The flags.
    pub flags: EntryBits,
}

impl TlbLine {
    /// The line of a page. `None` if the entry does not map one.
    pub fn of(page: &PresentEntry) -> Option<Self> {
        let EntryMeaning::Page(address) = page.meaning else { return None };

        let shown = LETTERS.iter().fold(EntryBits::empty(), |all, (flag, _)| all | *flag);
        let mut flags = EntryBits::from_bits_retain(page.entry) & shown;
        // In a PTE the bit of PS is PAT (MODE-11).
        flags.set(EntryBits::PS, page.level.number > 1);
        Some(Self { address: page.first.get(), page: address.get(), flags })
    }
}

impl fmt::Display for TlbLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}: {:016x} ", self.address, self.page)?;
        for (flag, letter) in LETTERS {
            let letter = if self.flags.contains(flag) { letter } else { '-' };
            fmt::Write::write_char(f, letter)?;
        }
        Ok(())
    }
}

/// The error for a line that is written otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a line of `info tlb`, such as `ffffffff81000000: 0000000001000000 -GPDA---W`")]
pub struct TlbLineError;

impl FromStr for TlbLine {
    type Err = TlbLineError;

    fn from_str(line: &str) -> Result<Self, TlbLineError> {
        let mut words = line.split_whitespace();
        let mut word = || words.next().ok_or(TlbLineError);
        let number = |digits| u64::from_str_radix(digits, 16).map_err(|_| TlbLineError);

        let address = number(word()?.strip_suffix(':').ok_or(TlbLineError)?)?;
        let page = number(word()?)?;
        let letters = word()?;
        if letters.chars().count() != LETTERS.len() {
            return Err(TlbLineError);
        }

        let mut flags = EntryBits::empty();
        for ((flag, letter), found) in LETTERS.into_iter().zip(letters.chars()) {
            match found {
                '-' => {}
                found if found == letter => flags |= flag,
                _ => return Err(TlbLineError),
            }
        }
        Ok(Self { address, page, flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_is_written() {
        for line in [
            "ffffffff81000000: 0000000001000000 -GPDA---W",
            "00007ffe12345000: 000a000001234000 X--DA--UW",
            "0000000000001000: 0000000000005000 -----CT--",
        ] {
            assert_eq!(line.parse::<TlbLine>().unwrap().to_string(), line);
        }
        for line in [
            "",
            "1000: 5000",
            "1000 5000 ---------",
            "1000: 5000 ----------",
            "1000: 5000 Z--------",
        ] {
            assert_eq!(line.parse::<TlbLine>(), Err(TlbLineError), "{line:?}");
        }
    }
}
