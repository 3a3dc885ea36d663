//! `crosswalk rmap`: who leads to a physical address.

use super::{RepeatArguments, Report, SourceArguments, number};
use crate::cli::colour::ColourArguments;
use crate::cli::failure::Failure;
use crate::report::document::{Ending, VerdictWord};
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

    let report = arguments.source.inspect_tables(|inspected, stop| {
        let map = ReverseMap::new(inspected, at, arguments.repeats.limits(), stop);
        let ending = Ending::of_search(map.is_complete(), VerdictWord::Done);
        Ok(Report::new(arguments.json, ending, || map.document(), || map.text()))
    })?;
    Ok(report.print(arguments.colour))
}
