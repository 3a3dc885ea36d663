//! How every report looks: numbers, tables, JSON.

pub(super) mod json;
pub(super) mod number;
pub(super) mod table;
