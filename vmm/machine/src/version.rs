//! Versions of emulators and kernels, as numbers that can be compared.

use std::fmt;
use std::str::FromStr;

/// A version: three numbers, of which those that are not given are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

impl Version {
    /// The version at the beginning of a text such as `10.0.2`, `9.1.50-dirty` or `6.18.44-cloud`.
    pub fn at_start_of(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut parts = text.get(..end)?.split('.').take(3).map(str::parse);

        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = parts.next().map_or(Some(0), Result::ok)?;
        Some(Self([major, minor, patch]))
    }

    /// Without the last number if it is 0: `7.2`.
    pub fn short(self) -> String {
        let Self([major, minor, patch]) = self;
        match patch {
            0 => format!("{major}.{minor}"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, patch]) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// Reads a version without anything behind it.
impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let has_parts = matches!(text.split('.').count(), 2 | 3);
        let version = Some(text).filter(|_| is_plain && has_parts).and_then(Self::at_start_of);
        version.ok_or("expected a version such as 7.2 or 10.0.2")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_emulators_and_kernels_are_read() {
        for (text, numbers) in [
            ("7.2.22", [7, 2, 22]),
            ("9.1.50-dirty", [9, 1, 50]),
            ("8.2", [8, 2, 0]),
            ("0.5.462", [0, 5, 462]),
            ("6.18.44-fc", [6, 18, 44]),
            ("6.1.0-31-cloud-amd64", [6, 1, 0]),
            ("2.7.1.3", [2, 7, 1]),
        ] {
            assert_eq!(Version::at_start_of(text), Some(Version(numbers)), "{text}");
        }
        for text in ["", "seven", "7", "7.", ".7", "7..2", "7.2.", "99999999999.1"] {
            assert_eq!(Version::at_start_of(text), None, "{text}");
        }
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("7.2") < version("7.2.1") && version("7.2.22") < version("10.0"));
        assert_eq!(version("8.0"), version("8.0.0"));
        assert_eq!(
            (version("8.0").short(), version("8.0.3").short()),
            ("8.0".into(), "8.0.3".into())
        );

        for text in ["8", "8.0-rc1", "v8.0", "8.0.0.0", " 8.0", "8.0."] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
