//! `crosswalk diff`: what two memory images map differently.

use super::{ColourArguments, ReadingArguments, RepeatArguments, exit_code, number};
use crate::cli::failure::Failure;
use crate::cli::output::print;
use crate::cli::stop_flag::stop_flag;
use crate::report::inspect::difference::ImageDifference;
use mmu_core::x86::format::EntryBits;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct DiffArguments {
    /// The first image
    #[arg(value_name = "A")]
    before: PathBuf,
    /// The second one, read as the first; the same image with another CR3 or CPU is possible
    #[arg(value_name = "B")]
    after: PathBuf,
    #[command(flatten)]
    reading: ReadingArguments,
    /// CR3 of the second image, if it is another
    #[arg(long, value_name = "VALUE", value_parser = number)]
    cr3_b: Option<u64>,
    /// The CPU of the second image, if it is another
    #[arg(long, value_name = "N")]
    cpu_b: Option<usize>,
    /// Compare the flags A, D and G of leaves, too
    #[arg(long)]
    flags: bool,
    #[command(flatten)]
    repeats: RepeatArguments,
    #[command(flatten)]
    colour: ColourArguments,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(arguments: &DiffArguments) -> Result<ExitCode, Failure> {
    let DiffArguments { before, after, reading, cr3_b, cpu_b, flags, repeats, colour, json } =
        arguments;
    let before = reading.open(before)?;
    let of_after = ReadingArguments {
        cr3: cr3_b.or(reading.cr3),
        cpu: cpu_b.unwrap_or(reading.cpu),
        ..reading.clone()
    };
    let after = of_after.open(after)?;
    let [mode, other] = [&before, &after].map(|inspected| inspected.derived.state.mode());
    if mode != other {
        let problem = format!("expected images in the same paging mode, not in {mode} and {other}");
        return Err(Failure::Input(problem));
    }

    let flags =
        if *flags { EntryBits::A | EntryBits::D | EntryBits::G } else { EntryBits::empty() };
    let limits = repeats.limits();
    let difference = ImageDifference::new(&before, &after, flags, limits, &*stop_flag()?);
    if *json {
        print(&difference.json());
    } else {
        colour.print(&difference.text());
    }
    Ok(exit_code(!difference.is_empty(), difference.is_complete()))
}
