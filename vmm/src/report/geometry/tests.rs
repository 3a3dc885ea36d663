//! The textbook's numbers in words, in tables and in JSON.

use super::*;
use crate::geometry::Parameters;
use serde_json::{Value, json};

fn evenly(geometry: Geometry, counts: impl IntoIterator<Item = u32>) -> Configuration {
    let levels = counts.into_iter().map(|count| geometry.even_levels(count).unwrap());
    Configuration { geometry, levels: levels.collect() }
}

fn textbook() -> [Configuration; 2] {
    [Geometry::TEXTBOOK_32, Geometry::TEXTBOOK_64].map(|geometry| evenly(geometry, 2..=5))
}

fn with(change: impl FnOnce(&mut Parameters)) -> Geometry {
    let mut parameters = Parameters::default();
    change(&mut parameters);
    Geometry::new(&parameters).unwrap()
}

/// Whether a line of the text has these words, whatever the blanks between them.
fn has_line(text: &str, words: &str) -> bool {
    let words: Vec<_> = words.split_whitespace().collect();
    text.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == words)
}

#[test]
fn the_textbook_in_words() {
    let text = text(&textbook());
    for line in [
        "Addresses of 32 bits, pages of 4 KiB",
        "pages 2^32 bytes / 2^12 = 2^20 = 1,048,576, and as many frames",
        "address 20 bits of page number, 12 of offset",
        "entry 20 bits of frame number: 2.5 bytes exactly, rounded to 4",
        "flat table 2^20 entries * 4 bytes = 2^22 bytes = 4 MiB",
        "per byte 2^32 entries * 4 bytes = 2^34 bytes = 16 GiB, about 17 x 10^9",
        "Addresses of 64 bits, pages of 4 KiB",
        "pages 2^64 bytes / 2^12 = 2^52, about 4.5 x 10^15 [1], and as many frames",
        "entry 52 bits of frame number: 6.5 bytes exactly, rounded to 8",
        "flat table 2^52 entries * 8 bytes = 2^55 bytes = 32 PiB, about 36 x 10^15 [2]",
        "[1] Where a textbook says 10^5, that is a slip: it is 10^15.",
        "[2] The textbook says roughly 40 peta bytes, which is this, rounded.",
    ] {
        assert!(has_line(&text, line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn the_textbook_as_a_table() {
    let text = text(&textbook());
    for line in [
        "1 MiB aligned 10,10 1+1 8 KiB 512",
        "1 GiB aligned 10,10 1+256 1.004 MiB 3.98",
        "4,4,4,4,4 1+4+64+1024+16384 1.067 MiB 3.75",
        "100 scattered 10,10 1+100 404 KiB 10.1",
        "1 GiB aligned 26,26 1+1 1 GiB 34 x 10^6",
        "10,10,10,11,11 1+100+100+100+100 4.695 MiB 7.3 x 10^9",
    ] {
        assert!(has_line(&text, line), "{line:?} is not in:\n{text}");
    }
    assert!(text.lines().count() <= 60, "it fits on one screen:\n{text}");
}

#[test]
fn one_configuration_has_all_uses() {
    let geometry = with(|p| p.address_bits = 48);
    let levels = vec![geometry.levels(&[9, 9, 9, 9]).unwrap()];
    let text = text(&[Configuration { geometry, levels }]);
    for line in [
        "1 MiB aligned 9,9,9,9 1+1+1+1 16 KiB 34 x 10^6",
        "1 MiB across 9,9,9,9 1+2+2+2 28 KiB 19 x 10^6",
        "1 GiB across 9,9,9,9 1+2+2+513 2.023 MiB 259,108",
        "100 scattered 9,9,9,9 1+100+100+100 1.176 MiB 445,906",
        "100 aligned 9,9,9,9 1+1+1+1 16 KiB 34 x 10^6",
        "everything 9,9,9,9 1+512+2^18+2^27 513.0 GiB 1.00",
    ] {
        assert!(has_line(&text, line), "{line:?} is not in:\n{text}");
    }
    assert!(!text.contains("[1]"), "the footnotes are about the textbook:\n{text}");
}

#[test]
fn other_frames_and_entries_are_described() {
    let geometry = with(|p| (p.physical_bits, p.entry_bytes) = (Some(36), Some(5)));
    let text = text(&[evenly(geometry, [2])]);
    for line in [
        "pages 2^32 bytes / 2^12 = 2^20 = 1,048,576",
        "frames 2^36 bytes / 2^12 = 2^24 = 16,777,216",
        "entry 24 bits of frame number: 3 bytes exactly, in an entry of 5",
        "flat table 2^20 entries * 5 bytes = 5 MiB",
        "per byte 2^32 entries * 8 bytes = 2^35 bytes = 32 GiB, about 34 x 10^9",
    ] {
        assert!(has_line(&text, line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn a_small_space_leaves_out_what_it_cannot_hold() {
    let geometry = with(|p| p.address_bits = 20);
    let text = text(&[evenly(geometry, [2])]);
    assert!(has_line(&text, "Larger than the space: 1 GiB."), "{text}");
    let geometry = with(|p| p.address_bits = 12);
    let text = super::text(&[Configuration { geometry, levels: Vec::new() }]);
    assert!(has_line(&text, "The page number has too few bits for two levels."), "{text}");
}

#[test]
fn no_line_is_wider_than_80_columns_and_no_number_is_broken() {
    for bits in 1..=64 {
        for page_bytes in [1, 2, 4096, 1 << 30] {
            let parameters = Parameters { address_bits: bits, page_bytes, ..Default::default() };
            let Ok(geometry) = Geometry::new(&parameters) else { continue };
            let levels = (1..=geometry.page_number_bits()).collect::<Vec<_>>();
            let text = text(&[evenly(geometry, levels)]);
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}\n{text}");
            }
            // Where a cell goes on, the line before ends it with a separator.
            let starts = text.lines().filter(|line| line.trim_start().starts_with(['+', ',']));
            assert_eq!(starts.collect::<Vec<_>>(), [""; 0], "{text}");
        }
    }
}

#[test]
fn the_json_has_all_digits() {
    let document: Value = serde_json::to_value(document(&textbook())).unwrap();
    let [first, second] = [0, 1].map(|i| &document["configurations"][i]);
    let large = |decimal: &str, log2: Option<u32>| json!({"decimal": decimal, "log2": log2});
    assert_eq!(first["pages"], large("1048576", Some(20)));
    assert_eq!(first["entry_bytes_exact"], json!(2.5));
    assert_eq!(first["entry_bytes"], json!(4));
    assert_eq!(first["flat_table_bytes"], large("4194304", Some(22)));
    assert_eq!(first["per_byte"]["table_bytes"], large("17179869184", Some(34)));
    assert_eq!(second["frame_number_bits"], json!(52));
    assert_eq!(second["entry_bytes_exact"], json!(6.5));
    assert_eq!(second["pages"], large("4503599627370496", Some(52)));
    assert_eq!(second["flat_table_bytes"], large("36028797018963968", Some(55)));
    assert_eq!(second["per_byte"]["table_bytes"], large("147573952589676412928", Some(67)));
    let levels = &first["levels"][0];
    assert_eq!(levels["index_bits"], json!([10, 10]));
    assert_eq!(levels["table_bytes"][1], large("4096", Some(12)));
    assert_eq!(
        levels["uses"][2],
        json!({
            "use": "1 GiB", "placement": "aligned", "pages": large("262144", Some(18)),
            "tables": ["1", "256"], "bytes": large("1052672", None), "of_flat": 257.0 / 1024.0,
        })
    );
    assert_eq!(levels["uses"].as_array().map(Vec::len), Some(7));
}
