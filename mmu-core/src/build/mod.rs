//! Writing page tables: a mapper over any format, fed by a frame allocator.

mod frames;
mod mapper;
#[cfg(test)]
mod tests;

pub use frames::{FrameAllocator, FrameRange};
pub use mapper::{Flush, MapError, Mapper};
