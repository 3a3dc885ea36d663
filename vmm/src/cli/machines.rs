//! `crosswalk machines`: what this host offers.

use super::{Failure, MachineKind, open, print};
use crate::report;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let opened = open(MachineKind::Kvm, None);
    let offer = match &opened {
        Ok(machine) => Ok(machine as &dyn crate::machine::Machine),
        Err(Failure::Input(why) | Failure::Machine(why)) => Err(why.as_str()),
    };
    print(&if arguments.json {
        report::json::machines(&[("kvm", offer)])
    } else {
        report::text::machines(&[("kvm", offer)])
    });
    ExitCode::from(if opened.is_ok() { 0 } else { 3 })
}
