//! What `info tlb` of a monitor says, compared with the tables: who is right about each difference, and why.

use super::TlbLine;
use mmu_core::VirtAddr;
use mmu_core::walk::{EntryMeaning, PresentEntry};
use mmu_core::x86::format::EntryBits;
use mmu_core::x86::semantics::Rights;
use std::collections::BTreeMap;
use std::fmt;

/// What the monitor prints instead of lines when paging is off.
const UNPAGED: &str = "PG disabled";

/// How a line begins that is not of the answer: the prompt with a command, and what the monitor says at first.
const NOT_OF_ANSWER: [&str; 2] = ["(qemu)", "QEMU "];

/// Bits 51 and 50 of an address, which QEMU's monitor leaves out.
const TOP_BITS: u64 = 3 << 50;
/// Bits 39:32, in which a 4 MiB page of 32-bit paging may lie (MODE-5).
const HIGH_BITS: u64 = 0xff << 32;

/// How a line of a monitor and the tables differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MonitorDifference {
    /// The monitor drops bits 51 and 50 of the physical address.
    TopBitsDropped,
    /// The monitor takes XD for a part of the physical address.
    XdInAddress,
    /// The monitor does not know that a 4 MiB page can lie above 4 GiB: it shows bits 31:21 of the PDE.
    HighBitsIgnored,
    /// The monitor lists an entry with reserved bits set, through which nothing is mapped.
    ReservedListed,
    /// The monitor lists a page that the tables do not map.
    NotMapped,
    /// The monitor does not list a page that the tables map.
    Missing,
    /// The physical addresses or flags differ in another way.
    Other,
}

impl MonitorDifference {
    /// Who is right, and why.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::TopBitsDropped => "the monitor is wrong: it drops bits 51 and 50 of an address",
            Self::XdInAddress => "the monitor is wrong: XD is not part of an address",
            Self::HighBitsIgnored => {
                "the monitor is wrong: bits 20:13 of the PDE are address bits 39:32 (MODE-5)"
            }
            Self::ReservedListed => {
                "the monitor is wrong: an entry with reserved bits maps nothing (CODE-4, CODE-5, CODE-6)"
            }
            Self::NotMapped => {
                "the tables map no such page: another moment, or the monitor is wrong"
            }
            Self::Missing => "the tables map it: another moment, or the monitor is wrong",
            Self::Other => "another moment, or the monitor is wrong",
        }
    }

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TopBitsDropped => "top-bits-dropped",
            Self::XdInAddress => "xd-in-address",
            Self::HighBitsIgnored => "high-bits-ignored",
            Self::ReservedListed => "reserved-listed",
            Self::NotMapped => "not-mapped",
            Self::Missing => "missing",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for MonitorDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A kind of difference: how often, and the first example, with the line of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DifferenceCount {
    /// How often.
    pub count: u64,
    /// What the monitor says of the first of them.
    pub monitor: Option<TlbLine>,
    /// What the tables say.
    pub tables: Option<TlbLine>,
}

/// A monitor's answer, compared with the tables page by page.
#[derive(Clone, Debug, Default)]
pub struct MonitorCheck {
    /// The lines of the monitor that no page has been found for yet, by their linear addresses.
    lines: BTreeMap<u64, TlbLine>,
    /// Entries with reserved bits, by their first addresses, each with its last.
    reserved: BTreeMap<u64, u64>,
    differences: BTreeMap<MonitorDifference, DifferenceCount>,
    agreed: u64,
    leaf_only: u64,
    unseen: u64,
}

impl MonitorCheck {
    /// The lines of `info tlb`, with or without the prompts of the monitor.
    ///
    /// # Errors
    /// The number of the first line that is not one, counted from 1.
    pub fn new(text: &str) -> Result<Self, usize> {
        let mut check = Self::default();
        for (number, line) in (1_usize..).zip(text.lines()) {
            let text = line.trim();
            let is_of_answer = !NOT_OF_ANSWER.iter().any(|beginning| text.starts_with(beginning));
            if is_of_answer && !text.is_empty() && text != UNPAGED {
                let line: TlbLine = line.parse().map_err(|_| number)?;
                check.lines.insert(line.address, line);
            }
        }
        Ok(check)
    }

