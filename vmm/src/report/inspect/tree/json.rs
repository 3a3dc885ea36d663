//! The tree for scripts: a list of tables, in which entries refer to others by their places.

use super::name;
use crate::report::document::Document;
use crate::report::inspect::image::InspectedJson;
use crate::report::inspect::maps::of_pages;
use crate::report::inspect::{Inspected, letters};
use crate::report::style::count::Count;
use crosswalk_case::Hex;
use crosswalk_inspect::{TableTree, TreeRun, TreeTable, TreeTarget};
use serde::Serialize;

/// The tree as a JSON document.
pub fn document(inspected: &Inspected, tree: &TableTree) -> impl Document {
    TreeDocument {
        image: inspected.json(),
        tree: TreeJson {
            tables: tree.tables.iter().map(table_json).collect(),
            left_out: tree.left_out.into(),
            complete: tree.is_complete,
        },
    }
}

fn table_json(table: &TreeTable) -> TableJson {
    TableJson {
        table: name(table),
        physical: Hex(table.address.get()),
        first: Hex(table.first.get()),
        rights: letters(table.rights),
        present: table.present,
        led_by: table.led_by.into(),
        entries: table.runs.iter().map(entries_json).collect(),
    }
}

fn entries_json(run: &TreeRun) -> EntriesJson {
    let (leads_to, table, physical) = match run.leads_to {
        TreeTarget::Pages { address, .. } => ("pages", None, Some(address)),
        TreeTarget::Table(table) => ("table", Some(table), None),
        TreeTarget::Shared(table) => ("shared", Some(table), None),
        TreeTarget::LeftOut(address) => ("left_out", None, Some(address)),
        TreeTarget::Outside(address) => ("outside", None, Some(address)),
        TreeTarget::Reserved(_) => ("reserved", None, None),
        TreeTarget::Unreadable => ("unreadable", None, None),
    };
    let (page_bytes, contiguous) = match run.leads_to {
        TreeTarget::Pages { shift, is_contiguous, .. } => {
            (Some(1_u64 << shift), Some(is_contiguous))
        }
        _ => (None, None),
    };
    EntriesJson {
        index: run.index,
        count: run.count,
        first: Hex(run.first.get()),
        last: Hex(run.last.get()),
        rights: letters(run.rights),
        lost: super::lost_letters(run.lost),
        accessed: of_pages(run.accessed),
        dirty: of_pages(run.dirty),
        global: of_pages(run.global),
        leads_to,
        table: table.map(Count::from),
        physical: physical.map(|address| Hex(address.get())),
        page_bytes: page_bytes.map(Count::from),
        contiguous,
        reserved_bits: match run.leads_to {
            TreeTarget::Reserved(bits) => Some(Hex(bits)),
            _ => None,
        },
    }
}

/// The tables of an address space as a tree: `maps --tree`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct TreeDocument<'i> {
    /// The image or the guest.
    image: InspectedJson<'i>,
    /// The tree.
    tree: TreeJson,
}

impl Document for TreeDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The tables of an address space, each once.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TreeJson {
    /// The tables, the root first.
    tables: Vec<TableJson>,
    /// The number of entries that lead to tables which are not among them.
    left_out: Count,
    /// Whether everything was looked at.
    complete: bool,
}

/// A table.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TableJson {
    /// Its name, such as `PML4`.
    table: &'static str,
    /// Its physical address.
    physical: Hex,
    /// The first linear address that it is for.
    first: Hex,
    /// What the path to it allows, in letters.
    rights: String,
    /// The number of its entries that are present.
    present: u32,
    /// How many entries lead to it.
    led_by: Count,
    /// Its entries. Those next to each other that are alike are one.
    entries: Vec<EntriesJson>,
}

/// Entries next to each other that are alike.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct EntriesJson {
    /// The index of the first.
    index: u16,
    /// How many they are.
    count: u16,
    /// The first linear address.
    first: Hex,
    /// The last linear address.
    last: Hex,
    /// What the path allows, in four letters, such as `urw-` or `sr-x`.
    rights: String,
    /// What of the rights of the path they take away, in letters.
    lost: String,
    /// Whether `all`, `some` or `none` of the leaves have A.
    accessed: &'static str,
    /// Whether `all`, `some` or `none` of the leaves have D.
    dirty: &'static str,
    /// Whether `all`, `some` or `none` of the leaves have G.
    global: &'static str,
    /// `pages`, `table`, `shared` (a table below another entry), `left_out`, `outside` (the image), `reserved` or `unreadable`.
    leads_to: &'static str,
    /// The place of that table in the list, from 0.
    table: Option<Count>,
    /// Where the first leads, if that is not a table of the list.
    physical: Option<Hex>,
    /// Of pages, the size of each.
    page_bytes: Option<Count>,
    /// Of pages, whether their physical addresses follow each other.
    contiguous: Option<bool>,
    /// The reserved bits that are set.
    reserved_bits: Option<Hex>,
}
