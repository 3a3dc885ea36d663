//! The lines of a corpus: the first line of a section, a line for each case, and the last line.

use super::observed::ObservedText;
use super::{FORMAT, Recorded, Source};
use crosswalk_case::observation::Attempt;
use crosswalk_case::{Case, Decimal};
use crosswalk_machine::MachineLine;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How a corpus of nested cases begins, which has another first line.
pub(super) const NESTED: &[u8] = b"{\"nested_corpus\"";

/// The first line of a section.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceLine {
    /// The version of the format.
    corpus: u32,
    crosswalk: String,
    machine: MachineLine,
    microcode: Option<String>,
    seed: Decimal,
    tried: u64,
}

/// A case.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseLine {
    name: String,
    case: Box<RawValue>,
    rules: Vec<String>,
    #[serde(rename = "tells")]
    catches: Vec<String>,
    allowed: serde_json::Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    observed: Option<ObservedText>,
    /// Instead of an observation: why the machine could not run the case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unsupported: Option<String>,
}

/// The last line of a section.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine {
    /// Number of cases in the section.
    pub(super) end: u64,
    /// The SHA-256 of all lines of the section before this one, including their line feeds.
    pub(super) sha256: String,
}

impl From<&Source> for SourceLine {
    fn from(source: &Source) -> Self {
        Self {
            corpus: FORMAT,
            crosswalk: source.crosswalk.clone(),
            machine: source.machine.clone(),
            microcode: source.microcode.clone(),
            seed: Decimal(source.seed),
            tried: source.tried,
        }
    }
}

impl SourceLine {
    /// Reads the source. The version of the format is checked first: another version may have other
    /// fields.
    pub(super) fn read(text: &str) -> Result<Source, String> {
        #[derive(Deserialize)]
        struct FormatVersion {
            corpus: u32,
        }

        let FormatVersion { corpus } = parse::<FormatVersion>(text).map_err(|problem| {
            format!("expected the first line of a corpus, with its version: {problem}")
        })?;
        check_version(FORMAT, corpus)?;

        let line: Self = parse(text)?;
        let source = Source {
            crosswalk: line.crosswalk,
            machine: line.machine,
            microcode: line.microcode,
            seed: line.seed.0,
            tried: line.tried,
        };
        source.machine()?;

        Ok(source)
    }
}

impl CaseLine {
    #[cfg_attr(not(test), expect(clippy::expect_used, reason = "a case is strings and numbers"))]
    pub(super) fn of(recorded: &Recorded) -> Self {
        let case = serde_json::value::to_raw_value(&recorded.case);
        let (observed, unsupported) = match &recorded.attempt {
            Attempt::Observed(observation) => (Some(ObservedText::of(observation)), None),
            Attempt::Unsupported(why) => (None, Some(why.clone())),
        };

        Self {
            name: recorded.name.to_string(),
            case: case.expect("a case is plain data"),
            rules: recorded.rules.clone(),
            catches: recorded.catches.clone(),
            allowed: recorded.allowed.clone(),
            observed,
            unsupported,
        }
    }

    pub(super) fn read(text: &str) -> Result<Recorded, String> {
        let line: Self = parse(text)?;
        let case = Case::from_json(line.case.get()).map_err(|error| format!("case.{error}"))?;
        let attempt = match (line.observed, line.unsupported) {
            (Some(observed), None) => observed.read()?,
            (None, Some(why)) => Attempt::Unsupported(why),
            _ => return Err("expected either \"observed\" or \"unsupported\"".into()),
        };
        let name = line.name.parse().map_err(|problem| format!("name: {problem}"))?;

        Ok(Recorded {
            name,
            case,
            attempt,
            rules: line.rules,
            catches: line.catches,
            allowed: line.allowed,
        })
    }
}

impl EndLine {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        parse(text)
    }
}

/// Checks the version of a format.
pub(super) fn check_version(expected: u32, found: u32) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "expected version {expected} of the format, found {found}: another version of crosswalk wrote it"
    ))
}

/// Parses a line. An error names the field.
pub(super) fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let problem = error.inner();
        let path = error.path();
        if path.iter().next().is_none() {
            problem.to_string()
        } else {
            format!("{path}: {problem}")
        }
    })?;

    deserializer.end().map_err(|error| error.to_string())?;
    Ok(read)
}
