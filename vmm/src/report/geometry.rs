//! What page tables cost: in words and tables for people, 80 columns wide, and as JSON.
//!
//! The JSON document is `{"configurations": […]}`. Bits, bytes of an entry and numbers of tables are
//! numbers. What can exceed 64 bits is an object of one shape, whatever its size:
//! `{"decimal": "4194304", "log2": 22}`, all digits as a string, and the logarithm where it is a
//! whole number, else null. `of_flat` is the size divided by that of the flat table. A use that is
//! larger than the address space is left out.
//!
//! ```text
//! {"address_bits", "offset_bits", "page_bytes", "page_number_bits", "pages",
//!  "physical_bits", "frame_number_bits", "frames",
//!  "entry_bytes_exact", "entry_bytes", "flat_table_bytes",
//!  "per_byte": {"entries", "frame_number_bits", "entry_bytes", "table_bytes"},
//!  "levels": [{"index_bits": […], "table_bytes": […],
//!    "uses": [{"use", "placement": "aligned|across|scattered", "pages", "tables": […], "bytes",
//!      "of_flat"}]}]}
//! ```

use super::json::to_text;
use super::layout::{line, new_table, trimmed, with_commas};
use crate::geometry::{Amount, Cost, Geometry, Levels, Placement, USES};
use comfy_table::CellAlignment;
use serde::Serialize;
use std::fmt::Write;

/// A geometry, and the ways its page number is to be split.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The sizes.
    pub geometry: Geometry,
    /// The splits, each of the same geometry.
    pub levels: Vec<Levels>,
}

/// The report for people. Of several configurations, each has only the main uses.
pub fn text(configurations: &[Configuration]) -> String {
    let mut text = String::new();
    let is_main_use = |(amount, placement): &&(Amount, Placement)| {
        let is_scattered = matches!(amount, Amount::Pages(_));
        let is_best = *placement == Placement::Aligned;
        *amount != Amount::Everything && is_scattered != is_best
    };
    let uses: Vec<_> = match configurations {
        [_] => USES.to_vec(),
        _ => USES.iter().filter(is_main_use).copied().collect(),
    };
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

const EXPLANATION: &str = "An entry is a frame number only, without rights and flags. A flat table \
                           has an entry for each page; per byte, one for each byte.";

fn is_textbook_64(geometry: &Geometry) -> bool {
    *geometry == Geometry::TEXTBOOK_64
}

fn describe_geometry(text: &mut String, geometry: &Geometry) {
    let (bits, page) = (geometry.address_bits(), size(geometry.page_bytes()));
    let (page_bits, offset_bits) = (geometry.page_number_bits(), geometry.offset_bits());
    let notes = if is_textbook_64(geometry) { [" [1]", " [2]"] } else { ["", ""] };
    line(text, &format!("Addresses of {}, pages of {page}", counted(bits, "bit")));
    text.push('\n');
    let (pages, pages_note) = (power(geometry.pages()), notes[0]);
    let has_as_many_frames = geometry.physical_bits() == bits;
    let and_frames = if has_as_many_frames { ", and as many frames" } else { "" };
    line(
        text,
        &format!("pages      2^{bits} bytes / 2^{offset_bits} = {pages}{pages_note}{and_frames}"),
    );
    if !has_as_many_frames {
        let (bits, frames) = (geometry.physical_bits(), power(geometry.frames()));
        line(text, &format!("frames     2^{bits} bytes / 2^{offset_bits} = {frames}"));
    }
    let page_number = counted(page_bits, "bit");
    line(text, &format!("address    {page_number} of page number, {offset_bits} of offset"));
    let frame_bits = geometry.frame_number_bits();
    let (frame_number, exact) = (counted(frame_bits, "bit"), exact_bytes(frame_bits));
    let entry_bytes = geometry.entry_bytes();
    let entry = if frame_bits == 8 * entry_bytes {
        String::new()
    } else if entry_bytes == frame_bits.div_ceil(8).next_power_of_two() {
        format!(", rounded to {entry_bytes}")
    } else {
        format!(", in an entry of {entry_bytes}")
    };
    line(text, &format!("entry      {frame_number} of frame number: {exact} exactly{entry}"));
    let flat_note = notes[1];
    line(text, &format!("flat table {}{flat_note}", flat_table(geometry)));
    if offset_bits > 0 {
        line(text, &format!("per byte   {}", flat_table(&geometry.per_byte())));
    }
    text.push('\n');
}

fn flat_table(geometry: &Geometry) -> String {
    let (entries, entry_bytes) = (geometry.page_number_bits(), geometry.entry_bytes());
    let bytes = geometry.flat_table_bytes();
    let digits = match few(bytes) {
        Some(_) => String::new(),
        None => format!(", about {}", scientific(bytes)),
    };
    let power = match bytes.ilog2() {
        log2 if bytes == 1 << log2 => format!("2^{log2} bytes = "),
        _ => String::new(),
    };
    let (entry, size) = (counted(entry_bytes, "byte"), size(bytes));
    format!("2^{entries} entries * {entry} = {power}{size}{digits}")
}

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

/// A size in the largest unit that it fills, to four digits.
fn size(bytes: u128) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB"];
    let Some(unit) = (bytes.max(1).ilog2() / 10).min(7).checked_sub(1) else {
        return counted(bytes, "byte");
    };
    let one = 1_u128 << (10 * (unit + 1));
    let unit = units[unit as usize];
    let scaled = |scale| rounded_quotient(bytes * scale, one);
    match bytes / one {
        whole if bytes.is_multiple_of(one) => format!("{whole} {unit}"),
        0..10 => format!("{}.{:03} {unit}", scaled(1000) / 1000, scaled(1000) % 1000),
        10..100 => format!("{}.{:02} {unit}", scaled(100) / 100, scaled(100) % 100),
        _ => format!("{}.{} {unit}", scaled(10) / 10, scaled(10) % 10),
    }
}

