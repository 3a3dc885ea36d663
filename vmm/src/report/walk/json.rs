//! The walk of a case for scripts, with what a machine did.

use super::{
    end_in_words, flags, is_walked, pages, step_in_words,
    steps::{self, CachedDrawing, StepDrawing},
    why_not_walked,
};
use crate::finding::known::KnownFinding;
use crate::report::document::Document;
use crate::report::style::count::Count;
use crate::verdict::{self, Verdict, describe_expectation, describe_observation};
use crate::walker::WalkerSpec;
use crosswalk_case::observation::{Attempt, EntryAfter};
use crosswalk_case::{Case, Hex};
use crosswalk_machine::Identity;
use mmu_core::walk::Step;
use mmu_core::x86::format::{EntryBits, EntryKind};
use mmu_core::x86::semantics::{EntryError, Rights};
use mmu_core::{Alternative, Prediction, Rule};
use serde::Serialize;

/// Cases, each walked step by step: `explain`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct ExplainDocument<'r> {
    /// Whose walk it is: `reference`, or the id of a mutant.
    walker: String,
    /// Each case.
    cases: Vec<ExplainedCase<'r>>,
}

impl Document for ExplainDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// A case, walked step by step.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExplainedCase<'r> {
    /// The case.
    case: &'r Case,
    /// Its access in words; of a sequence, the last one.
    access: String,
    /// Of a sequence, what happens step by step; the access is the last one.
    steps: Vec<SequenceStepJson>,
    /// The walk of each page that the access touches, on the tables as software left them.
    walks: Vec<PageWalkJson>,
    /// Why nothing is walked; null if something is.
    not_walked: Option<&'static str>,
    /// What the walker predicts.
    prediction: PredictionJson,
    /// What each machine did that ran the case.
    machines: Vec<RunOfCase<'r>>,
}

/// A step of a sequence.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SequenceStepJson {
    /// What happens, in words.
    action: String,
    /// How it may end, in words, the likeliest first.
    outcomes: Vec<String>,
    /// What the first machine did, in words; null if none ran the case.
    observed: Option<String>,
    /// What is no longer cached, and by which rule.
    dropped: Vec<String>,
    /// What may be cached then.
    cached: Vec<CachedJson>,
}

/// Something that may be cached.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CachedJson {
    /// What it is, and where it leads.
    what: String,
    /// What memory has there now, if that is something else.
    memory: Option<String>,
}

/// The walk of a page.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PageWalkJson {
    /// The kind of the access to it.
    access: &'static str,
    /// The linear address of the first byte there.
    address: Hex,
    /// The entries, the first one first.
    path: Vec<WalkedEntryJson>,
    /// How the walk ends, in words.
    end: String,
    /// Where it leads; null if it ends in a fault.
    physical: Option<Hex>,
}

/// An entry on the path.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct WalkedEntryJson {
    /// Its name, such as `PTE`.
    level: &'static str,
    /// Its physical address.
    at: Hex,
    /// The entry.
    entry: Hex,
    /// Its flags, in words.
    flags: String,
    /// `table`, `page` or `nowhere`.
    leads_to: &'static str,
    /// Where it leads; null if it leads nowhere.
    target: Option<Hex>,
    /// What the path allows so far; null if it leads nowhere.
    rights: Option<RightsJson>,
    /// The reserved bits that are set; null if none are, or it is not present.
    reserved_bits: Option<Hex>,
}

/// What a path allows.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RightsJson {
    /// Whether user code may use it.
    user: bool,
    /// Whether it may be written.
    write: bool,
    /// Whether code in it may be executed.
    execute: bool,
}

/// What a walker predicts.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PredictionJson {
    /// Every outcome that is allowed, the likeliest first.
    alternatives: Vec<AlternativeJson>,
    /// The ids of the rules that decided.
    rules: Vec<&'static str>,
}

/// An outcome that is allowed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AlternativeJson {
    /// The outcome, in words.
    outcome: String,
    /// The exception; null if the access completes.
    fault: Option<FaultJson>,
    /// The rule that leaves a choice; null if none does.
    choice: Option<&'static str>,
    /// The member of the choice that leads here.
    member: Option<&'static str>,
    /// The entries that change.
    updates: Vec<UpdateJson>,
}

