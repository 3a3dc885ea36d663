//! The verdict: a prediction held against an observation, field by field.

mod compare;
mod describe;
mod earlier;

pub use describe::{describe_expectation, describe_observation};

use crate::walker::Walker;
use crate::walker::value::Stores;
use compare::judge_access;
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Observation, Provenance};
use mmu_core::x86::format::EntryBits;
use mmu_core::{
    AccessKind, Alternative, Outcome, PageFaultCode, PagingMode, Prediction, Ring, Rule, Vector,
};

use std::fmt;

/// What can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Whether there was an exception, and which.
    Vector,
    /// Its error code.
    ErrorCode,
    /// CR2: the address of a page fault, or a value that should have stayed.
    Cr2,
    /// What was read, which proves from where.
    Value,
    /// The bytes that changed in data memory.
    Stored,
    /// The accesses that reached an address without memory.
    Outside,
    /// A table entry after the run.
    Entry,
}

impl Field {
    /// The name used in reports and in files of known findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::ErrorCode => "error_code",
            Self::Cr2 => "cr2",
            Self::Value => "value",
            Self::Stored => "stored",
            Self::Outside => "outside",
            Self::Entry => "entry",
        }
    }
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub field: Field,
    /// What the prediction has.
    pub expected: String,
    /// What the machine did.
    pub observed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, expected, observed } = self;
        write!(f, "{}: expected {expected}, observed {observed}", field.name())
    }
}

/// A point on which the rules leave a choice, and the member that a machine took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChoiceTaken {
    /// The rule that leaves it open.
    pub rule: Rule,
    /// The paging mode.
    pub mode: PagingMode,
    /// Who chose.
    pub provenance: Provenance,
    /// The ring of the access.
    pub ring: Ring,
    /// The kind of the access.
    pub access: AccessKind,
    /// How the access ended.
    pub end: End,
    /// The entry that it is about, by the name of its level; empty when about the whole outcome.
    pub level: &'static str,
    /// What was chosen.
    pub member: &'static str,
}

/// How an access ended, coarsely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// It completed.
    Completed,
    /// An entry was not present.
    NotPresent,
    /// A reserved bit was set.
    Reserved,
    /// The rights denied it.
    Denied,
    /// The address was not canonical.
    BadAddress,
}

impl End {
    /// The end of an outcome.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome.fault() {
            None => Self::Completed,
            Some(fault) if fault.vector != Vector::PageFault => Self::BadAddress,
            Some(fault) => {
                let code = PageFaultCode::from_bits_retain(fault.error_code);
                if code.contains(PageFaultCode::RSVD) {
                    Self::Reserved
                } else if code.contains(PageFaultCode::P) {
                    Self::Denied
                } else {
                    Self::NotPresent
                }
            }
        }
    }

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::NotPresent => "not present",
            Self::Reserved => "reserved bit",
            Self::Denied => "denied",
            Self::BadAddress => "bad address",
        }
    }
}

/// What comes of comparing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The machine did one of the things that are allowed.
    Agree {
        /// Nothing that was seen proves the physical address.
        unproved: bool,
        /// The choices it made.
        choices: Vec<ChoiceTaken>,
    },
    /// It did something else: every field that differs from the nearest allowed outcome.
    Diverge {
        /// The outcome compared with.
        expected: Box<Alternative>,
        /// At least one.
        differences: Vec<Difference>,
    },
    /// The machine could not run the case.
    Unsupported(String),
}

/// Judges one case by what a walker predicts.
pub fn judge(walker: &dyn Walker, case: &Case, run: &Attempt) -> Verdict {
    judge_prediction(walker, case, &walker.predict(case), run)
}

/// The same where its prediction is known.
pub fn judge_prediction(
    walker: &dyn Walker,
    case: &Case,
    prediction: &Prediction,
    run: &Attempt,
) -> Verdict {
    match run {
        Attempt::Observed(seen) if case.is_sequence() => {
            earlier::judge_observation(case, &walker.predict_earlier(case), prediction, seen)
        }
        _ => judge_observation(case, prediction, run),
    }
}

/// Judges one case that is no sequence.
///
/// # Panics
/// When the prediction is empty, which no walker's is.
pub fn judge_observation(case: &Case, prediction: &Prediction, run: &Attempt) -> Verdict {
    match run {
        Attempt::Observed(seen) => judge_access(case, prediction, seen, &Stores::new()),
        Attempt::Unsupported(why) => Verdict::Unsupported(why.clone()),
    }
}

/// The members that the machine took of what the rules leave open.
fn choices_taken(case: &Case, agreed: &Alternative, seen: &Observation) -> Vec<ChoiceTaken> {
    let taken = |rule, level, member| ChoiceTaken {
        rule,
        mode: case.mode(),
        provenance: seen.provenance,
        ring: case.access.ring,
        access: case.access.kind,
        end: End::of(&agreed.outcome),
        level,
        member,
    };
    let mut choices = Vec::new();
    choices.extend(agreed.choice.map(|(rule, member)| taken(rule, "", member)));
    for entry in &seen.entries {
        let Some(update) = agreed.updates.iter().find(|update| update.at.get() == entry.at) else {
            if entry.after != entry.before {
                choices.push(taken(Rule::Ad5, "", "A set without an access"));
            }
            continue;
        };
        let open = EntryBits::from_bits_retain(update.open_bits());
        let after = EntryBits::from_bits_retain(entry.after);
        for (bit, set, clear) in
            [(EntryBits::A, "A set", "A left clear"), (EntryBits::D, "D set", "D left clear")]
        {
            if open.contains(bit) {
                let member = if after.contains(bit) { set } else { clear };
                choices.push(taken(update.open_by, update.level.entry_name, member));
            }
        }
    }
    choices
}
