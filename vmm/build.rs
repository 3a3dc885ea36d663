//! Tells the program what it was built from, for `--version`.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CROSSWALK_COMMIT");
    let profile = variable("PROFILE");
    println!("cargo::rustc-env=CROSSWALK_PROFILE={profile}");
    println!("cargo::rustc-env=CROSSWALK_TARGET={}", variable("TARGET"));

    // A debug build would compile everything again after each commit.
    let is_release = profile == "release";
    let commit = env::var("CROSSWALK_COMMIT").ok().or_else(packaged_commit);
    let commit = commit.or_else(|| is_release.then(checked_out_commit).flatten());
    let commit = commit.unwrap_or_else(|| "not known".into());
    println!("cargo::rustc-env=CROSSWALK_COMMIT={commit}");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| "unknown".into())
}

/// The commit of a package, which `cargo package` writes beside its manifest.
fn packaged_commit() -> Option<String> {
    let text = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, after) = text.split_once("\"sha1\"")?;
    after.split('"').nth(1).map(str::to_owned)
}

/// The commit of the checkout that this package is in.
fn checked_out_commit() -> Option<String> {
    // A package that is inside a checkout of something else is not meant.
    if !Path::new("../ARCHITECTURE.md").exists() {
        return None;
    }

    for name in ["HEAD", "refs/heads", "packed-refs"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// What git answers in one line; `None` without git.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
