//! How a page of a kdump is compressed. Whatever the compressed bytes are, one page is made of them, or none.

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::io::Read;

/// Number of bytes of a page.
pub(crate) const PAGE_BYTES: usize = 0x1000;

/// The most bytes of a compressed page. One that does not become smaller is not compressed.
pub(super) const MAX_COMPRESSED: usize = 2 * PAGE_BYTES;

/// The largest window of a zstd frame. A page needs one of its own size; some encoders ask for more.
const MAX_WINDOW: u64 = 1 << 20;

// The flags of a page descriptor that say how the page is compressed (`diskdump_mod.h` in makedumpfile).
const ZLIB: u32 = 0x1;
const LZO: u32 = 0x2;
const SNAPPY: u32 = 0x4;
const ZSTD: u32 = 0x20;

/// A page.
pub(crate) type Page = [u8; PAGE_BYTES];

/// Makes a page of its bytes in the file.
///
/// # Errors
/// What is wrong with them.
pub(super) fn decompress(flags: u32, bytes: &[u8], page: &mut Page) -> Result<(), &'static str> {
    match flags & (ZLIB | LZO | SNAPPY | ZSTD) {
        0 => {
            let whole =
                bytes.try_into().map_err(|_| "a page that is not compressed has 4096 bytes")?;
            *page = whole;
            Ok(())
        }
        ZLIB => zlib(bytes, page).ok_or("the zlib data of a page are damaged"),
        LZO => {
            let made = lzokay::decompress::decompress(bytes, page);
            is_whole(made.ok()).ok_or("the LZO data of a page are damaged")
        }
        SNAPPY => {
            let made = snap::raw::Decoder::new().decompress(bytes, page);
            is_whole(made.ok()).ok_or("the snappy data of a page are damaged")
        }
        ZSTD => zstd(bytes, page).ok_or("the zstd data of a page are damaged"),
        _ => Err("a page is compressed in more than one way"),
    }
}

fn is_whole(made: Option<usize>) -> Option<()> {
    made.filter(|made| *made == PAGE_BYTES).map(|_| ())
}

fn zlib(bytes: &[u8], page: &mut Page) -> Option<()> {
    let mut stream = Decompress::new(true);
    let status = stream.decompress(bytes, page, FlushDecompress::Finish).ok()?;
    let is_whole = status == Status::StreamEnd && stream.total_out() == PAGE_BYTES as u64;
    is_whole.then_some(())
}

fn zstd(bytes: &[u8], page: &mut Page) -> Option<()> {
    let mut stream: StreamingDecoder<_, FrameDecoder> =
        StreamingDecoder::new_with_max_window_size(bytes, MAX_WINDOW).ok()?;
    stream.read_exact(page).ok()?;
    let is_at_end = stream.read(&mut [0]).ok()? == 0;
    is_at_end.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn zlib_of(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn snappy_of(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    fn zstd_of(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// Bytes that repeat themselves after a while.
    fn contents(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn each_way_leads_to_the_page() {
        let expected = contents(PAGE_BYTES);
        let of = |flags, bytes: &[u8]| {
            let mut page = [0; PAGE_BYTES];
            decompress(flags, bytes, &mut page).map(|()| page.to_vec())
        };
        assert_eq!(of(0, &expected), Ok(expected.clone()));
        assert_eq!(of(ZLIB, &zlib_of(&expected)), Ok(expected.clone()));
        assert_eq!(of(SNAPPY, &snappy_of(&expected)), Ok(expected.clone()));
        assert_eq!(of(ZSTD, &zstd_of(&expected)), Ok(expected.clone()));
    }

    /// A run of 4096 zeros, as the LZO stream is spelled: four zeros as literals, then a match of 4092 bytes
    /// at distance 1 (2 + 31 + 15 * 255 + 234), and the end.
    #[test]
    fn lzo_is_read_as_its_opcodes_say() {
        let mut stream = vec![17 + 4, 0, 0, 0, 0, 0x20];
        stream.extend([0; 15]);
        stream.extend([234, 0, 0, 0x11, 0, 0]);
        let mut page = [1; PAGE_BYTES];
        assert_eq!(decompress(LZO, &stream, &mut page), Ok(()));
        assert_eq!(page, [0; PAGE_BYTES]);
        stream[21] = 235;
        assert_eq!(decompress(LZO, &stream, &mut page), Err("the LZO data of a page are damaged"));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let mut page = [0; PAGE_BYTES];
        for len in [0, PAGE_BYTES - 1, PAGE_BYTES + 1, 100 * PAGE_BYTES] {
            let bytes = contents(len);
            for (flags, compressed) in [
                (0, bytes.clone()),
                (ZLIB, zlib_of(&bytes)),
                (SNAPPY, snappy_of(&bytes)),
                (ZSTD, zstd_of(&bytes)),
            ] {
                assert!(decompress(flags, &compressed, &mut page).is_err(), "{flags} of {len}");
            }
        }
        let two = decompress(ZLIB | SNAPPY, &contents(PAGE_BYTES), &mut page);
        assert_eq!(two, Err("a page is compressed in more than one way"));
    }

    /// 128 KiB of each four bytes, and a window of 2 GiB.
    #[test]
    fn a_bomb_of_zstd_makes_no_page() {
        let mut page = [0; PAGE_BYTES];
        let frame = |window: u8, blocks: usize| {
            let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window];
            for _ in 0..blocks {
                // An RLE block of 128 KiB that is not the last one.
                frame.extend([0x02, 0, 0x10, 7]);
            }
            frame
        };
        for bomb in [frame(0x38, 2000), frame(0xa8, 1)] {
            assert!(decompress(ZSTD, &bomb, &mut page).is_err());
        }
    }
}
