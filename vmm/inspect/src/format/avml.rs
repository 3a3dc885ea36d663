//! AVML, version 2.

use super::Contents;
use crate::bytes::ImageBytes;
use crate::error::{AboutFile, MemoryImageError};
use crate::layout::{AvmlBlocks, Layout};

pub(super) fn read(bytes: &ImageBytes, about: &AboutFile) -> Result<Contents, MemoryImageError> {
    let blocks = AvmlBlocks::new(bytes);
    let blocks = blocks.map_err(|error| about.unreadable("its blocks", error))?;
    Ok(Contents { layout: Layout::avml(blocks), ..Contents::default() })
}
