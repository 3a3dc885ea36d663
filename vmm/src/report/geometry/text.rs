//! What page tables cost, for people: words and tables, 80 columns wide.

use super::Configuration;
use crate::geometry::{Amount, Geometry, Placement, USES};
use crate::report::style::number::{
    counted, exact_bytes, few, power, quotient, scientific, short, size,
};
use crate::report::style::table::{line, new_table, trimmed};
use comfy_table::CellAlignment;
use std::fmt::Write;

const EXPLANATION: &str = "An entry is a frame number only, without rights and flags. A flat table \
                           has an entry for each page; per byte, one for each byte.";

/// The report for people. Of several configurations, each shows only the main uses.
pub fn text(configurations: &[Configuration]) -> String {
    let uses = uses_to_show(configurations);
    let mut text = String::new();
    for configuration in configurations {
        describe_geometry(&mut text, &configuration.geometry);
        describe_levels(&mut text, configuration, &uses);
    }

    line(&mut text, EXPLANATION);
    if configurations.iter().any(|configuration| !configuration.levels.is_empty()) {
        explain_levels(&mut text, &uses);
    }
    if configurations.iter().any(|configuration| is_textbook_64(&configuration.geometry)) {
        line(&mut text, "[1] Where a textbook says 10^5, that is a slip: it is 10^15.");
        line(&mut text, "[2] The textbook says roughly 40 peta bytes, which is this, rounded.");
    }
    text
}

fn uses_to_show(configurations: &[Configuration]) -> Vec<(Amount, Placement)> {
    let is_main_use = |(amount, placement): &&(Amount, Placement)| {
        let is_scattered = matches!(amount, Amount::Pages(_));
        let is_best = *placement == Placement::Aligned;
        *amount != Amount::Everything && is_scattered != is_best
    };

    match configurations {
        [_] => USES.to_vec(),
        _ => USES.iter().filter(is_main_use).copied().collect(),
    }
}

fn is_textbook_64(geometry: &Geometry) -> bool {
    *geometry == Geometry::TEXTBOOK_64
}

/// The sizes: pages, frames, the parts of an address, an entry, and the flat table.
fn describe_geometry(text: &mut String, geometry: &Geometry) {
    let bits = geometry.address_bits();
    let offset_bits = geometry.offset_bits();
    let [pages_note, flat_note] =
        if is_textbook_64(geometry) { [" [1]", " [2]"] } else { ["", ""] };
    let page = size(geometry.page_bytes());
    line(text, &format!("Addresses of {}, pages of {page}", counted(bits, "bit")));
    text.push('\n');

    let pages = power(geometry.pages());
    let has_as_many_frames = geometry.physical_bits() == bits;
    let and_frames = if has_as_many_frames { ", and as many frames" } else { "" };
    line(
        text,
        &format!("pages      2^{bits} bytes / 2^{offset_bits} = {pages}{pages_note}{and_frames}"),
    );
    if !has_as_many_frames {
        let physical_bits = geometry.physical_bits();
        let frames = power(geometry.frames());
        line(text, &format!("frames     2^{physical_bits} bytes / 2^{offset_bits} = {frames}"));
    }

    let page_number = counted(geometry.page_number_bits(), "bit");
    line(text, &format!("address    {page_number} of page number, {offset_bits} of offset"));
    line(text, &format!("entry      {}", describe_entry(geometry)));

    line(text, &format!("flat table {}{flat_note}", flat_table(geometry)));
    if offset_bits > 0 {
        line(text, &format!("per byte   {}", flat_table(&geometry.per_byte())));
    }
    text.push('\n');
}

