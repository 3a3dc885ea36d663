//! The example walkers in `docs/examples`, run as anybody's program is, and held to what they answer.

mod case_text;
mod common;

use common::require_program;
use crosswalk::conformance::mark::{Mark, mark};
use crosswalk::conformance::process::CommandCandidate;
use crosswalk::generate::Stream;
use crosswalk::generate::random::RandomStream;
use crosswalk::walker::Walker;
use crosswalk_case::Case;
use crosswalk_case::protocol::Answer;
use crosswalk_machine::Capabilities;
use mmu_core::{Cr4, PagingMode, Profile, Reference};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Nothing here takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of each mode and processor so many batches, each with a control state of its own, and so many cases
/// of each; of some there is but one.
const BATCHES: u64 = 32;
const CASES: usize = 48;

#[test]
fn the_python_example_answers_what_the_manuals_say() {
    require_program!("python3");
    let mut python = python();
    for (case, answer) in four_level().chain(five_level()) {
        expect(&mut python, &case, &answer);
    }
}

#[test]
fn the_c_example_answers_what_the_manuals_say() {
    require_program!("cc");
    let (mut c, _directory) = c(&source("walker.c"));
    for (case, answer) in four_level() {
        expect(&mut c, &case, &answer);
    }
}

#[test]
fn the_python_example_is_right_about_every_random_case() {
    require_program!("python3");
    let mut python = python();
    for mode in [PagingMode::FourLevel, PagingMode::FiveLevel] {
        for case in random_cases(mode) {
            assert_eq!(marked(&mut python, &case), Mark::Right, "{case}");
        }
    }
}

#[test]
fn the_c_example_is_right_about_every_random_case() {
    require_program!("cc");
    let (mut c, _directory) = c(&source("walker.c"));
    for case in random_cases(PagingMode::FourLevel) {
        assert_eq!(marked(&mut c, &case), Mark::Right, "{case}");
    }
}

#[test]
fn what_the_examples_do_not_know_they_do_not_answer() {
    require_program!("python3");
    require_program!("cc");
    let (mut c, _directory) = c(&source("walker.c"));
    let mut python = python();
    let invlpg = json!([{"invlpg": "0x1000"}]);
    let unknown = [
        case_text::with([("/before", invlpg)]),
        case_text::with([("/access/shadow_stack", json!(true))]),
        // LAM of user addresses, and UAI.
        case_text::with([("/state/cr3", json!("0x2000000000440000"))]),
        case_text::with([("/state/efer", json!("0x100d00"))]),
    ];
    let mut unknown: Vec<Case> = unknown.iter().map(case).collect();
    for mode in [PagingMode::Unpaged, PagingMode::Bits32, PagingMode::Pae] {
        unknown.extend(random_cases(mode).take(1));
    }
    for case in unknown {
        for example in [&mut python, &mut c] {
            let answer = example.ask(&case).expect("an answer");
            assert!(matches!(answer, Answer::Silent(_)), "{answer:?}: {case}");
        }
    }
}

/// The examples with one mistake each, so that "every case" above is known to be enough.
#[test]
fn a_mistake_in_an_example_is_found() {
    require_program!("python3");
    for (right, mistaken) in [
        (" or fetch and disabled", ""),
        ("rights & entry,", "entry,"),
        ("above | (0", "(0"),
        ("if disable & 1 or", "if"),
        ("code | CODE_P | CODE_RSVD", "code | CODE_RSVD"),
        ("last & ~0xFFF", "last"),
    ] {
        let text = with_mistake(&source("walker.py"), right, mistaken);
        let mut python =
            CommandCandidate::new(Path::new("python3"), &["-c".into(), text], PATIENCE);
        assert!(is_found_wrong(&mut python), "{right:?} is not missed");
    }
}

#[test]
fn a_mistake_in_the_c_example_is_found() {
    require_program!("cc");
    for (right, mistaken) in
        [(" || (fetch && disabled)", ""), ("shift == 39 ? G", "shift == 30 ? G")]
    {
        let (mut c, _directory) = c(&with_mistake(&source("walker.c"), right, mistaken));
        assert!(is_found_wrong(&mut c), "{right:?} is not missed");
    }
}

