//! What each format says, and what is wrong with files that are not as they claim.

use super::{file, open, open_with, pages, raw, scan};
use crate::test_images::{
    PageCompression, avml, cpu_64, elf, elf_with_notes, flattened, kdump, lime, note, note_of,
    notes_of, small_guest, windows, windows_with_bitmap,
};
use crate::{
    CpuNote, Extent, ImageFormat, ImageOptions, Limits, MemoryImage, ReadError, StateOptions,
};
use mmu_core::PhysAddr;
use mmu_core::memory::OutsideMemory;

#[test]
fn every_format_has_the_same_memory() {
    let memory = small_guest().0;
    let (low, high) = memory.split_at(0x6000);
    let pieces: [(u64, &[u8]); 2] = [(0, low), (0x6000, high)];
    let state = StateOptions { cr3: Some(0x1000), ..StateOptions::default() };

    let expected = pages(&scan(&raw(&memory), &state, Limits::default()));
    assert_eq!(expected.len(), 13);
    let kdumps = PageCompression::ALL.map(|how| {
        let contents = kdump(true, &notes_of(&[cpu_64(0x1000)]), &pieces, how);
        [(flattened(&contents, 1000), ImageFormat::Kdump), (contents, ImageFormat::Kdump)]
    });
    for (contents, format) in [
        (elf(true, &[cpu_64(0x1000)], &pieces), ImageFormat::Elf),
        (lime(&pieces), ImageFormat::Lime),
        (avml(&pieces), ImageFormat::Avml),
        (windows(0x1000, &pieces), ImageFormat::Windows),
        (windows_with_bitmap(0x1000, &pieces), ImageFormat::Windows),
    ]
    .into_iter()
    .chain(kdumps.into_iter().flatten())
    {
        let image = open(&contents).unwrap();
        assert_eq!(image.format(), format);
        assert_eq!(pages(&scan(&image, &state, Limits::default())), expected);

        let mut read = vec![0; memory.len()];
        image.memory().read(PhysAddr::new(0), &mut read).unwrap();
        assert!(read == memory, "{format}");
        let size = (image.memory().byte_count(), image.memory().range_count());
        assert_eq!(size.0, memory.len() as u64);
        let outside = ReadError::Outside(OutsideMemory(PhysAddr::new(0x10000)));
        assert_eq!(image.memory().read(PhysAddr::new(0xfff8), &mut read[..9]), Err(outside));
    }
}

#[test]
fn an_elf_dump_has_memory_and_registers() {
    let other = CpuNote { cr3: 0x5000, ..cpu_64(0) };
    let contents = elf(true, &[cpu_64(0x1000), other], &[(0, &[1; 16]), (1 << 32, &[2; 32])]);
    let image = open(&contents).unwrap();

    assert_eq!(image.cpus(), [cpu_64(0x1000), other]);
    // The headers are 64 and 3 times 56 bytes; each note has 12 bytes, a name of 8, and 440.
    let offset = 64 + 3 * 56 + 2 * 460;
    let extents: Vec<_> = image.memory().extents().unwrap().iter().collect();
    assert_eq!(
        extents,
        [
            Extent { start: 0, len: 16, offset },
            Extent { start: 1 << 32, len: 32, offset: offset + 16 }
        ]
    );

    let mut bytes = [0; 4];
    image.memory().read(PhysAddr::new((1 << 32) + 28), &mut bytes).unwrap();
    assert_eq!(bytes, [2; 4]);
    let outside = ReadError::Outside(OutsideMemory(PhysAddr::new(16)));
    assert_eq!(image.memory().read(PhysAddr::new(13), &mut bytes), Err(outside));
}

#[test]
fn other_notes_are_passed_over() {
    let core = note(b"CORE\0\0\0\0", 5, &[7; 336]);
    let notes = [core, note(b"QEMU\0\0\0\0", 5, &note_of(&cpu_64(0x1000)))].concat();
    let image = open(&elf_with_notes(true, &notes, &[])).unwrap();
    assert_eq!(image.cpus(), [cpu_64(0x1000)]);
}

#[test]
fn raw_memory_is_where_the_user_says() {
    let ram = vec!["0x1000:0x10@0x20".parse().unwrap()];
    let image = open_with(&[9; 0x30], &ImageOptions { format: None, ram }).unwrap();
    assert_eq!(image.format(), ImageFormat::Raw);
    assert!(image.has(PhysAddr::new(0x100f)));
    assert!(!image.has(PhysAddr::new(0x1010)) && !image.has(PhysAddr::new(0)));
}

