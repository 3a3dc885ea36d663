//! Writing page tables: a mapper for any format, supplied with frames by an allocator.

mod edit;
#[cfg(test)]
mod edit_tests;
mod entry;
mod error;
mod frames;
mod mapper;
mod pages;
#[cfg(test)]
mod tests;

pub use entry::Mapping;
pub use error::MapError;
pub use frames::{FrameAllocator, FrameRange};
pub use mapper::{Flush, Mapper};
pub use pages::MappedPages;
