//! The tables of the page: a tree that folds.

use super::finding::checks_in;
use crate::report::inspect::maps::{flag_letters, short_page_size};
use crate::report::inspect::tree::{lost_letters, name};
use crate::report::inspect::{class, letters};
use crate::report::style::number::{counted, size, with_commas};
use askama::Template;
use crosswalk_inspect::{
    Audit, AuditFinding, TableTree, TreeLimits, TreeRun, TreeTable, TreeTarget,
};
use mmu_core::x86::semantics::Rights;

/// How much of the tables the page shows.
pub(super) const LIMITS: TreeLimits = TreeLimits { tables: 1000, runs: 4000 };

/// A table, with those below it.
#[derive(Template)]
#[template(path = "maps_table.html")]
pub(super) struct TableView {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) about: String,
    /// Checks that found something in it or below.
    pub(super) marks: Vec<&'static str>,
    pub(super) is_open: bool,
    pub(super) lost: String,
    pub(super) index: String,
    pub(super) first: String,
    pub(super) runs: Vec<RunView>,
}

/// Entries next to each other.
pub(super) struct RunView {
    pub(super) id: String,
    pub(super) index: String,
    pub(super) first: String,
    pub(super) lost: String,
    pub(super) words: String,
    /// Of pages: rights, and the class that colours them.
    pub(super) rights: Option<(String, &'static str)>,
    /// The table elsewhere that they lead to.
    pub(super) link: Option<(String, String)>,
    pub(super) marks: Vec<&'static str>,
    pub(super) table: Option<TableView>,
}

/// The root, with all below it. `None` without paging.
pub(super) fn root(tree: &TableTree, audit: &Audit) -> Option<TableView> {
    let root = tree.tables.first()?;
    Some(Tables { tree, audit }.table(root, None))
}

/// The entries of a finding, if the tree has them: the id of their run.
pub(super) fn entries_of(tree: &TableTree, finding: &AuditFinding) -> Option<String> {
    let (first, last) = (finding.first.get(), finding.last.get());
    let is_overlapping = |run: &&TreeRun| run.first.get() <= last && first <= run.last.get();

    tree.tables.iter().find_map(|table| {
        let leaves = table.runs.iter().filter(|run| !leads_down(run));
        leaves.filter(is_overlapping).map(|run| run_id(table, run)).next()
    })
}

/// Whether what is below entries is shown below them.
const fn leads_down(run: &TreeRun) -> bool {
    matches!(run.leads_to, TreeTarget::Table(_))
}

pub(super) fn table_id(address: u64) -> String {
    format!("t{address:x}")
}

fn run_id(table: &TreeTable, run: &TreeRun) -> String {
    format!("{}-{}", table_id(table.address.get()), run.index)
}

struct Tables<'t> {
    tree: &'t TableTree,
    audit: &'t Audit,
}

impl Tables<'_> {
    /// A table and those below it, at most as many as the format has levels. `from` is the entry that leads
    /// to it.
    fn table(&self, table: &TreeTable, from: Option<&TreeRun>) -> TableView {
        let runs: Vec<_> = table.runs.iter().map(|run| self.run(table, run)).collect();

        let mut marks: Vec<&'static str> = Vec::new();
        for run in &runs {
            let below = run.table.as_ref().map_or(&run.marks, |table| &table.marks);
            marks.extend(below.iter().filter(|mark| !marks.contains(mark)).collect::<Vec<_>>());
        }

        let entries = 1_u32 << table.level.index_bits;
        let shared = match table.led_by {
            0 | 1 => String::new(),
            count => format!(", {} entries lead here", with_commas(count)),
        };
        TableView {
            id: table_id(table.address.get()),
            title: format!("{} {}", name(table), table.address),
            about: if self.tree.is_complete || !table.runs.is_empty() {
                format!("{} of {entries} present{shared}", table.present)
            } else {
                "not read".to_owned()
            },
            is_open: from.is_none(),
            lost: from.map_or_else(String::new, |run| lost_letters(run.lost)),
            index: from.map_or_else(String::new, |run| run.index.to_string()),
            first: format!("{:#x}", table.first.get()),
            marks,
            runs,
        }
    }

    fn run(&self, table: &TreeTable, run: &TreeRun) -> RunView {
        let marks = if leads_down(run) {
            Vec::new()
        } else {
            checks_in(self.audit, run.first.get(), run.last.get(), is_wx(run))
        };
        let last_index = run.index.saturating_add(run.count.saturating_sub(1));
        RunView {
            id: run_id(table, run),
            index: if run.count > 1 {
                format!("{}–{last_index}", run.index)
            } else {
                run.index.to_string()
            },
            first: format!("{:#x}", run.first.get()),
            lost: lost_letters(run.lost),
            words: words(run),
            rights: match run.leads_to {
                TreeTarget::Pages { .. } => Some((letters(run.rights), class(run.rights))),
                _ => None,
            },
            link: match run.leads_to {
                TreeTarget::Shared(place) => self.tree.tables.get(place).map(|table| {
                    let title = format!("{} {}", name(table), table.address);
                    (table_id(table.address.get()), title)
                }),
                _ => None,
            },
            marks,
            table: match run.leads_to {
                TreeTarget::Table(place) => {
                    self.tree.tables.get(place).map(|below| self.table(below, Some(run)))
                }
                _ => None,
            },
        }
    }
}

/// Whether entries map pages that are writable and executable.
fn is_wx(run: &TreeRun) -> bool {
    let is_page = matches!(run.leads_to, TreeTarget::Pages { .. });
    is_page && run.rights.contains(Rights::WRITE | Rights::EXECUTE)
}

/// Where entries lead, in words.
fn words(run: &TreeRun) -> String {
    match run.leads_to {
        TreeTarget::Pages { address, is_contiguous, shift } => {
            let flags = flag_letters([run.accessed, run.dirty, run.global]);
            let bytes = size(u128::from(run.count) << shift);
            let pages = counted(run.count, "page");
            let and_on = if run.count > 1 && !is_contiguous { ", scattered" } else { "" };
            format!("{flags} {pages} of {}, {bytes}, to {address}{and_on}", short_page_size(shift))
        }
        TreeTarget::Table(_) => String::new(),
        TreeTarget::Shared(_) => "elsewhere here:".to_owned(),
        TreeTarget::LeftOut(address) => format!("table {address}: left out, this page is full"),
        TreeTarget::Outside(address) if run.count == 1 => {
            format!("table {address}: not in the image")
        }
        TreeTarget::Outside(address) => {
            format!("{} tables from {address} on: not in the image", run.count)
        }
        TreeTarget::Reserved(bits) => format!("reserved bits {bits:#x}: maps nothing"),
        TreeTarget::Unreadable => "cannot be read".to_owned(),
    }
}
