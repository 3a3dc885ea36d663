//! Which files an inmate may use, and that it has no network: Landlock.
//! (Linux, Documentation/userspace-api/landlock.rst)

use super::executables::started_by;
use super::privileges::last_error;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use nix::errno::Errno;
use std::env;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr;

/// The Landlock of this host.
#[derive(Debug)]
pub(super) struct Landlock {
    /// The version of the interface that both the kernel and the library know.
    abi: ABI,
}

impl Landlock {
    /// Asks the kernel for its Landlock.
    pub(super) fn ask() -> Result<Self, String> {
        const CREATE_RULESET_VERSION: u32 = 1;

        // SAFETY: with this flag, the call takes no structure and only returns a number.
        let version = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                ptr::null::<libc::c_void>(),
                0_usize,
                CREATE_RULESET_VERSION,
            )
        };
        match Errno::result(version) {
            Ok(version) => Ok(Self { abi: ABI::from(version as i32) }),
            Err(Errno::EOPNOTSUPP) => Err("it was disabled when this kernel was started".into()),
            Err(Errno::ENOSYS) => Err("this kernel has none".into()),
            Err(error) => Err(format!("this kernel refuses to tell its version: {error}")),
        }
    }

    /// What it does, given what it does about files. Older versions do less.
    pub(super) fn describe(&self, files: &str) -> String {
        let tcp = if self.abi >= ABI::V4 { ", no TCP" } else { "" };
        let signals = if self.abi >= ABI::V6 { ", no signals to others" } else { "" };
        format!("ABI {}: {files}{tcp}{signals}", self.abi as i32)
    }

    /// No file may be opened.
    pub(super) fn nothing(&self) -> io::Result<OwnedFd> {
        descriptor(self.ruleset()?)
    }

    /// An emulator reads its libraries and firmware and what else is named, and runs nothing but itself.
    pub(super) fn emulator(&self, program: &Path, others: &[&Path]) -> io::Result<OwnedFd> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let mut rules = self.ruleset()?;

        for file in started_by(program)? {
            rules = self.allow(rules, &file, AccessFs::Execute | AccessFs::ReadFile)?;
        }
        for place in readable_by(program) {
            rules = self.allow(rules, &place, read)?;
        }
        for place in others {
            rules = self.allow(rules, place, read)?;
        }
        rules = self.allow(rules, Path::new("/dev/null"), read | AccessFs::WriteFile)?;
        descriptor(rules)
    }

    /// A walker reads and runs anything, and writes to devices that keep nothing.
    pub(super) fn walker(&self) -> io::Result<OwnedFd> {
        /// KVM is for the adapter that asks it.
        const WRITABLE: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/kvm"];

        let read = AccessFs::from_read(self.abi);
        let write = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        let mut rules = self.allow(self.ruleset()?, Path::new("/"), read)?;
        for device in WRITABLE {
            rules = self.allow(rules, Path::new(device), write)?;
        }
        descriptor(rules)
    }

    /// Rules that allow nothing that Landlock knows.
    fn ruleset(&self) -> io::Result<RulesetCreated> {
        let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        ruleset = ruleset.handle_access(AccessFs::from_all(self.abi)).map_err(io::Error::other)?;

        let network = AccessNet::from_all(self.abi);
        if !network.is_empty() {
            ruleset = ruleset.handle_access(network).map_err(io::Error::other)?;
        }
        let scopes = Scope::from_all(self.abi);
        if !scopes.is_empty() {
            ruleset = ruleset.scope(scopes).map_err(io::Error::other)?;
        }

        ruleset.create().map_err(io::Error::other)
    }

    /// Adds a rule for a file or everything in a directory, if it exists.
    fn allow(
        &self,
        rules: RulesetCreated,
        place: &Path,
        access: BitFlags<AccessFs>,
    ) -> io::Result<RulesetCreated> {
        let Ok(metadata) = place.metadata() else { return Ok(rules) };
        let possible = if metadata.is_dir() {
            AccessFs::from_all(self.abi)
        } else {
            AccessFs::from_file(self.abi)
        };

        let opened = PathFd::new(place).map_err(io::Error::other)?;
        rules.add_rule(PathBeneath::new(opened, access & possible)).map_err(io::Error::other)
    }
}

/// Where QEMU's libraries and firmware may be: where systems and packages have them, and beside the
/// program.
fn readable_by(program: &Path) -> Vec<PathBuf> {
    const PREFIXES: [&str; 3] = ["/", "/usr", "/usr/local"];
    const OTHERS: [&str; 6] = [
        "/nix/store",
        "/gnu/store",
        "/etc/ld.so.cache",
        "/etc/ld.so.preload",
        "/etc/localtime",
        "/sys/devices/system",
    ];

    // The program may be a link into its package.
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let above = [program, &real].map(|file| file.parent().and_then(Path::parent));
    let prefixes = PREFIXES.map(Path::new).into_iter().chain(above.into_iter().flatten());
    let mut places: Vec<PathBuf> = prefixes
        .flat_map(|prefix| ["lib", "lib64", "libexec", "share"].map(|name| prefix.join(name)))
        .collect();

    let libraries = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    places.extend(env::split_paths(&libraries).filter(|path| path.is_absolute()));
    places.extend(OTHERS.map(PathBuf::from));
    places
}

fn descriptor(rules: RulesetCreated) -> io::Result<OwnedFd> {
    Option::from(rules).ok_or_else(|| io::Error::other("the kernel made no Landlock ruleset"))
}

/// Applies rules to the calling thread, for good. It only makes a system call.
pub(super) fn restrict_self(rules: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the call reads no memory.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_version_is_not_said_to_do_more() {
        let described = |abi| Landlock { abi }.describe("no file");
        assert_eq!(described(ABI::V2), "ABI 2: no file");
        assert_eq!(described(ABI::V4), "ABI 4: no file, no TCP");
        assert_eq!(described(ABI::V7), "ABI 7: no file, no TCP, no signals to others");
    }
}
