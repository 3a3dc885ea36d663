//! What page tables cost: in words and tables for people ([`text`]), as JSON ([`document`]), and as a
//! page with sliders ([`page`]).

pub(super) mod json;
mod page;
#[cfg(test)]
mod tests;
mod text;

pub use json::document;
pub use page::{page, why_no_page};
pub use text::text;

use crate::geometry::{Geometry, Levels};

/// A geometry, and the ways to split its page number.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The sizes.
    pub geometry: Geometry,
    /// The splits, each of the same geometry.
    pub levels: Vec<Levels>,
}
