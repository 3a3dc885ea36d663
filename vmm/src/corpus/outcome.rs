//! Outcomes as text: what was observed, and what is allowed.

use crate::walker::Walker;
use crosswalk_case::observation::{
    Attempt, EarlierAccess, EntryAfter, Observation, ObservedFault, OutsideAccess, Provenance,
};
use crosswalk_case::{Case, Hex};
use mmu_core::{Alternative, Outcome, Prediction, Reference, VirtAddr};
use serde::{Deserialize, Serialize};

/// What was seen of a case.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObservedText {
    provenance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<ObservedFaultText>,
    value: Hex,
    /// Bytes of data memory that changed: address and new value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stored: Vec<(Hex, u8)>,
    entries: Vec<EntryAfterText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    outside: Vec<OutsideText>,
    sees_outside: bool,
    /// Only of a sequence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<SeenText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObservedFaultText {
    vector: u8,
    error_code: Hex,
    cr2: Hex,
    cr2_before: Hex,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryAfterText {
    address: Hex,
    before: Hex,
    after: Hex,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutsideText {
    address: Hex,
    bytes: u8,
    store: bool,
    data: Hex,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<ObservedFaultText>,
    value: Hex,
}

impl ObservedText {
    pub(super) fn of(seen: &Observation) -> Self {
        let entry = |EntryAfter { at, before, after }: &EntryAfter| EntryAfterText {
            address: Hex(*at),
            before: Hex(*before),
            after: Hex(*after),
        };
        let outside = |OutsideAccess { address, len, is_write, data }: &OutsideAccess| {
            OutsideText { address: Hex(*address), bytes: *len, store: *is_write, data: Hex(*data) }
        };
        let earlier = |EarlierAccess { fault, value }: &EarlierAccess| SeenText {
            fault: fault.as_ref().map(ObservedFaultText::of),
            value: Hex(*value),
        };
        Self {
            provenance: seen.provenance.name().into(),
            fault: seen.fault.as_ref().map(ObservedFaultText::of),
            value: Hex(seen.value),
            stored: seen.stored.iter().map(|(at, byte)| (Hex(*at), *byte)).collect(),
            entries: seen.entries.iter().map(entry).collect(),
            outside: seen.outside.iter().map(outside).collect(),
            sees_outside: seen.sees_outside,
            earlier: seen.earlier.iter().map(earlier).collect(),
        }
    }

    pub(super) fn read(self) -> Result<Attempt, String> {
        let provenance = Provenance::ALL.into_iter().find(|who| who.name() == self.provenance);
        let provenance = provenance.ok_or_else(|| {
            let names: Vec<_> = Provenance::ALL.iter().map(|who| who.name()).collect();
            let (names, found) = (names.join(", "), &self.provenance);
            format!("observed.provenance: expected one of {names}, found {found:?}")
        })?;
        let earlier = self.earlier.into_iter().map(|SeenText { fault, value }| {
            let fault = fault.map(ObservedFaultText::read).transpose()?;
            Ok(EarlierAccess { fault, value: value.0 })
        });
        let outside = self.outside.iter().map(OutsideText::read);
        Ok(Attempt::Observed(Observation {
            earlier: earlier.collect::<Result<_, String>>()?,
            fault: self.fault.map(ObservedFaultText::read).transpose()?,
            value: self.value.0,
            stored: self.stored.into_iter().map(|(Hex(at), byte)| (at, byte)).collect(),
            entries: self
                .entries
                .into_iter()
                .map(|EntryAfterText { address, before, after }| EntryAfter {
                    at: address.0,
                    before: before.0,
                    after: after.0,
                })
                .collect(),
            outside: outside.collect::<Result<_, String>>()?,
            sees_outside: self.sees_outside,
            provenance,
        }))
    }
}

impl ObservedFaultText {
    fn of(fault: &ObservedFault) -> Self {
        Self {
            vector: fault.vector,
            error_code: Hex(fault.error_code.into()),
            cr2: Hex(fault.cr2),
            cr2_before: Hex(fault.cr2_before),
        }
    }

    fn read(self) -> Result<ObservedFault, String> {
        let error_code = u32::try_from(self.error_code.0)
            .map_err(|_| "observed: expected an error code of at most 32 bits".to_owned())?;
        let Self { vector, cr2: Hex(cr2), cr2_before: Hex(cr2_before), .. } = self;
        Ok(ObservedFault { vector, error_code, cr2, cr2_before })
    }
}

impl OutsideText {
    fn read(&self) -> Result<OutsideAccess, String> {
        let Self { address: Hex(address), bytes: len, store: is_write, data: Hex(data) } = *self;
        if !(1..=8).contains(&len) {
            return Err(format!("observed.outside: expected 1 to 8 bytes, found {len}"));
        }
        Ok(OutsideAccess { address, len, is_write, data })
    }
}

/// One allowed outcome. It is only written: a reader of ours predicts anew.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum EndText {
    Translated(Vec<SpanText>),
    Fault(RecordedFaultText),
}

#[derive(Serialize)]
struct SpanText {
    address: Hex,
    bytes: u16,
}

#[derive(Serialize)]
struct RecordedFaultText {
    vector: u8,
    error_code: Hex,
    /// `None`: CR2 keeps its value.
    cr2: Option<Hex>,
}

#[derive(Serialize)]
struct WayText {
    #[serde(flatten)]
    end: EndText,
    entries: Vec<UpdateText>,
    /// The rule that makes this one of several, and the member that it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<(&'static str, &'static str)>,
}

#[derive(Serialize)]
struct UpdateText {
    address: Hex,
    before: Hex,
    must_set: Hex,
    may_set: Hex,
}

#[derive(Serialize)]
struct AllowedText {
    access: Vec<WayText>,
    /// Of a sequence's accesses before the last, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Vec<WayText>>,
}

/// All that is allowed of a case by the reference: of its access, and of those before.
///
/// # Panics
/// Never: outcomes have nothing that JSON cannot hold.
pub(super) fn allowed(case: &Case) -> serde_json::Value {
    let ways = |prediction: &Prediction| prediction.alternatives.iter().map(way).collect();
    let allowed = AllowedText {
        access: ways(&Reference.predict(case)),
        earlier: Reference.predict_earlier(case).iter().map(ways).collect(),
    };
    serde_json::to_value(allowed).expect("outcomes are plain data")
}

fn way(way: &Alternative) -> WayText {
    let end = match &way.outcome {
        Outcome::Translated(spans) => EndText::Translated(
            spans
                .iter()
                .map(|span| SpanText { address: Hex(span.address.get()), bytes: span.len })
                .collect(),
        ),
        Outcome::Fault(fault) => EndText::Fault(RecordedFaultText {
            vector: fault.vector as u8,
            error_code: Hex(fault.error_code.into()),
            cr2: fault.cr2.map(VirtAddr::get).map(Hex),
        }),
    };
    let entries = way.updates.iter().map(|update| UpdateText {
        address: Hex(update.at.get()),
        before: Hex(update.before),
        must_set: Hex(update.must_set),
        may_set: Hex(update.open_bits()),
    });
    let choice = way.choice.map(|(rule, member)| (rule.id(), member));
    WayText { end, entries: entries.collect(), choice }
}
