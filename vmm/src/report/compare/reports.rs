//! Two reports of runs side by side: what ran, and in what their results differ.

use crate::report::document::{Document, VerdictWord};
use crate::report::style::count::Count;
use crate::report::style::number::with_commas;
use crate::report::style::table::line;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Two reports side by side: `compare` of two reports.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReportComparison {
    /// The two reports, as the user named them.
    reports: [String; 2],
    /// What ran, where that differs.
    facts: Vec<FactJson>,
    /// Whether both ran the same cases. Only then do counts matter.
    same_cases: bool,
    /// The paging modes that are not both checked, or not both left out.
    modes: Vec<FactJson>,
    /// The ids of the rules that decided a case of one of them only.
    rules: SidesJson,
    /// The findings that a case of one of them shows, or that differ in their counts.
    findings: Vec<FindingOnBothJson>,
    /// What was chosen in one of them only, where the manuals leave it open.
    choices: Vec<ChoiceOnBothJson>,
    /// How fast they were.
    cases_per_second: [f64; 2],
}

impl Document for ReportComparison {
    const SCHEMA: u32 = 1;
}

/// Something that differs.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FactJson {
    /// What it is, such as `machine.version`.
    what: String,
    /// What each report has; null if it has nothing.
    values: [Option<String>; 2],
}

/// What is in one of the reports only.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SidesJson {
    /// In the first only.
    first: Vec<String>,
    /// In the second only.
    second: Vec<String>,
}

/// A finding, and how often it was met.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FindingOnBothJson {
    /// Its id; made for the run where it is not known.
    id: String,
    /// What it is, in a sentence.
    title: String,
    /// Whether it is known.
    known: bool,
    /// `new` (in the second report), `gone`, or `counts`.
    change: &'static str,
    /// The number of cases in each.
    counts: [Count; 2],
}

/// A member of a choice, and how often it was taken.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ChoiceOnBothJson {
    /// The id of the rule.
    rule: String,
    /// The paging mode.
    mode: String,
    /// The situation, in words.
    when: String,
    /// What was chosen.
    member: String,
    /// The number of cases in each.
    counts: [Count; 2],
}

/// What of a run says what ran.
const FACTS: [&str; 14] = [
    "version",
    "machine.kind",
    "machine.flavour",
    "machine.beneath",
    "machine.version",
    "machine.cpu",
    "machine.host_kernel",
    "machine.vendor",
    "machine.max_physical_address",
    "generator",
    "seed",
    "walker",
    "complete",
    "totals.cases",
];

impl ReportComparison {
    /// Compares two reports.
    ///
    /// # Errors
    /// If one of them is not the report of a run: its place, and what was expected.
    pub fn new(names: [String; 2], reports: &[Value; 2]) -> Result<Self, (usize, String)> {
        for (side, report) in reports.iter().enumerate() {
            for member in ["machine", "totals", "modes", "rules", "findings", "choices"] {
                if report.get(member).is_none_or(|value| !value.is_object() && !value.is_array()) {
                    let problem = format!("expected the report of a run, with \"{member}\"");
                    return Err((side, problem));
                }
            }
        }

        let case_set = |report: &Value| text_at(report, "totals.case_set");
        let same_cases =
            case_set(&reports[0]).is_some_and(|set| Some(set) == case_set(&reports[1]));
        Ok(Self {
            reports: names,
            facts: FACTS.iter().filter_map(|what| fact(what, reports, text_at)).collect(),
            same_cases,
            modes: modes(reports),
            rules: rules(reports),
            findings: findings(reports, same_cases),
            choices: choices(reports),
            cases_per_second: [0, 1].map(|side: usize| {
                reports[side]["totals"]["cases_per_second"].as_f64().unwrap_or(0.0)
            }),
        })
    }

    /// Whether the results are the same, whatever ran.
    pub fn verdict(&self) -> VerdictWord {
        let is_same = self.modes.is_empty()
            && self.rules.first.is_empty()
            && self.rules.second.is_empty()
            && self.findings.is_empty()
            && self.choices.is_empty();
        if is_same { VerdictWord::Same } else { VerdictWord::Differ }
    }

