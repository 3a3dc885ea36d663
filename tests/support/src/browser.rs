//! Pages as a browser shows them.

use crate::program::ProgramOutput;
use crate::requirement::can_be_started;
use assert_cmd::Command;
use std::path::Path;

/// The document of a page after its scripts have run, opened at a fragment; `None` where there is no Chromium.
/// Its own directory is beside the page. A script that fails makes the test fail.
pub fn browse(page: &Path, fragment: &str) -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let browser = names.into_iter().find(|name| can_be_started(name))?;

    let mut command = Command::new(browser);
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
