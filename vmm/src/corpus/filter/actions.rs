//! How many actions precede an access.

use std::str::FromStr;

/// A number of actions before an access, or a range of numbers.
///
/// ```
/// use crosswalk::corpus::filter::ActionCount;
///
/// let some: ActionCount = "1-3".parse()?;
/// assert!(some.fits(3) && !some.fits(0));
/// assert!("2-".parse::<ActionCount>()?.fits(100));
/// assert!("0".parse::<ActionCount>()?.fits(0));
/// assert!("3-1".parse::<ActionCount>().is_err());
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionCount {
    least: usize,
    most: usize,
}

impl ActionCount {
    /// Whether it is one of these numbers.
    pub const fn fits(self, actions: usize) -> bool {
        self.least <= actions && actions <= self.most
    }
}

impl FromStr for ActionCount {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected a number of actions before the access, or a range: 0, 1-3 or 1-";

        let number = |text: &str| text.parse::<usize>().map_err(|_| EXPECTED);
        let (least, most) = match text.split_once('-') {
            None => (number(text)?, number(text)?),
            Some((least, "")) => (number(least)?, usize::MAX),
            Some((least, most)) => (number(least)?, number(most)?),
        };
        if least <= most { Ok(Self { least, most }) } else { Err(EXPECTED) }
    }
}
