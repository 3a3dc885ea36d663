//! A jail, in the JSON of every report about what was in it.

use crosswalk_machine::jail::JailReport;
use serde::Serialize;

/// A jail. The names of fields are part of the contract.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct JailJson<'r> {
    /// Whether there is one.
    on: bool,
    /// Its parts.
    parts: Vec<JailPartJson<'r>>,
}

/// A part of a jail: what it does, or why it is not in force.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct JailPartJson<'r> {
    /// The name of the part.
    part: &'r str,
    /// Whether it is in force.
    in_force: bool,
    /// What it does.
    how: Option<&'r str>,
    /// Why it is not in force.
    reason: Option<&'r str>,
}

/// A jail as JSON.
pub(in crate::report) fn jail(report: &JailReport) -> JailJson<'_> {
    let parts = report.parts().iter().map(|part| JailPartJson {
        part: part.name,
        in_force: part.state.is_ok(),
        how: part.state.as_deref().ok(),
        reason: part.state.as_ref().err().map(String::as_str),
    });
    JailJson { on: matches!(report, JailReport::On(_)), parts: parts.collect() }
}
