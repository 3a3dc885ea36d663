//! Error codes of page faults.

use crosswalk_case::observation::Attempt;
use mmu_core::{PageFaultCode, Vector};
use std::str::FromStr;

/// What the error code of a page fault must have, and what it must lack.
///
/// ```
/// use crosswalk::corpus::filter::ErrorCodePattern;
///
/// let pattern: ErrorCodePattern = "P,W,no-U".parse()?;
/// assert!(pattern.fits_code(0x3) && pattern.fits_code(0xb));
/// assert!(!pattern.fits_code(0x7) && !pattern.fits_code(0x1));
///
/// let exactly: ErrorCodePattern = "0x7".parse()?;
/// assert!(exactly.fits_code(0x7) && !exactly.fits_code(0xf));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCodePattern {
    /// The bits that are compared.
    mask: u32,
    /// Their values.
    value: u32,
}

impl ErrorCodePattern {
    /// Whether an attempt ended in a page fault with such a code.
    pub fn fits(self, attempt: &Attempt) -> bool {
        match attempt {
            Attempt::Observed(seen) => seen.fault.is_some_and(|fault| {
                fault.vector == Vector::PageFault as u8 && self.fits_code(fault.error_code)
            }),
            Attempt::Unsupported(_) => false,
        }
    }

    /// Whether an error code is such a code.
    pub const fn fits_code(self, code: u32) -> bool {
        code & self.mask == self.value
    }
}

impl FromStr for ErrorCodePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(digits) = text.strip_prefix("0x")
            && let Ok(value) = u32::from_str_radix(digits, 16)
        {
            return Ok(Self { mask: u32::MAX, value });
        }

        let mut pattern = Self { mask: 0, value: 0 };
        for word in text.split(',') {
            let (name, is_set) = match word.strip_prefix("no-") {
                Some(name) => (name, false),
                None => (word, true),
            };
            let bit = PageFaultCode::from_name(name).ok_or_else(|| {
                let names: Vec<_> = PageFaultCode::all().iter_names().map(|(name, _)| name).collect();
                let names = names.join(", ");
                format!(
                    "expected bits of a page fault's error code, of {names}, each with no- before it if \
                     it must be clear, or the code as a number such as 0x7"
                )
            })?;
            if pattern.mask & bit.bits() != 0 {
                return Err(format!("{name} comes twice"));
            }
            pattern.mask |= bit.bits();
            pattern.value |= if is_set { bit.bits() } else { 0 };
        }
        Ok(pattern)
    }
}
