//! What page tables cost, as a page with sliders. Its arithmetic is that of `crosswalk_geometry` once more, in JavaScript; a
//! test compares both.

use super::{Configuration, text};
use crate::report::style::number::size;
use crate::report::style::page::{rendered, script_data};
use askama::Template;
use serde::Serialize;

#[derive(Template)]
#[template(path = "geometry.html")]
struct GeometryPage {
    /// What the sliders say at first, as JSON.
    settings: String,
    /// The same in words and tables, where there is no JavaScript.
    text: String,
}

/// What the sliders say.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageSettings {
    address_bits: u32,
    page_bits: u32,
    /// `null` if it is as a virtual address has them.
    physical_bits: Option<u32>,
    /// `null` if it is what a frame number needs.
    entry_bytes: Option<u32>,
    levels: usize,
    /// The index bits of a split that is not even.
    split: String,
}

/// The largest page of the slider, as a power of two.
const LARGEST_PAGE_BITS: u32 = 30;

/// The page. It begins with the first configuration.
///
/// # Panics
/// Without a configuration. Otherwise never: the settings are plain data.
pub fn page(configurations: &[Configuration]) -> String {
    let first = configurations.first().expect("there is a configuration");
    let page = GeometryPage { settings: script_data(&settings(first)), text: text(configurations) };
    rendered(&page)
}

fn settings(configuration: &Configuration) -> PageSettings {
    let Configuration { geometry, levels } = configuration;
    let is_even = |bits: &[u32]| {
        let even = geometry.even_levels(bits.len() as u32);
        even.is_ok_and(|even| even.index_bits() == bits)
    };
    let bits = levels.first().map_or(&[][..], |levels| levels.index_bits());
    let smallest = geometry.frame_number_bits().div_ceil(8).next_power_of_two();

    PageSettings {
        address_bits: geometry.address_bits(),
        page_bits: geometry.offset_bits(),
        physical_bits: Some(geometry.physical_bits())
            .filter(|bits| *bits != geometry.address_bits()),
        entry_bytes: Some(geometry.entry_bytes()).filter(|bytes| *bytes != smallest),
        levels: bits.len().clamp(1, 5),
        split: if is_even(bits) && bits.len() <= 5 {
            String::new()
        } else {
            bits.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
        },
    }
}

/// Why a page cannot be made of a configuration.
pub fn why_no_page(configurations: &[Configuration]) -> Option<String> {
    let first = configurations.first()?;
    let page = first.geometry.page_bytes();
    let is_too_large = first.geometry.offset_bits() > LARGEST_PAGE_BITS;
    is_too_large.then(|| {
        let most = size(1 << LARGEST_PAGE_BITS);
        format!(
            "--html: expected pages of at most {most}, as far as its slider goes, not {}",
            size(page)
        )
    })
}
