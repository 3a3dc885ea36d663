//! What machines are known to do wrong, as data: each finding is a quirk, a walker with one deviation. A divergence is
//! known if the reference with the machine's quirks predicts what was seen.
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
use crate::observation::NestedAttempt;
use crate::quirks::{Quirked, Quirks};
use crate::verdict::{NestedVerdict, judge};
use crosswalk_machine::Capabilities;
use crosswalk_machine::nested::Virtualization;
use serde::Deserialize;
use std::fmt;

/// The ids of the known findings that explain a divergence.
pub type Recognized = Vec<String>;

/// A known finding.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownNestedFinding {
    /// The id.
    pub id: String,
    /// What the machine does, in one line.
    pub title: String,
    /// The rule that it concerns.
    pub rule: String,
    /// What a manual says.
    pub manual: String,
    /// Where it was measured.
    pub since: String,
    /// The quirk that it is.
    #[serde(default)]
    pub quirk: Option<String>,
    /// Or else the probe that shows it.
    #[serde(default)]
    pub probe: Option<ProbeFinding>,
    /// A case that shows it.
    #[serde(default)]
    pub case: Option<String>,
}

/// What a probe of a machine shows, and no case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeFinding {
    /// The machine runs nested paging, and its CPUID reports none.
    NptNotInCpuid,
}

impl ProbeFinding {
    /// What probes have shown of a machine.
    pub fn of(machine: &Capabilities) -> Option<Self> {
        let is_reported =
            !matches!(machine.virtualization, Ok(Virtualization::Svm { nested_paging: false, .. }));
        let runs = machine.nested_modes.iter().any(|(_, offer)| offer.is_ok());
        (!is_reported && runs).then_some(Self::NptNotInCpuid)
    }
}

impl fmt::Display for ProbeFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NptNotInCpuid => {
                "nested paging runs, although CPUID 8000000Ah EDX[0] says that there is none"
            }
        })
    }
}

/// A file of known findings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    finding: Vec<KnownNestedFinding>,
}

/// What a machine is known to do.
#[derive(Clone, Debug, Default)]
pub struct KnownNested {
    findings: Vec<KnownNestedFinding>,
    quirks: Quirks,
}

/// The files that come with the program: the kind of the machine, what decides there, and the file.
const FILES: [(&str, &str); 4] = [
    ("tcg", include_str!("../known/tcg.toml")),
    ("bochs", include_str!("../known/bochs.toml")),
    ("kvm-on-tcg", include_str!("../known/kvm-on-tcg.toml")),
    ("kvm-on-bochs", include_str!("../known/kvm-on-bochs.toml")),
];

impl KnownNested {
    /// Nothing is known.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// What is known of a machine: `tcg`, `bochs`, `kvm-on-tcg` or `kvm-on-bochs`; nothing of others.
    ///
    /// # Panics
    /// If a file that comes with the program is wrong: a test reads all of them.
    #[cfg_attr(not(test), expect(clippy::expect_used, reason = "a test reads every shipped file"))]
    pub fn of(machine: &str) -> Self {
        let text = FILES.iter().find(|(name, _)| *name == machine).map_or("", |(_, text)| text);
        Self::from_toml(text).expect("a shipped file is right")
    }

    /// Reads a file of known findings.
    ///
    /// # Errors
    /// If it is not one, and why.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let File { finding: findings } = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut quirks = Quirks::empty();
        for KnownNestedFinding { id, quirk, probe, .. } in &findings {
            match (quirk, probe) {
                (Some(quirk), None) => {
                    quirks |= Quirks::by_written_name(quirk)
                        .ok_or_else(|| format!("{id}.quirk: there is no {quirk:?}"))?;
                }
                (None, Some(_)) => {}
                _ => return Err(format!("{id}: expected either quirk or probe")),
            }
        }
        Ok(Self { findings, quirks })
    }

    /// Adds what is known of another machine.
    pub fn join(&mut self, other: &Self) {
        for finding in &other.findings {
            if self.finding(&finding.id).is_none() {
                self.findings.push(finding.clone());
            }
        }
        self.quirks |= other.quirks;
    }

    /// All findings.
    pub fn findings(&self) -> &[KnownNestedFinding] {
        &self.findings
    }

    /// The finding with an id.
    pub fn finding(&self, id: &str) -> Option<&KnownNestedFinding> {
        self.findings.iter().find(|finding| finding.id == id)
    }

    /// The finding that a probe shows.
    pub fn of_probe(&self, probe: ProbeFinding) -> Option<&KnownNestedFinding> {
        self.findings.iter().find(|finding| finding.probe == Some(probe))
    }

    /// The ids of the known findings that explain what was seen of a case: none unless the reference with the
    /// machine's quirks predicts it.
    pub fn recognize(&self, case: &NestedCase, run: &NestedAttempt) -> Recognized {
        let explains = |quirks: Quirks| {
            matches!(judge(&Quirked(quirks), case, run), NestedVerdict::Agree { .. })
        };
        // Where the reference is right there is nothing to explain, whatever another walker expects.
        if self.quirks.is_empty() || !explains(self.quirks) || explains(Quirks::empty()) {
            return Vec::new();
        }

        // Mostly one explains it alone; otherwise those without which it is not explained.
        let quirk = |finding: &KnownNestedFinding| {
            Quirks::by_written_name(finding.quirk.as_deref()?)
                .map(|quirk| (finding.id.clone(), quirk))
        };
        let quirks: Vec<_> = self.findings.iter().filter_map(quirk).collect();
        if let Some((id, _)) = quirks.iter().find(|(_, quirk)| explains(*quirk)) {
            return vec![id.clone()];
        }
        let needed =
            quirks.into_iter().filter(|(_, quirk)| !explains(self.quirks.difference(*quirk)));
        needed.map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::nested::NestedRule;
    use std::collections::BTreeSet;

    #[test]
    fn every_shipped_file_is_right() {
        let mut ids = BTreeSet::new();
        for (machine, _) in FILES {
            let known = KnownNested::of(machine);
            for finding in known.findings() {
                assert!(ids.insert(finding.id.clone()), "{} is there twice", finding.id);
                assert!(
                    finding.rule.parse::<NestedRule>().is_ok()
                        || finding.rule.parse::<mmu_core::Rule>().is_ok(),
                    "{}",
                    finding.rule
                );
                if let Some(case) = &finding.case {
                    assert!(NestedCase::from_json(case).is_ok(), "{}", finding.id);
                }
            }
        }
    }
}
