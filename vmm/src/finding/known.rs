//! Known findings: faults and limits of a machine that have been examined and written down, so that
//! they are shown without failing every run. They are data: a file per flavour of machine comes
//! with the program, and `--known FILE` takes another.

use crate::verdict::{ChoiceTaken, Difference, End};
use crate::walker::quirk::Quirks;
use crosswalk_case::Case;
use crosswalk_case::observation::Observation;
use crosswalk_guest::layout::LOW_MEMORY_END;
use mmu_core::x86::format::EntryBits;
use mmu_core::{Alternative, Cr4, Outcome, Ring};
use serde::Deserialize;
use std::path::Path;

/// What a known finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The machine does what no manual allows.
    Divergence,
    /// The rules leave a choice, and this is the member the machine takes.
    Choice,
    /// The machine cannot run such cases.
    Unsupported,
    /// Found by a probe when the machine is opened.
    Probe,
}

/// One known finding.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFinding {
    /// Its id.
    pub id: String,
    /// What it is, in a line.
    pub title: String,
    /// What kind of finding.
    pub kind: Kind,
    /// The rule that it is about.
    pub rule: String,
    /// What a manual says.
    pub manual: String,
    /// Since when it has been known, and where it was measured.
    pub since: String,
    /// The mutant that makes the same mistake.
    pub explained_by: Option<String>,
    /// A case that shows it, in its text form.
    pub case: Option<String>,
    /// The quirk that it is: it covers what the reference with this quirk predicts, and `when` and
    /// `seen` do not matter.
    #[serde(default, deserialize_with = "read_quirk")]
    pub quirk: Quirks,
    /// Whether `when` and `seen` are about cases that show a quirk, too: what was seen is held
    /// against the reference with every quirk of the file, and not against the reference.
    #[serde(default)]
    pub beside_quirk: bool,
    /// Which cases can show it.
    #[serde(default)]
    pub when: When,
    /// What must have been seen.
    #[serde(default)]
    pub seen: ObservedConditions,
}

fn read_quirk<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Quirks, D::Error> {
    let name = String::deserialize(deserializer)?;
    Quirks::named(&name).ok_or_else(|| {
        let names = Quirks::names().join(", ");
        serde::de::Error::custom(format!("expected one of {names}, found {name:?}"))
    })
}

/// Conditions on a case. All that are given must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    mode: Option<Vec<String>>,
    ring: Option<u8>,
    access: Option<Vec<String>>,
    pml4_slot: Option<u64>,
    crosses_page: Option<bool>,
    /// Some bytes are canonical and some are not.
    straddles_canonical: Option<bool>,
    /// PKRU is not 0 while CR4.PKE is.
    pkru_without_pke: Option<bool>,
    /// A table entry points to where there is no memory.
    table_outside_memory: Option<bool>,
}

/// Conditions on what was seen. All that are given must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedConditions {
    /// How the access was to end: the names of [`End`].
    expected: Option<Vec<String>>,
    /// Whether the access was to reach an address without memory.
    reaches_outside: Option<bool>,
    /// Whether the access did reach an address without memory.
    reached_outside: Option<bool>,
    /// The vector that was observed; 0 for none.
    vector: Option<Vec<u8>>,
    /// Bits of the error code that must be set.
    error_code: Option<u32>,
    /// Bits of the error code that must be clear.
    error_code_clear: Option<u32>,
    /// Only these fields may differ.
    fields: Option<Vec<String>>,
    /// The member that was chosen.
    member: Option<String>,
    /// A part of the reason why the case could not be run.
    reason: Option<String>,
}

/// Why a file of known findings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct KnownError {
    name: String,
    problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    include: Vec<Include>,
    #[serde(default)]
    finding: Vec<KnownFinding>,
}

/// Findings that a file has in common with one that comes with the program.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Include {
    /// The name of that file: `tcg`.
    from: String,
    /// Which of its findings, by their ids.
    findings: Vec<String>,
}

/// The files that come with the program, by flavour; of a flavour beneath an emulator, whose faults
/// are then the machine's, both names.
const SHIPPED: &[(&str, &str)] = &[
    ("pvm", include_str!("../../known/pvm.toml")),
    ("tcg", include_str!("../../known/tcg.toml")),
    ("svm-npt-on-tcg", include_str!("../../known/svm-npt-on-tcg.toml")),
    ("svm-shadow-on-tcg", include_str!("../../known/svm-shadow-on-tcg.toml")),
];

