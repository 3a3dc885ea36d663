//! The scenarios themselves, one file per theme.

pub(super) mod isolation;
pub(super) mod linear_table;
pub(super) mod reclaim;
pub(super) mod sharing;
