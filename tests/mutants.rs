//! The checker can fail: walkers with a mistake that a shipped walker really had are caught on this
//! host's KVM or on QEMU, each with a case that can be replayed.

mod common;

use common::{Sandbox, count, finding, require_kvm, require_qemu, run};
use crosswalk_case::Case;
use serde_json::Value;
use std::sync::OnceLock;

const KVM: &[&str] = &["--machine", "kvm"];
const QEMU: &[&str] = &["--machine", "qemu"];
const QEMU_WITH_48_BITS: &[&str] = &["--machine", "qemu", "--phys-bits", "48"];

/// What KVM without VMX and SVM can prove wrong, and so any other.
const BY_ANY_KVM: [&str; 20] = [
    "M04", "M11a", "M12", "M13a", "M13b", "M14", "M15", "M24", "M25", "M26", "M27", "M29", "M34",
    "M36", "M37", "M38", "M39", "M40", "M41", "M42",
];

/// What takes a mode or a feature that not every KVM has.
const BY_QEMU: [&str; 15] = [
    "M01", "M02", "M03", "M07", "M08", "M09", "M10", "M16", "M17", "M18", "M30", "M32", "M35",
    "M24", "M26",
];

/// The score of a run on KVM. Several tests look at it.
fn kvm_score() -> &'static Value {
    static SCORE: OnceLock<Value> = OnceLock::new();
    SCORE.get_or_init(|| score(KVM, "9000"))
}

/// The same on QEMU.
fn qemu_score() -> &'static Value {
    static SCORE: OnceLock<Value> = OnceLock::new();
    SCORE.get_or_init(|| score(QEMU, "12000"))
}

fn score(machine: &[&str], cases: &str) -> Value {
    let asked = [&["mutants", "--json", "--seed", "2", "--cases", cases], machine].concat();
    let ran = run(&asked);
    let report = ran.json();
    // 1 tells scripts that one was missed.
    let missed = count(&report["score"], "missed");
    assert_eq!(ran.code, Some(i32::from(missed > 0)), "{}", ran.stderr);
    report
}

fn mutant<'r>(score: &'r Value, id: &str) -> &'r Value {
    let mutants = score["mutants"].as_array().expect("mutants are a list");
    mutants.iter().find(|mutant| mutant["id"] == id).unwrap_or_else(|| panic!("no {id}"))
}

/// What the machine does with a case by the words of `explain`.
fn verdict(machine: &[&str], walker: &str, case: &Value) -> String {
    let case = case.to_string();
    let asked = [&["explain", "--walker", walker], machine, &[&case]].concat();
    run(&asked).expect_code(0).stdout
}

/// Asserts that each is caught, and that its case tells the machine's own verdict when replayed: the
/// reference is right there, and the mutant is wrong.
fn assert_caught(score: &Value, machine: &[&str], ids: &[&str]) {
    for id in ids {
        let caught = mutant(score, id);
        assert_eq!(caught["status"], "caught", "{caught}");
        assert!(count(caught, "cases_to_catch") > 0);
        let case = &caught["smallest_case"];
        let by_reference = verdict(machine, "reference", case);
        assert!(by_reference.contains("verdict   agree"), "{id} {case}\n{by_reference}");
        let by_mutant = verdict(machine, &format!("mutant:{id}"), case);
        assert!(by_mutant.contains(&format!("walker    mutant {id}: ")), "{by_mutant}");
        assert!(by_mutant.contains("verdict   DIVERGE"), "{id} {case}\n{by_mutant}");
    }
}

#[test]
fn any_kvm_catches_what_needs_no_other_mode_or_feature() {
    require_kvm!();
    assert_caught(kvm_score(), KVM, &BY_ANY_KVM);
}

#[test]
fn qemu_catches_what_needs_a_mode_or_a_feature() {
    require_qemu!();
    assert_caught(qemu_score(), QEMU, &BY_QEMU);
}

#[test]
fn with_48_address_bits_the_mask_of_4_mib_pages_shows() {
    require_qemu!();
    assert_caught(&score(QEMU_WITH_48_BITS, "2000"), QEMU_WITH_48_BITS, &["M19"]);
}

/// T1, T5 and T11: what QEMU does wrong is what these do wrong.
#[test]
fn qemu_has_some_of_them_itself() {
    require_qemu!();
    for id in ["M05", "M06", "M13b", "M31", "M33"] {
        let has = mutant(qemu_score(), id);
        assert_eq!(has["status"], "machine_has_it", "{has}");
        // PDPTE-4 allows the last two; the registers that the SDM asks for are in the case's processor.
        let case = &has["smallest_case"];
        let by_reference = verdict(QEMU, "reference", case);
        assert!(by_reference.contains("verdict   DIVERGE"), "{id} {case}\n{by_reference}");
        let by_mutant = verdict(QEMU, &format!("mutant:{id}"), case);
        assert!(by_mutant.contains("verdict   agree"), "{id} {case}\n{by_mutant}");
    }
}

/// M12, M14 and M39 are about reserved bits, of which QEMU says nothing that is right.
#[test]
fn what_hides_a_mistake_on_qemu_is_named() {
    require_qemu!();
    for id in ["M11a", "M12", "M14", "M39"] {
        let hidden = mutant(qemu_score(), id);
        assert_eq!(hidden["status"], "out_of_reach", "{hidden}");
        let reason = hidden["reason"].as_str().expect("a reason");
        assert!(reason.contains("M13b, too, which the machine has"), "{reason}");
    }
}

