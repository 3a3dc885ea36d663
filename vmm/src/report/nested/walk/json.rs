//! The same for scripts, with what machines did.

use super::{flags, in_words, rights};
use crate::report::document::Document;
use crate::report::style::count::Count;
use crosswalk_case::Hex;
use crosswalk_machine::Identity;
use crosswalk_nested::known::Recognized;
use crosswalk_nested::observation::NestedAttempt;
use crosswalk_nested::verdict::{NestedVerdict, judge};
use crosswalk_nested::walker::{CaseAlternative, CasePrediction, NestedWalker, predict};
use crosswalk_nested::{NestedCase, Step};
use mmu_core::nested::{Dimension, EntryReference, NestedUpdate};
use mmu_core::x86::format::EntryKind;
use mmu_core::x86::semantics::EntryError;
use serde::Serialize;

/// Cases of nested paging, each walked reference by reference: `explain` of such cases.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct NestedExplainDocument<'r> {
    /// Whose walk it is: `reference`, or `mutant:` and the id of one.
    walker: String,
    /// Each case.
    cases: Vec<ExplainedNestedCase<'r>>,
}

impl Document for NestedExplainDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// A case of nested paging, walked reference by reference.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExplainedNestedCase<'r> {
    /// The case.
    case: &'r NestedCase,
    /// What is translated, in order: the instruction and its access, or the fetch and its return.
    steps: Vec<NestedStepJson>,
    /// What the walker predicts.
    prediction: NestedPredictionJson,
    /// What each machine did that ran the case.
    machines: Vec<RunOfNestedCase<'r>>,
}

/// A step: one access, with every reference to memory.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedStepJson {
    /// `instruction`, `access` or `return`.
    step: &'static str,
    /// The access of it, in words.
    access: String,
    /// The entries that are read, in order.
    references: Vec<ReferenceJson>,
    /// How the walk ends, in words.
    end: String,
    /// Where it leads, host-physical; null if it does not complete.
    physical: Option<Hex>,
}

/// An entry that is read.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ReferenceJson {
    /// Whose table it is in: `guest` or `second`.
    dimension: &'static str,
    /// Its name, such as `PTE`.
    level: &'static str,
    /// Of a guest's entry, its own guest-physical address; otherwise the one that it translates.
    guest_physical: Hex,
    /// Its host-physical address; null if it is a register.
    at: Option<Hex>,
    /// The entry.
    entry: Hex,
    /// Its flags, in words.
    flags: String,
    /// `table`, `page` or `nowhere`.
    leads_to: &'static str,
    /// The address in it, guest-physical in the guest's dimension; null if it leads nowhere.
    target: Option<Hex>,
    /// The bits that must not be as they are; null if none are, or it is not present.
    wrong_bits: Option<Hex>,
    /// At the last entry of a path in the second level: the rights that are missing.
    missing: Vec<&'static str>,
}

/// What a walker predicts of a case.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedPredictionJson {
    /// Every outcome that is allowed, the likeliest first; none if the case leads to what is not known.
    alternatives: Vec<NestedAlternativeJson>,
    /// The ids of the rules that decided.
    rules: Vec<&'static str>,
}

/// An outcome that is allowed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedAlternativeJson {
    /// The outcome, in words.
    outcome: String,
    /// The step that ends the case, by its name.
    step: &'static str,
    /// The rule that leaves a choice; null if none does.
    choice: Option<&'static str>,
    /// The member of the choice that leads here.
    member: Option<&'static str>,
    /// The entries that change.
    updates: Vec<NestedUpdateJson>,
}

/// An entry that changes.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedUpdateJson {
    /// Whose it is: `guest` or `second`.
    dimension: &'static str,
    /// Its name.
    level: &'static str,
    /// Its host-physical address.
    at: Hex,
    /// The bits that are set.
    sets: Hex,
    /// The bits that may be set.
    may_set: Hex,
    /// The rule that leaves that open; null if nothing is.
    rule: Option<&'static str>,
}

/// What a machine did with a case.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunOfNestedCase<'r> {
    /// The kind of the machine, such as `qemu`.
    machine: &'r str,
    /// How it translates.
    flavour: &'r str,
    /// Of an emulator, its name and version.
    version: Option<&'r str>,
    /// `agree`, `diverge`, `unsupported`, or `unpredicted`, if the case leads to what is not known.
    verdict: &'static str,
    /// Whether known findings of the machine explain what differs.
    known: bool,
    /// The ids of these findings.
    findings: Vec<String>,
    /// How the guest ended, in words; null if it did not run.
    observed: Option<String>,
    /// Who decided that.
    provenance: Option<&'static str>,
    /// The entries that it changed.
    changed: Vec<ChangedNestedEntryJson>,
    /// The number of bytes of data that it changed.
    stored: Count,
    /// Why it did not run the case.
    reason: Option<String>,
    /// Each field that differs, in words.
    differences: Vec<String>,
}

/// An entry that a machine changed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ChangedNestedEntryJson {
    /// Its host-physical address.
    at: Hex,
    /// Its value before.
    before: Hex,
    /// Its value after.
    after: Hex,
}

