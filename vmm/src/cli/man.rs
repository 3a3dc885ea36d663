//! `crosswalk man`: manual pages for packages, from the same definition as the help.

use super::CommandLine;
use super::failure::Failure;
use super::output::{print, replace_file};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ManArguments {
    /// The directory, which must exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(arguments: &ManArguments) -> Result<ExitCode, Failure> {
    let mut program = CommandLine::command();
    program.build();

    let is_shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let subcommands: Vec<_> = program.get_subcommands().filter(is_shown).cloned().collect();
    let pages = 1 + subcommands.len();
    for command in std::iter::once(program).chain(subcommands) {
        write_page(arguments, command)?;
    }

    print(&format!("{pages} pages of section 1 in {}\n", arguments.directory.display()));
    Ok(ExitCode::SUCCESS)
}

fn write_page(arguments: &ManArguments, command: Command) -> Result<(), Failure> {
    let man = Man::new(command);
    let path = arguments.directory.join(man.get_filename());
    let mut page = Vec::new();
    man.render(&mut page).map_err(|error| {
        Failure::machine(format!("{}: cannot be made: {error}", path.display()))
    })?;

    replace_file(&path, page)
}
