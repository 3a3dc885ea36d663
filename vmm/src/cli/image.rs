//! `crosswalk image`: writes cases as something that boots anywhere.

use super::case_file::read_cases;
use super::failure::Failure;
use super::judge::open_log;
use super::number::{parse_count, parse_seed};
use super::output::{check_replaceable, finish, replace_file};
use super::profile::ProfileArgument;
use crate::generate::{CaseName, FullCaseName, SequenceUse};
use crate::image::{CasesOfImage, ImagePlan, NoImage};
use crate::report::document::VerdictWord;
use crate::report::image as report;
use crosswalk_machine::LeftOut;
use crosswalk_machine::tape::{disk, executable};
use mmu_core::{Features, PagingMode, Profile};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ImageArguments {
    /// The file to write: a disk and CD for BIOSes if its name ends in .iso, and otherwise an ELF file for Multiboot,
    /// PVH and the 64-bit boot protocol of Linux
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Paging modes, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', conflicts_with = "case")]
    mode: Vec<PagingMode>,
    /// Number of cases
    #[arg(long, value_name = "N", default_value = "20000", conflicts_with = "case", value_parser = parse_count)]
    cases: u64,
    /// Repeat the image that had this seed
    #[arg(long, conflicts_with = "case", value_parser = parse_seed)]
    seed: Option<u64>,
    /// Whether to have sequences of actions besides single accesses, or only them
    #[arg(long, value_enum, default_value = "on", conflicts_with = "case")]
    sequences: SequenceUse,
    /// The processor: a generation such as skylake, or a profile in JSON [default: one with every feature; a
    /// machine skips batches that need what it lacks]
    #[arg(long, value_name = "NAME|JSON")]
    profile: Option<ProfileArgument>,
    /// Make cases for the processor of this log, which an image has printed
    #[arg(long, value_name = "LOG", conflicts_with = "profile")]
    like: Option<PathBuf>,
    /// MAXPHYADDR, 32 to 52. On a machine with more, address bits that are meant to be reserved are not, and it skips
    /// nearly everything [default: that of the processor, or 40]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(32..=52))]
    phys_bits: Option<u8>,
    /// Only these cases: a file, a case in JSON, or the name of a case of an image like this
    #[arg(long, value_name = "CASE|FILE|NAME")]
    case: Option<String>,
    /// Kinds of cases to leave out, separated by commas: fetch, ring0-fetch, clflush, implicit, compatibility,
    /// cr3-bits, pae-without-pse, own-memory, read-only-key-0
    #[arg(long, value_delimiter = ',', value_parser = LeftOut::by_name)]
    leave_out: Vec<LeftOut>,
    /// Batches to leave out, by their numbers in a log, separated by commas: those in which a machine dies
    #[arg(long, value_delimiter = ',')]
    skip: Vec<u32>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ImageArguments) -> Result<ExitCode, Failure> {
    check_replaceable(&arguments.out)?;

    let plan = arguments.plan()?;
    let image = plan.build().map_err(|error| no_image(&error))?;
    let is_disk = arguments.out.extension().is_some_and(|extension| extension == "iso");
    let file = if is_disk { disk(&image.payload) } else { executable(&image.payload) };
    replace_file(&arguments.out, &file)?;

    let out = &arguments.out;
    Ok(finish(
        arguments.json,
        VerdictWord::Done.into(),
        || report::document(&image, file.len()),
        || report::text(out, &image, file.len()),
    ))
}

/// Why there is no image.
pub(super) fn no_image(error: &NoImage) -> Failure {
    match error {
        NoImage::TooLong(_) | NoImage::Case { .. } => Failure::Input(error.to_string()),
        NoImage::Memory(_) | NoImage::Image(_) => Failure::machine(error.to_string()),
    }
}

impl ImageArguments {
    fn plan(&self) -> Result<ImagePlan, Failure> {
        let mut left_out: LeftOut = self.leave_out.iter().copied().collect();
        let mut profile = match &self.like {
            None => self.profile.map_or_else(default_profile, |ProfileArgument(profile)| profile),
            Some(path) => {
                let log = open_log(path)?;
                left_out |= log.lacks();
                let profile = log.profile();
                profile.check().map_err(|error| {
                    Failure::Input(format!("{}: MAXPHYADDR: {error}", path.display()))
                })?;
                profile
            }
        };
        if let Some(bits) = self.phys_bits {
            profile.physical_address_bits = bits;
        }

        let random = CasesOfImage::Random {
            seed: self.seed.unwrap_or_else(rand::random),
            modes: self.modes()?,
            count: self.cases,
            sequences: self.sequences,
        };
        let skipped = self.skip.iter().copied().collect();
        let plan = ImagePlan { profile, left_out, skipped, cases: random };
        if let Some(option) = self.option_of_profile().filter(|_| self.has_own_profile()) {
            let problem = format!("{option} is not for cases that have their own processor");
            return Err(Failure::Input(problem));
        }
        match &self.case {
            None => Ok(plan),
            Some(case) => listed(case, plan),
        }
    }

    /// The first option about the processor, if there is one.
    fn option_of_profile(&self) -> Option<&'static str> {
        [
            (self.profile.is_some(), "--profile"),
            (self.like.is_some(), "--like"),
            (self.phys_bits.is_some(), "--phys-bits"),
        ]
        .into_iter()
        .find_map(|(is_given, option)| is_given.then_some(option))
    }

    /// Whether the cases say which processor they are for: all do but names without an origin.
    fn has_own_profile(&self) -> bool {
        let case = self.case.as_deref();
        case.is_some_and(|case| !CaseName::is_meant(case) || case.contains('@'))
    }

    fn modes(&self) -> Result<Vec<PagingMode>, Failure> {
        let modes = if self.mode.is_empty() { PagingMode::ALL.to_vec() } else { self.mode.clone() };
        if self.sequences == SequenceUse::Only && modes == [PagingMode::Unpaged] {
            let problem = "--sequences only: there are no sequences without paging";
            return Err(Failure::Input(problem.into()));
        }
        // In the order of other machines, each once.
        Ok(PagingMode::ALL.into_iter().filter(|mode| modes.contains(mode)).collect())
    }
}

/// A processor with every feature that the guest uses, but INVPCID and CET: machines without INVPCID would skip nearly
/// every batch of sequences.
pub(super) fn default_profile() -> Profile {
    let unused = Features::INVPCID | Features::CET_SS | Features::LAM;
    Profile { physical_address_bits: 40, features: Features::all() - unused, ..Profile::default() }
}

/// The plan with these cases instead of random ones.
fn listed(argument: &str, plan: ImagePlan) -> Result<ImagePlan, Failure> {
    if !CaseName::is_meant(argument) || Path::new(argument).exists() {
        let cases = read_cases(argument)?;
        let profile = cases.first().map_or(plan.profile, |case| case.profile);
        return Ok(ImagePlan { profile, cases: CasesOfImage::Listed(cases), ..plan });
    }

    let name: FullCaseName = argument.parse().map_err(Failure::Input)?;
    let case = name.case(&plan.capabilities()).ok_or_else(|| {
        Failure::Input(format!("{name}: there is no such index, or its mode is not in the image"))
    })?;
    let profile = case.profile;
    Ok(ImagePlan { profile, cases: CasesOfImage::Listed(vec![case]), ..plan })
}
