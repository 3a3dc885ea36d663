//! `explain` with cases of nested paging: as a document, by a mutant, and beside what machines did.

use crosswalk_test_support as support;
use serde_json::{Value, json};
use support::case_json::nested as case;
use support::report::{list, text};
use support::{require_program, require_qemu, run};

/// The only case of a document.
#[track_caller]
fn explained(arguments: &[&str], code: i32) -> Value {
    let case = case().to_string();
    let document = run(&[&["explain", &case, "--json"], arguments].concat());
    let document = document.expect_code(code).json();
    let [explained] = list(&document["cases"]) else { panic!("one case: {document}") };
    explained.clone()
}

/// Both steps take the PDE by four references and their page by four more. The second ends at the PTE: P, a user access
/// and a reserved bit, in the last step of the walk (APM volume 2, "Nested Page Faults").
#[test]
fn a_document_has_every_reference_and_what_is_expected() {
    let explained = explained(&[], 0);
    let [instruction, access] = list(&explained["steps"]) else { panic!("{explained}") };
    assert_eq!((&instruction["step"], &access["step"]), (&"instruction".into(), &"access".into()));
    assert_eq!(instruction["physical"], "0x5e0010");
    assert_eq!(access["physical"], Value::Null);

    for (step, page) in [(instruction, "0x2010"), (access, "0x3170")] {
        let references = list(&step["references"]);
        let expected: Vec<_> = [("PML4E", "second"), ("PDPTE", "second"), ("PDE", "second")]
            .into_iter()
            .chain([("PTE", "second"), ("PDE", "guest"), ("PML4E", "second")])
            .chain([("PDPTE", "second"), ("PDE", "second"), ("PTE", "second")])
            .collect();
        let found = references
            .iter()
            .map(|reference| (text(&reference["level"]), text(&reference["dimension"])));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(references[3]["guest_physical"], "0x1000");
        assert_eq!(references[4]["at"], "0x556000");
        assert_eq!(references[8]["guest_physical"], page);
    }
    let last = &access["references"][8];
    assert_eq!((&last["wrong_bits"], &last["target"]), (&json!("0x8000000000000"), &Value::Null));

    let [way] = list(&explained["prediction"]["alternatives"]) else { panic!("{explained}") };
    assert_eq!(way["outcome"], "NPF 0x10000000d at GPA 0x3170");
    let updates = list(&way["updates"]);
    let of_table = updates.iter().find(|update| update["at"] == "0x551008");
    let expected = json!({
        "dimension": "second", "level": "PTE", "at": "0x551008", "sets": "0x60", "may_set": "0x0",
        "rule": null,
    });
    assert_eq!(of_table, Some(&expected), "an access to a guest's table writes");
    assert_eq!(explained["machines"], json!([]));
}

#[test]
fn a_mutant_explains_by_its_mistake() {
    let outcome = |walker: &str| {
        let explained = explained(&["--walker", walker], 0);
        explained["prediction"]["alternatives"][0].clone()
    };
    // NM16 does not report P with a reserved bit; NM5 sets no D for an access to a guest's table.
    assert_eq!(outcome("mutant:NM16")["outcome"], "NPF 0x10000000c at GPA 0x3170");
    let updates = outcome("mutant:NM5")["updates"].clone();
    let of_table = list(&updates).iter().find(|update| update["at"] == "0x551008");
    assert_eq!(of_table.map(|update| &update["sets"]), Some(&json!("0x20")));

    let drawn = run(&["explain", &case().to_string(), "--walker", "mutant:NM19"]);
    let drawn = drawn.expect_code(0).stdout;
    assert!(!drawn.contains("wrong bits"), "the width of addresses is not checked:\n{drawn}");

    let refused = run(&["explain", &case().to_string(), "--walker", "mutant:M37"]).expect_code(2);
    assert!(refused.only_line_of_stderr().contains("mutant:M37"), "{}", refused.stderr);
    let one_dimension = json!({
        "mode": "32bit", "state": {"cr0": "0x80000011", "cr3": "0x1000"}, "entries": [],
        "access": {"kind": "read", "address": "0x0", "size": 4, "ring": 3},
    });
    let refused = run(&["explain", &one_dimension.to_string(), "--walker", "mutant:NM3"]);
    assert!(refused.expect_code(2).only_line_of_stderr().contains("mutant:NM3"));
}

/// QEMU's TCG does not report P there (TN1).
#[test]
fn what_tcg_did_stands_beside_it() {
    require_qemu!();
    let machine = |arguments: &[&str], code: i32| {
        let explained = explained(&[&["--machine", "qemu"], arguments].concat(), code);
        let [machine] = list(&explained["machines"]) else { panic!("{explained}") };
        machine.clone()
    };
    let known = machine(&[], 0);
    assert_eq!((&known["machine"], &known["verdict"]), (&"qemu".into(), &"diverge".into()));
    assert_eq!((&known["known"], &known["findings"]), (&json!(true), &json!(["TN1"])));
    assert_eq!(
        known["differences"],
        json!(["qualification: expected 0x10000000d, seen 0x10000000c"])
    );

    let unforgiven = machine(&["--known", "none"], 1);
    assert_eq!((&unforgiven["known"], &unforgiven["findings"]), (&json!(false), &json!(["TN1"])));
    // The mutant makes the machine's mistake.
    assert_eq!(machine(&["--walker", "mutant:NM16"], 0)["verdict"], "agree");
    assert_eq!(machine(&["--walker", "mutant:NM13"], 1)["findings"], json!([]));
}

#[test]
fn what_bochs_did_stands_beside_it() {
    require_program!("bochs-bin");
    let arguments = ["--machine", "bochs", "--cpu", "ryzen"];
    let explained = explained(&arguments, 0);
    let [machine] = list(&explained["machines"]) else { panic!("{explained}") };
    assert_eq!((&machine["machine"], &machine["verdict"]), (&"bochs".into(), &"agree".into()));

    let drawn = run(&[&["explain", &case().to_string()], &arguments[..]].concat());
    let drawn = drawn.expect_code(0).stdout;
    assert!(drawn.contains("\nmachine   nested page fault, EXITINFO1=0x10000000d"), "{drawn}");
    assert!(drawn.contains("\nverdict   AGREE"), "{drawn}");
}
