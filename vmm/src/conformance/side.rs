//! The sides of a rule: where a walker that knows nothing of it goes wrong, and where it happens to be
//! right.

use mmu_core::{Alternative, Outcome, PageFaultCode, Rule};

/// On which side of its rule a deviation is in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It lets an access complete that must fault, or leaves a flag clear that must be set.
    TooLax,
    /// It lets an access fault that must complete, or sets a flag that must stay clear.
    TooStrict,
    /// It does something else: it leads to another address, or to another exception.
    Elsewhere,
}

impl Side {
    /// The side of a deviation that allows other outcomes than the `allowed` ones.
    pub(super) fn of(allowed: &[Alternative], instead: &[Alternative]) -> Self {
        let completes = |ways: &[Alternative]| ways.iter().any(|way| way.outcome.fault().is_none());
        match (completes(allowed), completes(instead)) {
            (false, true) => Self::TooLax,
            (true, false) => Self::TooStrict,
            _ => match (allowed.first(), instead.first()) {
                (Some(expected), Some(other)) => Self::by_flags(expected, other),
                _ => Self::Elsewhere,
            },
        }
    }

    /// The side of a deviation whose likeliest outcome ends as the `expected` one does.
    fn by_flags(expected: &Alternative, other: &Alternative) -> Self {
        match (&expected.outcome, &other.outcome) {
            (Outcome::Translated(expected_spans), Outcome::Translated(spans)) => {
                if expected_spans != spans {
                    return Self::Elsewhere;
                }
                Self::by_bits(missing_flags(expected, other), missing_flags(other, expected))
            }
            (Outcome::Fault(expected_fault), Outcome::Fault(fault)) => {
                if (expected_fault.vector, expected_fault.cr2) != (fault.vector, fault.cr2) {
                    return Self::Elsewhere;
                }
                let expected_code = PageFaultCode::from_bits_retain(expected_fault.error_code);
                let code = PageFaultCode::from_bits_retain(fault.error_code);
                match (expected_code - code, code - expected_code) {
                    (missing, more) if missing.is_empty() && more.is_empty() => Self::by_bits(
                        missing_flags(expected, other),
                        missing_flags(other, expected),
                    ),
                    (missing, more) => Self::by_bits(!missing.is_empty(), !more.is_empty()),
                }
            }
            _ => Self::Elsewhere,
        }
    }

    /// The side of a deviation that leaves flags clear, or sets others.
    const fn by_bits(leaves_clear: bool, sets_more: bool) -> Self {
        match (leaves_clear, sets_more) {
            (true, false) => Self::TooLax,
            (false, true) => Self::TooStrict,
            _ => Self::Elsewhere,
        }
    }
}

/// Whether the first outcome sets a flag of an entry that the second does not.
fn missing_flags(first: &Alternative, second: &Alternative) -> bool {
    first.updates.iter().any(|update| {
        let same_entry = second.updates.iter().find(|other| other.at == update.at);
        let also_set = same_entry.map_or(0, |other| other.must_set);
        update.must_set & !also_set != 0
    })
}

/// Where a walker that knows nothing of a rule goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bites {
    /// Where the rule forbids, or sets a flag.
    TooLax,
    /// Where the rule permits what others forbid.
    TooStrict,
    /// On either side: the rule is about what a walk finds, not whether it may.
    Anywhere,
}

impl Bites {
    /// Where the rule bites. Most rules forbid something.
    pub(super) const fn of(rule: Rule) -> Self {
        match rule {
            Rule::Mode3
            | Rule::Mode4
            | Rule::Mode5
            | Rule::Mode8
            | Rule::Mode11
            | Rule::Pdpte1
            | Rule::Pdpte3 => Self::Anywhere,
            Rule::Right2 | Rule::Right8 | Rule::Tlb3 => Self::TooStrict,
            _ => Self::TooLax,
        }
    }
}

/// Whether a walker was right about accesses that end in both ways.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RightAbout {
    pub(super) completion: bool,
    pub(super) fault: bool,
}

/// Numbers of cases in which a walker gets a rule right, by the side of the rule. A case can be on
/// several sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RightSides {
    /// Where leaving the rule out would be too lax.
    pub too_lax: u64,
    /// Where it would be too strict.
    pub too_strict: u64,
    /// Where it would do something else.
    pub elsewhere: u64,
}

impl RightSides {
    pub(super) const fn add(&mut self, side: Side) {
        let count = match side {
            Side::TooLax => &mut self.too_lax,
            Side::TooStrict => &mut self.too_strict,
            Side::Elsewhere => &mut self.elsewhere,
        };
        *count += 1;
    }

    /// Whether they show that the walker knows the rule: some are where it bites, and the walker does
    /// not do always what is right there. What it is right about in other cases counts for that, too.
    pub(super) const fn show(&self, bites: Bites, right_about: RightAbout) -> bool {
        let forbids = self.too_lax > 0 && (self.too_strict > 0 || right_about.completion);
        let permits = self.too_strict > 0 && (self.too_lax > 0 || right_about.fault);
        let bitten = match bites {
            Bites::TooLax => forbids,
            Bites::TooStrict => permits,
            Bites::Anywhere => self.too_lax > 0 || self.too_strict > 0,
        };
        bitten || self.elsewhere > 0
    }
}
