//! The checker can fail: walkers with a mistake that a shipped walker really had are caught on this
//! host's KVM, each with a case that can be replayed.

mod common;

use common::{count, finding, require_kvm, run};

/// Runs with the mutant as the walker, and replays the case that catches it.
fn assert_caught(id: &str) {
    let walker = format!("mutant:{id}");
    let asked = ["--machine", "kvm", "--cases", "6000", "--seed", "5", "--walker", &walker];
    let report = run(&[&["check", "--json"], &asked[..]].concat()).expect_code(1).json();
    assert_eq!(report["walker"], walker.as_str());
    let caught = finding(&report, id);
    assert_eq!(caught["explained_by"], "reference", "{caught}");
    assert_eq!(caught["known"], false);
    assert!(count(caught, "count") > 0);
    let case = caught["smallest_case"].to_string();

    let walk = run(&["explain", "--walker", &walker, &case]).expect_code(0).stdout;
    assert!(walk.contains(&format!("walker    mutant {id}: ")), "{walk}");
    // The machine at hand decides who is right: the reference, and not the mutant.
    let by_reference = run(&["explain", "--machine", "kvm", &case]).expect_code(0).stdout;
    assert!(by_reference.contains("verdict   agree"), "{case}\n{by_reference}");
    let asked = ["explain", "--machine", "kvm", "--walker", &walker, &case];
    let by_mutant = run(&asked).expect_code(0).stdout;
    assert!(by_mutant.contains("verdict   DIVERGE"), "{case}\n{by_mutant}");
}

macro_rules! caught {
    ($($test:ident: $id:literal,)+) => {$(
        #[test]
        fn $test() {
            require_kvm!();
            assert_caught($id);
        }
    )+};
}

caught! {
    m04_dirty_not_set_when_wp_is_clear: "M04",
    m11a_page_size_in_a_pml4e: "M11a",
    m12_address_above_maxphyaddr: "M12",
    m13a_reserved_bits_of_a_non_present_entry: "M13a",
    m13b_reserved_without_present: "M13b",
    m14_alignment_of_large_leaves: "M14",
    m15_non_canonical_as_page_fault: "M15",
    m37_pat_left_in_the_address: "M37",
    m41_writable_at_any_level: "M41",
    m42_not_present_taken_as_mapped: "M42",
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
}
