//! AVML, version 2: blocks of memory, each with a header as `LiME` has it, a stream of snappy frames
//! (`framing_format.txt` of snappy), and the number of bytes of that stream.
//!
//! A chunk of a stream has at most 64 KiB. Nothing says where one is but the chunk before it, so that all of
//! their headers are read once. The places of some are kept: at most 18 MiB for all, and 32 KiB for a GiB.

use crate::bytes::{ImageBytes, Window, half, word};
use crate::checkpoints::Checkpoints;
use crate::error::ReadError;
use crate::extents::{Extent, Extents};
use std::io::Read;

/// The first word of the header of each block: `AVML`.
pub(crate) const MAGIC: u32 = 0x4c4d_5641;
const VERSION: u32 = 2;
const HEADER_BYTES: u64 = 32;
/// Behind a stream: its number of bytes.
const TRAILER_BYTES: u64 = 8;

/// The most bytes that a chunk is decompressed to, and the most that it has with its checksum.
pub(super) const MAX_CHUNK: usize = 1 << 16;
const MAX_COMPRESSED: usize = 76_490 + CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 4;
/// The least but for the last one of a block, so that a table is in a few chunks.
const MIN_CHUNK: u64 = 0x1000;
const CHUNK_HEADER_BYTES: u64 = 4;
/// The most chunks without memory before one that has some. Padding can have 16 MiB in one chunk.
const MAX_SKIPPED: u32 = 64;

/// How a stream of snappy frames begins.
const STREAM_IDENTIFIER: &[u8] = b"\xff\x06\0\0sNaPpY";

/// The most ranges of memory. Blocks next to each other are one.
const MAX_RANGES: usize = 1 << 16;
/// The most chunks whose places are kept: all up to 32 GiB.
const MAX_PLACES: usize = 1 << 19;

/// The blocks of an AVML image. The position of a byte is the number of bytes of memory before it in the file.
#[derive(Debug)]
pub(crate) struct AvmlBlocks {
    /// For each physical address its position.
    pub(super) ranges: Extents,
    chunks: Checkpoints<Place>,
}

/// A place in a block.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The offset of the header of a chunk.
    offset: u64,
    /// Number of bytes of memory from there to the end of the block.
    left: u64,
}

/// A chunk with memory.
struct Chunk {
    /// The offset of its header.
    offset: u64,
    /// Number of bytes with the header.
    bytes: u64,
    /// Number of bytes of memory.
    len: u64,
}

impl AvmlBlocks {
    /// Looks at the headers of all blocks and chunks.
    pub(crate) fn new(bytes: &ImageBytes) -> Result<Self, ReadError> {
        let mut listed: Vec<Extent> = Vec::new();
        let mut chunks = Checkpoints::new(MAX_PLACES);
        let mut window = Window::new(bytes);
        let mut position: u64 = 0;
        let mut offset = 0;
        while offset < bytes.len() {
            let (start, mut place) = block(&mut window, offset)?;
            match listed.last_mut() {
                Some(range) if range.start.checked_add(range.len) == Some(start) => {
                    range.len = range.len.saturating_add(place.left);
                }
                _ => listed.extend(Extent::new(start, place.left, position)),
            }
            if listed.len() > MAX_RANGES {
                return Err(ReadError::damaged(offset, "expected at most 65536 ranges"));
            }

            let stream = place.offset;
            while place.left > 0 {
                let chunk = next_chunk(&mut window, place)?;
                // Where it is itself: what was passed over before it is never looked at again.
                chunks.add(position, Place { offset: chunk.offset, ..place });
                position = position.saturating_add(chunk.len);
                place = place.behind(&chunk);
            }
            let len = word(&window.array::<{ TRAILER_BYTES as usize }>(place.offset)?, 0);
            if len != place.offset.saturating_sub(stream) {
                let problem = "expected the number of bytes of the stream before it";
                return Err(ReadError::damaged(place.offset, problem));
            }
            offset = place.offset.saturating_add(TRAILER_BYTES);
        }
        Ok(Self { ranges: Extents::new(&listed), chunks })
    }

    /// Decompresses the chunk that has a position. Returns the position of its first byte.
    pub(super) fn read(
        &self,
        bytes: &ImageBytes,
        position: u64,
        memory: &mut Vec<u8>,
    ) -> Result<u64, ReadError> {
        let nowhere = ReadError::damaged(0, "the file has changed meanwhile");
        let (mut first, mut place) = self.chunks.before(position).ok_or(nowhere)?;
        let mut window = Window::new(bytes);
        loop {
            let chunk = next_chunk(&mut window, place)?;
            if position.saturating_sub(first) < chunk.len {
                chunk.decompress(bytes, memory)?;
                return Ok(first);
            }
            first = first.saturating_add(chunk.len);
            place = place.behind(&chunk);
            if place.left == 0 {
                place = block(&mut window, place.offset.saturating_add(TRAILER_BYTES))?.1;
            }
        }
    }
}

