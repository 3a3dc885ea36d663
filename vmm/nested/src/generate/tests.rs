use super::*;
use crate::walker::{REFERENCE, predict};
use crosswalk_machine::nested::Virtualization;
use mmu_core::Profile;
use std::collections::{BTreeSet, HashSet};

/// A machine with NPT in every format.
pub(crate) fn machine_with_npt() -> Capabilities {
    let profile = Profile { physical_address_bits: 40, ..Profile::generation("zen-3").unwrap() };
    Capabilities {
        virtualization: Ok(Virtualization::Svm { nested_paging: true, asids: 16 }),
        modes: PagingMode::ALL.into_iter().map(|mode| (mode, Ok(()))).collect(),
        ..Capabilities::of_everything(profile)
    }
}

#[test]
fn lanes_share_no_word_and_all_tables_are_in_one_arena() {
    for generator in Generator::ALL {
        let stream = Stream::new(generator, 7, &machine_with_npt()).unwrap();
        for number in 0..40 {
            let batch = stream.batch(number);
            let mut used = HashSet::new();
            for case in &batch.cases {
                assert_eq!(case.arena(), Some(batch.arena), "{case}");
                let words: BTreeSet<u64> = case.entries().map(|entry| entry.at & !7).collect();
                for word in words {
                    assert!(used.insert(word), "{word:#x} belongs to two lanes of batch {number}");
                }
            }
        }
    }
}

#[test]
fn a_case_is_the_same_by_its_name_and_after_its_text_form() {
    let stream = Stream::new(Generator::Random, 3, &machine_with_npt()).unwrap();
    for number in [0, 1, 2, 9] {
        let batch = stream.batch(number);
        for (lane, case) in (0..).zip(&batch.cases) {
            let name = stream.name(batch.first + lane);
            assert_eq!(name.to_string().parse(), Ok(name));
            assert_eq!(stream.case(name.index).as_ref(), Some(case), "{name}");
            assert_eq!(NestedCase::from_json(&case.to_json()).unwrap(), *case);
        }
    }
    assert_eq!(stream.case(STRIDE - 1), None, "no batch is as long");
}

/// Every outcome is among what a batch of each second level shows, and no prediction is missing.
#[test]
fn cases_end_in_every_way() {
    let stream = Stream::new(Generator::Random, 11, &machine_with_npt()).unwrap();
    let mut ends = BTreeSet::new();
    for number in 0..24 {
        for case in stream.batch(number).cases {
            let prediction = predict(&REFERENCE, &case);
            let first = prediction.alternatives.first().expect("everything is predicted");
            ends.insert(crate::tally::kind_of_end(&first.end));
        }
    }
    let expected = ["completes", "guest fault", "nested page fault", "not entered"];
    assert_eq!(ends, BTreeSet::from(expected));
}

#[test]
fn a_machine_without_guests_in_guests_says_why() {
    let machine = Capabilities { virtualization: Err("it has none".into()), ..machine_with_npt() };
    let error = Stream::new(Generator::Random, 1, &machine).unwrap_err();
    assert_eq!(error.to_string(), "it has none");
}
