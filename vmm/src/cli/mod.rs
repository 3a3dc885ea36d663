//! The command line: one file per subcommand, and what they share.

mod check;
mod conformance;
mod explain;
mod geometry;
mod machines;
mod merge;
mod mutants;
mod predictor;
mod progress;
mod record;
mod replay;
mod scenario;
mod shared;

use clap::{Parser, Subcommand, ValueEnum};
use crosswalk_case::Case;
use crosswalk_machine::Machine;
use crosswalk_machine::MachineError;
use crosswalk_machine::image::Image;
use crosswalk_machine::kvm::KvmMachine;
use crosswalk_machine::qemu::{Processor, QemuMachine};
use std::path::PathBuf;
use std::process::ExitCode;

/// Cross-checks address translation: runs a guest on real page tables, walks the same tables in
/// software, and compares every outcome.
#[derive(Debug, Parser)]
#[command(name = "crosswalk", version, max_term_width = 80)]
#[command(args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    check: check::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run cases on a machine and compare (the default)
    Check(check::Arguments),
    /// Say what this host offers, and why not
    Machines(machines::Arguments),
    /// Draw the walk of one case, step by step
    Explain(explain::Arguments),
    /// Hold the walker bugs known to history against a machine
    Mutants(mutants::Arguments),
    /// Record what a machine does with cases, to be replayed anywhere
    Record(record::Arguments),
    /// Hold a recorded corpus against a walker, yours for instance; nothing is run
    Replay(replay::Arguments),
    /// Show which rules the walkers that people use get right
    Conformance(conformance::Arguments),
    /// Add up the reports of the shards of a run
    Merge(merge::Arguments),
    /// Compute what page tables cost, for any address width
    Geometry(geometry::Arguments),
    /// Run processes on a virtual memory system, and tell what becomes of their pages
    Scenario(scenario::Arguments),
}

/// Which machine to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MachineKind {
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
struct MachineArguments {
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
struct Opened {
    machine: Box<dyn Machine>,
    why: String,
}

/// What `--machine` comes to.
enum Chosen {
    /// A machine.
    Machine(Opened),
    /// None: the corpus that comes with the program, and why.
    Corpus { why: String },
}

/// Why a command failed, as the exit codes of the contract tell it.
#[derive(Debug)]
enum Failure {
    /// Bad usage or input: exit 2.
    Input(String),
    /// No machine, or it died: exit 3.
    Machine(String),
}

impl From<MachineError> for Failure {
    fn from(error: MachineError) -> Self {
        let problem = error.to_string();
        match error {
            MachineError::Image(_) => Self::Input(problem),
            MachineError::GuestFailed { cases, .. } => Self::Machine(match save(&cases) {
                Ok(None) => problem,
                Ok(Some(name)) => format!("{problem}; the case at hand is in {name}"),
                Err(error) => format!("{problem}; the case at hand could not be saved: {error}"),
            }),
            _ => Self::Machine(problem),
        }
    }
}

/// Saves the cases that a guest died on: one as it is, several as an array.
fn save(cases: &[Case]) -> std::io::Result<Option<String>> {
    let text = match cases {
        [] => return Ok(None),
        [case] => serde_json::to_string_pretty(case),
        many => serde_json::to_string_pretty(many),
    };
    let name = format!("crosswalk-case-{}.json", std::process::id());
    std::fs::write(&name, text? + "\n")?;
    Ok(Some(name))
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = CommandLine::parse();
    let result = match arguments.command {
        None => check::run(&arguments.check),
        Some(Command::Check(arguments)) => check::run(&arguments),
        Some(Command::Machines(arguments)) => Ok(machines::run(&arguments)),
        Some(Command::Explain(arguments)) => explain::run(&arguments),
        Some(Command::Mutants(arguments)) => mutants::run(&arguments),
        Some(Command::Record(arguments)) => record::run(&arguments),
        Some(Command::Replay(arguments)) => replay::run(&arguments),
        Some(Command::Conformance(arguments)) => conformance::run(&arguments),
        Some(Command::Merge(arguments)) => merge::run(&arguments),
        Some(Command::Geometry(arguments)) => geometry::run(&arguments),
        Some(Command::Scenario(arguments)) => scenario::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("crosswalk: {failure}");
            ExitCode::from(match failure {
                Failure::Input(_) => 2,
                Failure::Machine(_) => 3,
            })
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Input(problem) | Self::Machine(problem)) = self;
        f.write_str(problem)
    }
}

impl MachineArguments {
    /// Opens a machine, with the built-in image or another.
    fn open(&self, kind: MachineKind) -> Result<Opened, Failure> {
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
    fn choose(&self, kind: MachineKind) -> Result<Chosen, Failure> {
        if kind == MachineKind::Corpus {
            return Ok(Chosen::Corpus { why: "as asked".into() });
        }
        let image = match &self.guest_image {
            None => Image::built_in(),
            Some(path) => Image::from_file(path),
        };
        let image = image.map_err(MachineError::from)?;
        let processor =
            Processor { physical_address_bits: self.phys_bits, features: self.qemu_cpu.clone() };
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
    fn asked_of_machine(&self) -> Option<&'static str> {
        [
            (self.phys_bits.is_some(), "--phys-bits"),
            (!self.qemu_cpu.is_empty(), "--qemu-cpu"),
            (self.guest_image.is_some(), "--guest-image"),
        ]
        .into_iter()
        .find_map(|(asked, option)| asked.then_some(option))
    }
}

/// Prints to standard output; a closed pipe ends the program quietly.
fn print(text: &str) {
    use std::io::Write;
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }
}
