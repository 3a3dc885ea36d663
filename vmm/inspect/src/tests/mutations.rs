//! Images that were damaged at random: every one is read or refused, and what is read ends. The example
//! `mutations` does the same many times, and measures.

use super::{file, open_with};
use crate::test_images::mutated::{Random, look_through, mutated, seeds};
use crate::{ImageFormat, ImageOptions, MemoryImage};
use proptest::prelude::*;

/// The most that the scans of a small image find: entries of the tables that are read, five times.
const MOST: usize = 5 * 1024 * (64 * 5 + 100);

fn read_whole(contents: &[u8], options: &ImageOptions) {
    let file = file(contents);
    if let Ok(image) = MemoryImage::open(file.path(), options) {
        assert!(look_through(&image) < MOST);
    }
}

/// Each seed is read, so that what is damaged was good.
#[test]
fn what_is_not_damaged_is_read() {
    for seed in seeds() {
        let image = open_with(&seed.contents, &ImageOptions::default());
        let image = if seed.format == ImageFormat::Raw {
            open_with(&seed.contents, &seed.options())
        } else {
            image
        };
        let found = look_through(&image.unwrap());
        assert!((13..MOST).contains(&found), "{}: {found}", seed.name);
    }
}

#[test]
fn a_damaged_image_ends() {
    for (number, seed) in seeds().iter().enumerate() {
        let mut random = Random(number as u64);
        for _ in 0..100 {
            read_whole(&mutated(&seed.contents, &mut random), &seed.options());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any bytes as any format.
    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..0x3000)) {
        for format in ImageFormat::ALL {
            read_whole(&bytes, &ImageOptions { format: Some(format), ram: Vec::new() });
        }
    }
}
