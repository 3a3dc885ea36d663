//! An address space as one page of HTML without any other file: a picture, the tables, and what an audit has
//! found. `templates/maps.html` is its form, this module its contents.
//!
//! A page has bounded size: a picture of at most 2,000 blocks, 1,000 tables with 4,000 runs of entries or little more,
//! and 100 findings of each check. It says what it has left out.

mod block;
mod finding;
mod region;
mod strip;
mod table;

use super::audit;
use super::maps::in_words;
use super::{Inspected, class, letters};
use crate::report::style::number::{numbered, size, with_commas};
use crate::report::style::page::rendered;
use crate::report::style::table::line;
use askama::Template;
use block::{Blocks, MAX_BLOCKS};
use crosswalk_inspect::{Audit, AuditChecks, Auditor, Limits, Source, TableTree};
use finding::CheckView;
use mmu_core::PagingMode;
use mmu_core::x86::semantics::Rights;
use std::sync::atomic::AtomicBool;
use strip::RegionView;
use table::TableView;

/// The page of an address space.
#[derive(Debug)]
pub struct MapsPage<'i> {
    inspected: &'i Inspected,
    blocks: Blocks,
    tree: TableTree,
    audit: Audit,
}

impl<'i> MapsPage<'i> {
    /// Reads all tables. `stop` ends it early, with what was found until then.
    pub fn new(inspected: &'i Inspected, limits: Limits, stop: &AtomicBool) -> Self {
        let mmu = inspected.mmu();
        let memory = inspected.source.memory();
        let mut auditor = Auditor::new(AuditChecks::default());

        // The tree is small, so it comes before what takes long. The picture and the audit have one scan, so that
        // they have seen the same however early it ends.
        let tree = TableTree::new(memory, &mmu, table::LIMITS, stop);
        let blocks = Blocks::new(inspected, limits, stop, |found| auditor.add(found));
        let audit = if blocks.is_complete {
            auditor.finish(memory, &mmu, limits, stop)
        } else {
            auditor.stopped()
        };
        Self { inspected, blocks, tree, audit }
    }

    /// Whether everything was looked at.
    pub const fn is_complete(&self) -> bool {
        self.blocks.is_complete && self.tree.is_complete && self.audit.is_complete
    }

    /// What a page that was written shows, for people.
    pub fn summary(&self, file: &str) -> String {
        let mut text = String::new();
        let ranges = numbered(self.blocks.count(), "range");
        let tables = numbered(self.tree.tables.len() as u64, "table");
        let findings = numbered(self.findings(), "finding");
        line(&mut text, &format!("{file}: {ranges}, {tables}, {findings} of audit."));
        for sentence in self.left_out() {
            line(&mut text, &sentence);
        }
        text
    }

    /// The page.
    pub fn html(&self) -> String {
        let Self { inspected, blocks, tree, audit } = self;
        let (places, least_gap) = region::regions(&blocks.list);
        let checks = AuditChecks::default();
        let entries = |finding: &_| table::entries_of(tree, finding);
        let findings = self.findings();

        let page = Page {
            title: inspected.name.clone(),
            verdict: match findings {
                0 if audit.is_whole() => "audit: nothing found".to_owned(),
                0 => "audit: nothing found in what was looked at".to_owned(),
                count => format!("audit: {}", numbered(count, "finding")),
            },
            is_bad: findings > 0 || !audit.is_whole(),
            sentences: in_words(&blocks.totals),
            left_out: self.left_out(),
            facts: facts(inspected),
            registers: registers(inspected),
            derived: inspected.derived.derived.clone(),
            kinds: kinds(blocks),
            least_gap: size(least_gap),
            regions: strip::regions(&blocks.list, &places, audit, tree),
            scale: strip::scale(&blocks.list, &places),
            passed: finding::passed(audit, checks),
            is_whole: audit.is_whole(),
            none: audit::none(audit),
            limits: audit::limits(audit),
            checks: finding::checks(audit, checks, &blocks.list, entries),
            root: table::root(tree, audit),
        };
        rendered(&page)
    }

    fn findings(&self) -> u64 {
        self.audit.counts.iter().sum()
    }

