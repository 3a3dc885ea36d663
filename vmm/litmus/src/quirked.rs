//! What machines are known to do wrong in a test: the quirks of known findings that matter where something is cached.

use crate::test::Litmus;
use crosswalk_walker::quirk::Quirks;
use mmu_core::PageFaultCode;
use mmu_core::cache::Invalidation;
use mmu_core::litmus::{LitmusError, LitmusSemantics};

/// The quirks by which tests come to other outcomes.
const OF_TESTS: [Quirks; 4] = [
    Quirks::RSVD_WITHOUT_P,
    Quirks::FAULT_DROPS_NOTHING,
    Quirks::BAD_ENTRY_DROPS_NOTHING,
    Quirks::CODE_OUTLIVES_STORE,
];

/// A processor with quirks.
#[derive(Clone, Copy, Debug)]
struct Quirked(Quirks);

impl Litmus {
    /// The fewest of a machine's quirks by which an outcome comes about that no manual allows. `None` if all of them
    /// do not lead to it.
    ///
    /// # Errors
    /// As [`Self::judge`].
    pub fn explain(&self, outcome: &str, machine: Quirks) -> Result<Option<Quirks>, LitmusError> {
        for quirks in few_of(machine) {
            if self.judge_as(Quirked(quirks))?.outcomes.contains_key(outcome) {
                return Ok(Some(quirks));
            }
        }
        Ok(None)
    }
}

/// The sets of a machine's quirks that matter in tests, the smaller ones first.
fn few_of(machine: Quirks) -> Vec<Quirks> {
    let mut sets = vec![Quirks::empty()];
    for quirk in OF_TESTS.into_iter().filter(|quirk| machine.contains(*quirk)) {
        let with_it: Vec<_> = sets.iter().map(|set| *set | quirk).collect();
        sets.extend(with_it);
    }
    sets.retain(|set| !set.is_empty());
    sets.sort_by_key(|set| set.bits().count_ones());
    sets
}

impl LitmusSemantics for Quirked {
    fn page_fault(&self, code: PageFaultCode, by_manual: Invalidation) -> Invalidation {
        let is_bad_entry = !code.contains(PageFaultCode::P) || code.contains(PageFaultCode::RSVD);
        let drops_nothing = self.0.contains(Quirks::FAULT_DROPS_NOTHING)
            || is_bad_entry && self.0.contains(Quirks::BAD_ENTRY_DROPS_NOTHING);
        if drops_nothing { Invalidation::Nothing } else { by_manual }
    }

    fn fault_code(&self, by_manual: PageFaultCode) -> PageFaultCode {
        let is_reserved = by_manual.contains(PageFaultCode::RSVD);
        if is_reserved && self.0.contains(Quirks::RSVD_WITHOUT_P) {
            by_manual - PageFaultCode::P
        } else {
            by_manual
        }
    }

    fn keeps_old_code(&self) -> bool {
        self.0.contains(Quirks::CODE_OUTLIVES_STORE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(test: &str, outcome: &str, machine: Quirks) -> Option<Quirks> {
        let test: Litmus = test.parse().unwrap();
        assert!(!test.judge().unwrap().outcomes.contains_key(outcome), "no manual allows it");
        test.explain(outcome, machine).unwrap()
    }

    /// K16 of pvm, T18 of TCG: the read after the fault still goes by what was cached before.
    #[test]
    fn what_a_fault_leaves_explains_an_access_after_it() {
        let test = "litmus k16\npage x = A\nP0\nread x\npte x = 0\nwrite x\nread x\n";
        let both = Quirks::FAULT_DROPS_NOTHING | Quirks::RSVD_WITHOUT_P;
        assert_eq!(explained(test, "a np a", both), Some(Quirks::FAULT_DROPS_NOTHING));
        let pvm = Quirks::BAD_ENTRY_DROPS_NOTHING;
        assert_eq!(explained(test, "a np a", pvm), Some(pvm));
        assert_eq!(explained(test, "a np a", Quirks::RSVD_WITHOUT_P), None);
    }

    /// K16 is about entries that are bad, and not about rights.
    #[test]
    fn a_fault_by_rights_is_not_one_by_a_bad_entry() {
        let test = "litmus rights\npage x = A ro\nP0\nread x\npte x = B ro\nwrite x\nread x\n";
        assert_eq!(explained(test, "a pf a", Quirks::BAD_ENTRY_DROPS_NOTHING), None);
        let all = Quirks::FAULT_DROPS_NOTHING;
        assert_eq!(explained(test, "a pf a", all), Some(all));
    }

    /// T1 of TCG: a bit that is reserved without NXE, and P is not reported.
    #[test]
    fn a_reserved_bit_without_p_is_explained() {
        let test = "litmus nx\npage x = A\nP0\npte x = A nx\nefer -nxe\ninvlpg x\nread x\n";
        let quirk = Quirks::RSVD_WITHOUT_P;
        assert_eq!(explained(test, "np", quirk), Some(quirk));
    }

    /// T26 of TCG: what the other processor has translated is run.
    #[test]
    fn old_code_is_explained_where_another_processor_fetches() {
        let quirk = Quirks::CODE_OUTLIVES_STORE;
        let two = "litmus two\npage x = A\nP0 | P1\nwrite x | fetch x\nfetch x |\nread x |\n";
        assert_eq!(explained(two, "ok a w a", quirk), Some(quirk));
        let alone = "litmus alone\npage x = A\nP0\nwrite x\nfetch x\n";
        assert_eq!(explained(alone, "ok a", quirk), None);
    }
}
