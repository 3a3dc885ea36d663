//! The page of a scenario in a browser, played to its end: what it shows at every step is what `--json` says.

use crosswalk::report::scenario::{NarratedScenarios, page};
use crosswalk::scenario::{MachineSide, Setting, run_on};
use crosswalk_machine::Machine;
use crosswalk_test_support as support;
use mmu_core::PagingMode::FourLevel;
use mmu_core::space::Safeguards;
use serde_json::{Value, json};
use std::fs;
use support::browser::drive;
use support::report::{list, text};
use support::single::open_kvm;
use support::{Sandbox, require_browser, require_kvm, require_qemu, run};

/// The number of a frame by its address, as a string.
fn frame_number(address: &Value) -> String {
    let address = text(address).trim_start_matches("0x");
    (u64::from_str_radix(address, 16).expect("an address") / 0x1000).to_string()
}

/// The letters of a list.
fn letters(list_of_letters: &Value) -> String {
    list(list_of_letters).iter().map(text).collect()
}

/// What the page must show of a frame: its letters and marks. Of a free frame nothing.
fn expected_frame(map: &Value, number: &str) -> Value {
    let frame = list(&map["frames"]).iter().find(|known| frame_number(&known["frame"]) == number);
    let Some(frame) = frame else { return Value::Null };

    let usage = text(&frame["use"]).chars().next().map(String::from);
    let marks = [("copy_on_write", "cow"), ("dirty", "dirty"), ("accessed", "A")];
    let marks: Vec<_> =
        marks.into_iter().filter(|(key, _)| frame[*key] == true).map(|(_, mark)| mark).collect();
    json!({
        "use": usage,
        "owner": frame["owner"].as_str().unwrap_or_default(),
        "mappedBy": letters(&frame["mapped_by"]),
        "slot": frame["slot"].as_u64().map_or(String::new(), |slot| slot.to_string()),
        "marks": marks.join(" "),
    })
}

/// Asserts that the page shows the frames of the map, all others as free, and the hand.
#[track_caller]
fn assert_frames(shown: &Value, map: &Value, frames: u64) {
    let cells = list(&shown["frames"]);
    assert_eq!(cells.len() as u64, frames);
    let free = cells.iter().filter(|cell| classes_of(cell).contains(&"free")).count();
    assert_eq!(free as u64, support::count(map, "free_frames"));
    for cell in cells {
        let number = text(&cell["frame"]);
        let classes = classes_of(cell);
        let expected = expected_frame(map, number);
        if expected.is_null() {
            assert!(classes.contains(&"free"), "{cell}");
        } else {
            for key in ["use", "owner", "mappedBy", "slot", "marks"] {
                assert_eq!(cell[key], expected[key], "{key} of {cell}");
            }
            let is_shared = expected["mappedBy"].as_str().is_some_and(|names| names.len() > 1);
            assert_eq!(classes.contains(&"both"), is_shared, "{cell}");
        }
        assert_eq!(classes.contains(&"hand"), frame_number(&map["hand"]) == number, "{cell}");
    }
}

fn classes_of(cell: &Value) -> Vec<&str> {
    list(&cell["classes"]).iter().map(text).collect()
}

