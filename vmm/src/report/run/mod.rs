//! A run or a replay: as text for people, as JSON for scripts, and as a page of HTML.

pub mod conclusion;
mod coverage;
pub mod csv;
pub mod html;
pub mod json;
pub mod side_by_side;
pub mod text;
