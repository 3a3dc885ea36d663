//! What should not be in page tables: pages that are writable and executable, frames that are so through two
//! addresses, entries with reserved bits, tables that user code can write.

mod aliases;
mod check;

pub use check::{AuditCheck, AuditChecks, AuditChecksError};

use crate::error::ReadError;
use crate::physical_memory::PhysicalMemory;
use crate::scan::{Found, Limits, Scan, entry_count};
use aliases::FrameUses;
use mmu_core::walk::{EntryMeaning, PresentEntry, UnreadableEntries};
use mmu_core::x86::format::EntryBits;
use mmu_core::x86::semantics::Rights;
use mmu_core::{AnyMmu, PhysAddr, VirtAddr};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most findings that are kept. All of them are counted.
const MAX_FINDINGS: usize = 10_000;

/// Something that should not be, for a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFinding {
    /// What it is.
    pub check: AuditCheck,
    /// The first address.
    pub first: VirtAddr,
    /// The last one.
    pub last: VirtAddr,
    /// Number of pages, or of entries.
    pub count: u64,
    /// What the path of the first one allows.
    pub rights: Rights,
    /// Where the first one leads.
    pub address: PhysAddr,
    /// More about it, in words.
    pub detail: String,
}

/// The result of an audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// What was found: at most 10,000, in the order of addresses for each check.
    pub findings: Vec<AuditFinding>,
    /// Number of findings of each check, in the order of [`AuditCheck::ALL`].
    pub counts: [u64; AuditCheck::ALL.len()],
    /// Number of entries that lead to tables which were read before at the same level, and were not looked
    /// through again.
    pub repeated: u64,
    /// Whether everything else was looked at.
    pub is_complete: bool,
}

impl Audit {
    /// Whether every table was looked at on every path: only then nothing found means that nothing is there.
    pub const fn is_whole(&self) -> bool {
        self.is_complete && self.repeated == 0
    }

    /// Looks for what `checks` asks for. `stop` ends it early.
    pub fn run(
        memory: &PhysicalMemory,
        mmu: &AnyMmu,
        checks: AuditChecks,
        limits: Limits,
        stop: &AtomicBool,
    ) -> Self {
        let is_stopped = Cell::new(false);
        let mut auditor = Auditor::new(checks);
        for found in scan_until(Scan::of_all(memory, mmu, limits), stop, &is_stopped) {
            auditor.add(&found);
        }
        if is_stopped.get() {
            return auditor.stopped();
        }
        auditor.finish(memory, mmu, limits, stop)
    }

    /// Adds a finding, to the one before if it goes on there.
    fn add(&mut self, finding: AuditFinding, checks: AuditChecks) {
        if !checks.contains(finding.check) {
            return;
        }

        let same = self.findings.iter_mut().rev().take(AuditCheck::ALL.len());
        let mut same = same.filter(|before| before.check == finding.check);
        if let Some(before) = same.next()
            && before.last.get().checked_add(1) == Some(finding.first.get())
            && before.rights == finding.rights
            && before.detail == finding.detail
            && !is_another_table(before, &finding)
        {
            before.last = finding.last;
            before.count += finding.count;
            return;
        }

        self.counts[finding.check as usize] += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// An audit that takes part in a scan which the caller makes: what the scan meets is what was audited.
#[derive(Debug)]
pub struct Auditor {
    audit: Audit,
    uses: FrameUses,
    checks: AuditChecks,
}

impl Auditor {
    /// An audit that has looked at nothing yet.
    pub fn new(checks: AuditChecks) -> Self {
        Self { audit: Audit::default(), uses: FrameUses::default(), checks }
    }

    /// What can be said of an entry by itself. Of frames, it is learned who uses them. All that a scan of all
    /// addresses finds is to be added, in its order.
    pub fn add(&mut self, found: &Found) {
        self.audit.repeated += u64::from(matches!(found, Found::Repeated(_)));
        self.uses.add(found, self.checks);
        for finding in by_itself(found) {
            self.audit.add(finding, self.checks);
        }
    }

    /// What was found until the scan was stopped.
    pub fn stopped(self) -> Audit {
        Audit { is_complete: false, ..self.audit }
    }

    /// Looks at who shares frames, by another scan with the same limits. `stop` ends it early.
    pub fn finish(
        mut self,
        memory: &PhysicalMemory,
        mmu: &AnyMmu,
        limits: Limits,
        stop: &AtomicBool,
    ) -> Audit {
        let is_stopped = Cell::new(false);
        if self.checks.need_frames() {
            for found in scan_until(Scan::of_all(memory, mmu, limits), stop, &is_stopped) {
                let Found::Page(page) = found else { continue };
                for finding in self.uses.findings(&page) {
                    self.audit.add(finding, self.checks);
                }
            }
        }
        let is_complete = !is_stopped.get() && self.uses.is_complete();
        Audit { is_complete, ..self.audit }
    }
}

/// Whether both are about tables that cannot be read, and not about the same one.
fn is_another_table(before: &AuditFinding, next: &AuditFinding) -> bool {
    let (first, second) = (before.address, next.address);
    matches!(next.check, AuditCheck::TableOutsideImage | AuditCheck::UnreadableTable)
        && (first >= second || first.frame() != second.frame())
}

/// A scan that ends when it is told to.
fn scan_until<'s>(
    mut scan: Scan<'s>,
    stop: &'s AtomicBool,
    is_stopped: &'s Cell<bool>,
) -> impl Iterator<Item = Found> + 's {
    std::iter::from_fn(move || {
        let found = scan.next()?;
        if matches!(found, Found::Table(_)) && stop.load(Ordering::Relaxed) {
            is_stopped.set(true);
            return None;
        }
        Some(found)
    })
}

