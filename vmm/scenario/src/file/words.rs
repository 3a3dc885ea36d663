//! The words that mean something in every file.

use mmu_core::space::{Invalid, RegionKind};

/// What the system counts or has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Minor,
    Major,
    Invalid,
    ZeroFills,
    Copies,
    Evicted,
    SecondChances,
    Written,
    Read,
    TotalFrames,
    ExecuteDisable,
}

/// The names of counts.
pub(super) const COUNTS: [(&str, Count); 11] = [
    ("minor", Count::Minor),
    ("major", Count::Major),
    ("invalid", Count::Invalid),
    ("zero-fills", Count::ZeroFills),
    ("copies", Count::Copies),
    ("evicted", Count::Evicted),
    ("second-chances", Count::SecondChances),
    ("written", Count::Written),
    ("read", Count::Read),
    ("total-frames", Count::TotalFrames),
    ("execute-disable", Count::ExecuteDisable),
];

/// The value of a page that is in no frame.
pub(super) const NOWHERE: i64 = -1;

/// The value of an access that was made after all.
pub(super) const MADE: i64 = -1;

/// How an access that is tried can end.
pub(super) const ENDINGS: [(&str, Invalid); 11] = [
    ("no-region", Invalid::NoRegion),
    ("guard", Invalid::Guard),
    ("read-only", Invalid::ReadOnly),
    ("no-execute", Invalid::NoExecute),
    ("supervisor", Invalid::Supervisor),
    ("not-canonical", Invalid::NotCanonical),
    ("misaligned", Invalid::Misaligned),
    ("reserved", Invalid::Reserved),
    ("protection-key", Invalid::ProtectionKey),
    ("shadow-stack", Invalid::ShadowStack),
    ("processor", Invalid::Processor),
];

/// The value of an ending.
pub(super) fn ending(invalid: Option<Invalid>) -> i64 {
    let place = ENDINGS.iter().position(|(_, known)| Some(*known) == invalid);
    place.map_or(MADE, |place| place as i64)
}

/// What regions are for.
pub(super) const REGION_KINDS: [(&str, RegionKind); 6] = [
    named(RegionKind::Code),
    named(RegionKind::Data),
    named(RegionKind::Heap),
    named(RegionKind::Stack),
    named(RegionKind::Shared),
    named(RegionKind::Guard),
];

const fn named(kind: RegionKind) -> (&'static str, RegionKind) {
    (kind.name(), kind)
}

/// Whether a name has a meaning of its own, and cannot be that of a place or a variable.
pub(super) fn is_taken(name: &str) -> bool {
    COUNTS.iter().any(|(word, _)| *word == name)
        || ENDINGS.iter().any(|(word, _)| *word == name)
        || ["nowhere", "made"].contains(&name)
}