/// The known findings of a flavour on what lies beneath it.
///
/// # Errors
/// None in a program that was built as it should be: a test reads every file.
pub fn shipped(flavour: &str, beneath: &str) -> Result<Vec<KnownFinding>, KnownError> {
    let on = format!("{flavour}-on-{beneath}");
    match SHIPPED.iter().find(|(known, _)| *known == flavour || *known == on) {
        Some((name, text)) => parse(&format!("known/{name}.toml"), text),
        None => Ok(Vec::new()),
    }
}

/// The known findings in a file.
///
/// # Errors
/// When it cannot be read or is not such a file; the error names the place.
pub fn from_file(path: &Path) -> Result<Vec<KnownFinding>, KnownError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| KnownError { name: name.clone(), problem: error.to_string() })?;
    parse(&name, &text)
}

fn parse(name: &str, text: &str) -> Result<Vec<KnownFinding>, KnownError> {
    let error = |problem: String| KnownError { name: name.to_owned(), problem };
    let file: File = toml::from_str(text).map_err(|e| error(e.to_string()))?;
    let mut all = Vec::new();
    for include in &file.include {
        all.extend(included(include).map_err(error)?);
    }
    all.extend(file.finding);
    for known in &all {
        if let Some(case) = &known.case {
            Case::from_json(case).map_err(|e| error(format!("case of {}: {e}", known.id)))?;
        }
    }
    Ok(all)
}

/// The findings that an `include` names, in its order.
fn included(Include { from, findings }: &Include) -> Result<Vec<KnownFinding>, String> {
    let shipped = SHIPPED.iter().find(|(name, _)| name == from);
    let (name, text) = shipped.ok_or_else(|| {
        let names: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
        format!("expected one of {} to include from, found {from:?}", names.join(", "))
    })?;
    let file: File = toml::from_str(text).map_err(|e| format!("known/{name}.toml: {e}"))?;
    let find = |id: &String| {
        let found = file.finding.iter().find(|known| known.id == *id).cloned();
        found.ok_or_else(|| format!("known/{name}.toml has no finding {id:?} of its own"))
    };
    findings.iter().map(find).collect()
}

/// The quirks among known findings.
pub fn quirks(known: &[KnownFinding]) -> Quirks {
    known.iter().fold(Quirks::empty(), |all, known| all | known.quirk)
}

impl KnownFinding {
    /// Whether it is this divergence.
    pub fn covers(
        &self,
        case: &Case,
        expected: &Alternative,
        seen: &Observation,
        differences: &[Difference],
    ) -> bool {
        let fault = seen.fault;
        let field_is_named = |difference: &Difference| {
            let name = difference.field.name();
            self.seen.fields.as_ref().is_none_or(|fields| fields.iter().any(|field| field == name))
        };
        self.kind == Kind::Divergence
            && self.quirk.is_empty()
            && self.when.holds(case)
            && holds(self.seen.expected.as_ref(), |ends| {
                ends.iter().any(|end| end == End::of(&expected.outcome).name())
            })
            && holds(self.seen.reaches_outside.as_ref(), |wanted| {
                **wanted == reaches_outside(case, expected)
            })
            && holds(self.seen.reached_outside.as_ref(), |wanted| {
                **wanted != seen.outside.is_empty()
            })
            && holds(self.seen.vector.as_ref(), |vectors| {
                vectors.contains(&fault.map_or(0, |fault| fault.vector))
            })
            && holds(self.seen.error_code.as_ref(), |bits| {
                fault.is_some_and(|fault| fault.error_code & **bits == **bits)
            })
            && holds(self.seen.error_code_clear.as_ref(), |bits| {
                fault.is_some_and(|fault| fault.error_code & **bits == 0)
            })
            && differences.iter().all(field_is_named)
    }

    /// Whether it is this choice.
    pub fn covers_choice(&self, case: &Case, choice: &ChoiceTaken) -> bool {
        self.kind == Kind::Choice
            && self.rule == choice.rule.id()
            && self.when.holds(case)
            && holds(self.seen.expected.as_ref(), |ends| {
                ends.iter().any(|end| end == choice.end.name())
            })
            && holds(self.seen.member.as_ref(), |member| *member == choice.member)
    }

