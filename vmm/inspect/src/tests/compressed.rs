//! Compressed images: what their headers say, and what is wrong with files that are not as they claim.

use super::{file, open, pages, scan};
use crate::test_images::{
    PageCompression, avml, cpu_32, cpu_64, flattened, kdump, note, notes_of, small_guest, windows,
    windows_with_bitmap,
};
use crate::{ImageOptions, Limits, MemoryImage, ReadError, StateOptions};
use mmu_core::{PagingMode, PhysAddr};

/// A good file, with other bytes at an offset.
fn changed(good: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut contents = good.to_vec();
    contents[at..at + bytes.len()].copy_from_slice(bytes);
    contents
}

/// Checks that each file is refused, with these words in the error.
fn assert_refused(files: &[(Vec<u8>, &str)]) {
    for (contents, words) in files {
        let error = open(contents).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words), "no {words:?} in {error:?}");
    }
}

/// The error of reading one byte of an image that opens.
fn read_error(contents: &[u8], at: u64) -> String {
    let image = open(contents).unwrap();
    image.memory().read(PhysAddr::new(at), &mut [0]).unwrap_err().to_string()
}

/// 16 pages; the first three bitmaps and headers are blocks, descriptors begin at 0x4000.
fn small_kdump(compression: PageCompression) -> Vec<u8> {
    kdump(true, &notes_of(&[cpu_64(0x1000)]), &[(0, &small_guest().0)], compression)
}

#[test]
fn a_kdump_has_registers_and_ranges() {
    let memory = small_guest().0;
    let pieces: [(u64, &[u8]); 2] = [(0, &memory), (1 << 32, &memory[..0x2000])];
    let contents = kdump(true, &notes_of(&[cpu_64(0x1000)]), &pieces, PageCompression::Zlib);
    for contents in [flattened(&contents, 777), contents] {
        let image = open(&contents).unwrap();
        assert_eq!(image.cpus(), [cpu_64(0x1000)]);
        assert_eq!((image.memory().byte_count(), image.memory().range_count()), (0x12000, 2));
        assert!(image.has(PhysAddr::new((1 << 32) + 0x1fff)));
        assert!(
            !image.has(PhysAddr::new(0x10000)) && !image.has(PhysAddr::new((1 << 32) + 0x2000))
        );
        let found = scan(&image, &StateOptions::default(), Limits::default());
        assert_eq!(pages(&found).len(), 13);
    }
}

/// QEMU writes headers of 32 bits for a guest that is not in long mode.
#[test]
fn a_kdump_of_a_32_bit_guest_has_other_headers() {
    let contents =
        kdump(false, &notes_of(&[cpu_32(0x1000)]), &[(0, &[0; 0x3000])], PageCompression::None);
    let unnamed = changed(&contents, 272, b"Unknown\0");
    for contents in [contents, unnamed] {
        let image = open(&contents).unwrap();
        assert_eq!((image.memory().byte_count(), image.cpus().len()), (0x3000, 1));
        let state = image.control_state(&StateOptions::default()).unwrap().state;
        assert_eq!((state.mode(), state.cr3), (PagingMode::Bits32, 0x1000));
    }
    // With words of 64 bits, and no name.
    let unnamed = changed(&small_kdump(PageCompression::Zlib), 272, b"Unknown\0");
    assert_eq!(open(&unnamed).unwrap().cpus().len(), 1);
}

#[test]
fn the_kernels_tables_are_found_by_the_text_or_the_note_of_a_kdump() {
    let text =
        b"OSRELEASE=6.1.0\nSYMBOL(init_top_pgt)=ffffffff81001000\nNUMBER(phys_base)=-16777216\n";
    let notes = note(b"VMCOREINFO\0\0", 11, text);
    let in_note = kdump(true, &notes, &[(0, &small_guest().0)], PageCompression::Snappy);
    // The text behind the header of the note and its name, and no notes.
    let mut places = [0; 32];
    places[..8].copy_from_slice(&(0x1068_u64 + 24).to_le_bytes());
    places[8..16].copy_from_slice(&(text.len() as u64).to_le_bytes());
    let in_text = changed(&in_note, 0x1000 + 32, &places);

    for contents in [in_note, in_text] {
        let image = open(&contents).unwrap();
        let state = image.control_state(&StateOptions::default()).unwrap();
        assert_eq!(state.state.cr3, 0x1000);
        assert!(state.derived[0].starts_with("CR3 is init_top_pgt - "), "{:?}", state.derived);
    }
}

