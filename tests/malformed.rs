//! Malformed cases: one clear line with the place and the expectation, exit code 2, no panic.

use crosswalk::report::walk;
use crosswalk::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_test_support as support;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::case_json::{plain, with};
use support::{ProgramOutput, Sandbox, run};

/// Asserts that `explain` refuses this argument in one line with all these words.
#[track_caller]
fn assert_refused(argument: &str, words: &[&str]) {
    assert_error(&run(&["explain", argument]), words);
}

/// Asserts that a run ended with exit code 2 and one line with all these words.
#[track_caller]
fn assert_error(output: &ProgramOutput, words: &[&str]) {
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    assert_eq!(output.stdout, "");

    let line = output.only_line_of_stderr();
    assert!(line.starts_with("crosswalk: "), "{line}");
    for word in words {
        assert!(line.contains(word), "no {word:?} in {line:?}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_place_and_what_is_expected() {
    let hex = "expected a hex string such as \"0x1000\"";
    for (pointer, value, words) in [
        ("/mode", json!("6level"), ["mode", "expected one of unpaged, 32bit, pae"]),
        ("/mode", json!(4), ["mode", "expected a string"]),
        // The mode must be the one that the control registers select.
        ("/mode", json!("pae"), ["mode", "expected \"4level\", the mode that state selects"]),
        ("/state/cr4", json!("0x1620"), ["mode", "\"5level\""]),
        ("/state/cr0", json!(0x8001_0011_u32), ["state.cr0", hex]),
        ("/state/cr3", json!("440000"), ["state.cr3", hex]),
        ("/state/cr3", json!("0xgg"), ["state.cr3", hex]),
        ("/state/efer", json!("0x"), ["state.efer", hex]),
        ("/state/efer", json!("0x10000000000000000"), ["state.efer", "64 bits"]),
        ("/state/pkru", json!("0x100000000"), ["state.pkru", "32 bits"]),
        ("/state/ac", json!("yes"), ["state.ac", "expected a boolean"]),
        ("/state/cr2", json!("0x0"), ["state", "unknown field `cr2`"]),
        // No processor can be in these states.
        ("/state/cr0", json!("0x80010010"), ["state.cr0", "PG=1 needs PE=1"]),
        ("/state/cr0", json!("0xa0010011"), ["state.cr0", "NW=1 needs CD=1"]),
        ("/state/cr4", json!("0x600"), ["state.cr4", "EFER.LMA=1 needs PAE=1"]),
        ("/state/cr4", json!("0x8620"), ["state.cr4", "reserved bits are 0"]),
        ("/state/efer", json!("0xc00"), ["state.efer", "LMA=1 exactly if LME=1 and CR0.PG=1"]),
        (
            "/state/pdptes",
            json!(["0x1", "0x0", "0x0", "0x0"]),
            ["state.pdptes", "expected in pae paging only, found in 4level"],
        ),
        ("/entries", json!({}), ["entries", "expected a sequence"]),
        ("/entries/1", json!(7), ["entries[1]", "struct EntryText"]),
        ("/entries/1/value", json!(7), ["entries[1].value", hex]),
        ("/entries/2/address", json!("0x442019"), ["entries[2].address", "multiple of 8"]),
        ("/entries/2/address", json!("0x441010"), ["entries[2].address", "each address once"]),
        ("/before", json!([{"jump": "0x0"}]), ["before[0]", "unknown variant `jump`"]),
        ("/before", json!([{"pkru": "0x100000000"}]), ["before[0].pkru", "32 bits"]),
        ("/before", json!(["reload_cr3", {"invlpg": 5}]), ["before[1].invlpg", hex]),
        (
            "/before",
            json!([{"write": {"address": "0x443021", "value": "0x0"}}]),
            ["before[0].write.address", "multiple of 8"],
        ),
        (
            "/before",
            json!([{"access": {"kind": "read", "address": "0x0", "size": 0, "ring": 3}}]),
            ["before[0].access.size", "expected 1 to 8 bytes"],
        ),
        ("/access/size", json!(0), ["access.size", "expected 1 to 8 bytes"]),
        ("/access/size", json!(9), ["access.size", "expected 1 to 8 bytes"]),
        ("/access/size", json!(65536), ["access.size", "expected u16"]),
        ("/access/size", json!(-1), ["access.size", "expected u16"]),
        ("/access/ring", json!(1), ["access.ring", "expected one of 0, 3"]),
        ("/access/segment", json!("extra"), ["access.segment", "data, stack"]),
        ("/access/kind", json!("peek"), ["access.kind", "read, write, rmw"]),
        (
            "/access/instruction",
            json!("xadd"),
            ["access.instruction", "expected one of mov from memory, lsl"],
        ),
        (
            "/access/instruction",
            json!("nop"),
            ["access.instruction", "expected one of mov from memory, lsl"],
        ),
        ("/access/colour", json!("red"), ["access", "unknown field `colour`"]),
        ("/profile", json!("z80"), ["profile", "expected one of pentium-pro, pentium-3"]),
        ("/profile", json!("Zen-3"), ["profile", "zen-3, zen-4, found \"Zen-3\""]),
        ("/profile", json!(7), ["profile", "expected the name of a processor generation"]),
        ("/profile/vendor", json!("via"), ["profile.vendor", "intel, amd"]),
        (
            "/profile/features/1",
            json!("3dnow"),
            ["profile.features[1]", "expected one of nx, page_1gb"],
        ),
        ("/profile/max_physical_address", json!(53), ["max_physical_address", "32 to 52"]),
        ("/profile/max_physical_address", json!(31), ["max_physical_address", "32 to 52"]),
    ] {
        assert_refused(&with([(pointer, value)]).to_string(), &words);
    }
}

#[test]
fn a_missing_field_is_named() {
    for (parent, name) in [
        ("", "mode"),
        ("", "state"),
        ("", "entries"),
        ("", "access"),
        ("/state", "cr3"),
        ("/entries/3", "value"),
        ("/access", "size"),
        ("/profile", "features"),
    ] {
        let mut case = plain();
        let fields = case.pointer_mut(parent).and_then(Value::as_object_mut);
        fields.expect("an object").remove(name);
        assert_refused(&case.to_string(), &[&format!("missing field `{name}`")]);
    }
}

#[test]
fn anything_but_one_json_document_is_refused() {
    let case = plain().to_string();
    assert_refused(&format!("{case} x"), &["after the case", "trailing"]);
    assert_refused(&format!("{case}{case}"), &["after the case", "trailing"]);
    assert_refused(&case[..case.len() - 1], &["EOF"]);
    assert_refused("{", &["EOF"]);
    assert_refused("{}", &["missing field"]);

    let twice = case.replacen("\"mode\"", "\"mode\":\"4level\",\"mode\"", 1);
    assert_refused(&twice, &["duplicate field `mode`"]);

    // So deep that the parser must refuse it before its stack overflows.
    assert_refused(&format!("{{\"mode\":{}", "[".repeat(100_000)), &["mode"]);
}

#[test]
fn an_error_names_the_file_and_the_case_in_it() {
    let sandbox = Sandbox::new();
    let bad = with([("/access/ring", json!(2))]);
    std::fs::create_dir(sandbox.path().join("folder")).expect("a directory can be created");

    for (name, contents, words) in [
        ("empty.json", Vec::new(), ["EOF", ""]),
        ("blank.json", b" \n\n".to_vec(), ["EOF", ""]),
        ("none.json", b"[]".to_vec(), ["at least one case", "an empty array"]),
        ("null.json", b"null".to_vec(), ["null", "expected"]),
        ("number.json", b"17".to_vec(), ["17", "expected"]),
        ("binary.json", vec![0x7f, b'E', b'L', b'F', 0xff, 0xfe, 0], ["cannot be read", "UTF-8"]),
        ("bad.json", bad.to_string().into_bytes(), ["access.ring", "expected one of"]),
        ("list.json", json!([plain(), bad]).to_string().into_bytes(), ["case 2", "access.ring"]),
        ("open.json", format!("[{}", plain()).into_bytes(), ["EOF", ""]),
        ("two.json", format!("{}\n{}", plain(), plain()).into_bytes(), ["after the case", ""]),
    ] {
        let name = sandbox.file(name, contents);
        let output = sandbox.run(&["explain", &name]);
        assert_error(&output, &[&format!("crosswalk: {name}: "), words[0], words[1]]);
    }

    for name in ["folder", "missing.json", ""] {
        let output = sandbox.run(&["explain", name]);
        assert_error(&output, &[&format!("crosswalk: {name}: cannot be read: ")]);
    }
}

/// Reads a text as `explain` does, and uses the case or the error; nothing may panic.
fn use_text(text: &str) {
    match Case::from_json(text) {
        Ok(case) => {
            assert_eq!(Case::from_json(&case.to_json()).expect("its own text can be read"), case);
            assert!(!walk::explain(&case, WalkerSpec::Reference, None).is_empty());
            let _ = crosswalk_machine::batch::arena_of(&case);
        }
        Err(error) => {
            let error = error.to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
        }
    }
}

/// Values that a field of a case could have, valid or not.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(|number| json!(format!("{number:#x}"))),
        (0..64_u32).prop_map(|bit| json!(format!("{:#x}", 1_u64 << bit))),
        Just(json!("0xffffffffffffffff")),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-z0-9]{0,8}".prop_map(|text: String| json!(text)),
        any::<bool>().prop_map(|flag| json!(flag)),
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        prop_oneof!["read", "write", "rmw", "fetch", "clflush", "stack"].prop_map(|s| json!(s)),
    ]
}

