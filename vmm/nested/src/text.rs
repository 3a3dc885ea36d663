//! The text form of a case: JSON, with addresses and register values as hex strings. What is written reads back as the
//! same case.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use crate::NestedCase;
use crate::stubs;
use crosswalk_case::{FullProfile, Hex, TableEntry};
use mmu_core::name::by_name;
use mmu_core::nested::{Ept, EptCapabilities, SecondLevel};
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Cr4, Efer, PagingMode, Profile, Ring, VirtAddr,
};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;

/// More entries than any machine is given, and few enough that walks take no time.
const MAX_ENTRIES: usize = 1 << 12;

/// Why a text is not a case of nested paging.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct NestedCaseError {
    /// The field, such as `nested_entries[2].value`.
    pub place: String,
    /// What is wrong with it, and what is expected.
    pub problem: String,
}

impl NestedCaseError {
    fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        // The message quotes its input, whose control characters must not reach a terminal.
        let plain = |text: String| text.replace(char::is_control, "\u{fffd}");
        Self { place: plain(place.to_string()), problem: plain(problem.to_string()) }
    }
}

/// A case as it is written.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct CaseText {
    /// The control registers of the guest in the guest.
    guest: RegistersText,
    /// The second level, if it is nested paging of AMD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    npt: Option<RegistersText>,
    /// The second level, if it is EPT of Intel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ept: Option<EptText>,
    /// The entries of the guest's tables, by their host-physical addresses.
    guest_entries: Vec<EntryText>,
    /// The entries of the second level's tables, by their host-physical addresses.
    nested_entries: Vec<EntryText>,
    /// The linear address of the page with the instructions.
    code: Hex,
    /// The access.
    access: AccessText,
    /// The processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<FullProfile>,
}

/// Control registers, with the paging mode that they select.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct RegistersText {
    /// The paging mode: `unpaged`, `32bit`, `pae`, `4level` or `5level`.
    mode: String,
    /// CR0.
    cr0: Hex,
    /// CR3: of the guest, a guest-physical address; of the second level, nCR3.
    cr3: Hex,
    /// CR4.
    cr4: Hex,
    /// EFER.
    efer: Hex,
    /// PKRU.
    #[serde(default, skip_serializing_if = "is_zero")]
    pkru: Option<Hex>,
    /// The registers of PAE paging, which only EPT loads at the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pdptes: Option<[Hex; 4]>,
}

#[expect(clippy::ref_option, reason = "serde calls it")]
fn is_zero(pkru: &Option<Hex>) -> bool {
    pkru.is_none_or(|Hex(pkru)| pkru == 0)
}

/// EPT.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct EptText {
    /// The EPT pointer: the address of the root, the length of walks, and whether there are A and D.
    eptp: Hex,
    /// Whether bit 10 decides about fetches of user pages.
    #[serde(default)]
    mode_based_execute: bool,
    /// What the processor can do: `execute_only`, `five_levels`, `page_1gb`, `flags`,
    /// `advanced_exit_information`, `mode_based_execute`.
    capabilities: Vec<String>,
}

/// A table entry.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct EntryText {
    /// The entry's host-physical address.
    address: Hex,
    /// Its value.
    value: Hex,
}

/// The access.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct AccessText {
    /// `read`, `write`, `rmw` or `fetch`.
    kind: String,
    /// The linear address.
    address: Hex,
    /// Number of bytes.
    size: u16,
    /// 0 or 3.
    ring: u8,
    /// EFLAGS.AC.
    #[serde(default)]
    ac: bool,
}

