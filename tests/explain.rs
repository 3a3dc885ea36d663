//! What `crosswalk explain` draws. The snapshots were read line by line against the manuals; a
//! change to a snapshot is a change to what users see.

use crosswalk_test_support as support;
use serde_json::{Value, json};
use support::case_json::{plain, with};
use support::{Sandbox, require_kvm, run};

/// The drawing of a sequence from `tests/cases`.
fn explain_file(name: &str) -> String {
    let file = support::repository().join("tests/cases").join(name);
    let file = file.to_str().expect("its name is text");
    run(&["explain", file]).expect_code(0).expect_80_columns().stdout
}

/// Without paging there are no entries, whatever a step stores.
#[test]
fn a_store_before_an_access_without_paging() {
    let case = r#"{"mode":"unpaged","state":{"cr0":"0x11","cr3":"0x0","cr4":"0x0","efer":"0x0"},"entries":[],
        "before":[{"write":{"address":"0x1000","value":"0x1"}}],
        "access":{"kind":"read","address":"0x1000","size":1,"ring":0}}"#;
    let words = run(&["explain", case]).expect_code(0).words_of_stdout();
    assert!(words.contains("completed: 1 byte at 0x1000"), "{words}");
}

/// INVLPG of an address in a 2 MiB page drops the whole page, and the entries above it.
#[test]
fn invlpg_of_another_offset_in_a_large_page() {
    insta::assert_snapshot!(explain_file("B18-invlpg-large-other-offset.json"));
}

/// MOV to CR3 drops a page with G=1 while CR4.PGE is 0.
#[test]
fn mov_to_cr3_while_global_pages_are_off() {
    insta::assert_snapshot!(explain_file("B20-cr3-pge0-g1.json"));
}

/// Beside each access of a sequence stands what the machine did.
#[test]
fn each_step_shows_what_the_machine_did() {
    require_kvm!();
    let file = support::repository().join("tests/cases/B18-invlpg-large-other-offset.json");
    let file = file.to_str().expect("its name is text");
    let drawn =
        run(&["explain", file, "--machine", "kvm"]).expect_code(0).expect_80_columns().stdout;

    let observed = drawn.lines().filter(|line| line.starts_with("  machine "));
    assert_eq!(observed.count(), 2, "{drawn}");
    assert!(drawn.contains("verdict   agree"), "{drawn}");
}

/// The drawing of a case, which fits a terminal.
fn explain(case: &Value) -> String {
    run(&["explain", &case.to_string()]).expect_code(0).expect_80_columns().stdout
}

#[test]
fn a_plain_read_of_a_4_kib_page() {
    insta::assert_snapshot!(explain(&plain()));
}

#[test]
fn a_supervisor_write_to_a_read_only_2_mib_page_without_wp() {
    insta::assert_snapshot!(explain(&with([
        ("/state/cr0", json!("0x80000011")),
        ("/entries/2/value", json!("0x40001085")),
        ("/access/kind", json!("write")),
        ("/access/ring", json!(0)),
    ])));
}

#[test]
fn a_reserved_bit_above_maxphyaddr() {
    insta::assert_snapshot!(explain(&with([("/entries/1/value", json!("0x1000000442007"))])));
}

#[test]
fn a_stack_access_to_an_address_that_is_not_canonical() {
    insta::assert_snapshot!(explain(&with([
        ("/access/address", json!("0x1000008080604128")),
        ("/access/segment", json!("stack")),
    ])));
}

#[test]
fn a_write_across_pages_that_faults_on_the_second() {
    insta::assert_snapshot!(explain(&with([
        ("/access/kind", json!("write")),
        ("/access/address", json!("0x8080604ffd")),
        ("/entries/-", json!({"address": "0x443028", "value": "0x40045005"})),
    ])));
}

#[test]
fn a_protection_key_that_denies_writes() {
    insta::assert_snapshot!(explain(&with([
        ("/state/cr4", json!("0x400620")),
        // Key 5: write-disable is bit 11.
        ("/state/pkru", json!("0x800")),
        ("/entries/3/value", json!("0x2800000040044007")),
        ("/access/kind", json!("write")),
    ])));
}

#[test]
fn a_table_where_there_is_no_memory() {
    insta::assert_snapshot!(explain(&with([("/entries/1/value", json!("0x123456000007"))])));
}

