//! The JSON documents: every one is what its schema says, and begins with the same members.

use crosswalk_test_support as support;
use jsonschema::Validator;
use serde_json::{Value, json};
use std::path::Path;
use support::requirement::can_be_started;
use support::{ProgramOutput, Sandbox, require_qemu, run};

/// The commands that need no machine, each with the name of its schema.
#[test]
fn every_document_is_what_its_schema_says() {
    let sandbox = Sandbox::new();
    support::memory_image::write_small_guests(sandbox.path());
    sandbox.file("nested.json", support::case_json::nested().to_string());
    sandbox.file("monitor.txt", "0000000000400000: 000000000000b000 ----A--U-\n");

    for (schema, command) in [
        ("run", "replay"),
        ("run", "replay --walker mutant:M07"),
        ("run", "check --machine corpus"),
        ("conformance", "conformance --no-adapters --walker mutant:M41"),
        ("compare", "compare"),
        ("findings", "findings"),
        ("nested", "replay --nested"),
        ("nested", "replay --nested --walker mutant:NM3"),
        ("nested-conformance", "conformance --nested"),
        ("nested-explain", "explain nested.json --walker mutant:NM3"),
        ("exercise", "exercise all --seed 7"),
        ("exercise-list", "exercise"),
        ("geometry", "geometry"),
        ("geometry", "geometry --bits 64 --levels 51,1"),
        ("image", "image a.elf --cases 50 --seed 18446744073709551615"),
        ("scenario", "scenario all --machine none"),
        ("scenario-list", "scenario"),
        ("scenario-random", "scenario random --machine none --operations 100"),
        ("maps", "maps guest.elf"),
        ("maps", "maps guest.elf --filter w,x"),
        ("maps-tree", "maps guest.elf --tree"),
        ("maps-check", "maps guest.elf --check info-tlb:monitor.txt"),
        ("rmap", "rmap guest.elf 0xa123"),
        ("audit", "audit guest.elf --checks all"),
        ("diff", "diff guest.elf later.elf"),
        ("walk", "walk guest.elf 0x8000420123"),
        ("walk", "walk guest.elf 0x420123 --cr3 0x7fffffff000"),
        ("machines", "machines"),
    ] {
        assert_valid(schema, &sandbox, command);
    }
}

#[test]
fn a_walk_as_a_document_is_what_its_schema_says() {
    let sandbox = Sandbox::new();
    let findings = run(&["findings", "--json"]).json();
    let cases = findings["findings"].as_array().expect("a list").iter();
    let cases: Vec<_> =
        cases.map(|finding| &finding["case"]).filter(|case| !case.is_null()).collect();
    assert!(cases.len() > 20, "{}", cases.len());
    sandbox.file("cases.json", json!(cases).to_string());

    let document = assert_valid("explain", &sandbox, "explain cases.json");
    assert_eq!(document["verdict"], "done");
    let explained = document["cases"].as_array().expect("a list");
    assert_eq!(explained.len(), cases.len());
    assert!(
        explained.iter().any(|case| case["steps"].as_array().is_some_and(|steps| steps.len() > 1))
    );
    assert_valid("explain", &sandbox, "explain cases.json --walker mutant:M07");
}

/// The walk of a case by hand: four levels, each entry at its place, and a write to a read-only page.
#[test]
fn a_walk_as_a_document_has_every_entry_and_what_is_expected() {
    let case = json!({
        "mode": "4level",
        "state": {"cr0": "0x80010011", "cr3": "0x1000", "cr4": "0x20", "efer": "0xd00"},
        "entries": [
            {"address": "0x1008", "value": "0x2007"},
            {"address": "0x2010", "value": "0x3007"},
            {"address": "0x3018", "value": "0x4007"},
            {"address": "0x4020", "value": "0x5025"},
        ],
        "access": {"kind": "write", "address": "0x8080604123", "size": 1, "ring": 3},
    });
    let document = run(&["explain", &case.to_string(), "--json"]).expect_code(0).json();

    let explained = &document["cases"][0];
    let path = explained["walks"][0]["path"].as_array().expect("a list");
    let entries: Vec<_> =
        path.iter().map(|entry| [&entry["level"], &entry["at"], &entry["target"]]).collect();
    assert_eq!(
        json!(entries),
        json!([
            ["PML4E", "0x1008", "0x2000"],
            ["PDPTE", "0x2010", "0x3000"],
            ["PDE", "0x3018", "0x4000"],
            ["PTE", "0x4020", "0x5000"],
        ])
    );
    assert_eq!(path[3]["rights"], json!({"user": true, "write": false, "execute": true}));
    assert_eq!(explained["walks"][0]["physical"], Value::Null);
    assert_eq!(explained["machines"], json!([]));

    // P, W and U of the error code: a write of user code to a page that is present.
    let first = &explained["prediction"]["alternatives"][0];
    let fault = json!({"vector": 14, "error_code": "0x7", "cr2": "0x8080604123"});
    assert_eq!(first["fault"], fault);
    assert!(
        explained["prediction"]["rules"].as_array().expect("a list").contains(&json!("RIGHT-1"))
    );
}

