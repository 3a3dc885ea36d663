//! The text form of a case: JSON, with addresses and register values as hex strings. What is
//! written reads back as the same case.

use crate::hex::Hex;
use crate::{AccessStep, Action, Case, TableEntry};
use crosswalk_guest::stub::Form;
use mmu_core::x86::profile::GENERATIONS;
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Cr4, Efer, Features, PagingMode, Pins, Profile, Ring,
    Segment, Vendor, VirtAddr,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Why a text is not a case.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct CaseError {
    /// The field, such as `entries[2].value`.
    pub place: String,
    /// What is wrong with it, and what is expected.
    pub problem: String,
}

impl CaseError {
    fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        // What somebody wrote is shown, but a terminal must not obey it.
        let plain = |text: String| text.replace(char::is_control, "\u{fffd}");
        Self { place: plain(place.to_string()), problem: plain(problem.to_string()) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseText {
    mode: String,
    state: StateText,
    entries: Vec<EntryText>,
    /// Only of a sequence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<ActionText>,
    access: AccessText,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<ProfileText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateText {
    cr0: Hex,
    cr3: Hex,
    cr4: Hex,
    efer: Hex,
    #[serde(default = "zero")]
    pkru: Hex,
    #[serde(default = "zero")]
    pkrs: Hex,
    /// PAE only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pdptes: Option<[Hex; 4]>,
    #[serde(default)]
    ac: bool,
}

/// A table entry as text.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryText {
    /// The entry's physical address.
    pub address: Hex,
    /// Its value.
    pub value: Hex,
}

impl From<&TableEntry> for EntryText {
    fn from(entry: &TableEntry) -> Self {
        Self { address: Hex(entry.at), value: Hex(entry.value) }
    }
}

/// An action, under its name.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActionText {
    Access(AccessText),
    Write(EntryText),
    Invlpg(Hex),
    ReloadCr3,
    Pkru(Hex),
    WriteProtect(bool),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessText {
    kind: String,
    address: Hex,
    size: u16,
    ring: u8,
    #[serde(default = "data_segment")]
    segment: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    implicit: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shadow_stack: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    instruction: Option<String>,
    #[serde(default = "zero")]
    value: Hex,
}

/// A processor: the name of a generation, or everything about it.
#[derive(Serialize)]
#[serde(untagged)]
enum ProfileText {
    Named(String),
    Full(FullProfile),
}

/// By hand, since a derived one would not say what is wrong with which field.
impl<'de> Deserialize<'de> for ProfileText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ProfileText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a processor generation, or an object")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<ProfileText, E> {
                Ok(ProfileText::Named(name.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ProfileText, A::Error> {
                let fields = MapAccessDeserializer::new(map);
                FullProfile::deserialize(fields).map(ProfileText::Full)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Everything about a processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullProfile {
    vendor: String,
    /// MAXPHYADDR, in bits.
    pub max_physical_address: u8,
    features: Vec<String>,
    #[serde(default, skip_serializing_if = "PinsText::is_empty")]
    pins: PinsText,
}

/// Choices that the processor is known to make.
#[derive(Clone, Debug, Serialize, Deserialize, Default, PartialEq)]
#[serde(deny_unknown_fields)]
struct PinsText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    global_in_pml4e_is_reserved: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pdptes_are_walked: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absent_pdptes_are_checked: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    smep_alone_reports_fetch: Option<bool>,
}

impl PinsText {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn zero() -> Hex {
    Hex(0)
}

fn data_segment() -> String {
    "data".into()
}

const VENDORS: [(&str, Vendor); 3] =
    [("intel", Vendor::Intel), ("amd", Vendor::Amd), ("unknown", Vendor::Unknown)];
const SEGMENTS: [(&str, Segment); 2] = [("data", Segment::Data), ("stack", Segment::Stack)];
const RINGS: [(&str, Ring); 2] = [("0", Ring::Zero), ("3", Ring::Three)];
const INSTRUCTIONS: [(&str, Form, AccessKind); 8] = [
    ("mov from memory", Form::Load, AccessKind::Read),
    ("mov to memory", Form::Store, AccessKind::Write),
    ("xadd", Form::Exchange, AccessKind::ReadModifyWrite),
    ("lock xadd", Form::LockedExchange, AccessKind::ReadModifyWrite),
    ("lock cmpxchg", Form::FailingCompare, AccessKind::ReadModifyWrite),
    ("clflush", Form::Clflush, AccessKind::Clflush),
    ("jmp", Form::Jump, AccessKind::Fetch),
    ("lsl", Form::SegmentLimit, AccessKind::Read),
];

/// The value with this name, or an error that lists the names.
fn named<T: Copy>(place: &str, name: &str, known: &[(&str, T)]) -> Result<T, CaseError> {
    known.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| format!("{name:?}")).collect();
        CaseError::new(place, format!("expected one of {}, found {name:?}", names.join(", ")))
    })
}

fn name_of<T: Copy + PartialEq>(value: T, known: &[(&'static str, T)]) -> &'static str {
    known.iter().find(|(_, known)| *known == value).map_or("unknown", |(name, _)| name)
}

impl Case {
    /// Reads a case from its text form.
    ///
    /// # Errors
    /// When the text is not JSON or not a case; the error names the field and the expectation.
    pub fn from_json(text: &str) -> Result<Self, CaseError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read: CaseText =
            serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
                let path = error.path().to_string();
                let place = if path == "." { "the case".to_owned() } else { path };
                CaseError::new(place, error.inner())
            })?;
        deserializer.end().map_err(|error| CaseError::new("after the case", error))?;
        read.try_into()
    }

    /// The text form, on one line.
    ///
    /// # Panics
    /// Never: a case has nothing that JSON cannot hold.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&CaseText::from(self)).expect("a case is plain data")
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        CaseText::from(self).serialize(serializer)
    }
}

impl From<&Case> for CaseText {
    fn from(case: &Case) -> Self {
        let state = &case.state;
        Self {
            mode: case.mode().name().into(),
            state: StateText {
                cr0: Hex(state.cr0.bits()),
                cr3: Hex(state.cr3),
                cr4: Hex(state.cr4.bits()),
                efer: Hex(state.efer.bits()),
                pkru: Hex(state.pkru.into()),
                pkrs: Hex(state.pkrs.into()),
                pdptes: (case.mode() == PagingMode::Pae).then(|| state.pdptes.map(Hex)),
                ac: state.ac,
            },
            entries: case.entries.iter().map(EntryText::from).collect(),
            before: case.before.iter().map(ActionText::from).collect(),
            access: AccessText::from(&case.made()),
            profile: Some(ProfileText::Full(FullProfile::from(&case.profile))),
        }
    }
}

impl From<&Profile> for FullProfile {
    fn from(profile: &Profile) -> Self {
        let features = profile.features.iter_names();
        Self {
            vendor: name_of(profile.vendor, &VENDORS).into(),
            max_physical_address: profile.physical_address_bits,
            features: features.map(|(name, _)| name.to_lowercase()).collect(),
            pins: PinsText {
                global_in_pml4e_is_reserved: profile.pins.global_in_pml4e_is_reserved,
                pdptes_are_walked: profile.pins.pdptes_are_walked,
                absent_pdptes_are_checked: profile.pins.absent_pdptes_are_checked,
                smep_alone_reports_fetch: profile.pins.smep_alone_reports_fetch,
            },
        }
    }
}

impl From<&Action> for ActionText {
    fn from(action: &Action) -> Self {
        match action {
            Action::Access(made) => Self::Access(AccessText::from(made)),
            Action::Write(entry) => Self::Write(entry.into()),
            Action::Invlpg(address) => Self::Invlpg(Hex(address.get())),
            Action::ReloadCr3 => Self::ReloadCr3,
            Action::Pkru(pkru) => Self::Pkru(Hex((*pkru).into())),
            Action::WriteProtect(on) => Self::WriteProtect(*on),
        }
    }
}

impl From<&AccessStep> for AccessText {
    fn from(AccessStep { access, form, value }: &AccessStep) -> Self {
        let instructions = INSTRUCTIONS.map(|(name, form, _)| (name, form));
        Self {
            kind: access.kind.name().into(),
            address: Hex(access.address.get()),
            size: access.size,
            ring: if access.ring == Ring::Zero { 0 } else { 3 },
            segment: name_of(access.segment, &SEGMENTS).into(),
            implicit: access.implicit,
            shadow_stack: access.shadow_stack,
            instruction: Some(name_of(*form, &instructions).into()),
            value: Hex(*value),
        }
    }
}

impl TryFrom<CaseText> for Case {
    type Error = CaseError;

