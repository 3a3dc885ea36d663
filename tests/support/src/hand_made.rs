//! Predictions and observations written by hand, for the tests of the verdict.

use crosswalk::verdict::{Field, Verdict, judge_observation};
use crosswalk_case::Case;
use crosswalk_case::observation::{
    Attempt, EntryAfter, Observation, ObservedFault, OutsideAccess, Provenance,
};
use crosswalk_guest::contents;
use crosswalk_guest::layout::{Arena, HOLE_BASE};
use mmu_core::outcome::Span;
use mmu_core::x86::format::{Format, FourLevel, Level};
use mmu_core::{
    AccessKind, Alternative, EntryUpdate, Fault, Outcome, PhysAddr, Prediction, Profile, Ring,
    Rule, RuleSet, Vector, VirtAddr,
};

/// Bit 0 of an entry: present.
pub const P: u64 = 1;
/// Bit 5 of an entry: accessed.
pub const A: u64 = 1 << 5;
/// Bit 6 of an entry: dirty.
pub const D: u64 = 1 << 6;

/// The frame of the page in all these cases: lane 0 of arena 0, whose first data frame is frame 68
/// of its area (17 * 4).
pub const PAGE: u64 = 0x4004_4000;
/// A physical address without memory.
pub const HOLE: u64 = HOLE_BASE + 0x7000_0000;
/// CR2 before the case.
const CR2_BEFORE: u64 = 0x1122_3344_5566;

/// A case with its prediction.
pub type HandMade = (Case, Prediction);

/// A plain 8-byte access of this kind at offset 0x108 of the page (of the stubs, for a fetch).
pub fn of_kind(kind: AccessKind) -> HandMade {
    let mut case = Case::plain(Arena::ALL[0], 0, Ring::Three, Profile::default());
    assert_eq!(case.entries[3].value, PAGE | 0x7);
    case.access.kind = kind;
    case.form = Case::default_form(kind);

    let mut offset = 0x108;
    if kind == AccessKind::Fetch {
        offset = 0x810;
        case.access.address = VirtAddr::new((case.access.address.get() & !0xfff) | offset);
    }
    case.value = not_in_memory(PAGE + offset);

    let prediction = completes(&case, &[(PAGE + offset, 8)]);
    (case, prediction)
}

/// An 8-byte access with three bytes on one page and five on the next, whose frame is not adjacent.
pub fn crossing(kind: AccessKind) -> HandMade {
    let (mut case, _) = of_kind(kind);
    case.access.address = VirtAddr::new((case.access.address.get() & !0xfff) | 0xffd);
    let prediction = completes(&case, &[(PAGE + 0xffd, 3), (PAGE + 0x3000, 5)]);

    // Every byte differs from memory at its own place.
    let low = not_in_memory(PAGE + 0xffd) & 0x00ff_ffff;
    case.value = low | not_in_memory(PAGE + 0x3000) << 24;
    (case, prediction)
}

/// A read that faults, and changes no entry.
pub fn faulting(vector: Vector, error_code: u32) -> HandMade {
    let (case, mut prediction) = of_kind(AccessKind::Read);
    let cr2 = (vector == Vector::PageFault).then_some(case.access.address);
    let alternative = &mut prediction.alternatives[0];
    alternative.outcome = Outcome::Fault(Fault { vector, error_code, cr2 });
    for update in &mut alternative.updates {
        update.must_set = 0;
    }
    (case, prediction)
}

/// The same access, translated to another physical address.
pub fn moved_to((case, mut prediction): HandMade, address: u64) -> HandMade {
    let span = Span { address: PhysAddr::new(address), len: case.access.size };
    prediction.alternatives[0].outcome = Outcome::Translated([span].into_iter().collect());
    (case, prediction)
}

/// Sets the length of the only span of a prediction.
pub fn resize(prediction: &mut Prediction, len: u16) {
    if let Outcome::Translated(spans) = &mut prediction.alternatives[0].outcome {
        spans[0].len = len;
    }
}

