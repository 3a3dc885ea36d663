//! `crosswalk completions`: completions for shells, from the same definition as the help.

use super::CommandLine;
use super::output::print;
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: CompletionsArguments) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "crosswalk", &mut script);

    print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
