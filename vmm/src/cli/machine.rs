//! Which machine to run on, and opening it.

use super::failure::Failure;
use super::jail::JailArguments;
use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use crosswalk_machine::image::Image;
use crosswalk_machine::jail::{Jail, find_program};
use crosswalk_machine::kvm::KvmMachine;
use crosswalk_machine::qemu::{QemuMachine, QemuProcessor};
use crosswalk_machine::{Identity, Interrupter, Machine, MachineError};
use std::path::{Path, PathBuf};

/// Which machine to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MachineKind {
    /// The first that works here: kvm, qemu; else `check` replays the corpus
    Auto,
    /// The KVM of this host
    Kvm,
    /// QEMU's emulation of a processor
    Qemu,
    /// Bochs's emulation of the processor that --cpu names: it boots an image (check, record, explain)
    Bochs,
    /// v86's emulation of a processor without long mode: it boots an image (check, record, explain)
    V86,
    /// No machine: what recorded machines did
    Corpus,
}

impl MachineKind {
    /// Its name on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value().expect("every kind has a name");
        value.get_name().to_owned()
    }

    /// Every kind that runs something.
    pub(super) const RUNNING: [Self; 5] =
        [Self::Auto, Self::Kvm, Self::Qemu, Self::Bochs, Self::V86];

    /// Accepts some kinds; the error for any other name lists them.
    pub(super) fn one_of(kinds: &'static [Self]) -> impl TypedValueParser<Value = Self> {
        let values = kinds.iter().filter_map(Self::to_possible_value);
        PossibleValuesParser::new(values).try_map(|name| Self::from_str(&name, false))
    }

    /// Whether it is given an image, and not one batch after another.
    pub(super) const fn boots_an_image(self) -> bool {
        matches!(self, Self::Bochs | Self::V86)
    }
}

/// The options of every subcommand that runs a machine.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct MachineArguments {
    /// Another QEMU than the one in PATH. check, explain, record and machines take several
    #[arg(long, value_name = "PROGRAM")]
    qemu: Vec<PathBuf>,
    /// The processor that Bochs emulates; a wrong name lists them [default: a Skylake-X]
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,
    /// MAXPHYADDR of the guest, 36 to 52: of QEMU any [default: 40], of KVM what a probe finds enforced [default: its own]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(36..=52))]
    phys_bits: Option<u8>,
    /// Features to add to or remove from QEMU's processor, such as `-nx`; separated by commas
    #[arg(long, value_name = "FEATURES", value_delimiter = ',', allow_hyphen_values = true)]
    qemu_cpu: Vec<String>,
    /// Run another guest image (for tests and research)
    #[arg(long, value_name = "FILE")]
    guest_image: Option<PathBuf>,
    #[command(flatten)]
    pub(super) jail: JailArguments,
}

/// A machine that works, and why it was chosen.
pub(super) struct OpenedMachine {
    pub(super) machine: Box<dyn Machine>,
    pub(super) why: String,
}

/// What `--machine` selects.
pub(super) enum MachineChoice {
    /// A machine.
    Machine(OpenedMachine),
    /// No machine, but the corpus that comes with the program, and why.
    Corpus { why: String },
}

impl MachineChoice {
    fn machine(machine: Box<dyn Machine>, why: impl Into<String>) -> Self {
        Self::Machine(OpenedMachine { machine, why: why.into() })
    }
}

/// The reason for a machine that the user selected.
const AS_ASKED: &str = "as asked";

impl MachineArguments {
    /// A machine by its kind, and of Bochs its processor or of QEMU its program; everything else by default.
    pub(super) fn of(kind: MachineKind, name: Option<&str>, jail: JailArguments) -> Self {
        if kind == MachineKind::Qemu {
            return Self::by_default(name.map(PathBuf::from), jail);
        }
        Self { cpu: name.map(str::to_owned), ..Self::by_default(None, jail) }
    }

