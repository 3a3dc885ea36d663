//! The conditions under which a known finding covers what a case showed.

use super::names::read_names;
use crate::verdict::{ChoiceTaken, Difference, End, Field};
use crosswalk_case::observation::Observation;
use crosswalk_case::{AccessStep, Action, Case};
use crosswalk_guest::layout::{Arena, LOW_MEMORY_END};
use mmu_core::x86::format::EntryBits;
use mmu_core::{Access, AccessKind, Alternative, Cr4, Outcome, PagingMode, Ring};
use serde::Deserialize;

/// Conditions on a case. All that are given must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    #[serde(default, deserialize_with = "read_names")]
    mode: Option<Vec<PagingMode>>,
    /// The CPL of the access: 0 or 3.
    ring: Option<u8>,
    #[serde(default, deserialize_with = "read_names")]
    access: Option<Vec<AccessKind>>,
    /// The name of the instruction.
    instruction: Option<String>,
    /// The instruction has a source, which it reads first.
    has_source: Option<bool>,
    /// The access or one before it has a source.
    has_any_source: Option<bool>,
    /// The processor makes the access for itself.
    implicit: Option<bool>,
    /// EFLAGS.AC is 1.
    ac: Option<bool>,
    /// The access is made in compatibility mode.
    compatibility: Option<bool>,
    pml4_slot: Option<u64>,
    crosses_page: Option<bool>,
    /// Some bytes are canonical and some are not.
    straddles_canonical: Option<bool>,
    /// PKRU is not 0 while CR4.PKE is.
    pkru_without_pke: Option<bool>,
    /// The access comes after other actions.
    sequence: Option<bool>,
    /// In a sequence, an access before the last stores across pages in ring 0.
    ring_0_stored_across_pages: Option<bool>,
    /// In a sequence, an access before the last stores in ring 0 with EFLAGS.AC=1.
    ring_0_stored_with_ac: Option<bool>,
    /// In a sequence, an access before the last is a fetch.
    fetched_before: Option<bool>,
    /// CR4.SMAP is 1.
    smap: Option<bool>,
    /// CR4.SMEP is 1.
    smep: Option<bool>,
    /// CR4.PSE is 1.
    pse: Option<bool>,
    /// PWT or PCD is 1 in CR3, which is no part of the address.
    pwt_or_pcd_of_cr3: Option<bool>,
    /// PS is 1 in an entry that is present.
    large_page: Option<bool>,
    /// A table entry points to an address without memory.
    table_outside_memory: Option<bool>,
    /// The page's entry lies in the table that the guest can only read, as far from the start of its page as
    /// the access from that of its own.
    offset_of_read_only_entry: Option<bool>,
}

impl When {
    /// Whether the conditions hold for a case. In a sequence they are about the last access, with the
    /// registers and the tables that it meets; the others are about what comes before it.
    pub(super) fn hold(&self, sequence: &Case) -> bool {
        let met = sequence.is_sequence().then(|| sequence.accesses().pop()).flatten();
        let case = met.as_ref().unwrap_or(sequence);
        let access = &case.access;
        let [first_is_canonical, last_is_canonical] = case.canonical_ends();
        let pkru_without_pke = case.state.pkru != 0 && !case.state.cr4.contains(Cr4::PKE);

        is_among(self.mode.as_ref(), &case.mode())
            && is_wanted(self.ring, access.ring.cpl())
            && is_among(self.access.as_ref(), &access.kind)
            && is_wanted(self.instruction.as_deref(), case.access_step().instruction())
            && is_wanted(self.has_source, case.form.has_source())
            && is_wanted(self.has_any_source, has_any_source(sequence))
            && is_wanted(self.implicit, access.implicit)
            && is_wanted(self.ac, access.ac)
            && is_wanted(self.compatibility, access.compatibility)
            && is_wanted(self.pml4_slot, access.address.index(39, 9))
            && is_wanted(self.crosses_page, access.crosses_page())
            && is_wanted(self.straddles_canonical, first_is_canonical != last_is_canonical)
            && is_wanted(self.pkru_without_pke, pkru_without_pke)
            && is_wanted(self.sequence, sequence.is_sequence())
            && is_wanted(
                self.ring_0_stored_across_pages,
                ring_0_stored(sequence, Access::crosses_page),
            )
            && is_wanted(self.ring_0_stored_with_ac, ring_0_stored(sequence, |access| access.ac))
            && is_wanted(self.fetched_before, fetched_before(sequence))
            && is_wanted(self.smap, case.state.cr4.contains(Cr4::SMAP))
            && is_wanted(self.smep, case.state.cr4.contains(Cr4::SMEP))
            && is_wanted(self.pse, case.state.cr4.contains(Cr4::PSE))
            && is_wanted(self.pwt_or_pcd_of_cr3, has_pwt_or_pcd_in_cr3(case))
            && is_wanted(self.large_page, has_large_page(case))
            && is_wanted(self.table_outside_memory, has_table_outside_memory(case))
            && is_wanted(self.offset_of_read_only_entry, has_offset_of_read_only_entry(case))
    }
}

