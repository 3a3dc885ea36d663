//! The page of `crosswalk geometry --html`: its sliders, and that its numbers are the program's.

use crosswalk_test_support as support;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::browser::drive;
use support::{Sandbox, require_browser, run};

/// What the controls of the page are set to.
struct Setting {
    address_bits: u32,
    page_bits: u32,
    entry_bytes: Option<u32>,
    levels: u32,
    /// The place of the use, of seven.
    used: u32,
    /// Index bits, or empty.
    split: String,
}

impl Setting {
    fn as_json(&self) -> Value {
        let Self { address_bits, page_bits, entry_bytes, levels, used, split } = self;
        json!([address_bits, page_bits, entry_bytes, levels, used, split])
    }

    /// What the program says of it: its sizes, and each split with what it costs in every use.
    fn of_program(&self) -> (Value, BTreeMap<String, Value>) {
        let [bits, page] = [self.address_bits.to_string(), (1_u64 << self.page_bits).to_string()];
        let mut command = vec!["geometry", "--json", "--bits", &bits, "--page", &page];
        let entry = self.entry_bytes.map(|bytes| bytes.to_string());
        command.extend(entry.iter().flat_map(|bytes| ["--entry", bytes]));

        let sizes = run(&command).json()["configurations"][0].clone();
        let levels = self.levels.to_string();
        let own = if self.split.is_empty() { &levels } else { &self.split };
        let chosen = run(&[&command[..], &["--levels", own]].concat());
        // A space of one page has none.
        let chosen = if chosen.code == Some(0) { chosen.json() } else { Value::Null };

        let all = [&sizes["levels"], &chosen["configurations"][0]["levels"]];
        let splits = all.into_iter().filter_map(Value::as_array).flatten();
        let named = splits.map(|levels| (listed(&levels["index_bits"]), levels["uses"].clone()));
        let named = named.collect();
        (sizes, named)
    }
}

/// Numbers or decimal strings, separated by commas.
fn listed(list: &Value) -> String {
    let list = list.as_array().expect("a list").iter();
    let numbers = list.map(|number| number.as_str().map_or(number.to_string(), str::to_owned));
    numbers.collect::<Vec<_>>().join(",")
}

/// More than a hundred settings: those of the textbook and of x86, edges, and many between.
fn settings() -> Vec<Setting> {
    let set = |address_bits, page_bits, entry_bytes, levels, used, split: &str| Setting {
        address_bits,
        page_bits,
        entry_bytes,
        levels,
        used,
        split: split.into(),
    };
    let mut settings = vec![
        set(32, 12, None, 2, 0, ""),
        set(64, 12, None, 4, 3, ""),
        set(48, 12, Some(8), 4, 1, "9,9,9,9"),
        set(57, 12, Some(8), 5, 4, "9,9,9,9,9"),
        set(32, 12, Some(8), 3, 2, "2,9,9"),
        set(12, 12, None, 1, 0, ""),
        set(1, 0, None, 1, 6, ""),
        set(64, 0, Some(16), 5, 6, ""),
        set(64, 30, None, 1, 5, ""),
    ];
    for number in 0..110 {
        let address_bits = 1 + number * 37 % 64;
        let page_bits = (number * 11 % 31).min(address_bits);
        let index_bits = address_bits - page_bits;
        let entry = [None, Some(8), None, Some(16), Some(64)][number as usize % 5];
        let levels = (1 + number % 5).min(index_bits.max(1));
        let split = match index_bits {
            4.. if number % 4 == 0 => {
                format!("{},1,{}", index_bits / 3, index_bits - index_bits / 3 - 1)
            }
            _ => String::new(),
        };
        settings.push(set(address_bits, page_bits, entry, levels, number % 7, &split));
    }
    settings
}

/// Compares what the page shows for a setting with what the program says.
#[track_caller]
fn compare(setting: &Setting, shown: &Value) {
    let (sizes, splits) = setting.of_program();
    let what = setting.as_json();
    let facts = json!({
        "pages": sizes["pages"]["decimal"],
        "frames": sizes["frames"]["decimal"],
        "frame_number_bits": sizes["frame_number_bits"].to_string(),
        "entry_bytes": sizes["entry_bytes"].to_string(),
        "flat_table_bytes": sizes["flat_table_bytes"]["decimal"],
        "per_byte": sizes["per_byte"]["table_bytes"]["decimal"],
    });
    assert_eq!(shown["facts"], facts, "{what}");

    let mut expected = vec![
        json!(["", "", sizes["per_byte"]["table_bytes"]["decimal"]]),
        json!(["", "", sizes["flat_table_bytes"]["decimal"]]),
    ];
    for (bits, uses) in &splits {
        let in_words = |used: &Value| {
            let [amount, placement] =
                ["use", "placement"].map(|name| used[name].as_str().expect("a text"));
            if amount == "everything" {
                amount.to_owned()
            } else {
                format!("{amount}, {placement}")
            }
        };
        let mut uses = uses.as_array().expect("a list").iter();
        if let Some(used) = uses.find(|used| shown["use"] == in_words(used)) {
            expected.push(json!([bits, listed(&used["tables"]), used["bytes"]["decimal"]]));
        }
    }
    let rows = shown["rows"].as_array().expect("a list");
    let mut found: Vec<Value> =
        rows.iter().map(|row| json!([row["bits"], row["tables"], row["bytes"]])).collect();
    let sort = |rows: &mut Vec<Value>| rows.sort_by_key(Value::to_string);
    sort(&mut found);
    sort(&mut expected);
    assert_eq!(found, expected, "{what}");

    for row in rows {
        let digits = row["digits"].as_str().expect("a text").replace(',', "");
        assert_eq!(row["bytes"], digits, "{what}");
    }
}

