//! The command line: one file per subcommand, and what they share.

mod check;
mod compare;
mod conformance;
mod explain;
mod findings;
mod geometry;
mod guest_dump;
mod image;
mod inspect;
mod judge;
mod machines;
mod merge;
mod mutants;
mod record;
mod replay;
mod scenario;
mod schema;

mod booter;
mod case_file;
mod corpus_file;
mod cpu_time;
mod failure;
mod invocation;
mod jail;
mod live_socket;
mod machine;
mod modes;
mod output;
mod profile;
mod program;
mod progress;
mod stop_flag;
mod time;

use crate::report::printable;
use clap::{Parser, Subcommand};
use failure::Failure;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// Cross-checks x86 address translation: runs a guest on real page tables, walks the same tables in
/// software, and compares every outcome.
#[derive(Debug, Parser)]
#[command(name = "crosswalk", version, max_term_width = 80)]
#[command(args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    invocation: Option<Invocation>,
    #[command(flatten)]
    check: check::CheckArguments,
}

#[derive(Debug, Subcommand)]
enum Invocation {
    /// Run cases on a machine and compare every outcome (the default)
    Check(check::CheckArguments),
    /// Show which machines this host offers, and why others are missing
    Machines(machines::MachinesArguments),
    /// Show the walk of one case, step by step
    Explain(explain::ExplainArguments),
    /// Show which walker bugs known from history a machine catches
    Mutants(mutants::MutantsArguments),
    /// Record what a machine does, for replay on hosts without it
    Record(record::RecordArguments),
    /// Compare a recorded corpus with a walker, such as your own; nothing is run
    Replay(replay::ReplayArguments),
    /// Write cases as something that boots anywhere and prints what it saw
    Image(image::ImageArguments),
    /// Judge what an image has printed
    Judge(judge::JudgeArguments),
    /// Show which rules the walkers that people use get right
    Conformance(conformance::ConformanceArguments),
    /// Add up the reports of the shards of a run
    Merge(merge::MergeArguments),
    /// Compare machines with the manuals and with each other, from what was recorded
    Compare(compare::CompareArguments),
    /// List the known findings of machines, and the versions that have them
    Findings(findings::FindingsArguments),
    /// Follow an address through the page tables of a memory image or a live guest
    Walk(inspect::walk::WalkArguments),
    /// Show everything that the page tables of a memory image or a live guest map
    Maps(inspect::maps::MapsArguments),
    /// Show who leads to a physical address of a memory image or a live guest
    Rmap(inspect::rmap::RmapArguments),
    /// Show what two memory images, or an image and a live guest, map differently
    Diff(inspect::diff::DiffArguments),
    /// Look for what should not be in the page tables of a memory image or a live guest
    Audit(inspect::audit::AuditArguments),
    /// Compute the cost of page tables for any address width
    Geometry(geometry::GeometryArguments),
    /// Run processes on a virtual memory system, and follow their pages
    Scenario(scenario::ScenarioArguments),
    /// Print the JSON Schemas of the documents that --json prints
    Schema(schema::SchemaArguments),
}

/// Runs the program.
pub fn main() -> ExitCode {
    cpu_time::start();
    invocation::start();
    output::expect_size_limits();

    let command_line = CommandLine::try_parse().unwrap_or_else(|end| print_usage(&end));
    let invocation = command_line.invocation.unwrap_or(Invocation::Check(command_line.check));

    run(invocation).unwrap_or_else(Failure::report)
}

/// Prints help, the version, or what is wrong with the arguments, and ends the program.
fn print_usage(end: &clap::Error) -> ! {
    let has_controls = |argument: OsString| argument.to_string_lossy().contains(char::is_control);
    if end.use_stderr() && std::env::args_os().any(has_controls) {
        // Arguments are shown as they are. A terminal must not obey them.
        eprint!("{}", printable(&end.render().to_string()));
    } else if let Err(error) = end.print().and_then(|()| io::stdout().flush())
        && !end.use_stderr()
    {
        output::end_unread(&error);
    }
    std::process::exit(end.exit_code())
}

fn run(invocation: Invocation) -> Result<ExitCode, Failure> {
    match invocation {
        Invocation::Check(arguments) => check::run(&arguments),
        Invocation::Machines(arguments) => machines::run(&arguments),
        Invocation::Explain(arguments) => explain::run(&arguments),
        Invocation::Mutants(arguments) => mutants::run(&arguments),
        Invocation::Record(arguments) => record::run(&arguments),
        Invocation::Replay(arguments) => replay::run(&arguments),
        Invocation::Image(arguments) => image::run(&arguments),
        Invocation::Judge(arguments) => judge::run(&arguments),
        Invocation::Conformance(arguments) => conformance::run(&arguments),
        Invocation::Merge(arguments) => merge::run(&arguments),
        Invocation::Compare(arguments) => compare::run(&arguments),
        Invocation::Findings(arguments) => findings::run(&arguments),
        Invocation::Walk(arguments) => inspect::walk::run(&arguments),
        Invocation::Maps(arguments) => inspect::maps::run(&arguments),
        Invocation::Rmap(arguments) => inspect::rmap::run(&arguments),
        Invocation::Diff(arguments) => inspect::diff::run(&arguments),
        Invocation::Audit(arguments) => inspect::audit::run(&arguments),
        Invocation::Geometry(arguments) => geometry::run(&arguments),
        Invocation::Scenario(arguments) => scenario::run(&arguments),
        Invocation::Schema(arguments) => schema::run(&arguments),
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