/// An exception.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FaultJson {
    /// Its vector.
    vector: u8,
    /// The error code.
    error_code: Hex,
    /// CR2; null if it keeps its value.
    cr2: Option<Hex>,
}

/// An entry that changes.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct UpdateJson {
    /// Its name.
    level: &'static str,
    /// Its physical address.
    at: Hex,
    /// The flags that are set.
    sets: Vec<&'static str>,
    /// The flags that may be set.
    may_set: Vec<&'static str>,
    /// The rule that leaves that open; null if nothing is.
    rule: Option<&'static str>,
}

/// What a machine did with a case.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunOfCase<'r> {
    /// The kind of the machine, such as `kvm`.
    machine: &'r str,
    /// How it translates.
    flavour: &'r str,
    /// Of an emulator, its name and version.
    version: Option<&'r str>,
    /// `agree`, `diverge` or `unsupported`.
    verdict: &'static str,
    /// Whether known findings of the machine explain what differs.
    known: bool,
    /// The ids of these findings.
    findings: Vec<String>,
    /// What it did, in words; null if it did not run the case, or did not come back.
    observed: Option<String>,
    /// Who decided that.
    provenance: Option<&'static str>,
    /// The entries that it changed.
    changed: Vec<ChangedEntryJson>,
    /// Whether nothing proves the physical address.
    unproved: bool,
    /// Why it did not run the case, or did not come back.
    reason: Option<String>,
    /// Of a sequence that differs: the number of the action that does, from 1.
    action: Option<Count>,
    /// Each field that differs, in words.
    differences: Vec<String>,
}

/// An entry that a machine changed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ChangedEntryJson {
    /// Its physical address.
    at: Hex,
    /// Its value before.
    before: Hex,
    /// Its value after.
    after: Hex,
}

/// The document of `explain --json`.
pub fn document(walker: WalkerSpec, cases: Vec<ExplainedCase<'_>>) -> impl Document {
    ExplainDocument { walker: walker.to_string(), cases }
}

/// A case, with what machines did; `first` is what the first of them did, if it ran the case.
pub fn explained<'r>(
    case: &'r Case,
    walker: WalkerSpec,
    first: Option<&Attempt>,
    machines: Vec<RunOfCase<'r>>,
) -> ExplainedCase<'r> {
    let steps = if case.is_sequence() { steps::steps(case, walker, first) } else { Vec::new() };
    let mut prediction = walker.walker().predict(case);
    for earlier in walker.walker().predict_earlier(case) {
        prediction.rules.extend(earlier.rules);
    }

    let last = case.accesses().pop().unwrap_or_else(|| case.clone());
    let is_walked = is_walked(&prediction);
    let walks = if is_walked { walks(&last, walker) } else { Vec::new() };

    ExplainedCase {
        case,
        access: step_in_words(&last.access_step()),
        steps: steps.into_iter().map(step_json).collect(),
        walks,
        not_walked: (!is_walked).then(|| why_not_walked(&last, &prediction)),
        prediction: prediction_json(&prediction),
        machines,
    }
}

fn step_json(step: StepDrawing) -> SequenceStepJson {
    let StepDrawing { action, outcomes, observed, dropped, cached } = step;
    let cached_json =
        |CachedDrawing { words, old }: CachedDrawing| CachedJson { what: words, memory: old };
    SequenceStepJson {
        action,
        outcomes,
        observed,
        dropped,
        cached: cached.into_iter().map(cached_json).collect(),
    }
}

fn walks(case: &Case, walker: WalkerSpec) -> Vec<PageWalkJson> {
    let walk = |(part, page): (Case, mmu_core::VirtAddr)| {
        let (path, end) = walker.walker().walk(&part, page);
        PageWalkJson {
            access: part.access.kind.name(),
            address: Hex(page.get()),
            path: path.steps.iter().map(|step| entry_json(&part, step)).collect(),
            end: end_in_words(&end),
            physical: end.ok().map(|translation| Hex(translation.address.get())),
        }
    };
    pages(case).into_iter().map(walk).collect()
}

