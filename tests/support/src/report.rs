//! Reading the reports of `check --json`, and the fields that they must have: scripts depend on them.

use serde_json::Value;

/// The finding with this id in a report.
#[track_caller]
pub fn finding<'r>(report: &'r Value, id: &str) -> &'r Value {
    let findings = list(&report["findings"]);
    findings.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| {
        let ids: Vec<_> = findings.iter().map(|finding| &finding["id"]).collect();
        panic!("no finding {id} among {ids:?}")
    })
}

/// The part of a report about a paging mode.
#[track_caller]
pub fn mode<'r>(report: &'r Value, name: &str) -> &'r Value {
    let modes = list(&report["modes"]);
    modes.iter().find(|mode| mode["mode"] == name).unwrap_or_else(|| panic!("no mode {name}"))
}

/// The part of a report about 4-level paging.
#[track_caller]
pub fn four_level(report: &Value) -> &Value {
    mode(report, "4level")
}

/// A field that is a count.
#[track_caller]
pub fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} is not a count in {value}"))
}

/// The elements of a list.
#[track_caller]
pub fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("expected a list, found {value}"))
}

/// A value that is a string.
#[track_caller]
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a string, found {value}"))
}

/// Asserts that a report has every field of the contract, each of its type.
#[track_caller]
pub fn assert_report(report: &Value) {
    assert_fields(
        report,
        &[
            ("machine", "object"),
            ("seed", "text"),
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

    list(&report["modes"]).iter().for_each(assert_mode_fields);
    list(&report["choices"]).iter().for_each(assert_choice_fields);
    list(&report["findings"]).iter().for_each(assert_finding_fields);
}

#[track_caller]
fn assert_mode_fields(mode: &Value) {
    let is_checked = mode["status"] == "checked";
    assert!(is_checked || mode["status"] == "unsupported", "{mode}");

    let counts = ["cases", "translations", "faults", "agreed", "diverged", "unsupported"];
    assert_fields(mode, &counts.map(|name| (name, "count")));
    assert_fields(mode, &[("mode", "text"), ("unproved", "count"), ("provenance", "counts")]);
    // A mode that was not run has a reason.
    assert_fields(mode, &[("reason", if is_checked { "null" } else { "text" })]);
}

#[track_caller]
fn assert_choice_fields(choice: &Value) {
    let texts = ["rule", "mode", "provenance", "when", "member"];
    assert_fields(choice, &texts.map(|name| (name, "text")));
    assert_fields(choice, &[("count", "count")]);
}

#[track_caller]
fn assert_finding_fields(finding: &Value) {
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

/// In a case, addresses and register values are hex strings; the other fields are numbers and names.
#[track_caller]
fn assert_case_fields(case: &Value) {
    let registers = ["cr0", "cr3", "cr4", "efer", "pkru", "pkrs"];
    assert_fields(&case["state"], &registers.map(|name| (name, "hex")));

    for entry in list(&case["entries"]) {
        assert_fields(entry, &[("address", "hex"), ("value", "hex")]);
    }

    let access = &case["access"];
    assert_fields(access, &[("kind", "text"), ("address", "hex"), ("size", "count")]);
    assert_fields(access, &[("ring", "count"), ("value", "hex")]);
}

/// Asserts that each field exists and has its type. `A|B` means either type.
#[track_caller]
pub fn assert_fields(value: &Value, fields: &[(&str, &str)]) {
    for (name, types) in fields {
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
            _ => unreachable!("{kind} is not a type of field"),
        };
        assert!(types.split('|').any(fits), "{name}: expected {types}, found {found}");
    }
}

fn is_hex(text: &str) -> bool {
    text.strip_prefix("0x").is_some_and(|digits| u64::from_str_radix(digits, 16).is_ok())
}