#[test]
fn documents_of_qemu_are_what_their_schemas_say() {
    require_qemu!();
    let sandbox = Sandbox::new();
    for (schema, command) in [
        ("run", "check --machine qemu --cases 2000 --seed 18446744073709551615 --report r"),
        ("run", "merge r"),
        ("run", "check --machine qemu --exhaustive --cases 500"),
        ("runs", "check --qemu qemu-system-x86_64 --qemu qemu-system-x86_64 --cases 500"),
        ("mutants", "mutants --machine qemu --cases 500"),
        ("record", "record one.jsonl --machine qemu --cases 200"),
        (
            "record",
            "record two.jsonl --qemu qemu-system-x86_64 --qemu qemu-system-x86_64 --cases 200",
        ),
        ("compare", "compare one.jsonl two.jsonl"),
        ("nested", "check --nested --machine qemu --cases 200 --shard 0/2 --seed 1"),
        ("nested-mutants", "mutants --nested --machine qemu --cases 200 --seed 1"),
        ("nested-record", "record three.jsonl --nested --machine qemu --cases 200"),
        ("nested-explain", "explain nested:random:1:7 --machine qemu"),
        ("scenario", "scenario dirty --machine qemu"),
        ("scenario-random", "scenario random --machine qemu --operations 50"),
    ] {
        let document = assert_valid(schema, &sandbox, command);
        if command.contains("18446744073709551615") {
            assert_eq!(document["seed"], "18446744073709551615");
        }
    }
    let report = std::fs::read_to_string(sandbox.path().join("r/report.json")).expect("a report");
    assert_is_valid("run", &serde_json::from_str(&report).expect("a document"));

    let finding = run(&["findings", "T1", "--json"]).json();
    sandbox.file("case.json", finding["findings"][0]["case"].to_string());
    let document = assert_valid("explain", &sandbox, "explain case.json --machine qemu");
    let on_qemu = &document["cases"][0]["machines"][0];
    assert_eq!(
        [&on_qemu["verdict"], &on_qemu["known"]],
        [&json!("diverge"), &json!(true)],
        "{on_qemu}"
    );
    assert_eq!((&document["verdict"], &document["exit"]), (&json!("agree"), &json!(0)));
}

/// Replays have reports as runs do. One of fewer modes, which forgives nothing, differs.
#[test]
fn two_reports_are_compared() {
    let sandbox = Sandbox::new();
    sandbox.run(&["replay", "--report", "a"]).expect_code(0);
    sandbox.run(&["replay", "--report", "b"]).expect_code(0);
    sandbox.run(&["replay", "--report", "c", "--mode", "pae", "--known", "none"]).expect_code(1);

    let same = sandbox.run(&["compare", "a", "b"]).expect_code(0).expect_80_columns();
    assert!(same.stdout.ends_with("The results are the same.\n"), "{}", same.stdout);
    let document = assert_valid("compare-reports", &sandbox, "compare a b/report.json");
    assert_eq!((&document["verdict"], &document["same_cases"]), (&json!("same"), &json!(true)));

    let differ = sandbox.run(&["compare", "a", "c"]).expect_code(1).expect_80_columns();
    assert!(differ.stdout.contains("4level: A checked, B nothing"), "{}", differ.stdout);
    let document = assert_valid("compare-reports", &sandbox, "compare a c");
    assert_eq!((&document["verdict"], &document["same_cases"]), (&json!("differ"), &json!(false)));
    assert!(!document["rules"]["first"].as_array().expect("a list").is_empty(), "{document}");
    assert_eq!(document["rules"]["second"], json!([]));

    sandbox.file("no.json", "{}");
    sandbox.file("bad.json", "{");
    std::fs::create_dir(sandbox.path().join("empty")).expect("a directory");
    for (arguments, words) in [
        (&["a", "no.json"][..], "no.json: expected the report of a run"),
        (&["bad.json", "a"], "bad.json: "),
        (&["a", "empty"], "empty/report.json: cannot be read"),
        (&["a"], "expected two reports of runs"),
        (&["a", "b", "c"], "expected two reports of runs"),
        (&["a", "corpus.jsonl"], "expected two reports of runs"),
        (&["a", "b", "--known", "none"], "--known is for corpora"),
    ] {
        let output = sandbox.run(&[&["compare"], arguments].concat()).expect_code(2);
        assert!(output.only_line_of_stderr().contains(words), "{}", output.stderr);
    }
}