fn entry_json(case: &Case, step: &Step) -> WalkedEntryJson {
    let leads = step.error.is_none();
    WalkedEntryJson {
        level: step.level.entry_name,
        at: Hex(step.at.get()),
        entry: Hex(step.entry),
        flags: flags(&case.state, step),
        leads_to: match step.kind {
            _ if !leads => "nowhere",
            EntryKind::Table => "table",
            EntryKind::Leaf => "page",
        },
        target: leads.then(|| Hex(step.target.get())),
        rights: leads.then(|| RightsJson {
            user: step.rights.contains(Rights::USER),
            write: step.rights.contains(Rights::WRITE),
            execute: step.rights.contains(Rights::EXECUTE),
        }),
        reserved_bits: match step.error {
            Some(EntryError::Reserved(bits)) => Some(Hex(bits)),
            _ => None,
        },
    }
}

fn prediction_json(prediction: &Prediction) -> PredictionJson {
    PredictionJson {
        alternatives: prediction.alternatives.iter().map(alternative_json).collect(),
        rules: prediction.rules.iter().map(Rule::id).collect(),
    }
}

fn alternative_json(alternative: &Alternative) -> AlternativeJson {
    let updates = alternative.updates.iter().map(|update| UpdateJson {
        level: update.level.entry_name,
        at: Hex(update.at.get()),
        sets: bits(update.must_set & !update.before),
        may_set: bits(update.open_bits()),
        rule: (update.open_bits() != 0).then(|| update.open_by.id()),
    });
    let fault = alternative.outcome.fault().map(|fault| FaultJson {
        vector: fault.vector as u8,
        error_code: Hex(fault.error_code.into()),
        cr2: fault.cr2.map(|address| Hex(address.get())),
    });

    AlternativeJson {
        outcome: describe_expectation(alternative),
        fault,
        choice: alternative.choice.map(|(rule, _)| rule.id()),
        member: alternative.choice.map(|(_, member)| member),
        updates: updates
            .filter(|update| !update.sets.is_empty() || update.rule.is_some())
            .collect(),
    }
}

fn bits(bits: u64) -> Vec<&'static str> {
    EntryBits::from_bits_retain(bits).iter_names().map(|(name, _)| name).collect()
}

impl<'r> RunOfCase<'r> {
    /// What a machine did, with the known findings that explain what differs, if they do, and whether they are
    /// forgiven.
    pub fn new(
        machine: &'r Identity,
        case: &Case,
        walker: WalkerSpec,
        attempt: &Attempt,
        (findings, are_forgiven): (Option<Vec<&KnownFinding>>, bool),
    ) -> Self {
        let none = Self::of(machine, "agree");
        let seen = match attempt {
            Attempt::Unsupported(why) => {
                return Self { verdict: "unsupported", reason: Some(why.clone()), ..none };
            }
            Attempt::Observed(seen) => seen,
        };
        let changed = seen.entries.iter().filter(|entry| entry.before != entry.after);
        let ran = Self {
            observed: Some(describe_observation(case, seen)),
            provenance: Some(seen.provenance.name()),
            changed: changed
                .map(|EntryAfter { at, before, after }| ChangedEntryJson {
                    at: Hex(*at),
                    before: Hex(*before),
                    after: Hex(*after),
                })
                .collect(),
            ..none
        };

        match verdict::judge(walker.walker(), case, attempt) {
            Verdict::Agree { unproved, .. } => Self { unproved, ..ran },
            Verdict::Unsupported(why) => Self { verdict: "unsupported", reason: Some(why), ..ran },
            Verdict::Diverge { at, differences, .. } => Self {
                verdict: "diverge",
                known: findings.is_some() && are_forgiven,
                findings: findings.into_iter().flatten().map(|known| known.id.clone()).collect(),
                action: case.is_sequence().then(|| (at + 1).into()),
                differences: differences.iter().map(ToString::to_string).collect(),
                ..ran
            },
        }
    }

    /// A machine that did not come back from the case, as a known finding says.
    pub fn did_not_return(machine: &'r Identity, id: &str, title: &str) -> Self {
        Self {
            known: true,
            findings: vec![id.to_owned()],
            reason: Some(format!("it did not come back: {title}")),
            ..Self::of(machine, "diverge")
        }
    }

    fn of(machine: &'r Identity, verdict: &'static str) -> Self {
        Self {
            machine: &machine.kind,
            flavour: &machine.flavour,
            version: machine.version.as_deref(),
            verdict,
            known: false,
            findings: Vec::new(),
            observed: None,
            provenance: None,
            changed: Vec::new(),
            unproved: false,
            reason: None,
            action: None,
            differences: Vec::new(),
        }
    }
}
