//! Known findings: faults and limits of a machine that have been examined and written down, so that
//! a run shows them without failing. They are data: the program comes with a file for each flavour of
//! machine, and `--known FILE` takes another.
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

mod accept;
mod conditions;
mod names;
mod shipped;
mod versions;

pub use accept::KnownText;
pub use conditions::{ObservedConditions, When};
pub use shipped::{all_shipped, id_of, of_images, shipped};
pub use versions::VersionRange;

use crate::file;
use crate::verdict::{self, ChoiceTaken, Difference};
use crate::walker::WalkerSpec;
use crate::walker::quirk::Quirks;
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Observation};
use crosswalk_litmus::catalogue;
use crosswalk_machine::Identity;
use mmu_core::name::{UnknownName, by_name};
use mmu_core::{Alternative, Rule};
use names::read_name;
use serde::Deserialize;
use std::path::Path;
use std::str::FromStr;

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The machine does what no manual allows.
    Divergence,
    /// The rules leave a choice, and this is the member that the machine takes.
    Choice,
    /// The machine cannot run such cases.
    Unsupported,
    /// A limit that a probe finds when the machine is opened.
    Probe,
    /// The machine does not come back from such cases.
    Fatal,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Divergence, Self::Choice, Self::Unsupported, Self::Probe, Self::Fatal];

    /// The name used in reports and in files of known findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Divergence => "divergence",
            Self::Choice => "choice",
            Self::Unsupported => "unsupported",
            Self::Probe => "probe",
            Self::Fatal => "fatal",
        }
    }
}

/// Reads the name of a kind: see [`Kind::name`].
impl FromStr for Kind {
    type Err = UnknownName<Self>;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(&Self::ALL, Self::name, name)
    }
}

/// One known finding.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFinding {
    /// The id.
    pub id: String,
    /// What the machine does, in one line.
    pub title: String,
    /// The kind of finding.
    #[serde(deserialize_with = "read_name")]
    pub kind: Kind,
    /// The rule that it concerns.
    #[serde(deserialize_with = "read_name")]
    pub rule: Rule,
    /// What a manual says.
    pub manual: String,
    /// Where it was measured.
    pub since: String,
    /// The versions of the machine that have it.
    #[serde(default)]
    pub versions: VersionRange,
    /// The mutant that makes the same mistake.
    pub explained_by: Option<String>,
    /// Whether it covers what that mutant predicts, besides `when` and `seen`.
    #[serde(default)]
    pub as_explained: bool,
    /// Whether a run has accepted it: it also covers what differs at a MOV, which nothing else here is about.
    #[serde(default)]
    pub accepted: bool,
    /// A case that shows it, in its text form.
    pub case: Option<String>,
    /// Or else the litmus test that shows it, by its name: it takes two processors, and no case shows it.
    pub litmus: Option<String>,
    /// The quirk that it is, if it is one: it covers what the reference with this quirk predicts, and
    /// `when` and `seen` do not matter.
    #[serde(default, deserialize_with = "read_name")]
    pub quirk: Quirks,
    /// Whether `when` and `seen` also apply to cases that show a quirk. The observation is then
    /// compared with the reference that has every quirk of the file.
    #[serde(default)]
    pub beside_quirk: bool,
    /// The cases that can show it.
    #[serde(default)]
    pub when: When,
    /// What the machine must have done.
    #[serde(default)]
    pub seen: ObservedConditions,
}

impl KnownFinding {
    /// Whether it covers this divergence.
    pub fn covers(
        &self,
        case: &Case,
        expected: &Alternative,
        seen: &Observation,
        differences: &[Difference],
    ) -> bool {
        self.kind == Kind::Divergence
            && self.quirk.is_empty()
            && self.when.hold(case)
            && self.seen.hold(case, expected, seen, differences)
            && (!self.as_explained || self.is_explained(case, seen))
    }

    /// Whether the mutant that makes the same mistake predicts this.
    fn is_explained(&self, case: &Case, seen: &Observation) -> bool {
        let walker = self.explained_by.as_ref().and_then(|name| name.parse::<WalkerSpec>().ok());
        walker.is_some_and(|spec| {
            verdict::agrees(spec.walker(), case, &Attempt::Observed(seen.clone()))
        })
    }

    /// Whether it covers this choice.
    pub fn covers_choice(&self, case: &Case, choice: &ChoiceTaken) -> bool {
        self.kind == Kind::Choice
            && self.rule == choice.rule
            && self.when.hold(case)
            && self.seen.hold_for_choice(choice)
    }

