//! What was observed of a case, as text.

use crosswalk_case::observation::{
    Attempt, EarlierAccess, EntryAfter, Observation, ObservedFault, OutsideAccess,
    PrivilegedRecord, Provenance, Register, SavedFrame, SavedRip,
};
use crosswalk_case::{Hex, Moved};
use mmu_core::name::by_name;
use serde::{Deserialize, Serialize};

/// An observation.
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
    /// The accesses of a sequence before its last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<EarlierAccessText>,
    /// How far an instruction with a source has moved RSI, RDI and RCX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved: Option<[i64; 3]>,
    /// The privileged instructions of a sequence. Versions that did not observe them wrote none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    privileged: Vec<PrivilegedText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObservedFaultText {
    vector: u8,
    error_code: Hex,
    cr2: Hex,
    cr2_before: Hex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rip: Option<SavedRipText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame: Option<SavedFrameText>,
}

/// What an exception saved beside RIP.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedFrameText {
    cs: u16,
    rflags: Hex,
    rsp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
}

impl SavedFrameText {
    fn of(frame: SavedFrame) -> Self {
        let SavedFrame { cs, rflags, rsp, changed } = frame;
        let changed = changed.map(|register| register.name().into());
        Self { cs, rflags: Hex(rflags.into()), rsp, changed }
    }

    fn read(self) -> Result<SavedFrame, String> {
        let rflags = u32::try_from(self.rflags.0)
            .map_err(|_| "observed: expected saved RFLAGS of at most 32 bits".to_owned())?;
        let by_name = |name: String| {
            by_name(&Register::ALL, Register::name, &name)
                .map_err(|error| format!("observed.fault.frame.changed: {error}, found {name:?}"))
        };
        let changed = self.changed.map(by_name).transpose()?;
        Ok(SavedFrame { cs: self.cs, rflags, rsp: self.rsp, changed })
    }
}

/// A saved RIP: by its distance from the instruction, or as an address.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedRipText {
    FromInstruction(i8),
    Address(Hex),
}

impl From<SavedRip> for SavedRipText {
    fn from(rip: SavedRip) -> Self {
        match rip {
            SavedRip::FromInstruction(bytes) => Self::FromInstruction(bytes),
            SavedRip::Address(address) => Self::Address(Hex(address)),
        }
    }
}

impl From<SavedRipText> for SavedRip {
    fn from(text: SavedRipText) -> Self {
        match text {
            SavedRipText::FromInstruction(bytes) => Self::FromInstruction(bytes),
            SavedRipText::Address(Hex(address)) => Self::Address(address),
        }
    }
}

/// A table entry before and after the access.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryAfterText {
    pub(super) address: Hex,
    pub(super) before: Hex,
    pub(super) after: Hex,
}

/// An access to an address without memory.
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
struct EarlierAccessText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<ObservedFaultText>,
    value: Hex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved: Option<[i64; 3]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrivilegedText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<ObservedFaultText>,
    /// What its control register held afterwards, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    register: Option<Hex>,
}

impl ObservedText {
    pub(super) fn of(observation: &Observation) -> Self {
        let Observation { earlier, privileged, fault, value, stored, entries, outside, .. } =
            observation;

        Self {
            provenance: observation.provenance.name().into(),
            fault: fault.as_ref().map(ObservedFaultText::of),
            value: Hex(*value),
            stored: stored.iter().map(|(at, byte)| (Hex(*at), *byte)).collect(),
            entries: entries.iter().map(EntryAfterText::of).collect(),
            outside: outside.iter().map(OutsideText::of).collect(),
            sees_outside: observation.sees_outside,
            earlier: earlier.iter().map(EarlierAccessText::of).collect(),
            moved: observation.moved.map(words),
            privileged: privileged.iter().map(PrivilegedText::of).collect(),
        }
    }

    pub(super) fn read(self) -> Result<Attempt, String> {
        let provenance =
            by_name(&Provenance::ALL, Provenance::name, &self.provenance).map_err(|error| {
                format!("observed.provenance: {error}, found {:?}", self.provenance)
            })?;

        let fault = self.fault.map(ObservedFaultText::read).transpose()?;
        let outside = self.outside.iter().map(OutsideText::read).collect::<Result<_, _>>()?;
        let earlier =
            self.earlier.into_iter().map(EarlierAccessText::read).collect::<Result<_, _>>()?;

        let privileged =
            self.privileged.into_iter().map(PrivilegedText::read).collect::<Result<_, _>>()?;

        Ok(Attempt::Observed(Observation {
            earlier,
            privileged,
            fault,
            value: self.value.0,
            moved: self.moved.map(moved),
            stored: self.stored.into_iter().map(|(Hex(at), byte)| (at, byte)).collect(),
            entries: self.entries.into_iter().map(EntryAfterText::read).collect(),
            outside,
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
            rip: fault.rip.map(SavedRipText::from),
            frame: fault.frame.map(SavedFrameText::of),
        }
    }

    fn read(self) -> Result<ObservedFault, String> {
        let error_code = u32::try_from(self.error_code.0)
            .map_err(|_| "observed: expected an error code of at most 32 bits".to_owned())?;

        Ok(ObservedFault {
            vector: self.vector,
            error_code,
            cr2: self.cr2.0,
            cr2_before: self.cr2_before.0,
            rip: self.rip.map(SavedRip::from),
            frame: self.frame.map(SavedFrameText::read).transpose()?,
        })
    }
}

impl EntryAfterText {
    fn of(entry: &EntryAfter) -> Self {
        let EntryAfter { at, before, after } = *entry;
        Self { address: Hex(at), before: Hex(before), after: Hex(after) }
    }

    fn read(self) -> EntryAfter {
        EntryAfter { at: self.address.0, before: self.before.0, after: self.after.0 }
    }
}

impl OutsideText {
    fn of(access: &OutsideAccess) -> Self {
        let OutsideAccess { address, len, is_write, data } = *access;
        Self { address: Hex(address), bytes: len, store: is_write, data: Hex(data) }
    }

    fn read(&self) -> Result<OutsideAccess, String> {
        let Self { address: Hex(address), bytes: len, store: is_write, data: Hex(data) } = *self;
        if !(1..=8).contains(&len) {
            return Err(format!("observed.outside: expected 1 to 8 bytes, found {len}"));
        }

        Ok(OutsideAccess { address, len, is_write, data })
    }
}

impl EarlierAccessText {
    fn of(access: &EarlierAccess) -> Self {
        let fault = access.fault.as_ref().map(ObservedFaultText::of);
        Self { fault, value: Hex(access.value), moved: access.moved.map(words) }
    }

    fn read(self) -> Result<EarlierAccess, String> {
        let fault = self.fault.map(ObservedFaultText::read).transpose()?;
        Ok(EarlierAccess { fault, value: self.value.0, moved: self.moved.map(moved) })
    }
}

const fn words(Moved { rsi, rdi, rcx }: Moved) -> [i64; 3] {
    [rsi, rdi, rcx]
}

const fn moved([rsi, rdi, rcx]: [i64; 3]) -> Moved {
    Moved { rsi, rdi, rcx }
}

impl PrivilegedText {
    fn of(record: &PrivilegedRecord) -> Self {
        let fault = record.fault.as_ref().map(ObservedFaultText::of);
        Self { fault, register: record.register.map(Hex) }
    }

    fn read(self) -> Result<PrivilegedRecord, String> {
        let fault = self.fault.map(ObservedFaultText::read).transpose()?;
        Ok(PrivilegedRecord { fault, register: self.register.map(|Hex(register)| register) })
    }
}
