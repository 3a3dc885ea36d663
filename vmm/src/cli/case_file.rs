//! Cases that the user gives: as JSON, in a file, or by name.

use super::failure::Failure;
use super::machine::MachineKind;
use crate::file;
use crate::generate::CaseName;
use crosswalk_case::Case;
use crosswalk_machine::Machine;
use serde_json::value::RawValue;
use std::fmt;
use std::path::Path;

/// The longest file of cases that is read: tens of thousands of them.
const MAX_BYTES: u64 = 64 << 20;

/// Reads cases: a text that starts like a JSON object is a case, any other text is the name of a file.
pub(super) fn read_cases(argument: &str) -> Result<Vec<Case>, Failure> {
    if argument.trim_start().starts_with('{') {
        let case = Case::from_json(argument);
        return Ok(vec![case.map_err(|error| Failure::Input(error.to_string()))?]);
    }

    let path = Path::new(argument);
    let name = file::input_name(path);
    let in_file = |error: &dyn fmt::Display| Failure::Input(format!("{name}: {error}"));
    let text = file::read_input(path, MAX_BYTES)
        .map_err(|error| in_file(&format!("cannot be read: {error}")))?;
    if !text.trim_start().starts_with('[') {
        let case = Case::from_json(&text);
        return Ok(vec![case.map_err(|error| in_file(&error))?]);
    }

    let values: Vec<Box<RawValue>> =
        serde_json::from_str(&text).map_err(|error| in_file(&error))?;
    if values.is_empty() {
        return Err(in_file(&"expected at least one case, found an empty array"));
    }

    let cases = (1..).zip(&values).map(|(number, value)| {
        Case::from_json(value.get()).map_err(|error| in_file(&format!("case {number}: {error}")))
    });
    cases.collect()
}

/// The name of a generated case, if the argument is one.
pub(super) fn case_name(argument: &str) -> Result<Option<CaseName>, Failure> {
    let name = CaseName::is_meant(argument).then(|| argument.parse());
    name.transpose().map_err(Failure::Input)
}

/// Makes a named case again, for a machine.
pub(super) fn named_case(name: CaseName, machine: &dyn Machine) -> Result<Case, Failure> {
    let case = name.case(machine.capabilities());
    case.ok_or_else(|| Failure::Input(format!("{name}: there is no such index")))
}

/// Why a machine that boots images is given no names.
pub(super) fn needs_a_case(name: CaseName, kind: MachineKind) -> Failure {
    Failure::Input(format!(
        "{name}: --machine {} takes cases, not names: its reports have each as JSON",
        kind.name()
    ))
}
