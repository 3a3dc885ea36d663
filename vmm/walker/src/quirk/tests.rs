use super::*;
use crosswalk_case::Action;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use mmu_core::{Efer, Profile, Ring, Vector};

#[test]
fn every_quirk_has_a_name() {
    for (constant, quirk) in Quirks::all().iter_names() {
        let name = constant.to_lowercase().replace('_', "-");
        assert_eq!(name.parse(), Ok(quirk));
    }
    assert_eq!("rsvd-without-p".parse(), Ok(Quirks::RSVD_WITHOUT_P));
}

/// CLFLUSH of a page that is not present, before a read and as the last access.
#[test]
fn quirks_of_instructions_apply_to_each_access_of_a_sequence() {
    let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
    case.entries[3].value = 0;
    let read = case.access_step();
    case.access = Access::new(AccessKind::Clflush, case.access.address, 1, Ring::Three);
    case.form = Form::Clflush;
    case.before = vec![Action::Access(case.access_step()), Action::Access(read)];

    let faults = |walker: &dyn Walker| -> Vec<bool> {
        let predictions = walker.predict_accesses(&case);
        let first = predictions.iter().map(|found| &found.alternatives[0].outcome);
        first.map(|outcome| outcome.fault().is_some()).collect()
    };
    assert_eq!(faults(&Reference), [true, true, true]);
    assert_eq!(faults(&Quirky(Quirks::CLFLUSH_IS_NOTHING)), [false, true, false]);

    assert!(Quirks::possible_for(&case).contains(Quirks::CLFLUSH_IS_NOTHING));
    case.access.kind = AccessKind::Read;
    assert!(Quirks::possible_for(&case).contains(Quirks::CLFLUSH_IS_NOTHING));
}

/// `0x7fff_ffff_ffff` is the last canonical address of the lower half. The walk of the first page
/// succeeds, and the second page begins at `0x8000_0000_0000`.
#[test]
fn canon_1_cr2_gets_the_first_byte_that_is_not_canonical() {
    let quirks = Quirks::NON_CANONICAL_SETS_CR2 | Quirks::STRADDLE_WALKS_FIRST;
    let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
    let cr2 = |case: &Case, quirks| {
        let prediction = Quirky(quirks).predict(case);
        let fault = *prediction.alternatives[0].outcome.fault().unwrap();
        (fault.vector, fault.cr2.map(VirtAddr::get))
    };

    case.access = Access::read(VirtAddr::new(0x1234_0000_0000_0008), 8, Ring::Three);
    let gp = Vector::GeneralProtection;
    assert_eq!(cr2(&case, Quirks::STACK_IS_GP), (gp, None));
    assert_eq!(cr2(&case, quirks), (gp, Some(0x1234_0000_0000_0008)));

    // Index 255 of the PML4, and 511 of the tables below.
    case.access = Access::read(VirtAddr::new(0x7fff_ffff_fffe), 4, Ring::Three);
    for (entry, slot) in case.entries.iter_mut().zip([0x7f8, 0xff8, 0xff8, 0xff8]) {
        entry.at = (entry.at & !0xfff) + slot;
    }
    assert_eq!(cr2(&case, quirks), (gp, Some(0x8000_0000_0000)));
}

/// XD (bit 63) is reserved without NXE; without any reserved bit
/// the page is that of the low 32 bits, and code can run there.
#[test]
fn without_reserved_bits_the_low_half_is_the_address() {
    let mut case =
        Case::plain_in(PagingMode::Pae, Arena::ALL[0], 3, Ring::Three, Profile::default());
    case.access = Access::new(AccessKind::Fetch, case.access.address, 8, Ring::Three);
    case.form = Case::default_form(AccessKind::Fetch);
    case.state.efer -= Efer::NXE;
    let leaf = case.entries[2].value;
    case.entries[2].value = leaf | 1 << 63 | 1 << 40;

    let outcome = |walker: &dyn Walker| walker.predict(&case).alternatives[0].outcome.clone();
    assert_eq!(outcome(&Reference).fault().map(|fault| fault.error_code), Some(0xd));
    let Outcome::Translated(spans) = outcome(&Quirky(Quirks::NOTHING_IS_RESERVED)) else {
        panic!("it completes");
    };
    assert_eq!(spans[0].address.get() & !0xfff, leaf & 0xffff_f000);
}

#[test]
fn a_name_that_no_quirk_has_is_refused() {
    let error = "none-of-these".parse::<Quirks>().unwrap_err();
    assert!(error.starts_with("expected one of") && error.contains("rsvd-without-p"), "{error}");
}