/// What each needs, as CPUID tells it of the machine that was used.
#[test]
fn out_of_reach_means_a_cpuid_bit_or_a_mechanism() {
    for (score, required) in
        [("kvm", common::kvm_can_be_opened()), ("qemu", common::qemu_can_be_started())]
    {
        if !required {
            common::skip(score, "no such machine");
            continue;
        }
        let score = if score == "kvm" { kvm_score() } else { qemu_score() };
        let features: Vec<&str> = score["machine"]["features"]
            .as_array()
            .expect("features are a list")
            .iter()
            .map(|feature| feature.as_str().expect("a name"))
            .collect();
        for (id, feature, bit) in [
            ("M17", "pku", "CPUID 7 ECX[3] is 0"),
            ("M18", "la57", "CPUID 7 ECX[16]"),
            ("M23", "cet_ss", "CPUID 7 ECX[7] is 0"),
        ] {
            let mutant = mutant(score, id);
            if !features.contains(&feature) {
                assert_eq!(mutant["status"], "out_of_reach", "{mutant}");
                let reason = mutant["reason"].as_str().expect("a reason");
                assert!(reason.contains(bit), "{id}: {reason}");
            } else if feature != "cet_ss" {
                assert_eq!(mutant["status"], "caught", "{mutant}");
            }
        }
        // 1 GiB pages hide the mistake to take them for granted.
        let (m11b, has_pages) = (mutant(score, "M11b"), features.contains(&"page_1gb"));
        assert_eq!(m11b["status"] == "out_of_reach", has_pages, "{m11b}");
        for id in ["M20", "M22", "M28"] {
            assert_eq!(mutant(score, id)["status"], "out_of_reach");
            assert!(mutant(score, id)["reason"].is_string());
        }
    }
}

/// The numbers add up, and every mutant of history is there.
#[test]
fn every_mutant_of_history_has_a_status() {
    require_kvm!();
    let score = kvm_score();
    let statuses = ["caught", "machine_has_it", "out_of_reach", "missed"];
    let sum: u64 = statuses.iter().map(|status| count(&score["score"], status)).sum();
    assert_eq!((sum, count(&score["score"], "total")), (44, 44));
    let ids: Vec<_> =
        score["mutants"].as_array().expect("a list").iter().map(|m| &m["id"]).collect();
    for number in 1..=42 {
        let split = matches!(number, 11 | 13);
        let parts: &[&str] = if split { &["a", "b"] } else { &[""] };
        for part in parts {
            let id = format!("M{number:02}{part}");
            assert!(ids.iter().any(|known| **known == id.as_str()), "no {id}");
        }
    }
}

#[test]
fn the_text_fits_80_columns_and_a_pipe() {
    require_kvm!();
    let asked = ["mutants", "--machine", "kvm", "--cases", "3000", "--seed", "4"];
    let ran = run(&asked);
    assert_eq!(ran.stderr, "", "progress is for terminals");
    assert!(ran.stdout.contains("M13b"), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'), "no colours in a pipe");
    let too_wide = ran.stdout.lines().find(|line| line.chars().count() > 80);
    assert_eq!(too_wide, None);
}

/// A sequence is replayed by `explain`, which tells what comes before the access.
#[test]
fn a_sequence_is_explained_in_its_order() {
    require_kvm!();
    let case = &mutant(kvm_score(), "M24")["smallest_case"];
    let text = verdict(KVM, "mutant:M24", case);
    assert!(text.starts_with("first read of "), "{text}");
    assert!(text.contains("\nwrite of "), "{text}");
    assert!(text.contains("entry: expected"), "D is what differs: {text}");
}

/// Without what is known of QEMU, T1 is found anew and named: thousands of divergences in one line.
#[test]
fn a_machine_that_behaves_like_a_mutant_is_told_so_in_one_line() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let nothing = sandbox.file("nothing.toml", "");
    let asked = ["check", "--json", "--machine", "qemu", "--mode", "4level", "--known", &nothing];
    let limits = ["--cases", "10000", "--seed", "3"];
    let report = sandbox.run(&[&asked[..], &limits].concat()).expect_code(1).json();
    let t1 = finding(&report, "mutant:M13b");
    assert_eq!(t1["explained_by"], "mutant:M13b");
    let title = t1["title"].as_str().expect("a title");
    assert!(title.starts_with("this machine behaves like the reference with M13b: "), "{title}");
    assert!(count(t1, "count") > 500, "{t1}");
    let case = Case::from_json(&t1["smallest_case"].to_string()).expect("a case");
    assert_eq!((case.unusual_bits(), case.before.len()), (1, 0), "{case}");
    // M14 and M39 would explain what CLFLUSH does on QEMU, but not what else is seen there.
    let findings = report["findings"].as_array().expect("findings are a list");
    let causes: Vec<_> =
        findings.iter().filter_map(|finding| finding["explained_by"].as_str()).collect();
    assert!(causes.contains(&"mutant:M05"), "{causes:?}");
    assert!(!causes.contains(&"mutant:M14") && !causes.contains(&"mutant:M39"), "{causes:?}");
}

/// A mutant's run is about the mutant: what the machine itself does wrong is listed but not what
/// the verdict is about.
#[test]
fn the_text_report_names_the_mutant_and_a_command_that_replays() {
    require_kvm!();
    let asked = ["--machine", "kvm", "--cases", "2000", "--seed", "6", "--walker", "mutant:M13b"];
    let text = run(&[&["check"], &asked[..]].concat()).expect_code(1).stdout;
    assert!(text.contains("mutant:M13b is caught"), "{text}");
    assert!(text.contains("crosswalk explain"), "{text}");
    assert!(text.contains("--walker mutant:M13b"), "{text}");
    let report = run(&[&["check", "--json"], &asked[..]].concat()).expect_code(1).json();
    assert_eq!(finding(&report, "M13b")["explained_by"], "reference");
}
