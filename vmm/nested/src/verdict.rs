//! The verdict on a case: what the machine did, compared field by field with what a walker predicts.

use crate::case::NestedCase;
use crate::observation::{NestedAttempt, NestedObservation, SeenEnd};
use crate::stubs;
use crate::walker::{CaseAlternative, CaseEnd, CasePrediction, NestedWalker, predict};
use crosswalk_guest::contents;
use crosswalk_guest::stub::Code;
use mmu_core::nested::{AnyRule, NestedEnd, NestedExit};
use mmu_core::outcome::Span;
use mmu_core::{AccessKind, Vector};
use std::fmt;

/// The result of a comparison.
#[derive(Clone, Debug)]
pub enum NestedVerdict {
    /// The machine did one of the things that are allowed.
    Agree {
        /// The choice that it made: the rule and the member.
        choice: Option<(AnyRule, &'static str)>,
    },
    /// It did something else.
    Diverge {
        /// The nearest allowed outcome.
        expected: Box<CaseAlternative>,
        /// Every field that differs from it; at least one.
        differences: Vec<Difference>,
    },
    /// The case did not run, for this reason.
    Unsupported(String),
    /// The walker predicts nothing, since the case leads to what is not known.
    Unpredicted,
}

/// A field of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// How L2 ended: the kind of exit.
    End,
    /// The error code of a guest fault.
    ErrorCode,
    /// CR2.
    Cr2,
    /// EXITINFO1, or the exit qualification.
    Qualification,
    /// EXITINFO2, or the guest-physical address of the exit.
    GuestPhysical,
    /// The guest linear address of the exit.
    Linear,
    /// The value that was read, or of the code that was fetched: the host-physical address.
    Value,
    /// RIP.
    Rip,
    /// The bytes that were stored.
    Stored,
    /// A and D of L2's entries.
    GuestEntry,
    /// A and D of the second level's entries.
    NestedEntry,
    /// A word of a table that is no entry of the case.
    OtherEntry,
}

impl Field {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::ErrorCode => "error_code",
            Self::Cr2 => "cr2",
            Self::Qualification => "qualification",
            Self::GuestPhysical => "guest_physical",
            Self::Linear => "linear",
            Self::Value => "value",
            Self::Rip => "rip",
            Self::Stored => "stored",
            Self::GuestEntry => "guest_entry",
            Self::NestedEntry => "nested_entry",
            Self::OtherEntry => "other_entry",
        }
    }
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field.
    pub field: Field,
    /// The host-physical address of the entry, if it is one.
    pub at: Option<u64>,
    /// What was expected.
    pub expected: String,
    /// What the machine did.
    pub seen: String,
}

impl Difference {
    /// The bits in which a number differs that is a set of bits, for a comparison of findings; 0 for others.
    pub fn bits(&self) -> u64 {
        let number = |text: &str| {
            text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok())
        };
        match self.field {
            Field::ErrorCode | Field::Qualification | Field::GuestEntry | Field::NestedEntry => {
                number(&self.expected).unwrap_or(0) ^ number(&self.seen).unwrap_or(0)
            }
            _ => 0,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, at, expected, seen } = self;
        write!(f, "{}", field.name())?;
        if let Some(at) = at {
            write!(f, " at {at:#x}")?;
        }
        write!(f, ": expected {expected}, seen {seen}")
    }
}

/// Judges a case by the prediction of a walker.
pub fn judge(walker: &dyn NestedWalker, case: &NestedCase, run: &NestedAttempt) -> NestedVerdict {
    judge_prediction(case, &predict(walker, case), run)
}

/// The same by a prediction that has been made.
pub fn judge_prediction(
    case: &NestedCase,
    prediction: &CasePrediction,
    run: &NestedAttempt,
) -> NestedVerdict {
    let seen = match run {
        NestedAttempt::Observed(seen) => seen,
        NestedAttempt::Unsupported(why) => return NestedVerdict::Unsupported(why.clone()),
    };

    let compared = prediction.alternatives.iter().map(|way| (way, differences(case, way, seen)));
    let nearest = compared.min_by_key(|(_, differences)| weight(differences));
    match nearest {
        None => NestedVerdict::Unpredicted,
        Some((way, differences)) if differences.is_empty() => {
            NestedVerdict::Agree { choice: way.choice }
        }
        Some((way, differences)) => {
            NestedVerdict::Diverge { expected: Box::new(way.clone()), differences }
        }
    }
}