#[test]
fn vmcoreinfo_is_found_in_compressed_memory() {
    let text =
        b"OSRELEASE=6.1.0\nSYMBOL(init_top_pgt)=ffffffff81001000\nNUMBER(phys_base)=-16777216\n";
    let mut memory = small_guest().0;
    memory[0xf000..0xf000 + text.len()].copy_from_slice(text);
    let good = kdump(true, &[], &[(0, &memory)], PageCompression::Zlib);
    // The first page cannot be decompressed, which the search passes over.
    let damaged = changed(&good, 0x4000 + 12, &[5]);
    for contents in [avml(&[(0, &memory)]), good, damaged] {
        let state = open(&contents).unwrap().control_state(&StateOptions::default()).unwrap();
        assert_eq!(state.state.cr3, 0x1000);
    }
}

#[test]
fn a_malformed_kdump_is_refused_with_the_place() {
    let good = small_kdump(PageCompression::Zlib);
    let word = |at, value: u64| changed(&good, at, &value.to_le_bytes());
    assert_refused(&[
        (good[..0x800].to_vec(), "the header: the file ends before it does"),
        (good[..0x1800].to_vec(), "the second header: the file ends before it does"),
        (good[..0x3800].to_vec(), "the second bitmap at 0x3000: the file ends before it does"),
        (
            good[..0x4100].to_vec(),
            "the page descriptors at 0x4000: the file ends before those of 0x10 pages",
        ),
        (
            good[..good.len() - 1].to_vec(),
            "the page descriptor at 0x40c0: the file ends before the bytes",
        ),
        (changed(&good, 272, b"aarch64"), "the header: expected a dump of an x86 processor"),
        (changed(&good, 428, &[0, 0, 1]), "expected blocks of 4096 bytes, not 65536"),
        (changed(&good, 0x1000 + 12, &[1]), "it is one of several parts of a dump"),
        // Bitmaps of one block, and of 2^32 - 1.
        (changed(&good, 436, &[1]), "its 0x0 bytes are too few for 0x10 pages"),
        (changed(&good, 436, &[0xff; 4]), "the file ends before it does"),
        // The number of pages.
        (word(0x1000 + 96, u64::MAX), "expected at most 0x400000000 pages, not 0xffffffffffffffff"),
        (word(0x1000 + 96, 0x8001), "its 0x1000 bytes are too few for 0x8001 pages"),
        // The place of the notes and their size, and that of VMCOREINFO.
        (word(0x1000 + 48, u64::MAX), "the notes at 0xffffffffffffffff: the file ends before its"),
        (word(0x1000 + 56, 1 << 40), "the notes at 0x1068: expected at most 0x1000000 bytes"),
        (word(0x1000 + 40, 0x1001), "the VMCOREINFO at 0x0: expected at most 0x1000 bytes"),
    ]);
}

#[test]
fn a_malformed_page_of_a_kdump_is_an_error_of_reading() {
    // A dump that says of itself that it was broken off is opened whatever it lacks.
    let good = changed(&small_kdump(PageCompression::Zlib), 424, &[8]);
    let descriptor = |at: usize, bytes: &[u8]| changed(&good, 0x4000 + at, bytes);
    for (contents, words) in [
        (
            descriptor(0, &[0xff; 8]),
            "the file is damaged at 0x4000: the bytes of a page are beyond the end",
        ),
        (
            descriptor(8, &[0; 4]),
            "damaged at 0x4000: expected a page descriptor of 1 to 8192 bytes",
        ),
        (descriptor(8, &[0xff; 4]), "expected a page descriptor of 1 to 8192 bytes"),
        // Other ways to compress a page than the way it was.
        (descriptor(12, &[0]), "a page that is not compressed has 4096 bytes"),
        (descriptor(12, &[2]), "the LZO data of a page are damaged"),
        (descriptor(12, &[4]), "the snappy data of a page are damaged"),
        (descriptor(12, &[0x20]), "the zstd data of a page are damaged"),
        (descriptor(12, &[3]), "a page is compressed in more than one way"),
        (descriptor(0, &[0; 8]), "the zlib data of a page are damaged"),
    ] {
        let error = read_error(&contents, 0);
        assert!(error.contains(words), "no {words:?} in {error:?}");
        // The other pages are there, before and afterwards.
        let image = open(&contents).unwrap();
        for _ in 0..2 {
            image.memory().read(PhysAddr::new(0x1000), &mut [0; 0x3000]).unwrap();
            assert!(image.memory().read(PhysAddr::new(0xfff), &mut [0; 2]).is_err());
        }
    }
}

