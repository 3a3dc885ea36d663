//! What an audit has found, for people and as JSON.

use super::image::InspectedJson;
use super::{Inspected, letters, tables_met_again};
use crate::report::document::Document;
use crate::report::style::count::Count;
use crate::report::style::number::with_commas;
use crate::report::style::table::line;
use crosswalk_case::Hex;
use crosswalk_inspect::{Audit, AuditCheck, AuditChecks, AuditFinding};
use serde::Serialize;
use std::fmt::Write;

/// The most findings of a check that people want to read.
const MAX_SHOWN: usize = 40;

/// The findings for people, by check.
pub fn text(inspected: &Inspected, audit: &Audit, checks: AuditChecks) -> String {
    let mut text = String::new();
    inspected.describe(&mut text);

    for (check, count) in AuditCheck::ALL.into_iter().zip(audit.counts) {
        if !checks.contains(check) {
            continue;
        }
        if count == 0 {
            let _ = writeln!(text, "{check}: {}", none(audit));
            continue;
        }

        line(&mut text, &format!("{check}: {} {}", with_commas(count), meaning(check, count)));
        let of_check = audit.findings.iter().filter(|finding| finding.check == check);
        for finding in of_check.take(MAX_SHOWN) {
            describe(&mut text, finding);
        }
        if count > MAX_SHOWN as u64 {
            let more = with_commas(count - MAX_SHOWN as u64);
            line(&mut text, &format!("  and {more} more (--json has up to 10,000)"));
        }
    }
    for sentence in limits(audit) {
        line(&mut text, &sentence);
    }
    text
}

/// What is said of a check that found nothing.
pub(super) const fn none(audit: &Audit) -> &'static str {
    if audit.is_whole() { "none" } else { "none in what was looked at" }
}

/// What was not looked at, in sentences.
pub(super) fn limits(audit: &Audit) -> Vec<String> {
    let interrupted = "Not everything was looked at: it was interrupted, or too much is mapped.";
    let interrupted = (!audit.is_complete).then(|| interrupted.to_owned());
    tables_met_again(audit.repeated).into_iter().chain(interrupted).collect()
}

fn describe(text: &mut String, finding: &AuditFinding) {
    let AuditFinding { first, last, rights, address, detail, count, .. } = finding;
    let (first, last) = (first.get(), last.get());
    let rights = letters(*rights);
    let number = if *count == 1 { String::new() } else { format!(", {}", with_commas(*count)) };

    let place = match finding.check {
        check if is_of_entries(check) => format!("at {address}"),
        _ => format!("{rights} {address}"),
    };
    line(text, &format!("  {first:#018x}-{last:#018x} {place}{number}"));
    if finding.check != AuditCheck::Wx {
        line(text, &format!("      {detail}"));
    }
}

/// Whether the findings of a check are about entries that map nothing, and not about pages.
pub(super) const fn is_of_entries(check: AuditCheck) -> bool {
    matches!(
        check,
        AuditCheck::ReservedBit | AuditCheck::TableOutsideImage | AuditCheck::UnreadableTable
    )
}

/// What the findings of a check are.
pub(super) const fn meaning(check: AuditCheck, count: u64) -> &'static str {
    match (check, count) {
        (AuditCheck::Wx, 1) => "range of pages is writable and executable",
        (AuditCheck::Wx, _) => "ranges of pages are writable and executable",
        (check, 1) if is_of_entries(check) => "range of addresses",
        (check, _) if is_of_entries(check) => "ranges of addresses",
        (_, 1) => "range of pages",
        (_, _) => "ranges of pages",
    }
}

/// The findings as a JSON document.
pub fn document<'i>(
    inspected: &'i Inspected,
    audit: &'i Audit,
    checks: AuditChecks,
) -> impl Document {
    let counts = AuditCheck::ALL.into_iter().zip(audit.counts);
    let counts = counts.filter(|(check, _)| checks.contains(*check));

    AuditDocument {
        image: inspected.json(),
        checks: counts
            .map(|(check, count)| CheckJson { check: check.name(), count: count.into() })
            .collect(),
        findings: audit.findings.iter().map(finding_json).collect(),
        repeated: audit.repeated.into(),
        complete: audit.is_complete,
    }
}

fn finding_json(finding: &AuditFinding) -> AuditFindingJson<'_> {
    let AuditFinding { check, first, last, count, rights, address, detail } = finding;
    AuditFindingJson {
        check: check.name(),
        first: Hex(first.get()),
        last: Hex(last.get()),
        entries: (*count).into(),
        rights: letters(*rights),
        physical: Hex(address.get()),
        detail,
    }
}

/// What should not be in page tables: `audit`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct AuditDocument<'i> {
    /// The image or the guest.
    image: InspectedJson<'i>,
    /// Each check.
    checks: Vec<CheckJson>,
    /// At most 10,000 findings.
    findings: Vec<AuditFindingJson<'i>>,
    /// The number of entries that lead to tables which were read before, and not again.
    repeated: Count,
    /// Whether everything was looked at.
    complete: bool,
}

impl Document for AuditDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// A check.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CheckJson {
    /// Its name.
    check: &'static str,
    /// The number of its findings.
    count: Count,
}

/// Something that should not be there.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AuditFindingJson<'i> {
    /// The check that found it.
    check: &'static str,
    /// The first linear address.
    first: Hex,
    /// The last linear address.
    last: Hex,
    /// The number of pages or entries.
    entries: Count,
    /// The rights of the first, in letters.
    rights: String,
    /// Where it leads; of entries that map nothing, where it is.
    physical: Hex,
    /// More, in words.
    detail: &'i str,
}