/// How far an outcome is from what was seen: another end weighs more than any other field.
fn weight(differences: &[Difference]) -> usize {
    let is_other_end = differences.iter().any(|difference| difference.field == Field::End);
    differences.len() + if is_other_end { 100 } else { 0 }
}

/// Every field in which an observation differs from an allowed outcome.
fn differences(
    case: &NestedCase,
    way: &CaseAlternative,
    seen: &NestedObservation,
) -> Vec<Difference> {
    let mut found = Differences(Vec::new());
    found.end(case, way, seen);
    found.stored(case, way, seen);
    found.entries(case, way, seen);
    found.0
}

struct Differences(Vec<Difference>);

impl Differences {
    fn add(
        &mut self,
        field: Field,
        at: Option<u64>,
        expected: impl fmt::Display,
        seen: impl fmt::Display,
    ) {
        let (expected, seen) = (expected.to_string(), seen.to_string());
        self.0.push(Difference { field, at, expected, seen });
    }

    /// Compares numbers, of which only the bits in `known` are defined.
    fn number(&mut self, field: Field, known: u64, expected: u64, seen: u64) {
        if (expected ^ seen) & known != 0 {
            self.add(field, None, format_args!("{expected:#x}"), format_args!("{seen:#x}"));
        }
    }

    fn end(&mut self, case: &NestedCase, way: &CaseAlternative, seen: &NestedObservation) {
        match (&way.end, seen.end) {
            (CaseEnd::Of(NestedEnd::Translated(_)), SeenEnd::Completed { rax, rcx }) => {
                self.value(case, way, rax, rcx);
                let end = case.code.get().wrapping_add(stubs::end(&case.access));
                self.number(Field::Rip, !0, end, seen.rip);
            }
            (CaseEnd::Of(NestedEnd::Fault(fault)), SeenEnd::Fault { vector, error_code, cr2 })
                if fault.vector as u8 == vector =>
            {
                self.number(Field::ErrorCode, !0, fault.error_code.into(), error_code.into());
                if let Some(expected) = fault.cr2
                    && fault.vector == Vector::PageFault
                {
                    self.number(Field::Cr2, !0, expected.get(), cr2);
                }
            }
            (
                CaseEnd::Of(NestedEnd::Exit(NestedExit::NestedPageFault {
                    info1: expected,
                    info1_known,
                    info2: expected_address,
                })),
                SeenEnd::Npf { info1, info2 },
            ) => {
                self.number(Field::Qualification, *info1_known, *expected, info1);
                self.number(Field::GuestPhysical, !0, *expected_address, info2);
            }
            (
                CaseEnd::Of(NestedEnd::Exit(NestedExit::EptViolation {
                    qualification: expected,
                    qualification_known: known,
                    guest_physical: expected_address,
                    linear: expected_linear,
                })),
                SeenEnd::EptViolation { qualification, guest_physical, linear },
            ) => {
                self.number(Field::Qualification, *known, *expected, qualification);
                self.number(Field::GuestPhysical, !0, *expected_address, guest_physical);
                if let Some(expected) = expected_linear {
                    self.number(Field::Linear, !0, *expected, linear);
                }
            }
            (
                CaseEnd::Of(NestedEnd::Exit(NestedExit::EptMisconfiguration {
                    guest_physical: expected,
                    qualification_known: known,
                })),
                SeenEnd::EptMisconfiguration { guest_physical, qualification },
            ) => {
                self.number(Field::Qualification, *known, 0, qualification);
                self.number(Field::GuestPhysical, !0, *expected, guest_physical);
            }
            (CaseEnd::NotEntered { code: expected }, SeenEnd::NotEntered { code }) => {
                self.number(Field::Qualification, !0, *expected, code);
            }
            (CaseEnd::NotEntered { code: expected }, SeenEnd::Other { code })
                if *expected == code => {}
            (CaseEnd::Lost(expected), SeenEnd::Lost(how)) if *expected == how => {}
            (expected, end) => self.add(Field::End, None, expected, end),
        }
    }