/// Whether PWT or PCD is 1 in CR3, where they are at the same places as in an entry.
fn has_pwt_or_pcd_in_cr3(case: &Case) -> bool {
    let cr3 = EntryBits::from_bits_retain(case.state.cr3);
    cr3.intersects(EntryBits::PWT | EntryBits::PCD)
}

/// Whether an access of this kind before the last of a sequence stores in ring 0.
fn ring_0_stored(case: &Case, is_wanted: impl Fn(&Access) -> bool) -> bool {
    case.before.iter().any(|action| match action {
        Action::Access(AccessStep { access, .. }) => {
            let stores = matches!(access.kind, AccessKind::Write | AccessKind::ReadModifyWrite);
            stores && access.ring == Ring::Zero && is_wanted(access)
        }
        _ => false,
    })
}

/// Whether an access of a case has a source.
fn has_any_source(case: &Case) -> bool {
    let has_source = |action: &Action| match action {
        Action::Access(step) => step.form.has_source(),
        _ => false,
    };
    case.form.has_source() || case.before.iter().any(has_source)
}

/// Whether an access before the last of a sequence is a fetch.
fn fetched_before(case: &Case) -> bool {
    case.before.iter().any(|action| match action {
        Action::Access(AccessStep { access, .. }) => access.kind == AccessKind::Fetch,
        _ => false,
    })
}

/// Conditions on what was observed. All that are given must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedConditions {
    /// How the access should have ended.
    #[serde(default, deserialize_with = "read_names")]
    expected: Option<Vec<End>>,
    /// Whether the access should have reached an address without memory.
    reaches_outside: Option<bool>,
    /// Whether the access did reach an address without memory.
    reached_outside: Option<bool>,
    /// The vector that was observed; 0 for none.
    vector: Option<Vec<u8>>,
    /// Bits of the error code that must be set.
    error_code: Option<u32>,
    /// Bits of the error code that must be clear.
    error_code_clear: Option<u32>,
    /// Only these fields may differ.
    #[serde(default, deserialize_with = "read_names")]
    fields: Option<Vec<Field>>,
    /// The member that was chosen.
    member: Option<String>,
    /// A part of the reason why the case could not be run.
    reason: Option<String>,
}

