//! The verdict: a prediction held against an observation, field by field.

mod describe;
mod earlier;

pub use describe::{describe_expectation, describe_observation};

use crate::walker::Walker;
use arrayvec::ArrayVec;
use crosswalk_case::Case;
use crosswalk_case::observation::{Observation, OutsideAccess, Provenance, Run};
use crosswalk_guest::contents;
use crosswalk_guest::stub::{Code, Form};
use describe::{describe_bytes, describe_fault, describe_places};
use mmu_core::outcome::Span;
use mmu_core::x86::format::EntryBits;
use mmu_core::{
    AccessKind, Alternative, EntryUpdate, Fault, Outcome, PageFaultCode, PagingMode, Prediction,
    Reference, Ring, Rule, Vector,
};
use std::collections::BTreeMap;
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
pub fn by(walker: &dyn Walker, case: &Case, run: &Run) -> Verdict {
    by_prediction(walker, case, &walker.predict(case), run)
}

/// The same where its prediction is known.
pub fn by_prediction(
    walker: &dyn Walker,
    case: &Case,
    prediction: &Prediction,
    run: &Run,
) -> Verdict {
    match run {
        Run::Observed(seen) if case.is_sequence() => {
            earlier::judge(case, &walker.predict_earlier(case), prediction, seen)
        }
        _ => judge(case, prediction, run),
    }
}

/// Judges one case that is no sequence.
///
/// # Panics
/// When the prediction is empty, which no walker's is.
pub fn judge(case: &Case, prediction: &Prediction, run: &Run) -> Verdict {
    match run {
        Run::Observed(seen) => judge_access(case, prediction, seen, &Stores::new()),
        Run::Unsupported(why) => Verdict::Unsupported(why.clone()),
    }
}

/// Bytes of data memory that were stored, with their values.
type Stores = BTreeMap<u64, u8>;

/// Judges an access before which these bytes were stored.
fn judge_access(
    case: &Case,
    prediction: &Prediction,
    observation: &Observation,
    before: &Stores,
) -> Verdict {
    let mut nearest: Option<(&Alternative, Vec<Difference>)> = None;
    for alternative in &prediction.alternatives {
        let differences = compare(case, alternative, observation, before);
        if differences.is_empty() {
            return Verdict::Agree {
                unproved: is_unproved(case, alternative, observation),
                choices: choices_taken(case, alternative, observation),
            };
        }
        if nearest.as_ref().is_none_or(|(_, fewest)| differences.len() < fewest.len()) {
            nearest = Some((alternative, differences));
        }
    }
    let (expected, differences) = nearest.expect("a prediction has an alternative");
    Verdict::Diverge { expected: Box::new(expected.clone()), differences }
}

/// Every field in which an observation differs from one allowed outcome.
fn compare(
    case: &Case,
    expected: &Alternative,
    seen: &Observation,
    before: &Stores,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differ = |field, expected: String, observed: String| {
        differences.push(Difference { field, expected, observed });
    };
    match &expected.outcome {
        Outcome::Fault(fault) => compare_fault(fault, seen, &mut differ),
        Outcome::Translated(spans) => {
            if let Some(fault) = seen.fault {
                differ(Field::Vector, "no exception".into(), describe_fault(fault));
            } else if !is_out_of_sight(case, spans, seen) {
                compare_value(case, spans, seen, before, &mut differ);
            }
        }
    }
    let Effects { stored, mut outside } = Effects::of(case, &expected.outcome, before);
    if !seen.sees_outside {
        outside.clear();
    }
    if seen.stored != stored {
        differ(Field::Stored, describe_bytes(&stored), describe_bytes(&seen.stored));
    }
    let reached: Vec<_> = seen.outside.iter().map(|access| place(*access)).collect();
    if case.access.kind != AccessKind::Clflush && reached != outside {
        differ(Field::Outside, describe_places(&outside), describe_places(&reached));
    }
    for entry in &seen.entries {
        let update = expected.updates.iter().find(|update| update.at.get() == entry.at);
        let allowed = update
            .map_or(entry.after == entry.before, |update| update.allows(entry.after))
            || is_speculation(entry.before, entry.after, seen.provenance);
        if !allowed {
            let wanted = update.map_or(entry.before, |update| update.before | update.must_set);
            let free = update.map_or(0, EntryUpdate::open_bits);
            let free = if free == 0 { String::new() } else { format!(" (bits {free:#x} free)") };
            let expected = format!("{wanted:#x} at {:#x}{free}", entry.at);
            differ(Field::Entry, expected, format!("{:#x}", entry.after));
        }
    }
    differences
}

/// Whether the access was to reach addresses without memory on a machine that does not show it.
fn is_out_of_sight(case: &Case, spans: &[Span], seen: &Observation) -> bool {
    !seen.sees_outside && spans.iter().any(|span| case.is_outside(span.address.get()))
}

fn compare_fault(
    fault: &Fault,
    seen: &Observation,
    differ: &mut impl FnMut(Field, String, String),
) {
    let Some(observed) = seen.fault else {
        differ(Field::Vector, fault.to_string(), "no exception".into());
        return;
    };
    if observed.vector != fault.vector as u8 {
        differ(Field::Vector, fault.to_string(), describe_fault(observed));
    }
    if observed.error_code != fault.error_code {
        let (expected, observed) = (fault.error_code, observed.error_code);
        differ(Field::ErrorCode, format!("{expected:#x}"), format!("{observed:#x}"));
    }
    // CANON-1: a fault without a walk leaves CR2 as it was.
    let cr2 = fault.cr2.map_or(observed.cr2_before, mmu_core::VirtAddr::get);
    if observed.cr2 != cr2 {
        differ(Field::Cr2, format!("{cr2:#x}"), format!("{:#x}", observed.cr2));
    }
}