/// The squares of a picture are as large as the tables that they stand for.
#[track_caller]
fn compare_areas(shown: &Value) {
    let bytes = |name: &Value| {
        let mut rows = shown["rows"].as_array().expect("a list").iter();
        let row = rows.find(|row| row["name"] == *name).expect("a row for each square");
        row["bytes"].as_str().and_then(|bytes| bytes.parse::<f64>().ok()).expect("a number")
    };
    for picture in shown["squares"].as_array().expect("a list") {
        let largest = &picture[0];
        for square in picture.as_array().expect("a list") {
            let side = |square: &Value| square["side"].as_f64().expect("a number");
            let area = (side(square) / side(largest)).powi(2);
            let share = bytes(&square["name"]) / bytes(&largest["name"]);
            // A side is rounded to parts of a pixel, and its border is two pixels.
            assert!((area - share).abs() < 0.02, "{square}: {area}, not {share}");
        }
    }
}

#[test]
fn the_page_computes_what_the_program_computes() {
    require_browser!();
    let sandbox = Sandbox::new();
    sandbox.run(&["geometry", "--html", "page.html"]).expect_code(0);
    let settings = settings();
    let list: Value = settings.iter().map(Setting::as_json).collect();
    let saw = drive("geometry.mjs", &sandbox.path().join("page.html"), &[&list.to_string()]);
    assert_eq!(saw["complaints"], json!([]));

    assert_eq!(saw["first"], saw["shown"][0], "it begins with the textbook");
    for (setting, shown) in settings.iter().zip(saw["shown"].as_array().expect("a list")) {
        compare(setting, shown);
        compare_areas(shown);
    }
    assert_eq!(
        saw["keys"],
        json!({
            "bits": "64 bits",
            "page-bits": "1 byte",
            "entry": "64 bytes",
            "levels": "1 level",
            "use": "100 pages, aligned",
            "preset": "true",
            "address": "the bits of an address: 9 of level 4, 9 of level 3, 9 of level 2, 9 of level 1, 12 of offset",
        })
    );
}

/// The textbook's numbers in words, as the page shows them first.
#[test]
fn the_page_begins_with_what_was_asked_for() {
    require_browser!();
    let sandbox = Sandbox::new();
    let x86 = ["geometry", "--bits", "48", "--levels", "12,8,16", "--entry", "16"];
    sandbox.run(&[&x86[..], &["--html", "page.html"]].concat()).expect_code(0);
    let saw = drive("geometry.mjs", &sandbox.path().join("page.html"), &["[]"]);

    let first = &saw["first"];
    assert_eq!(first["facts"]["entry_bytes"], "16");
    let rows = first["rows"].as_array().expect("a list");
    let chosen: Vec<_> = rows.iter().filter(|row| row["isChosen"] == true).collect();
    assert_eq!(chosen.len(), 1);
    // A root of 2^12 entries, one table of 2^8, and one of 2^16.
    let bytes = (4096 + 256 + 65536) * 16;
    assert_eq!(
        (&chosen[0]["bits"], &chosen[0]["bytes"]),
        (&json!("12,8,16"), &json!(bytes.to_string()))
    );
    assert_eq!(saw["complaints"], json!([]));
}

#[test]
fn the_page_is_small_and_a_page_that_its_slider_does_not_reach_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run(&["geometry", "--html", "page.html"]).expect_code(0);
    let page = std::fs::read_to_string(sandbox.path().join("page.html")).expect("the page");
    assert!(page.len() < 100_000, "{} bytes", page.len());
    // Without JavaScript it has the text.
    assert!(page.contains("flat table 2^20 entries * 4 bytes = 2^22 bytes = 4 MiB"));

    let refused = ["geometry", "--bits", "48", "--page", "2GiB", "--html", "page.html"];
    let refused = sandbox.run(&refused).expect_code(2);
    assert!(refused.only_line_of_stderr().contains("expected pages of at most 1 GiB"));
}
