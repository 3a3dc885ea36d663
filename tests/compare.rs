//! `compare` as a user runs it: corpora of several machines beside the manuals and beside each other.

use crosswalk::corpus::{Recorded, Source, write};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, EntryAfter, Observation, ObservedFault, Provenance};
use crosswalk_guest::layout::Arena;
use crosswalk_machine::{Capabilities, Identity, MachineLine};
use crosswalk_test_support as support;
use mmu_core::{Profile, Ring};
use serde_json::Value;
use std::collections::BTreeSet;
use support::report::{list, text};
use support::{Sandbox, count, require_qemu, require_second_qemu, run};

/// A fault of a read by ring 3: its case, its error code, and how many entries of the path have got A.
type Faulted = (Case, u32, usize);

/// The page is not there; and a table's entry has bit 45 set, which is reserved with 40 address bits.
fn cases() -> [Case; 2] {
    let profile = Profile { physical_address_bits: 40, ..Profile::default() };
    let mut absent = Case::plain(Arena::ALL[0], 3, Ring::Three, profile);
    let mut reserved = absent.clone();
    absent.entries[3].value = 0;
    reserved.entries[2].value |= 1 << 45;
    [absent, reserved]
}

/// The text of a corpus of one machine that did this.
fn corpus(flavour: &str, version: &str, faults: &[Faulted]) -> String {
    let profile = Profile { physical_address_bits: 40, ..Profile::default() };
    let identity = Identity {
        kind: "qemu".into(),
        flavour: flavour.into(),
        beneath: "bare".into(),
        cpu: "a processor".into(),
        host_kernel: "6.1".into(),
        version: Some(version.into()),
    };
    let capabilities = Capabilities {
        modes: vec![(mmu_core::PagingMode::FourLevel, Ok(()))],
        ..Capabilities::of_everything(profile)
    };
    let source = Source {
        crosswalk: "0.1.0".into(),
        machine: MachineLine::new(&identity, &capabilities),
        microcode: None,
        seed: 1,
        tried: faults.len() as u64,
    };

    let recorded = (0..).zip(faults).map(|(index, (case, error_code, accessed))| Recorded {
        name: format!("random:4level:1:{index}").parse().expect("a name"),
        case: case.clone(),
        attempt: Attempt::Observed(observation(case, *error_code, *accessed)),
        rules: Vec::new(),
        catches: Vec::new(),
        allowed: Value::Null,
    });
    write::section(&source, &recorded.collect::<Vec<_>>())
}

fn observation(case: &Case, error_code: u32, accessed: usize) -> Observation {
    let cr2 = case.access.address.get();
    let fault =
        ObservedFault { vector: 14, error_code, cr2, cr2_before: 0, rip: None, frame: None };
    let mut seen = Observation::new(Some(fault), 0, Provenance::Tcg);
    seen.entries = (0..)
        .zip(&case.entries)
        .map(|(index, entry)| {
            let flag = if index < accessed { 0x20 } else { 0 };
            EntryAfter { at: entry.at, before: entry.value, after: entry.value | flag }
        })
        .collect();
    seen
}

/// Three machines: one that does what the manuals say, one with T1 that sets A on the way (AD-2), and one
/// with an error code that nobody knows of.
fn three_machines() -> Sandbox {
    let [absent, reserved] = cases();
    let sandbox = Sandbox::new();
    for (name, flavour, version, faults) in [
        ("right", "one", "One 1.0", [(absent.clone(), 0x4, 0), (reserved.clone(), 0xd, 0)]),
        ("known", "tcg", "QEMU 7.2.22", [(absent.clone(), 0x4, 3), (reserved.clone(), 0xc, 0)]),
        ("unknown", "two", "Two 2.0", [(absent.clone(), 0x5, 0), (reserved.clone(), 0xd, 0)]),
    ] {
        sandbox.file(&format!("{name}.jsonl"), corpus(flavour, version, &faults));
    }
    sandbox
}

