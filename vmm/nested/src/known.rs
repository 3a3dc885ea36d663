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
use serde::Deserialize;

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
    pub quirk: String,
    /// A case that shows it.
    #[serde(default)]
    pub case: Option<String>,
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
const FILES: [(&str, &str); 3] = [
    ("tcg", include_str!("../known/tcg.toml")),
    ("bochs", include_str!("../known/bochs.toml")),
    ("kvm-on-tcg", include_str!("../known/kvm-on-tcg.toml")),
];

impl KnownNested {
    /// Nothing is known.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// What is known of a machine: `tcg`, `bochs` or `kvm-on-tcg`; nothing of others.
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
        for KnownNestedFinding { id, quirk, .. } in &findings {
            quirks |= Quirks::by_written_name(quirk)
                .ok_or_else(|| format!("{id}.quirk: there is no {quirk:?}"))?;
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
        let quirk = |finding: &&KnownNestedFinding| {
            Quirks::by_written_name(&finding.quirk).unwrap_or_default()
        };
        if let Some(alone) = self.findings.iter().find(|finding| explains(quirk(finding))) {
            return vec![alone.id.clone()];
        }
        let needed = self
            .findings
            .iter()
            .filter(|finding| !explains(self.quirks.difference(quirk(finding))));
        needed.map(|finding| finding.id.clone()).collect()
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
