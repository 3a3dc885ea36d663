//! `crosswalk rmap`: who leads to a physical address.

use super::{RepeatArguments, SourceArguments, exit_code, number};
use crate::cli::colour::ColourArguments;
use crate::cli::failure::Failure;
use crate::report::inspect::reverse::ReverseMap;
use mmu_core::PhysAddr;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct RmapArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// The physical address
    #[arg(value_name = "ADDRESS", value_parser = number)]
    address: u64,
    #[command(flatten)]
    repeats: RepeatArguments,
    #[command(flatten)]
    colour: ColourArguments,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(arguments: &RmapArguments) -> Result<ExitCode, Failure> {
    let at = PhysAddr::new(arguments.address);

    let (report, code) = arguments.source.inspect_tables(|inspected, stop| {
        let map = ReverseMap::new(inspected, at, arguments.repeats.limits(), stop);
        let report = if arguments.json { map.json() } else { map.text() };
        Ok((report, exit_code(false, map.is_complete())))
    })?;
    arguments.colour.print_report(&report, arguments.json);
    Ok(code)
}
