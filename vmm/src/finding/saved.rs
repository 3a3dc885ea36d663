//! Findings as data: what a journal keeps of them, so that a run can go on, and parts of it add up.

use super::{Example, Finding, Findings, Group, Signature, smaller};
use crate::verdict::{Difference, End, Field};
use crate::walker::quirk::Quirks;
use crosswalk_case::Case;
use mmu_core::Ring;
use serde::{Deserialize, Serialize};

/// One thing that was met.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Saved {
    /// A known finding, by its id.
    Known {
        /// The id.
        id: String,
        /// How often.
        count: u64,
        /// The smallest case.
        example: Option<SavedExample>,
    },
    /// Cases on which the walker is wrong and the reference right.
    Caught {
        /// How many.
        count: u64,
        /// The smallest.
        example: Option<SavedExample>,
    },
    /// Divergences that look alike.
    Group {
        /// 0 or 3.
        ring: u8,
        /// How the access was to end.
        expected: String,
        /// The vector that was observed, 0 for none.
        observed: u8,
        /// What differs.
        fields: Vec<String>,
        /// The mutants that predict every one of them.
        explained_by: Vec<String>,
        /// How many.
        count: u64,
        /// The smallest.
        example: Option<SavedExample>,
    },
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
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedDifference {
    field: String,
    expected: String,
    observed: String,
}

impl From<&Example> for SavedExample {
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
        }
    }
}

impl SavedExample {
    /// The example.
    ///
    /// # Errors
    /// When something in it does not exist.
    pub fn read(self) -> Result<Example, String> {
        let case = Case::from_json(&self.case.to_string());
        let differences = self.differences.into_iter().map(|saved| {
            let SavedDifference { field, expected, observed } = saved;
            Ok(Difference { field: field_named(&field)?, expected, observed })
        });
        let quirk = |name: &String| {
            Quirks::from_name(name).ok_or_else(|| format!("there is no quirk {name:?}"))
        };
        Ok(Example {
            case: case.map_err(|error| format!("case.{error}"))?,
            expected: self.expected,
            observed: self.observed,
            differences: differences.collect::<Result<_, String>>()?,
            quirks: self.quirks.iter().map(quirk).collect::<Result<_, _>>()?,
        })
    }
}

impl Findings {
    /// Everything that was met so far.
    pub fn save(&self) -> Vec<Saved> {
        let saved = |example: &Option<Example>| example.as_ref().map(SavedExample::from);
        let known = self.met.iter().map(|(index, (count, example))| Saved::Known {
            id: self.known[*index].id.clone(),
            count: *count,
            example: saved(example),
        });
        let (count, example) = &self.caught;
        let caught = (*count > 0).then(|| Saved::Caught { count: *count, example: saved(example) });
        let all = self.groups.iter();
        let all = all.flat_map(|(looks, groups)| groups.iter().map(move |group| (looks, group)));
        let groups = all.map(|(signature, group)| {
            let (explained_by, (count, example)) = group.to_save();
            Saved::Group {
                ring: if signature.ring == Ring::Zero { 0 } else { 3 },
                expected: signature.expected.name().into(),
                observed: signature.observed,
                fields: signature.fields.iter().map(|field| field.name().into()).collect(),
                explained_by,
                count: *count,
                example: saved(example),
            }
        });
        known.chain(caught).chain(groups).collect()
    }

    /// Adds what was met before, or by another part of the run.
    ///
    /// # Errors
    /// When it names something that does not exist.
    pub fn add_saved(&mut self, saved: Saved) -> Result<(), String> {
        let read = |example: Option<SavedExample>| example.map(SavedExample::read).transpose();
        match saved {
            Saved::Known { id, count, example } => {
                let index = self.known.iter().position(|known| known.id == id);
                let index = index.ok_or_else(|| format!("this run knows no finding {id:?}"))?;
                let is_probe = self.known[index].kind == super::known::Kind::Probe;
                let met = self.met.entry(index).or_default();
                // A probe is made once, however many parts a run has.
                met.0 = if is_probe { met.0.max(count) } else { met.0 + count };
                met.1 = smaller(met.1.take(), read(example)?);
            }
            Saved::Caught { count, example } => {
                self.caught.0 += count;
                self.caught.1 = smaller(self.caught.1.take(), read(example)?);
            }
            Saved::Group { ring, expected, observed, fields, explained_by, count, example } => {
                let signature = Signature {
                    ring: if ring == 0 { Ring::Zero } else { Ring::Three },
                    expected: end_named(&expected)?,
                    observed,
                    fields: fields
                        .iter()
                        .map(|name| field_named(name))
                        .collect::<Result<_, _>>()?,
                };
                let alike = self.groups.entry(signature).or_default();
                Group::add_saved(alike, &explained_by, (count, read(example)?))?;
            }
        }
        Ok(())
    }
}

impl Finding {
    /// Takes another example, if it is smaller.
    pub fn offer(&mut self, example: Example) {
        self.example = smaller(self.example.take(), Some(example));
    }
}

fn field_named(name: &str) -> Result<Field, String> {
    let all = [
        Field::Vector,
        Field::ErrorCode,
        Field::Cr2,
        Field::Value,
        Field::Stored,
        Field::Outside,
        Field::Entry,
    ];
    all.into_iter()
        .find(|field| field.name() == name)
        .ok_or_else(|| format!("there is no field {name:?}"))
}

/// The end with a name.
///
/// # Errors
/// When there is none.
pub fn end_named(name: &str) -> Result<End, String> {
    let all = [End::Completed, End::NotPresent, End::Reserved, End::Denied, End::BadAddress];
    all.into_iter()
        .find(|end| end.name() == name)
        .ok_or_else(|| format!("there is no end {name:?}"))
}
