//! One test for each bug that was found, so that it does not come back.

use crosswalk::campaign::run_one;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_guest::layout::Arena;
use crosswalk_machine::Machine;
use crosswalk_machine::batch::arena_of;
use crosswalk_test_support as support;
use mmu_core::{Cr4, Features, PagingMode, Profile, Ring};
use support::single::{open_kvm, open_qemu};
use support::{Sandbox, finding, require_kvm, require_qemu, run};

/// Every run of a single case numbered its commands from 1 again, and the guest waits for a number
/// that is new: the second case of a file never ran.
#[test]
fn a_file_of_several_cases_runs_to_its_end() {
    require_kvm!();
    let options = ["--machine", "kvm", "--cases", "2000", "--seed", "1", "--walker", "mutant:M13b"];
    let report = run(&[&["check", "--json"], &options[..]].concat()).expect_code(1).json();
    let case = &finding(&report, "M13b")["smallest_case"];

    let sandbox = Sandbox::new();
    let file = sandbox.file("cases.json", format!("[{case},\n{case},\n{case}]"));
    let text = sandbox.run(&["explain", "--machine", "kvm", &file]).expect_code(0).stdout;
    assert!(text.contains("case 3 of 3"), "{text}");
    assert_eq!(text.matches("verdict   agree").count(), 3, "{text}");
}

/// Two groups of options had the same name, which clap checks in debug builds only.
#[test]
fn the_command_line_is_well_formed() {
    run(&["--version"]).expect_code(0);
}

/// A field's name was printed unchanged, line breaks and escape sequences included.
#[test]
fn an_error_about_a_strange_field_is_one_plain_line() {
    let output = run(&["explain", "{\"a\\nb\\u001b[31m\": 1}"]).expect_code(2);
    assert!(!output.only_line_of_stderr().contains(char::is_control), "{}", output.stderr);
}

/// A single case that the processor does not support was left out, but its control state was still
/// loaded, and CR4 bits that the processor does not have killed the guest.
#[test]
fn a_case_with_an_unsupported_feature_leaves_the_guest_alive() {
    require_kvm!();
    let mut machine = open_kvm();
    let supported = machine.capabilities().profile.features;
    let plain = Case::plain(Arena::ALL[0], 7, Ring::Three, machine.capabilities().profile);

    for (bit, feature) in [(Cr4::PKS, Features::PKS), (Cr4::PGE, Features::PGE)] {
        let mut case = plain.clone();
        case.state.cr4 |= bit;
        let attempt = run_one(&mut machine, &case).expect("the guest survives");
        let ran = matches!(attempt, Attempt::Observed(_));
        assert_eq!(ran, supported.contains(feature), "{case}");

        let attempt = run_one(&mut machine, &plain).expect("the guest survives");
        assert!(matches!(attempt, Attempt::Observed(_)), "{attempt:?}");
    }
}

/// The generator drew 32-bit entries that point to a hole below 4 GiB, and tables that may read as
/// ones and so map the last page below 4 GiB; the checks knew neither.
#[test]
fn a_32_bit_entry_may_point_to_where_there_is_no_memory() {
    let profile = Profile::default();
    let mut case = Case::plain_in(PagingMode::Bits32, Arena::ALL[0], 7, Ring::Three, profile);
    case.entries[1].value = 0xa876_5007;
    assert_eq!(arena_of(&case), Ok(Arena::ALL[0]));
    assert!(case.is_outside(0xa876_5108) && case.is_outside(0xffff_f108));

    case.entries[0].value = 0xa876_5007;
    assert_eq!(arena_of(&case), Ok(Arena::ALL[0]), "a table where there is no memory");

    // An entry must not point to where devices may be.
    case.entries[0].value = Arena::ALL[0].table(1) | 7;
    case.entries[1].value = 0xfee0_0007;
    assert!(arena_of(&case).is_err());
}

/// Bits 11:0 of CR3 are not part of the base in 32-bit paging (MODE-8), and the generator sets them,
/// but a single case with some of them was refused: it could not be replayed, nor its finding shrunk.
#[test]
fn a_case_of_32_bit_paging_may_have_any_low_bits_in_cr3() {
    let profile = Profile::default();
    let mut case = Case::plain_in(PagingMode::Bits32, Arena::ALL[1], 7, Ring::Zero, profile);
    case.state.cr3 |= 0xfff;
    assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
}

/// The probe for whether ring 0 can load PKRU used cases that were left out until the answer was
/// known: the answer was always no.
#[test]
fn pkru_is_loaded_in_ring_0_where_the_processor_has_it() {
    require_qemu!();
    let machine = open_qemu();
    assert!(machine.capabilities().profile.features.contains(Features::PKU));
    assert!(machine.capabilities().pkru_in_ring_0);
}
