//! The commands that look into memory images and live guests: where they are read from, and with which registers.

pub(super) mod audit;
pub(super) mod diff;
pub(super) mod maps;
pub(super) mod rmap;
mod waiting;
pub(super) mod walk;

use super::failure::Failure;
use super::invocation::invocation;
use super::profile::ProfileArgument;
use super::stop_flag::{stop_flag, stop_flag_until};
use crate::cli::colour::ColourArguments;
use crate::file;
use crate::report::document::{Document, Ending};
use crate::report::inspect::Inspected;
use crosswalk_inspect::{
    DerivedState, ImageFormat, ImageOptions, KvmAddress, KvmGuest, Limits, LiveGuest, MemoryImage,
    MemoryImageError, MonitorAddress, RamRange, ReadError, RegisterOrigin, Source, StateOptions,
    missing_root,
};
use mmu_core::x86::profile::PHYSICAL_ADDRESS_BITS;
use mmu_core::{ControlState, Cr0, Cr4, Efer, Features, PagingMode, Profile, VirtAddr};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use waiting::waiting;

/// What an image can be.
const IMAGE_HELP: &str = "A memory image: an ELF dump of QEMU (dump-guest-memory, virsh dump --memory-only), \
                          a vmcore, a kdump, a LiME or AVML image, a Windows crash dump, or raw memory; or a \
                          live guest of QEMU: qmp:SOCKET or qmp:HOST:PORT, which is stopped while it is read; or \
                          the guest of KVM of a run with --live: kvm:SOCKET";

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
    /// The processor: the name of a generation, or the JSON of a profile [default: that of a guest of
    /// KVM; else one with every feature and physical addresses of 52 bits]
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

/// The report of a command, and the exit code that it has as a document.
struct Report {
    text: String,
    is_document: bool,
    ending: Ending,
}

impl Report {
    fn new<D: Document>(
        json: bool,
        ending: Ending,
        document: impl FnOnce() -> D,
        text: impl FnOnce() -> String,
    ) -> Self {
        let text = if json { invocation().document(&document(), ending) } else { text() };
        Self { text, is_document: json, ending }
    }

    /// Prints it, when no guest waits any more. Returns the exit code.
    fn print(&self, colour: ColourArguments) -> ExitCode {
        colour.print_report(&self.text, self.is_document);
        self.ending.exit_code()
    }
}

/// Signals while guests may be stopped: they end the work, and the program only when no guest waits for it.
struct Signals {
    may_end: Arc<AtomicBool>,
    stop: Option<Arc<AtomicBool>>,
}

impl Signals {
    /// Catches signals, if a live guest is to be stopped. Until a file is open, a signal ends the program.
    fn new(has_guest: bool) -> Result<Self, Failure> {
        let may_end = Arc::new(AtomicBool::new(false));
        let stop = has_guest.then(|| stop_flag_until(&may_end)).transpose()?;
        Ok(Self { may_end, stop })
    }

    /// The flag that a signal sets from now on.
    fn flag(&self) -> Result<Arc<AtomicBool>, Failure> {
        self.stop.clone().map_or_else(stop_flag, Ok)
    }

    /// Lets live guests run again, whatever the result of the work is. From now on a signal ends the program.
    fn finish<T>(
        &self,
        inspected: &[&Inspected],
        result: Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut result = result;
        for inspected in inspected {
            if let Err(error) = inspected.source.finish() {
                let before = result.err().map(|failure| format!("{failure}; then "));
                result = Err(Failure::machine(before.unwrap_or_default() + &error.to_string()));
            }
        }
        self.may_end.store(true, Ordering::Relaxed);
        result
    }
}

/// A live guest, as an argument names it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LiveName {
    /// One of QEMU, which waits while it is read.
    Qemu(MonitorAddress),
    /// One of KVM, of which a copy is read.
    Kvm(KvmAddress),
}

impl LiveName {
    /// The guest that an argument names, if it names one.
    fn of(argument: &Path) -> Option<Self> {
        let text = argument.to_str()?;
        let of_kvm = || text.parse().ok().map(Self::Kvm);
        text.parse().ok().map(Self::Qemu).or_else(of_kvm)
    }

    /// Whether it waits until it is resumed.
    const fn waits(&self) -> bool {
        matches!(self, Self::Qemu(_))
    }
}

impl SourceArguments {
    /// Opens the source, takes the registers, and does something with them that nobody waits for: what is printed
    /// is printed later, when a live guest runs again. The root table may be missing.
    fn inspect<T>(
        &self,
        work: impl FnOnce(&Inspected, &AtomicBool) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.inspect_anything(false, work)
    }

    /// The same with a look at all tables, of which there must be a root.
    fn inspect_tables<T>(
        &self,
        work: impl FnOnce(&Inspected, &AtomicBool) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.inspect_beside(false, work)
    }

    /// The same, where the work may stop another guest.
    fn inspect_beside<T>(
        &self,
        stops_guest: bool,
        work: impl FnOnce(&Inspected, &AtomicBool) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.inspect_anything(stops_guest, |inspected, stop| {
            check_root(inspected)?;
            work(inspected, stop)
        })
    }

    fn inspect_anything<T>(
        &self,
        stops_guest: bool,
        work: impl FnOnce(&Inspected, &AtomicBool) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let signals = Signals::new(stops_guest || self.is_waiting())?;
        let inspected = self.reading.open(&self.image)?;
        let stop = signals.flag()?;
        let result = work(&inspected, &stop);
        signals.finish(&[&inspected], result)
    }