impl ObservedConditions {
    /// Whether the conditions hold for a divergence.
    pub(super) fn hold(
        &self,
        case: &Case,
        expected: &Alternative,
        seen: &Observation,
        differences: &[Difference],
    ) -> bool {
        let vector = seen.fault.map_or(0, |fault| fault.vector);
        let error_code = seen.fault.map(|fault| fault.error_code);
        let has_bits = |bits| error_code.is_some_and(|code| code & bits == bits);
        let lacks_bits = |bits| error_code.is_some_and(|code| code & bits == 0);

        is_among(self.expected.as_ref(), &End::of(&expected.outcome))
            && is_wanted(self.reaches_outside, reaches_outside(case, expected))
            && is_wanted(self.reached_outside, !seen.outside.is_empty())
            && is_among(self.vector.as_ref(), &vector)
            && self.error_code.is_none_or(has_bits)
            && self.error_code_clear.is_none_or(lacks_bits)
            && differences.iter().all(|found| is_among(self.fields.as_ref(), &found.field))
    }

    /// Whether the conditions hold for a choice.
    pub(super) fn hold_for_choice(&self, choice: &ChoiceTaken) -> bool {
        is_among(self.expected.as_ref(), &choice.end)
            && is_wanted(self.member.as_deref(), choice.member)
    }

    /// Whether the conditions hold for a case that could not be run for this reason.
    pub(super) fn hold_for_reason(&self, why: &str) -> bool {
        self.reason.as_ref().is_none_or(|reason| why.contains(reason.as_str()))
    }
}

/// Whether a value is the wanted one. If none is given, every value is.
fn is_wanted<T: Copy + PartialEq>(wanted: Option<T>, value: T) -> bool {
    wanted.is_none_or(|wanted| wanted == value)
}

/// Whether a value is among the wanted ones. If none are given, every value is.
fn is_among<T: PartialEq>(wanted: Option<&Vec<T>>, value: &T) -> bool {
    wanted.is_none_or(|wanted| wanted.contains(value))
}

/// Whether an access should reach an address without memory.
fn reaches_outside(case: &Case, expected: &Alternative) -> bool {
    match &expected.outcome {
        Outcome::Translated(spans) => spans.iter().any(|span| case.is_outside(span.address.get())),
        Outcome::Fault(_) => false,
    }
}

/// Whether the entry of the accessed page is in a read-only table, at the offset that the access has in the
/// page.
fn has_offset_of_read_only_entry(case: &Case) -> bool {
    let address = case.access.address;
    let offset = address.get() & 0xfff;
    let is_at_offset = offset == address.index(12, 9).saturating_mul(8);

    let is_read_only = |at: u64| Arena::ALL.iter().any(|arena| arena.is_read_only(at));
    let mut entries = case.entries.iter();
    is_at_offset && entries.any(|entry| is_read_only(entry.at) && entry.at & 0xfff == offset)
}

/// Whether an entry of the case is present and has PS.
fn has_large_page(case: &Case) -> bool {
    let is_large = EntryBits::P | EntryBits::PS;
    case.entries.iter().any(|entry| EntryBits::from_bits_retain(entry.value).contains(is_large))
}

/// Whether an entry of the case points to a table at an address without memory.
fn has_table_outside_memory(case: &Case) -> bool {
    let is_in_last_table = |at: u64| case.entries.iter().all(|entry| entry.at >> 12 <= at >> 12);

    case.entries.iter().any(|entry| {
        let flags = EntryBits::from_bits_retain(entry.value);
        !is_in_last_table(entry.at)
            && flags.contains(EntryBits::P)
            && !flags.contains(EntryBits::PS)
            && entry.value & EntryBits::ADDRESS >= LOW_MEMORY_END
    })
}

#[cfg(test)]
mod tests {
    use super::super::{KnownFinding, all_shipped};
    use crate::verdict::{self, Verdict};
    use crosswalk_case::Case;
    use crosswalk_case::observation::{Attempt, Observation, Provenance};
    use crosswalk_guest::layout::Arena;
    use crosswalk_guest::stub::Form;
    use mmu_core::{AccessKind, ControlState, Cr4, Reference, Ring};

    fn over_nested_tables(id: &str) -> (KnownFinding, Case) {
        in_file("svm-npt-on-tcg", id)
    }

