//! The lines of a corpus of nested cases: the first line of a section, and a line for each case. The last line is that
//! of other corpora.

use super::observed::ObservedText;
use super::{FORMAT, RecordedNested, Source};
use crate::corpus::line::{check_version, parse};
use crosswalk_case::Decimal;
use crosswalk_machine::MachineLine;
use crosswalk_nested::NestedCase;
use crosswalk_nested::observation::NestedAttempt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The first line of a section.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceLine {
    /// The version of the format.
    nested_corpus: u32,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    observed: Option<ObservedText>,
    /// Instead of an observation: why the machine could not run the case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unsupported: Option<String>,
}

impl From<&Source> for SourceLine {
    fn from(source: &Source) -> Self {
        Self {
            nested_corpus: FORMAT,
            crosswalk: source.crosswalk.clone(),
            machine: source.machine.clone(),
            microcode: source.microcode.clone(),
            seed: Decimal(source.seed),
            tried: source.tried,
        }
    }
}

impl SourceLine {
    /// Reads the source. The version of the format is checked first: another version may have other fields.
    pub(super) fn read(text: &str) -> Result<Source, String> {
        #[derive(Deserialize)]
        struct FormatVersion {
            nested_corpus: u32,
        }

        let FormatVersion { nested_corpus } = parse::<FormatVersion>(text).map_err(|problem| {
            let expected = "expected the first line of a corpus of nested cases, with its version";
            format!("{expected}: {problem}")
        })?;
        check_version(FORMAT, nested_corpus)?;

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
    pub(super) fn of(recorded: &RecordedNested) -> Self {
        let case = serde_json::value::to_raw_value(&recorded.case);
        let (observed, unsupported) = match &recorded.attempt {
            NestedAttempt::Observed(seen) => (Some(ObservedText::of(seen)), None),
            NestedAttempt::Unsupported(why) => (None, Some(why.clone())),
        };
        Self {
            name: recorded.name.to_string(),
            case: case.expect("a case is plain data"),
            rules: recorded.rules.clone(),
            catches: recorded.catches.clone(),
            observed,
            unsupported,
        }
    }

    pub(super) fn read(text: &str) -> Result<RecordedNested, String> {
        let line: Self = parse(text)?;
        let case =
            NestedCase::from_json(line.case.get()).map_err(|error| format!("case.{error}"))?;
        let attempt = match (line.observed, line.unsupported) {
            (Some(observed), None) => NestedAttempt::Observed(observed.read()?),
            (None, Some(why)) => NestedAttempt::Unsupported(why),
            _ => return Err("expected either \"observed\" or \"unsupported\"".into()),
        };
        let name = line.name.parse().map_err(|problem| format!("name: {problem}"))?;
        let CaseLine { rules, catches, .. } = line;
        Ok(RecordedNested { name, case, attempt, rules, catches })
    }
}
