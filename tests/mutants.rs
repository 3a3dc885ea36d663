//! The checker can fail: walkers with a mistake that a released walker really had are caught on this
//! host's KVM or on QEMU, each with a case that can be replayed.

use crosswalk_case::Case;
use crosswalk_test_support as support;
use serde_json::Value;
use std::sync::OnceLock;
use support::report::{list, text};
use support::requirement::{has_kvm, has_qemu};
use support::{Sandbox, count, finding, require_kvm, require_qemu, run, skip};

const KVM: &[&str] = &["--machine", "kvm"];
const QEMU: &[&str] = &["--machine", "qemu"];
const QEMU_WITH_48_BITS: &[&str] = &["--machine", "qemu", "--phys-bits", "48"];

/// The mutants that any KVM catches, even one without VMX and SVM.
const CAUGHT_BY_ANY_KVM: [&str; 31] = [
    "B01", "B01x", "B11", "B12", "B18", "B20", "B21", "B23", "B33b", "B39", "B43", "M04", "M11a",
    "M12", "M13a", "M13b", "M14", "M15", "M24", "M25", "M26", "M27", "M29", "M34", "M36", "M37",
    "M38", "M39", "M40", "M41", "M42",
];

/// The mutants that need a mode or a feature that not every KVM has.
const CAUGHT_BY_QEMU: [&str; 28] = [
    "B02", "B04", "B05", "B06", "B09b", "B10", "B35", "B36", "B37", "B60", "M01", "M02", "M03",
    "M07", "M08", "M09", "M10", "M16", "M17", "M18", "M30", "M32", "M35", "M24", "M26", "B26",
    "B33", "B33b",
];

/// The score on KVM, run once for all tests.
fn kvm_score() -> &'static Value {
    static SCORE: OnceLock<Value> = OnceLock::new();
    SCORE.get_or_init(|| score(KVM, "48000"))
}

/// The score on QEMU, run once for all tests.
fn qemu_score() -> &'static Value {
    static SCORE: OnceLock<Value> = OnceLock::new();
    SCORE.get_or_init(|| score(QEMU, "80000"))
}

fn score(machine: &[&str], cases: &str) -> Value {
    let arguments = [&["mutants", "--json", "--seed", "2", "--cases", cases], machine].concat();
    let output = run(&arguments);
    let report = output.json();

    // Exit code 1 means that a mutant was missed.
    let missed = count(&report["score"], "missed");
    assert_eq!(output.code, Some(i32::from(missed > 0)), "{}", output.stderr);
    report
}

#[track_caller]
fn mutant<'r>(score: &'r Value, id: &str) -> &'r Value {
    let mut mutants = list(&score["mutants"]).iter();
    mutants.find(|mutant| mutant["id"] == id).unwrap_or_else(|| panic!("no {id}"))
}

/// What `explain` prints about a case, with the machine's observation.
#[track_caller]
fn explain(machine: &[&str], walker: &str, case: &Value) -> String {
    let case = case.to_string();
    let arguments = [&["explain", "--walker", walker], machine, &[&case]].concat();
    let output = run(&arguments);
    // What is known of the machine beside the reference is forgiven.
    let is_forgiven = output.stdout.contains("\nknown     ");
    let diverges = output.stdout.contains("verdict   DIVERGE") && !is_forgiven;
    output.expect_code(i32::from(diverges)).stdout
}

/// Asserts that each mutant is caught, and that replaying its case on the machine shows it: the
/// reference agrees with the machine, and the mutant does not.
#[track_caller]
fn assert_caught(score: &Value, machine: &[&str], ids: &[&str]) {
    for id in ids {
        let caught = mutant(score, id);
        assert_eq!(caught["status"], "caught", "{caught}");
        assert!(count(caught, "cases_to_catch") > 0);

        let case = &caught["smallest_case"];
        let by_reference = explain(machine, "reference", case);
        assert!(by_reference.contains("verdict   agree"), "{id} {case}\n{by_reference}");

        let by_mutant = explain(machine, &format!("mutant:{id}"), case);
        assert!(by_mutant.contains(&format!("walker    mutant {id}: ")), "{by_mutant}");
        assert!(by_mutant.contains("verdict   DIVERGE"), "{id} {case}\n{by_mutant}");
    }
}

