//! The jail: what runs a guest, and what answers for a user, is kept away from the host as far as the
//! host can keep it.
//!
//! Three kinds of inmates have a jail of their own: the thread of a vCPU, the process of QEMU,
//! and the [walkers](Jail::cage_walker) of `cmd:`. A jail has [parts](JailPart). The host is
//! asked once which of them it offers; a part that it does not offer is reported, and a part that it
//! offers and then refuses is an error.
//!
//! - `syscalls`: filters of system calls (seccomp);
//! - `files`: which files may be read, and that none may be written (Landlock);
//! - `namespaces`: a network, mounts and IPC of its own;
//! - `limits`: bounds on memory, files and processes;
//! - `privileges`: capabilities, and that a program can gain no privileges;
//! - `cage`: all of it, around a process that is about to start;
//! - `executables`: the files that start a program.

mod cage;
mod descriptors;
mod executables;
mod files;
mod limits;
mod namespaces;
mod privileges;
mod report;
mod syscalls;

pub use cage::{Cage, CageKey, JailError};
pub use executables::find_program;
pub use report::{JailPart, JailReport};

use files::Landlock;
use limits::Limit;
use namespaces::Namespaces;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The jail that inmates are put into, or none.
#[derive(Clone, Debug)]
pub struct Jail(Option<Arc<HostParts>>);

/// The parts of a jail that a host may lack. Every Linux has the others.
#[derive(Debug)]
struct HostParts {
    seccomp: Result<(), String>,
    landlock: Result<Landlock, String>,
    namespaces: Result<Namespaces, String>,
}

impl Jail {
    /// The strongest jail that this host offers.
    pub fn strongest() -> Self {
        Self(Some(Arc::new(HostParts {
            seccomp: syscalls::ask(),
            landlock: Landlock::ask(),
            namespaces: Namespaces::ask(),
        })))
    }

