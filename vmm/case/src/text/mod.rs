//! The text form of a case: JSON, with addresses and register values as hex strings. What is written
//! reads back as the same case.

mod profile;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use profile::FullProfile;

use crate::hex::Hex;
use crate::letter::is_obeyed;
use crate::{Case, TableEntry};
use mmu_core::Segment;
use mmu_core::name::by_name;
use profile::ProfileText;
use serde::{Deserialize, Serialize};
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
        // The message quotes its input, whose control characters must not reach a terminal.
        let plain = |text: String| text.replace(is_obeyed, "\u{fffd}");
        Self { place: plain(place.to_string()), problem: plain(problem.to_string()) }
    }
}

/// A case as it is written.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct CaseText {
    /// The paging mode: `unpaged`, `32bit`, `pae`, `4level` or `5level`.
    mode: String,
    /// The control state.
    state: StateText,
    /// Table entries. All others are 0.
    entries: Vec<EntryText>,
    /// Only in a sequence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<ActionText>,
    /// The access, the last one of a sequence.
    access: AccessText,
    /// The processor: the name of a generation, or everything about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<ProfileText>,
}

/// The control state.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct StateText {
    /// CR0.
    cr0: Hex,
    /// CR3.
    cr3: Hex,
    /// CR4.
    cr4: Hex,
    /// EFER.
    efer: Hex,
    /// PKRU.
    #[serde(default = "zero")]
    pkru: Hex,
    /// The MSR `IA32_PKRS`.
    #[serde(default = "zero")]
    pkrs: Hex,
    /// Only in PAE paging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pdptes: Option<[Hex; 4]>,
    /// EFLAGS.AC of every access that has none of its own.
    #[serde(default)]
    ac: bool,
}

/// A table entry as it is written.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryText {
    /// The entry's physical address.
    pub(crate) address: Hex,
    /// Its value.
    pub(crate) value: Hex,
}

impl From<&TableEntry> for EntryText {
    fn from(entry: &TableEntry) -> Self {
        Self { address: Hex(entry.at), value: Hex(entry.value) }
    }
}

/// The operands of INVPCID.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct InvpcidText {
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) kind: Hex,
    /// The low and the high 64 bits of the descriptor.
    pub(crate) descriptor: [Hex; 2],
}

/// An action: its name, and its operand if it has one.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum ActionText {
    /// An access.
    Access(AccessText),
    /// A store to a table entry.
    Write(EntryText),
    /// INVLPG of an address.
    Invlpg(Hex),
    /// INVPCID.
    Invpcid(InvpcidText),
    /// MOV to CR0.
    MovCr0(Hex),
    /// MOV to CR3.
    MovCr3(Hex),
    /// MOV to CR4.
    MovCr4(Hex),
    /// WRMSR of EFER.
    WrmsrEfer(Hex),
    /// MOV to CR3 of the value that it has.
    ReloadCr3,
    /// WRPKRU.
    Pkru(Hex),
    /// CR0.WP is set or cleared.
    WriteProtect(bool),
}

/// An access.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct AccessText {
    /// `read`, `write`, `rmw` or `fetch`.
    kind: String,
    /// The linear address.
    address: Hex,
    /// The number of bytes.
    size: u16,
    /// The ring: 0 or 3.
    ring: u8,
    /// `data`, `stack`, `fs` or `gs`.
    #[serde(default = "data_segment")]
    segment: String,
    /// Whether it is an implicit supervisor access.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    implicit: bool,
    /// Whether it is a shadow-stack access.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shadow_stack: bool,
    /// Only in a sequence, where EFLAGS.AC is not that of the last access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ac: Option<bool>,
    /// Only in long mode.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    compatibility: bool,
    /// The name of the instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    instruction: Option<String>,
    /// What is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Hex>,
    /// Only of an instruction that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Hex>,
}

fn zero() -> Hex {
    Hex(0)
}

fn data_segment() -> String {
    segment_name(Segment::Data).into()
}

const SEGMENTS: [Segment; 4] = [Segment::Data, Segment::Stack, Segment::Fs, Segment::Gs];

const fn segment_name(segment: Segment) -> &'static str {
    match segment {
        Segment::Data => "data",
        Segment::Stack => "stack",
        Segment::Fs => "fs",
        Segment::Gs => "gs",
    }
}

/// The value with this name; the error lists the names that are known.
fn named<T: Copy>(
    place: &str,
    known: &'static [T],
    name: fn(T) -> &'static str,
    found: &str,
) -> Result<T, CaseError> {
    by_name(known, name, found)
        .map_err(|unknown| CaseError::new(place, format!("{unknown}, found {found:?}")))
}

impl Case {
    /// Reads a case from its text form.
    ///
    /// # Errors
    /// When the text is not JSON or not a case; the error names the field and the expectation.
    pub fn from_json(text: &str) -> Result<Self, CaseError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let case: CaseText =
            serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
                let path = error.path().to_string();
                // It is `?` inside a value that ends too early.
                let path = path.trim_end_matches(".?").trim_matches(['.', '?']);
                let place = if path.is_empty() { "the case" } else { path }.to_owned();
                CaseError::new(place, error.inner())
            })?;
        deserializer.end().map_err(|error| CaseError::new("after the case", error))?;

        case.try_into()
    }

    /// The text form, on one line.
    ///
    /// # Panics
    /// Never: JSON can represent every case.
    #[cfg_attr(not(test), expect(clippy::expect_used, reason = "strings and numbers are JSON"))]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&CaseText::from(self)).expect("a case is plain data")
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}
