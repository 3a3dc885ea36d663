//! Images that boot by themselves, and the ends of their logs; for people and for scripts.

use crate::image::BootableImage;
use crate::report::document::Document;
use crate::report::machine::{MachineJson, machine};
use crate::report::style::count::Count;
use crate::report::style::number::{batches, numbered, with_commas};
use crate::report::style::table::line;
use crate::report::walk;
use crate::verdict::{self, Verdict, describe_observation};
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::log::LogEnd;
use crosswalk_machine::{Capabilities, Identity};
use serde::Serialize;
use std::path::Path;

/// An image that boots by itself: `image`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct ImageDocument<'r> {
    /// The head of the log that the image prints.
    image: &'r crate::image::HeadLine,
    /// The size of the tape in the image.
    tape_bytes: Count,
    /// The size of the file.
    bytes: Count,
    /// The end of the memory that a machine must have.
    memory: String,
}

impl Document for ImageDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The end of the memory that images use: that of the last lane.
const MEMORY_END: u64 = 0x7c00_0000;

/// What `image` prints.
pub fn text(out: &Path, image: &BootableImage, bytes: usize) -> String {
    let mut text = String::new();
    line(
        &mut text,
        &format!(
            "{}: {} in {}, of which the tape has {}.",
            out.display(),
            batches(image.head.batches.into()),
            numbered(bytes as u64, "byte"),
            with_commas(image.tape_bytes as u64)
        ),
    );
    line(
        &mut text,
        &format!(
            "Boot it on a machine with {} MiB of memory, and give what it writes to the first serial port to \
         crosswalk judge.",
            with_commas(MEMORY_END >> 20)
        ),
    );
    text
}

/// The document of `image --json`.
pub fn document(image: &BootableImage, bytes: usize) -> impl Document {
    ImageDocument {
        image: &image.head,
        tape_bytes: image.tape_bytes.into(),
        bytes: bytes.into(),
        memory: format!("{MEMORY_END:#x}"),
    }
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
            with_commas(MEMORY_END >> 20)
        ),
    }
}

/// What a machine skipped, as a sentence.
pub fn describe_skipped(skipped: u64, number: u32, lacking: &[String]) -> String {
    format!(
        "{} of {} were skipped, since the machine lacks {}; crosswalk image --like makes an image for it",
        with_commas(skipped),
        batches(number.into()),
        lacking.join(", ")
    )
}

/// What a machine did with each case of a list: `judge` of an image that was made with `--case`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct CasesDocument<'r> {
    /// The machine.
    machine: MachineJson<'r>,
    /// Each case.
    cases: Vec<TriedCaseJson<'r>>,
}

impl Document for CasesDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// What a machine did with a case.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TriedCaseJson<'r> {
    /// The case, with the machine's processor.
    case: &'r Case,
    /// `agree`, `diverge` or `unsupported`.
    verdict: &'static str,
    /// What was observed, in words.
    observed: Option<String>,
    /// Why the machine did not run it, or that it did not come back.
    reason: Option<String>,
    /// Each field that differs, in words.
    differences: Vec<String>,
}

/// What a machine did with each case of a list, for scripts.
pub fn cases_document<'r>(
    identity: &'r Identity,
    capabilities: &Capabilities,
    shown: &'r [ShownCase],
) -> impl Document {
    let cases = shown.iter().map(ShownCase::to_json);
    CasesDocument { machine: machine(identity, capabilities), cases: cases.collect() }
}

/// The same as text.
pub fn cases_text(shown: &[ShownCase]) -> String {
    shown.iter().map(ShownCase::to_text).collect::<Vec<_>>().join("\n")
}

/// What a machine did with a case of a list.
pub struct ShownCase {
    /// The case, with the machine's processor.
    pub case: Case,
    /// How it ended.
    pub end: CaseEnd,
}

/// How a case of a list ended.
pub enum CaseEnd {
    /// The machine went on to the next.
    Tried(Attempt),
    /// The machine did not come back, as a known finding says.
    Fatal {
        /// Its id.
        id: String,
        /// What it is.
        title: String,
    },
}

impl ShownCase {
    fn to_json(&self) -> TriedCaseJson<'_> {
        let case = &self.case;
        let attempt = match &self.end {
            CaseEnd::Tried(attempt) => attempt,
            CaseEnd::Fatal { id, .. } => {
                let reason = Some(format!("the machine did not come back from it ({id})"));
                let (verdict, differences) = ("diverge", Vec::new());
                return TriedCaseJson { case, verdict, observed: None, reason, differences };
            }
        };

        let (verdict, differences) = match judge(case, attempt) {
            Verdict::Agree { .. } => ("agree", Vec::new()),
            Verdict::Unsupported(_) => ("unsupported", Vec::new()),
            Verdict::Diverge { differences, .. } => {
                ("diverge", differences.iter().map(ToString::to_string).collect())
            }
        };
        let (observed, reason) = match attempt {
            Attempt::Observed(seen) => (Some(describe_observation(case, seen)), None),
            Attempt::Unsupported(why) => (None, Some(why.clone())),
        };
        TriedCaseJson { case, verdict, observed, reason, differences }
    }

    fn to_text(&self) -> String {
        let case = &self.case;
        match &self.end {
            CaseEnd::Tried(attempt) => {
                let walk = walk::explain(case, WalkerSpec::Reference, Some(attempt));
                walk + &walk::beside(case, WalkerSpec::Reference, attempt)
            }
            CaseEnd::Fatal { id, title } => {
                walk::explain(case, WalkerSpec::Reference, None) + &walk::did_not_return(id, title)
            }
        }
    }
}

fn judge(case: &Case, attempt: &Attempt) -> Verdict {
    verdict::judge(WalkerSpec::Reference.walker(), case, attempt)
}
