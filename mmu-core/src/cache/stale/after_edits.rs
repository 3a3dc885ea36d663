//! Everything that is allowed for an access after edits, in one prediction, with the rules that decided.

use super::Mixture;
use crate::access::{Access, SizeError};
use crate::cache::history::History;
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::{Alternative, BoundedList, EntryUpdate, Prediction};
use crate::walk::{AnyMmu, Mmu, in_any_mode};
use crate::x86::format::Format;
use crate::x86::rule::Rule;
use crate::x86::semantics::Semantics;

/// Ways that a rule forbids, of which the first few are kept.
type ForbiddenWays = BoundedList<(Rule, Alternative), 1, 16>;

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// Everything that is allowed for an access to edited tables: that of every mixture
    /// ([`Self::predict_stale`]), each way once, starting with those of the entries in memory.
    ///
    /// Among the rules are those that forbid what an earlier value of an entry leads to, where nothing else
    /// allows the same: TLB-1, TLB-3 and TLB-4, TLB-2 for a spurious fault, and AD-4 for a write that must
    /// read the leaf again to set D.
    ///
    /// # Errors
    /// When no instruction makes an access of this size.
    pub fn predict_after_edits<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        history: &History<M, N>,
        access: &Access,
    ) -> Result<Prediction, SizeError> {
        // This names the members of the choices that the walk leaves open.
        let mut found = self.predict(history.memory(), access)?;
        if history.is_plain() {
            return Ok(found);
        }

        let mut forbidden = ForbiddenWays::new();
        self.predict_mixtures(history, access, &mut |mixture| {
            let Mixture { prediction, forbidden: reason } = mixture;
            match reason {
                None => found.join(prediction),
                Some(rule) => {
                    let ways = prediction.alternatives.iter();
                    ways.for_each(|way| forbidden.push((*rule, way.clone())));
                }
            }
        })?;

        for (rule, way) in &forbidden {
            if !found.alternatives.iter().any(|allowed| do_the_same(allowed, way)) {
                found.rules.insert(*rule);
            }
        }
        Ok(found)
    }
}

impl<R: Semantics> AnyMmu<R> {
    /// [`Mmu::predict_after_edits`].
    ///
    /// # Errors
    /// As [`Mmu::predict_after_edits`].
    pub fn predict_after_edits<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        history: &History<M, N>,
        access: &Access,
    ) -> Result<Prediction, SizeError> {
        in_any_mode!(self, mmu => mmu.predict_after_edits(history, access))
    }
}

impl Prediction {
    /// Adds the ways of another prediction that are not known yet, and its rules.
    fn join(&mut self, other: &Self) {
        self.rules.extend(other.rules);

        for way in &other.alternatives {
            let is_same =
                |known: &Alternative| known.outcome == way.outcome && known.updates == way.updates;
            if !self.alternatives.iter().any(is_same) {
                self.alternatives.push(way.clone());
            }
        }
    }
}

/// Whether two ways end alike and leave the same in memory.
fn do_the_same(one: &Alternative, other: &Alternative) -> bool {
    /// The flags that change, or may.
    fn changes(way: &Alternative) -> impl Iterator<Item = (u64, u64, u64)> {
        let change = |update: &EntryUpdate| {
            (update.at.get(), update.must_set & !update.before, update.open_bits())
        };
        way.updates.iter().map(change).filter(|(_, must, may)| must | may != 0)
    }

    one.outcome == other.outcome && changes(one).eq(changes(other))
}