    /// No jail.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Whether the user turned it off.
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Keeps this process, and all that it starts, from gaining privileges. Call it before any other
    /// thread exists.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn lock_this_process(&self) -> io::Result<()> {
        match self.0 {
            Some(_) => privileges::forbid_new(),
            None => Ok(()),
        }
    }

    /// Locks up the calling thread, which runs a vCPU from now on, and nothing else.
    ///
    /// # Errors
    /// If a part that the host offers cannot be engaged.
    pub(crate) fn lock_vcpu(&self) -> io::Result<()> {
        let Some(host) = &self.0 else { return Ok(()) };

        privileges::drop_capabilities()?;
        privileges::forbid_new()?;
        if let Ok(landlock) = &host.landlock {
            files::restrict_self(&landlock.nothing()?)?;
        }
        if host.seccomp.is_ok() {
            syscalls::apply(&syscalls::vcpu()?)?;
        }
        Ok(())
    }

    /// The cage of a QEMU whose guest has this much memory, in bytes.
    ///
    /// # Errors
    /// If it cannot be built.
    pub(crate) fn cage_qemu(&self, program: &Path, memory: u64) -> io::Result<Cage> {
        let Some(host) = &self.0 else { return Ok(Cage::open()) };

        Ok(Cage {
            namespaces: host.namespaces.as_ref().ok().copied(),
            limits: limits::lower(&limits::qemu(memory))?,
            drops_privileges: true,
            files: host
                .landlock
                .as_ref()
                .ok()
                .map(|kind| kind.emulator(program, &[]))
                .transpose()?,
            filters: host
                .seccomp
                .as_ref()
                .map_or_else(|_| Ok(Vec::new()), |()| syscalls::qemu())?,
        })
    }

    /// The cage of an emulator that boots an image with this much memory, in bytes: it reads its libraries, and
    /// the files that it inherits.
    ///
    /// # Errors
    /// If it cannot be built.
    pub(crate) fn cage_booted(&self, program: &Path, memory: u64) -> io::Result<Cage> {
        self.cage_emulator(program, &[], &limits::booted(memory))
    }

    /// The same for v86: its processor is code that Node.js makes, in memory that it reserves by the GiB. It reads
    /// its package, too.
    ///
    /// # Errors
    /// If it cannot be built.
    pub(crate) fn cage_v86(&self, node: &Path, package: &Path, memory: u64) -> io::Result<Cage> {
        self.cage_emulator(node, &[package], &limits::v86(memory))
    }

    fn cage_emulator(
        &self,
        program: &Path,
        others: &[&Path],
        limits: &[Limit],
    ) -> io::Result<Cage> {
        let Some(host) = &self.0 else { return Ok(Cage::open()) };

        let landlock = host.landlock.as_ref().ok();
        Ok(Cage {
            namespaces: host.namespaces.as_ref().ok().copied(),
            limits: limits::lower(limits)?,
            drops_privileges: true,
            files: landlock.map(|kind| kind.emulator(program, others)).transpose()?,
            filters: host
                .seccomp
                .as_ref()
                .map_or_else(|_| Ok(Vec::new()), |()| syscalls::walker())?,
        })
    }

    /// The cage of a program that answers cases: it reads what it likes, and changes nothing.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn cage_walker(&self) -> io::Result<Cage> {
        let Some(host) = &self.0 else { return Ok(Cage::open()) };

        Ok(Cage {
            namespaces: host.namespaces.as_ref().ok().copied(),
            limits: limits::lower(&limits::walker(host.counts_processes().is_ok()))?,
            drops_privileges: true,
            files: host.landlock.as_ref().ok().map(Landlock::walker).transpose()?,
            filters: host
                .seccomp
                .as_ref()
                .map_or_else(|_| Ok(Vec::new()), |()| syscalls::walker())?,
        })
    }

    /// The jail of a vCPU's thread, part by part. Namespaces and limits are those of its process.
    pub fn report_vcpu(&self) -> JailReport {
        self.report(|host| {
            vec![
                JailPart::in_force("no-new-privileges", "no program can give it privileges"),
                JailPart::in_force("capabilities", "none"),
                JailPart::of("seccomp", &host.seccomp, |()| {
                    "only the system calls of a vCPU".into()
                }),
                JailPart::of("landlock", &host.landlock, |landlock| landlock.describe("no file")),
            ]
        })
    }

    /// The jail of QEMU, part by part. `sandbox` says whether this QEMU has one of its own.
    pub fn report_qemu(&self, memory: u64, sandbox: &Result<(), String>) -> JailReport {
        self.report(|host| {
            vec![
                JailPart::in_force("no-new-privileges", "no program can give it privileges"),
                JailPart::in_force("capabilities", "none"),
                JailPart::of("seccomp", &host.seccomp, |()| {
                    "only the system calls of an emulator".into()
                }),
                JailPart::of("qemu-sandbox", sandbox, |()| {
                    "QEMU's own filter of system calls".into()
                }),
                JailPart::of("landlock", &host.landlock, |landlock| {
                    landlock.describe("QEMU's libraries and firmware to read")
                }),
                JailPart::of("namespaces", &host.namespaces, ToString::to_string),
                JailPart::in_force("limits", &limits::describe(&limits::qemu(memory))),
            ]
        })
    }

    /// The jail of the walkers, part by part.
    pub fn report_walkers(&self) -> JailReport {
        self.report(|host| {
            let counts = host.counts_processes();
            let mut parts = vec![
                JailPart::in_force("no-new-privileges", "no program can give it privileges"),
                JailPart::in_force("capabilities", "none"),
                JailPart::of("seccomp", &host.seccomp, |()| {
                    "no sockets, and no changes of the system or of files".into()
                }),
                JailPart::of("landlock", &host.landlock, |landlock| {
                    landlock.describe("all files to read, none to write")
                }),
                JailPart::of("namespaces", &host.namespaces, ToString::to_string),
                JailPart::in_force("limits", &limits::describe(&limits::walker(counts.is_ok()))),
            ];
            if let Err(why) = counts {
                parts.push(JailPart::missing("limit-of-processes", why));
            }
            parts
        })
    }

    fn report(&self, parts: impl FnOnce(&HostParts) -> Vec<JailPart>) -> JailReport {
        self.0.as_ref().map_or(JailReport::Off, |host| JailReport::On(parts(host)))
    }
}

impl HostParts {
    /// Whether the kernel can count the processes of one walker.
    fn counts_processes(&self) -> Result<(), &'static str> {
        if nix::unistd::getuid().is_root() {
            return Err("the kernel does not limit the processes of root");
        }

        match &self.namespaces {
            Ok(namespaces) if namespaces.has_users() => Ok(()),
            _ => Err("without a user namespace the processes of all programs are counted together"),
        }
    }
}