    /// A finding of a file, and its case.
    fn in_file(name: &str, id: &str) -> (KnownFinding, Case) {
        let files = all_shipped().unwrap().into_iter();
        let mut known = files.filter(|(file, _)| *file == name).flat_map(|(_, all)| all);
        let known = known.find(|known| known.id == id).expect("it is shipped");
        let case = Case::from_json(known.case.as_deref().expect("it has a case")).unwrap();
        (known, case)
    }

    /// Whether a read with this value is known as this finding.
    fn covers(known: &KnownFinding, case: &Case, value: u64) -> bool {
        let seen = Observation::new(None, value, Provenance::Tcg);
        let run = Attempt::Observed(seen.clone());
        let Verdict::Diverge { expected, differences, .. } = verdict::judge(&Reference, case, &run)
        else {
            panic!("no data has the value {value:#x}")
        };
        known.covers(case, &expected, &seen, &differences)
    }

    /// N15: the entry `0x40046067` is `0x300` bytes into the read-only table, the read as far into its page.
    #[test]
    fn a_read_of_its_own_entry_is_known_only_in_read_only_memory_and_at_its_offset() {
        let (known, case) = over_nested_tables("N15");
        assert_eq!(case.access.address.get() & 0xfff, 0x300);
        assert!(covers(&known, &case, 0x67));

        let mut elsewhere = case.clone();
        elsewhere.access.address = case.access.address.wrapping_add(8);
        assert!(!covers(&known, &elsewhere, 0x67));

        let mut writable = case;
        let [.., parent, leaf] = writable.entries.as_mut_slice() else { panic!("five levels") };
        (parent.value, leaf.at) = (0x64_6007, 0x64_6300);
        assert!(!covers(&known, &writable, 0x67));
    }

    #[test]
    fn an_exchange_that_never_ends_is_known_at_the_offset_of_its_entry_only() {
        let (known, mut case) = over_nested_tables("N16");
        let why = "the guest did not come back: it hangs or loops";
        assert!(known.covers_unsupported(&case, why));
        assert!(!known.covers_unsupported(&case, "another reason"));
        case.access.address = case.access.address.wrapping_add(8);
        assert!(!known.covers_unsupported(&case, why));
    }

    /// N20: the guest leaves these modes through code without paging, where SMAP is still in force.
    #[test]
    fn smap_is_fatal_outside_long_mode_only() {
        let (known, case) = in_file("vmx-shadow-on-bochs", "N20");
        assert!(known.is_fatal_in(&case));

        let mut without = case.clone();
        without.state.cr4 -= Cr4::SMAP;
        assert!(!known.is_fatal_in(&without));

        let long_mode = Case::plain(Arena::ALL[0], 0, Ring::Three, case.profile);
        let with_smap = ControlState { cr4: long_mode.state.cr4 | Cr4::SMAP, ..long_mode.state };
        assert!(!known.is_fatal_in(&Case { state: with_smap, ..long_mode }));
    }

    /// N21: with SMEP alone, which does not act there.
    #[test]
    fn a_fetch_that_smep_denies_is_known_with_smep_only() {
        let (known, case) = in_file("vmx-shadow-on-bochs", "N21");
        assert!(case.state.cr4.contains(Cr4::SMEP) && known.when.hold(&case));

        let mut without = case;
        without.state.cr4 -= Cr4::SMEP;
        assert!(!known.when.hold(&without));
    }

    #[test]
    fn a_copy_that_never_ends_is_known_wherever_it_is_in_a_sequence() {
        let (known, mut case) = in_file("svm-shadow-on-tcg", "N17");
        let why = "the guest did not come back: it hangs or loops";

        // A read after the copy.
        (case.access.kind, case.form) = (AccessKind::Read, Form::Load);
        assert!(!case.form.has_source() && case.before.len() == 3);
        assert!(known.covers_unsupported(&case, why));

        case.before.remove(0);
        assert!(!known.covers_unsupported(&case, why));
    }
}