    /// Whether the source is a live guest that waits until it is resumed.
    fn is_waiting(&self) -> bool {
        LiveName::of(&self.image).is_some_and(|guest| guest.waits())
    }

    /// Whether the image is this file, by whatever name.
    fn is_file(&self, path: &Path) -> bool {
        let place = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        place(path).is_some_and(|file| place(&self.image) == Some(file))
    }
}

impl ReadingArguments {
    /// Opens an image or a live guest, and takes the registers.
    fn open(&self, image: &Path) -> Result<Inspected, Failure> {
        self.take_registers(image, Arc::new(self.open_source(image)?))
    }

    fn open_source(&self, image: &Path) -> Result<Source, Failure> {
        let Some(guest) = LiveName::of(image) else {
            if image.as_os_str() == "kvm:" {
                let problem = "kvm:: expected the path of a socket after it: kvm:SOCKET";
                return Err(Failure::Input(problem.into()));
            }
            let options = ImageOptions { format: self.format, ram: self.ram.clone() };
            return Ok(Source::Image(MemoryImage::open(image, &options)?));
        };

        if self.format.is_some() || !self.ram.is_empty() {
            let problem = format!(
                "{}: --format and --ram are for files, not for live guests",
                image.display()
            );
            return Err(Failure::Input(problem));
        }
        Ok(match guest {
            LiveName::Qemu(address) => Source::Live(LiveGuest::connect(&address)?),
            LiveName::Kvm(address) => Source::Kvm(connect_to_run(&address)?),
        })
    }

    /// Takes the registers of a source. Without them nothing is inspected, and a live guest runs again.
    fn take_registers(&self, image: &Path, source: Arc<Source>) -> Result<Inspected, Failure> {
        let name = image.display().to_string();
        match self.registers(&source) {
            Ok((derived, profile)) => {
                Ok(Inspected { name, source, cpu: self.cpu, derived, profile })
            }
            // A guest that stays stopped matters more.
            Err(failure) => Err(source.finish().map_or_else(Failure::from, |()| failure)),
        }
    }

    /// The registers, and the processor.
    fn registers(&self, source: &Source) -> Result<(DerivedState, Profile), Failure> {
        let Self { cpu, cr0, cr3, cr4, efer, .. } = *self;
        let derived = source.control_state(&StateOptions { cpu, cr0, cr3, cr4, efer })?;
        let widest =
            Profile { physical_address_bits: *PHYSICAL_ADDRESS_BITS.end(), ..Profile::default() };
        let profile = match (self.profile, source) {
            (Some(profile), _) => profile.0,
            (None, Source::Kvm(guest)) => profile_of(guest)?,
            (None, _) => widest,
        };
        if self.names_registers() {
            self.check_state(&derived, profile)?;
        }

        Ok((derived, profile))
    }

    /// Whether options say something about the processor. What an image says is taken as it is.
    const fn names_registers(&self) -> bool {
        let Self { cr0, cr3, cr4, efer, profile, .. } = self;
        cr0.is_some() || cr3.is_some() || cr4.is_some() || efer.is_some() || profile.is_some()
    }

    /// Checks that the processor can be in this control state.
    fn check_state(&self, derived: &DerivedState, profile: Profile) -> Result<(), Failure> {
        let state = &derived.state;
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
            let is_assumed =
                matches!(derived.origins.efer, RegisterOrigin::Derived | RegisterOrigin::Assumed);
            let assumed = match (is_assumed, state.efer.contains(Efer::LMA)) {
                (true, true) => "; EFER.LMA is taken to be 1 unless --efer says otherwise",
                _ => "",
            };
            Failure::Input(format!("no processor can be in this state: {error}{assumed}"))
        })
    }
}

/// Asks a run for its guest. It may be slow, or have others to answer first.
fn connect_to_run(address: &KvmAddress) -> Result<KvmGuest, MemoryImageError> {
    let seconds = KvmGuest::PATIENCE.as_secs();
    let words = format!(
        "{address}: waiting for the run to answer, at most {seconds} seconds; Ctrl-C ends this"
    );
    waiting(&words, || KvmGuest::connect(address))
}

/// The processor of a guest of KVM, as its run says.
fn profile_of(guest: &KvmGuest) -> Result<Profile, Failure> {
    let profile = guest.profile().parse::<ProfileArgument>();
    let profile = profile.map_err(|problem| {
        Failure::Input(format!("the run says a processor that cannot be: {problem}"))
    })?;
    Ok(profile.0)
}

impl From<MemoryImageError> for Failure {
    fn from(error: MemoryImageError) -> Self {
        let problem = error.to_string();
        match error {
            MemoryImageError::NotResumed { .. } | MemoryImageError::RunFailed { .. } => {
                Self::machine(problem)
            }
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

/// Checks that something of the root table can be read. Where nothing was looked at, nothing found means nothing.
fn check_root(inspected: &Inspected) -> Result<(), Failure> {
    let Some(root) = missing_root(inspected.source.memory(), &inspected.mmu()) else {
        return Ok(());
    };
    let Inspected { name, derived, .. } = inspected;
    let why = match root.error {
        ReadError::Outside(_) => "is not in its memory".to_owned(),
        error => format!("cannot be read: {error}"),
    };
    Err(Failure::Input(format!(
        "{name}: the root table at {} {why} (CR3={:#x}): there is nothing to look at; --cr3 names another root",
        root.at, derived.state.cr3
    )))
}

/// What follows from an error of standard output: nobody reads it any more, or it is full.
fn of_output(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    Failure::machine(format!("standard output: cannot be written: {error}"))
}
