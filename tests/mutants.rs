//! The checker can fail: walkers with a mistake that a shipped walker really had are caught on this
//! host's KVM or on QEMU, each with a case that can be replayed.

mod common;

use common::{count, finding, require_kvm, require_qemu, run};

/// Runs with the mutant as the walker on a machine, and replays the case that catches it.
fn assert_caught(id: &str, machine: &[&str]) {
    let walker = format!("mutant:{id}");
    let case = smallest_case(id, machine);

    let walk = run(&["explain", "--walker", &walker, &case]).expect_code(0).stdout;
    assert!(walk.contains(&format!("walker    mutant {id}: ")), "{walk}");
    // The machine at hand decides who is right: the reference, and not the mutant.
    let asked = [&["explain"], machine, &[&case]].concat();
    let by_reference = run(&asked).expect_code(0).stdout;
    assert!(by_reference.contains("verdict   agree"), "{case}\n{by_reference}");
    let asked = [&["explain", "--walker", &walker], machine, &[&case]].concat();
    let by_mutant = run(&asked).expect_code(0).stdout;
    assert!(by_mutant.contains("verdict   DIVERGE"), "{case}\n{by_mutant}");
}

/// The smallest case of a run that catches the mutant.
fn smallest_case(id: &str, machine: &[&str]) -> String {
    let walker = format!("mutant:{id}");
    let cases = if machine == KVM { "6000" } else { "40000" };
    let asked = ["check", "--json", "--cases", cases, "--seed", "5", "--walker", &walker];
    let report = run(&[&asked[..], machine].concat()).expect_code(1).json();
    assert_eq!(report["walker"], walker.as_str());
    let caught = finding(&report, id);
    assert_eq!(caught["explained_by"], "reference", "{caught}");
    assert_eq!(caught["known"], false);
    assert!(count(caught, "count") > 0);
    caught["smallest_case"].to_string()
}

const KVM: &[&str] = &["--machine", "kvm"];
const QEMU: &[&str] = &["--machine", "qemu"];
const QEMU_WITH_48_BITS: &[&str] = &["--machine", "qemu", "--phys-bits", "48"];

macro_rules! caught {
    ($require:ident, $machine:expr, $($test:ident: $id:literal,)+) => {$(
        #[test]
        fn $test() {
            $require!();
            assert_caught($id, $machine);
        }
    )+};
}

caught! { require_kvm, KVM,
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

// For those that need a feature or a mode which not every KVM has.
caught! { require_qemu, QEMU,
    m01_pse_36_bits_dropped: "M01",
    m02_page_size_without_pse: "M02",
    m03_smep_without_nxe: "M03",
    m07_fetch_as_read: "M07",
    m08_key_of_a_large_page: "M08",
    m09_key_left_out_of_the_error_code: "M09",
    m10_implicit_access_as_a_users: "M10",
    m16_key_register_by_ring: "M16",
    m18_accessed_of_the_pml5e: "M18",
    m34_index_of_the_upper_level: "M34",
    m36_clflush_as_a_write: "M36",
    m38_fetch_always_told: "M38",
}

caught! { require_qemu, QEMU_WITH_48_BITS,
    m19_reserved_bits_of_a_4_mib_page: "M19",
}

/// In a batch many cases share a PDPTE, and one of them answers for it. Alone, QEMU's A in it differs
/// from the reference (T11), in nothing but the entry.
#[test]
fn mutants_of_the_pae_root_are_caught_but_for_what_qemu_does_to_pdptes() {
    require_qemu!();
    for id in ["M30", "M32"] {
        let case = smallest_case(id, QEMU);
        let differing = |walker: &str| {
            let asked = ["explain", "--machine", "qemu", "--walker", walker, &case];
            let text = run(&asked).expect_code(0).stdout;
            let fields = ["vector: ", "error_code: ", "value: ", "stored: ", "entry: "];
            fields.into_iter().filter(|field| text.contains(field)).collect::<Vec<_>>()
        };
        assert_eq!(differing("reference"), ["entry: "], "{case}");
        assert!(differing(&format!("mutant:{id}")).len() > 1, "{case}");
    }
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
