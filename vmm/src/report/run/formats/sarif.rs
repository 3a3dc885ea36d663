//! A run in the Static Analysis Results Interchange Format (OASIS SARIF 2.1.0), for code scanners. A case is an
//! artifact with its text in the document; a known finding is a result that is suppressed.

use super::{Grade, RunResult, results, subject};
use crate::campaign::Summary;
use crate::report::RunFacts;
use crate::report::document::{Ending, VerdictWord};
use serde::Serialize;

#[derive(Serialize)]
struct SarifLog {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [SarifRun; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifRun {
    tool: Tool,
    automation_details: AutomationDetails,
    invocations: [Invocation; 1],
    artifacts: Vec<Artifact>,
    results: Vec<SarifResult>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    short_description: Text,
}

#[derive(Serialize)]
struct AutomationDetails {
    id: String,
    description: Text,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    exit_code: u8,
}

#[derive(Serialize)]
struct Artifact {
    location: ArtifactLocation,
    contents: Text,
}

#[derive(Clone, Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    kind: &'static str,
    message: Text,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<Suppression>,
    #[serde(skip_serializing_if = "is_zero")]
    occurrence_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
}

#[derive(Serialize)]
struct Suppression {
    kind: &'static str,
    justification: &'static str,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The document. What passed is not in it.
///
/// # Panics
/// Never: the document has nothing that JSON cannot hold.
pub fn document(facts: &RunFacts<'_>, summary: &Summary, ending: Ending) -> String {
    let mut log = SarifRun {
        tool: Tool {
            driver: Driver {
                name: "crosswalk",
                semantic_version: env!("CARGO_PKG_VERSION"),
                rules: Vec::new(),
            },
        },
        automation_details: AutomationDetails {
            id: format!("crosswalk/{}-{}/", facts.identity.kind, facts.identity.flavour),
            description: Text { text: subject(facts) },
        },
        invocations: [Invocation {
            execution_successful: ending.verdict() != VerdictWord::NothingCompared,
            exit_code: ending.exit(),
        }],
        artifacts: Vec::new(),
        results: Vec::new(),
    };

    for result in results(facts, summary, ending) {
        if matches!(result.grade, Grade::Known | Grade::Missing | Grade::Failed) {
            log.add(result);
        }
    }
    let log = SarifLog {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [log],
    };
    serde_json::to_string_pretty(&log).expect("a log is plain data") + "\n"
}

impl SarifRun {
    fn add(&mut self, result: RunResult) {
        let rules = &mut self.tool.driver.rules;
        let index = rules.iter().position(|rule| rule.id == result.id).unwrap_or_else(|| {
            let title = Text { text: result.title.clone() };
            rules.push(Rule { id: result.id.clone(), short_description: title });
            rules.len() - 1
        });

        let lines = std::iter::once(result.headline());
        let lines = lines.chain(result.details).chain(result.command);
        let message = Text { text: lines.collect::<Vec<_>>().join("\n") };
        let locations = result.case.map(|case| self.add_case(case)).into_iter().collect();

        let is_known = result.grade == Grade::Known;
        let level = match result.grade {
            Grade::Failed => "error",
            Grade::Missing => "warning",
            _ => "note",
        };
        self.results.push(SarifResult {
            rule_id: result.id,
            rule_index: index,
            level,
            kind: "fail",
            message,
            locations,
            suppressions: is_known.then_some(KNOWN).into_iter().collect(),
            occurrence_count: result.cases,
        });
    }

    /// Adds a case as a file whose contents are in the document.
    fn add_case(&mut self, case: String) -> Location {
        let uri = format!("cases/{}.json", self.artifacts.len() + 1);
        let location = ArtifactLocation { uri };
        self.artifacts.push(Artifact { location: location.clone(), contents: Text { text: case } });
        Location { physical_location: PhysicalLocation { artifact_location: location } }
    }
}

/// Why a known finding does not count.
const KNOWN: Suppression =
    Suppression { kind: "external", justification: "a known finding of the machine, forgiven" };
