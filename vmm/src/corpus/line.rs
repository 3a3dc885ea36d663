//! The lines of a corpus: one that starts a section, cases, one that ends it.

use super::outcome::{ObservedText, allowed};
use super::{FORMAT, Recorded, Source};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::MachineLine;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The first line of a section.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceLine {
    /// The version of the form.
    corpus: u32,
    crosswalk: String,
    machine: MachineLine,
    microcode: Option<String>,
    seed: u64,
    tried: u64,
}

/// A case.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseLine {
    name: String,
    case: Box<RawValue>,
    rules: Vec<String>,
    tells: Vec<String>,
    allowed: serde_json::Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    observed: Option<ObservedText>,
    /// In place of an observation: why the machine could not run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unsupported: Option<String>,
}

/// The last line of a section.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine {
    /// How many cases it has.
    pub(super) end: u64,
    /// The SHA-256 of all its lines before, with their ends.
    pub(super) sha256: String,
}

impl From<&Source> for SourceLine {
    fn from(source: &Source) -> Self {
        Self {
            corpus: FORMAT,
            crosswalk: source.crosswalk.clone(),
            machine: source.machine.clone(),
            microcode: source.microcode.clone(),
            seed: source.seed,
            tried: source.tried,
        }
    }
}

impl SourceLine {
    /// The source, with the version of its form looked at before anything else.
    pub(super) fn read(text: &str) -> Result<Source, String> {
        #[derive(Deserialize)]
        struct FormatVersion {
            corpus: u32,
        }
        let FormatVersion { corpus } = parse::<FormatVersion>(text).map_err(|problem| {
            format!("expected the first line of a corpus, which has its version: {problem}")
        })?;
        if corpus != FORMAT {
            return Err(format!(
                "expected version {FORMAT} of the form, found {corpus}: another version of crosswalk \
                 wrote it"
            ));
        }
        let line: Self = parse(text)?;
        let source = Source {
            crosswalk: line.crosswalk,
            machine: line.machine,
            microcode: line.microcode,
            seed: line.seed,
            tried: line.tried,
        };
        source.machine()?;
        Ok(source)
    }
}

impl CaseLine {
    pub(super) fn of(recorded: &Recorded) -> Self {
        let case = serde_json::value::to_raw_value(&recorded.case);
        let (observed, unsupported) = match &recorded.run {
            Attempt::Observed(seen) => (Some(ObservedText::of(seen)), None),
            Attempt::Unsupported(why) => (None, Some(why.clone())),
        };
        Self {
            name: recorded.name.to_string(),
            case: case.expect("a case is plain data"),
            rules: recorded.rules.clone(),
            tells: recorded.tells.clone(),
            allowed: recorded.allowed.clone(),
            observed,
            unsupported,
        }
    }

    pub(super) fn read(text: &str) -> Result<Recorded, String> {
        let line: Self = parse(text)?;
        let case = Case::from_json(line.case.get()).map_err(|error| format!("case.{error}"))?;
        let run = match (line.observed, line.unsupported) {
            (Some(observed), None) => observed.read()?,
            (None, Some(why)) => Attempt::Unsupported(why),
            _ => return Err("expected either \"observed\" or \"unsupported\"".into()),
        };
        let name = line.name.parse().map_err(|problem| format!("name: {problem}"))?;
        let (rules, tells, allowed) = (line.rules, line.tells, line.allowed);
        Ok(Recorded { name, case, run, rules, tells, allowed })
    }
}

impl EndLine {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        parse(text)
    }
}

/// Reads a line, with the place of what is wrong.
fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let place = error.path().to_string();
        if place == "." { error.inner().to_string() } else { format!("{place}: {}", error.inner()) }
    })?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(read)
}

impl Recorded {
    /// Whether this version of the program allows what was allowed when it was recorded.
    pub fn is_allowed_the_same(&self) -> bool {
        self.allowed == allowed(&self.case)
    }
}