/// What is wrong with an entry, whatever else there is.
fn by_itself(found: &Found) -> Vec<AuditFinding> {
    match found {
        Found::Page(page) => of_page(page),
        Found::Reserved(entry) => {
            let EntryMeaning::Reserved(bits) = entry.meaning else { return Vec::new() };
            let detail = format!("{} with reserved bits {bits:#x}", entry.level.entry_name);
            vec![finding(AuditCheck::ReservedBit, entry, entry.at, detail)]
        }
        Found::Unreadable(unreadable) => vec![of_unreadable(unreadable)],
        Found::Table(_) | Found::Repeated(_) => Vec::new(),
    }
}

fn of_unreadable(unreadable: &UnreadableEntries<ReadError>) -> AuditFinding {
    let UnreadableEntries { first, last, level, at, error } = *unreadable;
    let (check, detail) = match error {
        ReadError::Outside(_) => {
            let detail = format!("{}s that are not in the image", level.entry_name);
            (AuditCheck::TableOutsideImage, detail)
        }
        ReadError::Host { .. } | ReadError::Damaged { .. } => {
            (AuditCheck::UnreadableTable, format!("{}s: {error}", level.entry_name))
        }
    };
    let (count, rights) = (entry_count(unreadable), Rights::empty());
    AuditFinding { check, first, last, count, rights, address: at, detail }
}

fn of_page(page: &PresentEntry) -> Vec<AuditFinding> {
    let EntryMeaning::Page(address) = page.meaning else { return Vec::new() };
    let mut findings = Vec::new();

    if page.rights.contains(Rights::WRITE | Rights::EXECUTE) {
        findings.push(finding(AuditCheck::Wx, page, address, "writable and executable"));
    }
    let lost = rights_of_leaf(page.entry) - page.rights;
    if !lost.is_empty() {
        let names =
            [(Rights::USER, "user"), (Rights::WRITE, "write"), (Rights::EXECUTE, "execute")];
        let names = names.iter().filter(|(right, _)| lost.contains(*right));
        let names: Vec<_> = names.map(|(_, name)| *name).collect();
        let detail = format!("{} by its leaf only", names.join(", "));
        findings.push(finding(AuditCheck::LeafVsEffective, page, address, detail));
    }
    findings
}

/// What a leaf grants by itself.
fn rights_of_leaf(entry: u64) -> Rights {
    let entry = EntryBits::from_bits_retain(entry);
    let mut rights = Rights::empty();
    rights.set(Rights::WRITE, entry.contains(EntryBits::RW));
    rights.set(Rights::USER, entry.contains(EntryBits::US));
    rights.set(Rights::EXECUTE, !entry.contains(EntryBits::XD));
    rights
}

fn finding(
    check: AuditCheck,
    entry: &PresentEntry,
    address: PhysAddr,
    detail: impl Into<String>,
) -> AuditFinding {
    let PresentEntry { first, last, rights, .. } = *entry;
    AuditFinding { check, first, last, count: 1, rights, address, detail: detail.into() }
}
