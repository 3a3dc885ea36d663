//! What every JSON document has at its top, and how it is written.

use super::style::date::{now, rfc_3339};
use serde::Serialize;
use std::process::ExitCode;

/// The document that a command prints with `--json`, without what all documents have at their tops.
pub trait Document: Serialize {
    /// The version of its schema: raised when a member goes or means something else, and not when one is added.
    const SCHEMA: u32;
}

/// The JSON Schema of a document.
#[derive(Clone, Copy, Debug)]
pub struct DocumentSchema {
    /// Its name.
    pub name: &'static str,
    /// The commands that print such documents.
    pub commands: &'static str,
    /// The schema, as a JSON document.
    pub text: &'static str,
}

macro_rules! schemas {
    ($($name:literal: $commands:literal,)*) => {
        &[$(DocumentSchema {
            name: $name,
            commands: $commands,
            text: include_str!(concat!("../../schemas/", $name, ".json")),
        }),*]
    };
}

/// The schemas of all documents, in the order of their names.
pub const SCHEMAS: &[DocumentSchema] = schemas! {
    "audit": "audit",
    "compare": "compare of corpora",
    "compare-reports": "compare of two reports",
    "conformance": "conformance",
    "corpus-stats": "corpus stats",
    "diff": "diff",
    "exercise": "exercise TOPIC",
    "exercise-list": "exercise",
    "explain": "explain",
    "findings": "findings",
    "geometry": "geometry",
    "image": "image",
    "judge-cases": "judge of an image made with --case",
    "litmus": "litmus, litmus random",
    "litmus-mutants": "litmus mutants",
    "machines": "machines",
    "maps": "maps",
    "maps-check": "maps --check",
    "maps-tree": "maps --tree",
    "mutants": "mutants",
    "nested": "check --nested, replay of nested cases",
    "nested-compare": "compare --nested",
    "nested-conformance": "conformance --nested",
    "nested-explain": "explain of nested cases",
    "nested-mutants": "mutants --nested",
    "nested-record": "record --nested",
    "record": "record",
    "rmap": "rmap",
    "rules": "rules",
    "run": "check, replay, merge, judge; report.json",
    "runs": "check on several machines",
    "scenario": "scenario NAME, scenario all",
    "scenario-list": "scenario",
    "scenario-random": "scenario random",
    "walk": "walk",
};

/// What is known of a command when it starts.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// When it started, in UTC.
    started: String,
    /// The command line.
    command: Vec<String>,
}

/// What a document has at its top, as far as it is known when the command starts.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct Opening<'d> {
    /// The version of the program.
    version: &'static str,
    /// The version of this document's schema. It is raised when a member goes or means something else.
    schema: u32,
    /// When the command started: RFC 3339, UTC, such as `2026-01-31T23:59:59Z`.
    started: &'d str,
    /// The command line as a list of arguments, the first of which is `crosswalk`.
    command: &'d [String],
}

/// How a command ends. The exit code that a document has is the one that the program ends with: both are this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ending {
    /// The result in a word.
    verdict: VerdictWord,
    /// The exit code of the program.
    exit: u8,
}

/// The result of a command in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum VerdictWord {
    /// Everything agrees, known findings aside.
    Agree,
    /// Something differs from the prediction, or from the manuals, and is not known.
    Diverge,
    /// Not all that was asked for was done.
    Incomplete,
    /// No case could be compared.
    NothingCompared,
    /// The log of an image ends early.
    CutOff,
    /// The machine cannot run a case.
    NotRun,
    /// Every mutant is caught that the machine can catch.
    Caught,
    /// A mutant is missed.
    Missed,
    /// Every claim holds, and the histories are equal.
    Passed,
    /// A claim does not hold, or the histories part.
    Failed,
    /// Nothing was found that should not be there.
    Clean,
    /// Something was found that should not be there.
    Found,
    /// Both are the same.
    Same,
    /// They differ.
    Differ,
    /// The root table is not in the image.
    NoRoot,
    /// No machine works here.
    NoMachine,
    /// The command has nothing to decide, and did what it was asked for.
    Done,
}

