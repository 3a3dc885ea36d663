//! The example walkers in `docs/examples`: run as a user's program is run, and marked.

use crosswalk::conformance::mark::{Mark, mark};
use crosswalk::conformance::process::CommandCandidate;
use crosswalk::generate::Stream;
use crosswalk::generate::random::RandomStream;
use crosswalk::walker::Walker;
use crosswalk_case::Case;
use crosswalk_case::protocol::Answer;
use crosswalk_machine::jail::Jail;
use crosswalk_machine::{Capabilities, LeftOut};
use crosswalk_test_support as support;
use mmu_core::{Cr4, PagingMode, Profile, Reference, Segment};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::{case_json, repository, require_program};
use tempfile::TempDir;

/// Time limit for one answer, even on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Number of batches for each mode and processor. Each has a control state of its own.
const BATCHES: u64 = 32;
/// Number of cases asked for in a batch; some batches have only one.
const CASES: usize = 48;

#[test]
fn the_python_example_answers_what_the_manuals_say() {
    require_program!("python3");
    let mut python = python();
    for (case, answer) in four_level_cases().chain(five_level_cases()) {
        assert_answer(&mut python, &case, &answer);
    }
}

#[test]
fn the_c_example_answers_what_the_manuals_say() {
    require_program!("cc");
    let (mut c, _directory) = c(&source("walker.c"));
    for (case, answer) in four_level_cases() {
        assert_answer(&mut c, &case, &answer);
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
fn the_examples_are_silent_about_what_they_do_not_implement() {
    require_program!("python3");
    require_program!("cc");
    let (mut c, _directory) = c(&source("walker.c"));
    let mut python = python();

    let unknown = [
        case_json::with([("/before", json!([{"invlpg": "0x1000"}]))]),
        case_json::with([("/access/shadow_stack", json!(true))]),
        // Linear-address masking of user addresses, and UAI.
        case_json::with([("/state/cr3", json!("0x2000000000440000"))]),
        case_json::with([("/state/efer", json!("0x100d00"))]),
        // Linear-address space separation.
        case_json::with([("/state/cr4", json!("0x8000620"))]),
    ];
    let mut cases: Vec<Case> = unknown.iter().map(case_of).collect();
    for mode in [PagingMode::Unpaged, PagingMode::Bits32, PagingMode::Pae] {
        cases.extend(random_cases(mode).take(1));
    }

    for case in cases {
        for example in [&mut python, &mut c] {
            let answer = example.ask(&case).expect("an answer");
            assert!(matches!(answer, Answer::Silent(_)), "{answer:?}: {case}");
        }
    }
}

/// The example with one mistake at a time, which shows that the random cases are enough.
#[test]
fn a_mistake_in_the_python_example_is_found() {
    require_program!("python3");
    for (right, wrong) in [
        (" or fetch and disabled", ""),
        ("rights & entry,", "entry,"),
        ("above | (0", "(0"),
        ("if disable & 1 or", "if"),
        ("code | CODE_P | CODE_RSVD", "code | CODE_RSVD"),
        ("last & ~0xFFF", "last"),
    ] {
        let text = with_mistake(&source("walker.py"), right, wrong);
        let mut python = CommandCandidate::new(
            Path::new("python3"),
            &["-c".into(), text],
            TIMEOUT,
            &Jail::strongest(),
        );
        assert!(is_found_wrong(&mut python), "the cases do not need {right:?}");
    }
}

#[test]
fn a_mistake_in_the_c_example_is_found() {
    require_program!("cc");
    for (right, wrong) in [(" || (fetch && disabled)", ""), ("shift == 39 ? G", "shift == 30 ? G")]
    {
        let (mut c, _directory) = c(&with_mistake(&source("walker.c"), right, wrong));
        assert!(is_found_wrong(&mut c), "the cases do not need {right:?}");
    }
}

/// The document describes every name that a case can contain, and its examples can be read.
#[test]
fn the_document_describes_cases_and_answers() {
    let document = include_str!("../docs/guide/src/walker-protocol.md");
    let mut with_pins = case_of(&case_json::plain());
    let pins = &mut with_pins.profile.pins;
    pins.global_in_pml4e_is_reserved = Some(true);
    pins.pdptes_are_walked = Some(true);
    pins.absent_pdptes_are_checked = Some(true);
    pins.smep_alone_reports_fetch = Some(true);
    pins.denied_pte_is_accessed = Some(true);
    pins.faults_save_rf = Some(true);
    let with_all_features = random_cases(PagingMode::Pae).last().expect("a case");

    let through = |segment| {
        let mut case = case_of(&case_json::plain());
        case.access.segment = segment;
        case
    };
    let through_every_segment = Segment::ALL.map(through);

    for case in [with_pins, with_all_features].into_iter().chain(through_every_segment) {
        assert_eq!(Case::from_json(&case.to_json()).expect("it reads back"), case);
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

/// The names of all fields, and of the features.
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
    repository().join("docs/examples").join(name)
}

#[track_caller]
fn with_mistake(text: &str, right: &str, wrong: &str) -> String {
    assert_eq!(text.matches(right).count(), 1, "{right:?} must occur once");
    text.replace(right, wrong)
}

/// The Python example; the file itself is executable.
fn python() -> CommandCandidate {
    CommandCandidate::new(&path("walker.py"), &[], TIMEOUT, &Jail::strongest())
}

/// A compiled C program, and the directory that contains it.
fn c(text: &str) -> (CommandCandidate, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory can be created");
    let source = directory.path().join("walker.c");
    let program = directory.path().join("walker");
    std::fs::write(&source, text).expect("the source can be written");

    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", "-o"]);
    let output = cc.arg(&program).arg(&source).output().expect("cc starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (CommandCandidate::new(&program, &[], TIMEOUT, &Jail::strongest()), directory)
}

fn marked(candidate: &mut CommandCandidate, case: &Case) -> Mark {
    mark(case, &Reference.predict(case).alternatives, &candidate.ask(case).expect("an answer"))
}

fn is_found_wrong(candidate: &mut CommandCandidate) -> bool {
    random_cases(PagingMode::FourLevel)
        .any(|case| matches!(marked(candidate, &case), Mark::Wrong { .. }))
}

/// Cases for processors of either vendor and of an unknown one, on machines that can do everything.
fn random_cases(mode: PagingMode) -> impl Iterator<Item = Case> {
    let amd = Profile::generation("zen-4").expect("a known generation");
    let intel = Profile::generation("sierra-forest").expect("a known generation");
    // Fewer address bits than the maximum, so that there are reserved ones above them.
    let narrow_intel = Profile { physical_address_bits: 46, ..intel };

    [narrow_intel, amd, Profile::default()].into_iter().flat_map(move |profile| {
        let machine = Capabilities {
            profile,
            not_in_cpuid: Cr4::empty(),
            modes: Vec::new(),
            implicit_accesses: Ok(()),
            compatibility: Ok(()),
            any_local_table: true,
            pkru_without_pku: true,
            pkru_in_ring_0: true,
            left_out: LeftOut::empty(),
            high_memory: true,
            read_only_tables: Ok(()),
            reserved_movs: Ok(()),
            saved_rf: Ok(()),
            vmx: false,
            virtualization: Err(String::new()),
            nested_modes: Vec::new(),
            live_page_sizes: false,
            sees_outside: true,
        };
        let stream = RandomStream::new(1, mode, machine);
        let cases = (0..BATCHES).flat_map(move |number| stream.batch(number, CASES).cases);
        // The examples are silent about shadow stacks, as a test below shows.
        cases.filter(|case| !case.access.shadow_stack)
    })
}

fn case_of(json: &Value) -> Case {
    Case::from_json(&json.to_string()).expect("a case")
}

#[track_caller]
fn assert_answer(candidate: &mut CommandCandidate, case: &Value, answer: &Value) {
    let expected = Answer::from_line(&answer.to_string()).expect("an answer");
    assert_eq!(candidate.ask(&case_of(case)).expect("an answer"), expected, "{case}");
}

fn translated(address: &str) -> Value {
    json!({"translated": {"address": address}})
}

fn page_fault(error_code: &str, cr2: &str) -> Value {
    json!({"fault": {"vector": 14, "error_code": error_code, "cr2": cr2}})
}

fn general_protection() -> Value {
    json!({"fault": {"vector": 13, "error_code": "0x0"}})
}

/// The address that the plain case reads.
const ADDRESS: &str = "0x8080604128";

/// A page fault at the address that the plain case reads.
/// Bits of the error code: P 0, W 1, U 2, RSVD 3, I 4, PK 5.
fn fault(error_code: &str) -> Value {
    page_fault(error_code, ADDRESS)
}

/// Cases of 4-level paging, each with the answer worked out by hand.
fn four_level_cases() -> impl Iterator<Item = (Value, Value)> {
    let plain = (case_json::plain(), translated("0x40044128"));
    [plain]
        .into_iter()
        .chain(unusual_entries())
        .chain(rights())
        .chain(features_and_keys())
        .chain(unusual_addresses())
}

/// One entry with an unusual value.
fn unusual_entries() -> impl Iterator<Item = (Value, Value)> {
    let cases = [
        ("/entries/3/value", "0x40044006", fault("0x4")),
        ("/entries/1/value", "0x442003", fault("0x5")),
        // XD is not reserved; bit 48 is, above MAXPHYADDR; so are PS of a PML4E and bit 13 of a
        // 2 MiB page.
        ("/entries/3/value", "0x8000000040044007", translated("0x40044128")),
        ("/entries/2/value", "0x1000000443007", fault("0xd")),
        ("/entries/0/value", "0x441087", fault("0xd")),
        ("/entries/2/value", "0x40002087", fault("0xd")),
        // Pages of 2 MiB, with PAT, and of 1 GiB.
        ("/entries/2/value", "0x40001087", translated("0x40004128")),
        ("/entries/1/value", "0x40000087", translated("0x40604128")),
        // The SDM ignores G in a PML4E, and software may use the AVL bits.
        ("/entries/0/value", "0x7f00000000441f07", translated("0x40044128")),
    ];
    cases
        .into_iter()
        .map(|(place, value, answer)| (case_json::with([(place, json!(value))]), answer))
}

/// CR0.WP, SMEP and SMAP, in both rings.
fn rights() -> impl Iterator<Item = (Value, Value)> {
    let write_to_read_only = |cr0: &str, ring: u8| {
        case_json::with([
            ("/entries/3/value", json!("0x40044005")),
            ("/state/cr0", json!(cr0)),
            ("/access/kind", json!("write")),
            ("/access/ring", json!(ring)),
        ])
    };
    let supervisor = |kind: &str, cr4: &str, ac: bool| {
        case_json::with([
            ("/access/kind", json!(kind)),
            ("/access/ring", json!(0)),
            ("/state/cr4", json!(cr4)),
            ("/state/ac", json!(ac)),
        ])
    };

    [
        (write_to_read_only("0x80010011", 3), fault("0x7")),
        (write_to_read_only("0x80010011", 0), fault("0x3")),
        // CR0.WP=0.
        (write_to_read_only("0x80000011", 3), fault("0x7")),
        (write_to_read_only("0x80000011", 0), translated("0x40044128")),
        // SMEP, SMAP, SMAP with EFLAGS.AC.
        (supervisor("fetch", "0x100620", true), fault("0x11")),
        (supervisor("read", "0x100620", false), translated("0x40044128")),
        (supervisor("read", "0x200620", false), fault("0x1")),
        (supervisor("read", "0x200620", true), translated("0x40044128")),
        (supervisor("fetch", "0x200620", false), translated("0x40044128")),
    ]
    .into_iter()
}

/// XD with and without NXE, a protection key, no 1 GiB pages, and G in a PML4E on AMD.
fn features_and_keys() -> impl Iterator<Item = (Value, Value)> {
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

    [
        (case_json::with(fetch), fault("0x15")),
        (case_json::with(without_nxe), fault("0xd")),
        (case_json::with(key_1), fault("0x25")),
        (case_json::with(no_gigabyte_pages), fault("0xd")),
        (case_json::with(amd), fault("0xd")),
    ]
    .into_iter()
}

/// Accesses across pages, and addresses that are not canonical.
fn unusual_addresses() -> impl Iterator<Item = (Value, Value)> {
    let crossing = ("/access/address", json!("0x8080604ffd"));
    let next_page = ("/entries/-", json!({"address": "0x443028", "value": "0x40050007"}));
    let both = json!({"translated": {"address": "0x40044ffd", "second": "0x40050000"}});

    let high = ("/access/address", json!("0x800000000000"));
    let stack = ("/access/segment", json!("stack"));
    let stack_fault = json!({"fault": {"vector": 12, "error_code": "0x0"}});
    // Only its last bytes are not canonical.
    let edge = ("/access/address", json!("0x7ffffffffffc"));

    [
        (case_json::with([crossing.clone(), next_page]), both),
        (case_json::with([crossing]), page_fault("0x4", "0x8080605000")),
        (case_json::with([high.clone()]), general_protection()),
        (case_json::with([high, stack]), stack_fault),
        (case_json::with([edge]), general_protection()),
    ]
    .into_iter()
}

/// The plain case with a PML5 as its root, whose entry 1 leads to the PML4.
fn five_level_cases() -> impl Iterator<Item = (Value, Value)> {
    let case = |address: &str| {
        case_json::with([
            ("/mode", json!("5level")),
            ("/state/cr4", json!("0x1620")),
            ("/entries/0/value", json!("0x444007")),
            ("/entries/-", json!({"address": "0x444008", "value": "0x441007"})),
            ("/access/address", json!(address)),
        ])
    };
    [
        (case("0x1008080604128"), translated("0x40044128")),
        (case(ADDRESS), page_fault("0x4", ADDRESS)),
        (case("0x100000000000000"), general_protection()),
    ]
    .into_iter()
}
