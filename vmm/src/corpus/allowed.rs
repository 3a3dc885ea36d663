//! The allowed outcomes of a case, as text. They are only written: crosswalk itself predicts again
//! when it reads a corpus.

use crate::walker::Walker;
use crosswalk_case::{Case, Hex};
use mmu_core::outcome::Span;
use mmu_core::{Alternative, EntryUpdate, Outcome, Prediction, Reference, VirtAddr};
use serde::Serialize;

#[derive(Serialize)]
struct AllowedText {
    access: Vec<AlternativeText>,
    /// The accesses of a sequence before its last, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Vec<AlternativeText>>,
}

/// One of the allowed outcomes of an access.
#[derive(Serialize)]
struct AlternativeText {
    #[serde(flatten)]
    outcome: OutcomeText,
    entries: Vec<UpdateText>,
    /// The rule that leaves a choice, and the member of the choice that this outcome stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<(&'static str, &'static str)>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum OutcomeText {
    Translated(Vec<SpanText>),
    Fault(AllowedFaultText),
}

#[derive(Serialize)]
struct SpanText {
    address: Hex,
    bytes: u16,
}

#[derive(Serialize)]
struct AllowedFaultText {
    vector: u8,
    error_code: Hex,
    /// `None` if CR2 keeps its value.
    cr2: Option<Hex>,
}

#[derive(Serialize)]
struct UpdateText {
    address: Hex,
    before: Hex,
    must_set: Hex,
    may_set: Hex,
}

/// Everything that the reference allows of a case: of its access, and of the accesses before it.
///
/// # Panics
/// Never: an outcome holds nothing that JSON cannot represent.
#[cfg_attr(not(test), expect(clippy::expect_used, reason = "outcomes are plain data"))]
pub(super) fn allowed(case: &Case) -> serde_json::Value {
    let alternatives = |prediction: &Prediction| {
        prediction.alternatives.iter().map(AlternativeText::of).collect::<Vec<_>>()
    };

    let allowed = AllowedText {
        access: alternatives(&Reference.predict(case)),
        earlier: Reference.predict_earlier(case).iter().map(alternatives).collect(),
    };
    serde_json::to_value(allowed).expect("outcomes are plain data")
}

impl AlternativeText {
    fn of(alternative: &Alternative) -> Self {
        Self {
            outcome: OutcomeText::of(&alternative.outcome),
            entries: alternative.updates.iter().map(UpdateText::of).collect(),
            choice: alternative.choice.map(|(rule, member)| (rule.id(), member)),
        }
    }
}

impl OutcomeText {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Translated(spans) => {
                Self::Translated(spans.iter().map(SpanText::of).collect())
            }
            Outcome::Fault(fault) => Self::Fault(AllowedFaultText {
                vector: fault.vector as u8,
                error_code: Hex(fault.error_code.into()),
                cr2: fault.cr2.map(VirtAddr::get).map(Hex),
            }),
        }
    }
}

impl SpanText {
    fn of(span: &Span) -> Self {
        Self { address: Hex(span.address.get()), bytes: span.len }
    }
}

impl UpdateText {
    fn of(update: &EntryUpdate) -> Self {
        Self {
            address: Hex(update.at.get()),
            before: Hex(update.before),
            must_set: Hex(update.must_set),
            may_set: Hex(update.open_bits()),
        }
    }
}