/// 1 bit, 2 bits.
fn counted(number: impl Into<u128>, what: &str) -> String {
    match number.into() {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// The exact size of so many bits: 20 are 2.5 bytes.
fn exact_bytes(bits: u32) -> String {
    let (whole, eighths) = (bits / 8, bits % 8);
    let digits = format!("{whole}.{:03}", eighths * 125);
    match digits.trim_end_matches('0').trim_end_matches('.') {
        "1" => "1 byte".into(),
        digits => format!("{digits} bytes"),
    }
}

/// A power of two, and roughly how many that is.
fn power(number: u128) -> String {
    let log2 = number.ilog2();
    match few(number) {
        Some(digits) => format!("2^{log2} = {digits}"),
        None => format!("2^{log2}, about {}", scientific(number)),
    }
}

/// All digits, unless they are too many to be read.
fn few(number: u128) -> Option<String> {
    u64::try_from(number).ok().filter(|number| *number < 100_000_000).map(with_commas)
}

/// 4503599627370496 as 4.5 x 10^15: two digits at least, the exponent a multiple of three.
fn scientific(number: u128) -> String {
    let mut exponent = number.max(1).ilog10() / 3 * 3;
    let mut tenths = rounded_quotient(number * 10, 10_u128.pow(exponent));
    if tenths >= 9995 {
        (exponent, tenths) = (exponent + 3, 10);
    }
    if tenths < 100 {
        format!("{}.{} x 10^{exponent}", tenths / 10, tenths % 10)
    } else {
        format!("{} x 10^{exponent}", rounded_quotient(tenths, 10))
    }
}

/// A number of tables: only powers of two become long.
fn short(count: u128) -> String {
    if count >= 100_000 && count.is_power_of_two() {
        format!("2^{}", count.ilog2())
    } else {
        count.to_string()
    }
}

/// How often one size holds another, to three digits or more.
fn quotient(large: u128, small: u128) -> String {
    let whole = large / small;
    if whole >= 1_000_000 {
        return scientific(whole);
    }
    let scaled = |scale| rounded_quotient(large * scale, small);
    match whole {
        _ if large.is_multiple_of(small) => with_commas(whole as u64),
        0..10 => format!("{}.{:02}", scaled(100) / 100, scaled(100) % 100),
        10..100 => format!("{}.{}", scaled(10) / 10, scaled(10) % 10),
        _ => with_commas(scaled(1) as u64),
    }
}

fn rounded_quotient(number: u128, divisor: u128) -> u128 {
    (number + divisor / 2) / divisor
}

#[derive(Serialize)]
struct Document {
    configurations: Vec<ConfigurationJson>,
}

#[derive(Serialize)]
struct ConfigurationJson {
    address_bits: u32,
    offset_bits: u32,
    page_bytes: Large,
    page_number_bits: u32,
    pages: Large,
    physical_bits: u32,
    frame_number_bits: u32,
    frames: Large,
    entry_bytes_exact: f64,
    entry_bytes: u32,
    flat_table_bytes: Large,
    per_byte: PerByte,
    levels: Vec<LevelsJson>,
}

/// The table with one entry for each byte.
#[derive(Serialize)]
struct PerByte {
    entries: Large,
    frame_number_bits: u32,
    entry_bytes: u32,
    table_bytes: Large,
}

#[derive(Serialize)]
struct LevelsJson {
    index_bits: Vec<u32>,
    table_bytes: Vec<Large>,
    uses: Vec<UseJson>,
}

#[derive(Serialize)]
struct UseJson {
    #[serde(rename = "use")]
    amount: String,
    placement: &'static str,
    pages: Large,
    tables: Vec<u64>,
    bytes: Large,
    of_flat: f64,
}

#[derive(Serialize)]
struct Large {
    decimal: String,
    log2: Option<u32>,
}

impl From<u128> for Large {
    fn from(number: u128) -> Self {
        let log2 = number.is_power_of_two().then(|| number.ilog2());
        Self { decimal: number.to_string(), log2 }
    }
}

/// The report for scripts, with all uses.
pub fn json(configurations: &[Configuration]) -> String {
    let configurations = configurations.iter().map(configuration_json).collect();
    to_text(&Document { configurations })
}

fn configuration_json(configuration: &Configuration) -> ConfigurationJson {
    let Configuration { geometry, levels } = configuration;
    let per_byte = geometry.per_byte();
    ConfigurationJson {
        address_bits: geometry.address_bits(),
        offset_bits: geometry.offset_bits(),
        page_bytes: geometry.page_bytes().into(),
        page_number_bits: geometry.page_number_bits(),
        pages: geometry.pages().into(),
        physical_bits: geometry.physical_bits(),
        frame_number_bits: geometry.frame_number_bits(),
        frames: geometry.frames().into(),
        entry_bytes_exact: f64::from(geometry.frame_number_bits()) / 8.0,
        entry_bytes: geometry.entry_bytes(),
        flat_table_bytes: geometry.flat_table_bytes().into(),
        per_byte: PerByte {
            entries: per_byte.pages().into(),
            frame_number_bits: per_byte.frame_number_bits(),
            entry_bytes: per_byte.entry_bytes(),
            table_bytes: per_byte.flat_table_bytes().into(),
        },
        levels: levels.iter().map(|levels| levels_json(geometry, levels)).collect(),
    }
}

fn levels_json(geometry: &Geometry, levels: &Levels) -> LevelsJson {
    let uses = USES.iter().filter_map(|(amount, placement)| {
        let pages = amount.pages(geometry);
        let Cost { tables, bytes } = levels.cost(pages, *placement)?;
        Some(UseJson {
            amount: amount.to_string(),
            placement: placement.name(),
            pages: pages.into(),
            // The last level has a bit at least, so that none has more than 2^63 tables.
            tables: tables.into_iter().map(|count| count as u64).collect(),
            bytes: bytes.into(),
            of_flat: bytes as f64 / geometry.flat_table_bytes() as f64,
        })
    });
    LevelsJson {
        index_bits: levels.index_bits().to_vec(),
        table_bytes: levels.table_bytes().map(Large::from).collect(),
        uses: uses.collect(),
    }
}

#[cfg(test)]
mod tests;
