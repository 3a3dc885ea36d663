//! Numbers of 64 bits as text: JSON numbers cannot hold all of them, hex strings can.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that is written as a hex string, such as `"0x1000"`. When it is read, underscores between
/// the digits are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for Hex {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hex".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A number of at most 64 bits, in hexadecimal.",
            "type": "string",
            "pattern": "^0x[0-9a-f]{1,16}$",
        })
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "expected a hex string such as \"0x1000\"";

        let value = serde_json::Value::deserialize(deserializer)?;
        let text =
            value.as_str().ok_or_else(|| D::Error::custom(format!("{EXPECTED}, found {value}")))?;

        text.strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(&digits.replace('_', ""), 16).ok())
            .map(Self)
            .ok_or_else(|| {
                D::Error::custom(format!("{EXPECTED} of at most 64 bits, found {value}"))
            })
    }
}
