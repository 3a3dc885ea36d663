//! Numbers of 64 bits as decimal text: JavaScript and jq round JSON numbers above 2^53.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A number that is written as a decimal string, such as `"18446744073709551615"`. A JSON number is read, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal(pub u64);

impl From<u64> for Decimal {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for Decimal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A number of at most 64 bits, in decimal digits.",
            "type": "string",
            "pattern": "^[0-9]{1,20}$",
        })
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DecimalVisitor)
    }
}

struct DecimalVisitor;

impl Visitor<'_> for DecimalVisitor {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of at most 64 bits, such as \"123\" or 123")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Decimal, E> {
        Ok(Decimal(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Decimal, E> {
        let number = u64::try_from(number);
        number
            .map(Decimal)
            .map_err(|_| E::invalid_value(Unexpected::Other("a negative number"), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Decimal, E> {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_plain.then(|| text.parse().ok()).flatten();
        number.map(Decimal).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_a_string_and_read_as_either() {
        let text = serde_json::to_string(&Decimal(u64::MAX)).expect("a string");
        assert_eq!(text, "\"18446744073709551615\"");

        for text in ["\"18446744073709551615\"", "18446744073709551615"] {
            let read: Decimal = serde_json::from_str(text).expect("a number");
            assert_eq!(read, Decimal(u64::MAX), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_number_of_64_bits_is_refused() {
        for text in [
            "\"\"",
            "\"-1\"",
            "\"+1\"",
            "\" 1\"",
            "\"0x1\"",
            "\"1.0\"",
            "-1",
            "1.5",
            "1e3",
            "null",
            "[1]",
            "\"18446744073709551616\"",
            "18446744073709551616",
        ] {
            let read: Result<Decimal, _> = serde_json::from_str(text);
            let error = read.expect_err(text).to_string();
            assert!(error.contains("expected a number of at most 64 bits"), "{text}: {error}");
        }
    }
}
