//! Which machine to run on, and opening it.

use super::failure::Failure;
use clap::ValueEnum;
use crosswalk_machine::image::Image;
use crosswalk_machine::kvm::KvmMachine;
use crosswalk_machine::qemu::{QemuMachine, QemuProcessor};
use crosswalk_machine::{Machine, MachineError};
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
    /// No machine: what others did, as it was recorded
    Corpus,
}

/// The machine to run on, as every subcommand that runs one takes it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct MachineArguments {
    /// MAXPHYADDR of the processor that QEMU emulates, 36 to 52 [default: 40]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(36..=52))]
    phys_bits: Option<u8>,
    /// Features that QEMU's processor is to have or lack, such as `-nx`; separated by commas
    #[arg(long, value_name = "FEATURES", value_delimiter = ',', allow_hyphen_values = true)]
    qemu_cpu: Vec<String>,
    /// Run another guest image (for tests and research)
    #[arg(long, value_name = "FILE")]
    guest_image: Option<PathBuf>,
}

/// A machine that works, and why it was chosen.
pub(super) struct Opened {
    pub(super) machine: Box<dyn Machine>,
    pub(super) why: String,
}

/// What `--machine` comes to.
pub(super) enum Chosen {
    /// A machine.
    Machine(Opened),
    /// None: the corpus that comes with the program, and why.
    Corpus { why: String },
}

impl MachineArguments {
    /// Opens a machine, with the built-in image or another.
    pub(super) fn open(&self, kind: MachineKind) -> Result<Opened, Failure> {
        match self.choose(kind)? {
            Chosen::Machine(opened) => Ok(opened),
            Chosen::Corpus { why } if kind == MachineKind::Auto => {
                Err(Failure::Machine(format!("no machine: {why}")))
            }
            Chosen::Corpus { .. } => {
                let problem = "--machine corpus runs nothing: expected kvm, qemu or auto here";
                Err(Failure::Input(problem.into()))
            }
        }
    }

    /// Opens a machine, or none where there is the corpus instead.
    pub(super) fn choose(&self, kind: MachineKind) -> Result<Chosen, Failure> {
        if kind == MachineKind::Corpus {
            return Ok(Chosen::Corpus { why: "as asked".into() });
        }
        let image = match &self.guest_image {
            None => Image::built_in(),
            Some(path) => Image::from_file(path),
        };
        let image = image.map_err(MachineError::from)?;
        let processor = QemuProcessor {
            physical_address_bits: self.phys_bits,
            features: self.qemu_cpu.clone(),
        };
        let kvm = |image| KvmMachine::open(image).map(|machine| Box::new(machine) as _);
        let qemu =
            |image| QemuMachine::open(image, &processor).map(|machine| Box::new(machine) as _);
        let opened = |machine, why: &str| Chosen::Machine(Opened { machine, why: why.into() });
        let no_kvm = match kind {
            MachineKind::Kvm => return Ok(opened(kvm(image)?, "as asked")),
            MachineKind::Qemu => return Ok(opened(qemu(image)?, "as asked")),
            MachineKind::Auto | MachineKind::Corpus => match kvm(image.clone()) {
                Ok(machine) => return Ok(opened(machine, "it can be opened here")),
                Err(MachineError::Unavailable(why)) => why,
                Err(other) => return Err(other.into()),
            },
        };
        match qemu(image) {
            Ok(machine) => Ok(opened(machine, &format!("no KVM: {no_kvm}"))),
            Err(MachineError::Unavailable(no_qemu)) => {
                Ok(Chosen::Corpus { why: format!("{no_kvm}; {no_qemu}") })
            }
            Err(other) => Err(other.into()),
        }
    }

    /// The first option that asks something of a machine, if there is one.
    pub(super) fn asked_of_machine(&self) -> Option<&'static str> {
        [
            (self.phys_bits.is_some(), "--phys-bits"),
            (!self.qemu_cpu.is_empty(), "--qemu-cpu"),
            (self.guest_image.is_some(), "--guest-image"),
        ]
        .into_iter()
        .find_map(|(asked, option)| asked.then_some(option))
    }
}
