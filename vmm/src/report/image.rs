//! Images that boot by themselves, and the ends of their logs; for people and for scripts.

use crate::image::BootableImage;
use crate::report::machine::{MachineJson, machine};
use crate::report::style::json::to_text;
use crate::report::style::number::with_commas;
use crate::report::style::table::line;
use crate::verdict::{self, Verdict, describe_observation};
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::log::LogEnd;
use crosswalk_machine::{Capabilities, Identity};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct ImageDocument<'r> {
    /// The head of the log that the image prints.
    image: &'r crate::image::HeadLine,
    tape_bytes: usize,
    bytes: usize,
    /// The end of the memory that a machine must have.
    memory: String,
}

/// The end of the memory that images use: that of the last lane.
const MEMORY_END: u64 = 0x7c00_0000;

/// What `image` prints.
pub fn text(out: &Path, image: &BootableImage, bytes: usize) -> String {
    let mut text = String::new();
    let batches = with_commas(image.head.batches.into());
    line(
        &mut text,
        &format!(
            "{}: {batches} batches in {} bytes, of which the tape has {}.",
            out.display(),
            with_commas(bytes as u64),
            with_commas(image.tape_bytes as u64)
        ),
    );
    line(
        &mut text,
        &format!(
            "Boot it on a machine with {} MiB of memory, and give what it writes to the first serial port to \
         crosswalk judge.",
            MEMORY_END >> 20
        ),
    );
    text
}

/// The document of `image --json`.
pub fn document(image: &BootableImage, bytes: usize) -> String {
    to_text(&ImageDocument {
        image: &image.head,
        tape_bytes: image.tape_bytes,
        bytes,
        memory: format!("{MEMORY_END:#x}"),
    })
}

/// Why a log that is not complete ends, as the rest of a sentence that begins with its name and line.
pub fn describe_end(end: LogEnd, batches: u32) -> String {
    let skip = |during: Option<u32>| {
        during.map_or_else(String::new, |number| {
            format!("; crosswalk image --skip {number} makes the image without that batch")
        })
    };
    let place = |during: Option<u32>| match during {
        Some(0) => "before the first batch".to_owned(),
        Some(number) => format!("during batch {number} of {batches}"),
        None => "between two batches".to_owned(),
    };

    match end {
        LogEnd::Complete => "the log ends before its last batch".into(),
        LogEnd::CutOff { during } => format!(
            "the log ends {}: the machine died or hangs, or the log was cut off{}",
            place(during),
            skip(during)
        ),
        LogEnd::Restart { during } => {
            format!("the machine started again {}{}", place(during), skip(during))
        }
        LogEnd::NoMemory(address) => format!(
            "the machine has no memory at {address:#x}: images need {} MiB",
            MEMORY_END >> 20
        ),
    }
}

/// What a machine skipped, as a sentence.
pub fn describe_skipped(skipped: u64, batches: u32, lacking: &[String]) -> String {
    format!(
        "{skipped} of {batches} batches were skipped, since the machine lacks {}; crosswalk image --like makes \
         an image for it",
        lacking.join(", ")
    )
}

#[derive(Serialize)]
struct CasesDocument<'r> {
    machine: MachineJson<'r>,
    cases: Vec<CaseJson<'r>>,
}

#[derive(Serialize)]
struct CaseJson<'r> {
    case: &'r Case,
    verdict: &'static str,
    observed: Option<String>,
    /// Why the machine did not run it.
    reason: Option<&'r str>,
    differences: Vec<String>,
}

/// What a machine did with each case of a list, for scripts.
pub fn cases_document(
    identity: &Identity,
    capabilities: &Capabilities,
    shown: &[(Case, Attempt)],
) -> String {
    let case_json = |(case, attempt): &'_ (Case, Attempt)| -> (&'static str, Vec<String>) {
        match verdict::judge(WalkerSpec::Reference.walker(), case, attempt) {
            Verdict::Agree { .. } => ("agree", Vec::new()),
            Verdict::Unsupported(_) => ("unsupported", Vec::new()),
            Verdict::Diverge { differences, .. } => {
                ("diverge", differences.iter().map(ToString::to_string).collect())
            }
        }
    };
    let cases = shown.iter().map(|pair| {
        let (case, attempt) = pair;
        let (verdict, differences) = case_json(pair);
        let (observed, reason) = match attempt {
            Attempt::Observed(seen) => (Some(describe_observation(case, seen)), None),
            Attempt::Unsupported(why) => (None, Some(why.as_str())),
        };
        CaseJson { case, verdict, observed, reason, differences }
    });
    to_text(&CasesDocument { machine: machine(identity, capabilities), cases: cases.collect() })
}