    /// The options of a command that takes no others but the program of QEMU.
    pub(super) fn by_default(qemu: Option<PathBuf>, jail: JailArguments) -> Self {
        Self {
            qemu: qemu.into_iter().collect(),
            cpu: None,
            phys_bits: None,
            qemu_cpu: Vec::new(),
            guest_image: None,
            jail,
        }
    }

    /// The same options once for each QEMU that the user named; once if there is none.
    pub(super) fn one_by_one(&self) -> Vec<Self> {
        let only = |program: &PathBuf| Self { qemu: vec![program.clone()], ..self.clone() };
        match self.qemu.as_slice() {
            [] => vec![self.clone()],
            programs => programs.iter().map(only).collect(),
        }
    }

    /// The same options without what only QEMU has.
    pub(super) fn without_qemu(&self) -> Self {
        Self { qemu: Vec::new(), qemu_cpu: Vec::new(), ..self.clone() }
    }

    /// The processor that Bochs emulates.
    pub(super) fn cpu(&self) -> &str {
        self.cpu.as_deref().unwrap_or("corei7_skylake_x")
    }

    /// Whether the user named a processor of Bochs.
    pub(super) const fn names_cpu(&self) -> bool {
        self.cpu.is_some()
    }

    /// Whether the user named a QEMU, or something that only QEMU has.
    pub(super) const fn asks_for_qemu(&self) -> bool {
        !self.qemu.is_empty() || !self.qemu_cpu.is_empty()
    }

    /// The QEMU that the user named, as it was named.
    pub(super) fn qemu_name(&self) -> Option<&Path> {
        self.qemu.first().map(PathBuf::as_path)
    }

    /// Opens a machine for a command that takes one only.
    pub(super) fn open_only(&self, kind: MachineKind) -> Result<OpenedMachine, Failure> {
        match self.qemu.len() {
            ..=1 => self.open(kind),
            several => Err(Failure::Input(format!(
                "--qemu: expected one, found {several}: this command runs one machine"
            ))),
        }
    }

    /// Checks the programs that the user named, and that the machine heeds every option. What only QEMU has asks for
    /// QEMU.
    fn kind_asked(&self, kind: MachineKind) -> Result<MachineKind, Failure> {
        for program in &self.qemu {
            find_program(program).map_err(|error| Failure::Input(format!("--qemu: {error}")))?;
        }

        let kind = match kind {
            MachineKind::Auto if self.asks_for_qemu() => MachineKind::Qemu,
            kind => kind,
        };
        match self.first_ignored(kind) {
            // `check` says what the corpus has not.
            _ if kind == MachineKind::Corpus => Ok(kind),
            None => Ok(kind),
            Some((option, of)) => Err(Failure::Input(format!(
                "{option} is for --machine {of}: --machine {} would ignore it",
                kind.name()
            ))),
        }
    }

    /// The first option that a machine would ignore, if there is one, and the machines that heed it.
    fn first_ignored(&self, kind: MachineKind) -> Option<(&'static str, &'static str)> {
        use MachineKind::{Auto, Bochs, Kvm, Qemu};

        let options: [(bool, &str, &[MachineKind], &str); 5] = [
            (!self.qemu.is_empty(), "--qemu", &[Qemu], "qemu"),
            (self.cpu.is_some(), "--cpu", &[Bochs], "bochs"),
            (self.phys_bits.is_some(), "--phys-bits", &[Auto, Kvm, Qemu], "kvm or qemu"),
            (!self.qemu_cpu.is_empty(), "--qemu-cpu", &[Qemu], "qemu"),
            (self.guest_image.is_some(), "--guest-image", &[Auto, Kvm, Qemu], "kvm or qemu"),
        ];
        let is_ignored =
            |(is_given, _, by, _): &&(bool, _, &[MachineKind], _)| *is_given && !by.contains(&kind);
        options.iter().find(is_ignored).map(|(_, option, _, of)| (*option, *of))
    }

