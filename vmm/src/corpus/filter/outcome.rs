//! How an access ended.

use crosswalk_case::observation::{Attempt, name_of_fault};
use mmu_core::Vector;
use std::borrow::Cow;
use std::str::FromStr;

const COMPLETED: &str = "completed";
const FAULT: &str = "fault";
const UNSUPPORTED: &str = "unsupported";

/// A kind of outcome.
///
/// ```
/// use crosswalk::corpus::filter::OutcomePattern;
///
/// assert_eq!("pf".parse(), Ok(OutcomePattern::Vector(14)));
/// assert_eq!("#PF(P|W)".parse(), Ok(OutcomePattern::Name("#PF(P|W)".into())));
/// assert!("page".parse::<OutcomePattern>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomePattern {
    /// The access completed.
    Completed,
    /// It faulted, in whatever way.
    Fault,
    /// It raised the exception with this vector.
    Vector(u8),
    /// It ended exactly so, as [`outcome_name`] has it.
    Name(String),
    /// The machine could not run the case.
    Unsupported,
}

impl OutcomePattern {
    /// Whether an attempt ended so.
    pub fn fits(&self, attempt: &Attempt) -> bool {
        let fault = match attempt {
            Attempt::Observed(seen) => seen.fault,
            Attempt::Unsupported(_) => return *self == Self::Unsupported,
        };

        match self {
            Self::Completed => fault.is_none(),
            Self::Fault => fault.is_some(),
            Self::Vector(vector) => fault.is_some_and(|fault| fault.vector == *vector),
            Self::Name(name) => *name == outcome_name(attempt),
            Self::Unsupported => false,
        }
    }
}

/// How the last access of an attempt ended: `completed`, `#PF(P|W)`, `unsupported`.
pub fn outcome_name(attempt: &Attempt) -> Cow<'static, str> {
    match attempt {
        Attempt::Unsupported(_) => UNSUPPORTED.into(),
        Attempt::Observed(seen) => match seen.fault {
            None => COMPLETED.into(),
            Some(fault) => name_of_fault(fault.vector, fault.error_code).into(),
        },
    }
}

impl FromStr for OutcomePattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected completed, fault, unsupported, an exception such as pf, gp, ss or ac, \
                                or one with its error code, such as '#PF(P|W)'";
        const VECTORS: [Vector; 4] = [
            Vector::PageFault,
            Vector::GeneralProtection,
            Vector::StackFault,
            Vector::AlignmentCheck,
        ];

        let mnemonic = format!("#{}", text.trim_start_matches('#').to_uppercase());
        let vector = VECTORS.into_iter().find(|vector| vector.mnemonic() == mnemonic);
        match (text, vector) {
            (COMPLETED, _) => Ok(Self::Completed),
            (FAULT, _) => Ok(Self::Fault),
            (UNSUPPORTED, _) => Ok(Self::Unsupported),
            (_, Some(vector)) => Ok(Self::Vector(vector as u8)),
            _ if text.starts_with('#') && text.ends_with(')') => Ok(Self::Name(text.to_owned())),
            _ => Err(EXPECTED),
        }
    }
}