#[test]
fn any_kvm_catches_what_needs_no_other_mode_or_feature() {
    require_kvm!();
    assert_caught(kvm_score(), KVM, &CAUGHT_BY_ANY_KVM);
}

#[test]
fn qemu_catches_what_needs_a_mode_or_a_feature() {
    require_qemu!();
    assert_caught(qemu_score(), QEMU, &CAUGHT_BY_QEMU);
}

#[test]
fn with_48_address_bits_the_wrong_mask_of_4_mib_pages_is_caught() {
    require_qemu!();
    assert_caught(&score(QEMU_WITH_48_BITS, "2000"), QEMU_WITH_48_BITS, &["M19"]);
}

/// T1, T5 and T11: QEMU has the mistakes of these mutants.
#[test]
fn qemu_has_some_of_the_mistakes_itself() {
    require_qemu!();
    for id in ["M05", "M06", "M13b", "M31", "M33"] {
        let mutant = mutant(qemu_score(), id);
        assert_eq!(mutant["status"], "machine_has_it", "{mutant}");

        // PDPTE-4 allows the last two; the case's processor is one with PDPTE registers, which the
        // SDM requires.
        let case = &mutant["smallest_case"];
        let by_reference = explain(QEMU, "reference", case);
        assert!(by_reference.contains("verdict   DIVERGE"), "{id} {case}\n{by_reference}");
        let by_mutant = explain(QEMU, &format!("mutant:{id}"), case);
        assert!(by_mutant.contains("verdict   agree"), "{id} {case}\n{by_mutant}");
    }
}

/// M12, M14 and M39 are about reserved bits, which QEMU reports wrongly in every case.
#[test]
fn the_mistake_that_hides_another_on_qemu_is_named() {
    require_qemu!();
    for id in ["M11a", "M12", "M14", "M39"] {
        let hidden = mutant(qemu_score(), id);
        assert_eq!(hidden["status"], "out_of_reach", "{hidden}");
        let reason = text(&hidden["reason"]);
        assert!(reason.contains("M13b, too, which the machine has"), "{reason}");
    }
}

/// A mutant that the machine cannot catch names the CPUID bit or the mechanism that is missing.
#[test]
fn out_of_reach_means_a_cpuid_bit_or_a_mechanism() {
    if has_kvm() {
        assert_reasons(kvm_score());
    } else {
        skip("kvm", "no /dev/kvm");
    }
    if has_qemu() {
        assert_reasons(qemu_score());
    } else {
        skip("qemu", "no qemu-system-x86_64");
    }
}

#[track_caller]
fn assert_reasons(score: &Value) {
    let features: Vec<&str> = list(&score["machine"]["features"]).iter().map(text).collect();
    for (id, feature, bit) in [
        ("M17", "pku", "CPUID 7 ECX[3] is 0"),
        ("M18", "la57", "CPUID 7 ECX[16]"),
        ("M23", "cet_ss", "CPUID 7 ECX[7] is 0"),
    ] {
        let mutant = mutant(score, id);
        if !features.contains(&feature) {
            assert_eq!(mutant["status"], "out_of_reach", "{mutant}");
            let reason = text(&mutant["reason"]);
            assert!(reason.contains(bit), "{id}: {reason}");
        } else if feature != "cet_ss" {
            assert_eq!(mutant["status"], "caught", "{mutant}");
        }
    }

    // M11b takes 1 GiB pages for granted: a machine that has them does not show the mistake.
    let m11b = mutant(score, "M11b");
    let has_1_gib_pages = features.contains(&"page_1gb");
    assert_eq!(m11b["status"] == "out_of_reach", has_1_gib_pages, "{m11b}");

    for id in ["M20", "M22", "M28"] {
        assert_eq!(mutant(score, id)["status"], "out_of_reach");
        assert!(mutant(score, id)["reason"].is_string());
    }
}