/// Asserts that the page shows every page of every process where the map has it, and what tables take.
#[track_caller]
fn assert_pages(shown: &Value, map: &Value) {
    let processes = list(&map["processes"]);
    let cards = list(&shown["pages"]);
    assert_eq!(cards.len(), processes.len());

    for (card, process) in cards.iter().zip(processes) {
        assert_eq!(card["process"], process["process"]);
        let cells = list(&card["cells"]);
        let pages: u64 =
            list(&process["regions"]).iter().map(|region| support::count(region, "pages")).sum();
        assert_eq!(cells.len() as u64, pages);

        for cell in cells {
            let address = format!("0x{}", text(&cell["page"]));
            let page = list(&process["pages"]).iter().find(|page| page["page"] == *address);
            let place = page.map_or([None; 3], |page| {
                let known = |key: &str| (!page[key].is_null()).then_some(&page[key]);
                [known("frame"), known("entry"), known("slot")]
            });
            assert_eq!(
                cell["frame"].as_str().map(String::from),
                place[0].map(frame_number),
                "{cell}"
            );
            let entry = cell["entry"].as_str().map(|entry| format!("0x{entry}"));
            assert_eq!(entry.as_deref(), place[1].map(text), "{cell}");
            assert_eq!(
                cell["slot"].as_str().map(String::from),
                place[2].map(Value::to_string),
                "{cell}"
            );
        }

        let is_own =
            |frame: &&Value| frame["use"] == "table" && frame["owner"] == process["process"];
        let tables = list(&map["frames"]).iter().filter(is_own).count();
        assert!(text(&card["tables"]).starts_with(&format!("Tables: {tables} frames")), "{card}");
    }
}

/// Asserts what the page says of an entry of the timeline.
#[track_caller]
fn assert_words(shown: &Value, entry: &Value) {
    let sentence = text(&shown["sentence"]);
    let process = entry["process"].as_str().unwrap_or_default();
    assert!(sentence.starts_with(process), "{sentence}");

    let words = match text(&entry["event"]) {
        "did" => text(&entry["what"]),
        "fault" => text(&entry["decision"]),
        "grown" => text(&entry["start"]),
        "evicted" => text(&entry["frame"]),
        _ => "clock: A of ",
    };
    assert!(sentence.contains(words), "{sentence}: {words}");
    assert_eq!(
        shown["sign"],
        if entry["same"] == true { json!("=") } else { entry["same"].clone() }
    );
}

/// Asserts that a step of the page is what the document says.
#[track_caller]
fn assert_step(shown: &Value, scenario: &Value, number: usize) {
    let entry = &scenario["timeline"][number];
    let map = &entry["map"];
    assert_eq!(shown["current"], (number + 1).to_string());
    assert_words(shown, entry);
    assert_frames(shown, map, support::count(&scenario["statistics"], "frames"));
    assert_pages(shown, map);

    let slots = |slots: &Value| -> Vec<String> {
        list(slots).iter().map(|slot| slot["slot"].to_string().replace('"', "")).collect()
    };
    assert_eq!(slots(&shown["store"]), slots(&map["store"]));
}

/// Asserts that the page of a scenario, played to its end, shows what the document of the same command says.
#[track_caller]
fn assert_plays(name: &str, machine: &str) {
    let sandbox = Sandbox::new();
    let command = ["scenario", name, "--machine", machine, "--mode", "4level"];
    let command = [&command[..], &["--json", "--html", "page.html"]].concat();
    let report = sandbox.run(&command).expect_code(0).json();
    let scenario = &report["scenarios"][0];
    let path = sandbox.path().join("page.html");
    assert!(fs::metadata(&path).expect("the page").len() < 1_000_000);

    let saw = drive("scenario.mjs", &path, &[name]);
    assert_eq!(saw["complaints"], json!([]));
    let timeline = list(&scenario["timeline"]);
    let steps = list(&saw["steps"]);
    assert_eq!(steps.len(), timeline.len());
    for (number, step) in steps.iter().enumerate() {
        assert_step(step, scenario, number);
    }

    // The end is where the document says that the pages are.
    let last = timeline.last().expect("entries");
    for row in list(&scenario["pages"]) {
        let mut processes = list(&last["map"]["processes"]).iter();
        let Some(process) = processes.find(|known| known["process"] == row["process"]) else {
            assert_eq!(row["after"], Value::Null);
            continue;
        };
        let page = list(&process["pages"]).iter().find(|page| page["page"] == row["page"]);
        for key in ["frame", "entry", "slot"] {
            assert_eq!(page.map_or(&Value::Null, |page| &page[key]), &row["after"][key], "{row}");
        }
    }

    let faults: Vec<_> =
        (0..timeline.len()).filter(|index| timeline[*index]["event"] == "fault").collect();
    for (place, number) in [
        ("firstFault", faults[0]),
        ("secondFault", faults[1]),
        ("before", faults[1] - 1),
        ("lastFault", *faults.iter().rfind(|fault| **fault + 1 < timeline.len()).expect("a fault")),
        ("bySlider", 1),
        ("byRow", 0),
    ] {
        assert_step(&saw[place], scenario, number);
    }
    assert_eq!(saw["afterEnd"], "speed");
}