/// The size of an entry, exact and rounded.
fn describe_entry(geometry: &Geometry) -> String {
    let frame_bits = geometry.frame_number_bits();
    let entry_bytes = geometry.entry_bytes();
    let rounding = if frame_bits == 8 * entry_bytes {
        String::new()
    } else if entry_bytes == frame_bits.div_ceil(8).next_power_of_two() {
        format!(", rounded to {entry_bytes}")
    } else {
        format!(", in an entry of {entry_bytes}")
    };

    let frame_number = counted(frame_bits, "bit");
    let exact = exact_bytes(frame_bits);
    format!("{frame_number} of frame number: {exact} exactly{rounding}")
}

/// The flat table: how many entries, and the size they make.
fn flat_table(geometry: &Geometry) -> String {
    let entries = geometry.page_number_bits();
    let entry = counted(geometry.entry_bytes(), "byte");
    let bytes = geometry.flat_table_bytes();
    let digits = match few(bytes) {
        Some(_) => String::new(),
        None => format!(", about {}", scientific(bytes)),
    };

    let power = match bytes.ilog2() {
        log2 if bytes == 1 << log2 => format!("2^{log2} bytes = "),
        _ => String::new(),
    };
    format!("2^{entries} entries * {entry} = {power}{}{digits}", size(bytes))
}

/// A table of what each split costs in each use.
fn describe_levels(text: &mut String, configuration: &Configuration, uses: &[(Amount, Placement)]) {
    let Configuration { geometry, levels } = configuration;
    if levels.is_empty() {
        return line(text, "The page number has too few bits for two levels.\n");
    }

    let mut table = new_table(&["in use", "index bits", "tables by level", "size", "flat / this"]);
    for column in 2..5 {
        let column = table.column_mut(column).expect("there are five");
        column.set_cell_alignment(CellAlignment::Right);
    }

    let mut too_large = Vec::new();
    for (amount, placement) in uses {
        let mut name = use_name(*amount, *placement);
        for levels in levels {
            let Some(cost) = levels.cost(amount.pages(geometry), *placement) else {
                too_large.push(amount.to_string());
                break;
            };

            let index_bits: Vec<_> = levels.index_bits().iter().map(u32::to_string).collect();
            let tables: Vec<_> = cost.tables.iter().map(|count| short(*count)).collect();
            table.add_row([
                std::mem::take(&mut name),
                folded(&index_bits, ",", 14),
                folded(&tables, "+", 17),
                size(cost.bytes),
                quotient(geometry.flat_table_bytes(), cost.bytes),
            ]);
        }
    }
    let _ = writeln!(text, "{}", trimmed(&table));

    too_large.dedup();
    if !too_large.is_empty() {
        line(text, &format!("Larger than the space: {}.", too_large.join(", ")));
    }
    text.push('\n');
}

fn use_name(amount: Amount, placement: Placement) -> String {
    match amount {
        Amount::Everything => amount.to_string(),
        Amount::Bytes(_) => format!("{amount} {}", placement.name()),
        Amount::Pages(pages) => format!("{pages} {}", placement.name()),
    }
}

fn explain_levels(text: &mut String, uses: &[(Amount, Placement)]) {
    line(
        text,
        "A table counts with its own size, even where that is not a page's; flat / this says how \
         often these tables fit into the flat one.",
    );
    line(text, "aligned: one piece that starts where a table starts at each level (best case)");
    if uses.iter().any(|(_, placement)| *placement == Placement::Across) {
        line(text, "across: one piece that starts in the last page of a table (its worst case)");
    }
    line(
        text,
        "scattered: 100 pages, as far from each other as can be, so that they share as few tables \
         as possible (worst case)",
    );
}

/// Joins the parts, with a line break after a separator where the next part would not fit.
fn folded(parts: &[String], separator: &str, width: usize) -> String {
    let mut text = String::new();
    let mut column = 0;
    for (i, part) in parts.iter().enumerate() {
        let separator = if i + 1 < parts.len() { separator } else { "" };
        if column > 0 && column + part.len() + separator.len() > width {
            text.push('\n');
            column = 0;
        }
        text.push_str(part);
        text.push_str(separator);
        column += part.len() + separator.len();
    }
    text
}
