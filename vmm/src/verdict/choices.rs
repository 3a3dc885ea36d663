//! The choices of a machine: where the rules allow more than one outcome, the one that it took.

use super::End;
use crosswalk_case::Case;
use crosswalk_case::observation::{EntryAfter, Observation, Provenance};
use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, Alternative, EntryUpdate, PagingMode, Ring, Rule};

/// A point on which the rules leave a choice, and the member that a machine took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChoiceTaken {
    /// The rule that leaves the choice.
    pub rule: Rule,
    /// The paging mode.
    pub mode: PagingMode,
    /// Who made the choice.
    pub provenance: Provenance,
    /// The ring of the access.
    pub ring: Ring,
    /// The kind of the access.
    pub access: AccessKind,
    /// How the access ended.
    pub end: End,
    /// The table entry concerned, by the name of its level; empty if the choice is about the whole
    /// outcome.
    pub level: &'static str,
    /// What was chosen.
    pub member: &'static str,
}

/// The choices that an observation shows, given the allowed outcome that it agrees with.
pub(super) fn choices_taken(
    case: &Case,
    agreed: &Alternative,
    seen: &Observation,
) -> Vec<ChoiceTaken> {
    let taken = |(rule, level, member)| ChoiceTaken {
        rule,
        mode: case.mode(),
        provenance: seen.provenance,
        ring: case.access.ring,
        access: case.access.kind,
        end: End::of(&agreed.outcome),
        level,
        member,
    };

    let of_outcome = agreed.choice.map(|(rule, member)| (rule, "", member));
    let of_entries = seen.entries.iter().flat_map(|entry| {
        let update = agreed.updates.iter().find(|update| update.at.get() == entry.at);
        match update {
            Some(update) => flags_chosen(update, entry),
            None => speculative_flag(entry).into_iter().collect(),
        }
    });
    of_outcome.into_iter().chain(of_entries).map(taken).collect()
}

/// Rule, level and member for A and D of an entry that the access updates, where they are open.
fn flags_chosen(
    update: &EntryUpdate,
    entry: &EntryAfter,
) -> Vec<(Rule, &'static str, &'static str)> {
    let open = EntryBits::from_bits_retain(update.open_bits());
    let after = EntryBits::from_bits_retain(entry.after);

    [(EntryBits::A, "A set", "A left clear"), (EntryBits::D, "D set", "D left clear")]
        .into_iter()
        .filter(|(flag, ..)| open.contains(*flag))
        .map(|(flag, set, clear)| {
            let member = if after.contains(flag) { set } else { clear };
            (update.open_by, update.level.entry_name, member)
        })
        .collect()
}

/// The choice to set A in an entry that the access does not update (AD-5).
fn speculative_flag(entry: &EntryAfter) -> Option<(Rule, &'static str, &'static str)> {
    (entry.after != entry.before).then_some((Rule::Ad5, "", "A set without an access"))
}
