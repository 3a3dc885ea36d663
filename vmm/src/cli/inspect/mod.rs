//! The commands that look into memory images: where they are read from, and with which registers.

pub(super) mod audit;
mod colour;
pub(super) mod diff;
pub(super) mod maps;
pub(super) mod rmap;
pub(super) mod walk;

use super::failure::Failure;
use super::profile::ProfileArgument;
use crate::file;
use crate::report::inspect::Inspected;
use colour::ColourArguments;
use crosswalk_inspect::{
    ImageFormat, ImageOptions, Limits, MemoryImage, MemoryImageError, RamRange, StateOptions,
};
use mmu_core::x86::profile::PHYSICAL_ADDRESS_BITS;
use mmu_core::{ControlState, Cr0, Cr4, Efer, Features, PagingMode, Profile, VirtAddr};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What an image can be.
const IMAGE_HELP: &str = "A memory image: an ELF dump of QEMU (dump-guest-memory, virsh dump --memory-only), \
                          a vmcore, a kdump, a LiME or AVML image, a Windows crash dump, or raw memory";

/// A memory image, and how to read it.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "source")]
pub(super) struct SourceArguments {
    #[arg(value_name = "IMAGE", help = IMAGE_HELP)]
    image: PathBuf,
    #[command(flatten)]
    reading: ReadingArguments,
}

/// How to read a memory image.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "reading")]
pub(super) struct ReadingArguments {
    /// The format: elf, kdump, lime, avml, windows, raw [default: by the first bytes; raw with --ram]
    #[arg(long)]
    format: Option<ImageFormat>,
    /// Of a raw image: which physical addresses are where in the file; may be given several times
    #[arg(long, value_name = "START:LENGTH@OFFSET")]
    ram: Vec<RamRange>,
    /// The CPU whose registers are taken
    #[arg(long, value_name = "N", default_value_t = 0)]
    cpu: usize,
    /// CR3, instead of what the image says
    #[arg(long, value_name = "VALUE", value_parser = number)]
    cr3: Option<u64>,
    /// CR4, instead of what the image says
    #[arg(long, value_name = "VALUE", value_parser = number)]
    cr4: Option<u64>,
    /// EFER, instead of what is derived
    #[arg(long, value_name = "VALUE", value_parser = number)]
    efer: Option<u64>,
    /// CR0, instead of what the image says
    #[arg(long, value_name = "VALUE", value_parser = number)]
    cr0: Option<u64>,
    /// The processor: the name of a generation, or the JSON of a profile [default: one with every
    /// feature and physical addresses of 52 bits]
    #[arg(long, value_name = "NAME|JSON")]
    profile: Option<ProfileArgument>,
}

/// How much of tables that repeat is read.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(id = "repeated")]
pub(super) struct RepeatArguments {
    /// How many tables are read again that were read before at the same level
    #[arg(long, value_name = "N", default_value_t = Limits::default().repeats)]
    repeats: u64,
}

impl RepeatArguments {
    const fn limits(self) -> Limits {
        Limits { repeats: self.repeats }
    }
}

/// The exit code of a command that looks for something: 1 if it found anything, 4 if it did not look at
/// everything.
fn exit_code(has_found: bool, is_complete: bool) -> ExitCode {
    match (has_found, is_complete) {
        (true, _) => ExitCode::from(1),
        (false, false) => ExitCode::from(4),
        (false, true) => ExitCode::SUCCESS,
    }
}

impl SourceArguments {
    /// Opens the image, and takes the registers.
    fn open(&self) -> Result<Inspected, Failure> {
        self.reading.open(&self.image)
    }
}

impl ReadingArguments {
    /// Opens an image, and takes the registers.
    fn open(&self, image: &Path) -> Result<Inspected, Failure> {
        let options = ImageOptions { format: self.format, ram: self.ram.clone() };
        let name = image.display().to_string();
        let image = MemoryImage::open(image, &options)?;

        let Self { cpu, cr0, cr3, cr4, efer, .. } = *self;
        let derived = image.control_state(&StateOptions { cpu, cr0, cr3, cr4, efer })?;
        let widest =
            Profile { physical_address_bits: *PHYSICAL_ADDRESS_BITS.end(), ..Profile::default() };
        let profile = self.profile.map_or(widest, |profile| profile.0);
        if self.names_registers() {
            self.check_state(&derived.state, profile)?;
        }

        Ok(Inspected { name, image, cpu, derived, profile })
    }
}

impl ReadingArguments {
    /// Whether options say something about the processor. What an image says is taken as it is.
    const fn names_registers(&self) -> bool {
        let Self { cr0, cr3, cr4, efer, profile, .. } = self;
        cr0.is_some() || cr3.is_some() || cr4.is_some() || efer.is_some() || profile.is_some()
    }

    /// Checks that the processor can be in this control state.
    fn check_state(&self, state: &ControlState, profile: Profile) -> Result<(), Failure> {
        // ET is fixed, and decides nothing. PDPTEs are what memory has: bad ones are shown, not refused.
        let mut checked = ControlState { cr0: state.cr0 | Cr0::ET, pdptes: [0; 4], ..*state };
        if self.efer.is_none() && !profile.features.contains(Features::NX) {
            checked.efer -= Efer::NXE;
        }
        // Newer processors have bits that are not known here. Only options are held against what is.
        if self.profile.is_none() {
            if self.cr0.is_none() {
                checked.cr0 &= Cr0::all();
            }
            if self.cr4.is_none() {
                checked.cr4 &= Cr4::available(profile);
            }
            checked.cr3 = self.cr3.unwrap_or(0);
        }

        checked.check_on(profile).map_err(|error| {
            let assumed = match (self.efer, state.efer.contains(Efer::LMA)) {
                (None, true) => "; EFER.LMA is taken to be 1 unless --efer says otherwise",
                _ => "",
            };
            Failure::Input(format!("no processor can be in this state: {error}{assumed}"))
        })
    }
}

impl From<MemoryImageError> for Failure {
    fn from(error: MemoryImageError) -> Self {
        let problem = error.to_string();
        match error {
            MemoryImageError::Host { error, .. } if file::is_of_host(&error) => {
                Self::machine(problem)
            }
            _ => Self::Input(problem),
        }
    }
}

/// A number, hexadecimal after `0x`.
fn number(text: &str) -> Result<u64, &'static str> {
    let digits = text.replace('_', "");
    let parsed = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    parsed.map_err(|_| "expected a number of at most 64 bits, such as 0xffff888000000000")
}

/// A linear address, which `number` reads.
fn linear_address(text: &str) -> Result<VirtAddr, &'static str> {
    number(text).map(VirtAddr::new)
}

/// Checks that an address has no more bits than those of a mode.
fn check_width(address: VirtAddr, mode: PagingMode) -> Result<(), Failure> {
    if mode.is_long_mode() || address.get() >> 32 == 0 {
        return Ok(());
    }
    Err(Failure::Input(format!(
        "{address}: expected an address of 32 bits, since the image is in {mode} paging"
    )))
}

/// What follows from an error of standard output: nobody reads it any more, or it is full.
fn of_output(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    Failure::machine(format!("standard output: cannot be written: {error}"))
}