/// Collects the JSON pointers to a value and to all values inside it.
fn collect_pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                collect_pointers(inner, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                collect_pointers(inner, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The number of inputs for a property. A failing input is printed, and not kept in a file.
fn inputs(count: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

proptest! {
    #![proptest_config(inputs(3000))]

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        use_text(&text);
    }

    #[test]
    fn a_case_with_other_values_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 1..4),
    ) {
        let mut case = plain();
        for (choice, value) in changes {
            let mut pointers = Vec::new();
            collect_pointers(&case, "", &mut pointers);
            let pointer: &String = choice.get(&pointers);
            *case.pointer_mut(pointer).expect("it was found") = value;
        }
        use_text(&case.to_string());
    }

    #[test]
    fn a_case_with_other_characters_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[ -~]"), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut text = plain().to_string();
        for (choice, character) in changes {
            let at = choice.index(text.len());
            text.replace_range(at..=at, &character);
        }
        if is_cut {
            text.truncate(cut.index(text.len()));
        }
        use_text(&text);
    }
}

proptest! {
    #![proptest_config(inputs(60))]

    /// For a file of any contents, the program exits as the contract says.
    #[test]
    fn a_file_of_any_bytes_exits_with_0_or_2(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let sandbox = Sandbox::new();
        let name = sandbox.file("bytes", bytes);
        let output = sandbox.run(&["explain", &name]);
        prop_assert!(matches!(output.code, Some(0 | 2)), "{:?}", output);
    }
}

/// A file without an end fills no memory.
#[test]
fn an_endless_input_is_refused() {
    assert_refused("/dev/zero", &["/dev/zero", "expected at most"]);

    let known = run(&["replay", "--known", "/dev/zero"]);
    assert!(known.only_line_of_stderr().contains("expected at most"), "{}", known.stderr);
    let image = run(&["check", "--machine", "qemu", "--guest-image", "/dev/zero"]);
    assert!(image.only_line_of_stderr().contains("expected at most"), "{}", image.stderr);
}
