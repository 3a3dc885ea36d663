//! The tree for people: a line for each table, and one for the entries next to each other that are alike.

use super::{lost_letters, name};
use crate::report::inspect::maps::{flag_letters, short_page_size};
use crate::report::inspect::{Inspected, letters};
use crate::report::style::number::{numbered, size, with_commas};
use crate::report::style::table::line;
use crosswalk_inspect::{TableTree, TreeRun, TreeTable, TreeTarget};
use mmu_core::VirtAddr;

const LEGEND: &str = "First linear address, index or indices, what is there. A table is shown once, below the first \
                      entry that leads to it. -u, -w, -x: rights that the path had and that entry takes away.";

/// The tree in lines of 80 columns.
pub fn text(inspected: &Inspected, tree: &TableTree) -> String {
    let mut text = String::new();
    inspected.describe(&mut text);

    let digits = if inspected.derived.state.mode().is_long_mode() { 18 } else { 10 };
    let mut drawing = Drawing { tree, digits, text };
    match tree.tables.first() {
        Some(root) => {
            drawing.row(root.first, "", &about(root));
            drawing.table(root, "");
        }
        None => line(&mut drawing.text, "No tables: linear addresses are physical."),
    }

    let mut text = drawing.text;
    text.push('\n');
    line(&mut text, LEGEND);
    line(&mut text, &format!("{}.", numbered(tree.tables.len() as u64, "table")));
    if tree.left_out > 0 {
        let count = with_commas(tree.left_out);
        line(&mut text, &format!("Too many to show: {count} entries lead to tables left out."));
    }
    if !tree.is_complete {
        line(&mut text, "Interrupted: this is what was found until then.");
    }
    text
}

struct Drawing<'t> {
    tree: &'t TableTree,
    /// Number of digits of a linear address, with 0x.
    digits: usize,
    text: String,
}

impl Drawing<'_> {
    /// The entries of a table. There are no more levels below it than the format has.
    fn table(&mut self, table: &TreeTable, indent: &str) {
        for (number, run) in table.runs.iter().enumerate() {
            let is_last = number + 1 == table.runs.len();
            let (branch, under) = if is_last { ("└─", "   ") } else { ("├─", "│  ") };

            let lost = match lost_letters(run.lost) {
                lost if lost.is_empty() => lost,
                lost => format!(" -{lost}"),
            };
            let words = format!("{}{lost}: {}", indices(run), self.leads_to(run));
            self.row(run.first, &format!("{indent}{branch} "), &words);

            if let TreeTarget::Table(below) = run.leads_to
                && let Some(below) = self.tree.tables.get(below)
            {
                self.table(below, &format!("{indent}{under}"));
            }
        }
    }

    fn row(&mut self, first: VirtAddr, branch: &str, words: &str) {
        let (first, digits) = (first.get(), self.digits);
        line(&mut self.text, &format!("{first:#0digits$x} {branch}{words}"));
    }

    fn leads_to(&self, run: &TreeRun) -> String {
        let table = |index| self.tree.tables.get(index);
        match run.leads_to {
            TreeTarget::Pages { address, is_contiguous, shift } => {
                let bytes = size(u128::from(run.count) << shift);
                let flags = flag_letters([run.accessed, run.dirty, run.global]);
                let place =
                    if is_contiguous { address.to_string() } else { "scattered".to_owned() };
                let (rights, page) = (letters(run.rights), short_page_size(shift));
                format!("{rights} {flags} {page} {bytes} {place}")
            }
            TreeTarget::Table(index) => table(index).map_or_else(String::new, about),
            TreeTarget::Shared(index) => table(index).map_or_else(String::new, |table| {
                format!("{} {}, shown once", name(table), table.address)
            }),
            TreeTarget::LeftOut(address) => format!("table {address}, left out"),
            TreeTarget::Outside(address) => match run.count {
                1 => format!("table {address}: not in the image"),
                count => format!("{count} tables from {address}: not in the image"),
            },
            TreeTarget::Reserved(bits) => format!("reserved bits {bits:#x}"),
            TreeTarget::Unreadable => "cannot be read".to_owned(),
        }
    }
}

/// A table in words.
fn about(table: &TreeTable) -> String {
    let TreeTable { address, present, led_by, .. } = table;
    let shared = match *led_by {
        0 | 1 => String::new(),
        count => format!(", {} lead here", with_commas(count)),
    };
    format!("{} {address}, {present} present{shared}", name(table))
}

/// The index of an entry, or those of several.
fn indices(run: &TreeRun) -> String {
    match run.count {
        0 | 1 => run.index.to_string(),
        count => format!("{}-{}", run.index, run.index.saturating_add(count - 1)),
    }
}