impl VerdictWord {
    /// The exit code that goes with it.
    const fn exit(self) -> u8 {
        match self {
            Self::Agree | Self::Caught | Self::Passed | Self::Clean | Self::Same | Self::Done => 0,
            Self::Diverge | Self::Missed | Self::Failed | Self::Found | Self::Differ => 1,
            Self::NoRoot => 2,
            Self::NothingCompared | Self::CutOff | Self::NoMachine => 3,
            Self::Incomplete | Self::NotRun => 4,
        }
    }
}

impl From<VerdictWord> for Ending {
    fn from(verdict: VerdictWord) -> Self {
        Self { verdict, exit: verdict.exit() }
    }
}

impl Ending {
    /// The end of a command that did not do everything, for a user to whom that is good enough.
    pub const ALLOWED_INCOMPLETE: Self = Self { verdict: VerdictWord::Incomplete, exit: 0 };

    /// The end of a command that looks for something: what it found, unless it did not look at everything.
    pub const fn of_search(is_complete: bool, verdict: VerdictWord) -> Self {
        let verdict = if is_complete { verdict } else { VerdictWord::Incomplete };
        Self { verdict, exit: verdict.exit() }
    }

    /// The result in a word.
    pub const fn verdict(self) -> VerdictWord {
        self.verdict
    }

    /// The exit code as a number.
    pub const fn exit(self) -> u8 {
        self.exit
    }

    /// The exit code.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(self.exit)
    }
}

/// A document with its top.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct Whole<'d, D> {
    #[serde(flatten)]
    opening: Opening<'d>,
    #[serde(flatten)]
    ending: Ending,
    #[serde(flatten)]
    body: &'d D,
}

impl Invocation {
    /// The command that starts now, with its arguments after the name of the program.
    pub fn now(arguments: impl Iterator<Item = String>) -> Self {
        Self {
            started: rfc_3339(now()),
            // Not the path of the program, which says something about the machine and nothing about the run.
            command: std::iter::once("crosswalk".to_owned()).chain(arguments).collect(),
        }
    }

    /// The top of a document, as far as it is known now.
    pub(in crate::report) fn opening(&self, schema: u32) -> Opening<'_> {
        Opening {
            version: env!("CARGO_PKG_VERSION"),
            schema,
            started: &self.started,
            command: &self.command,
        }
    }

    /// A document as indented JSON, with a line break at its end.
    ///
    /// # Panics
    /// Never: a document contains nothing that JSON cannot hold.
    pub fn document<D: Document>(&self, body: &D, ending: Ending) -> String {
        let whole = Whole { opening: self.opening(D::SCHEMA), ending, body };
        serde_json::to_string_pretty(&whole).expect("a document is plain data") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_begins_with_its_top() {
        #[derive(Serialize)]
        struct Body {
            seed: &'static str,
        }
        impl Document for Body {
            const SCHEMA: u32 = 7;
        }

        let invocation = Invocation::now(["check", "--json"].map(str::to_owned).into_iter());
        let text = invocation.document(&Body { seed: "9" }, VerdictWord::NothingCompared.into());

        let members: Vec<_> = text.lines().filter(|line| line.starts_with("  \"")).collect();
        let names = members.iter().map(|line| line.split('"').nth(1).expect("a name"));
        let expected = ["version", "schema", "started", "command", "verdict", "exit", "seed"];
        assert_eq!(names.collect::<Vec<_>>(), expected);
        let value: serde_json::Value = serde_json::from_str(&text).expect("a document");
        assert_eq!(value["schema"], 7);
        assert_eq!(value["command"], serde_json::json!(["crosswalk", "check", "--json"]));
        assert_eq!((&value["verdict"], &value["exit"]), (&"nothing-compared".into(), &3.into()));
    }
}
