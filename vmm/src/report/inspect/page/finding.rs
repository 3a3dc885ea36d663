//! The findings of an audit, with links to where they are in the picture and in the tables.

use super::block::Block;
use crate::report::inspect::audit::{is_of_entries, meaning};
use crate::report::inspect::letters;
use crate::report::style::number::with_commas;
use crosswalk_inspect::{Audit, AuditCheck, AuditChecks, AuditFinding};

/// The most findings of a check that the page lists.
pub(super) const MAX_LISTED: usize = 100;

/// What a check has found.
pub(super) struct CheckView {
    pub(super) name: &'static str,
    pub(super) count: String,
    pub(super) meaning: &'static str,
    pub(super) findings: Vec<FindingView>,
    /// Number of findings that are not listed.
    pub(super) more: Option<String>,
}

/// A finding.
pub(super) struct FindingView {
    pub(super) range: String,
    pub(super) rights: String,
    pub(super) place: String,
    pub(super) detail: String,
    /// Its block in the picture, by number.
    pub(super) block: Option<usize>,
    /// Its entries in the tables.
    pub(super) entries: Option<String>,
}

/// The checks that were made and found something.
pub(super) fn checks(
    audit: &Audit,
    checks: AuditChecks,
    blocks: &[Block],
    entries: impl Fn(&AuditFinding) -> Option<String>,
) -> Vec<CheckView> {
    let counts = AuditCheck::ALL.into_iter().zip(audit.counts);
    let made = counts.filter(|(check, count)| checks.contains(*check) && *count > 0);
    let view = |(check, count): (AuditCheck, u64)| {
        let of_check = audit.findings.iter().filter(|finding| finding.check == check);
        let listed = of_check.take(MAX_LISTED).map(|finding| show(finding, blocks, &entries));
        let listed: Vec<_> = listed.collect();
        let more = count.saturating_sub(listed.len() as u64);
        CheckView {
            name: check.name(),
            count: with_commas(count),
            meaning: meaning(check, count),
            findings: listed,
            more: (more > 0).then(|| with_commas(more)),
        }
    };
    made.map(view).collect()
}

/// The checks that were made and found nothing.
pub(super) fn passed(audit: &Audit, checks: AuditChecks) -> Vec<&'static str> {
    let counts = AuditCheck::ALL.into_iter().zip(audit.counts);
    let passed = counts.filter(|(check, count)| checks.contains(*check) && *count == 0);
    passed.map(|(check, _)| check.name()).collect()
}

fn show(
    finding: &AuditFinding,
    blocks: &[Block],
    entries: impl Fn(&AuditFinding) -> Option<String>,
) -> FindingView {
    let (first, last) = (finding.first.get(), finding.last.get());
    let is_of_entries = is_of_entries(finding.check);
    FindingView {
        range: format!("{first:#x}-{last:#x}"),
        rights: if is_of_entries { String::new() } else { letters(finding.rights) },
        place: if is_of_entries {
            format!("at {}", finding.address)
        } else {
            finding.address.to_string()
        },
        detail: finding.detail.clone(),
        block: blocks.iter().position(|block| block.first <= last && first <= block.last),
        entries: entries(finding),
    }
}

/// The checks whose findings lie in a range of addresses: each once. An audit keeps some of its findings only;
/// `has_wx` says that pages of the range are writable and executable, whether their finding was kept or not.
pub(super) fn checks_in(audit: &Audit, first: u64, last: u64, has_wx: bool) -> Vec<&'static str> {
    // The tables are read in another order, so they may show what an audit that was stopped did not come to.
    let has_wx = has_wx && audit.counts[AuditCheck::Wx as usize] > 0;
    let mut names = if has_wx { vec![AuditCheck::Wx.name()] } else { Vec::new() };
    for finding in &audit.findings {
        let is_inside = finding.first.get() <= last && first <= finding.last.get();
        if is_inside && !names.contains(&finding.check.name()) {
            names.push(finding.check.name());
        }
    }
    names
}