/// The counts add up, and every historical mutant is listed.
#[test]
fn every_historical_mutant_has_a_status() {
    require_kvm!();
    let score = kvm_score();
    let statuses = ["caught", "machine_has_it", "out_of_reach", "missed"];
    let sum: u64 = statuses.iter().map(|status| count(&score["score"], status)).sum();
    assert_eq!(sum, 82);
    assert_eq!(count(&score["score"], "total"), 82);

    let ids: Vec<_> = list(&score["mutants"]).iter().map(|mutant| text(&mutant["id"])).collect();
    for number in 1..=42 {
        let parts: &[&str] = if matches!(number, 11 | 13) { &["a", "b"] } else { &[""] };
        for part in parts {
            let id = format!("M{number:02}{part}");
            assert!(ids.contains(&id.as_str()), "no {id}");
        }
    }
    assert!(["C01", "C02", "B34"].iter().all(|id| ids.contains(id)), "{ids:?}");
}

#[test]
fn the_text_fits_80_columns_and_suits_a_pipe() {
    require_kvm!();
    let output = run(&["mutants", "--machine", "kvm", "--cases", "3000", "--seed", "4"]);
    assert_eq!(output.stderr, "", "progress is for terminals");

    let output = output.expect_80_columns();
    assert!(output.stdout.contains("M13b"), "{}", output.stdout);
    assert!(!output.stdout.contains('\u{1b}'), "a pipe gets no colours");
}

/// `explain` replays a sequence, and prints what comes before the access.
#[test]
fn a_sequence_is_explained_in_its_order() {
    require_kvm!();
    let case = &mutant(kvm_score(), "M24")["smallest_case"];
    let text = explain(KVM, "mutant:M24", case);
    assert!(text.starts_with("step 1 "), "{text}");
    assert!(text.contains("step 2 ") && text.contains(" write of "), "{text}");
    assert!(text.contains("entry: expected"), "the difference is in D: {text}");
}

/// Without the known findings of QEMU, T1 is found again and named: thousands of divergences become
/// one finding.
#[test]
fn a_machine_that_behaves_like_a_mutant_gets_one_finding() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let nothing = sandbox.file("nothing.toml", "");
    let options = ["check", "--json", "--machine", "qemu", "--mode", "4level", "--known", &nothing];
    let limits = ["--cases", "10000", "--seed", "3"];
    let report = sandbox.run(&[&options[..], &limits].concat()).expect_code(1).json();

    let t1 = finding(&report, "mutant:M13b");
    assert_eq!(t1["explained_by"], "mutant:M13b");
    let title = text(&t1["title"]);
    assert!(title.starts_with("this machine behaves like the reference with M13b: "), "{title}");
    assert!(count(t1, "count") > 500, "{t1}");
    let case = Case::from_json(&t1["smallest_case"].to_string()).expect("a case");
    assert_eq!(case.unusual_bits(), 1, "{case}");
    assert!(case.before.is_empty(), "{case}");

    // M14 and M39 would explain what CLFLUSH does on QEMU, but not the other observations there.
    let findings = list(&report["findings"]).iter();
    let causes: Vec<_> = findings.filter_map(|finding| finding["explained_by"].as_str()).collect();
    assert!(causes.contains(&"mutant:M05"), "{causes:?}");
    assert!(!causes.contains(&"mutant:M14") && !causes.contains(&"mutant:M39"), "{causes:?}");
}

/// The verdict of a mutant's run is about the mutant; the machine's own faults are listed, and do not
/// affect it.
#[test]
fn the_text_report_names_the_mutant_and_a_command_that_replays() {
    require_kvm!();
    let options = ["--machine", "kvm", "--cases", "2000", "--seed", "6", "--walker", "mutant:M13b"];
    let text = run(&[&["check"], &options[..]].concat()).expect_code(1).stdout;
    assert!(text.contains("mutant:M13b is caught"), "{text}");
    assert!(text.contains("crosswalk explain"), "{text}");
    assert!(text.contains("--walker mutant:M13b"), "{text}");

    let report = run(&[&["check", "--json"], &options[..]].concat()).expect_code(1).json();
    assert_eq!(finding(&report, "M13b")["explained_by"], "reference");
}