    /// The comparison in 80 columns.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (letter, name) in ["A", "B"].iter().zip(&self.reports) {
            line(&mut text, &format!("{letter}  {name}"));
        }
        text.push('\n');

        section(&mut text, "What ran", self.facts.iter().map(FactJson::words));
        section(&mut text, "Modes", self.modes.iter().map(FactJson::words));
        let of_side = |ids: &[String], letter: &str| {
            (!ids.is_empty()).then(|| format!("in {letter} only: {}", ids.join(", ")))
        };
        let SidesJson { first, second } = &self.rules;
        let rules = [of_side(first, "A"), of_side(second, "B")];
        section(&mut text, "Rules that decided a case", rules.into_iter().flatten());
        section(&mut text, "Findings", self.findings.iter().map(FindingOnBothJson::words));
        section(&mut text, "Choices", self.choices.iter().map(ChoiceOnBothJson::words));

        let [a, b] = self.cases_per_second;
        let mut rate = format!("A {} and B {} cases a second", whole(a), whole(b));
        if a > 0.0 {
            let _ = write!(rate, ": B has {:.2} times the rate of A", b / a);
        }
        line(&mut text, &format!("{rate}."));
        line(
            &mut text,
            match self.verdict() {
                VerdictWord::Same => "The results are the same.",
                _ => "The results differ.",
            },
        );
        text
    }
}

fn whole(rate: f64) -> String {
    with_commas(rate.round() as u64)
}

fn section(text: &mut String, heading: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return;
    }
    line(text, heading);
    for words in lines {
        line(text, &format!("  {words}"));
    }
    text.push('\n');
}

impl FactJson {
    fn words(&self) -> String {
        let [a, b] = self.values.each_ref().map(|value| value.as_deref().unwrap_or("nothing"));
        format!("{}: A {a}, B {b}", self.what)
    }
}

impl FindingOnBothJson {
    fn words(&self) -> String {
        let known = if self.known { "known" } else { "not known" };
        let Self { id, title, change, counts: [a, b], .. } = self;
        format!("{change}: {id} ({known}), A {a}, B {b}: {title}")
    }
}

impl ChoiceOnBothJson {
    fn words(&self) -> String {
        let Self { rule, mode, when, member, counts: [a, b] } = self;
        format!("{rule}, {mode}, {when}: {member}: A {a}, B {b}")
    }
}

/// A member of a report, by its path, as text.
fn text_at(report: &Value, path: &str) -> Option<String> {
    let value = path.split('.').try_fold(report, |value, name| value.get(name))?;
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A fact, if it differs.
fn fact(
    what: &str,
    reports: &[Value; 2],
    find: impl Fn(&Value, &str) -> Option<String>,
) -> Option<FactJson> {
    let values = reports.each_ref().map(|report| find(report, what));
    (values[0] != values[1]).then(|| FactJson { what: what.to_owned(), values })
}

fn list<'r>(report: &'r Value, member: &str) -> impl Iterator<Item = &'r Value> {
    report[member].as_array().into_iter().flatten()
}

fn string(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}

fn modes(reports: &[Value; 2]) -> Vec<FactJson> {
    let names: BTreeSet<_> = reports
        .iter()
        .flat_map(|report| list(report, "modes"))
        .map(|mode| string(mode, "mode"))
        .collect();
    let status = |report: &Value, name: &str| {
        let mode = list(report, "modes").find(|mode| mode["mode"] == name)?;
        Some(string(mode, "status"))
    };
    names.iter().filter_map(|name| fact(name, reports, status)).collect()
}

fn rules(reports: &[Value; 2]) -> SidesJson {
    let [first, second] = reports.each_ref().map(|report| -> BTreeSet<String> {
        let ids = list(&report["rules"], "hit").filter_map(Value::as_str);
        ids.map(str::to_owned).collect()
    });
    SidesJson {
        first: first.difference(&second).cloned().collect(),
        second: second.difference(&first).cloned().collect(),
    }
}

fn findings(reports: &[Value; 2], same_cases: bool) -> Vec<FindingOnBothJson> {
    let mut met: BTreeMap<(bool, String), (String, String, [u64; 2])> = BTreeMap::new();
    for (side, report) in reports.iter().enumerate() {
        for finding in list(report, "findings") {
            let known = finding["known"] == true;
            let (id, title) = (string(finding, "id"), string(finding, "title"));
            // What is not known has an id of its run only.
            let key = if known { id.clone() } else { title.clone() };
            let (_, _, counts) = met.entry((known, key)).or_insert((id, title, [0; 2]));
            counts[side] += finding["count"].as_u64().unwrap_or(0);
        }
    }

    let changed = met.into_iter().filter_map(|((known, _), (id, title, counts))| {
        let change = match counts {
            [a, b] if a == b => return None,
            [0, _] => "new",
            [_, 0] => "gone",
            _ if same_cases => "counts",
            _ => return None,
        };
        Some(FindingOnBothJson { id, title, known, change, counts: counts.map(Count::from) })
    });
    changed.collect()
}