    /// Whether it is the reason why this case could not be run.
    pub fn covers_unsupported(&self, case: &Case, why: &str) -> bool {
        self.kind == Kind::Unsupported
            && self.when.holds(case)
            && holds(self.seen.reason.as_ref(), |reason| why.contains(reason.as_str()))
    }
}

/// Whether a condition holds; one that is not given does.
fn holds<T>(condition: Option<&T>, test: impl Fn(&&T) -> bool) -> bool {
    condition.as_ref().is_none_or(test)
}

impl When {
    fn holds(&self, case: &Case) -> bool {
        let access = &case.access;
        let ring = if access.ring == Ring::Zero { 0 } else { 3 };
        let canonical = case.canonical_ends();
        let pkru_without_pke = case.state.pkru != 0 && !case.state.cr4.contains(Cr4::PKE);
        holds(self.mode.as_ref(), |modes| modes.iter().any(|mode| mode == case.mode().name()))
            && holds(self.ring.as_ref(), |wanted| **wanted == ring)
            && holds(self.access.as_ref(), |kinds| {
                kinds.iter().any(|kind| kind == access.kind.name())
            })
            && holds(self.pml4_slot.as_ref(), |slot| access.address.index(39, 9) == **slot)
            && holds(self.crosses_page.as_ref(), |wanted| **wanted == access.crosses_page())
            && holds(self.straddles_canonical.as_ref(), |wanted| {
                **wanted == (canonical[0] != canonical[1])
            })
            && holds(self.pkru_without_pke.as_ref(), |wanted| **wanted == pkru_without_pke)
            && holds(self.table_outside_memory.as_ref(), |wanted| {
                **wanted == has_table_outside_memory(case)
            })
    }
}

/// Whether an access was to reach an address without memory.
fn reaches_outside(case: &Case, expected: &Alternative) -> bool {
    match &expected.outcome {
        Outcome::Translated(spans) => spans.iter().any(|span| case.is_outside(span.address.get())),
        Outcome::Fault(_) => false,
    }
}

/// Whether the case's walk meets a table where there is no memory.
fn has_table_outside_memory(case: &Case) -> bool {
    let leaf_or_table = |value: u64| value & EntryBits::ADDRESS;
    let is_last = |at: u64| case.entries.iter().all(|entry| entry.at >> 12 <= at >> 12);
    case.entries.iter().any(|entry| {
        !is_last(entry.at)
            && entry.value & EntryBits::P.bits() != 0
            && entry.value & EntryBits::PS.bits() == 0
            && leaf_or_table(entry.value) >= LOW_MEMORY_END
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walker::Walker;
    use crate::walker::quirk::Quirky;
    use mmu_core::Reference;

    #[test]
    fn every_shipped_file_can_be_read() {
        for (name, text) in SHIPPED {
            let known = parse(name, text).unwrap_or_else(|error| panic!("{error}"));
            assert!(!known.is_empty());
        }
    }

    #[test]
    fn a_quirk_shows_in_the_case_of_its_finding() {
        let files = SHIPPED.iter().map(|(name, text)| parse(name, text).unwrap());
        for known in files.flatten().filter(|known| !known.quirk.is_empty()) {
            let Some(case) = &known.case else { continue };
            let case = Case::from_json(case).unwrap();
            let differs = Quirky(known.quirk).predict(&case) != Reference.predict(&case);
            assert!(differs, "{}: {case}", known.id);
        }
    }

    #[test]
    fn a_file_includes_findings_of_another_by_their_ids() {
        let text = "[[include]]\nfrom='tcg'\nfindings=['T3', 'T1']";
        let known = parse("x.toml", text).unwrap();
        assert_eq!(known.iter().map(|known| &*known.id).collect::<Vec<_>>(), ["T3", "T1"]);
        for (wrong, names) in [
            ("from='tgc'\nfindings=[]", "found \"tgc\""),
            ("from='tcg'\nfindings=['T99']", "no finding \"T99\""),
        ] {
            let error = parse("x.toml", &format!("[[include]]\n{wrong}")).unwrap_err().to_string();
            assert!(error.contains("x.toml") && error.contains(names), "{error}");
        }
    }

    #[test]
    fn an_unknown_condition_is_refused_by_name() {
        let text = "[[finding]]\nid='X'\ntitle='t'\nkind='choice'\nrule='r'\nmanual='m'\n\
                    since='s'\nwhen.colour=1";
        let error = parse("x.toml", text).unwrap_err().to_string();
        assert!(error.contains("x.toml") && error.contains("colour"), "{error}");
    }
}
