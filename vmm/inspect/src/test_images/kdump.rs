//! Kdumps, as makedumpfile(8) and its file `IMPLEMENTATION` describe them.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Write;

const PAGE: usize = 0x1000;

/// How the pages of a kdump are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageCompression {
    /// Not at all.
    None,
    /// By zlib.
    Zlib,
    /// By LZO, in two steps: what is in front as literals, and the zeros at the end as a match.
    Lzo,
    /// By snappy.
    Snappy,
    /// By zstd.
    Zstd,
}

impl PageCompression {
    /// Every way.
    pub const ALL: [Self; 5] = [Self::None, Self::Zlib, Self::Lzo, Self::Snappy, Self::Zstd];

    /// The flags of a page descriptor, and the bytes of a page. One that does not become smaller stays as it is.
    fn compress(self, page: &[u8]) -> (u32, Vec<u8>) {
        let (flags, bytes) = match self {
            Self::None => (0, page.to_vec()),
            Self::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(page).expect("memory has room");
                (1, encoder.finish().expect("memory has room"))
            }
            Self::Lzo => (2, lzo(page)),
            Self::Snappy => {
                (4, snap::raw::Encoder::new().compress_vec(page).expect("a page is small"))
            }
            Self::Zstd => (0x20, compress_to_vec(page, CompressionLevel::Fastest)),
        };
        if bytes.len() < page.len() { (flags, bytes) } else { (0, page.to_vec()) }
    }
}

/// An LZO stream of a page: one run of literals that ends with a zero, one match at distance 1, and the end.
fn lzo(page: &[u8]) -> Vec<u8> {
    /// A length that does not fit into its opcode: 255 for each zero, and a last byte that is not zero.
    fn long(stream: &mut Vec<u8>, rest: usize) {
        stream.resize(stream.len() + (rest - 1) / 255, 0);
        stream.push(((rest - 1) % 255 + 1) as u8);
    }

    let used = page.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let literals = (used + 1).max(19);
    if literals + 34 > page.len() {
        return page.to_vec();
    }
    let mut stream = vec![0];
    long(&mut stream, literals - 18);
    stream.extend(&page[..literals]);
    stream.push(0x20);
    long(&mut stream, page.len() - literals - 33);
    stream.extend([0, 0, 0x11, 0, 0]);
    stream
}

/// A kdump of version 6 with these notes, and memory, each piece of whole pages with its physical address.
/// Pages of zeros share their bytes. 32-bit and 64-bit kernels have different headers.
pub fn kdump(
    is_64_bit: bool,
    notes: &[u8],
    memory: &[(u64, &[u8])],
    compression: PageCompression,
) -> Vec<u8> {
    let mut pages: Vec<(u64, &[u8])> = memory
        .iter()
        .flat_map(|(start, bytes)| (start / PAGE as u64..).zip(bytes.chunks(PAGE)))
        .collect();
    pages.sort_by_key(|(number, _)| *number);
    let count = pages.last().map_or(1, |(number, _)| number + 1);
    let mut bitmap = vec![0_u8; count.div_ceil(8).next_multiple_of(PAGE as u64) as usize];
    for (number, _) in &pages {
        bitmap[(number / 8) as usize] |= 1 << (number % 8);
    }

    let mut file = headers(is_64_bit, notes, count, 2 * bitmap.len() / PAGE);
    file.extend(&bitmap);
    file.extend(&bitmap);
    let mut descriptors = Vec::new();
    let mut contents: Vec<u8> = Vec::new();
    let contents_at = file.len() + 24 * pages.len();
    let mut zero = None;
    for (_, page) in &pages {
        let is_zero = page.iter().all(|byte| *byte == 0);
        let (flags, bytes) = compression.compress(page);
        let at = zero.filter(|_| is_zero).unwrap_or(contents_at + contents.len());
        if !is_zero || zero.is_none() {
            contents.extend(&bytes);
        }
        if is_zero {
            zero = Some(at);
        }
        descriptors.extend((at as u64).to_le_bytes());
        descriptors.extend((bytes.len() as u32).to_le_bytes());
        descriptors.extend(flags.to_le_bytes());
        descriptors.extend([0; 8]);
    }
    file.extend(descriptors);
    file.extend(contents);
    file
}

/// The two headers, and the notes behind the fields of the second one.
fn headers(is_64_bit: bool, notes: &[u8], pages: u64, bitmap_blocks: usize) -> Vec<u8> {
    const NOTES_AT: usize = PAGE + 104;

    let second_blocks = (104 + notes.len()).div_ceil(PAGE);
    let mut file = vec![0; PAGE * (1 + second_blocks)];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"KDUMP   \x06\0\0\0");
    put(272, if is_64_bit { b"x86_64" } else { b"i686\0\0" });
    let status = if is_64_bit { 424 } else { 412 };
    for (number, field) in
        [0, PAGE, second_blocks, bitmap_blocks, pages as usize].into_iter().enumerate()
    {
        put(status + 4 * number, &(field as u32).to_le_bytes());
    }

    let (offset_note, size_note, max_mapnr_64) =
        if is_64_bit { (48, 56, 96) } else { (32, 40, 72) };
    put(PAGE + offset_note, &(NOTES_AT as u64).to_le_bytes());
    put(PAGE + size_note, &(notes.len() as u32).to_le_bytes());
    put(PAGE + max_mapnr_64, &pages.to_le_bytes());
    put(NOTES_AT, notes);
    file
}

/// A flattened file: the bytes in records of this size, those of the second half first, and the first record
/// twice: at first with other bytes.
pub fn flattened(contents: &[u8], record: usize) -> Vec<u8> {
    let mut file = b"makedumpfile\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01".to_vec();
    file.resize(PAGE, 0);
    let mut add = |offset: i64, bytes: &[u8]| {
        file.extend(offset.to_be_bytes());
        file.extend((bytes.len() as i64).to_be_bytes());
        file.extend(bytes);
    };

    let records: Vec<_> = contents.chunks(record).enumerate().collect();
    let (first, second) = records.split_at(records.len() / 2);
    add(0, &vec![0xa5; record.min(contents.len())]);
    for (number, bytes) in second.iter().chain(first) {
        add((number * record) as i64, bytes);
    }
    file.extend([0xff; 16]);
    file
}
