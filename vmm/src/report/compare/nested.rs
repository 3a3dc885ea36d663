//! The same nested cases on several machines, as text and as JSON.

use crate::report::document::Document;
use crate::report::style::count::Count;
use crate::report::style::letters;
use crate::report::style::number::with_commas;
use crate::report::style::table::{line, new_table, trimmed};
use comfy_table::CellAlignment;
use crosswalk_case::Decimal;
use crosswalk_machine::Identity;
use crosswalk_nested::NestedCase;
use crosswalk_nested::compare::{Dispute, DisputedCases, NestedComparison};
use serde::Serialize;
use std::fmt::Write;

/// Machines whose second levels are of one kind.
pub struct KindComparison {
    /// `NPT` or `EPT`.
    pub kind: &'static str,
    /// The names of the machines.
    pub names: Vec<String>,
    /// What they are.
    pub identities: Vec<Identity>,
    /// What they did.
    pub comparison: NestedComparison,
}

/// A machine that is the only one of its kind: no other has its cases.
pub struct LeftAlone {
    /// Its name.
    pub name: String,
    /// `NPT` or `EPT`.
    pub kind: &'static str,
}

/// The most rows that people want to read.
const MAX_ROWS: usize = 30;

/// Who differs from the manuals and who from the others.
pub fn text(kinds: &[KindComparison], alone: &[LeftAlone], seed: Option<u64>) -> String {
    let mut text = String::new();
    let cases = seed.map_or_else(|| "given".to_owned(), |seed| format!("random, seed {seed}"));
    line(&mut text, &format!("nested cases: {cases}\n"));

    for LeftAlone { name, kind } in alone {
        line(
            &mut text,
            &format!(
                "{name} is the only machine with {kind}: no other runs its cases, so it is left out.\n"
            ),
        );
    }
    for kind in kinds {
        add_kind(&mut text, kind);
    }
    line(&mut text, verdict(kinds));
    text
}

fn add_kind(text: &mut String, kind: &KindComparison) {
    let KindComparison { kind, names, comparison, .. } = kind;
    line(text, &format!("{kind}:"));
    for (letter, name) in letters().zip(names) {
        line(text, &format!("{letter}  {name}"));
    }
    add_machines(text, comparison);

    line(
        text,
        &format!(
            "{} cases; at least two machines ran {} of them, and in {} of these all did the same, as the manuals \
             allow.\n",
            with_commas(comparison.cases),
            with_commas(comparison.shared),
            with_commas(comparison.unanimous)
        ),
    );
    let disputes = ordered(comparison);
    add_disputes(text, &disputes);
    for (dispute, cases) in disputes.iter().take(MAX_ROWS) {
        describe(text, dispute, cases);
    }
}

fn add_machines(text: &mut String, comparison: &NestedComparison) {
    let header = ["who", "cases", "right", "known", "unknown", "unrun", "shared", "outvoted"];
    let mut grid = new_table(&header);
    for column in grid.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for (letter, machine) in letters().zip(&comparison.machines) {
        let counts = machine.counts;
        let all = [
            counts.cases,
            counts.right,
            counts.known,
            counts.unknown,
            counts.unrun,
            counts.shared,
            counts.outvoted,
        ];
        let mut row = vec![letter.to_string()];
        row.extend(all.map(with_commas));
        grid.add_row(row);
    }
    let _ = writeln!(text, "\n{}\n", trimmed(&grid));
}

/// What is not known first, then what is most frequent.
fn ordered(comparison: &NestedComparison) -> Vec<(&Dispute, &DisputedCases)> {
    let mut all: Vec<_> = comparison.disputes.iter().collect();
    all.sort_by_key(|(dispute, cases)| (dispute.is_known, u64::MAX - cases.count));
    all
}

