//! The command line: one file per subcommand, and what they share.

mod check;
mod conformance;
mod explain;
mod failure;
mod geometry;
mod known;
mod machine;
mod machines;
mod merge;
mod mutants;
mod output;
mod parse;
mod predictor;
mod progress;
mod record;
mod replay;
mod scenario;
mod usage;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// Cross-checks address translation: runs a guest on real page tables, walks the same tables in
/// software, and compares every outcome.
#[derive(Debug, Parser)]
#[command(name = "crosswalk", version, max_term_width = 80)]
#[command(args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Invocation>,
    #[command(flatten)]
    check: check::CheckArguments,
}

#[derive(Debug, Subcommand)]
enum Invocation {
    /// Run cases on a machine and compare (the default)
    Check(check::CheckArguments),
    /// Say what this host offers, and why not
    Machines(machines::MachinesArguments),
    /// Draw the walk of one case, step by step
    Explain(explain::ExplainArguments),
    /// Hold the walker bugs known to history against a machine
    Mutants(mutants::MutantsArguments),
    /// Record what a machine does with cases, to be replayed anywhere
    Record(record::RecordArguments),
    /// Hold a recorded corpus against a walker, yours for instance; nothing is run
    Replay(replay::ReplayArguments),
    /// Show which rules the walkers that people use get right
    Conformance(conformance::ConformanceArguments),
    /// Add up the reports of the shards of a run
    Merge(merge::MergeArguments),
    /// Compute what page tables cost, for any address width
    Geometry(geometry::GeometryArguments),
    /// Run processes on a virtual memory system, and tell what becomes of their pages
    Scenario(scenario::ScenarioArguments),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = CommandLine::parse();
    let result = match arguments.command {
        None => check::run(&arguments.check),
        Some(Invocation::Check(arguments)) => check::run(&arguments),
        Some(Invocation::Machines(arguments)) => Ok(machines::run(&arguments)),
        Some(Invocation::Explain(arguments)) => explain::run(&arguments),
        Some(Invocation::Mutants(arguments)) => mutants::run(&arguments),
        Some(Invocation::Record(arguments)) => record::run(&arguments),
        Some(Invocation::Replay(arguments)) => replay::run(&arguments),
        Some(Invocation::Conformance(arguments)) => conformance::run(&arguments),
        Some(Invocation::Merge(arguments)) => merge::run(&arguments),
        Some(Invocation::Geometry(arguments)) => geometry::run(&arguments),
        Some(Invocation::Scenario(arguments)) => scenario::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("crosswalk: {failure}");
            ExitCode::from(match failure {
                Failure::Input(_) => 2,
                Failure::Machine(_) => 3,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }
}