/// The document has every name that can be in a case, and its examples are what the program reads.
#[test]
fn the_document_tells_what_is_read_and_answered() {
    let document = include_str!("../docs/guide/src/walker-protocol.md");
    let mut pinned = Case::from_json(&case_text::plain().to_string()).expect("a case");
    let pins = &mut pinned.profile.pins;
    pins.global_in_pml4e_is_reserved = Some(true);
    pins.pdptes_are_walked = Some(true);
    pins.absent_pdptes_are_checked = Some(true);
    pins.smep_alone_reports_fetch = Some(true);
    let features = random_cases(PagingMode::Pae).last().expect("a case");
    for case in [pinned, features] {
        let written: Value = serde_json::from_str(&case.to_json()).expect("a case is JSON");
        for name in names(&written) {
            assert!(document.contains(&format!("`{name}`")), "nothing about {name}");
        }
    }
    let blocks = document.split("```json\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().expect("a first part"));
    let (cases, answers): (Vec<_>, Vec<_>) = blocks.partition(|block| block.contains("mode"));
    assert!(!cases.is_empty() && !answers.is_empty());
    for case in cases {
        Case::from_json(case).unwrap_or_else(|error| panic!("{error} in {case}"));
    }
    for line in answers.iter().flat_map(|block| block.lines()) {
        Answer::from_line(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    }
}

/// The names of all fields, and the features.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let inner = fields.values().flat_map(names);
            fields.keys().cloned().chain(inner).collect()
        }
        Value::Array(list) => {
            let name = |item: &Value| item.as_str().map(str::to_owned);
            let words = list.iter().filter_map(name).filter(|word| !word.starts_with("0x"));
            list.iter().flat_map(names).chain(words).collect()
        }
        _ => Vec::new(),
    }
}

/// The text of an example.
fn source(name: &str) -> String {
    std::fs::read_to_string(path(name)).expect("the example can be read")
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples").join(name)
}

#[track_caller]
fn with_mistake(text: &str, right: &str, mistaken: &str) -> String {
    assert_eq!(text.matches(right).count(), 1, "{right:?}");
    text.replace(right, mistaken)
}

/// The file itself: it can be run.
fn python() -> CommandCandidate {
    CommandCandidate::new(&path("walker.py"), &[], PATIENCE)
}

