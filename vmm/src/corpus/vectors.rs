//! Test vectors: a line of JSON for each case, which says by itself all that a test of a walker needs.
//! `docs/guide/src/corpus.md` describes the fields.

use super::allowed::allowed;
use super::filter::FoundCase;
use super::observed::ObservedText;
use super::write::{hex, line};
use crate::verdict::Verdict;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The version of the format.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct VectorLine<'v> {
    vector: u32,
    /// The same for the same case, on whatever machine it was tried.
    id: String,
    name: String,
    mode: &'static str,
    /// As `explain` and the line protocol of walkers take it.
    case: &'v Case,
    rules: &'v [String],
    /// What this version of the program predicts, whatever the corpus says.
    allowed: serde_json::Value,
    machine: VectorMachine<'v>,
    verdict: &'static str,
    findings: &'v [&'v str],
    observed: Option<ObservedText>,
    /// Why the machine could not run the case.
    unsupported: Option<&'v str>,
}

#[derive(Serialize)]
struct VectorMachine<'v> {
    kind: &'v str,
    flavour: &'v str,
    beneath: &'v str,
    cpu: &'v str,
    host_kernel: &'v str,
    emulator: Option<&'v str>,
}

/// The vector of a case, with its line feed.
pub fn vector_line(found: &FoundCase<'_>) -> String {
    let recorded = found.recorded;
    let identity = &found.machine.identity;
    let (observed, unsupported) = match &recorded.attempt {
        Attempt::Observed(seen) => (Some(ObservedText::of(seen)), None),
        Attempt::Unsupported(why) => (None, Some(why.as_str())),
    };

    line(&VectorLine {
        vector: FORMAT,
        id: id_of(&recorded.case),
        name: recorded.name.to_string(),
        mode: recorded.case.mode().name(),
        case: &recorded.case,
        rules: &recorded.rules,
        allowed: allowed(&recorded.case),
        machine: VectorMachine {
            kind: &identity.kind,
            flavour: &identity.flavour,
            beneath: &identity.beneath,
            cpu: &identity.cpu,
            host_kernel: &identity.host_kernel,
            emulator: identity.version.as_deref(),
        },
        verdict: match found.verdict {
            Verdict::Agree { .. } => "agree",
            Verdict::Diverge { .. } => "diverge",
            Verdict::Unsupported(_) => "unsupported",
        },
        findings: found.findings.unwrap_or_default(),
        observed,
        unsupported,
    })
}

/// 64 bits of a digest of the case are enough to tell the cases of a corpus apart.
fn id_of(case: &Case) -> String {
    let digest = Sha256::digest(case.to_string());
    hex(digest.first_chunk::<8>().map_or(&[], |bytes| bytes.as_slice()))
}
