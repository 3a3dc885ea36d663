//! A run or a replay: as text for people, as JSON for scripts, as a page of HTML, and as CI systems read it.

pub mod conclusion;
mod coverage;
pub mod csv;
pub mod formats;
pub mod html;
pub mod json;
pub mod side_by_side;
pub mod text;
