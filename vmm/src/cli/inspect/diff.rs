//! `crosswalk diff`: what two memory images or live guests map differently.

use super::{LiveName, ReadingArguments, RepeatArguments, Report, Signals, check_root, number};
use crate::cli::colour::ColourArguments;
use crate::cli::failure::Failure;
use crate::report::document::{Ending, VerdictWord};
use crate::report::inspect::Inspected;
use crate::report::inspect::difference::ImageDifference;
use mmu_core::x86::format::EntryBits;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct DiffArguments {
    /// The first image, or qmp:SOCKET or kvm:SOCKET for a live guest
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
    let DiffArguments { before, after, reading, cr3_b, cpu_b, .. } = arguments;
    let of_after = ReadingArguments {
        cr3: cr3_b.or(reading.cr3),
        cpu: cpu_b.unwrap_or(reading.cpu),
        ..reading.clone()
    };

    let guests = [before, after].map(|image| LiveName::of(image));
    let signals = Signals::new(guests.iter().flatten().any(LiveName::waits))?;
    let before_inspected = reading.open(before)?;
    // A monitor serves one program at a time, and would not answer the second connection; and two address spaces
    // are those of one moment.
    let is_same_guest = guests[0].is_some() && guests[0] == guests[1];
    let after_inspected = if is_same_guest {
        of_after.take_registers(after, before_inspected.source.clone())
    } else {
        of_after.open(after)
    };

    let report = match after_inspected {
        Ok(after) => {
            let stop = signals.flag()?;
            let compared = arguments.compare(&before_inspected, &after, &stop);
            signals.finish(&[&before_inspected, &after], compared)?
        }
        Err(failure) => return signals.finish(&[&before_inspected], Err(failure)),
    };
    Ok(report.print(arguments.colour))
}

impl DiffArguments {
    /// What differs.
    fn compare(
        &self,
        before: &Inspected,
        after: &Inspected,
        stop: &AtomicBool,
    ) -> Result<Report, Failure> {
        check_root(before)?;
        check_root(after)?;

        let [mode, other] = [before, after].map(|inspected| inspected.derived.state.mode());
        if mode != other {
            let problem =
                format!("expected images in the same paging mode, not in {mode} and {other}");
            return Err(Failure::Input(problem));
        }

        let flags = if self.flags {
            EntryBits::A | EntryBits::D | EntryBits::G
        } else {
            EntryBits::empty()
        };
        let difference = ImageDifference::new(before, after, flags, self.repeats.limits(), stop);
        let verdict = if difference.is_empty() { VerdictWord::Same } else { VerdictWord::Differ };
        let ending = Ending::of_search(difference.is_complete(), verdict);
        Ok(Report::new(self.json, ending, || difference.document(), || difference.text()))
    }
}
