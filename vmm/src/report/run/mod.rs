//! A run: as text, as JSON, as a page of HTML.

mod coverage;
pub mod html;
pub mod json;
pub mod text;
