//! What was observed of a nested case, as text.

use crate::corpus::observed::EntryAfterText;
use crosswalk_case::Hex;
use crosswalk_case::observation::Provenance;
use crosswalk_nested::observation::{EntryAfter, Loss, NestedObservation, SeenEnd};
use mmu_core::name::by_name;
use serde::{Deserialize, Serialize};

/// An observation.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObservedText {
    provenance: String,
    end: EndText,
    rip: Hex,
    /// The entries and other words of tables that changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changed: Vec<EntryAfterText>,
    /// Bytes of data memory that changed: address and new value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stored: Vec<(Hex, u8)>,
}

/// How L2 ended.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum EndText {
    Completed { rax: Hex, rcx: Hex },
    Fault { vector: u8, error_code: Hex, cr2: Hex },
    NestedPageFault { exitinfo1: Hex, exitinfo2: Hex },
    EptViolation { qualification: Hex, guest_physical: Hex, linear: Hex },
    EptMisconfiguration { guest_physical: Hex, qualification: Hex },
    NotEntered { code: Hex },
    OtherExit { code: Hex },
    Lost { how: LossText },
}

/// How the hypervisor ended.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LossText {
    Hang,
    Reset,
    Astray,
}

impl ObservedText {
    pub(super) fn of(seen: &NestedObservation) -> Self {
        let changed = seen.changed.iter().map(|EntryAfter { at, before, after }| EntryAfterText {
            address: Hex(*at),
            before: Hex(*before),
            after: Hex(*after),
        });
        Self {
            provenance: seen.provenance.name().into(),
            end: EndText::of(seen.end),
            rip: Hex(seen.rip),
            changed: changed.collect(),
            stored: seen.stored.iter().map(|(at, byte)| (Hex(*at), *byte)).collect(),
        }
    }

    pub(super) fn read(self) -> Result<NestedObservation, String> {
        let provenance = by_name(&Provenance::ALL, Provenance::name, &self.provenance);
        let changed = self.changed.iter().map(|entry| EntryAfter {
            at: entry.address.0,
            before: entry.before.0,
            after: entry.after.0,
        });
        Ok(NestedObservation {
            end: self.end.read()?,
            rip: self.rip.0,
            changed: changed.collect(),
            stored: self.stored.into_iter().map(|(Hex(at), byte)| (at, byte)).collect(),
            provenance: provenance.map_err(|error| {
                format!("observed.provenance: {error}, found {:?}", self.provenance)
            })?,
        })
    }
}

impl EndText {
    const fn of(end: SeenEnd) -> Self {
        match end {
            SeenEnd::Completed { rax, rcx } => Self::Completed { rax: Hex(rax), rcx: Hex(rcx) },
            SeenEnd::Fault { vector, error_code, cr2 } => {
                Self::Fault { vector, error_code: Hex(error_code as u64), cr2: Hex(cr2) }
            }
            SeenEnd::Npf { info1, info2 } => {
                Self::NestedPageFault { exitinfo1: Hex(info1), exitinfo2: Hex(info2) }
            }
            SeenEnd::EptViolation { qualification, guest_physical, linear } => Self::EptViolation {
                qualification: Hex(qualification),
                guest_physical: Hex(guest_physical),
                linear: Hex(linear),
            },
            SeenEnd::EptMisconfiguration { guest_physical, qualification } => {
                Self::EptMisconfiguration {
                    guest_physical: Hex(guest_physical),
                    qualification: Hex(qualification),
                }
            }
            SeenEnd::NotEntered { code } => Self::NotEntered { code: Hex(code) },
            SeenEnd::Other { code } => Self::OtherExit { code: Hex(code) },
            SeenEnd::Lost(how) => Self::Lost {
                how: match how {
                    Loss::Hang => LossText::Hang,
                    Loss::Reset => LossText::Reset,
                    Loss::Astray => LossText::Astray,
                },
            },
        }
    }

    fn read(self) -> Result<SeenEnd, String> {
        Ok(match self {
            Self::Completed { rax: Hex(rax), rcx: Hex(rcx) } => SeenEnd::Completed { rax, rcx },
            Self::Fault { vector, error_code: Hex(error_code), cr2: Hex(cr2) } => {
                let error_code = u32::try_from(error_code).map_err(|_| {
                    "observed.end: expected an error code of at most 32 bits".to_owned()
                })?;
                SeenEnd::Fault { vector, error_code, cr2 }
            }
            Self::NestedPageFault { exitinfo1: Hex(info1), exitinfo2: Hex(info2) } => {
                SeenEnd::Npf { info1, info2 }
            }
            Self::EptViolation {
                qualification: Hex(qualification),
                guest_physical: Hex(guest_physical),
                linear: Hex(linear),
            } => SeenEnd::EptViolation { qualification, guest_physical, linear },
            Self::EptMisconfiguration {
                guest_physical: Hex(guest_physical),
                qualification: Hex(qualification),
            } => SeenEnd::EptMisconfiguration { guest_physical, qualification },
            Self::NotEntered { code: Hex(code) } => SeenEnd::NotEntered { code },
            Self::OtherExit { code: Hex(code) } => SeenEnd::Other { code },
            Self::Lost { how } => SeenEnd::Lost(match how {
                LossText::Hang => Loss::Hang,
                LossText::Reset => Loss::Reset,
                LossText::Astray => Loss::Astray,
            }),
        })
    }
}
