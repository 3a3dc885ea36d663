//! `crosswalk audit`: what should not be in the page tables of a memory image or a live guest.

use super::{RepeatArguments, Report, SourceArguments};
use crate::cli::colour::ColourArguments;
use crate::cli::failure::Failure;
use crate::report::document::{Ending, VerdictWord};
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

    let report = arguments.source.inspect_tables(|inspected, stop| {
        let memory = inspected.source.memory();
        let found = Audit::run(memory, &inspected.mmu(), checks, limits, stop);
        let has_found = found.counts.iter().any(|count| *count > 0);
        let verdict = if has_found { VerdictWord::Found } else { VerdictWord::Clean };
        Ok(Report::new(
            arguments.json,
            Ending::of_search(found.is_complete, verdict),
            || audit::document(inspected, &found, checks),
            || audit::text(inspected, &found, checks),
        ))
    })?;
    Ok(report.print(arguments.colour))
}