#[test]
fn a_walker_that_is_a_program_is_in_the_schema() {
    if !can_be_started("python3") {
        return support::skip("python3", "no python3");
    }
    let walker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/walker.py");
    let command = ["replay", "--cases", "300", "--json", "--walker"];
    let output = run(&[&command[..], &[&format!("cmd:{}", walker.display())]].concat());
    assert_is_valid("run", &output.json());
}

#[test]
fn a_document_that_is_not_what_the_schema_says_is_found() {
    let mut document = run(&["geometry", "--json"]).json();
    assert_is_valid("geometry", &document);

    let is_valid = |document: &Value| strict_validator("geometry").is_valid(document);
    document["configurations"][0]["levels"][0]["more"] = json!(1);
    assert!(!is_valid(&document), "a member that is not in the schema");
    document["configurations"][0]["levels"][0].as_object_mut().expect("an object").remove("more");
    document["seed"] = json!("1");
    assert!(!is_valid(&document), "a member at the top that is not in the schema");
    document.as_object_mut().expect("an object").remove("seed");
    assert!(is_valid(&document));
    document["exit"] = json!("0");
    assert!(!is_valid(&document), "a member of another type");
}

#[test]
fn the_program_prints_its_schemas() {
    let names = run(&["schema"]).expect_code(0).stdout;
    let names: Vec<_> = names.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let mut files: Vec<_> = std::fs::read_dir(schemas())
        .expect("schemas")
        .map(|entry| entry.expect("an entry").path().file_stem().expect("a name").to_owned())
        .collect();
    files.sort();
    assert_eq!(names, files);

    for name in names {
        let printed = run(&["schema", name]).expect_code(0).stdout;
        let file = std::fs::read_to_string(schemas().join(format!("{name}.json")));
        assert_eq!(printed, file.expect("a schema"));
    }
    let unknown = run(&["schema", "nothing"]).expect_code(2);
    assert!(unknown.stderr.contains("scenario-random"), "{}", unknown.stderr);
}

/// Runs a command, whose words are separated by spaces, with `--json`, and returns its document.
#[track_caller]
fn assert_valid(schema: &str, sandbox: &Sandbox, command: &str) -> Value {
    let mut words: Vec<_> = command.split(' ').collect();
    words.push("--json");
    let output: ProgramOutput = sandbox.run(&words);
    assert!(!output.stdout.is_empty(), "{command}: {}", output.stderr);

    let document = output.json();
    let expected: Vec<_> = std::iter::once("crosswalk").chain(words).collect();
    assert_eq!(document["command"], json!(expected));
    assert_is_valid(schema, &document);
    document
}

#[track_caller]
fn assert_is_valid(schema: &str, document: &Value) {
    let errors: Vec<_> = strict_validator(schema)
        .iter_errors(document)
        .take(5)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{schema}: {errors:#?}");
}

/// A validator that takes no member that the schema does not describe, though schemas allow more.
fn strict_validator(name: &str) -> Validator {
    let text = std::fs::read_to_string(schemas().join(format!("{name}.json"))).expect("a schema");
    let mut schema: Value = serde_json::from_str(&text).expect("a schema is JSON");
    assert!(jsonschema::meta::is_valid(&schema), "{name} is not a schema");

    // Where a document has two forms, each is a part of it, and not an object of its own.
    let definitions = schema["$defs"].clone();
    let forms = schema.get_mut("anyOf").and_then(Value::as_array_mut);
    for form in forms.into_iter().flatten() {
        let name = form["$ref"].as_str().and_then(|target| target.rsplit('/').next());
        *form = definitions[name.expect("the name of a form")].clone();
    }
    close(&mut schema);
    jsonschema::draft202012::new(&schema).expect("a schema")
}

/// Closes every object that a schema describes as a whole.
fn close(schema: &mut Value) {
    close_inside(schema);

    let Value::Object(members) = schema else { return };
    let describes_objects =
        ["properties", "anyOf", "oneOf", "allOf"].iter().any(|name| members.contains_key(*name));
    if describes_objects {
        members.insert("unevaluatedProperties".to_owned(), json!(false));
    }
}

/// Closes what is inside a schema, which may describe only a part of an object.
fn close_inside(schema: &mut Value) {
    let Value::Object(members) = schema else { return };

    for (name, inner) in members {
        match (name.as_str(), inner) {
            ("properties" | "$defs", Value::Object(schemas)) => {
                schemas.values_mut().for_each(close);
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(parts)) => {
                parts.iter_mut().for_each(close_inside);
            }
            ("prefixItems", Value::Array(schemas)) => schemas.iter_mut().for_each(close),
            ("items" | "additionalProperties", schema) => close(schema),
            _ => {}
        }
    }
}

fn schemas() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas")
}