fn add_disputes(text: &mut String, disputes: &[(&Dispute, &DisputedCases)]) {
    if disputes.is_empty() {
        return;
    }
    let mut grid = new_table(&["from the manuals", "from the others", "cases", "about"]);
    for (dispute, cases) in disputes.iter().take(MAX_ROWS) {
        let wrong = letters_of(&dispute.wrong);
        let wrong = if dispute.everyone { format!("{wrong} (all)") } else { wrong };
        let outvoted = letters_of(&dispute.outvoted);
        grid.add_row([wrong, outvoted, with_commas(cases.count), about(dispute)]);
    }
    let _ = writeln!(text, "Who differs, and in what:\n{}", trimmed(&grid));
    let left = disputes.len().saturating_sub(MAX_ROWS);
    if left > 0 {
        line(text, &format!("and {left} more, which are rarer; --json has all."));
    }
    text.push('\n');
}

fn describe(text: &mut String, dispute: &Dispute, cases: &DisputedCases) {
    let DisputedCases { name, expected, observed, example, .. } = cases;
    line(text, &format!("{}, {name}: expected {expected}", about(dispute)));
    for (machine, words) in observed {
        line(text, &format!("  {} {words}", letters_of(&[*machine])));
    }
    // Only what is new is printed as a case: one line, however long, since people copy it.
    if !dispute.is_known {
        let _ = writeln!(text, "  crosswalk explain '{example}'");
    }
    text.push('\n');
}

fn about(dispute: &Dispute) -> String {
    let words = dispute.about.join(", ");
    match dispute {
        Dispute { wrong, .. } if wrong.is_empty() && words.is_empty() => "allowed".into(),
        Dispute { wrong, .. } if wrong.is_empty() => format!("allowed: {words}"),
        Dispute { is_known: false, .. } => format!("NOT KNOWN: {words}"),
        _ => words,
    }
}

fn letters_of(machines: &[usize]) -> String {
    let all: Vec<char> = letters().collect();
    let names: Vec<_> =
        machines.iter().filter_map(|machine| all.get(*machine)).map(char::to_string).collect();
    if names.is_empty() { "-".into() } else { names.join(" ") }
}

fn verdict(kinds: &[KindComparison]) -> &'static str {
    let is_unknown = |kind: &KindComparison| {
        kind.comparison.machines.iter().any(|machine| machine.counts.unknown > 0)
    };
    if kinds.iter().all(|kind| kind.comparison.shared == 0) {
        "No case was run by two machines: there is nothing to compare."
    } else if kinds.iter().any(is_unknown) {
        "A machine differs from the manuals in a way that is not known."
    } else {
        "Every difference from the manuals is known."
    }
}

/// The same nested cases on several machines: `compare --nested`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct NestedCompareDocument<'r> {
    /// The seed of the cases, as a decimal string; none if they were given.
    seed: Option<Decimal>,
    /// The machines by the kind of their second level: each kind has cases of its own.
    kinds: Vec<NestedKindJson<'r>>,
    /// Machines that are the only ones of their kind, which were left out.
    alone: Vec<LeftAloneJson<'r>>,
}

/// Machines whose second levels are of one kind.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedKindJson<'r> {
    /// `NPT` or `EPT`.
    kind: &'r str,
    /// The number of cases.
    cases: Count,
    /// The number of those that at least two machines ran.
    shared: Count,
    /// The number of those in which all did the same, as the manuals allow.
    unanimous: Count,
    /// The machines.
    machines: Vec<NestedComparedMachineJson<'r>>,
    /// In which cases machines differ from the manuals or from each other.
    disagreements: Vec<NestedDisagreementJson<'r>>,
}

/// A machine, and the number of its cases.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedComparedMachineJson<'r> {
    /// Its name in this document.
    name: &'r str,
    /// Its kind: `kvm`, `qemu` or `bochs`.
    machine: &'r str,
    /// The program that it is, with its version.
    version: Option<String>,
    /// The number of its cases.
    cases: Count,
    /// Those in which it does what the manuals allow.
    right: Count,
    /// Those in which it shows a known finding.
    known: Count,
    /// Those in which it differs from the manuals in a way that is not known.
    unknown: Count,
    /// Those that it could not run, or of which nothing was predicted.
    unrun: Count,
    /// Those that another machine ran, too.
    shared: Count,
    /// Those in which it differs from most others.
    outvoted: Count,
}