    /// Compares what proves the host-physical address of a load or a fetch.
    fn value(&mut self, case: &NestedCase, way: &CaseAlternative, rax: u64, rcx: u64) {
        let Some(NestedEnd::Translated(spans)) = &way.access else { return };

        match case.access.kind {
            AccessKind::Fetch => {
                let first = spans.first().map_or(0, |span| span.address.get());
                let constant =
                    contents::fetched(first, None, case.kind_of_code()).unwrap_or_default();
                // In 32-bit code the jump begins with INC ECX.
                let expected = match case.kind_of_code() {
                    Code::Bits64 => constant,
                    Code::Bits32 => u64::from((constant as u32).wrapping_add(1)),
                };
                self.number(Field::Value, !0, expected, rcx);
            }
            AccessKind::Read => {
                let mut bytes = [0; 8];
                for (byte, at) in bytes.iter_mut().zip(addresses(spans)) {
                    *byte = contents::byte(at);
                }
                // A byte leaves the rest of the register alone; 32 bits clear its upper half.
                let rest =
                    if case.access.size == 1 { case.access.address.get() & !0xff } else { 0 };
                self.number(Field::Value, !0, u64::from_le_bytes(bytes) | rest, rax);
            }
            _ => {}
        }
    }

    fn stored(&mut self, case: &NestedCase, way: &CaseAlternative, seen: &NestedObservation) {
        let mut expected = Vec::new();
        if case.access.kind.writes()
            && let Some(NestedEnd::Translated(spans)) = &way.access
        {
            let size = usize::from(case.access.size);
            let mut old = [0; 8];
            for (byte, at) in old.iter_mut().zip(addresses(spans)) {
                *byte = contents::byte(at);
            }
            let operand = case.access.address.get();
            let new = match case.access.kind {
                AccessKind::ReadModifyWrite => u64::from_le_bytes(old).wrapping_add(operand),
                _ => operand,
            };
            let new = new.to_le_bytes().into_iter().take(size);
            let written = addresses(spans).zip(old.into_iter().zip(new));
            let changed = written.filter(|(_, (old, new))| old != new);
            expected.extend(changed.map(|(at, (_, new))| (at, new)));
            expected.sort_unstable();
        }

        if expected != seen.stored {
            self.add(Field::Stored, None, Bytes(&expected), Bytes(&seen.stored));
        }
    }

    fn entries(&mut self, case: &NestedCase, way: &CaseAlternative, seen: &NestedObservation) {
        let field_of = |at: u64| {
            let is =
                |entries: &[crosswalk_case::TableEntry]| entries.iter().any(|entry| entry.at == at);
            if is(&case.guest_entries) {
                Field::GuestEntry
            } else if is(&case.nested_entries) {
                Field::NestedEntry
            } else {
                Field::OtherEntry
            }
        };

        for update in &way.updates {
            let at = update.at.get();
            let after = seen.changed.iter().find(|entry| entry.at == at);
            let after = after.map_or(update.before, |entry| entry.after);
            if !update.allows(after) {
                let expected = update.before | update.must_set;
                self.add(
                    field_of(at),
                    Some(at),
                    format_args!("{expected:#x}"),
                    format_args!("{after:#x}"),
                );
            }
        }
        for entry in &seen.changed {
            if !way.updates.iter().any(|update| update.at.get() == entry.at) {
                let (before, after) = (entry.before, entry.after);
                self.add(
                    field_of(entry.at),
                    Some(entry.at),
                    format_args!("{before:#x}"),
                    format_args!("{after:#x}"),
                );
            }
        }
    }
}

/// The addresses of all bytes of an access.
fn addresses(spans: &[Span]) -> impl Iterator<Item = u64> {
    spans.iter().flat_map(|span| {
        let first = span.address.get();
        first..first.wrapping_add(span.len.into())
    })
}

/// Bytes in memory, as text.
struct Bytes<'b>(&'b [(u64, u8)]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 8;

        let Some((first, _)) = self.0.first() else { return f.write_str("nothing") };
        write!(f, "{} bytes from {first:#x}:", self.0.len())?;
        for (_, byte) in self.0.iter().take(MOST) {
            write!(f, " {byte:02x}")?;
        }
        Ok(())
    }
}
