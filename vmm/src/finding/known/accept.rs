//! Accepting findings: what a run has found becomes known, so that the next run tells what is new.

use super::{Kind, KnownError, KnownFinding, from_file, from_text};
use crate::finding::Finding;
use crate::walker::{Walker, WalkerSpec};
use crosswalk_machine::Identity;
use mmu_core::{Reference, Rule};
use std::fmt::Write;
use std::path::Path;

/// What is written instead of a manual's section.
const NOT_LOOKED_UP: &str = "Accepted by check --update-known: nobody has looked it up.";

/// The text of a file of known findings, and the findings in it.
pub struct KnownText {
    text: String,
    known: Vec<KnownFinding>,
}

impl KnownText {
    /// A file that exists.
    ///
    /// # Errors
    /// If it cannot be read, or is malformed.
    pub fn of_file(path: &Path) -> Result<Self, KnownError> {
        let known = from_file(path)?;
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Ok(Self { text, known })
    }

    /// A new file, which has all that is known of a machine.
    ///
    /// # Errors
    /// If a file that comes with the program is malformed.
    pub fn of_machine(machine: &Identity) -> Result<Self, KnownError> {
        let mut text = String::from(
            "# Findings that are accepted. `crosswalk check --known FILE` forgives them, and\n\
             # `crosswalk check --update-known FILE` adds those that are new.\n",
        );
        let known = super::shipped(machine)?;
        if let Some(flavour) = super::shipped::name(machine).filter(|_| !known.is_empty()) {
            let ids: Vec<_> = known.iter().map(|known| quoted(&known.id)).collect();
            let ids = ids.join(", ");
            let _ = write!(text, "\n[[include]]\nfrom = {}\nfindings = [{ids}]\n", quoted(flavour));
        }
        Ok(Self { text, known })
    }

    /// Adds the findings of a run that are not forgiven, and forgives them. Returns their new ids.
    ///
    /// # Errors
    /// If a finding cannot be written so that it is read again: an error of this program.
    pub fn accept(
        &mut self,
        findings: &mut [Finding],
        machine: &Identity,
    ) -> Result<Vec<String>, KnownError> {
        let mut ids = Vec::new();

        for finding in findings.iter_mut().filter(|finding| is_new(finding)) {
            let id = self.free_id();
            self.text.push_str(&described(&id, finding, machine));
            self.known = from_text("the file to write", &self.text)?;
            finding.id.clone_from(&id);
            finding.known = true;
            ids.push(id);
        }
        Ok(ids)
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first of A1, A2, ... that no finding has.
    fn free_id(&self) -> String {
        let is_free = |id: &String| self.known.iter().all(|known| known.id != *id);
        let mut ids = (1..).map(|number: u32| format!("A{number}"));
        ids.find(is_free).unwrap_or_default()
    }
}

/// Whether a finding is about the machine, was met, and is not forgiven.
fn is_new(finding: &Finding) -> bool {
    matches!(finding.kind, Kind::Divergence | Kind::Unsupported)
        && !finding.known
        && !finding.catches_walker
        && finding.count > 0
}

/// A finding as its file has it.
fn described(id: &str, finding: &Finding, machine: &Identity) -> String {
    let version = machine.version.as_deref().unwrap_or(&machine.host_kernel);
    let since = format!("{} {}, {version}", machine.kind, machine.flavour);
    let cause = finding.explained_by.as_ref().and_then(|cause| cause.parse::<WalkerSpec>().ok());
    let mut text = String::from("\n[[finding]]\n");

    for (name, value) in [
        ("id", id),
        ("title", finding.title.as_str()),
        ("kind", finding.kind.name()),
        ("rule", rule(finding, cause).id()),
        ("manual", NOT_LOOKED_UP),
        ("since", &since),
    ] {
        let _ = writeln!(text, "{name} = {}", quoted(value));
    }
    text.push_str("accepted = true\n");
    if let Some(example) = &finding.example {
        let _ = writeln!(text, "case = {}", quoted(&example.case.to_string()));
    }

    match (finding.kind, cause, &finding.signature) {
        (Kind::Unsupported, _, _) => {
            let reason = finding.title.strip_prefix("not run: ").unwrap_or(&finding.title);
            let _ = writeln!(text, "seen = {{ reason = {} }}", quoted(reason));
        }
        (_, Some(cause), _) => {
            let _ = writeln!(
                text,
                "explained_by = {}\nas_explained = true",
                quoted(&cause.to_string())
            );
        }
        (_, None, Some(signature)) => text.push_str(&signature.conditions()),
        (_, None, None) => {}
    }
    text
}

/// The rule of the mutant that makes the same mistake, else the first that decides the smallest case.
fn rule(finding: &Finding, cause: Option<WalkerSpec>) -> Rule {
    let of_cause =
        cause.and_then(|cause| cause.mutants().into_iter().find_map(|mutant| mutant.rule));
    of_cause.unwrap_or_else(|| {
        let example = finding.example.as_ref();
        let rules = example.map(|example| Reference.predict(&example.case).rules);
        rules.unwrap_or_default().iter().next().unwrap_or(Rule::Code1)
    })
}

/// A text as a string of TOML, whose escapes are those of JSON where it needs any.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