/// A compiled C program, and where it lies.
fn c(text: &str) -> (CommandCandidate, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let (source, program) = (directory.path().join("walker.c"), directory.path().join("walker"));
    std::fs::write(&source, text).expect("the source can be written");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", "-o"]);
    let ran = cc.arg(&program).arg(&source).output().expect("cc starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    (CommandCandidate::new(&program, &[], PATIENCE), directory)
}

fn marked(candidate: &mut CommandCandidate, case: &Case) -> Mark {
    mark(case, &Reference.predict(case).alternatives, &candidate.ask(case).expect("an answer"))
}

fn is_found_wrong(candidate: &mut CommandCandidate) -> bool {
    random_cases(PagingMode::FourLevel)
        .any(|case| matches!(marked(candidate, &case), Mark::Wrong { .. }))
}

/// Cases on processors of either vendor and of none, of machines that offer all there is.
fn random_cases(mode: PagingMode) -> impl Iterator<Item = Case> {
    let amd = Profile::generation("zen-4").expect("there is such a generation");
    let intel = Profile::generation("granite-rapids").expect("there is such a generation");
    // Fewer address bits than the most there can be, so that there are some above.
    let intel = Profile { physical_address_bits: 46, ..intel };
    [intel, amd, Profile::default()].into_iter().flat_map(move |profile| {
        let machine = Capabilities {
            profile,
            not_in_cpuid: Cr4::empty(),
            modes: Vec::new(),
            implicit_accesses: Ok(()),
            pkru_without_pku: true,
            pkru_in_ring_0: true,
            high_memory: true,
            read_only_tables: Ok(()),
            vmx: false,
            sees_outside: true,
        };
        let stream = RandomStream::new(1, mode, machine);
        (0..BATCHES).flat_map(move |number| stream.batch(number, CASES).cases)
    })
}

fn case(text: &Value) -> Case {
    Case::from_json(&text.to_string()).expect("a case")
}

#[track_caller]
fn expect(candidate: &mut CommandCandidate, text: &Value, answer: &Value) {
    let expected = Answer::from_line(&answer.to_string()).expect("an answer");
    assert_eq!(candidate.ask(&case(text)).expect("an answer"), expected, "{text}");
}

fn translated(address: &str) -> Value {
    json!({"translated": {"address": address}})
}

fn page_fault(error_code: &str, cr2: &str) -> Value {
    json!({"fault": {"vector": 14, "error_code": error_code, "cr2": cr2}})
}

/// Cases of 4-level paging, each with its answer by hand.
fn four_level() -> impl Iterator<Item = (Value, Value)> {
    // Where the plain case reads.
    const ADDRESS: &str = "0x8080604128";
    let with = case_text::with::<1>;
    let fault = |error_code| page_fault(error_code, ADDRESS);
    // Bits of the error code: P 0, W 1, U 2, RSVD 3, I 4, PK 5.
    let entries = [
        ("/entries/3/value", "0x40044006", fault("0x4")),
        ("/entries/1/value", "0x442003", fault("0x5")),
        // Reserved: XD is not, bit 48 is above MAXPHYADDR, PS of a PML4E, bit 13 of a 2 MiB page.
        ("/entries/3/value", "0x8000000040044007", translated("0x40044128")),
        ("/entries/2/value", "0x1000000443007", fault("0xd")),
        ("/entries/0/value", "0x441087", fault("0xd")),
        ("/entries/2/value", "0x40002087", fault("0xd")),
        // Pages of 2 MiB, with PAT, and 1 GiB.
        ("/entries/2/value", "0x40001087", translated("0x40004128")),
        ("/entries/1/value", "0x40000087", translated("0x40604128")),
        // G in a PML4E is ignored by the SDM; the AVL bits are everybody's.
        ("/entries/0/value", "0x7f00000000441f07", translated("0x40044128")),
    ];
    let entries = entries.map(|(place, value, answer)| (with([(place, json!(value))]), answer));

    let read_only = json!("0x40044005");
    let write = |cr0: &str, ring: u8| {
        case_text::with([
            ("/entries/3/value", read_only.clone()),
            ("/state/cr0", json!(cr0)),
            ("/access/kind", json!("write")),
            ("/access/ring", json!(ring)),
        ])
    };
    let supervisor = |kind: &str, cr4: &str, ac: bool| {
        case_text::with([
            ("/access/kind", json!(kind)),
            ("/access/ring", json!(0)),
            ("/state/cr4", json!(cr4)),
            ("/state/ac", json!(ac)),
        ])
    };
    let rights = [
        (write("0x80010011", 3), fault("0x7")),
        (write("0x80010011", 0), fault("0x3")),
        // CR0.WP=0.
        (write("0x80000011", 3), fault("0x7")),
        (write("0x80000011", 0), translated("0x40044128")),
        // SMEP, SMAP, SMAP with EFLAGS.AC.
        (supervisor("fetch", "0x100620", true), fault("0x11")),
        (supervisor("read", "0x100620", false), translated("0x40044128")),
        (supervisor("read", "0x200620", false), fault("0x1")),
        (supervisor("read", "0x200620", true), translated("0x40044128")),
        (supervisor("fetch", "0x200620", false), translated("0x40044128")),
    ];

    let disabled = json!("0x8000000040044007");
    let fetch = [("/entries/3/value", disabled.clone()), ("/access/kind", json!("fetch"))];
    let without_nxe = [("/entries/3/value", disabled), ("/state/efer", json!("0x500"))];
    let key_1 = [
        ("/entries/3/value", json!("0x800000040044007")),
        ("/state/cr4", json!("0x400620")),
        ("/state/pkru", json!("0x4")),
    ];
    let no_gigabyte_pages =
        [("/entries/1/value", json!("0x40000087")), ("/profile/features", json!(["nx"]))];
    let amd = [("/entries/0/value", json!("0x441107")), ("/profile/vendor", json!("amd"))];
    let several = [
        (case_text::with(fetch), fault("0x15")),
        (case_text::with(without_nxe), fault("0xd")),
        (case_text::with(key_1), fault("0x25")),
        (case_text::with(no_gigabyte_pages), fault("0xd")),
        (case_text::with(amd), fault("0xd")),
    ];

    let crossing = json!("0x8080604ffd");
    let next = ("/entries/-", json!({"address": "0x443028", "value": "0x40050007"}));
    let both = json!({"translated": {"address": "0x40044ffd", "second": "0x40050000"}});
    let general = json!({"fault": {"vector": 13, "error_code": "0x0"}});
    let stack = json!({"fault": {"vector": 12, "error_code": "0x0"}});
    let high = ("/access/address", json!("0x800000000000"));
    let addresses = [
        (case_text::with([("/access/address", crossing.clone()), next]), both),
        (with([("/access/address", crossing)]), page_fault("0x4", "0x8080605000")),
        (with([high.clone()]), general.clone()),
        (case_text::with([high, ("/access/segment", json!("stack"))]), stack),
        // Its last bytes are not canonical.
        (with([("/access/address", json!("0x7ffffffffffc"))]), general),
    ];
    let plain = (case_text::plain(), translated("0x40044128"));
    [plain].into_iter().chain(entries).chain(rights).chain(several).chain(addresses)
}

/// The plain case with a PML5 on top, whose entry 1 leads to the PML4.
fn five_level() -> impl Iterator<Item = (Value, Value)> {
    let case = |address: &str| {
        case_text::with([
            ("/mode", json!("5level")),
            ("/state/cr4", json!("0x1620")),
            ("/entries/0/value", json!("0x444007")),
            ("/entries/-", json!({"address": "0x444008", "value": "0x441007"})),
            ("/access/address", json!(address)),
        ])
    };
    let general = json!({"fault": {"vector": 13, "error_code": "0x0"}});
    [
        (case("0x1008080604128"), translated("0x40044128")),
        (case("0x8080604128"), page_fault("0x4", "0x8080604128")),
        (case("0x100000000000000"), general),
    ]
    .into_iter()
}
