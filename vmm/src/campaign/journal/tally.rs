//! The counts of a run as lines of the journal.

use super::bounds::check_count;
use crate::campaign::tally::{BitCounts, EntryBitCounts, ModeCounts, Occurrences, Tally};
use crate::verdict::ChoiceTaken;
use crosswalk_case::observation::Provenance;
use mmu_core::name::by_name;
use mmu_core::{AccessKind, PagingMode, Ring, Rule};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;
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
        /// Level, bit, cases and faults.
        #[serde(default)]
        entry_bits: Vec<(u8, u8, u64, u64)>,
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
        /// Vector and error code; nothing for an access that completed.
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
        let modes = tally.modes.iter().map(|(mode, counts)| Self::of_mode(*mode, counts));

        let rules = tally.rules.iter().map(|(rule, mode, occurrences)| Self::Rule {
            rule: rule.id().into(),
            mode: mode.name().into(),
            count: occurrences.count,
            example: occurrences.example.to_string(),
        });

        let ends = tally.ends.iter().map(|((mode, provenance, fault), occurrences)| Self::End {
            mode: mode.name().into(),
            provenance: provenance.name().into(),
            fault: *fault,
            count: occurrences.count,
            example: occurrences.example.to_string(),
        });

        let choices = tally.choices.iter().map(|(choice, count)| Self::Choice {
            rule: choice.rule.id().into(),
            mode: choice.mode.name().into(),
            provenance: choice.provenance.name().into(),
            ring: choice.ring.cpl(),
            access: choice.access.name().into(),
            end: choice.end.name().into(),
            level: choice.level.into(),
            member: choice.member.into(),
            count: *count,
        });

        let digest = Self::Digest(tally.digest);
        [digest].into_iter().chain(modes).chain(rules).chain(ends).chain(choices).collect()
    }

    fn of_mode(mode: PagingMode, counts: &ModeCounts) -> Self {
        let accesses = counts.accesses.iter();
        let provenance = counts.provenance.iter();
        let named = counts.clone().named().map(|(name, count)| (name.to_owned(), *count));

        Self::Mode {
            mode: mode.name().into(),
            counts: named.into(),
            accesses: accesses.map(|(kind, count)| (kind.name().into(), *count)).collect(),
            provenance: provenance.map(|(who, count)| (who.name().into(), *count)).collect(),
            entry_bits: counts
                .entry_bits
                .iter()
                .map(|(level, bit, BitCounts { cases, faults })| (level, bit, cases, faults))
                .collect(),
        }
    }

    /// Adds the line to a tally.
    pub(super) fn add_to(self, tally: &mut Tally) -> Result<(), String> {
        let mut part = Tally::default();

        match self {
            Self::Digest(digest) => part.digest = digest,
            Self::Mode { mode, counts, accesses, provenance, entry_bits } => {
                let mut counts = read_counts(&counts, accesses, provenance)?;
                counts.entry_bits = read_entry_bits(&entry_bits)?;
                part.modes.insert(paging_mode(&mode)?, counts);
            }
            Self::Rule { rule: id, mode, count, example } => {
                let occurrences = occurrences(count, &example)?;
                part.rules.add(rule(&id)?, paging_mode(&mode)?, occurrences);
            }
            Self::End { mode, provenance: who, fault, count, example } => {
                let occurrences = occurrences(count, &example)?;
                part.ends.insert((paging_mode(&mode)?, provenance(&who)?, fault), occurrences);
            }
            Self::Choice {
                rule: id,
                mode,
                provenance: who,
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
                    provenance: provenance(&who)?,
                    ring: if ring == Ring::Zero.cpl() { Ring::Zero } else { Ring::Three },
                    access: access(&kind)?,
                    end: end
                        .parse()
                        .map_err(|error| format!("there is no end {end:?}: {error}"))?,
                    level: interned(level),
                    member: interned(member),
                };
                check_count(count)?;
                part.choices.insert(choice, count);
            }
        }

        tally.merge(part);
        Ok(())
    }
}

fn occurrences(count: u64, example: &str) -> Result<Occurrences, String> {
    check_count(count)?;
    Ok(Occurrences { count, example: example.parse()? })
}

fn read_counts(
    named: &BTreeMap<String, u64>,
    accesses: BTreeMap<String, u64>,
    provenances: BTreeMap<String, u64>,
) -> Result<ModeCounts, String> {
    let mut counts = ModeCounts::default();

    for (name, count) in counts.named() {
        *count = *named.get(name).ok_or_else(|| format!("expected counts.{name}"))?;
        check_count(*count)?;
    }
    for (name, count) in accesses {
        check_count(count)?;
        counts.accesses.insert(access(&name)?, count);
    }
    for (name, count) in provenances {
        check_count(count)?;
        counts.provenance.insert(provenance(&name)?, count);
    }

    let ModeCounts { cases, agreed, diverged, unsupported, .. } = counts;
    let judged = agreed.checked_add(diverged).and_then(|judged| judged.checked_add(unsupported));
    if judged != Some(cases) {
        return Err(format!("expected {agreed} + {diverged} + {unsupported} cases, found {cases}"));
    }
    Ok(counts)
}

fn read_entry_bits(lines: &[(u8, u8, u64, u64)]) -> Result<EntryBitCounts, String> {
    let mut counts = EntryBitCounts::default();

    for (level, bit, cases, faults) in lines {
        check_count(*cases)?;
        if faults > cases {
            return Err(format!("expected at most {cases} faults, found {faults}"));
        }
        if !counts.add(*level, *bit, BitCounts { cases: *cases, faults: *faults }) {
            return Err(format!("there is no bit {bit} of an entry at level {level}"));
        }
    }
    Ok(counts)
}

fn paging_mode(name: &str) -> Result<PagingMode, String> {
    named("paging mode", name)
}

fn rule(id: &str) -> Result<Rule, String> {
    named("rule", id)
}

fn access(name: &str) -> Result<AccessKind, String> {
    named("kind of access", name)
}

/// The value with a name. The error does not list the names: there are many rules.
fn named<T: FromStr>(what: &str, name: &str) -> Result<T, String> {
    name.parse().map_err(|_| format!("there is no {what} {name:?}"))
}

fn provenance(name: &str) -> Result<Provenance, String> {
    by_name(&Provenance::ALL, Provenance::name, name)
        .map_err(|_| format!("there is no provenance {name:?}"))
}

/// A name that lives as long as the program. Every distinct name is kept once; there are few.
#[cfg_attr(not(test), expect(clippy::expect_used, reason = "a name is a string: nothing panics"))]
fn interned(name: String) -> &'static str {
    static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock().expect("no thread panics while it holds the lock");

    if let Some(known) = names.get(name.as_str()) {
        return known;
    }

    let kept: &'static str = Box::leak(name.into_boxed_str());
    names.insert(kept);
    kept
}