/// The access completes with A set in every entry, and D in the leaf of a write (AD-1).
fn completes(case: &Case, spans: &[(u64, u16)]) -> Prediction {
    let writes = case.access.kind.writes();
    let update = |(index, level): (usize, &'static Level)| {
        let entry = case.entries[index];
        EntryUpdate {
            at: PhysAddr::new(entry.at),
            level,
            before: entry.value,
            must_set: if index == 3 && writes { A | D } else { A },
            may_set: 0,
            open_by: Rule::Ad1,
        }
    };
    let span = |(address, len): &(u64, u16)| Span { address: PhysAddr::new(*address), len: *len };

    let only = Alternative {
        outcome: Outcome::Translated(spans.iter().map(span).collect()),
        updates: FourLevel::LEVELS.iter().enumerate().map(update).collect(),
        choice: None,
    };
    Prediction { alternatives: [only].into_iter().collect(), rules: RuleSet::default() }
}

/// The observation of a machine that behaves like the first alternative.
pub fn observation_of(case: &Case, prediction: &Prediction) -> Observation {
    let alternative = &prediction.alternatives[0];
    let mut observation = Observation::new(None, 0, Provenance::KvmWalker);
    for (entry, update) in case.entries.iter().zip(&alternative.updates) {
        let after = entry.value | update.must_set;
        observation.entries.push(EntryAfter { at: entry.at, before: entry.value, after });
    }

    match &alternative.outcome {
        Outcome::Translated(spans) => complete(&mut observation, case, spans),
        Outcome::Fault(fault) => {
            observation.fault = Some(ObservedFault {
                vector: fault.vector as u8,
                error_code: fault.error_code,
                cr2: fault.cr2.map_or(CR2_BEFORE, VirtAddr::get),
                cr2_before: CR2_BEFORE,
                rip: None,
                frame: None,
            });
        }
    }
    observation
}

/// Adds the value read and the bytes stored by an access to these spans.
fn complete(observation: &mut Observation, case: &Case, spans: &[Span]) {
    let places: Vec<u64> =
        spans.iter().flat_map(|span| (span.address.get()..).take(span.len.into())).collect();
    let old = places.iter().rev().fold(0, |old, at| old << 8 | u64::from(contents::byte(*at)));

    observation.value = match case.access.kind {
        // The stub: `mov ecx, imm32`, then `jmp r13`.
        AccessKind::Fetch => memory_at(places[0] + 1, 4),
        _ => old,
    };

    let new = match case.access.kind {
        AccessKind::Write => case.value,
        AccessKind::ReadModifyWrite => old.wrapping_add(case.value),
        _ => return,
    };
    observation.stored = places.into_iter().zip(new.to_le_bytes()).collect();
}

/// The fields that differ from the prediction once the observation is changed; none if it still
/// agrees.
pub fn differing_fields(
    (case, prediction): &HandMade,
    change: impl FnOnce(&mut Observation),
) -> Vec<Field> {
    let mut observation = observation_of(case, prediction);
    change(&mut observation);

    match judge_observation(case, prediction, &Attempt::Observed(observation)) {
        Verdict::Agree { .. } => Vec::new(),
        Verdict::Diverge { differences, .. } => {
            differences.iter().map(|difference| difference.field).collect()
        }
        Verdict::Unsupported(why) => panic!("{why}"),
    }
}

/// A page fault that is not predicted.
pub fn page_fault(error_code: u32) -> ObservedFault {
    ObservedFault {
        vector: 14,
        error_code,
        cr2: 0x1000,
        cr2_before: CR2_BEFORE,
        rip: None,
        frame: None,
    }
}

/// A load of 8 bytes that left the machine.
pub fn load_outside(address: u64) -> OutsideAccess {
    OutsideAccess { address, len: 8, is_write: false, data: memory_at(address, 8) }
}

/// The `len` bytes of memory from `at` on, as a little-endian number.
pub fn memory_at(at: u64, len: u64) -> u64 {
    (at..at + len).rev().fold(0, |number, at| number << 8 | u64::from(contents::byte(at)))
}

/// Eight bytes that all differ from memory at their places, and whose sum with memory does too: so
/// every byte of a store and of an exchange is visible.
fn not_in_memory(at: u64) -> u64 {
    let old = memory_at(at, 8);
    let fits = |value: &u64| {
        let sum = old.wrapping_add(*value).to_le_bytes();
        let value = value.to_le_bytes();
        let old = old.to_le_bytes();
        (0..8).all(|i| value[i] != old[i] && sum[i] != old[i])
    };
    (1..=0xff_u64).map(|byte| byte * 0x0101_0101_0101_0101).find(fits).expect("one of these fits")
}
