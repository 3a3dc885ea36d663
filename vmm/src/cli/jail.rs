//! Whether what runs on a machine, and what answers cases, is in jail.

use super::failure::Failure;
use crosswalk_machine::jail::Jail;
use std::sync::OnceLock;

/// The options of every subcommand that runs a guest or a program.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct JailArguments {
    /// Run guests, QEMU and the programs of cmd: without their jail (see `machines`)
    #[arg(long)]
    no_jail: bool,
}

impl JailArguments {
    /// The jail for what this command runs. With a jail, this process can gain no privileges either.
    pub(super) fn jail(self) -> Result<Jail, Failure> {
        /// The host is asked once.
        static STRONGEST: OnceLock<Jail> = OnceLock::new();

        if self.no_jail {
            return Ok(Jail::none());
        }

        let jail = STRONGEST.get_or_init(Jail::strongest).clone();
        jail.lock_this_process().map_err(|error| {
            Failure::machine(format!("the jail cannot be closed: {error}; --no-jail runs without"))
        })?;
        Ok(jail)
    }
}