    fn try_from(text: CaseText) -> Result<Self, CaseError> {
        let state = text.state.read()?;
        let mode = PagingMode::ALL.map(|mode| (mode.name(), mode));
        let mode = named("mode", &text.mode, &mode)?;
        if state.mode() != mode {
            let problem = format!(
                "expected {:?}, the mode that state selects, found {:?}",
                state.mode().name(),
                text.mode
            );
            return Err(CaseError::new("mode", problem));
        }
        let mut entries: Vec<TableEntry> = Vec::new();
        for (i, entry) in text.entries.iter().enumerate() {
            let place = format!("entries[{i}].address");
            let entry = entry.read(&place, mode)?;
            if entries.iter().any(|known| known.at == entry.at) {
                let problem = format!("expected each address once, found {:#x} again", entry.at);
                return Err(CaseError::new(place, problem));
            }
            entries.push(entry);
        }
        let actions = text.before.iter().enumerate();
        let before = actions.map(|(i, action)| action.read(&format!("before[{i}]"), mode));
        let before = before.collect::<Result<Vec<_>, _>>()?;
        let AccessStep { access, form, value } = text.access.read("access")?;
        let profile = text.profile.map_or_else(|| Ok(Profile::default()), ProfileText::read)?;
        Ok(Self { profile, state, entries, before, access, form, value })
    }
}

/// PKRU, or PKRS.
fn key_rights(place: &str, value: Hex) -> Result<u32, CaseError> {
    u32::try_from(value.0).map_err(|_| {
        CaseError::new(place, format!("expected at most 32 bits, found {:#x}", value.0))
    })
}

impl ActionText {
    fn read(&self, place: &str, mode: PagingMode) -> Result<Action, CaseError> {
        Ok(match self {
            Self::Access(access) => Action::Access(access.read(&format!("{place}.access"))?),
            Self::Write(entry) => {
                Action::Write(entry.read(&format!("{place}.write.address"), mode)?)
            }
            Self::Invlpg(address) => Action::Invlpg(VirtAddr::new(address.0)),
            Self::ReloadCr3 => Action::ReloadCr3,
            Self::Pkru(pkru) => Action::Pkru(key_rights(&format!("{place}.pkru"), *pkru)?),
            Self::WriteProtect(on) => Action::WriteProtect(*on),
        })
    }
}

impl EntryText {
    fn read(&self, place: &str, mode: PagingMode) -> Result<TableEntry, CaseError> {
        let Self { address: Hex(at), value: Hex(value) } = *self;
        let bytes = if mode == PagingMode::Bits32 { 4 } else { 8 };
        if at % bytes != 0 {
            let problem = format!("expected a multiple of {bytes}, found {at:#x}");
            return Err(CaseError::new(place, problem));
        }
        Ok(TableEntry { at, value })
    }
}

impl StateText {
    fn read(&self) -> Result<ControlState, CaseError> {
        Ok(ControlState {
            cr0: Cr0::from_bits_retain(self.cr0.0),
            cr3: self.cr3.0,
            cr4: Cr4::from_bits_retain(self.cr4.0),
            efer: Efer::from_bits_retain(self.efer.0),
            pkru: key_rights("state.pkru", self.pkru)?,
            pkrs: key_rights("state.pkrs", self.pkrs)?,
            pdptes: self.pdptes.map_or([0; 4], |pdptes| pdptes.map(|Hex(entry)| entry)),
            ac: self.ac,
        })
    }
}

impl AccessText {
    fn read(&self, place: &str) -> Result<AccessStep, CaseError> {
        let at = |field: &str| format!("{place}.{field}");
        let kinds = AccessKind::ALL.map(|kind| (kind.name(), kind));
        let kind = named(&at("kind"), &self.kind, &kinds)?;
        let limit = if kind == AccessKind::Fetch { 15 } else { 8 };
        if self.size == 0 || self.size > limit {
            let problem =
                format!("expected 1 to {limit} bytes for a {}, found {}", self.kind, self.size);
            return Err(CaseError::new(at("size"), problem));
        }
        let form = match &self.instruction {
            None => Case::default_form(kind),
            Some(name) => {
                let fitting: Vec<_> = INSTRUCTIONS
                    .iter()
                    .filter(|(_, _, makes)| *makes == kind)
                    .map(|(name, form, _)| (*name, *form))
                    .collect();
                named(&at("instruction"), name, &fitting)?
            }
        };
        let access = Access {
            kind,
            address: VirtAddr::new(self.address.0),
            size: self.size,
            ring: named(&at("ring"), &self.ring.to_string(), &RINGS)?,
            segment: named(&at("segment"), &self.segment, &SEGMENTS)?,
            implicit: self.implicit,
            shadow_stack: self.shadow_stack,
        };
        Ok(AccessStep { access, form, value: self.value.0 })
    }
}

impl ProfileText {
    fn read(self) -> Result<Profile, CaseError> {
        match self {
            Self::Full(profile) => profile.read(),
            Self::Named(name) => {
                let known = GENERATIONS.iter().map(|known| (known.name, known.profile));
                named("profile", &name, &known.collect::<Vec<_>>())
            }
        }
    }
}

impl FullProfile {
    /// Reads the processor profile.
    ///
    /// # Errors
    /// When a name is unknown or MAXPHYADDR is out of range.
    pub fn read(self) -> Result<Profile, CaseError> {
        let bits = self.max_physical_address;
        if !(32..=52).contains(&bits) {
            let problem = format!("expected 32 to 52 bits, found {bits}");
            return Err(CaseError::new("profile.max_physical_address", problem));
        }
        let all: Vec<_> =
            Features::all().iter_names().map(|(name, flag)| (name.to_lowercase(), flag)).collect();
        let known: Vec<_> = all.iter().map(|(name, flag)| (name.as_str(), *flag)).collect();
        let mut features = Features::empty();
        for (i, name) in self.features.iter().enumerate() {
            features |= named(&format!("profile.features[{i}]"), name, &known)?;
        }
        let vendor = named("profile.vendor", &self.vendor, &VENDORS)?;
        let pins = Pins {
            global_in_pml4e_is_reserved: self.pins.global_in_pml4e_is_reserved,
            pdptes_are_walked: self.pins.pdptes_are_walked,
            absent_pdptes_are_checked: self.pins.absent_pdptes_are_checked,
            smep_alone_reports_fetch: self.pins.smep_alone_reports_fetch,
        };
        Ok(Profile { vendor, physical_address_bits: bits, features, pins })
    }
}
