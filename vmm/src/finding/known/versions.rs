//! The versions of a machine that have a known finding.

use crosswalk_machine::Version;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::fmt;

/// A range of versions: from one, before another, or both. Where an end is not given, no version is known
/// that lacks the finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionRange {
    from: Option<Version>,
    before: Option<Version>,
}

impl VersionRange {
    /// Every version.
    pub const ALL: Self = Self { from: None, before: None };

    /// The first version that has the finding, if earlier ones lack it.
    pub const fn from(self) -> Option<Version> {
        self.from
    }

    /// The first version that lacks the finding again, if there is one.
    pub const fn before(self) -> Option<Version> {
        self.before
    }

    /// Whether a version is in the range. One that is not told may be any.
    pub fn contains(self, version: Option<Version>) -> bool {
        let is_in = |version: Version| {
            self.from.is_none_or(|from| from <= version)
                && self.before.is_none_or(|before| version < before)
        };
        version.is_none_or(is_in)
    }

    /// Whether a version is in both ranges.
    pub(super) fn overlaps(self, other: Self) -> bool {
        let begins_before_end = |one: Self, end: Self| match (one.from, end.before) {
            (Some(from), Some(before)) => from < before,
            _ => true,
        };
        begins_before_end(self, other) && begins_before_end(other, self)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (self.from, self.before) {
            (None, None) => "any".into(),
            (Some(from), None) => format!("from {}", from.short()),
            (None, Some(before)) => format!("before {}", before.short()),
            (Some(from), Some(before)) => format!("{} to before {}", from.short(), before.short()),
        };
        f.pad(&text)
    }
}

/// Reads a table: `{ from = "8.0", before = "11.0" }`.
impl<'de> Deserialize<'de> for VersionRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, expecting = "a table with from, before, or both")]
        struct Ends {
            from: Option<String>,
            before: Option<String>,
        }

        let ends = Ends::deserialize(deserializer)?;
        let read = |end: Option<String>| {
            let version = |text: String| {
                text.parse().map_err(|error| D::Error::custom(format!("{error}, found {text:?}")))
            };
            end.map(version).transpose()
        };
        let range = Self { from: read(ends.from)?, before: read(ends.before)? };

        match range {
            Self::ALL => Err(D::Error::custom("expected from, before, or both")),
            Self { from: Some(from), before: Some(before) } if from >= before => {
                let found = range.to_string();
                Err(D::Error::custom(format!("expected from to be below before, found {found}")))
            }
            range => Ok(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<VersionRange, toml::de::Error> {
        #[derive(Deserialize)]
        struct Holder {
            versions: VersionRange,
        }
        toml::from_str::<Holder>(&format!("versions = {text}")).map(|holder| holder.versions)
    }

    #[test]
    fn a_version_is_in_a_range_or_not() {
        let version = |text: &str| Version::at_start_of(text);
        for (text, inside, outside, shown) in [
            ("{ from = '8.0' }", &["8.0", "10.0.2"][..], &["7.2.22"][..], "from 8.0"),
            ("{ before = '8.0' }", &["7.2.22"], &["8.0.0", "8.0.1"], "before 8.0"),
            (
                "{ from = '7.2.1', before = '9.0' }",
                &["7.2.1", "8.2.9"],
                &["7.2.0", "9.0"],
                "7.2.1 to before 9.0",
            ),
        ] {
            let range = range(text).unwrap();
            assert!(inside.iter().all(|inner| range.contains(version(inner))), "{text}");
            assert!(!outside.iter().any(|outer| range.contains(version(outer))), "{text}");
            assert!(range.contains(None), "a version that is not told may be any");
            assert_eq!(range.to_string(), shown);
        }
        assert!(VersionRange::ALL.contains(version("0.1")));
    }

    #[test]
    fn ranges_overlap_if_a_version_is_in_both() {
        let [old, new, middle] =
            ["{ before = '8.0' }", "{ from = '8.0' }", "{ from = '7.0', before = '9.0' }"]
                .map(|text| range(text).unwrap());
        assert!(!old.overlaps(new) && !new.overlaps(old));
        assert!(old.overlaps(middle) && middle.overlaps(new) && VersionRange::ALL.overlaps(old));
    }

    #[test]
    fn a_range_that_no_version_is_in_is_refused() {
        for (text, words) in [
            ("{}", "from, before, or both"),
            ("'7.2'", "a table with from"),
            ("{ until = '8.0' }", "until"),
            ("{ from = 'new' }", "such as 7.2 or 10.0.2, found \"new\""),
            ("{ from = '9.0', before = '8.0' }", "found 9.0 to before 8.0"),
            ("{ from = '8.0', before = '8.0' }", "below before"),
        ] {
            let error = range(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
