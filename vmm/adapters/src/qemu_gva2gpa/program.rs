//! The QEMU that is installed.

use std::process::{Command, Stdio};

/// The program, looked for in `PATH`.
pub(super) const PROGRAM: &str = "qemu-system-x86_64";

/// The oldest version whose monitor and debug stub are known to work here.
const OLDEST: QemuVersion = QemuVersion { major: 7, minor: 2 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QemuVersion {
    major: u32,
    minor: u32,
}

/// The version of the installed QEMU, such as `7.2.22`.
///
/// # Errors
/// When there is no QEMU, or it is too old.
pub(super) fn installed_version() -> Result<String, String> {
    let output = Command::new(PROGRAM)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{PROGRAM} cannot be started: {error}; is QEMU installed?"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first_line = text.lines().next().unwrap_or_default();

    let name = version_in(first_line)
        .ok_or_else(|| format!("{PROGRAM} --version prints no version: {first_line:?}"))?;
    if parse(name).is_none_or(|version| version < OLDEST) {
        let QemuVersion { major, minor } = OLDEST;
        return Err(format!("QEMU {name} is too old: {major}.{minor} or later is needed"));
    }
    Ok(name.into())
}

/// The version in `QEMU emulator version 7.2.22 (...)`.
fn version_in(line: &str) -> Option<&str> {
    line.strip_prefix("QEMU emulator version ")?.split_whitespace().next()
}

/// The first two numbers of a version.
fn parse(version: &str) -> Option<QemuVersion> {
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some(QemuVersion { major, minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_distributions_and_of_development() {
        for (line, name, expected) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22", (7, 2)),
            ("QEMU emulator version 9.1.50-dirty", "9.1.50-dirty", (9, 1)),
            ("QEMU emulator version 10.2", "10.2", (10, 2)),
        ] {
            assert_eq!(version_in(line), Some(name), "{line}");
            let version = parse(name).expect("a version");
            assert_eq!((version.major, version.minor), expected, "{line}");
            assert!(version >= OLDEST, "{line}");
        }
        assert_eq!(version_in("bash 5.2"), None);
        assert_eq!(parse("seven"), None);
    }
}