/// The document of `explain --json` with cases of nested paging.
pub fn document(walker: String, cases: Vec<ExplainedNestedCase<'_>>) -> impl Document {
    NestedExplainDocument { walker, cases }
}

/// A case, with what machines did.
pub fn explained<'r>(
    case: &'r NestedCase,
    walker: &dyn NestedWalker,
    machines: Vec<RunOfNestedCase<'r>>,
) -> ExplainedNestedCase<'r> {
    let steps = case.steps();
    ExplainedNestedCase {
        case,
        steps: steps.iter().map(|step| step_json(case, walker, step)).collect(),
        prediction: prediction_json(&steps, &predict(walker, case)),
        machines,
    }
}

fn step_json(case: &NestedCase, walker: &dyn NestedWalker, step: &Step) -> NestedStepJson {
    let (references, end, physical) = match walker.walk_step(case, step) {
        Ok(walk) => {
            let physical = walk.end.physical_address().map(|at| Hex(at.get()));
            (walk.references, walk.end.to_string(), physical)
        }
        Err(error) => (Vec::new(), error.to_string(), None),
    };
    NestedStepJson {
        step: name_of(step),
        access: in_words(step.access()),
        references: references.iter().map(reference_json).collect(),
        end,
        physical,
    }
}

const fn name_of(step: &Step) -> &'static str {
    match step {
        Step::Instruction(_) => "instruction",
        Step::Access(_) => "access",
        Step::Return(_) => "return",
    }
}

const fn name_of_dimension(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Guest => "guest",
        Dimension::Second => "second",
    }
}

fn reference_json(reference: &EntryReference) -> ReferenceJson {
    let leads = reference.error.is_none();
    ReferenceJson {
        dimension: name_of_dimension(reference.dimension),
        level: reference.level.entry_name,
        guest_physical: Hex(reference.guest_physical.get()),
        at: reference.at.map(|at| Hex(at.get())),
        entry: Hex(reference.entry),
        flags: flags(reference, reference.dimension == Dimension::Guest),
        leads_to: match reference.kind {
            _ if !leads => "nowhere",
            EntryKind::Table => "table",
            EntryKind::Leaf => "page",
        },
        target: leads.then(|| Hex(reference.target.get())),
        wrong_bits: match reference.error {
            Some(EntryError::Reserved(bits)) => Some(Hex(bits)),
            _ => None,
        },
        missing: rights(reference.missing).collect(),
    }
}

fn prediction_json(steps: &[Step], prediction: &CasePrediction) -> NestedPredictionJson {
    let alternative = |way: &CaseAlternative| NestedAlternativeJson {
        outcome: way.end.to_string(),
        step: steps.get(way.step).map_or("access", name_of),
        choice: way.choice.map(|(rule, _)| rule.id()),
        member: way.choice.map(|(_, member)| member),
        updates: way.updates.iter().filter_map(update_json).collect(),
    };
    NestedPredictionJson {
        alternatives: prediction.alternatives.iter().map(alternative).collect(),
        rules: prediction.rules.iter().map(|rule| rule.id()).collect(),
    }
}

/// An entry that changes; `None` if it does not.
fn update_json(update: &NestedUpdate) -> Option<NestedUpdateJson> {
    let sets = update.must_set & !update.before;
    let may_set = update.open_bits();
    (sets | may_set != 0).then(|| NestedUpdateJson {
        dimension: name_of_dimension(update.dimension),
        level: update.level.entry_name,
        at: Hex(update.at.get()),
        sets: Hex(sets),
        may_set: Hex(may_set),
        rule: (may_set != 0).then(|| update.open_by.id()),
    })
}

impl<'r> RunOfNestedCase<'r> {
    /// What a machine did, with the known findings that explain what differs, and whether they are forgiven.
    pub fn new(
        machine: &'r Identity,
        case: &NestedCase,
        walker: &dyn NestedWalker,
        attempt: &NestedAttempt,
        (findings, are_forgiven): (Recognized, bool),
    ) -> Self {
        let mut run = Self {
            machine: &machine.kind,
            flavour: &machine.flavour,
            version: machine.version.as_deref(),
            verdict: "agree",
            known: false,
            findings: Vec::new(),
            observed: None,
            provenance: None,
            changed: Vec::new(),
            stored: 0_u64.into(),
            reason: None,
            differences: Vec::new(),
        };
        if let NestedAttempt::Observed(seen) = attempt {
            run.observed = Some(seen.end.to_string());
            run.provenance = Some(seen.provenance.name());
            run.stored = (seen.stored.len() as u64).into();
            run.changed.extend(seen.changed.iter().map(|entry| ChangedNestedEntryJson {
                at: Hex(entry.at),
                before: Hex(entry.before),
                after: Hex(entry.after),
            }));
        }

        match judge(walker, case, attempt) {
            NestedVerdict::Agree { .. } => {}
            NestedVerdict::Unpredicted => run.verdict = "unpredicted",
            NestedVerdict::Unsupported(why) => {
                run.verdict = "unsupported";
                run.reason = Some(why);
            }
            NestedVerdict::Diverge { differences, .. } => {
                run.verdict = "diverge";
                run.known = !findings.is_empty() && are_forgiven;
                run.findings = findings;
                run.differences = differences.iter().map(ToString::to_string).collect();
            }
        }
        run
    }
}
