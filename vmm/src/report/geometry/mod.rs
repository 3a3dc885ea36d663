//! What page tables cost: in words and tables for people ([`text`]), and as JSON ([`document`]).

pub(super) mod json;
#[cfg(test)]
mod tests;
mod text;

pub use json::document;
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