impl Place {
    const fn behind(self, chunk: &Chunk) -> Self {
        Self {
            offset: chunk.offset.saturating_add(chunk.bytes),
            left: self.left.saturating_sub(chunk.len),
        }
    }
}

/// The first address of a block, and where its stream begins.
fn block(bytes: &mut Window<'_>, offset: u64) -> Result<(u64, Place), ReadError> {
    let header: [u8; HEADER_BYTES as usize] = bytes.array(offset)?;
    let damaged = |problem| Err(ReadError::damaged(offset, problem));
    if half(&header, 0) != MAGIC || half(&header, 4) != VERSION {
        return damaged("expected the header of a block of AVML, version 2");
    }
    let (start, last) = (word(&header, 8), word(&header, 16));
    let Some(left) = last.checked_sub(start).and_then(|size| size.checked_add(1)) else {
        return damaged("expected a first address and a last one that is not below it");
    };
    Ok((start, Place { offset: offset.saturating_add(HEADER_BYTES), left }))
}

/// The chunk with memory at or behind a place of a block. Others are passed over.
fn next_chunk(bytes: &mut Window<'_>, place: Place) -> Result<Chunk, ReadError> {
    let mut offset = place.offset;
    let mut skipped = 0;
    loop {
        let damaged = |problem| Err(ReadError::damaged(offset, problem));
        let header: [u8; CHUNK_HEADER_BYTES as usize] = bytes.array(offset)?;
        let (kind, size) = (header[0], half(&header, 0) >> 8);
        let data = offset.saturating_add(CHUNK_HEADER_BYTES);
        if !bytes.has(data, size.into()) {
            return damaged("the file ends before a chunk does");
        }

        let checked = u64::from(size).saturating_sub(CHECKSUM_BYTES as u64);
        let len = match kind {
            // Compressed: checksum, and the size of the contents in groups of seven bits.
            0 => content_len(bytes, data, size)?,
            1 => checked,
            0x80..=0xff if skipped == MAX_SKIPPED => {
                return damaged("expected a chunk with memory after at most 64 without");
            }
            0x80..=0xff => {
                skipped = skipped.saturating_add(1);
                offset = data.saturating_add(size.into());
                continue;
            }
            _ => return damaged("expected a chunk of a snappy stream"),
        };
        if size as usize > MAX_COMPRESSED || !(1..=MAX_CHUNK as u64).contains(&len) {
            return damaged("expected a chunk of 1 byte to 64 KiB");
        }
        if len > place.left {
            return damaged("a chunk is larger than the rest of its block");
        }
        if len < MIN_CHUNK && len != place.left {
            return damaged("expected a chunk of at least a page before the last one of a block");
        }
        return Ok(Chunk { offset, bytes: CHUNK_HEADER_BYTES.saturating_add(size.into()), len });
    }
}

/// The number of bytes that a compressed chunk has when it is decompressed.
fn content_len(bytes: &mut Window<'_>, data: u64, size: u32) -> Result<u64, ReadError> {
    let mut beginning = [0; 5];
    let count = (size as usize).saturating_sub(CHECKSUM_BYTES).min(beginning.len());
    let used = beginning.get_mut(..count).unwrap_or_default();
    bytes.read(data.saturating_add(CHECKSUM_BYTES as u64), used)?;
    let len = snap::raw::decompress_len(used);
    len.map(|len| len as u64).map_err(|_| ReadError::damaged(data, "expected the size of a chunk"))
}

impl Chunk {
    /// Decompresses the chunk, and checks its checksum: as a stream of this chunk alone.
    fn decompress(&self, bytes: &ImageBytes, memory: &mut Vec<u8>) -> Result<(), ReadError> {
        let mut chunk = vec![0; self.bytes as usize];
        bytes.read(self.offset, &mut chunk)?;
        memory.resize(self.len as usize, 0);
        let mut stream = snap::read::FrameDecoder::new(STREAM_IDENTIFIER.chain(&*chunk));
        let made = stream.read_exact(memory);
        made.map_err(|_| ReadError::damaged(self.offset, "the snappy data of a chunk are damaged"))
    }
}
