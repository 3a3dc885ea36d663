//! Cases of nested paging that the user gives, and what is known of the machine that runs them.

use super::failure::Failure;
use super::machine::{MachineArguments, MachineKind, OpenedMachine};
use super::output_arguments::OutputArguments;
use crate::campaign::known::KnownSource;
use crate::campaign::predictor::Predictor;
use crate::file;
use crate::report::document::{Ending, VerdictWord};
use crosswalk_case::observation::Provenance;
use crosswalk_machine::{Capabilities, Identity, Machine};
use crosswalk_nested::NestedCase;
use crosswalk_nested::generate::{NestedName, Stream};
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::walker::{NestedWalker, REFERENCE};
use serde_json::value::RawValue;
use std::path::Path;

/// The longest file of cases that is read.
const MAX_BYTES: u64 = 64 << 20;
/// The longest file of known findings that is read.
const MAX_KNOWN_BYTES: u64 = 1 << 20;

/// Whether an argument is a case of nested paging, or a file with one.
pub(super) fn is_nested(argument: &str) -> bool {
    if argument.starts_with("nested:") || argument.trim_start().starts_with('{') {
        return argument.starts_with("nested:") || NestedCase::is_meant_by(argument);
    }
    // What is not a file can be read once only, and is read as cases of one dimension.
    let path = Path::new(argument);
    if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    file::read_input(path, MAX_BYTES).is_ok_and(|text| {
        let first = serde_json::from_str::<Vec<Box<RawValue>>>(&text)
            .ok()
            .and_then(|cases| cases.into_iter().next());
        first.map_or_else(
            || NestedCase::is_meant_by(&text),
            |first| NestedCase::is_meant_by(first.get()),
        )
    })
}

/// Reads cases: JSON, or a file with a case or an array of them.
pub(super) fn read_nested(argument: &str) -> Result<Vec<NestedCase>, Failure> {
    let (name, text) = if argument.trim_start().starts_with(['{', '[']) {
        ("the case".to_owned(), argument.to_owned())
    } else {
        let path = Path::new(argument);
        let name = file::input_name(path);
        let text = file::read_input(path, MAX_BYTES)
            .map_err(|error| Failure::Input(format!("{name}: cannot be read: {error}")))?;
        (name, text)
    };
    let failure = |error: &dyn std::fmt::Display| Failure::Input(format!("{name}: {error}"));

    if !text.trim_start().starts_with('[') {
        return Ok(vec![NestedCase::from_json(&text).map_err(|error| failure(&error))?]);
    }
    let values: Vec<Box<RawValue>> =
        serde_json::from_str(&text).map_err(|error| failure(&error))?;
    if values.is_empty() {
        return Err(failure(&"expected at least one case, found an empty array"));
    }
    (1..)
        .zip(&values)
        .map(|(number, value)| {
            NestedCase::from_json(value.get())
                .map_err(|error| failure(&format!("case {number}: {error}")))
        })
        .collect()
}

/// Opens a machine that is given one batch after the other. If none is named, it is one that runs guests in its guest.
pub(super) fn open_nested(
    options: &MachineArguments,
    kind: MachineKind,
) -> Result<(Box<dyn Machine>, String), Failure> {
    let OpenedMachine { machine, why } = options.open_only(kind)?;
    let runs_guests = machine.capabilities().virtualization.is_ok();
    if kind != MachineKind::Auto || runs_guests {
        return Ok((machine, why));
    }
    let OpenedMachine { machine, .. } = options.open_only(MachineKind::Qemu)?;
    Ok((machine, "the KVM of this host runs no guests in its guest".into()))
}

/// Makes a named case again, for this machine.
pub(super) fn named(name: NestedName, machine: &Capabilities) -> Result<NestedCase, Failure> {
    let stream = Stream::new(name.generator, name.seed, machine)
        .map_err(|why| Failure::machine(why.to_string()))?;
    let case = stream.case(name.index);
    case.ok_or_else(|| Failure::Input(format!("{name}: there is no such index")))
}

/// What is known of nested paging on a machine.
pub(super) fn known_of(machine: &Identity) -> KnownNested {
    KnownNested::of(match (machine.kind.as_str(), machine.beneath.as_str()) {
        ("qemu", _) => "tcg",
        ("kvm", "tcg") => "kvm-on-tcg",
        ("kvm", "bochs") => "kvm-on-bochs",
        (kind, _) => kind,
    })
}

/// What is known of it by the file that the user names; by default by the one that comes with the program.
pub(super) fn load_known(source: &KnownSource, machine: &Identity) -> Result<KnownNested, Failure> {
    match source {
        KnownSource::File(path) => known_file(path),
        KnownSource::Shipped | KnownSource::Unforgiven => Ok(known_of(machine)),
    }
}

/// Reads a file of known findings.
pub(super) fn known_file(path: &str) -> Result<KnownNested, Failure> {
    let problem = |error: String| Failure::Input(format!("{path}: {error}"));
    let text = file::read_input(Path::new(path), MAX_KNOWN_BYTES)
        .map_err(|error| problem(error.to_string()))?;
    KnownNested::from_toml(&text).map_err(problem)
}

/// Who predicts.
pub(super) fn nested_walker(predictor: &Predictor) -> Result<&'static dyn NestedWalker, Failure> {
    match predictor {
        Predictor::Nested(mutant) => Ok(mutant.walker),
        predictor if predictor.is_reference() => Ok(&REFERENCE),
        other => Err(Failure::Input(format!(
            "--walker {other} predicts one dimension only: expected reference or a mutant of nested paging; \
             `crosswalk mutants --nested` lists them"
        ))),
    }
}

/// How a command ends with this verdict.
pub(super) fn ending_of(verdict: VerdictWord, output: OutputArguments) -> Ending {
    match verdict {
        VerdictWord::Incomplete if output.allow_incomplete => Ending::ALLOWED_INCOMPLETE,
        verdict => verdict.into(),
    }
}

/// Who decides what a guest in the guest sees.
pub(super) fn provenance_of(machine: &Identity) -> Provenance {
    match machine.kind.as_str() {
        "qemu" => Provenance::Tcg,
        // KVM walks the tables of its guest's hypervisor, and builds tables of its own from them.
        "kvm" => Provenance::KvmWalker,
        "bochs" => Provenance::Emulator,
        _ => Provenance::Unknown,
    }
}
