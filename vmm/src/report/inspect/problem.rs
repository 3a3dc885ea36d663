//! What stands in the way of a scan: entries with reserved bits, tables that are not in the image, and
//! tables that were read before. Those next to each other are reported as one.

use crate::report::style::count::Count;
use crate::report::style::number::with_commas;
use crosswalk_case::Hex;
use crosswalk_inspect::{Found, ReadError, entry_count};
use mmu_core::VirtAddr;
use mmu_core::walk::EntryMeaning;
use serde::Serialize;

/// A problem for a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScanProblem {
    pub(super) first: VirtAddr,
    pub(super) last: VirtAddr,
    kind: ProblemKind,
    level: &'static str,
    /// Number of entries.
    count: u64,
    /// The address of the first entry, and why it cannot be read or what is wrong with it.
    at: u64,
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProblemKind {
    Reserved,
    Unreadable,
    Repeated,
}

impl ScanProblem {
    /// The problem, if what was found is one.
    pub(super) fn of(found: &Found) -> Option<Self> {
        let (entry, kind) = match found {
            Found::Table(_) | Found::Page(_) => return None,
            Found::Unreadable(unreadable) => {
                return Some(Self {
                    first: unreadable.first,
                    last: unreadable.last,
                    kind: ProblemKind::Unreadable,
                    level: unreadable.level.entry_name,
                    count: entry_count(unreadable),
                    at: unreadable.at.get(),
                    detail: match unreadable.error {
                        ReadError::Outside(_) => "not in the image".to_owned(),
                        ReadError::Host { .. } | ReadError::Damaged { .. } => {
                            unreadable.error.to_string()
                        }
                    },
                });
            }
            Found::Reserved(entry) => (entry, ProblemKind::Reserved),
            Found::Repeated(entry) => (entry, ProblemKind::Repeated),
        };

        let detail = match entry.meaning {
            EntryMeaning::Reserved(bits) => format!("reserved bits {bits:#x}"),
            EntryMeaning::Table(table) => format!("table {table}"),
            EntryMeaning::Page(page) => format!("page {page}"),
        };
        Some(Self {
            first: entry.first,
            last: entry.last,
            kind,
            level: entry.level.entry_name,
            count: 1,
            at: entry.at.get(),
            detail,
        })
    }

    /// Makes one of this and the next, if they can be reported as one.
    pub(super) fn absorb(&mut self, next: &Self) -> bool {
        let is_next = self.last.get().checked_add(1) == Some(next.first.get());
        let is_alike = self.kind == next.kind
            && self.level == next.level
            && match self.kind {
                ProblemKind::Reserved => self.detail == next.detail,
                // Two tables that are missing are two problems, even side by side.
                ProblemKind::Unreadable => is_same_table(self.at, next.at),
                ProblemKind::Repeated => true,
            };

        if is_next && is_alike {
            self.last = next.last;
            self.count += next.count;
        }
        is_next && is_alike
    }

    /// Whether tables were read before, and are not read again: something is mapped there.
    pub(super) const fn is_repeated(&self) -> bool {
        matches!(self.kind, ProblemKind::Repeated)
    }

    /// The physical address of the first entry.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// The problem in words, without the addresses.
    pub(super) fn words(&self) -> String {
        let Self { level, at, detail, .. } = self;
        let count = with_commas(self.count);
        match (self.kind, self.count) {
            (ProblemKind::Reserved, 1) => format!("{level} at {at:#x}: {detail}"),
            (ProblemKind::Reserved, _) => format!("{count} {level}s at {at:#x}: {detail}"),
            (ProblemKind::Unreadable, _) => format!("{level}s at {at:#x}: {detail}"),
            (ProblemKind::Repeated, 1) => format!("{level} at {at:#x}: {detail}, read before"),
            (ProblemKind::Repeated, _) => format!("{count} {level}s: tables that were read before"),
        }
    }

    pub(super) fn json(&self) -> ScanProblemJson<'_> {
        ScanProblemJson {
            first: Hex(self.first.get()),
            last: Hex(self.last.get()),
            problem: match self.kind {
                ProblemKind::Reserved => "reserved",
                ProblemKind::Unreadable => "unreadable",
                ProblemKind::Repeated => "repeated",
            },
            level: self.level,
            entries: self.count.into(),
            at: Hex(self.at),
            detail: &self.detail,
        }
    }
}

/// Whether entries at the second address come after those at the first one, in one table.
const fn is_same_table(first: u64, second: u64) -> bool {
    first < second && first >> 12 == second >> 12
}

/// A part of the tables that maps nothing though something is there.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct ScanProblemJson<'p> {
    /// The first linear address.
    first: Hex,
    /// The last linear address.
    last: Hex,
    /// `reserved`, `unreadable` or `repeated`.
    problem: &'static str,
    /// The name of the entries.
    level: &'static str,
    /// How many they are.
    entries: Count,
    /// The physical address of the first.
    at: Hex,
    /// More, in words.
    detail: &'p str,
}