    /// Whether it says that the machine does not come back from this case.
    pub fn is_fatal_in(&self, case: &Case) -> bool {
        self.kind == Kind::Fatal && self.when.hold(case)
    }

    /// Whether it is the limit that a probe has found and describes like this.
    pub fn is_limit(&self, why: &str) -> bool {
        self.kind == Kind::Probe && self.seen.hold_for_reason(why)
    }

    /// Whether it covers a case that could not be run for this reason. Any access of a sequence may be the
    /// one that could not.
    pub fn covers_unsupported(&self, case: &Case, why: &str) -> bool {
        let holds_for_one = || case.accesses().iter().any(|alone| self.when.hold(alone));

        self.kind == Kind::Unsupported
            && self.seen.hold_for_reason(why)
            && (self.when.hold(case) || holds_for_one())
    }
}

/// The quirks among known findings.
pub fn quirks(known: &[KnownFinding]) -> Quirks {
    known.iter().fold(Quirks::empty(), |all, known| all | known.quirk)
}

/// The longest file of known findings that is read. Those that come with the program are shorter than
/// 100 KB.
const MAX_BYTES: u64 = 4 << 20;

/// Why a file of known findings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct KnownError {
    name: String,
    problem: String,
}

/// The known findings that a machine has in its version.
pub fn of_version(mut all: Vec<KnownFinding>, machine: &Identity) -> Vec<KnownFinding> {
    let version = machine.deciding_version();
    all.retain(|known| known.versions.contains(version));
    all
}

/// The known findings in a file.
///
/// # Errors
/// If the file cannot be read or is malformed. The error names the place.
pub fn from_file(path: &Path) -> Result<Vec<KnownFinding>, KnownError> {
    let name = file::input_name(path);
    match file::read_input(path, MAX_BYTES) {
        Ok(text) => from_text(&name, &text),
        Err(error) => Err(KnownError { name, problem: error.to_string() }),
    }
}

/// The known findings in the text of a file; errors call it `name`.
///
/// # Errors
/// If the text is malformed. The error names the place.
pub fn from_text(name: &str, text: &str) -> Result<Vec<KnownFinding>, KnownError> {
    let error = |problem: String| KnownError { name: name.to_owned(), problem };
    let file: File = toml::from_str(text).map_err(|bad| {
        let before = bad.span().and_then(|place| text.get(..place.start)).unwrap_or_default();
        error(format!("line {}: {}", before.split('\n').count(), bad.message()))
    })?;

    let mut all = Vec::new();
    for include in &file.include {
        all.extend(included(include).map_err(error)?);
    }
    all.extend(file.finding);

    for (number, known) in all.iter().enumerate() {
        let is_same =
            |other: &&KnownFinding| other.id == known.id && other.versions.overlaps(known.versions);
        if all.iter().take(number).any(|other| is_same(&other)) {
            return Err(error(format!("{} is there twice in the same version", known.id)));
        }
        if known.as_explained {
            let cause = known.explained_by.as_deref().unwrap_or_default().parse::<WalkerSpec>();
            cause.map_err(|e| error(format!("explained_by of {}: {e}", known.id)))?;
        }
        if let Some(case) = &known.case {
            Case::from_json(case).map_err(|e| error(format!("case of {}: {e}", known.id)))?;
        }
        if let Some(name) = &known.litmus
            && catalogue::named(name).is_none()
        {
            return Err(error(format!("litmus of {}: there is no test {name:?}", known.id)));
        }
    }
    Ok(all)
}

/// A file of known findings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    include: Vec<Include>,
    #[serde(default)]
    finding: Vec<KnownFinding>,
}

/// Findings that a file shares with one that comes with the program.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Include {
    /// The name of that file: `tcg`.
    from: String,
    /// The ids of the findings.
    findings: Vec<String>,
}

