//! What a test needs of the host, and skipping the test where that is missing.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// Skips the rest of the test function where there is no KVM.
#[macro_export]
macro_rules! require_kvm {
    () => {
        if !$crate::requirement::has_kvm() {
            $crate::skip("kvm", "no /dev/kvm");
            return;
        }
    };
}

/// Skips the rest of the test function where there is no QEMU.
#[macro_export]
macro_rules! require_qemu {
    () => {
        if !$crate::requirement::has_qemu() {
            $crate::skip("qemu", "no qemu-system-x86_64");
            return;
        }
    };
}

/// Skips the rest of the test function where there is no second, newer QEMU; names its program otherwise.
#[macro_export]
macro_rules! require_second_qemu {
    () => {
        match $crate::requirement::second_qemu() {
            Some(program) => program,
            None => {
                $crate::skip("second-qemu", "no second QEMU (ci/qemu-backports gets it)");
                return;
            }
        }
    };
}

/// Skips the rest of the test function where no script can click through a page.
#[macro_export]
macro_rules! require_browser {
    () => {
        if $crate::browser::browser().is_none() {
            $crate::skip("chromium", "no Chromium");
            return;
        }
        if $crate::requirement::browser_packages().is_none() {
            $crate::skip("browser", "no puppeteer-core and axe-core (ci/browser gets them)");
            return;
        }
    };
}

/// Skips the rest of the test function where there is no v86; names the directory for `NODE_PATH` otherwise.
#[macro_export]
macro_rules! require_v86 {
    () => {
        match $crate::requirement::v86_packages() {
            Some(packages) => packages,
            None => {
                $crate::skip("v86", "no v86 (ci/v86 gets it)");
                return;
            }
        }
    };
}

/// Skips the rest of the test function where a program is missing.
#[macro_export]
macro_rules! require_program {
    ($name:literal) => {
        if !$crate::requirement::can_be_started($name) {
            $crate::skip($name, concat!("no ", $name));
            return;
        }
    };
}

/// Whether the tests that need KVM can run.
pub fn has_kvm() -> bool {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Whether the tests that need QEMU can run.
pub fn has_qemu() -> bool {
    can_be_started("qemu-system-x86_64")
}

/// The program of a newer QEMU than the installed one, which `ci/qemu-backports` unpacks.
pub fn second_qemu() -> Option<PathBuf> {
    let target = crate::program().ancestors().nth(2)?;
    let program = target.join("qemu-backports/usr/bin/qemu-system-x86_64");
    (has_qemu() && Command::new(&program).arg("--version").output().is_ok()).then_some(program)
}

/// The directory of packages with the v86 that `ci/v86` has installed, if there is a Node.js.
pub fn v86_packages() -> Option<PathBuf> {
    let target = crate::program().ancestors().nth(2)?;
    let packages = target.join("v86/node_modules");
    (can_be_started("node") && packages.join("v86/package.json").is_file()).then_some(packages)
}

/// The directory of packages that `ci/browser` has installed, if there is a Node.js.
pub fn browser_packages() -> Option<PathBuf> {
    let target = crate::program().ancestors().nth(2)?;
    let packages = target.join("browser/node_modules");
    (can_be_started("node") && packages.join("axe-core/axe.min.js").is_file()).then_some(packages)
}

/// Whether a program with this name can be started.
pub fn can_be_started(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Prints that a test is skipped, and why.
///
/// # Panics
/// When `CROSSWALK_REQUIRE` lists what is missing.
pub fn skip(missing: &str, why: &str) {
    let required = std::env::var("CROSSWALK_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name.trim() == missing),
        "CROSSWALK_REQUIRE={required} does not allow skipping this test: {why}"
    );

    // Directly to standard error, since the test harness hides what `eprintln!` prints in a test
    // that passes.
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = std::io::stderr().write_all(format!("skipped: {why} ({test})\n").as_bytes());
}
