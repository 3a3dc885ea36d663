//! A case, walked step by step, as data: what `explain --json` says of each case.

use crate::address::pages;
use crate::steps::{CachedDrawing, StepDrawing, steps};
use crate::words::{describe_expectation, end_in_words, flags, step_in_words, why_not_walked};
use crosswalk_case::{Case, Hex};
use crosswalk_walker::WalkerSpec;
use mmu_core::walk::Step;
use mmu_core::x86::format::{EntryBits, EntryKind};
use mmu_core::x86::semantics::{EntryError, Rights};
use mmu_core::{Alternative, Prediction, Rule, VirtAddr};
use serde::Serialize;

/// A case, walked step by step.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schemars", schemars(rename = "ExplainedCase"))]
pub struct ExplainedCase<'r, R> {
    /// The case.
    case: &'r Case,
    /// Its access in words; of a sequence, the last one.
    pub access: String,
    /// Of a sequence, what happens step by step; the access is the last one.
    pub steps: Vec<SequenceStepJson>,
    /// The walk of each page that the access touches, on the tables as software left them.
    walks: Vec<PageWalkJson>,
    /// Why nothing is walked; null if something is.
    not_walked: Option<&'static str>,
    /// What the walker predicts.
    prediction: PredictionJson,
    /// What each machine did that ran the case.
    pub machines: Vec<R>,
}

/// A step of a sequence.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct SequenceStepJson {
    /// What happens, in words.
    pub action: String,
    /// How it may end, in words, the likeliest first.
    outcomes: Vec<String>,
    /// What the first machine did, in words; null if none ran the case.
    observed: Option<String>,
    /// What is no longer cached, and by which rule.
    dropped: Vec<String>,
    /// What may be cached then.
    cached: Vec<CachedJson>,
}

impl SequenceStepJson {
    /// How it ends, what a machine did, and what is cached then, as lines for people.
    pub fn lines(&self) -> Vec<String> {
        let Self { outcomes, observed, dropped, cached, .. } = self;
        let cached = cached.iter().map(|CachedJson { what, memory }| match memory {
            Some(memory) => format!("cached: {what}; {memory}"),
            None => format!("cached: {what}"),
        });
        let outcome =
            (!outcomes.is_empty()).then(|| format!("outcome: {}", outcomes.join(", or ")));
        let observed = observed.iter().map(|observed| format!("machine: {observed}"));
        let dropped = dropped.iter().map(|what| format!("drops: {what}"));
        outcome.into_iter().chain(observed).chain(dropped).chain(cached).collect()
    }
}

/// Something that may be cached.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
struct CachedJson {
    /// What it is, and where it leads.
    what: String,
    /// What memory has there now, if that is something else.
    memory: Option<String>,
}

/// The walk of a page.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
struct PredictionJson {
    /// Every outcome that is allowed, the likeliest first.
    alternatives: Vec<AlternativeJson>,
    /// The ids of the rules that decided.
    rules: Vec<&'static str>,
}

/// An outcome that is allowed.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
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

/// A case, with what machines did; `observed` says what the first of them did in each step of a sequence.
pub fn explained<'r, R>(
    case: &'r Case,
    walker: WalkerSpec,
    observed: &dyn Fn(usize) -> Option<String>,
    machines: Vec<R>,
) -> ExplainedCase<'r, R> {
    let steps = if case.is_sequence() { steps(case, walker, observed) } else { Vec::new() };
    let mut prediction = walker.walker().predict(case);

    let last = case.accesses().pop().unwrap_or_else(|| case.clone());
    let not_walked = why_not_walked(&last, &prediction);
    let walks = if not_walked.is_none() { walks(&last, walker) } else { Vec::new() };

    // Those of every access, as coverage counts them.
    for earlier in walker.walker().predict_earlier(case) {
        prediction.rules.extend(earlier.rules);
    }

    ExplainedCase {
        case,
        access: step_in_words(&last.access_step()),
        steps: steps.into_iter().map(step_json).collect(),
        walks,
        not_walked,
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
    let walk = |(part, page): (Case, VirtAddr)| {
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
