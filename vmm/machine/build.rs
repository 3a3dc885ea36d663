//! Builds the guest images with a cargo of its own, so that `include_bytes!` finds them.
//!
//! The images need other flags than the host, and everything in the environment that would change
//! the build of the host (profiles, wrappers, coverage) is kept from them.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const FLAGS: &str = "-Crelocation-model=static -Ccode-model=small -Cno-redzone=yes \
                     -Cforce-frame-pointers=yes";

fn main() {
    // Asked for when it runs: a target directory may be a copy of another checkout's.
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let workspace = PathBuf::from(package).join("../..");
    for path in ["guest", "mmu-core", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    let target_dir =
        PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("guest");

    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo.current_dir(&workspace).args(["build", "--package", "crosswalk-guest", "--bins"]);
    cargo.args(["--profile", "guest", "--target", TARGET, "--target-dir"]).arg(&target_dir);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let changes_the_build = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
            || [
                "RUSTFLAGS",
                "CARGO_ENCODED_RUSTFLAGS",
                "RUSTC_WRAPPER",
                "RUSTC_WORKSPACE_WRAPPER",
                "CLIPPY_ARGS",
                "LLVM_PROFILE_FILE",
            ]
            .contains(&text.as_ref());
        if changes_the_build {
            cargo.env_remove(&name);
        }
    }
    cargo.env("RUSTFLAGS", FLAGS).env("CROSSWALK_BARE_METAL", "1");
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the guest images were not built: see the messages above");

    let images = target_dir.join(TARGET).join("guest");
    println!("cargo::rustc-env=GUEST_ELF={}", images.join("image").display());
    println!("cargo::rustc-env=GUEST_IMAGES={}", images.display());
}
