//! What page tables cost, for scripts.
//!
//! The JSON document is `{"configurations": […]}`. Bits, bytes of an entry and numbers of tables are
//! numbers. What can exceed 64 bits is always an object such as `{"decimal": "4194304", "log2": 22}`:
//! all digits as a string, and the logarithm if it is a whole number, else null. `of_flat` is the size
//! divided by that of the flat table. A use that is larger than the address space is left out.
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

use super::Configuration;
use crate::geometry::{Cost, Geometry, Levels, USES};
use crate::report::style::json::to_text;
use crate::report::style::number::Large;
use serde::Serialize;

#[derive(Serialize)]
struct GeometryDocument {
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

/// The report for scripts, with all uses.
pub fn json(configurations: &[Configuration]) -> String {
    let configurations = configurations.iter().map(configuration_json).collect();
    to_text(&GeometryDocument { configurations })
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
            // The last level has at least one index bit, so no level has more than 2^63 tables.
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