/// The text without the cases, which are one line each, however long.
fn without_cases(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find('{') {
        Some(at) => format!("{}{{…}}'", &line[..at]),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn who_differs_from_the_manuals_and_who_from_the_others() {
    let sandbox = three_machines();
    let arguments = ["compare", "right.jsonl", "known.jsonl", "unknown.jsonl"];
    let output = sandbox.run(&arguments).expect_code(1);
    insta::assert_snapshot!(without_cases(&output.stdout));
    let wide = output.stdout.lines().filter(|line| !line.contains("explain"));
    assert_eq!(wide.filter(|line| line.chars().count() > 80).count(), 0, "{}", output.stdout);
}

#[test]
fn a_machine_that_is_known_fails_nothing_unless_nothing_is_forgiven() {
    let sandbox = three_machines();
    let both = ["compare", "right.jsonl", "known.jsonl", "--json"];
    let document = sandbox.run(&both).expect_code(0).json();
    assert_eq!((count(&document, "cases"), count(&document, "shared")), (2, 2));
    let names: Vec<_> = list(&document["machines"]).iter().map(|one| text(&one["name"])).collect();
    assert_eq!(names, ["one, One 1.0", "tcg, QEMU 7.2.22"]);

    let t1 = list(&document["disagreements"])
        .iter()
        .find(|found| found["about"][0] == "T1")
        .expect("T1 is known of tcg");
    assert_eq!(t1["differ_from_manuals"][0], "tcg, QEMU 7.2.22");
    assert_eq!((&t1["known"], &t1["everyone"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(list(&t1["observed"]).len(), 2);

    let unforgiven = sandbox.run(&[&both[..], &["--known", "none"]].concat()).expect_code(1).json();
    assert!(list(&unforgiven["machines"]).iter().any(|one| count(one, "unknown") > 0));
}

#[test]
fn one_machine_is_nothing_to_compare() {
    let sandbox = three_machines();
    let output = sandbox.run(&["compare", "right.jsonl"]).expect_code(3);
    assert!(output.words_of_stdout().contains("there is nothing to compare"), "{}", output.stdout);
}

#[test]
fn bad_corpora_are_refused_by_name_and_line() {
    let sandbox = three_machines();
    sandbox.file("cut.jsonl", &corpus("one", "One 1.0", &[(cases()[0].clone(), 4, 0)])[..900]);
    for (file, words) in
        [("missing.jsonl", "missing.jsonl: cannot be read"), ("cut.jsonl", "cut.jsonl, line ")]
    {
        let output = sandbox.run(&["compare", "right.jsonl", file]).expect_code(2);
        let error = output.only_line_of_stderr();
        assert!(error.contains(words), "{error}");
    }
    let output = sandbox.run(&["compare", "right.jsonl", "--mode", "pae"]).expect_code(2);
    assert!(output.stderr.contains("no case of these modes was recorded"), "{}", output.stderr);
}

/// Its sections of one emulator share cases, and nothing in it is unknown.
#[test]
fn the_bundled_corpus_is_compared_by_default() {
    let document = run(&["compare", "--json"]).expect_code(0).json();
    assert!(count(&document, "shared") > 500 && count(&document, "unanimous") > 500);
    for found in list(&document["disagreements"]) {
        assert_eq!(found["known"], true, "{found}");
    }
}

/// Each wrong cell of the page has a case, which can be explained, and each link leads there.
#[test]
fn the_page_has_a_case_for_every_wrong_cell() {
    let sandbox = Sandbox::new();
    sandbox.run(&["compare", "--page", "page.md"]).expect_code(0);
    let page = std::fs::read_to_string(sandbox.path().join("page.md")).expect("it was written");
    assert_page(&page);
}

/// The page in the documentation is one of these, with more machines.
#[test]
fn the_page_in_the_documentation_has_a_case_for_every_wrong_cell() {
    let page = support::repository().join("docs/machines.md");
    let page = std::fs::read_to_string(page).expect("it is in the checkout");
    assert_page(&page);
    let machines = page.lines().find(|line| line.starts_with("| rule |")).expect("a table");
    for name in
        ["pvm", "QEMU 7.2", "QEMU 10.0", "svm-npt on tcg", "svm-shadow on tcg", "Ryzen", "7800X"]
    {
        assert!(machines.contains(name), "{machines}");
    }
}

#[track_caller]
fn assert_page(page: &str) {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains("**wrong**"));
    let links = rows.flat_map(|row| row.split("](#").skip(1).map(|rest| rest.split(')').next()));
    let links: BTreeSet<_> = links.map(|link| link.expect("a link ends")).collect();
    assert!(links.len() > 10, "{links:?}");

    let anchors: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("<a id=\"")?.strip_suffix("\"></a>"))
        .collect();
    assert_eq!(links, anchors);
    let cases: Vec<_> = page.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(cases.len(), anchors.len());
    for case in cases {
        Case::from_json(case).unwrap_or_else(|error| panic!("{error}: {case}"));
    }
}

/// The cases that one machine was recorded with, on another.
#[test]
fn cases_are_run_again_on_another_machine_and_compared() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let record = ["record", "narrow.jsonl", "--machine", "qemu", "--cases", "600", "--seed", "1"];
    sandbox.run(&record).expect_code(0);
    let again = ["record", "wide.jsonl", "--cases-of", "narrow.jsonl", "--machine", "qemu"];
    let output = sandbox.run(&[&again[..], &["--phys-bits", "48"]].concat()).expect_code(0);
    assert!(output.words_of_stdout().contains("cases those of narrow.jsonl"), "{}", output.stdout);

    let compare = ["compare", "narrow.jsonl", "wide.jsonl", "--json"];
    let document = sandbox.run(&compare).expect_code(0).json();
    let narrow = &document["machines"][0];
    let wide = &document["machines"][1];
    assert_eq!(count(narrow, "shared"), count(wide, "shared"));
    assert!(count(&document, "shared") * 10 > count(&document, "cases") * 9, "{document}");
    assert_eq!(
        wide["name"],
        format!("{}, 48 bits", text(&narrow["name"]).replace(", 40 bits", ""))
    );

    for refused in [&["--all"][..], &["--seed", "1"]] {
        let output = sandbox.run(&[&again[..], refused].concat()).expect_code(2);
        assert!(output.stderr.contains("cannot be used with"), "{}", output.stderr);
    }
}

#[test]
fn two_versions_of_qemu_differ_in_what_is_known_of_each() {
    let second = require_second_qemu!();
    let sandbox = Sandbox::new();
    let second = second.to_str().expect("a path of this checkout");
    let record = ["record", "both.jsonl", "--cases-of", "bundled", "--mode", "4level,5level"];
    let both = ["--qemu", "qemu-system-x86_64", "--qemu", second];
    sandbox.run(&[&record[..], &both].concat()).expect_code(0);

    let document = sandbox.run(&["compare", "both.jsonl", "--json"]).expect_code(0).json();
    let names: Vec<_> = list(&document["machines"]).iter().map(|one| text(&one["name"])).collect();
    if !(names[0].contains("QEMU 7.2") && names[1].contains("QEMU 10.")) {
        return support::skip("second-qemu", "these are other versions than 7.2 and 10");
    }
    let t20 = list(&document["disagreements"])
        .iter()
        .find(|found| found["about"][0] == "T20")
        .expect("non-canonical addresses are in the corpus");
    assert_eq!(list(&t20["differ_from_manuals"]), [names[1]]);
}