/// Each file with a part of the error: where it is wrong, and what was expected.
#[test]
fn a_malformed_file_is_refused_with_the_place() {
    let good = elf(true, &[cpu_64(0x1000)], &[(0, &[0; 0x1000])]);
    let changed = |at: usize, bytes: &[u8]| {
        let mut contents = good.clone();
        contents[at..at + bytes.len()].copy_from_slice(bytes);
        contents
    };
    let short_note = note(b"QEMU\0\0\0\0", 5, &note_of(&cpu_64(0))[..400]);
    let mut endless_note = note(b"QEMU\0\0\0\0", 5, &[]);
    endless_note[4..8].fill(0xff);

    for (contents, words) in [
        (Vec::new(), "its first bytes are of no format that is known here"),
        (b"\x7fELF".to_vec(), "the ELF header: the file ends before it does"),
        (changed(6, &[7]), "the ELF header: expected one of little-endian words and version 1"),
        (
            good[..70].to_vec(),
            "the program headers at 0x40: expected 2 of 56 bytes each, and the file ends before",
        ),
        // e_phentsize.
        (
            changed(54, &[57]),
            "the program headers at 0x40: expected 32 bytes each, or 56 in a file of 64 bits, not 57",
        ),
        // EM_ARM, ELFDATA2MSB, and a number of headers that is in a section header.
        (changed(18, &[40]), "the ELF header: expected a core file of an x86 processor"),
        (changed(5, &[2]), "the ELF header: expected a core file of an x86 processor"),
        (
            changed(56, &[0xff, 0xff]),
            "the number of program headers is in the first section header, which is not at 0x0",
        ),
        // p_offset and p_filesz of the second program header.
        (
            changed(0x80, &[0xff; 8]),
            "program header 1: its 0x1000 bytes at 0xffffffffffffffff end beyond",
        ),
        (
            changed(0x98, &[0xff; 8]),
            "program header 1: its 0xffffffffffffffff bytes at 0x27c end beyond",
        ),
        // p_paddr.
        (
            changed(0x90, &[0xff; 8]),
            "program header 1: 0x1000 bytes at 0xffffffffffffffff do not fit into 64 bits",
        ),
        (
            good[..good.len() - 1].to_vec(),
            "program header 1: its 0x1000 bytes at 0x27c end beyond the 0x127b of the file",
        ),
        (
            elf_with_notes(true, &short_note, &[]),
            "the note of CPU 0: expected at least 432 bytes of registers, not 400",
        ),
        // Behind the headers of 64 and 56 bytes, and a note of 460.
        (
            elf_with_notes(true, &[notes_of(&[cpu_64(0)]), endless_note].concat(), &[]),
            "the note at 0x244: the note ends beyond the 0x1e0 bytes of notes",
        ),
        // p_align of the notes.
        (changed(64 + 48, &[16]), "expected notes aligned to 4 or 8 bytes, not to 16"),
        (b"EMiL\x01\0\0\0".to_vec(), "the header of range 0 at 0x0: the file ends within it"),
        (
            lime(&[(0, &[0; 64])])[..90].to_vec(),
            "the header of range 0 at 0x0: the file ends before its 0x40 bytes do",
        ),
        (
            [lime(&[(0, &[0; 64])]), vec![0; 40]].concat(),
            "the header of range 1 at 0x60: expected the number 0x4c694d45, not 0x0",
        ),
        (
            b"EMiL\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            "expected version 1, not 2",
        ),
        (
            b"EMiL\x01\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            "expected a range, not 0x2 to 0x1",
        ),
        (b"QEVM\0\0\0\x03".to_vec(), "it is a QEMU migration stream"),
        (b"PAGEDUMP".to_vec(), "it is a crash dump of 32-bit Windows"),
        (b"DISKDUMP".to_vec(), "it is a diskdump: convert it"),
    ] {
        let error = open(&contents).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words), "no {words:?} in {error:?}");
    }
}

#[test]
fn a_range_of_raw_memory_must_be_in_the_file() {
    for (range, words) in [
        ("0:0x31@0", "the range 0x0:0x31@0x0: it ends beyond the 0x30 bytes of the file"),
        ("0:0x10@0xffffffffffffffff", "it ends beyond the 0x30 bytes of the file"),
        ("0xffffffffffffffff:2@0", "it is empty, or ends beyond the last address of 64 bits"),
        ("0:0@0", "it is empty"),
    ] {
        let ram = vec![range.parse().unwrap()];
        let error = open_with(&[0; 0x30], &ImageOptions { format: None, ram }).unwrap_err();
        assert!(error.to_string().contains(words), "no {words:?} in {error}");
    }
}