#[test]
fn a_malformed_flattened_file_is_refused_with_the_place() {
    let good = flattened(&small_kdump(PageCompression::Zlib), 0x1000);
    // The second record is at 0x1000 + 16 + 0x1000.
    assert_refused(&[
        (good[..20].to_vec(), "the header of the flattened file: the file ends before it does"),
        (changed(&good, 31, &[2]), "expected a flattened file of type 1 and version 1"),
        (good[..0x1008].to_vec(), "the record at 0x1000: the file ends before it does"),
        (good[..good.len() - 16].to_vec(), ": the file ends before it does"),
        (good[..good.len() - 17].to_vec(), ": the file ends before its"),
        (changed(&good, 0x2010, &[0x80]), "the record at 0x2010: expected some bytes at an offset"),
        (changed(&good, 0x2018, &[0xff; 8]), "expected some bytes at an offset, not -1 at"),
        (changed(&good, 0x2018, &[0; 8]), "expected some bytes at an offset, not 0 at"),
        (
            changed(&good, 0x2018, &[0x7f; 8]),
            "the file ends before its 0x7f7f7f7f7f7f7f7f bytes do",
        ),
        (flattened(b"\x7fELF", 4), "the header: the file ends before it does"),
        (flattened(&[0x7f; 0x3000], 0x1000), "the header: expected a kdump"),
    ]);
}

#[test]
fn a_malformed_avml_image_is_refused_with_the_place() {
    let good = avml(&[(0, &small_guest().0), (0x1_0000, &vec![7; 0x2_0000])]);
    let second =
        32 + (good.windows(4).skip(1).position(|found| found == b"AVML").unwrap() + 1) - 32;
    let at = |place: usize| format!("at {place:#x}");
    assert_refused(&[
        (good[..16].to_vec(), "its blocks: the file ends before it does"),
        (changed(&good, 4, &[1]), "expected the header of a block of AVML, version 2, at 0x0"),
        (changed(&good, second, &[0]), &at(second)),
        (
            changed(&good, second - 8, &[0xff; 8]),
            "expected the number of bytes of the stream before it",
        ),
        // The first address above the last, more than the stream has, and all of 64 bits.
        (changed(&good, 8, &[0xff; 8]), "expected a first address and a last one"),
        (changed(&good, 16, &[0xff, 0xff, 2]), "expected a chunk"),
        (changed(&good, 16, &[0xff; 8]), "expected a first address and a last one"),
        // The first chunk names the stream; the second one has memory.
        (changed(&good, 32, &[2]), "expected a chunk of a snappy stream, at 0x20"),
        (changed(&good, 42, &[0, 0xff, 0xff, 0xff]), "the file ends before a chunk does, at 0x2a"),
        (changed(&good, 42, &[0, 0, 0, 0]), "expected a chunk of 1 byte to 64 KiB, at 0x2a"),
        (changed(&good, 50, &[0xff, 0xff, 0xff, 0x7f]), "expected a chunk of 1 byte to 64 KiB"),
        (changed(&good, 50, &[1]), "at 0x2a"),
        (good[..good.len() - 9].to_vec(), "its blocks: the file ends before"),
    ]);

    // Contents that do not fit to their checksum.
    assert!(
        read_error(&changed(&good, 46, &[0xff; 4]), 0)
            .contains("snappy data of a chunk are damaged")
    );
    let image = open(&good).unwrap();
    let mut bytes = vec![0; 0x2_0010];
    image.memory().read(PhysAddr::new(0xfff0), &mut bytes).unwrap();
    assert!(bytes[..16] == [0; 16] && bytes[16..].iter().all(|byte| *byte == 7));
}

