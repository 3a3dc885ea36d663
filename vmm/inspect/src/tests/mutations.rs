//! Images that were damaged at random: every one is read or refused, and what is read ends.

use super::{file, raw};
use crate::test_images::{cpu_64, elf, lime, small_guest};
use crate::{ImageFormat, ImageOptions, Limits, MemoryImage, StateOptions};
use mmu_core::{AnyMmu, Profile};
use proptest::prelude::*;

/// The most that a scan of a small image finds: entries of the tables that are read.
const MOST: usize = 1024 * (64 * 5 + 100);

fn read_whole(contents: &[u8], options: &ImageOptions) {
    let file = file(contents);
    let Ok(image) = MemoryImage::open(file.path(), options) else { return };
    for options in [
        StateOptions::default(),
        StateOptions { cr3: Some(0x1000), ..StateOptions::default() },
        StateOptions {
            cr3: Some(0x1000),
            cr4: Some(0x20),
            efer: Some(0),
            ..StateOptions::default()
        },
        StateOptions {
            cr3: Some(0x1000),
            cr4: Some(0x10),
            efer: Some(0),
            ..StateOptions::default()
        },
    ] {
        let Ok(derived) = image.control_state(&options) else { continue };
        let mmu = AnyMmu::new(derived.state, Profile::default());
        assert!(image.scan(&mmu, Limits { repeats: 100 }).count() < MOST);
    }
}

/// Bytes that replace others: any, or words that are the first to go wrong.
fn damage() -> impl Strategy<Value = Vec<(usize, [u8; 8])>> {
    let word = prop_oneof![
        any::<u64>(),
        Just(u64::MAX),
        Just(0),
        Just(1 << 63),
        (0..16_u64).prop_map(|frame| frame << 12 | 0x67),
    ];
    prop::collection::vec((any::<usize>(), word.prop_map(u64::to_le_bytes)), 1..20)
}

fn damaged(contents: &[u8], damage: &[(usize, [u8; 8])], head: usize) -> Vec<u8> {
    let mut contents = contents.to_vec();
    for (number, (at, bytes)) in damage.iter().enumerate() {
        // Every other one hits the headers.
        let reach = if number % 2 == 0 { head } else { contents.len() - 8 };
        let at = at % reach;
        contents[at..at + 8].copy_from_slice(bytes);
    }
    contents
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_damaged_elf_dump_ends(damage in damage(), cut in prop::option::of(0..0x1_0000_usize)) {
        let good = elf(true, &[cpu_64(0x1000)], &[(0, &small_guest().0)]);
        let mut contents = damaged(&good, &damage, 0x27c);
        contents.truncate(cut.unwrap_or(usize::MAX));
        read_whole(&contents, &ImageOptions::default());
    }

    #[test]
    fn a_damaged_lime_image_ends(damage in damage(), cut in prop::option::of(0..0x1_0000_usize)) {
        let memory = small_guest().0;
        let (low, high) = memory.split_at(0x3000);
        let mut contents = damaged(&lime(&[(0, low), (0x3000, high)]), &damage, 32);
        contents.truncate(cut.unwrap_or(usize::MAX));
        read_whole(&contents, &ImageOptions::default());
    }

    #[test]
    fn damaged_tables_end(damage in damage()) {
        let contents = damaged(&small_guest().0, &damage, 0x9000);
        let options = ImageOptions { format: Some(ImageFormat::Raw), ram: Vec::new() };
        read_whole(&contents, &options);
    }

    /// Any bytes as any format.
    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..0x3000)) {
        for format in ImageFormat::ALL {
            read_whole(&bytes, &ImageOptions { format: Some(format), ram: Vec::new() });
        }
    }
}

#[test]
fn the_limit_holds_for_the_small_guest() {
    let image = raw(&small_guest().0);
    let state = image.control_state(&StateOptions { cr3: Some(0x1000), ..StateOptions::default() });
    let mmu = AnyMmu::new(state.unwrap().state, Profile::default());
    assert!(image.scan(&mmu, Limits::default()).count() < MOST);
}
