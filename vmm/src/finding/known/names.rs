//! Reading names in a file of known findings.

use serde::de::{Deserialize, Deserializer, Error};
use std::fmt::Display;
use std::str::FromStr;

/// Reads a name.
pub(super) fn read_name<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    parse(&String::deserialize(deserializer)?)
}

/// Reads a list of names.
pub(super) fn read_names<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|name| parse(name)).collect::<Result<_, _>>().map(Some)
}

fn parse<T: FromStr<Err: Display>, E: Error>(name: &str) -> Result<T, E> {
    name.parse().map_err(|error| E::custom(format!("{error}, found {name:?}")))
}
