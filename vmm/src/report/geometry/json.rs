//! What page tables cost, for scripts.
//!
//! The JSON document is `{"configurations": […]}`. Bits and bytes of an entry are numbers, numbers of tables
//! decimal strings. What can exceed 64 bits is always an object such as `{"decimal": "4194304", "log2": 22}`:
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
use crate::report::document::Document;
use crate::report::style::number::Large;
use crosswalk_case::Decimal;
use serde::Serialize;

/// What page tables cost: `geometry`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct GeometryDocument {
    /// Each configuration.
    configurations: Vec<ConfigurationJson>,
}

/// Address widths, and ways to divide the page number.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ConfigurationJson {
    /// The number of bits of a linear address.
    address_bits: u32,
    /// Of these, the bits of the offset in a page.
    offset_bits: u32,
    /// The size of a page.
    page_bytes: Large,
    /// The bits of the page number.
    page_number_bits: u32,
    /// The number of pages.
    pages: Large,
    /// The number of bits of a physical address.
    physical_bits: u32,
    /// The bits of a frame number.
    frame_number_bits: u32,
    /// The number of frames.
    frames: Large,
    /// The size of an entry that has the frame number alone.
    entry_bytes_exact: f64,
    /// The size of an entry, rounded up.
    entry_bytes: u32,
    /// The size of a table with an entry for each page.
    flat_table_bytes: Large,
    /// A table with an entry for each byte.
    per_byte: PerByte,
    /// Tables of several levels.
    levels: Vec<LevelsJson>,
}

/// The table with one entry for each byte.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PerByte {
    /// The number of its entries.
    entries: Large,
    /// The bits of an address in an entry.
    frame_number_bits: u32,
    /// The size of an entry.
    entry_bytes: u32,
    /// The size of the table.
    table_bytes: Large,
}

/// A way to divide the page number into levels.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct LevelsJson {
    /// The bits of the index at each level, the root first.
    index_bits: Vec<u32>,
    /// The size of one table of each level.
    table_bytes: Vec<Large>,
    /// What the tables of some uses cost. A use that is larger than the address space is left out.
    uses: Vec<UseJson>,
}

/// The cost of tables for memory in use.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct UseJson {
    /// How much memory is in use.
    #[serde(rename = "use")]
    amount: String,
    /// `aligned`, `across` (a boundary of tables) or `scattered`.
    placement: &'static str,
    /// The number of pages in use.
    pages: Large,
    /// The number of tables at each level, as decimal strings.
    tables: Vec<Decimal>,
    /// The size of all tables.
    bytes: Large,
    /// That size divided by the size of the flat table.
    of_flat: f64,
}

impl Document for GeometryDocument {
    const SCHEMA: u32 = 1;
}

/// The report for scripts, with all uses.
pub fn document(configurations: &[Configuration]) -> impl Document + use<> {
    GeometryDocument { configurations: configurations.iter().map(configuration_json).collect() }
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
            tables: tables.into_iter().map(|count| Decimal(count as u64)).collect(),
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
