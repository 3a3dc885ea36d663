//! Page tables in memory, of any format: going down them and writing them.
//!
//! - [`Cursor`]: the one descent, shared by the walk, the mapper and the address spaces;
//! - [`mapping`]: mapping, unmapping and listing pages.

mod cursor;
pub(crate) mod limits;
pub mod mapping;

pub use cursor::Cursor;
