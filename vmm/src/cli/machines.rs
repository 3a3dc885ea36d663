//! `crosswalk machines`: what this host offers.

use super::failure::Failure;
use super::machine::{MachineArguments, MachineKind};
use super::output::finish;
use crate::report::document::VerdictWord;
use crate::report::{self, BootedOffer};
use crosswalk_machine::Machine;
use crosswalk_machine::booted::bochs::BochsProgram;
use crosswalk_machine::booted::v86::V86Package;
use std::iter;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct MachinesArguments {
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: MachineArguments,
}

/// Opens every kind of machine. The exit code is 3 when none works.
pub(super) fn run(arguments: &MachinesArguments) -> Result<ExitCode, Failure> {
    if arguments.options.names_cpu() {
        let problem = "--cpu: machines opens no Bochs, but lists its processors: check, record and explain take it";
        return Err(Failure::Input(problem.into()));
    }
    let walkers = arguments.options.jail.jail()?.report_walkers();
    let of_kvm = ("kvm".to_owned(), arguments.options.without_qemu(), MachineKind::Kvm);
    let of_qemu = arguments.options.one_by_one().into_iter().map(|options| {
        let program = options.qemu_name().map(|program| format!("qemu {}", program.display()));
        (program.unwrap_or_else(|| "qemu".into()), options, MachineKind::Qemu)
    });

    let opened: Vec<_> = iter::once(of_kvm)
        .chain(of_qemu)
        .map(|(name, options, kind)| {
            (name, options.open(kind).map_err(|failure| failure.to_string()))
        })
        .collect();
    let offers: Vec<(&str, Result<&dyn Machine, &str>)> = opened
        .iter()
        .map(|(name, opened)| {
            let offer = opened.as_ref().map(|opened| opened.machine.as_ref());
            (name.as_str(), offer.map_err(String::as_str))
        })
        .collect();
    let bochs = BochsProgram::find();
    let v86 = V86Package::find();
    let booted = [
        BootedOffer {
            kind: "bochs",
            found: bochs
                .map(|program| (format!("Bochs {}", program.version.short()), program.models))
                .map_err(|error| error.to_string()),
        },
        BootedOffer {
            kind: "v86",
            found: v86
                .map(|package| (format!("v86 {}", package.version.short()), Vec::new()))
                .map_err(|error| error.to_string()),
        },
    ];
    let works = opened.iter().any(|(_, opened)| opened.is_ok());
    let verdict = if works { VerdictWord::Done } else { VerdictWord::NoMachine };
    Ok(finish(
        arguments.json,
        verdict.into(),
        || report::machines::json::document(&offers, &booted, &walkers),
        || report::machines::text(&offers, &booted, &walkers),
    ))
}
