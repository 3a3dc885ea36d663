//! Which machine to run on, and opening it.

use super::failure::Failure;
use super::jail::JailArguments;
use clap::ValueEnum;
use crosswalk_machine::image::Image;
use crosswalk_machine::jail::Jail;
use crosswalk_machine::kvm::KvmMachine;
use crosswalk_machine::qemu::{QemuMachine, QemuProcessor};
use crosswalk_machine::{Identity, Interrupter, Machine, MachineError};
use std::path::PathBuf;

/// Which machine to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MachineKind {
    /// The first that works here: kvm, qemu; else `check` replays the corpus
    Auto,
    /// The KVM of this host
    Kvm,
    /// QEMU's emulation of a processor
    Qemu,
    /// No machine: what recorded machines did
    Corpus,
}

/// The options of every subcommand that runs a machine.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct MachineArguments {
    /// MAXPHYADDR of the processor that QEMU emulates, 36 to 52 [default: 40]
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

        match kind {
            MachineKind::Corpus => Ok(MachineChoice::Corpus { why: AS_ASKED.into() }),
            MachineKind::Kvm => {
                Ok(MachineChoice::machine(self.open_kvm(&jail, Interrupter::default())?, AS_ASKED))
            }
            MachineKind::Qemu => {
                Ok(MachineChoice::machine(self.open_qemu(&jail, Interrupter::default())?, AS_ASKED))
            }
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
        Ok(Box::new(KvmMachine::open_with(self.image()?, jail, interrupter)?))
    }

    fn open_qemu(
        &self,
        jail: &Jail,
        interrupter: Interrupter,
    ) -> Result<Box<dyn Machine>, MachineError> {
        let processor = QemuProcessor {
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
        [
            (self.phys_bits.is_some(), "--phys-bits"),
            (!self.qemu_cpu.is_empty(), "--qemu-cpu"),
            (self.guest_image.is_some(), "--guest-image"),
        ]
        .into_iter()
        .find_map(|(is_given, option)| is_given.then_some(option))
    }
}