#[test]
fn a_file_that_was_cut_short_meanwhile_is_an_error_of_reading() {
    let contents = elf(true, &[cpu_64(0)], &[(0, &[0; 0x1000])]);
    let file = file(&contents);
    let image = MemoryImage::open(file.path(), &ImageOptions::default()).unwrap();
    file.as_file().set_len(0x400).unwrap();

    let read = image.memory().read(PhysAddr::new(0x800), &mut [0; 8]);
    let offset = contents.len() as u64 - 0x800;
    assert_eq!(read, Err(ReadError::Host { offset, kind: std::io::ErrorKind::UnexpectedEof }));
}

/// A FIFO would be waited for without end; a directory and a device have no bytes to read.
#[test]
fn only_files_are_opened() {
    for (path, words) in [("/", "found a directory"), ("/dev/zero", "found something else")] {
        let error = MemoryImage::open(std::path::Path::new(path), &ImageOptions::default());
        let error = error.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words), "no {words:?} in {error:?}");
    }
}

/// `e_type`, by the numbers of the ELF specification.
#[test]
fn only_core_files_of_elf_are_images() {
    let good = elf(true, &[cpu_64(0x1000)], &[(0, &small_guest().0)]);
    for (kind, words) in [
        (1, "it is an object file, not a core file: expected what dump-guest-memory"),
        (2, "it is an executable, not a core file"),
        (3, "it is a shared object, or an executable, not a core file"),
        (0xfe, "it is an ELF file of type 0xfe, not a core file"),
    ] {
        let mut contents = good.clone();
        contents[16] = kind;
        let error = open(&contents).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words), "no {words:?} in {error:?}");
    }
}

#[test]
fn ranges_that_the_user_states_are_of_raw_memory_only() {
    let memory: &[(u64, &[u8])] = &[(0, &[0; 0x1000])];
    for (contents, format) in [
        (elf(true, &[], memory), ImageFormat::Elf),
        (lime(memory), ImageFormat::Lime),
        (avml(memory), ImageFormat::Avml),
    ] {
        let options = ImageOptions { format: Some(format), ram: vec!["0:1@0".parse().unwrap()] };
        let error = open_with(&contents, &options).map(|_| ()).unwrap_err().to_string();
        let words =
            format!("--ram says what is where in raw memory, and {format} says it by itself");
        assert!(error.contains(&words), "no {words:?} in {error:?}");
    }
}

#[test]
fn an_address_of_raw_memory_is_in_one_place() {
    let open = |ram: [&str; 2]| {
        let ram = ram.map(|range| range.parse().unwrap()).to_vec();
        open_with(&[0; 0x30], &ImageOptions { format: None, ram }).map(|_| ())
    };
    assert!(open(["0x10:0x10@0", "0:0x10@0x20"]).is_ok());
    let error = open(["0x10:0x10@0", "0:0x11@0x10"]).unwrap_err().to_string();
    let words = "the range 0x10:0x10@0x0: it has addresses that the range 0x0:0x11@0x10 has, too";
    assert!(error.contains(words), "{error}");
}

/// A vmcore has the kernel's text in two places, with the same bytes. With others, one of them is wrong.
#[test]
fn an_address_with_different_bytes_in_two_places_is_told() {
    let told = |text: &[u8]| {
        let memory = small_guest().0;
        let pieces: [(u64, &[u8]); 2] = [(0x8000, text), (0, &memory)];
        [elf(true, &[cpu_64(0x1000)], &pieces), lime(&pieces)].map(|contents| {
            let options = StateOptions { cr3: Some(0x1000), ..StateOptions::default() };
            open(&contents).unwrap().control_state(&options).unwrap().derived.join("\n")
        })
    };
    let mut text = small_guest().0[0x8000..0x9000].to_vec();
    assert!(told(&text).iter().all(|derived| !derived.contains("twice")), "{:?}", told(&text));
    text[0x123] ^= 1;
    let words = "the file has 0x8123, and maybe more, twice, with different bytes";
    assert!(told(&text).iter().all(|derived| derived.contains(words)), "{:?}", told(&text));
}
