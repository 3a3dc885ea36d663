//! The counts of a run as lines.

use crate::campaign::tally::{ModeCounts, Occurrences, Tally};
use crate::generate::CaseName;
use crate::verdict::ChoiceTaken;
use crosswalk_case::observation::Provenance;
use mmu_core::{AccessKind, PagingMode, Ring, Rule};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::sync::{LazyLock, Mutex};

/// A part of a tally.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum TallyLine {
    Digest(u64),
    Mode {
        mode: String,
        counts: BTreeMap<String, u64>,
        accesses: BTreeMap<String, u64>,
        provenance: BTreeMap<String, u64>,
    },
    Rule {
        rule: String,
        mode: String,
        count: u64,
        example: String,
    },
    End {
        mode: String,
        provenance: String,
        /// Vector and error code; none for an access that completed.
        fault: Option<(u8, u32)>,
        count: u64,
        example: String,
    },
    Choice {
        rule: String,
        mode: String,
        provenance: String,
        ring: u8,
        access: String,
        end: String,
        level: String,
        member: String,
        count: u64,
    },
}

impl TallyLine {
    /// All lines of a tally.
    pub(super) fn of(tally: &Tally) -> Vec<Self> {
        let mut lines = vec![Self::Digest(tally.digest)];
        for (mode, counts) in &tally.modes {
            let by_name = |named: [(&str, &mut u64); 10]| {
                named.into_iter().map(|(name, count)| (name.to_owned(), *count)).collect()
            };
            let accesses = counts.accesses.iter();
            let provenance = counts.provenance.iter();
            lines.push(Self::Mode {
                mode: mode.name().into(),
                counts: by_name(counts.clone().named()),
                accesses: accesses.map(|(kind, count)| (kind.name().into(), *count)).collect(),
                provenance: provenance.map(|(who, count)| (who.name().into(), *count)).collect(),
            });
        }
        lines.extend(tally.rules.iter().map(|((rule, mode), met)| Self::Rule {
            rule: rule.id().into(),
            mode: mode.name().into(),
            count: met.count,
            example: met.example.to_string(),
        }));
        lines.extend(tally.ends.iter().map(|((mode, provenance, fault), met)| Self::End {
            mode: mode.name().into(),
            provenance: provenance.name().into(),
            fault: *fault,
            count: met.count,
            example: met.example.to_string(),
        }));
        lines.extend(tally.choices.iter().map(|(choice, count)| Self::Choice {
            rule: choice.rule.id().into(),
            mode: choice.mode.name().into(),
            provenance: choice.provenance.name().into(),
            ring: if choice.ring == Ring::Zero { 0 } else { 3 },
            access: choice.access.name().into(),
            end: choice.end.name().into(),
            level: choice.level.into(),
            member: choice.member.into(),
            count: *count,
        }));
        lines
    }

    /// Adds the line to a tally.
    pub(super) fn add_to(self, tally: &mut Tally) -> Result<(), String> {
        let mut part = Tally::default();
        match self {
            Self::Digest(digest) => part.digest = digest,
            Self::Mode { mode, counts, accesses, provenance } => {
                let mut read = ModeCounts::default();
                for (name, count) in read.named() {
                    *count = *counts.get(name).ok_or_else(|| format!("expected counts.{name}"))?;
                }
                for (name, count) in accesses {
                    read.accesses.insert(access(&name)?, count);
                }
                for (name, count) in provenance {
                    read.provenance.insert(who(&name)?, count);
                }
                part.modes.insert(paging_mode(&mode)?, read);
            }
            Self::Rule { rule: id, mode, count, example } => {
                let met = Occurrences { count, example: example.parse::<CaseName>()? };
                part.rules.insert((rule(&id)?, paging_mode(&mode)?), met);
            }
            Self::End { mode, provenance, fault, count, example } => {
                let met = Occurrences { count, example: example.parse::<CaseName>()? };
                part.ends.insert((paging_mode(&mode)?, who(&provenance)?, fault), met);
            }
            Self::Choice {
                rule: id,
                mode,
                provenance,
                ring,
                access: kind,
                end,
                level,
                member,
                count,
            } => {
                let choice = ChoiceTaken {
                    rule: rule(&id)?,
                    mode: paging_mode(&mode)?,
                    provenance: who(&provenance)?,
                    ring: if ring == 0 { Ring::Zero } else { Ring::Three },
                    access: access(&kind)?,
                    end: end
                        .parse()
                        .map_err(|error| format!("there is no end {end:?}: {error}"))?,
                    level: interned(level),
                    member: interned(member),
                };
                part.choices.insert(choice, count);
            }
        }
        tally.merge(part);
        Ok(())
    }
}

fn paging_mode(name: &str) -> Result<PagingMode, String> {
    let found = PagingMode::ALL.into_iter().find(|mode| mode.name() == name);
    found.ok_or_else(|| format!("there is no paging mode {name:?}"))
}

fn rule(id: &str) -> Result<Rule, String> {
    let found = Rule::ALL.iter().copied().find(|rule| rule.id() == id);
    found.ok_or_else(|| format!("there is no rule {id:?}"))
}

fn access(name: &str) -> Result<AccessKind, String> {
    let found = AccessKind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| format!("there is no kind of access {name:?}"))
}

fn who(name: &str) -> Result<Provenance, String> {
    let found = Provenance::ALL.into_iter().find(|who| who.name() == name);
    found.ok_or_else(|| format!("there is no provenance {name:?}"))
}

/// A name that lives as long as the program. Each different one is kept once; there are few.
fn interned(name: String) -> &'static str {
    static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock().expect("nobody panics while holding it");
    if let Some(known) = names.get(name.as_str()) {
        return known;
    }
    let kept: &'static str = Box::leak(name.into_boxed_str());
    names.insert(kept);
    kept
}
