//! The alternatives of a prediction, and the names of the members of choices.

use crate::access::MAX_PAGES;
use crate::outcome::{Alternative, EntryUpdate, EntryUpdates, Outcome, Prediction, Span};
use crate::x86::format::EntryBits;
use crate::x86::rule::{Rule, RuleSet};
use arrayvec::ArrayVec;

/// A member of CANON-2 under LAM.
pub(super) const BYTES_FOLLOW: &str = "the bytes follow the masked first one";

/// Members of ALIGN-1.
pub(crate) const CHECKED_FIRST: &str = "the alignment is checked first";
pub(crate) const CHECKED_16_BYTES: &str = "the alignment of 16 bytes is checked";

/// What an access that fails the alignment check may do to the entries on its path: the processor may
/// have walked to the page and set A, but it has not written (ALIGN-1).
pub(super) fn updates_without_access(updates: &EntryUpdates) -> EntryUpdates {
    let accessed = |update: &EntryUpdate| EntryUpdate {
        must_set: 0,
        may_set: (update.must_set | update.may_set) & EntryBits::A.bits(),
        open_by: Rule::Align1,
        ..*update
    };
    updates.iter().map(accessed).collect()
}

impl Prediction {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.alternatives.clear();
        self.rules = RuleSet::default();
    }

    /// Keeps one alternative without a choice, in which the access completes: its bytes, none so far, and
    /// its updates, which are those of an earlier prediction.
    #[inline]
    pub(super) fn only_completion(
        &mut self,
    ) -> (&mut ArrayVec<Span, MAX_PAGES>, &mut EntryUpdates) {
        if self.alternatives.is_empty() {
            let outcome = Outcome::Translated(ArrayVec::new());
            let updates = EntryUpdates::new();
            self.alternatives.push(Alternative { outcome, updates, choice: None });
        }

        self.alternatives.truncate(1);
        let Alternative { outcome, updates, choice } = &mut self.alternatives[0];
        *choice = None;
        (outcome.cleared(), updates)
    }

    /// Adds an alternative, unless an equal one is there. A choice whose members make no difference
    /// has decided nothing, so only a new alternative counts its rule.
    pub(super) fn add(&mut self, alternative: Alternative) {
        let is_known = self.alternatives.iter().any(|known| {
            known.outcome == alternative.outcome && known.updates == alternative.updates
        });
        if is_known || self.alternatives.is_full() {
            return;
        }

        if let Some((rule, _)) = alternative.choice {
            self.rules.insert(rule);
        }
        self.alternatives.push(alternative);
    }

    /// Where there are several alternatives, the first is a member of the choice, too.
    pub(super) fn name_first_member(&mut self) {
        let [first, second, ..] = self.alternatives.as_mut_slice() else { return };

        if let (None, Some((rule, member))) = (first.choice, second.choice) {
            first.choice = Some((rule, likeliest_member(rule, member)));
        }
    }
}

/// The likeliest member of a choice, of which `member` is another one.
pub(crate) fn likeliest_member(rule: Rule, member: &str) -> &'static str {
    match rule {
        Rule::Code7 => "G in a PML4E is ignored",
        Rule::Code8 => "I/D is 1 with SMEP alone",
        Rule::Pdpte4 => "PDPTEs are in registers",
        Rule::Canon4 => "CR2 does not hold the tag",
        Rule::Canon2 if member == BYTES_FOLLOW => "each byte is masked",
        Rule::Canon2 => "the address wraps at 4 GiB",
        Rule::Align1 if member == CHECKED_FIRST => "the alignment is checked last",
        Rule::Align1 => "the alignment of 16 bytes is not checked",
        _ => "the lower page is reported",
    }
}

impl Outcome {
    /// The bytes of a completion, none so far.
    #[inline]
    fn cleared(&mut self) -> &mut ArrayVec<Span, MAX_PAGES> {
        loop {
            match self {
                Self::Translated(spans) => {
                    spans.clear();
                    return spans;
                }
                Self::Fault(_) => *self = Self::Translated(ArrayVec::new()),
            }
        }
    }
}
