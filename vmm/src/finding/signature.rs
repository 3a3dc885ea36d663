//! What makes two divergences look alike, before a common cause is known.

use crate::verdict::{Difference, End, Field};
use crosswalk_case::Case;
use crosswalk_case::observation::Observation;
use mmu_core::{AccessKind, Alternative, Ring};

/// The features that divergences have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Signature {
    /// The ring of the access.
    pub(super) ring: Ring,
    /// The kind of the access, if it is one of a sequence.
    pub(super) of_sequence: Option<AccessKind>,
    /// How the access should have ended.
    pub(super) expected: End,
    /// The vector that was observed; 0 for none.
    pub(super) observed: u8,
    /// The fields that differ, in order.
    pub(super) fields: Vec<Field>,
}

impl Signature {
    /// The signature of a divergence in the last access of a case, which may be part of a longer
    /// sequence.
    pub(super) fn of(
        case: &Case,
        is_in_sequence: bool,
        expected: &Alternative,
        seen: &Observation,
        differences: &[Difference],
    ) -> Self {
        let mut fields: Vec<_> = differences.iter().map(|difference| difference.field).collect();
        fields.sort_unstable();
        fields.dedup();

        Self {
            ring: case.access.ring,
            of_sequence: is_in_sequence.then_some(case.access.kind),
            expected: End::of(&expected.outcome),
            observed: seen.fault.map_or(0, |fault| fault.vector),
            fields,
        }
    }

    /// The conditions of a known finding that covers what looks like this, whatever fault was observed: a line for
    /// each table of TOML.
    pub(super) fn conditions(&self) -> String {
        let quoted = |name: &str| format!("\"{name}\"");
        let access = self
            .of_sequence
            .map_or_else(String::new, |kind| format!(", access = [{}]", quoted(kind.name())));
        let fields: Vec<_> = self.fields.iter().map(|field| quoted(field.name())).collect();

        format!(
            "when = {{ ring = {}{access} }}\nseen = {{ expected = [{}], fields = [{}] }}\n",
            self.ring.cpl(),
            quoted(self.expected.name()),
            fields.join(", ")
        )
    }

    /// A title for a finding whose cause is not known.
    pub(super) fn title(&self) -> String {
        let fields: Vec<_> = self.fields.iter().map(|field| field.name()).collect();
        let ring = self.ring.cpl();
        let access = match self.of_sequence {
            Some(kind) => format!("{} of a sequence, ring {ring}", kind.name()),
            None => format!("ring {ring}"),
        };
        format!("{access}, expected {}: {} differ", self.expected.name(), fields.join(", "))
    }
}
