//! `check` on an emulator that boots an image: the cases are on the image, and its log is judged.

use super::CheckArguments;
use crate::campaign::predictor::Predictor;
use crate::cli::booter::{Booter, modes_of};
use crate::cli::failure::{Failure, print_error};
use crate::cli::judge::{JudgeArguments, OpenedLog};
use crate::cli::output::replace_file;
use crate::cli::publish::lock_report;
use crate::generate::SequenceUse;
use crate::image::{CasesOfImage, ImagePlan};
use crosswalk_machine::LeftOut;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

/// Number of cases unless the user asks for another: some seconds.
const DEFAULT_CASES: u64 = 20_000;

/// Runs `check` on such an emulator.
pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    if let Some(option) = arguments.first_option_of_batches() {
        let problem = format!(
            "{option} needs a machine that is given one batch after another: --machine {} boots an image",
            arguments.machine.name()
        );
        return Err(Failure::Input(problem));
    }

    // Before the emulator runs, whose result would be lost.
    if let Some(directory) = &arguments.report {
        lock_report(directory)?;
    }
    let booter = Booter::find(arguments.machine, &arguments.options)?;
    let probe = booter.probe()?;
    let plan = arguments.image_plan(&probe, booter.does_not_survive());
    let log = booter.boot(&plan)?;
    if let Some(why) = &log.cut_off {
        print_error(why);
    }

    // The log stays in the directory of the report, or goes.
    let temporary = tempfile::NamedTempFile::new().and_then(|mut file| {
        file.write_all(&log.bytes)?;
        Ok(file)
    });
    let temporary = temporary.map_err(|error| {
        Failure::machine(format!("a temporary file cannot be written: {error}"))
    })?;
    let path = match &arguments.report {
        None => temporary.path().to_owned(),
        Some(directory) => {
            let path = directory.join(format!("{}.log", arguments.machine.name()));
            replace_file(&path, &log.bytes)?;
            path
        }
    };

    JudgeArguments::of_booted(
        path,
        booter.machine(),
        arguments.known.clone(),
        arguments.output,
        arguments.report.clone(),
    )
    .judge()
}

impl CheckArguments {
    /// The image of this run, for the processor that printed a log.
    fn image_plan(&self, probe: &OpenedLog, left_out: LeftOut) -> ImagePlan {
        ImagePlan {
            profile: probe.profile(),
            left_out: probe.lacks() | left_out,
            skipped: BTreeSet::new(),
            cases: CasesOfImage::Random {
                seed: self.seed.unwrap_or_else(rand::random),
                modes: modes_of(&probe.processor, &self.mode),
                count: self.cases.unwrap_or(DEFAULT_CASES),
                sequences: self.sequences.unwrap_or(SequenceUse::On),
            },
        }
    }

    /// The first option that an image cannot serve, if there is one.
    fn first_option_of_batches(&self) -> Option<&'static str> {
        [
            (self.exhaustive, "--exhaustive"),
            (self.guided, "--guided"),
            (self.time.is_some(), "--for"),
            (self.shard.is_some(), "--shard"),
            (self.jobs.is_some(), "--jobs"),
            (self.resume, "--resume"),
            (self.live.is_some(), "--live"),
            (self.fail_fast, "--fail-fast"),
            (self.update_known.is_some(), "--update-known"),
            (
                !matches!(&self.walker, Predictor::BuiltIn(walker) if walker.is_reference()),
                "--walker",
            ),
        ]
        .into_iter()
        .find_map(|(is_given, option)| is_given.then_some(option))
    }
}
