//! Counts in JSON documents.

use super::number::with_commas;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// A count in a document. It is a JSON number that every reader holds exactly, so more than 2^53 - 1 is written as that.
/// A number that can be more is a decimal string instead ([`crosswalk_case::Decimal`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) struct Count(u64);

impl Count {
    /// The largest integer up to which doubles hold all.
    const MAX: u64 = (1 << 53) - 1;
}

impl From<u64> for Count {
    fn from(count: u64) -> Self {
        Self(count.min(Self::MAX))
    }
}

impl From<usize> for Count {
    fn from(count: usize) -> Self {
        (count as u64).into()
    }
}

/// Counts by name.
pub(in crate::report) fn by_name<K: Ord>(counts: BTreeMap<K, u64>) -> BTreeMap<K, Count> {
    counts.into_iter().map(|(name, count)| (name, count.into())).collect()
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_commas(self.0))
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Count {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A count; 2^53 - 1 stands for more.",
            "type": "integer",
            "minimum": 0,
            "maximum": Self::MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_number_that_a_double_holds() {
        for (count, text) in [
            (0, "0"),
            (9_007_199_254_740_991, "9007199254740991"),
            (9_007_199_254_740_992, "9007199254740991"),
            (u64::MAX, "9007199254740991"),
        ] {
            assert_eq!(serde_json::to_string(&Count::from(count)).expect("a number"), text);
        }
    }
}