/// The findings that an `include` names, in its order.
fn included(Include { from, findings }: &Include) -> Result<Vec<KnownFinding>, String> {
    let shipped = shipped::FILES.iter().find(|(name, _)| name == from);
    let (name, text) = shipped.ok_or_else(|| {
        let names: Vec<_> = shipped::FILES.iter().map(|(name, _)| *name).collect();
        format!("expected one of {} to include from, found {from:?}", names.join(", "))
    })?;
    let file: File = toml::from_str(text).map_err(|e| format!("known/{name}.toml: {e}"))?;

    // The versions are those of the other machine, and what lies beneath does not tell its own.
    let versions = VersionRange::ALL;
    let find = |id: &String| {
        let found = file.finding.iter().find(|known| known.id == *id).cloned();
        let found = found.map(|known| KnownFinding { versions, ..known });
        found.ok_or_else(|| format!("known/{name}.toml has no finding {id:?} of its own"))
    };
    findings.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{self, Verdict};
    use crate::walker::Walker;
    use crate::walker::quirk::Quirky;
    use crosswalk_case::Action;
    use crosswalk_case::observation::{Attempt, EarlierAccess, ObservedFault, Provenance};
    use crosswalk_guest::contents::byte;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Reference, Ring};

    #[test]
    fn every_shipped_file_can_be_read() {
        for (name, text) in shipped::FILES {
            let known = from_text(name, text).unwrap_or_else(|error| panic!("{error}"));
            assert!(!known.is_empty());
        }
        assert!(of_images().unwrap().iter().all(|known| known.kind == Kind::Unsupported));
    }

    /// A read in ring 3, a store that changes nothing, a second read in ring 3 and one in ring 0. The
    /// second faults, which no manual allows: the conditions are about that access, not about the last.
    #[test]
    fn conditions_in_a_sequence_are_about_the_access_that_differs() {
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
        let read = Action::Access(case.access_step());
        case.before = vec![read, Action::Write(case.entries[3]), read];
        case.access.ring = Ring::Zero;

        let frame = Arena::ALL[0].data_frames(3) + 0x108;
        let value = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| byte(frame + i)));
        let cr2 = case.access.address.get();
        let fault =
            ObservedFault { vector: 14, error_code: 5, cr2, cr2_before: 0, rip: None, frame: None };
        let good = EarlierAccess { fault: None, value, moved: None };
        let bad = EarlierAccess { fault: Some(fault), value: 0, moved: None };
        let last = Observation::new(None, value, Provenance::Tcg);
        let run = Attempt::Observed(Observation { earlier: vec![good, bad], ..last });

        let Verdict::Diverge { at, expected, differences } =
            verdict::judge(&Reference, &case, &run)
        else {
            panic!("it must fault")
        };
        assert_eq!(at, 2);
        let differences_in_words: Vec<_> = differences.iter().map(ToString::to_string).collect();
        let [difference] = &differences_in_words[..] else { panic!("{differences_in_words:?}") };
        assert!(difference.starts_with("vector: expected no exception, observed #PF(P|U)"));

        let Attempt::Observed(seen) = &run else { unreachable!() };
        let (until, seen) = verdict::observed_until(&case, seen, at).unwrap();
        assert_eq!((until.before.len(), until.access.ring), (2, Ring::Three));
        assert_eq!(seen.fault, Some(fault));

        let finding = |when: &str| {
            let text = format!(
                "[[finding]]\nid='X'\ntitle='t'\nkind='divergence'\nrule='RIGHT-1'\nmanual='m'\n\
                 since='s'\nseen.vector=[14]\n{when}"
            );
            from_text("x.toml", &text).unwrap().remove(0)
        };
        for (when, covers) in [
            ("when.ring=3", true),
            ("when.ring=0", false),
            ("when.sequence=true", true),
            ("when.access=['write']", false),
        ] {
            let known = finding(when);
            assert_eq!(known.covers(&until, &expected, &seen, &differences), covers, "{when}");
        }
    }

    #[test]
    fn a_quirk_shows_in_the_case_of_its_finding() {
        let files = shipped::FILES.iter().map(|(name, text)| from_text(name, text).unwrap());
        for known in files.flatten().filter(|known| !known.quirk.is_empty()) {
            let Some(case) = &known.case else { continue };
            let case = Case::from_json(case).unwrap();
            let predicted = |walker: &dyn Walker| {
                let prediction = walker.predict(&case);
                let faults = prediction.alternatives.iter().filter_map(|way| way.outcome.fault());
                let saved: Vec<_> = faults.map(|fault| walker.saved_rip(&case, fault)).collect();
                (prediction, saved, walker.predict_privileged(&case))
            };
            let by_quirk = predicted(&Quirky(known.quirk));
            assert_ne!(by_quirk, predicted(&Reference), "{}: {case}", known.id);
        }
    }

    #[test]
    fn a_file_includes_findings_of_another_by_their_ids() {
        let text = "[[include]]\nfrom='tcg'\nfindings=['T3', 'T1']";
        let known = from_text("x.toml", text).unwrap();
        assert_eq!(known.iter().map(|known| &*known.id).collect::<Vec<_>>(), ["T3", "T1"]);

        for (wrong, names) in [
            ("from='tgc'\nfindings=[]", "found \"tgc\""),
            ("from='tcg'\nfindings=['T99']", "no finding \"T99\""),
        ] {
            let error =
                from_text("x.toml", &format!("[[include]]\n{wrong}")).unwrap_err().to_string();
            assert!(error.contains("x.toml") && error.contains(names), "{error}");
        }
    }

    /// Of a version, findings with the same id must be for different versions of the machine.
    #[test]
    fn a_finding_is_there_once_in_each_version() {
        let finding = |versions: &str| {
            format!(
                "[[finding]]\nid='X'\ntitle='t'\nkind='choice'\nrule='AD-3'\nmanual='m'\nsince='s'\n\
                 versions={versions}\n"
            )
        };
        let [old, new] = ["{before='8.0'}", "{from='8.0'}"].map(finding);
        assert_eq!(from_text("x.toml", &(old.clone() + &new)).unwrap().len(), 2);

        let error = from_text("x.toml", &(old.clone() + &new + &old)).unwrap_err().to_string();
        assert_eq!(error, "x.toml: X is there twice in the same version");
    }

    /// What differs between QEMU 7.2 and 10.0, by the ids in `known/tcg.toml`: `tests/qemu_versions.rs`
    /// runs both.
    #[test]
    fn the_findings_of_a_machine_are_those_of_its_version() {
        let ids = |kind: &str, flavour: &str, version: Option<&str>| {
            let machine = Identity {
                kind: kind.into(),
                flavour: flavour.into(),
                beneath: "tcg".into(),
                cpu: String::new(),
                host_kernel: "6.1.0-31-amd64".into(),
                version: version.map(str::to_owned),
            };
            let known = shipped(&machine).unwrap();
            known.into_iter().map(|known| known.id).collect::<Vec<_>>()
        };

        let old = ids("qemu", "tcg", Some("QEMU 7.2.22"));
        let mut new = ids("qemu", "tcg", Some("QEMU 10.0.2"));
        assert!(!old.contains(&"T24".to_owned()));
        new.retain(|id| !old.contains(id));
        assert_eq!(new, ["T24"]);

        // The version beneath a nested KVM is not told, and is not that of its kernel.
        assert!(ids("kvm", "svm-npt", None).contains(&"T24".to_owned()));
    }

    #[test]
    fn a_kvm_on_an_emulator_has_the_file_of_both() {
        let ids = |flavour: &str, beneath: &str| {
            let machine = Identity {
                kind: "kvm".into(),
                flavour: flavour.into(),
                beneath: beneath.into(),
                cpu: String::new(),
                host_kernel: "6.1.0".into(),
                version: None,
            };
            shipped(&machine).unwrap().into_iter().map(|known| known.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("vmx-ept", "bochs"), ["X4", "X7", "X10", "N5", "N8", "N15", "N18", "N19"]);
        assert_eq!(
            ids("vmx-shadow", "bochs"),
            ["K16", "K21", "N5", "N6", "N7", "N17", "N20", "N21"]
        );
        assert!(ids("vmx-ept", "bare").is_empty());
    }

    #[test]
    fn an_unknown_word_is_refused_by_name() {
        let finding = |kind: &str, rule: &str, condition: &str| {
            format!(
                "[[finding]]\nid='X'\ntitle='t'\nkind='{kind}'\nrule='{rule}'\nmanual='m'\n\
                 since='s'\n{condition}"
            )
        };

        for (text, word) in [
            (finding("choice", "AD-3", "when.colour=1"), "colour"),
            (finding("chance", "AD-3", ""), "chance"),
            (finding("choice", "AD-99", ""), "AD-99"),
            (finding("choice", "AD-3", "quirk='rsvd'"), "rsvd"),
            (finding("choice", "AD-3", "when.mode=['6level']"), "6level"),
            (finding("choice", "AD-3", "when.access=['read', 'jump']"), "jump"),
            (finding("choice", "AD-3", "seen.expected=['refused']"), "refused"),
            (finding("choice", "AD-3", "seen.fields=['cr3']"), "cr3"),
            (finding("choice", "AD-3", "versions={from='old'}"), "old"),
        ] {
            let error = from_text("x.toml", &text).unwrap_err().to_string();
            assert!(error.contains("x.toml") && error.contains(word), "{error}");
        }
    }
}
