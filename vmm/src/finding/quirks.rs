//! Which quirks of a machine explain what was seen.

use crate::verdict::{self, Verdict};
use crate::walker::quirk::{Quirks, Quirky};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;

/// The fewest of a machine's quirks with which the reference predicts what was seen, if any do. They
/// need not be all that could show: a machine may have a second walker, without them.
pub fn explaining(machine: Quirks, case: &Case, run: &Attempt) -> Option<Quirks> {
    let quirks: Vec<Quirks> = (machine & Quirks::possible_for(case)).iter().collect();
    let mut sets: Vec<u32> = (0..1 << quirks.len()).collect();
    sets.sort_by_key(|set| set.count_ones());
    let in_set = |set: u32| {
        let members = quirks.iter().enumerate().filter(|(i, _)| set >> i & 1 != 0);
        members.fold(Quirks::empty(), |all, (_, quirk)| all | *quirk)
    };
    sets.into_iter()
        .map(in_set)
        .find(|quirks| matches!(verdict::judge(&Quirky(*quirks), case, run), Verdict::Agree { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::observation::{Observation, ObservedFault, Provenance};
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    /// A read through a PDE with a reserved bit: P and RSVD by the SDM, RSVD alone by TCG.
    #[test]
    fn the_fewest_quirks_explain_and_a_right_machine_needs_none() {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, profile);
        case.entries[2].value |= 1 << 45;
        let seen = |error_code| {
            let cr2 = case.access.address.get();
            let fault = ObservedFault { vector: 14, error_code, cr2, cr2_before: 0 };
            Attempt::Observed(Observation::new(Some(fault), 0, Provenance::Tcg))
        };
        let all = Quirks::all();
        assert_eq!(explaining(all, &case, &seen(0xc)), Some(Quirks::RSVD_WITHOUT_P));
        // With P it is what the manual says, and no quirk shows.
        assert_eq!(explaining(all, &case, &seen(0xd)), Some(Quirks::empty()));
        assert_eq!(explaining(Quirks::empty(), &case, &seen(0xd)), Some(Quirks::empty()));
        assert_eq!(explaining(all, &case, &seen(0x5)), None, "no quirk makes it a denial");
    }
}
