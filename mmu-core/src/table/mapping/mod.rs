//! Writing page tables: a mapper over any format, fed by a frame allocator.

mod edit;
#[cfg(test)]
mod edit_tests;
mod frames;
mod mapper;
mod pages;
#[cfg(test)]
mod tests;

pub use edit::Mapping;
pub use frames::{FrameAllocator, FrameRange};
pub use mapper::{Flush, MapError, Mapper};
pub use pages::MappedPages;