impl NestedCase {
    /// Reads the text form.
    ///
    /// # Errors
    /// If the text is not JSON, or a field is missing or has an impossible value.
    pub fn from_json(text: &str) -> Result<Self, NestedCaseError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read: CaseText = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| NestedCaseError::new(error.path(), error.inner()))?;
        deserializer.end().map_err(|error| NestedCaseError::new("after the case", error))?;
        read.try_into()
    }

    /// The text form on one line.
    ///
    /// # Panics
    /// Never: a case is plain data.
    #[cfg_attr(not(test), expect(clippy::expect_used, reason = "a case is strings and numbers"))]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&CaseText::from(self)).expect("a case is plain data")
    }

    /// Whether a text looks like a case of nested paging rather than one of a single dimension.
    pub fn is_meant_by(text: &str) -> bool {
        serde_json::from_str::<serde_json::Value>(text)
            .is_ok_and(|value| value.get("nested_entries").is_some())
    }
}

impl Serialize for NestedCase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        CaseText::from(self).serialize(serializer)
    }
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for NestedCase {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NestedCase".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        CaseText::json_schema(generator)
    }
}

impl fmt::Display for NestedCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

impl From<&NestedCase> for CaseText {
    fn from(case: &NestedCase) -> Self {
        let entries = |entries: &[TableEntry]| {
            let text =
                |entry: &TableEntry| EntryText { address: Hex(entry.at), value: Hex(entry.value) };
            entries.iter().map(text).collect()
        };
        let (npt, ept) = match case.second {
            SecondLevel::Npt(host) => (Some(RegistersText::from(&host)), None),
            SecondLevel::Ept(ept) => (None, Some(EptText::from(&ept))),
        };

        Self {
            guest: RegistersText::from(&case.guest),
            npt,
            ept,
            guest_entries: entries(&case.guest_entries),
            nested_entries: entries(&case.nested_entries),
            code: Hex(case.code.get()),
            access: AccessText {
                kind: case.access.kind.name().into(),
                address: Hex(case.access.address.get()),
                size: case.access.size,
                ring: case.access.ring.cpl(),
                ac: case.access.ac,
            },
            profile: Some(FullProfile::from(&case.profile)),
        }
    }
}

impl From<&ControlState> for RegistersText {
    fn from(state: &ControlState) -> Self {
        let is_pae = state.mode() == PagingMode::Pae;
        let has_registers = is_pae && state.pdptes != [0; 4];
        Self {
            mode: state.mode().name().into(),
            cr0: Hex(state.cr0.bits()),
            cr3: Hex(state.cr3),
            cr4: Hex(state.cr4.bits()),
            efer: Hex(state.efer.bits()),
            pkru: Some(Hex(state.pkru.into())),
            pdptes: has_registers.then(|| state.pdptes.map(Hex)),
        }
    }
}

impl TryFrom<CaseText> for NestedCase {
    type Error = NestedCaseError;

    fn try_from(text: CaseText) -> Result<Self, NestedCaseError> {
        let guest = text.guest.read("guest")?;
        let second = match (text.npt, text.ept) {
            (Some(npt), None) => SecondLevel::Npt(npt.read("npt")?),
            (None, Some(ept)) => SecondLevel::Ept(ept.read()?),
            _ => return Err(NestedCaseError::new("npt", "expected either npt or ept")),
        };

        let profile = match text.profile {
            None => Profile::default(),
            Some(profile) => {
                profile.read().map_err(|error| NestedCaseError::new(error.place, error.problem))?
            }
        };
        let guest_width = entry_bytes(guest.mode());
        let nested_width = match second {
            SecondLevel::Npt(host) => entry_bytes(host.mode()),
            SecondLevel::Ept(_) => 8,
        };

        Ok(Self {
            profile,
            guest,
            second,
            guest_entries: read_entries("guest_entries", &text.guest_entries, guest_width)?,
            nested_entries: read_entries("nested_entries", &text.nested_entries, nested_width)?,
            code: VirtAddr::new(text.code.0),
            access: text.access.read(guest.mode())?,
        })
    }
}