fn compare_value(
    case: &Case,
    spans: &[Span],
    seen: &Observation,
    before: &Stores,
    differ: &mut impl FnMut(Field, String, String),
) {
    let Some(expected) = expected_value(case, spans, before) else { return };
    let observed = seen.value & mask(result_width(case));
    if observed != expected {
        let from = spans[0].address;
        differ(
            Field::Value,
            format!("{expected:#x}, which {from} holds"),
            format!("{observed:#x}"),
        );
    }
}

/// What the instruction leaves in its register, when that depends on where it read.
fn expected_value(case: &Case, spans: &[Span], before: &Stores) -> Option<u64> {
    match case.access.kind {
        AccessKind::Read if case.form == Form::SegmentLimit => {
            contents::segment_limit(behind(case, spans[0].address.get()))
        }
        AccessKind::Read | AccessKind::ReadModifyWrite => {
            Some(word(&bytes_at(case, spans, before)))
        }
        AccessKind::Fetch => {
            let place = |span: &Span| behind(case, span.address.get());
            let second = spans.get(1).map(place);
            contents::fetched(place(&spans[0]), second, Code::of(case.mode()))
        }
        AccessKind::Write | AccessKind::Clflush => None,
    }
}

/// Bytes of the register that the instruction leaves its result in.
const fn result_width(case: &Case) -> u16 {
    match case.form {
        Form::Jump | Form::SegmentLimit => 8,
        _ => case.access.size,
    }
}

/// The address of data memory behind a physical address, or the address itself where there is none.
fn behind(case: &Case, address: u64) -> u64 {
    case.data_behind(address).unwrap_or(address)
}

/// What a completed access does to memory.
#[derive(Default)]
struct Effects {
    /// Bytes of data memory that hold another value afterwards than at first, by address.
    stored: Vec<(u64, u8)>,
    /// Accesses to places without memory: address, bytes, whether a store, the bytes stored.
    outside: Vec<(u64, u16, Option<u64>)>,
}

impl Effects {
    fn of(case: &Case, outcome: &Outcome, before: &Stores) -> Self {
        let mut effects = Self::default();
        let mut held = before.clone();
        if let Outcome::Translated(spans) = outcome {
            effects.add(case, spans, &mut held);
        }
        effects.stored =
            held.into_iter().filter(|(at, byte)| contents::byte(*at) != *byte).collect();
        effects
    }

    fn add(&mut self, case: &Case, spans: &[Span], held: &mut Stores) {
        let old = word(&bytes_at(case, spans, held));
        let new = match case.form {
            Form::Store => Some(case.value),
            Form::Exchange | Form::LockedExchange => Some(old.wrapping_add(case.value)),
            // "The destination operand is written back if the comparison fails" (SDM, CMPXCHG; the
            // APM says the same): only a device can tell.
            Form::FailingCompare => Some(old),
            Form::Load | Form::Clflush | Form::Jump | Form::SegmentLimit => None,
        };
        let reads = matches!(case.access.kind, AccessKind::Read | AccessKind::ReadModifyWrite);
        let is_outside = |span: &&Span| case.is_outside(span.address.get());
        if reads {
            let loads = spans.iter().filter(is_outside);
            self.outside.extend(loads.map(|span| (span.address.get(), span.len, None)));
        }
        let Some(new) = new else { return };
        let mut shift = 0;
        for span in spans {
            let part = (new >> shift) & mask(span.len);
            shift += 8 * u32::from(span.len);
            if is_outside(&span) {
                self.outside.push((span.address.get(), span.len, Some(part)));
                continue;
            }
            let first = behind(case, span.address.get());
            held.extend((first..).zip(part.to_le_bytes()).take(span.len.into()));
        }
    }
}

/// Whether a comparison that must fail would succeed: memory has the very value that it looks for.
pub fn comparison_succeeds(case: &Case) -> bool {
    let has_the_value = |way: &Alternative| match &way.outcome {
        Outcome::Translated(spans) => {
            word(&bytes_at(case, spans, &Stores::new())) == case.value & mask(case.access.size)
        }
        Outcome::Fault(_) => false,
    };
    case.form == Form::FailingCompare
        && Reference.predict(case).alternatives.iter().any(has_the_value)
}

fn place(access: OutsideAccess) -> (u64, u16, Option<u64>) {
    (access.address, access.len.into(), access.is_write.then_some(access.data))
}

/// The bytes that memory holds at the spans after these stores, first byte first; at most 16.
fn bytes_at(case: &Case, spans: &[Span], before: &Stores) -> ArrayVec<u8, 16> {
    let first = |span: &Span| behind(case, span.address.get());
    let places = spans.iter().flat_map(|span| (first(span)..).take(span.len.into()));
    let byte = |at| before.get(&at).copied().unwrap_or_else(|| contents::byte(at));
    places.map(byte).take(16).collect()
}

/// The first eight bytes as a number, low byte first.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

const fn mask(bytes: u16) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

/// AD-5: a processor that walks by itself may set A without an access; software does not speculate.
fn is_speculation(before: u64, after: u64, provenance: Provenance) -> bool {
    let present = before & EntryBits::P.bits() != 0;
    present && after == before | EntryBits::A.bits() && provenance == Provenance::Processor
}

/// Whether an agreement says nothing about the physical address.
fn is_unproved(case: &Case, agreed: &Alternative, seen: &Observation) -> bool {
    let Outcome::Translated(spans) = &agreed.outcome else { return false };
    if is_out_of_sight(case, spans, seen) {
        return true;
    }
    let effects = Effects::of(case, &agreed.outcome, &Stores::new());
    expected_value(case, spans, &Stores::new()).is_none()
        && effects.stored.is_empty()
        && effects.outside.is_empty()
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