    /// What the page does not show, in sentences.
    fn left_out(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Some(window) = self.blocks.window {
            let (count, drawn) = (self.blocks.count(), self.blocks.list.len() as u64);
            sentences.push(format!(
                "The picture has at most {} blocks: neighbours in the same {} are one, {} ranges in {} blocks.",
                with_commas(MAX_BLOCKS as u64),
                size(1 << window),
                with_commas(count),
                with_commas(drawn),
            ));
        }
        if self.tree.left_out > 0 {
            sentences.push(format!(
                "The page has some {} tables with {} lines at most: {} entries lead to others.",
                with_commas(table::LIMITS.tables as u64),
                with_commas(table::LIMITS.runs as u64),
                with_commas(self.tree.left_out),
            ));
        }
        let kept = self.audit.findings.len() as u64;
        if kept < self.findings() {
            let kept = with_commas(kept);
            sentences.push(format!("Of the findings, {kept} are marked, and all pages of wx."));
        }
        if self.blocks.is_complete && !self.audit.is_complete {
            sentences.push("Not all frames were audited.".to_owned());
        }
        if !self.blocks.is_complete || !self.tree.is_complete {
            sentences.push("Interrupted: this is what was found until then.".to_owned());
        }
        sentences
    }
}

#[derive(Template)]
#[template(path = "maps.html")]
struct Page {
    title: String,
    verdict: String,
    is_bad: bool,
    sentences: Vec<String>,
    left_out: Vec<String>,
    facts: Vec<(&'static str, String)>,
    registers: Vec<RegisterView>,
    derived: Vec<String>,
    kinds: Vec<KindView>,
    least_gap: String,
    regions: Vec<RegionView>,
    /// How many pixels a step of width has.
    scale: String,
    passed: Vec<&'static str>,
    /// Whether the audit has looked at everything, what it says of checks that found nothing, and its limits.
    is_whole: bool,
    none: &'static str,
    limits: Vec<String>,
    checks: Vec<CheckView>,
    root: Option<TableView>,
}

/// A register with the bits that are set.
struct RegisterView {
    name: &'static str,
    value: String,
    bits: String,
}

/// The bytes with rights of one kind.
struct KindView {
    letters: String,
    class: &'static str,
    meaning: String,
    size: String,
    /// The length of its bar, of 100: by the logarithm.
    bar: u32,
}

fn facts(inspected: &Inspected) -> Vec<(&'static str, String)> {
    let Inspected { source, cpu, derived, profile, .. } = inspected;
    let cpus = match source.cpu_count() {
        0 => "no registers".to_owned(),
        count => format!("registers of {}", numbered(count as u64, "CPU")),
    };

    let what = match **source {
        Source::Image(_) => "image",
        Source::Live(_) | Source::Kvm(_) => "guest",
    };
    let paging = format!(
        "{}, physical addresses of {} bits, CPU {cpu}",
        mode_words(derived.state.mode()),
        profile.physical_address_bits
    );

    let mut facts = vec![(what, format!("{}, {cpus}", inspected.kind_and_memory()))];
    facts.extend(inspected.guest_facts());
    facts.push(("paging", paging));
    facts
}

/// The mode, as the fact that it is.
const fn mode_words(mode: PagingMode) -> &'static str {
    match mode {
        PagingMode::Unpaged => "none: linear addresses are physical",
        mode => mode.name(),
    }
}

fn registers(inspected: &Inspected) -> Vec<RegisterView> {
    let state = &inspected.derived.state;
    let names = |names: &mut dyn Iterator<Item = &'static str>| names.collect::<Vec<_>>().join(" ");
    let register =
        |name, value: u64, bits| RegisterView { name, value: format!("{value:#x}"), bits };
    vec![
        register("CR0", state.cr0.bits(), names(&mut state.cr0.iter_names().map(|(name, _)| name))),
        register("CR3", state.cr3, "the root table".to_owned()),
        register("CR4", state.cr4.bits(), names(&mut state.cr4.iter_names().map(|(name, _)| name))),
        register(
            "EFER",
            state.efer.bits(),
            names(&mut state.efer.iter_names().map(|(name, _)| name)),
        ),
    ]
}

/// The bytes with each kind of rights.
fn kinds(blocks: &Blocks) -> Vec<KindView> {
    let mut bytes = [0_u64; 8];
    for block in &blocks.list {
        for (sum, more) in bytes.iter_mut().zip(block.bytes) {
            *sum = sum.wrapping_add(more);
        }
    }

    let most = bytes.iter().map(|bytes| bytes.max(&1).ilog2()).max().unwrap_or(1).max(1);
    let present = (0_u8..).zip(bytes).filter(|(_, bytes)| *bytes > 0);
    let kind = |(rights, bytes): (u8, u64)| {
        let rights = Rights::from_bits_truncate(rights);
        KindView {
            letters: letters(rights),
            class: class(rights),
            meaning: crosswalk_explain::words::rights(rights),
            size: size(bytes.into()),
            bar: (bytes.ilog2() * 100 / most).max(2),
        }
    };
    present.map(kind).collect()
}
