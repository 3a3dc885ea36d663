//! `crosswalk audit`: what should not be in the page tables of a memory image or a live guest.

use super::{RepeatArguments, SourceArguments, exit_code};
use crate::cli::colour::ColourArguments;
use crate::cli::failure::Failure;
use crate::report::inspect::audit;
use crosswalk_inspect::{Audit, AuditChecks};
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct AuditArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// What to look for: all, or some of wx, wx-alias, user-kernel-alias, reserved-bit,
    /// leaf-vs-effective, table-outside-image, unreadable-table, user-writable-table [default: all but
    /// user-kernel-alias and leaf-vs-effective]
    #[arg(long, value_name = "LIST")]
    checks: Option<AuditChecks>,
    #[command(flatten)]
    repeats: RepeatArguments,
    #[command(flatten)]
    colour: ColourArguments,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(arguments: &AuditArguments) -> Result<ExitCode, Failure> {
    let checks = arguments.checks.unwrap_or_default();
    let limits = arguments.repeats.limits();

    let (report, code) = arguments.source.inspect_tables(|inspected, stop| {
        let memory = inspected.source.memory();
        let found = Audit::run(memory, &inspected.mmu(), checks, limits, stop);
        let report = if arguments.json {
            audit::json(inspected, &found, checks)
        } else {
            audit::text(inspected, &found, checks)
        };
        Ok((report, exit_code(found.counts.iter().any(|count| *count > 0), found.is_complete)))
    })?;
    arguments.colour.print_report(&report, arguments.json);
    Ok(code)
}
