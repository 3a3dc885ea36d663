//! The fields that a report of `check --json` must have: scripts depend on them.
#![allow(dead_code, reason = "each test uses its own part of this")]

use serde_json::Value;

/// Asserts that a report has every field, and that each is what its type says.
#[track_caller]
pub(crate) fn assert_report(report: &Value) {
    assert_fields(
        report,
        &[
            ("machine", "object"),
            ("seed", "count"),
            ("walker", "text"),
            ("modes", "list"),
            ("rules", "object"),
            ("choices", "list"),
            ("findings", "list"),
            ("totals", "object"),
        ],
    );
    assert_fields(
        &report["machine"],
        &[
            ("kind", "text"),
            ("flavour", "text"),
            ("beneath", "text"),
            ("cpu", "text"),
            ("max_physical_address", "count"),
            ("host_kernel", "text"),
        ],
    );
    assert_fields(
        &report["totals"],
        &[
            ("cases", "count"),
            ("agreed", "count"),
            ("diverged", "count"),
            ("seconds", "number"),
            ("cpu_seconds", "number"),
            ("cases_per_second", "number"),
        ],
    );
    for mode in report["modes"].as_array().unwrap() {
        let checked = mode["status"] == "checked";
        assert!(checked || mode["status"] == "unsupported", "{mode}");
        let counts = ["cases", "translations", "faults", "agreed", "diverged", "unsupported"];
        assert_fields(mode, &counts.map(|name| (name, "count")));
        assert_fields(mode, &[("mode", "text"), ("unproved", "count"), ("provenance", "counts")]);
        // A mode that was not run says why.
        assert_fields(mode, &[("reason", if checked { "null" } else { "text" })]);
    }
    for choice in report["choices"].as_array().unwrap() {
        let texts = ["rule", "mode", "provenance", "when", "member"];
        assert_fields(choice, &texts.map(|name| (name, "text")));
        assert_fields(choice, &[("count", "count")]);
    }
    for finding in report["findings"].as_array().unwrap() {
        assert_fields(
            finding,
            &[
                ("id", "text"),
                ("title", "text"),
                ("explained_by", "text|null"),
                ("count", "count"),
                ("known", "flag"),
                ("smallest_case", "object|null"),
                ("expected", "text|null"),
                ("observed", "text|null"),
            ],
        );
        if finding["smallest_case"].is_object() {
            assert_case_fields(&finding["smallest_case"]);
        }
    }
}

/// In a case, addresses and register values are hex strings, the rest are numbers and names.
fn assert_case_fields(case: &Value) {
    let registers = ["cr0", "cr3", "cr4", "efer", "pkru", "pkrs"];
    assert_fields(&case["state"], &registers.map(|name| (name, "hex")));
    for entry in case["entries"].as_array().expect("entries are a list") {
        assert_fields(entry, &[("address", "hex"), ("value", "hex")]);
    }
    let access = &case["access"];
    assert_fields(access, &[("kind", "text"), ("address", "hex"), ("size", "count")]);
    assert_fields(access, &[("ring", "count"), ("value", "hex")]);
}

/// Asserts that each field is there and is what its type says. `A|B` is either.
#[track_caller]
pub(crate) fn assert_fields(value: &Value, fields: &[(&str, &str)]) {
    for (name, kind) in fields {
        let found = value.get(name).unwrap_or_else(|| panic!("no field {name} in {value}"));
        let fits = |kind: &str| match kind {
            "text" => found.is_string(),
            "hex" => found.as_str().is_some_and(is_hex),
            "count" => found.is_u64(),
            "number" => found.is_number(),
            "flag" => found.is_boolean(),
            "list" => found.is_array(),
            "counts" => found.as_object().is_some_and(|counts| counts.values().all(Value::is_u64)),
            "object" => found.is_object(),
            "null" => found.is_null(),
            _ => unreachable!("{kind} is no kind of field"),
        };
        assert!(kind.split('|').any(fits), "{name}: expected {kind}, found {found}");
    }
}

fn is_hex(text: &str) -> bool {
    text.strip_prefix("0x").is_some_and(|digits| u64::from_str_radix(digits, 16).is_ok())
}