/// Cases in which the same machines disagree about the same.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedDisagreementJson<'r> {
    /// The names of the machines that differ from the manuals.
    differ_from_manuals: Vec<&'r str>,
    /// Whether these are all that ran the cases.
    everyone: bool,
    /// The names of the machines that differ from most others.
    differ_from_others: Vec<&'r str>,
    /// Whether known findings explain it.
    known: bool,
    /// Ids of findings, rules that leave a choice, or fields.
    about: &'r [String],
    /// The number of cases.
    count: Count,
    /// The name of the first of them, which stands for a case of all these machines alone.
    name: &'r str,
    /// The first of them.
    case: &'r NestedCase,
    /// What the manuals expect of it, in words.
    expected: &'r str,
    /// What each machine did with it.
    observed: Vec<NestedObservedOnJson<'r>>,
}

/// What a machine did.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedObservedOnJson<'r> {
    /// The name of the machine.
    machine: &'r str,
    /// What it did, in words.
    observed: &'r str,
}

/// A machine that is the only one of its kind.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct LeftAloneJson<'r> {
    /// Its name.
    name: &'r str,
    /// `NPT` or `EPT`.
    kind: &'r str,
}

impl Document for NestedCompareDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The comparison as one document.
pub fn document<'r>(
    kinds: &'r [KindComparison],
    alone: &'r [LeftAlone],
    seed: Option<u64>,
) -> impl Document + 'r {
    NestedCompareDocument {
        seed: seed.map(Decimal),
        kinds: kinds.iter().map(kind_json).collect(),
        alone: alone.iter().map(|one| LeftAloneJson { name: &one.name, kind: one.kind }).collect(),
    }
}

fn kind_json(kind: &KindComparison) -> NestedKindJson<'_> {
    let KindComparison { names, comparison, .. } = kind;
    let machines = kind.identities.iter().zip(names).zip(&comparison.machines);
    NestedKindJson {
        kind: kind.kind,
        cases: comparison.cases.into(),
        shared: comparison.shared.into(),
        unanimous: comparison.unanimous.into(),
        machines: machines
            .map(|((identity, name), machine)| NestedComparedMachineJson {
                name,
                machine: &identity.kind,
                version: identity.version.clone(),
                cases: machine.counts.cases.into(),
                right: machine.counts.right.into(),
                known: machine.counts.known.into(),
                unknown: machine.counts.unknown.into(),
                unrun: machine.counts.unrun.into(),
                shared: machine.counts.shared.into(),
                outvoted: machine.counts.outvoted.into(),
            })
            .collect(),
        disagreements: ordered(comparison)
            .into_iter()
            .map(|(dispute, cases)| disagreement_json(names, dispute, cases))
            .collect(),
    }
}

fn disagreement_json<'r>(
    names: &'r [String],
    dispute: &'r Dispute,
    cases: &'r DisputedCases,
) -> NestedDisagreementJson<'r> {
    let name = |machine: &usize| names.get(*machine).map_or("", String::as_str);
    NestedDisagreementJson {
        differ_from_manuals: dispute.wrong.iter().map(name).collect(),
        everyone: dispute.everyone,
        differ_from_others: dispute.outvoted.iter().map(name).collect(),
        known: dispute.is_known,
        about: &dispute.about,
        count: cases.count.into(),
        name: &cases.name,
        case: &cases.example,
        expected: &cases.expected,
        observed: cases
            .observed
            .iter()
            .map(|(machine, observed)| NestedObservedOnJson { machine: name(machine), observed })
            .collect(),
    }
}