fn choices(reports: &[Value; 2]) -> Vec<ChoiceOnBothJson> {
    let mut taken: BTreeMap<[String; 4], [u64; 2]> = BTreeMap::new();
    for (side, report) in reports.iter().enumerate() {
        for choice in list(report, "choices") {
            let key = ["rule", "mode", "when", "member"].map(|member| string(choice, member));
            taken.entry(key).or_default()[side] += choice["count"].as_u64().unwrap_or(0);
        }
    }

    let on_one = taken.into_iter().filter(|(_, counts)| (counts[0] == 0) != (counts[1] == 0));
    on_one
        .map(|([rule, mode, when, member], counts)| ChoiceOnBothJson {
            rule,
            mode,
            when,
            member,
            counts: counts.map(Count::from),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Value {
        json!({
            "version": "1", "machine": {"kind": "kvm", "flavour": "pvm"}, "seed": "9",
            "modes": [{"mode": "4level", "status": "checked"}],
            "rules": {"hit": ["CODE-1", "AD-2"], "missed": []},
            "choices": [{"rule": "AD-2", "mode": "4level", "when": "ring 3 read", "member": "set", "count": 4}],
            "findings": [
                {"id": "N1", "title": "one", "known": true, "count": 5},
                {"id": "F1", "title": "two", "known": false, "count": 1},
            ],
            "totals": {"cases": 100, "case_set": "0x1", "cases_per_second": 50.0},
        })
    }

    fn compared(other: &Value) -> ReportComparison {
        let names = ["a", "b"].map(str::to_owned);
        ReportComparison::new(names, &[report(), other.clone()]).expect("both are reports")
    }

    #[test]
    fn the_same_results_are_the_same() {
        let mut other = report();
        other["machine"]["flavour"] = json!("vmx-ept");
        // The name of what is not known is that of its run.
        other["findings"][1]["id"] = json!("F7");
        other["totals"]["cases_per_second"] = json!(75.0);
        let compared = compared(&other);
        assert_eq!(compared.verdict(), VerdictWord::Same);
        assert_eq!(
            compared.text(),
            "A  a\nB  b\n\nWhat ran\n  machine.flavour: A pvm, B vmx-ept\n\nA 50 and B 75 cases a second: \
             B has 1.50 times the rate of A.\nThe results are the same.\n"
        );
    }

    #[test]
    fn each_difference_is_found() {
        type Edit = fn(&mut Value);
        let edits: [(&str, Edit, &str); 7] = [
            (
                "a mode",
                |report| report["modes"][0]["status"] = json!("unsupported"),
                "4level: A checked, B unsupported",
            ),
            (
                "a rule",
                |report| report["rules"]["hit"] = json!(["CODE-1", "OUT-1"]),
                "in B only: OUT-1",
            ),
            (
                "a finding goes",
                |report| report["findings"][0]["count"] = json!(0),
                "gone: N1 (known), A 5, B 0: one",
            ),
            (
                "a count",
                |report| report["findings"][0]["count"] = json!(6),
                "counts: N1 (known), A 5, B 6: one",
            ),
            (
                "a finding comes",
                |report| report["findings"][1]["title"] = json!("three"),
                "new: F1 (not known), A 0, B 1: three",
            ),
            (
                "a choice",
                |report| report["choices"][0]["member"] = json!("left"),
                "AD-2, 4level, ring 3 read: left: A 0, B 4",
            ),
            (
                "no choice",
                |report| report["choices"] = json!([]),
                "AD-2, 4level, ring 3 read: set: A 4, B 0",
            ),
        ];
        for (name, edit, words) in edits {
            let mut other = report();
            edit(&mut other);
            let compared = compared(&other);
            assert_eq!(compared.verdict(), VerdictWord::Differ, "{name}");
            let text = compared.text();
            assert!(text.contains(words), "{name}: {text}");
        }
    }

    #[test]
    fn counts_of_other_cases_do_not_matter() {
        let mut other = report();
        other["findings"][0]["count"] = json!(6);
        other["totals"]["case_set"] = json!("0x2");
        assert_eq!(compared(&other).verdict(), VerdictWord::Same);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for other in [json!({}), json!([]), json!(7), json!({"machine": {}, "totals": 1})] {
            let names = ["a", "b"].map(str::to_owned);
            let (side, problem) =
                ReportComparison::new(names, &[report(), other]).err().expect("it is no report");
            assert_eq!(side, 1);
            assert!(problem.starts_with("expected the report of a run"), "{problem}");
        }
    }
}