#[test]
fn copy_on_write_plays_to_its_end_as_the_document_says() {
    require_browser!();
    assert_plays("copy-on-write", "none");
}

#[test]
fn reclaim_plays_to_its_end_on_qemu_as_the_document_says() {
    require_browser!();
    require_qemu!();
    assert_plays("reclaim", "qemu");
}

#[test]
fn growth_plays_to_its_end_on_kvm_as_the_document_says() {
    require_browser!();
    require_kvm!();
    assert_plays("growth", "kvm");
}

/// A system on the machine that does not wipe frames: the page marks the step, says what the machine did there, and
/// that it then ran no more.
#[test]
fn a_page_marks_where_the_histories_part() {
    require_browser!();
    require_kvm!();
    let mut machine = open_kvm();
    let setting = Setting {
        machine_safeguards: Safeguards::all() - Safeguards::WIPE,
        ..Setting::new(FourLevel)
    };
    let side = MachineSide { machine: &mut machine, loose_pdptes: None };
    let story = run_on(side, "reallocation", setting).expect("a known name").expect("it survives");
    let parting = story.parting.clone().expect("the histories part");
    let narrated = NarratedScenarios {
        stories: &[story],
        machine: Some((machine.identity(), "as asked")),
        why_none: "",
    };

    let sandbox = Sandbox::new();
    let path = sandbox.path().join("page.html");
    fs::write(&path, page(&narrated)).expect("a page");
    let saw = drive("scenario_parted.mjs", &path, &["parted"]);
    assert_eq!(saw["complaints"], json!([]));
    assert_eq!(saw["parts"], json!([(parting.entry + 1).to_string()]));
    assert_eq!(saw["there"]["sign"], "\u{2260}");
    assert!(text(&saw["there"]["other"]).contains("and leaves other memory"), "{saw}");
    assert!(text(&saw["why"]).contains("the wipe is missing"), "{saw}");
    assert_eq!(saw["before"]["sign"], "=");
    assert_eq!(saw["after"]["sign"], "");
    let no_more = format!("the histories parted at step {}", parting.entry + 1);
    assert!(text(&saw["after"]["other"]).contains(&no_more), "{saw}");
}

/// The longest of the shipped scenarios in all modes at once, and without scripts the whole history as a table.
#[test]
fn a_page_is_small_and_has_its_history_without_scripts() {
    let sandbox = Sandbox::new();
    for scenario in list(&run(&["scenario", "--json"]).expect_code(0).json()["scenarios"]) {
        let name = text(&scenario["name"]);
        let modes = "32bit,pae,4level,5level";
        let command = ["scenario", name, "--machine", "none", "--mode", modes];
        let report = sandbox
            .run(&[&command[..], &["--json", "--html", "page.html"]].concat())
            .expect_code(0)
            .json();
        let page = fs::read_to_string(sandbox.path().join("page.html")).expect("the page");
        assert!(page.len() < 1_000_000, "{name}: {} bytes", page.len());

        let entries: usize =
            list(&report["scenarios"]).iter().map(|one| list(&one["timeline"]).len()).sum();
        assert_eq!(page.matches("<span class=\"words\">").count(), entries, "{name}");
        assert!(!page.contains("class=\"bad cut\""), "{name}");
    }
}

#[test]
fn a_page_is_of_one_scenario() {
    for name in ["all", "random"] {
        let command = ["scenario", name, "--machine", "none", "--html", "page.html"];
        let line = run(&command).expect_code(2).only_line_of_stderr().to_owned();
        assert!(line.contains("--html needs the name of one scenario"), "{line}");
    }
}
