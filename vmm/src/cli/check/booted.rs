//! `check` on an emulator that boots an image: the cases are on the image, and its log is judged.

use super::CheckArguments;
use crate::campaign::predictor::Predictor;
use crate::cli::failure::Failure;
use crate::cli::image::{default_profile, no_image};
use crate::cli::judge::{BootedMachine, JudgeArguments, OpenedLog, read_log};
use crate::cli::output::replace_file;
use crate::file::LockedDirectory;
use crate::generate::SequenceUse;
use crate::image::{CasesOfImage, ImagePlan};
use crosswalk_machine::bochs::{self, BochsError, BochsLog, BochsProgram};
use crosswalk_machine::tape::Payload;
use crosswalk_machine::{Interrupter, LeftOut};
use mmu_core::{Features, PagingMode};
use std::collections::BTreeSet;
use std::io::{Cursor, Write};
use std::process::ExitCode;

/// Number of cases unless the user asks for another: some seconds.
const DEFAULT_CASES: u64 = 20_000;

/// Runs `check --machine bochs`.
pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    if let Some(option) = arguments.first_option_of_batches() {
        let problem = format!(
            "{option} needs a machine that is given one batch after another: --machine bochs boots an image"
        );
        return Err(Failure::Input(problem));
    }

    if let Some(option) = arguments.options.first_option() {
        return Err(Failure::Input(format!(
            "{option} is not for Bochs: its processor is chosen by --cpu"
        )));
    }

    let emulator = Bochs::open(arguments)?;
    let probe = emulator.probe()?;
    let plan = arguments.image_plan(&probe);
    let log = emulator.boot(&plan)?;
    if let Some(why) = &log.cut_off {
        eprintln!("crosswalk: {why}");
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
            LockedDirectory::create(directory).map_err(|error| {
                let problem =
                    format!("{}: the directory cannot be used: {error}", directory.display());
                Failure::of_io(problem, &error)
            })?;
            let path = directory.join("bochs.log");
            replace_file(&path, &log.bytes)?;
            path
        }
    };

    JudgeArguments::of_booted(
        path,
        emulator.machine(),
        arguments.known.clone(),
        arguments.json,
        arguments.report.clone(),
    )
    .judge()
}

/// Bochs with one of its processors.
pub(in crate::cli) struct Bochs {
    program: BochsProgram,
    model: String,
    jail: crosswalk_machine::jail::Jail,
}

impl Bochs {
    fn open(arguments: &CheckArguments) -> Result<Self, Failure> {
        Self::with(arguments.options.cpu(), arguments.options.jail.jail()?)
    }

    /// Finds Bochs.
    pub(in crate::cli) fn with(
        model: &str,
        jail: crosswalk_machine::jail::Jail,
    ) -> Result<Self, Failure> {
        Ok(Self { program: BochsProgram::find()?, model: model.to_owned(), jail })
    }

    /// What it is, for reports.
    pub(in crate::cli) fn machine(&self) -> BootedMachine {
        BootedMachine {
            kind: "bochs",
            version: format!("Bochs {}", self.program.version.short()),
            why: format!("as asked, {}", self.model),
        }
    }

    /// Boots an image with next to nothing on it, whose log tells what the processor is.
    pub(in crate::cli) fn probe(&self) -> Result<OpenedLog, Failure> {
        let plan = ImagePlan {
            profile: default_profile(),
            left_out: LeftOut::empty(),
            skipped: BTreeSet::new(),
            cases: CasesOfImage::Random {
                seed: 1,
                modes: vec![PagingMode::Unpaged],
                count: 1,
                sequences: SequenceUse::Off,
            },
        };
        let log = self.boot(&plan)?;
        if let Some(why) = log.cut_off {
            return Err(Failure::machine(format!("{} of Bochs: {why}", self.model)));
        }
        let name = format!("the log of {}", self.model);
        read_log(name, Box::new(Cursor::new(log.bytes)))
    }

    fn boot(&self, plan: &ImagePlan) -> Result<BochsLog, Failure> {
        let payload: Payload = plan.build().map_err(|error| no_image(&error))?.payload;
        let booted =
            bochs::boot(&self.program, &self.model, &payload, &self.jail, &Interrupter::default());
        booted.map_err(|error| match error {
            BochsError::Machine(error) => error.into(),
            error => Failure::Input(error.to_string()),
        })
    }
}

impl CheckArguments {
    /// The image of this run, for the processor that printed a log.
    fn image_plan(&self, probe: &OpenedLog) -> ImagePlan {
        let profile = probe.profile();
        // What the processor lacks would only be skipped.
        let is_offered = |mode: PagingMode| {
            mode != PagingMode::FiveLevel || profile.features.contains(Features::LA57)
        };
        let is_wanted = |mode: &PagingMode| {
            if self.mode.is_empty() { is_offered(*mode) } else { self.mode.contains(mode) }
        };
        ImagePlan {
            profile,
            left_out: probe.lacks(),
            skipped: BTreeSet::new(),
            cases: CasesOfImage::Random {
                seed: self.seed.unwrap_or_else(rand::random),
                modes: PagingMode::ALL.into_iter().filter(is_wanted).collect(),
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
            (
                !matches!(&self.walker, Predictor::BuiltIn(walker) if walker.is_reference()),
                "--walker",
            ),
        ]
        .into_iter()
        .find_map(|(is_given, option)| is_given.then_some(option))
    }
}
