//! Page tables in memory, whatever their format: finding an entry, and writing entries.

pub mod mapping;
