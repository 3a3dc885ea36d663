//! The command line: one file per subcommand, and what they share.

mod check;
mod compare;
mod completions;
mod conformance;
mod corpus;
mod exercise;
mod explain;
mod findings;
mod geometry;
mod guest_dump;
mod image;
mod inspect;
mod judge;
mod litmus;
mod machines;
mod man;
mod merge;
mod mutants;
mod record;
mod replay;
mod rules;
mod scenario;
mod schema;

mod booter;
mod case_file;
mod colour;
mod corpus_file;
mod cpu_time;
mod failure;
mod help;
mod invocation;
mod jail;
mod live_socket;
mod machine;
mod modes;
mod nested_booter;
mod nested_cases;
mod number;
mod output;
mod output_arguments;
mod profile;
mod program;
mod progress;
mod publish;
mod stop_flag;
mod time;
mod version;

use crate::report::printable;
use clap::{Parser, Subcommand};
use crosswalk_case::is_obeyed;
use failure::Failure;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// Cross-checks x86 address translation: runs a guest on real page tables, walks the same tables in
/// software, and compares every outcome.
#[derive(Debug, Parser)]
#[command(name = "crosswalk", version, long_version = version::LONG, max_term_width = 80)]
#[command(after_long_help = help::PROGRAM)]
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
    #[command(after_long_help = help::CHECK)]
    Check(check::CheckArguments),
    /// Show which machines this host offers, and why others are missing
    #[command(after_long_help = help::MACHINES)]
    Machines(machines::MachinesArguments),
    /// Show the walk of one case, step by step
    #[command(after_long_help = help::EXPLAIN)]
    Explain(explain::ExplainArguments),
    /// Show which walker bugs known from history a machine catches
    #[command(after_long_help = help::MUTANTS)]
    Mutants(mutants::MutantsArguments),
    /// Record what a machine does, for replay on hosts without it
    #[command(after_long_help = help::RECORD)]
    Record(record::RecordArguments),
    /// Compare a recorded corpus with a walker, such as your own; nothing is run
    #[command(after_long_help = help::REPLAY)]
    Replay(replay::ReplayArguments),
    /// Write cases as something that boots anywhere and prints what it saw
    #[command(after_long_help = help::IMAGE)]
    Image(image::ImageArguments),
    /// Judge what an image has printed
    #[command(after_long_help = help::JUDGE)]
    Judge(judge::JudgeArguments),
    /// Show which rules the walkers that people use get right
    #[command(after_long_help = help::CONFORMANCE)]
    Conformance(conformance::ConformanceArguments),
    /// Add up the reports of the shards of a run
    #[command(after_long_help = help::MERGE)]
    Merge(merge::MergeArguments),
    /// Take cases out of a corpus, as a smaller one or as test vectors, or count them
    #[command(after_long_help = help::CORPUS)]
    Corpus(corpus::CorpusArguments),
    /// Compare machines with the manuals and with each other, from what was recorded
    #[command(after_long_help = help::COMPARE)]
    Compare(compare::CompareArguments),
    /// Explain the rules of the manuals by their ids, with an example
    #[command(after_long_help = help::RULES)]
    Rules(rules::RulesArguments),
    /// List the known findings of machines, and the versions that have them
    #[command(after_long_help = help::FINDINGS)]
    Findings(findings::FindingsArguments),
    /// Follow an address through the page tables of a memory image or a live guest
    #[command(after_long_help = help::WALK)]
    Walk(inspect::walk::WalkArguments),
    /// Show everything that the page tables of a memory image or a live guest map
    #[command(after_long_help = help::MAPS)]
    Maps(inspect::maps::MapsArguments),
    /// Show who leads to a physical address of a memory image or a live guest
    #[command(after_long_help = help::RMAP)]
    Rmap(inspect::rmap::RmapArguments),
    /// Show what two memory images, or an image and a live guest, map differently
    #[command(after_long_help = help::DIFF)]
    Diff(inspect::diff::DiffArguments),
    /// Look for what should not be in the page tables of a memory image or a live guest
    #[command(after_long_help = help::AUDIT)]
    Audit(inspect::audit::AuditArguments),
    /// Show what several processors may see that edit page tables and use them
    #[command(after_long_help = help::LITMUS)]
    Litmus(litmus::LitmusArguments),
    /// Compute the cost of page tables for any address width
    #[command(after_long_help = help::GEOMETRY)]
    Geometry(geometry::GeometryArguments),
    /// Ask exercises about virtual memory, and check the answers
    #[command(after_long_help = help::EXERCISE)]
    Exercise(exercise::ExerciseArguments),
    /// Run processes on a virtual memory system, and follow their pages
    #[command(after_long_help = help::SCENARIO)]
    Scenario(scenario::ScenarioArguments),
    /// Print the JSON Schemas of the documents that --json prints
    #[command(after_long_help = help::SCHEMA)]
    Schema(schema::SchemaArguments),
    /// Print completions for a shell
    #[command(after_long_help = help::COMPLETIONS)]
    Completions(completions::CompletionsArguments),
    /// Write manual pages into a directory, for packages
    #[command(hide = true)]
    Man(man::ManArguments),
}

/// Runs the program.
pub fn main() -> ExitCode {
    cpu_time::start();
    invocation::start();
    output::expect_size_limits();
    output::fit_terminal();

    let command_line = CommandLine::try_parse().unwrap_or_else(|end| print_usage(&end));
    let invocation = command_line.invocation.unwrap_or(Invocation::Check(command_line.check));

    run(invocation).unwrap_or_else(Failure::report)
}

/// Prints help, the version, or what is wrong with the arguments, and ends the program.
fn print_usage(end: &clap::Error) -> ! {
    let is_obeyed = |argument: OsString| argument.to_string_lossy().contains(is_obeyed);
    if end.use_stderr() && std::env::args_os().any(is_obeyed) {
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
        Invocation::Corpus(arguments) => corpus::run(&arguments),
        Invocation::Compare(arguments) => compare::run(&arguments),
        Invocation::Rules(arguments) => rules::run(&arguments),
        Invocation::Findings(arguments) => findings::run(&arguments),
        Invocation::Walk(arguments) => inspect::walk::run(&arguments),
        Invocation::Maps(arguments) => inspect::maps::run(&arguments),
        Invocation::Rmap(arguments) => inspect::rmap::run(&arguments),
        Invocation::Diff(arguments) => inspect::diff::run(&arguments),
        Invocation::Audit(arguments) => inspect::audit::run(&arguments),
        Invocation::Litmus(arguments) => litmus::run(&arguments),
        Invocation::Geometry(arguments) => geometry::run(&arguments),
        Invocation::Exercise(arguments) => exercise::run(&arguments),
        Invocation::Scenario(arguments) => scenario::run(&arguments),
        Invocation::Schema(arguments) => schema::run(&arguments),
        Invocation::Completions(arguments) => Ok(completions::run(arguments)),
        Invocation::Man(arguments) => man::run(&arguments),
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
