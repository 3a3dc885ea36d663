//! Findings as data. A journal keeps them, so that a run can be resumed and parts of a run be merged.
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

use super::example::{CountedExample, Example};
use super::findings::Findings;
use super::group::Group;
use super::known::Kind;
use super::signature::Signature;
use crate::verdict::Difference;
use crate::walker::quirk::Quirks;
use crosswalk_case::Case;
use mmu_core::Ring;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::str::FromStr;

/// A finding as data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Saved {
    /// A known finding.
    Known {
        /// The id.
        id: String,
        /// Number of cases.
        count: u64,
        /// The smallest case.
        example: Option<SavedExample>,
    },

    /// Cases on which the walker is wrong and the reference agrees with the machine.
    Caught {
        /// Number of cases.
        count: u64,
        /// The smallest case.
        example: Option<SavedExample>,
    },

    /// Divergences that look alike.
    Group {
        /// 0 or 3.
        ring: u8,
        /// The kind of the access, if it is one of a sequence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of_sequence: Option<String>,
        /// How the access should have ended.
        expected: String,
        /// The vector that was observed; 0 for none.
        observed: u8,
        /// The fields that differ.
        fields: Vec<String>,
        /// The ids of the mutants that predict all of them.
        explained_by: Vec<String>,
        /// Number of cases.
        count: u64,
        /// The smallest case.
        example: Option<SavedExample>,
    },

    /// Cases that were not run for a reason that is not known.
    Unrun {
        /// The reason.
        reason: String,
        /// Number of cases.
        count: u64,
        /// The smallest case.
        example: Option<SavedExample>,
    },
}

impl Saved {
    /// Number of cases.
    pub const fn count(&self) -> u64 {
        match self {
            Self::Known { count, .. }
            | Self::Caught { count, .. }
            | Self::Group { count, .. }
            | Self::Unrun { count, .. } => *count,
        }
    }
}

/// An [`Example`] as data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedExample {
    case: serde_json::Value,
    expected: String,
    observed: String,
    differences: Vec<SavedDifference>,
    quirks: Vec<String>,
    /// The action that differs, if it is not the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<usize>,
}

/// A [`Difference`] as data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedDifference {
    field: String,
    expected: String,
    observed: String,
}

impl From<&Example> for SavedExample {
    #[cfg_attr(not(test), expect(clippy::expect_used, reason = "a case is strings and numbers"))]
    fn from(example: &Example) -> Self {
        let difference = |Difference { field, expected, observed }: &Difference| SavedDifference {
            field: field.name().into(),
            expected: expected.clone(),
            observed: observed.clone(),
        };

        Self {
            case: serde_json::to_value(&example.case).expect("a case is plain data"),
            expected: example.expected.clone(),
            observed: example.observed.clone(),
            differences: example.differences.iter().map(difference).collect(),
            quirks: example.quirks.iter_names().map(|(name, _)| name.into()).collect(),
            at: (example.at != example.case.before.len()).then_some(example.at),
        }
    }
}

impl SavedExample {
    /// The example.
    ///
    /// # Errors
    /// If the case is malformed, or a name in it is unknown.
    pub fn read(self) -> Result<Example, String> {
        let case = Case::from_json(&self.case.to_string());
        let differences = self.differences.into_iter().map(|saved| {
            let SavedDifference { field, expected, observed } = saved;
            Ok(Difference { field: read_name("field", &field)?, expected, observed })
        });
        let quirk = |name: &String| {
            Quirks::from_name(name).ok_or_else(|| format!("there is no quirk {name:?}"))
        };

        let case = case.map_err(|error| format!("case.{error}"))?;
        let last = case.before.len();
        let at = self.at.unwrap_or(last);
        if at > last {
            return Err(format!("at: expected at most {last}, found {at}"));
        }

        Ok(Example {
            case,
            at,
            shown: None,
            expected: self.expected,
            observed: self.observed,
            differences: differences.collect::<Result<_, String>>()?,
            quirks: self.quirks.iter().map(quirk).collect::<Result<_, _>>()?,
        })
    }
}

