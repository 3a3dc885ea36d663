//! `crosswalk walk`: one address, followed through the tables of a memory image or a live guest.

use super::{Report, SourceArguments, check_root, check_width, linear_address};
use crate::cli::colour::ColourArguments;
use crate::cli::failure::{Failure, print_error};
use crate::report::document::VerdictWord;
use crate::report::inspect::walk::InspectedWalk;
use mmu_core::{AccessKind, Ring, VirtAddr};
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct WalkArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// The linear address
    #[arg(value_name = "ADDRESS", value_parser = linear_address)]
    address: VirtAddr,
    /// Only what this access does [default: reads, writes and fetches of both kinds]
    #[arg(long, value_enum)]
    access: Option<AccessArgument>,
    /// Of --access: an access of user code
    #[arg(long, requires = "access")]
    user: bool,
    #[command(flatten)]
    colour: ColourArguments,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// The kind of an access.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum AccessArgument {
    /// A read of data
    Read,
    /// A write of data
    Write,
    /// The fetch of an instruction
    Fetch,
}

pub(in crate::cli) fn run(arguments: &WalkArguments) -> Result<ExitCode, Failure> {
    let WalkArguments { source, address, access, user, colour, json } = arguments;
    let ring = if *user { Ring::Three } else { Ring::Zero };
    let access = access.map(|access| {
        let kind = match access {
            AccessArgument::Read => AccessKind::Read,
            AccessArgument::Write => AccessKind::Write,
            AccessArgument::Fetch => AccessKind::Fetch,
        };
        (kind, ring)
    });

    let (report, root) = source.inspect(|inspected, _| {
        check_width(*address, inspected.derived.state.mode())?;
        let walk = InspectedWalk::new(inspected, *address, access);
        let root = check_root(inspected);
        let verdict = if root.is_ok() { VerdictWord::Done } else { VerdictWord::NoRoot };
        let report = Report::new(*json, verdict.into(), || walk.document(), || walk.text());
        Ok((report, root))
    })?;
    // Without a root there is little to see, but the registers and where it should be are worth it.
    let code = report.print(*colour);
    if let Err(failure) = root {
        print_error(&failure.to_string());
    }
    Ok(code)
}
