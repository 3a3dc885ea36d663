//! The head of a log: everything that decides the batches of its image, as one line of JSON.

use super::{CasesOfImage, ImagePlan};
use crate::generate::SequenceUse;
use crosswalk_case::{Case, Decimal, FullProfile};
use crosswalk_guest::tape::{Checksum, FORMAT, Token, digits};
use crosswalk_machine::LeftOut;
use mmu_core::PagingMode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The head.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HeadLine {
    /// The version of the log's format.
    format: u32,
    /// The version of the program: another version may generate other cases.
    crosswalk: String,
    /// The processor that the cases are for.
    profile: FullProfile,
    /// Kinds of cases that the image leaves out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
    /// Batches that it leaves out, by their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<u32>,
    /// Random cases, if it has those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    random: Option<RandomCases>,
    /// Otherwise the cases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(with = "Vec<Case>"))]
    cases: Vec<Box<RawValue>>,
    /// Number of batches, those that it leaves out included.
    pub batches: u32,
    /// The SHA-256 of the tape.
    pub tape: String,
}

/// Random cases.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct RandomCases {
    /// Their seed, as a decimal string.
    seed: Decimal,
    /// The paging modes.
    modes: Vec<String>,
    /// The number of cases.
    // No image has room for more.
    #[cfg_attr(test, schemars(range(max = 9_007_199_254_740_991_u64)))]
    count: u64,
    /// Whether there are sequences besides single accesses.
    sequences: SequenceUse,
}

/// Why the head of a log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadHead(String);

/// The part of a head that all versions have.
#[derive(Deserialize)]
struct Version {
    format: u32,
    crosswalk: String,
}

impl HeadLine {
    pub(super) fn new(plan: &ImagePlan, batches: u32, tape: String) -> Self {
        let (mut random, mut cases) = (None, Vec::new());
        match &plan.cases {
            CasesOfImage::Random { seed, modes, count, sequences } => {
                random = Some(RandomCases {
                    seed: Decimal(*seed),
                    modes: modes.iter().map(|mode| mode.name().to_owned()).collect(),
                    count: *count,
                    sequences: *sequences,
                });
            }
            CasesOfImage::Listed(listed) => {
                let raw =
                    |case: &Case| RawValue::from_string(case.to_json()).expect("a case is JSON");
                cases = listed.iter().map(raw).collect();
            }
        }

        Self {
            format: FORMAT,
            crosswalk: env!("CARGO_PKG_VERSION").into(),
            profile: FullProfile::from(&plan.profile),
            left_out: plan.left_out.names(),
            skipped: plan.skipped.iter().copied().collect(),
            random,
            cases,
            batches,
            tape,
        }
    }

    /// The line, as an image prints it.
    ///
    /// # Panics
    /// Never: a head contains nothing that JSON cannot hold.
    pub fn line(&self) -> String {
        let text = serde_json::to_string(self).expect("a head is JSON");
        let sum = digits(Checksum::of(text.as_bytes()).0);
        let ascii = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{}{} {text}\n", ascii(&Token::Head.text()), ascii(&sum))
    }

    /// Reads the text of a head.
    ///
    /// # Errors
    /// If another version has made the image, or the text is not a head.
    pub fn read(text: &str) -> Result<Self, BadHead> {
        let bad = |problem: String| BadHead(format!("the head cannot be read: {problem}"));
        let Version { format, crosswalk } =
            serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        let version = env!("CARGO_PKG_VERSION");
        if format != FORMAT || crosswalk != version {
            return Err(BadHead(format!(
                "the image was made by crosswalk {crosswalk} (format {format}): expected {version} (format \
                 {FORMAT}), since another version may generate other cases"
            )));
        }
        serde_json::from_str(text).map_err(|error| bad(error.to_string()))
    }

    /// What the image carries.
    ///
    /// # Errors
    /// If a name is unknown or a number out of range.
    pub fn plan(&self) -> Result<ImagePlan, BadHead> {
        let bad = |problem: String| BadHead(format!("the head cannot be used: {problem}"));
        let profile = self.profile.clone().read().map_err(|error| bad(error.to_string()))?;

        let mut left_out = LeftOut::empty();
        for name in &self.left_out {
            left_out |= LeftOut::by_name(name).map_err(bad)?;
        }

        let cases = if let Some(random) = &self.random {
            random.read().map_err(bad)?
        } else {
            let cases = self.cases.iter().map(|value| Case::from_json(value.get()));
            let cases: Result<Vec<_>, _> = cases.collect();
            CasesOfImage::Listed(cases.map_err(|error| bad(error.to_string()))?)
        };
        let skipped = self.skipped.iter().copied().collect();
        Ok(ImagePlan { profile, left_out, skipped, cases })
    }
}

impl RandomCases {
    fn read(&self) -> Result<CasesOfImage, String> {
        let modes = self.modes.iter().map(|name| {
            let mode: Result<PagingMode, _> = name.parse();
            mode.map_err(|error| format!("modes: {error}"))
        });
        let modes: Vec<_> = modes.collect::<Result<_, _>>()?;

        let has_cases = !modes.is_empty() && self.count > 0;
        let runs = |mode: &PagingMode| *mode != PagingMode::Unpaged;
        if !has_cases || self.sequences == SequenceUse::Only && !modes.iter().any(runs) {
            return Err("it has no cases".into());
        }
        if modes.contains(&PagingMode::Linear) {
            return Err("modes: no machine runs linear".into());
        }
        let (Decimal(seed), count, sequences) = (self.seed, self.count, self.sequences);
        Ok(CasesOfImage::Random { seed, modes, count, sequences })
    }
}
