//! Pages as a browser shows them.

use crate::program::{ProgramOutput, repository};
use crate::requirement::{browser_packages, can_be_started};
use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The document of a page after its scripts have run, opened at a fragment; `None` where there is no Chromium.
/// Its own directory is beside the page. A script that fails makes the test fail.
pub fn browse(page: &Path, fragment: &str) -> Option<String> {
    let mut command = Command::new(browser()?);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
        .args(["--disable-quic", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", page.with_extension("browser").display()))
        .arg("--dump-dom")
        .arg(format!("file://{}#{fragment}", page.display()));
    let output = ProgramOutput::of(&mut command).expect_code(0);
    assert!(!output.stderr.contains("Uncaught"), "{}", output.stderr);
    Some(output.stdout)
}

/// What a script of `tests/browser` saw on a page, once it has clicked through it. The page made no request and its
/// scripts no error.
///
/// # Panics
///
/// When the script fails or the page does what it must not, or without what [`require_browser!`](crate::require_browser)
/// asks for.
pub fn drive(script: &str, page: &Path, arguments: &[&str]) -> Value {
    let browser = which(browser().expect("a browser")).expect("where the browser is");
    let packages = browser_packages().expect("the packages of ci/browser");

    let mut command = Command::new("node");
    command
        .arg(repository().join("tests/browser").join(script))
        .arg(page)
        .args(arguments)
        .env("CROSSWALK_BROWSER", browser)
        .env("CROSSWALK_BROWSER_PACKAGES", packages);
    let output = ProgramOutput::of(&mut command).expect_code(0);
    let mut seen: Value = serde_json::from_str(&output.stdout).expect("one JSON value");
    for unwanted in ["errors", "requests"] {
        assert_eq!(seen[unwanted], Value::Array(Vec::new()), "{unwanted} of {script}");
    }
    seen["saw"].take()
}

/// The name of the Chromium that can be started here.
pub fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| can_be_started(name))
}

/// The file that a program's name means.
fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}