/// Padding (`framing_format.txt` of snappy, 4.4) may have no bytes, so that a file has millions of them.
#[test]
fn an_avml_image_is_not_made_of_padding() {
    let memory = small_guest().0;
    // Behind the header of the block and the identifier of the stream; the number of bytes is at the end.
    let padded = |count: usize| {
        let good = avml(&[(0, &memory)]);
        let (stream, len) = good.split_at(good.len() - 8);
        let len = u64::from_le_bytes(len.try_into().unwrap()) + 4 * count as u64;
        let padding = [0xfe, 0, 0, 0].repeat(count);
        [&stream[..42], &padding, &stream[42..], &len.to_le_bytes()].concat()
    };

    // The identifier is a chunk without memory, too.
    let image = open(&padded(63)).unwrap();
    let mut read = vec![0; memory.len()];
    image.memory().read(PhysAddr::new(0), &mut read).unwrap();
    assert!(read == memory);
    let words = "expected a chunk with memory after at most 64 without, at 0x126";
    assert_refused(&[(padded(64), words)]);
}

#[test]
fn a_windows_dump_has_its_root_in_the_header() {
    let memory = small_guest().0;
    for contents in [windows(0x1000, &[(0, &memory)]), windows_with_bitmap(0x1000, &[(0, &memory)])]
    {
        let image = open(&contents).unwrap();
        let derived = image.control_state(&StateOptions::default()).unwrap();
        assert_eq!((derived.state.cr3, derived.state.mode()), (0x1000, PagingMode::FourLevel));
        assert!(derived.derived[0].contains("directory table base"), "{:?}", derived.derived);
        let found = scan(&image, &StateOptions::default(), Limits::default());
        assert_eq!(pages(&found).len(), 13);
        let options = StateOptions { cr3: Some(0x5000), ..StateOptions::default() };
        assert_eq!(image.control_state(&options).unwrap().state.cr3, 0x5000);
    }
}

#[test]
fn a_malformed_windows_dump_is_refused_with_the_place() {
    let memory = small_guest().0;
    let whole = windows(0x1000, &[(0, &memory[..0x3000]), (0x10000, &memory)]);
    let mapped = windows_with_bitmap(0x1000, &[(0, &memory[..0x3000]), (0x8000, &memory)]);
    assert_refused(&[
        (whole[..0x1fff].to_vec(), "the header: the file ends before it does"),
        (changed(&whole, 0x30, &[0x64, 0xaa]), "expected a processor of type 0x8664, not 0xaa64"),
        (changed(&whole, 0xf98, &[4]), "it is a Windows crash dump of type 4"),
        (changed(&whole, 0x88, &[43]), "expected at most 42 ranges of memory, not 43"),
        (
            changed(&whole, 0xa8, &[0xff; 8]),
            "range 1 at 0xa8: 0x10 pages from page 0xffffffffffffffff",
        ),
        (changed(&whole, 0xa0, &[0; 8]), "range 0 at 0x98: 0x0 pages"),
        (
            whole[..whole.len() - 1].to_vec(),
            "range 1 at 0xa8: the file ends before its 0x10 pages do",
        ),
        (
            mapped[..0x2030].to_vec(),
            "the header of the bitmap at 0x2000: the file ends before it does",
        ),
        (changed(&mapped, 0x2000, b"X"), "expected SDMPDUMP or FDMPDUMP"),
        (changed(&mapped, 0x2030, &[0xff; 8]), "expected at most 0x400000000 pages"),
        (changed(&mapped, 0x2030, &[0, 0, 0, 0, 2]), "the file ends before the bitmap does"),
        (
            mapped[..mapped.len() - 1].to_vec(),
            "the file ends before its 0x13 pages from 0x4000 on do",
        ),
        (changed(&mapped, 0x2020, &[0xff; 8]), "the file ends before its 0x13 pages"),
    ]);
}

/// The file is cut short after it was opened: an error, and no page.
#[test]
fn a_compressed_file_that_was_cut_short_meanwhile_is_an_error_of_reading() {
    let contents = small_kdump(PageCompression::Zlib);
    for contents in [flattened(&contents, 0x1000), avml(&[(0, &small_guest().0)]), contents] {
        let file = file(&contents);
        let image = MemoryImage::open(file.path(), &ImageOptions::default()).unwrap();
        file.as_file().set_len(0x10).unwrap();
        let read = image.memory().read(PhysAddr::new(0x1000), &mut [0; 8]);
        assert!(matches!(read, Err(ReadError::Host { .. })), "{read:?}");
    }
}