impl RegistersText {
    fn read(&self, place: &str) -> Result<ControlState, NestedCaseError> {
        let pkru = self.pkru.map_or(0, |Hex(pkru)| pkru);
        let pkru = u32::try_from(pkru).map_err(|_| {
            let problem = format!("expected at most 32 bits, found {pkru:#x}");
            NestedCaseError::new(format!("{place}.pkru"), problem)
        })?;

        let state = ControlState {
            cr0: Cr0::from_bits_retain(self.cr0.0),
            cr3: self.cr3.0,
            cr4: Cr4::from_bits_retain(self.cr4.0),
            efer: Efer::from_bits_retain(self.efer.0),
            pkru,
            pkrs: 0,
            pdptes: self.pdptes.map_or([0; 4], |pdptes| pdptes.map(|Hex(entry)| entry)),
        };
        if state.mode().name() != self.mode {
            let selected = state.mode().name();
            let problem = format!(
                "expected {selected:?}, the mode that the registers select, found {:?}",
                self.mode
            );
            return Err(NestedCaseError::new(format!("{place}.mode"), problem));
        }
        Ok(state)
    }
}

impl From<&Ept> for EptText {
    fn from(ept: &Ept) -> Self {
        let names = ept.capabilities.iter_names();
        Self {
            eptp: Hex(ept.eptp),
            mode_based_execute: ept.mode_based_execute,
            capabilities: names.map(|(name, _)| name.to_lowercase()).collect(),
        }
    }
}

impl EptText {
    fn read(&self) -> Result<Ept, NestedCaseError> {
        let mut capabilities = EptCapabilities::empty();
        for (index, name) in self.capabilities.iter().enumerate() {
            capabilities |= EptCapabilities::from_name(&name.to_uppercase()).ok_or_else(|| {
                let place = format!("ept.capabilities[{index}]");
                NestedCaseError::new(place, format!("there is no {name:?}"))
            })?;
        }
        let mode_based_execute = self.mode_based_execute;
        Ok(Ept { eptp: self.eptp.0, mode_based_execute, capabilities })
    }
}

impl AccessText {
    fn read(&self, mode: PagingMode) -> Result<Access, NestedCaseError> {
        let kind = by_name(&AccessKind::ALL, AccessKind::name, &self.kind)
            .map_err(|error| NestedCaseError::new("access.kind", error))?;
        let ring = Ring::from_cpl(self.ring).ok_or_else(|| {
            NestedCaseError::new("access.ring", format!("expected 0 or 3, found {}", self.ring))
        })?;

        let is_possible = match kind {
            AccessKind::Fetch => self.size == stubs::FETCHED_FRAME,
            _ => stubs::exists(kind, self.size) && (self.size < 8 || mode.is_long_mode()),
        };
        if !is_possible {
            let problem =
                format!("no instruction of L2 makes a {} of {} bytes", kind.name(), self.size);
            return Err(NestedCaseError::new("access.size", problem));
        }
        let address = VirtAddr::new(self.address.0);
        Ok(Access { ac: self.ac, ..Access::new(kind, address, self.size, ring) })
    }
}

/// Bytes of an entry in a mode.
const fn entry_bytes(mode: PagingMode) -> u64 {
    match mode {
        PagingMode::Bits32 => 4,
        _ => 8,
    }
}

/// Entries; no address may occur twice.
fn read_entries(
    place: &str,
    texts: &[EntryText],
    width: u64,
) -> Result<Vec<TableEntry>, NestedCaseError> {
    if texts.len() > MAX_ENTRIES {
        let problem = format!("expected at most {MAX_ENTRIES} entries, found {}", texts.len());
        return Err(NestedCaseError::new(place, problem));
    }

    let mut addresses = BTreeSet::new();
    let mut entries = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let (Hex(at), Hex(value)) = (text.address, text.value);
        let problem = if !at.is_multiple_of(width) {
            Some(("address", format!("expected a multiple of {width}, found {at:#x}")))
        } else if width == 4 && value >> 32 != 0 {
            Some(("value", format!("expected at most 32 bits, found {value:#x}")))
        } else if !addresses.insert(at) {
            Some(("address", format!("expected each address once, found {at:#x} again")))
        } else {
            None
        };
        if let Some((field, problem)) = problem {
            return Err(NestedCaseError::new(format!("{place}[{index}].{field}"), problem));
        }
        entries.push(TableEntry { at, value });
    }
    Ok(entries)
}
