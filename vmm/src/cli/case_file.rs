//! Cases that the user gives: as JSON, in a file, or by name.

use super::failure::Failure;
use super::machine::MachineKind;
use crate::file;
use crate::generate::{CaseName, FullCaseName, Origin};
use crosswalk_case::Case;
use crosswalk_machine::Machine;
use serde_json::value::RawValue;
use std::fmt;
use std::path::Path;

/// The longest file of cases that is read: tens of thousands of them.
const MAX_BYTES: u64 = 64 << 20;

/// Reads cases: a text that starts like a JSON object is a case, and one that starts like an array is several; any
/// other text is the name of a file, and so is that of an array if there is such a file.
pub(super) fn read_cases(argument: &str) -> Result<Vec<Case>, Failure> {
    if argument.trim_start().starts_with('{') {
        let case = Case::from_json(argument);
        return Ok(vec![case.map_err(|error| Failure::Input(error.to_string()))?]);
    }

    let path = Path::new(argument);
    if argument.trim_start().starts_with('[') && !path.exists() {
        return read_array(argument).map_err(|error| Failure::Input(format!("the cases: {error}")));
    }

    let name = file::input_name(path);
    let in_file = |error: &dyn fmt::Display| Failure::Input(format!("{name}: {error}"));
    let text = file::read_input(path, MAX_BYTES)
        .map_err(|error| in_file(&format!("cannot be read: {error}{}", hint(argument))))?;
    if !text.trim_start().starts_with('[') {
        let case = Case::from_json(&text);
        return Ok(vec![case.map_err(|error| in_file(&error))?]);
    }

    read_array(&text).map_err(|error| in_file(&error))
}

/// Reads an array of cases. The error names the case.
fn read_array(text: &str) -> Result<Vec<Case>, String> {
    let values: Vec<Box<RawValue>> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    if values.is_empty() {
        return Err("expected at least one case, found an empty array".into());
    }

    let cases = (1..).zip(&values).map(|(number, value)| {
        Case::from_json(value.get()).map_err(|error| format!("case {number}: {error}"))
    });
    cases.collect()
}

/// The name of a generated case, if the argument is one.
pub(super) fn case_name(argument: &str) -> Result<Option<FullCaseName>, Failure> {
    let name = CaseName::is_meant(argument).then(|| argument.parse());
    name.transpose().map_err(Failure::Input)
}

/// Makes a named case again: on the machine where the name says of none. Returns the name that means it everywhere,
/// too.
pub(super) fn named_case(
    FullCaseName { name, origin }: FullCaseName,
    machine: Option<&dyn Machine>,
) -> Result<(FullCaseName, Case), Failure> {
    let origin = origin.or_else(|| Some(Origin::of(machine?.capabilities())));
    let name = FullCaseName { name, origin };
    let case = name.origin.as_ref().and_then(|origin| name.case(origin.capabilities()));
    let case = case.ok_or_else(|| Failure::Input(format!("{name}: there is no such index")))?;
    Ok((name, case))
}

/// Why a machine that boots images is given no names that say of no other machine.
pub(super) fn needs_a_case(name: &FullCaseName, kind: MachineKind) -> Failure {
    Failure::Input(format!(
        "{name}: --machine {} takes cases, not names without @: its reports have each as JSON",
        kind.name()
    ))
}

/// What a word may be meant as that is neither a file nor a case.
fn hint(argument: &str) -> &'static str {
    let is_word =
        !argument.is_empty() && argument.chars().all(|letter| letter.is_ascii_alphabetic());
    if is_word { "; it is no command either: `crosswalk --help` lists them" } else { "" }
}
