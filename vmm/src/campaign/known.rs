//! Which known findings a run uses, and whether they are forgiven.

use crate::finding::Findings;
use crate::finding::known::{self, KnownError, KnownFinding};
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_machine::{Capabilities, Identity};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::path::Path;
use std::str::FromStr;

/// Where the known findings of a run come from, as `--known` names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<String>", into = "Option<String>")]
pub enum KnownSource {
    /// The file for the machine's flavour that comes with the program.
    #[default]
    Shipped,
    /// `none`: the same file, but nothing is forgiven.
    Unforgiven,
    /// Another file, by its path.
    File(String),
}

impl KnownSource {
    const NONE: &'static str = "none";

    /// Loads the known findings of a machine. They are forgiven only if the reference predicts: for
    /// a walker with known mistakes they merely give findings their names.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a file of known findings.
    pub fn load(
        &self,
        walker: WalkerSpec,
        machine: &Identity,
    ) -> Result<KnownFindings, KnownError> {
        let mut findings = match self {
            Self::Shipped | Self::Unforgiven => known::shipped(machine)?,
            Self::File(path) => known::of_version(known::from_file(Path::new(path))?, machine),
        };
        if machine.has_printed_a_log() {
            findings.extend(known::of_images()?);
        }
        let are_forgiven = walker.is_reference() && *self != Self::Unforgiven;

        Ok(KnownFindings { findings, are_forgiven })
    }
}

impl FromStr for KnownSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == Self::NONE { Self::Unforgiven } else { Self::File(text.to_owned()) })
    }
}

/// As the journal holds it: nothing, `none`, or a path.
impl From<Option<String>> for KnownSource {
    fn from(text: Option<String>) -> Self {
        match text {
            None => Self::Shipped,
            Some(text) if text == Self::NONE => Self::Unforgiven,
            Some(path) => Self::File(path),
        }
    }
}

impl From<KnownSource> for Option<String> {
    fn from(source: KnownSource) -> Self {
        match source {
            KnownSource::Shipped => None,
            KnownSource::Unforgiven => Some(KnownSource::NONE.to_owned()),
            KnownSource::File(path) => Some(path),
        }
    }
}

/// The known findings of a machine.
#[derive(Clone, Debug)]
pub struct KnownFindings {
    /// The findings.
    pub findings: Vec<KnownFinding>,
    /// Whether they are forgiven: a forgiven divergence does not fail the run.
    pub are_forgiven: bool,
}

impl KnownFindings {
    /// The finding that says that the machine does not come back from a case.
    pub fn fatal(&self, case: &Case) -> Option<&KnownFinding> {
        self.findings.iter().find(|known| known.is_fatal_in(case))
    }

    /// A collector for the findings of a run of this walker on this machine.
    pub fn collector(self, walker: WalkerSpec, machine: &Capabilities) -> Findings {
        Findings::new(walker, self.findings, self.are_forgiven, machine)
    }
}