#[test]
fn a_mutant_s_walk_is_wrong_and_names_the_mutant() {
    let case = with([("/entries/2/value", json!("0x400010e7"))]).to_string();
    let reference = run(&["explain", &case]).expect_code(0).stdout;
    let mutant = run(&["explain", "--walker", "mutant:M37", &case]).expect_code(0).stdout;

    // Bit 12 of a 2 MiB leaf is PAT; the mutant leaves it in the address.
    assert!(reference.contains("completed: 8 bytes at 0x40004128"), "{reference}");
    assert!(mutant.contains("completed: 8 bytes at 0x40005128"), "{mutant}");
    assert!(mutant.contains("walker    mutant M37: "), "{mutant}");
}

#[test]
fn a_profile_may_be_named_in_the_case_and_on_the_command_line() {
    // G in a PML4E: ignored by the SDM, must be zero by the APM (CODE-7).
    let case = |profile| with([("/entries/0/value", json!("0x441107")), ("/profile", profile)]);
    let intel = case(json!("skylake"));
    let amd = case(json!("zen-3"));
    assert!(explain(&intel).contains("completed: 8 bytes"), "{}", explain(&intel));
    assert!(explain(&amd).contains("#PF(P|U|RSVD)"), "{}", explain(&amd));

    let named = |name, case: &Value| {
        run(&["explain", "--profile", name, &case.to_string()]).expect_code(0).stdout
    };
    assert_eq!(named("zen-3", &intel), explain(&amd));
    assert_eq!(named("skylake", &amd), explain(&intel));

    let unknown = run(&["explain", "--profile", "z80", &amd.to_string()]).expect_code(2);
    assert!(unknown.stderr.contains("zen-3"), "{}", unknown.stderr);
}

#[test]
fn a_file_may_have_one_case_or_a_list() {
    let sandbox = Sandbox::new();
    let first = plain();
    let second = with([("/access/ring", json!(0))]);
    let one = sandbox.file("one.json", format!("\n{first:#}\n"));
    let two = sandbox.file("two.json", json!([first, second]).to_string());

    let drawn = explain(&first);
    assert_eq!(sandbox.run(&["explain", &one]).expect_code(0).stdout, drawn);

    let both = sandbox.run(&["explain", &two]).expect_code(0).stdout;
    let expected = format!("case 1 of 2\n\n{drawn}\ncase 2 of 2\n\n{}", explain(&second));
    assert_eq!(both, expected);
}

/// Optional fields with their defaults, and a number with underscores.
#[test]
fn the_text_form_is_lenient_where_nothing_is_ambiguous() {
    let full = with([
        ("/state/pkru", json!("0x0")),
        ("/state/pkrs", json!("0x0")),
        ("/state/ac", json!(false)),
        ("/access/segment", json!("data")),
        ("/access/implicit", json!(false)),
        ("/access/instruction", json!("mov from memory")),
        ("/access/value", json!("0x0")),
        ("/access/address", json!("0x80_8060_4128")),
    ]);
    assert_eq!(explain(&full), explain(&plain()));
}

/// Every entry of the root leads to the root: 512^4 translations, and one table.
#[test]
fn a_tree_of_tables_that_contain_themselves_has_each_table_once() {
    let mut case = plain();
    let place = |slot: u64| format!("{:#x}", 0x44_0000 + 8 * slot);
    let entry = |slot| json!({"address": place(slot), "value": "0x440007"});
    case["entries"] = (0..512).map(entry).collect();

    let sandbox = Sandbox::new();
    let file = sandbox.file("case.json", case.to_string());
    let drawing = sandbox.run(&["explain", "--tree", &file]).expect_code(0).stdout;
    let lines = drawing.lines().count();
    assert!((512..4 * 512 + 100).contains(&lines), "{lines} lines");
    assert!(drawing.contains("PML4E 511: table 0x440000, as above"), "{drawing}");
}

/// The name of a case is no part of the document.
#[test]
fn the_document_of_a_named_case_stands_alone() {
    let document = run(&["explain", "random:4level:7:5@skylake", "--json"]).expect_code(0).json();
    assert_eq!((&document["verdict"], &document["exit"]), (&json!("done"), &json!(0)));
    assert_eq!(document["cases"].as_array().map(Vec::len), Some(1));
}