    /// Opens a machine. Fails where [`Self::choose`] would select the corpus.
    pub(super) fn open(&self, kind: MachineKind) -> Result<OpenedMachine, Failure> {
        match self.choose(kind)? {
            MachineChoice::Machine(opened) => Ok(opened),
            MachineChoice::Corpus { why } if kind == MachineKind::Auto => {
                Err(Failure::machine(format!("no machine: {why}")))
            }
            MachineChoice::Corpus { .. } => {
                let problem = "--machine corpus runs nothing: expected kvm, qemu or auto here";
                Err(Failure::Input(problem.into()))
            }
        }
    }

    /// Opens a machine, or selects the corpus.
    pub(super) fn choose(&self, kind: MachineKind) -> Result<MachineChoice, Failure> {
        let jail = self.jail.jail()?;

        match self.kind_asked(kind)? {
            MachineKind::Corpus => Ok(MachineChoice::Corpus { why: AS_ASKED.into() }),
            MachineKind::Kvm => {
                Ok(MachineChoice::machine(self.open_kvm(&jail, Interrupter::default())?, AS_ASKED))
            }
            MachineKind::Qemu => {
                Ok(MachineChoice::machine(self.open_qemu(&jail, Interrupter::default())?, AS_ASKED))
            }
            kind @ (MachineKind::Bochs | MachineKind::V86) => Err(Failure::Input(format!(
                "--machine {} boots an image: only check, record and explain take it",
                kind.name()
            ))),
            MachineKind::Auto => self.choose_available(&jail),
        }
    }

    /// KVM if it works here, else QEMU, else the corpus.
    fn choose_available(&self, jail: &Jail) -> Result<MachineChoice, Failure> {
        let no_kvm = match self.open_kvm(jail, Interrupter::default()) {
            Ok(machine) => {
                return Ok(MachineChoice::machine(machine, "it can be opened here"));
            }
            Err(MachineError::Unavailable(why)) => why,
            Err(error) => return Err(error.into()),
        };

        match self.open_qemu(jail, Interrupter::default()) {
            Ok(machine) => Ok(MachineChoice::machine(machine, format!("no KVM: {no_kvm}"))),
            Err(MachineError::Unavailable(no_qemu)) => {
                Ok(MachineChoice::Corpus { why: format!("{no_kvm}; {no_qemu}") })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens another machine like one that is open.
    pub(super) fn open_like(
        &self,
        machine: &Identity,
        jail: &Jail,
        interrupter: Interrupter,
    ) -> Result<Box<dyn Machine>, MachineError> {
        if machine.kind == "kvm" {
            self.open_kvm(jail, interrupter)
        } else {
            self.open_qemu(jail, interrupter)
        }
    }

    fn open_kvm(
        &self,
        jail: &Jail,
        interrupter: Interrupter,
    ) -> Result<Box<dyn Machine>, MachineError> {
        let bits = self.phys_bits;
        Ok(Box::new(KvmMachine::open_narrowed(self.image()?, bits, jail, interrupter)?))
    }

    fn open_qemu(
        &self,
        jail: &Jail,
        interrupter: Interrupter,
    ) -> Result<Box<dyn Machine>, MachineError> {
        let processor = QemuProcessor {
            program: self.qemu.first().cloned(),
            physical_address_bits: self.phys_bits,
            features: self.qemu_cpu.clone(),
        };
        let image = self.image()?;
        Ok(Box::new(QemuMachine::open_with(image, &processor, jail, interrupter)?))
    }

    fn image(&self) -> Result<Image, MachineError> {
        let image = match &self.guest_image {
            None => Image::built_in(),
            Some(path) => Image::from_file(path),
        };
        Ok(image?)
    }

    /// The first option that only makes sense with a machine, if there is one.
    pub(super) fn first_option(&self) -> Option<&'static str> {
        self.first_ignored(MachineKind::Corpus).map(|(option, _)| option)
    }

    /// The first option that an emulator that boots an image ignores, if there is one.
    pub(super) fn first_ignored_by_booted(&self, kind: MachineKind) -> Option<&'static str> {
        self.first_ignored(kind).map(|(option, _)| option)
    }
}
