//! All parts of a jail around a process that is about to start.

use super::descriptors;
use super::files;
use super::limits::{self, Limit};
use super::namespaces::Namespaces;
use super::privileges;
use super::syscalls;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use seccompiler::BpfProgram;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What a process is put into before its program starts.
#[derive(Debug)]
pub struct Cage {
    pub(super) namespaces: Option<Namespaces>,
    pub(super) limits: Vec<Limit>,
    pub(super) drops_privileges: bool,
    pub(super) files: Option<OwnedFd>,
    pub(super) filters: Vec<BpfProgram>,
}

/// The steps into a cage.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Step {
    Namespaces,
    Limits,
    Privileges,
    Files,
    Filters,
}

/// The names of the parts that the steps engage.
const PARTS: [&str; 5] = ["namespaces", "limits", "capabilities", "landlock", "seccomp"];

impl Cage {
    /// A cage that holds nobody.
    pub(super) const fn open() -> Self {
        Self {
            namespaces: None,
            limits: Vec::new(),
            drops_privileges: false,
            files: None,
            filters: Vec::new(),
        }
    }

    /// Lets the process that a command starts enter the cage first. What it does before its program
    /// starts must be added to the command later, and is subject to the jail.
    ///
    /// # Errors
    /// If the host has no pipe.
    pub fn close_around(self, command: &mut Command) -> io::Result<CageKey> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // SAFETY: between fork and exec the closure only makes system calls, through functions that
        // neither allocate nor take a lock: everything they need was built before.
        unsafe { command.pre_exec(move || self.enter(&write)) };
        Ok(CageKey(read.into()))
    }

    /// In the child: enters, and writes down the step that fails.
    fn enter(&self, failed: &OwnedFd) -> io::Result<()> {
        let (step, error) = match self.enter_by_steps() {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        let _ = nix::unistd::write(failed, &[step as u8]);
        Err(error)
    }

    fn enter_by_steps(&self) -> Result<(), (Step, io::Error)> {
        let at = |step: Step| move |error: io::Error| (step, error);

        if self.drops_privileges {
            descriptors::close_all_on_exec().map_err(at(Step::Privileges))?;
        }
        if let Some(namespaces) = self.namespaces {
            namespaces.enter().map_err(at(Step::Namespaces))?;
        }
        for limit in &self.limits {
            limits::set(*limit).map_err(at(Step::Limits))?;
        }
        if self.drops_privileges {
            privileges::drop_capabilities().map_err(at(Step::Privileges))?;
            privileges::forbid_new().map_err(at(Step::Privileges))?;
        }
        if let Some(rules) = &self.files {
            files::restrict_self(rules).map_err(at(Step::Files))?;
        }
        syscalls::apply(&self.filters).map_err(at(Step::Filters))
    }
}

/// Says why a caged process did not start.
#[derive(Debug)]
pub struct CageKey(File);

impl CageKey {
    /// The error of starting the process, with the part of the jail that could not be engaged, if that
    /// is the reason.
    pub fn explain(mut self, error: io::Error) -> io::Error {
        let mut step = [0];
        let part = match self.0.read(&mut step) {
            Ok(1) => PARTS.get(usize::from(step[0])),
            _ => None,
        };

        match part {
            None => error,
            Some(part) => io::Error::other(JailError { part, error }),
        }
    }
}

/// A part of a jail that the host offers, and then refuses.
#[derive(Debug, thiserror::Error)]
#[error("its jail cannot be closed: {part}: {error}; --no-jail runs it without")]
pub struct JailError {
    part: &'static str,
    error: io::Error,
}

#[cfg(test)]
mod tests {
    use super::super::Jail;
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    /// Runs a shell script in the cage of a walker. Returns its exit code and what it prints.
    fn in_cage(script: &str) -> (Option<i32>, String) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let cage = Jail::strongest().cage_walker().unwrap();
        let _key = cage.close_around(&mut command).unwrap();
        let output = command.output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text.into_owned())
    }

    #[test]
    fn an_inmate_has_no_privileges_and_cannot_gain_any() {
        let (code, text) = in_cage("exec cat /proc/self/status");
        assert_eq!(code, Some(0), "{text}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let is_kept = set == "CapBnd" && !text.contains("CapBnd:\t0000000000000000");
            let is_user = !nix::unistd::getuid().is_root();
            assert!(
                text.contains(&format!("{set}:\t0000000000000000")) || (is_kept && is_user),
                "{text}"
            );
        }
        assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    }

    /// The process that started crosswalk may have left files open for it.
    #[test]
    fn an_inmate_inherits_no_file() {
        let file = File::open("/dev/null").unwrap();
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let (code, text) = in_cage("ls /proc/$$/fd");
        assert_eq!((code, text.as_str()), (Some(0), "0\n1\n2\n"));
    }

    #[test]
    fn a_step_that_fails_is_named() {
        let mut command = Command::new("/bin/true");
        let cage = Cage { filters: vec![Vec::new()], ..Cage::open() };
        let key = cage.close_around(&mut command).unwrap();
        let error = key.explain(command.spawn().unwrap_err());
        assert!(matches!(error.get_ref(), Some(inner) if inner.is::<JailError>()));
        let error = error.to_string();
        assert!(error.starts_with("its jail cannot be closed: seccomp: "), "{error}");
    }
}
