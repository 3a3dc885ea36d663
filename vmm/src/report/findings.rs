//! Known findings of machines: as a list, in full, and as JSON.

use super::document::Document;
use super::style::shell_word;
use super::style::table::{line, new_table, trimmed};
use crate::campaign::known::KnownSource;
use crate::finding::known::{KnownFinding, VersionRange};
use crosswalk_case::Case;
use crosswalk_machine::Version;
use serde::Serialize;
use std::fmt::Write;

/// The known findings of machines: `findings`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct FindingsDocument<'r> {
    /// Each finding.
    findings: Vec<KnownFindingJson<'r>>,
}

impl Document for FindingsDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The command that lists the known findings of a run, and describes those whose ids follow it.
pub(in crate::report) fn command(known: &KnownSource) -> String {
    match known {
        KnownSource::Shipped | KnownSource::Unforgiven => "crosswalk findings".into(),
        KnownSource::File(path) => format!("crosswalk findings --known {}", shell_word(path)),
    }
}

/// A known finding.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct KnownFindingJson<'r> {
    /// The flavour of the machine that has it.
    flavour: &'r str,
    /// Its id, such as `T20`.
    id: &'r str,
    /// What it is, in a sentence.
    title: &'r str,
    /// `divergence`, `choice`, `unsupported`, `probe` or `fatal`.
    kind: &'static str,
    /// The id of the rule.
    rule: &'static str,
    /// What the manuals say.
    manual: &'r str,
    /// Where it was measured.
    since: &'r str,
    /// The versions of the machine that have it.
    versions: VersionRangeJson,
    /// The mutant that does the same.
    explained_by: Option<&'r str>,
    /// A case that shows it.
    case: Option<Case>,
    /// The litmus test that shows it, where it takes two processors.
    litmus: Option<&'r str>,
}

/// A range of versions. An end that is not given is open.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct VersionRangeJson {
    /// The first version that has it; null if all earlier ones do.
    from: Option<String>,
    /// The first version that lacks it again; null if none is known.
    before: Option<String>,
}

impl From<VersionRange> for VersionRangeJson {
    fn from(range: VersionRange) -> Self {
        Self { from: range.from().map(Version::short), before: range.before().map(Version::short) }
    }
}

/// The findings of some flavours of machines, as JSON.
pub fn document(all: &[(String, Vec<KnownFinding>)]) -> impl Document {
    let of_each = all
        .iter()
        .flat_map(|(flavour, known)| known.iter().map(move |known| known_json(flavour, known)));
    FindingsDocument { findings: of_each.collect() }
}

fn known_json<'r>(flavour: &'r str, known: &'r KnownFinding) -> KnownFindingJson<'r> {
    KnownFindingJson {
        flavour,
        id: &known.id,
        title: &known.title,
        kind: known.kind.name(),
        rule: known.rule.id(),
        manual: &known.manual,
        since: &known.since,
        versions: known.versions.into(),
        explained_by: known.explained_by.as_deref(),
        // It was read as a case when the file was.
        case: known.case.as_deref().and_then(|case| Case::from_json(case).ok()),
        litmus: known.litmus.as_deref(),
    }
}

/// The findings of some flavours of machines, a table for each in 80 columns.
pub fn text(all: &[(String, Vec<KnownFinding>)]) -> String {
    let mut text = String::new();
    for (flavour, known) in all {
        line(&mut text, flavour);
        let mut table = new_table(&["finding", "kind", "rule", "versions", "what"]);
        for known in known {
            table.add_row([
                known.id.clone(),
                known.kind.name().into(),
                known.rule.id().into(),
                known.versions.to_string(),
                known.title.clone(),
            ]);
        }
        let _ = writeln!(text, "{}\n", trimmed(&table));
    }
    text
}

/// Some findings in full.
pub fn descriptions(all: &[(String, Vec<KnownFinding>)]) -> String {
    let mut text = String::new();
    for (flavour, known) in all {
        for known in known {
            describe(&mut text, flavour, known);
        }
    }
    text
}

fn describe(text: &mut String, flavour: &str, known: &KnownFinding) {
    let KnownFinding { id, title, kind, rule, manual, since, versions, .. } = known;
    line(text, &format!("{id} of {flavour}: {title}"));
    line(text, &format!("  kind      {}", kind.name()));
    line(text, &format!("  rule      {rule}: {}", rule.meaning()));
    line(text, &format!("  manual    {manual}"));
    line(text, &format!("  versions  {versions}"));
    line(text, &format!("  measured  {since}"));
    if let Some(mutant) = &known.explained_by {
        line(text, &format!("  as        {mutant}"));
    }
    if let Some(case) = &known.case {
        // One line, however long: people copy it into a shell.
        let _ = writeln!(text, "  crosswalk explain '{case}'");
    }
    if let Some(name) = &known.litmus {
        line(text, &format!("  crosswalk litmus {name} --machine kvm, or qemu"));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_file_of_a_user() {
        let command = |known: &str| command(&known.parse().expect("a source"));
        assert_eq!(command("none"), "crosswalk findings");
        assert_eq!(command("a b.toml"), "crosswalk findings --known 'a b.toml'");
    }
}
