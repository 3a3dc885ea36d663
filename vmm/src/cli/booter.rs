//! The emulators that boot an image by themselves, and what they print.

use super::failure::{Failure, print_error};
use super::image::{default_profile, no_image};
use super::judge::{BootedMachine, JudgeArguments, OpenedLog, read_log};
use super::machine::{MachineArguments, MachineKind};
use super::output_arguments::OutputArguments;
use crate::generate::SequenceUse;
use crate::image::{CasesOfImage, ImagePlan};
use crosswalk_case::Case;
use crosswalk_machine::booted::BootedLog;
use crosswalk_machine::booted::bochs::{self, BochsError, BochsProgram};
use crosswalk_machine::booted::v86::{self, V86Package};
use crosswalk_machine::jail::Jail;
use crosswalk_machine::log::{LogMachine, LogProcessor};
use crosswalk_machine::tape::Payload;
use crosswalk_machine::{Interrupter, LeftOut};
use mmu_core::PagingMode;
use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;

/// An emulator that boots images.
enum BootedEmulator {
    /// Bochs with one of its processors.
    Bochs { program: BochsProgram, model: String },
    /// v86.
    V86(V86Package),
}

/// An emulator, and the jail that it gets.
pub(super) struct Booter {
    emulator: BootedEmulator,
    jail: Jail,
}

impl Booter {
    /// Checks that an emulator heeds every option.
    pub(super) fn check(kind: MachineKind, options: &MachineArguments) -> Result<(), Failure> {
        if let Some(option) = options.first_ignored_by_booted(kind) {
            let problem = match kind {
                MachineKind::V86 => "not for v86, which has one processor",
                _ => "not for Bochs: its processor is chosen by --cpu",
            };
            return Err(Failure::Input(format!("{option} is {problem}")));
        }
        Ok(())
    }

    /// Finds the emulator that the user asked for.
    pub(super) fn find(kind: MachineKind, options: &MachineArguments) -> Result<Self, Failure> {
        Self::check(kind, options)?;

        let emulator = match kind {
            MachineKind::V86 => BootedEmulator::V86(V86Package::find()?),
            _ => BootedEmulator::Bochs {
                program: BochsProgram::find()?,
                model: options.cpu().to_owned(),
            },
        };
        Ok(Self { emulator, jail: options.jail.jail()? })
    }

    /// What it is, for reports.
    pub(super) fn machine(&self) -> BootedMachine {
        match &self.emulator {
            BootedEmulator::Bochs { program, model } => BootedMachine {
                kind: "bochs",
                version: format!("Bochs {}", program.version.short()),
                why: format!("as asked, {model}"),
            },
            BootedEmulator::V86(package) => BootedMachine {
                kind: "v86",
                version: format!("v86 {}", package.version.short()),
                why: "as asked".into(),
            },
        }
    }

    /// The kinds of cases that it does not survive.
    pub(super) fn does_not_survive(&self) -> LeftOut {
        match &self.emulator {
            // It takes the pages of the guest's ring 0 for user pages, which have key 0 (X2 of known/bochs.toml).
            BootedEmulator::Bochs { .. } => LeftOut::READ_ONLY_KEY_0,
            // It takes PWT and PCD of CR3 for bits of an address, and with V1 and V2 of known/v86.toml finds pages
            // and tables where none are meant to be.
            BootedEmulator::V86(_) => {
                LeftOut::CR3_BITS | LeftOut::PAE_WITHOUT_PSE | LeftOut::OWN_MEMORY
            }
        }
    }

    /// Boots an image with next to nothing on it, whose log says what the processor is.
    pub(super) fn probe(&self) -> Result<OpenedLog, Failure> {
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
        let BootedMachine { version, .. } = self.machine();
        let log = self.boot(&plan)?;
        if let Some(why) = log.cut_off {
            return Err(Failure::machine(format!("{version}: {why}")));
        }
        read_log(format!("the log of {version}"), Box::new(Cursor::new(log.bytes)))
    }

    /// Boots an image with these cases, and returns what it did with them as a machine that can run each of them
    /// once, in their order.
    pub(super) fn run_cases(&self, cases: &[Case]) -> Result<LogMachine, Failure> {
        let plan = ImagePlan {
            profile: cases.first().map_or_else(default_profile, |case| case.profile),
            left_out: match &self.emulator {
                BootedEmulator::Bochs { .. } => self.does_not_survive(),
                // Its findings are about what it does not survive.
                BootedEmulator::V86(_) => LeftOut::empty(),
            },
            skipped: BTreeSet::new(),
            cases: CasesOfImage::Listed(cases.to_vec()),
        };
        self.run(&plan)
    }

    /// Boots an image, and returns what it did as a machine that can run its batches once.
    pub(super) fn run(&self, plan: &ImagePlan) -> Result<LogMachine, Failure> {
        let BootedMachine { version, .. } = self.machine();
        let log = self.boot(plan)?;
        if let Some(why) = log.cut_off {
            print_error(&why);
        }
        let name = format!("the log of {version}");
        let log = read_log(name, Box::new(Cursor::new(log.bytes)))?;
        JudgeArguments::of_booted(
            Path::new("").into(),
            self.machine(),
            None,
            OutputArguments::default(),
            None,
        )
        .machine(log)
    }

    pub(super) fn boot(&self, plan: &ImagePlan) -> Result<BootedLog, Failure> {
        let payload: Payload = plan.build().map_err(|error| no_image(&error))?.payload;
        self.boot_payload(&payload)
    }

    /// Boots a finished image.
    pub(super) fn boot_payload(&self, payload: &Payload) -> Result<BootedLog, Failure> {
        let interrupter = Interrupter::default();

        match &self.emulator {
            BootedEmulator::Bochs { program, model } => {
                let booted = bochs::boot(program, model, payload, &self.jail, &interrupter);
                booted.map_err(|error| match error {
                    BochsError::Machine(error) => error.into(),
                    BochsError::NoModel { .. } => Failure::Input(error.to_string()),
                })
            }
            BootedEmulator::V86(package) => {
                Ok(v86::boot(package, payload, &self.jail, &interrupter)?)
            }
        }
    }
}

/// The modes that the user asked for, or else those that the processor has: what it lacks would only be skipped.
pub(super) fn modes_of(processor: &LogProcessor, asked: &[PagingMode]) -> Vec<PagingMode> {
    let is_wanted = |mode: &PagingMode| {
        if asked.is_empty() { processor.has_mode(*mode) } else { asked.contains(mode) }
    };
    PagingMode::ALL.into_iter().filter(is_wanted).collect()
}
