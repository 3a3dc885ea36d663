//! The tree for scripts: a list of tables, in which entries refer to others by their places.

use super::name;
use crate::report::inspect::image::InspectedJson;
use crate::report::inspect::maps::of_pages;
use crate::report::inspect::{Inspected, letters};
use crate::report::style::json::to_text;
use crosswalk_case::Hex;
use crosswalk_inspect::{TableTree, TreeRun, TreeTable, TreeTarget};
use serde::Serialize;

/// The tree as a JSON document.
pub fn json(inspected: &Inspected, tree: &TableTree) -> String {
    to_text(&TreeDocument {
        image: inspected.json(),
        tree: TreeJson {
            tables: tree.tables.iter().map(table_json).collect(),
            left_out: tree.left_out,
            complete: tree.is_complete,
        },
    })
}

fn table_json(table: &TreeTable) -> TableJson {
    TableJson {
        table: name(table),
        physical: Hex(table.address.get()),
        first: Hex(table.first.get()),
        rights: letters(table.rights),
        present: table.present,
        led_by: table.led_by,
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
        TreeTarget::Pages { shift, is_contiguous, .. } => (Some(1 << shift), Some(is_contiguous)),
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
        table,
        physical: physical.map(|address| Hex(address.get())),
        page_bytes,
        contiguous,
        reserved_bits: match run.leads_to {
            TreeTarget::Reserved(bits) => Some(Hex(bits)),
            _ => None,
        },
    }
}

#[derive(Serialize)]
struct TreeDocument<'i> {
    image: InspectedJson<'i>,
    tree: TreeJson,
}

#[derive(Serialize)]
struct TreeJson {
    tables: Vec<TableJson>,
    left_out: u64,
    complete: bool,
}

#[derive(Serialize)]
struct TableJson {
    table: &'static str,
    physical: Hex,
    first: Hex,
    rights: String,
    present: u32,
    led_by: u64,
    entries: Vec<EntriesJson>,
}

#[derive(Serialize)]
struct EntriesJson {
    index: u16,
    count: u16,
    first: Hex,
    last: Hex,
    rights: String,
    lost: String,
    accessed: &'static str,
    dirty: &'static str,
    global: &'static str,
    leads_to: &'static str,
    table: Option<usize>,
    physical: Option<Hex>,
    page_bytes: Option<u64>,
    contiguous: Option<bool>,
    reserved_bits: Option<Hex>,
}