impl Findings {
    /// Everything found so far.
    pub fn save(&self) -> Vec<Saved> {
        let saved = |found: &CountedExample| found.smallest().map(SavedExample::from);

        let known = self.sightings.known.iter().map(|(index, found)| Saved::Known {
            id: self.known().get(*index).map(|known| known.id.clone()).unwrap_or_default(),
            count: found.count,
            example: saved(found),
        });
        let wrong = &self.sightings.wrong_walker;
        let caught =
            (wrong.count > 0).then(|| Saved::Caught { count: wrong.count, example: saved(wrong) });
        let groups = self.groups.iter().flat_map(|(signature, groups)| {
            groups.iter().map(move |group| Saved::Group {
                ring: signature.ring.cpl(),
                of_sequence: signature.of_sequence.map(|kind| kind.name().into()),
                expected: signature.expected.name().into(),
                observed: signature.observed,
                fields: signature.fields.iter().map(|field| field.name().into()).collect(),
                explained_by: group.ids(),
                count: group.found.count,
                example: saved(&group.found),
            })
        });
        let unrun = self.sightings.unrun.by_reason().map(|(reason, found)| Saved::Unrun {
            reason: reason.to_owned(),
            count: found.count,
            example: saved(found),
        });
        known.chain(caught).chain(groups).chain(unrun).collect()
    }

    /// Adds what was found before, or by another part of the run.
    ///
    /// # Errors
    /// If something that it names is unknown.
    pub fn add_saved(&mut self, saved: Saved) -> Result<(), String> {
        match saved {
            Saved::Known { id, count, example } => self.add_known(&id, counted(count, example)?),
            Saved::Caught { count, example } => {
                self.sightings.wrong_walker.merge(counted(count, example)?);
                Ok(())
            }
            Saved::Unrun { reason, count, example } => {
                self.sightings.unrun.merge(&reason, counted(count, example)?);
                Ok(())
            }
            Saved::Group {
                ring,
                of_sequence,
                expected,
                observed,
                fields,
                explained_by,
                count,
                example,
            } => {
                let kind = |name: &String| read_name("kind of access", name);
                let fields = fields.iter().map(|name| read_name("field", name));
                let signature = Signature {
                    ring: if ring == 0 { Ring::Zero } else { Ring::Three },
                    of_sequence: of_sequence.as_ref().map(kind).transpose()?,
                    expected: read_name("end", &expected)?,
                    observed,
                    fields: fields.collect::<Result<_, _>>()?,
                };

                let alike = self.groups.entry(signature).or_default();
                Group::add_saved(alike, &explained_by, counted(count, example)?)
            }
        }
    }

    fn add_known(&mut self, id: &str, found: CountedExample) -> Result<(), String> {
        let recognizer = self.recognizer();
        let mut all = recognizer.known.iter().enumerate();
        let named = all.find(|(_, known)| known.id == id);
        let (index, finding) = named.ok_or_else(|| format!("this run knows no finding {id:?}"))?;
        let known = self.sightings.known.entry(index).or_default();

        // A probe counts once, however many parts a run has.
        let count = match finding.kind {
            Kind::Probe => known.count.max(found.count),
            _ => known.count.saturating_add(found.count),
        };
        known.merge(found);
        known.count = count;
        Ok(())
    }
}

fn counted(count: u64, example: Option<SavedExample>) -> Result<CountedExample, String> {
    let smallest = example.map(SavedExample::read).transpose()?;
    Ok(CountedExample::new(count, smallest))
}

/// Reads the name of a `kind` of thing.
fn read_name<T: FromStr<Err: Display>>(kind: &str, name: &str) -> Result<T, String> {
    name.parse().map_err(|error| format!("there is no {kind} {name:?}: {error}"))
}