    /// Compares a page, or learns of an entry with reserved bits.
    pub fn add(&mut self, entry: &PresentEntry) {
        if let EntryMeaning::Reserved(_) = entry.meaning {
            self.reserved.insert(entry.first.get(), entry.last.get());
        }
        let Some(tables) = TlbLine::of(entry) else { return };

        let looks_executable = !tables.flags.contains(EntryBits::XD);
        if looks_executable && !entry.rights.contains(Rights::EXECUTE) {
            self.leaf_only += 1;
        }
        match self.lines.remove(&tables.address) {
            Some(monitor) if monitor == tables => self.agreed += 1,
            Some(monitor) => {
                self.differ(kind_of(&monitor, &tables, entry), Some(monitor), Some(tables));
            }
            None => self.differ(MonitorDifference::Missing, None, Some(tables)),
        }
    }

    /// Takes out what the monitor says of addresses whose tables were not looked at: they were read before, or cannot
    /// be read. Nobody knows who is right.
    pub fn leave_out(&mut self, first: VirtAddr, last: VirtAddr) {
        let of_range: Vec<_> =
            self.lines.range(first.get()..=last.get()).map(|(address, _)| *address).collect();
        for address in of_range {
            self.unseen += u64::from(self.lines.remove(&address).is_some());
        }
    }

    /// All pages have been compared: what is left of the monitor's lines is not mapped.
    pub fn finish(&mut self) {
        for (address, monitor) in std::mem::take(&mut self.lines) {
            let before = self.reserved.range(..=address).next_back();
            let kind = if before.is_some_and(|(_, last)| *last >= address) {
                MonitorDifference::ReservedListed
            } else {
                MonitorDifference::NotMapped
            };
            self.differ(kind, Some(monitor), None);
        }
    }

    fn differ(
        &mut self,
        kind: MonitorDifference,
        monitor: Option<TlbLine>,
        tables: Option<TlbLine>,
    ) {
        let first = DifferenceCount { count: 0, monitor, tables };
        self.differences.entry(kind).or_insert(first).count += 1;
    }

    /// Number of pages about which both say the same.
    pub const fn agreed(&self) -> u64 {
        self.agreed
    }

    /// Number of pages that look executable in the monitor's lines, which show the flags of leaves alone, and are
    /// not, by an entry above.
    pub const fn leaf_only(&self) -> u64 {
        self.leaf_only
    }

    /// Number of the monitor's lines that were left out.
    pub const fn unseen(&self) -> u64 {
        self.unseen
    }

    /// The kinds of differences.
    pub fn differences(&self) -> impl Iterator<Item = (MonitorDifference, DifferenceCount)> {
        self.differences.iter().map(|(kind, count)| (*kind, *count))
    }
}

/// How two lines for one linear address differ.
fn kind_of(monitor: &TlbLine, tables: &TlbLine, entry: &PresentEntry) -> MonitorDifference {
    let is_same_but = |bits: u64| monitor.page & !bits == tables.page & !bits;
    let is_pse_36 = entry.level.shift == 22 && tables.page & HIGH_BITS != 0;

    if monitor.flags != tables.flags {
        MonitorDifference::Other
    } else if monitor.page == tables.page & !TOP_BITS {
        MonitorDifference::TopBitsDropped
    } else if monitor.page == tables.page | EntryBits::XD.bits() {
        MonitorDifference::XdInAddress
    } else if is_pse_36 && is_same_but(HIGH_BITS | 1 << 21) {
        MonitorDifference::HighBitsIgnored
    } else {
        MonitorDifference::Other
    }
}
