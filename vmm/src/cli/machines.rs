//! `crosswalk machines`: what this host offers.

use super::failure::Failure;
use super::machine::{MachineArguments, MachineKind};
use super::output::print;
use crate::report;
use crosswalk_machine::Machine;
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
    let walkers = arguments.options.jail.jail()?.report_walkers();
    let kinds = [("kvm", MachineKind::Kvm), ("qemu", MachineKind::Qemu)];
    let opened = kinds.map(|(name, kind)| {
        let machine = arguments.options.open(kind);
        (name, machine.map_err(|failure| failure.to_string()))
    });

    let offers = opened.each_ref().map(|(name, opened)| {
        let offer: Result<&dyn Machine, &str> = match opened {
            Ok(opened) => Ok(opened.machine.as_ref()),
            Err(why) => Err(why.as_str()),
        };
        (*name, offer)
    });
    print(&if arguments.json {
        report::run::json::machines(&offers, &walkers)
    } else {
        report::run::text::machines(&offers, &walkers)
    });

    let works = opened.iter().any(|(_, opened)| opened.is_ok());
    Ok(ExitCode::from(if works { 0 } else { 3 }))
}
