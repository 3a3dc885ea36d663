//! Cases as lines, all of them or a sample, to standard output or into a file.

use super::selection::SelectionArguments;
use crate::cli::failure::Failure;
use crate::cli::output::{cannot_be_written, check_replaceable, end_unread};
use crate::corpus::CaseKey;
use crate::corpus::filter::{FoundCase, RecordedMachine};
use crate::corpus::read::CorpusError;
use crate::corpus::sample::{Sample, SampleTooLarge};
use crate::file;
use crosswalk_case::lines::FrameWriter;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// Maximum number of cases among which those that are the same are found.
const MAX_DISTINCT: usize = 1 << 22;

/// Which cases are written, and where.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LineArguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Of cases that differ in nothing but the processor, take the first
    #[arg(long)]
    distinct: bool,
    /// Take at most this number of cases: the first ones, or random ones with --seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Take random cases, the same for the same seed
    #[arg(long, requires = "limit")]
    seed: Option<u64>,
    /// Write into this file, compressed with zstd if its name ends in .zst [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What is written of cases.
pub(super) trait CaseLines {
    /// The line of a case, with its line feed.
    fn of_case(found: &FoundCase<'_>) -> String;

    /// Writes the line of a case of this machine.
    fn write(&mut self, machine: &RecordedMachine, line: &str) -> io::Result<()>;

    /// Writes what follows the last line, and flushes.
    fn end(&mut self) -> io::Result<()>;
}

/// Where lines are written.
pub(super) type Out = Box<dyn Write>;

/// Why not all lines were written.
enum LineError {
    /// The corpus or an argument is wrong.
    Input(Failure),
    /// They cannot be written.
    Write(io::Error),
}

/// Lines with their machines.
type LineSample = Sample<(Arc<RecordedMachine>, String)>;

impl LineArguments {
    /// Writes a line for each case that is wanted.
    pub(super) fn write<L: CaseLines>(&self, into: fn(Out) -> L) -> Result<(), Failure> {
        let Some(path) = &self.out else {
            // The text is buffered, as few lines are of use alone.
            let out = Box::new(BufWriter::new(io::stdout()));
            return match self.write_lines(into(out)) {
                Err(LineError::Write(error)) => end_unread(&error),
                Err(LineError::Input(failure)) => Err(failure),
                Ok(()) => Ok(()),
            };
        };

        check_replaceable(path)?;
        let is_compressed = path.extension().is_some_and(|extension| extension == "zst");
        let written = file::replace_with(path, |file| {
            let file = BufWriter::new(file.try_clone()?);
            self.write_lines(into(if is_compressed {
                Box::new(FrameWriter::new(file))
            } else {
                Box::new(file)
            }))
        });
        written.map_err(|error| match error {
            LineError::Write(error) => cannot_be_written(path, &error),
            LineError::Input(failure) => failure,
        })
    }

    fn write_lines<L: CaseLines>(&self, mut lines: L) -> Result<(), LineError> {
        let mut reader = self.selection.open()?;
        let mut known = BTreeSet::new();
        let mut sample = self.sample();
        let mut left = self.limit.unwrap_or(u64::MAX);

        self.selection.visit(&mut reader, |found| {
            if self.distinct && !known.insert(CaseKey::of(&found.recorded.case)) {
                return Ok(ControlFlow::Continue(()));
            }
            if known.len() > MAX_DISTINCT {
                let problem = format!("--distinct: expected at most {MAX_DISTINCT} distinct cases");
                return Err(Failure::Input(problem).into());
            }

            if let Some(sample) = &mut sample {
                add_to_sample::<L>(sample, &found)?;
                return Ok(ControlFlow::Continue(()));
            }

            lines.write(found.machine, &L::of_case(&found))?;
            left = left.saturating_sub(1);
            Ok::<_, LineError>(if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;

        for (machine, line) in sample.into_iter().flat_map(Sample::finish) {
            lines.write(&machine, &line)?;
        }
        Ok(lines.end()?)
    }

    fn sample(&self) -> Option<LineSample> {
        let limit = self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        limit.zip(self.seed).map(|(limit, seed)| Sample::new(limit, seed))
    }
}

fn add_to_sample<L: CaseLines>(
    sample: &mut LineSample,
    found: &FoundCase<'_>,
) -> Result<(), LineError> {
    let make = || {
        let line = L::of_case(found);
        let bytes = line.len();
        ((found.machine.clone(), line), bytes)
    };
    Ok(sample.offer(make)?)
}

impl From<Failure> for LineError {
    fn from(failure: Failure) -> Self {
        Self::Input(failure)
    }
}

impl From<CorpusError> for LineError {
    fn from(error: CorpusError) -> Self {
        Self::Input(error.into())
    }
}

impl From<SampleTooLarge> for LineError {
    fn from(error: SampleTooLarge) -> Self {
        Self::Input(Failure::Input(error.to_string()))
    }
}

impl From<io::Error> for LineError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}
