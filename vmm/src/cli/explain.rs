//! `crosswalk explain`: one case, drawn.

use super::failure::Failure;
use super::machine::{MachineArguments, MachineKind};
use super::output::print;
use crate::campaign;
use crate::generate::CaseName;
use crate::report::walk::{self, tree};
use crate::walker::WalkerSpec;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use crosswalk_case::Case;
use mmu_core::Profile;
use mmu_core::x86::profile::GENERATIONS;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExplainArguments {
    /// A case in its JSON form, a file that holds one (or an array of them), or the name of a case in
    /// a report, such as random:4level:7:12345, which is what the machine's generator makes of it
    #[arg(value_name = "CASE|FILE|NAME")]
    case: String,
    /// Whose walk: reference, or mutant:ID
    #[arg(long, default_value = "reference")]
    walker: WalkerSpec,
    /// The processor, by the name of its generation; else the case's
    #[arg(long, value_name = "NAME", value_parser = generations())]
    profile: Option<Profile>,
    /// Draw the tree of the case's tables, too
    #[arg(long)]
    tree: bool,
    /// Run the case on this machine, too
    #[arg(long, value_enum)]
    machine: Option<MachineKind>,
    #[command(flatten)]
    options: MachineArguments,
}

pub(super) fn run(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let name = CaseName::is_meant(&arguments.case).then(|| arguments.case.parse::<CaseName>());
    let name = name.transpose().map_err(Failure::Input)?;
    let mut machine = match (arguments.machine, name) {
        (Some(kind), _) => Some(arguments.options.open(kind)?.machine),
        // The generator asks what the machine has.
        (None, Some(_)) => Some(arguments.options.open(MachineKind::Auto)?.machine),
        (None, None) => None,
    };
    let mut cases = match (name, &machine) {
        (Some(name), Some(machine)) => {
            let case = name.case(machine.capabilities());
            vec![case.ok_or_else(|| Failure::Input(format!("{name}: there is no such index")))?]
        }
        _ => read(&arguments.case)?,
    };
    if let Some(profile) = arguments.profile {
        for case in &mut cases {
            case.profile = profile;
        }
    }
    let count = cases.len();
    for (number, case) in cases.iter().enumerate() {
        if count > 1 {
            print(&format!("case {} of {count}\n\n", number + 1));
        }
        print(&walk::explain(case, arguments.walker));
        if arguments.tree {
            print(&format!("\n{}", tree::draw(case)));
        }
        if let Some(machine) = machine.as_mut().filter(|_| arguments.machine.is_some()) {
            let run = campaign::run_one(machine.as_mut(), case)?;
            print(&walk::beside(case, arguments.walker, &run));
        }
        if number + 1 < count {
            print("\n");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Accepts the names of generations, and lists them otherwise.
fn generations() -> impl TypedValueParser<Value = Profile> {
    let names = GENERATIONS.iter().map(|generation| generation.name);
    PossibleValuesParser::new(names)
        .try_map(|name| Profile::generation(&name).ok_or("no such generation"))
}

/// The cases that an argument names: a text that starts like JSON is a case, anything else a file.
fn read(argument: &str) -> Result<Vec<Case>, Failure> {
    let input = |name: &str, problem: String| Failure::Input(format!("{name}: {problem}"));
    if argument.trim_start().starts_with('{') {
        let case = Case::from_json(argument);
        return Ok(vec![case.map_err(|error| Failure::Input(error.to_string()))?]);
    }
    let text = std::fs::read_to_string(argument)
        .map_err(|error| input(argument, format!("cannot be read: {error}")))?;
    if !text.trim_start().starts_with('[') {
        let case = Case::from_json(&text);
        return Ok(vec![case.map_err(|error| input(argument, error.to_string()))?]);
    }
    let values: Vec<Box<serde_json::value::RawValue>> =
        serde_json::from_str(&text).map_err(|error| input(argument, error.to_string()))?;
    if values.is_empty() {
        return Err(input(argument, "expected at least one case, found an empty array".into()));
    }
    let cases = values.iter().enumerate().map(|(i, value)| {
        let error = |error| input(argument, format!("case {}: {error}", i + 1));
        Case::from_json(value.get()).map_err(error)
    });
    cases.collect()
}
