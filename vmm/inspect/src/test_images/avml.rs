//! AVML images of version 2, as its `src/image.rs` writes them.

use snap::write::FrameEncoder;
use std::io::Write;

/// An AVML image: a block for each piece of memory.
///
/// # Panics
/// When memory has no room.
pub fn avml(memory: &[(u64, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    for (start, bytes) in memory {
        file.extend(b"AVML\x02\0\0\0");
        for word in [*start, start + bytes.len() as u64 - 1, 0] {
            file.extend(word.to_le_bytes());
        }
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).expect("memory has room");
        let stream = encoder.into_inner().expect("memory has room");
        file.extend(&stream);
        file.extend((stream.len() as u64).to_le_bytes());
    }
    file
}
