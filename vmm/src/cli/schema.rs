//! `crosswalk schema`: the JSON Schemas of the documents.

use super::failure::Failure;
use super::output::print;
use crate::report::document::SCHEMAS;
use std::fmt::Write;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct SchemaArguments {
    /// The document, such as run or maps [default: list them]
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(arguments: &SchemaArguments) -> Result<ExitCode, Failure> {
    let Some(name) = &arguments.name else {
        let mut text = String::new();
        for schema in SCHEMAS {
            let _ = writeln!(text, "{:15}  {}", schema.name, schema.commands);
        }
        print(&text);
        return Ok(ExitCode::SUCCESS);
    };

    let schema = SCHEMAS.iter().find(|schema| schema.name == name).ok_or_else(|| {
        let names: Vec<_> = SCHEMAS.iter().map(|schema| schema.name).collect();
        Failure::Input(format!("{name}: expected one of {}", names.join(", ")))
    })?;
    print(schema.text);
    Ok(ExitCode::SUCCESS)
}
