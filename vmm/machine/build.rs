//! Builds the guest images with a cargo of its own, so that `include_bytes!` finds them.
//!
//! They are built in a small workspace in `OUT_DIR`, made of the two packages that `guest-image/`
//! leads to: crosswalk-guest and mmu-core, with their manifests, and with the dependencies of
//! `workspace.lock`. In the checkout `guest-image/` consists of symbolic links. `cargo package` stores
//! what they lead to, so that a package builds its images exactly as the checkout does.
//!
//! The images need other flags than the host. Everything in the environment that would change the
//! build of the host (profiles, wrappers, coverage) is kept from them.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const FLAGS: &str = "-Crelocation-model=static -Ccode-model=small -Cno-redzone=yes \
                     -Cforce-frame-pointers=yes";

/// The packages of the images' workspace, each with the files and directories that it is built from.
const PACKAGES: [(&str, &[&str]); 2] = [
    ("mmu-core", &["src"]),
    ("guest", &["src", "build.rs", "link.ld", "rom.ld", "front.ld", "sector.ld"]),
];

/// The images of the product.
const IMAGES: [&str; 5] = ["image", "rom", "disk_rom", "front", "sector"];

/// The images of the tests, which the feature `test-images` asks for.
const TEST_IMAGES: [&str; 2] = ["hostile", "started"];

/// The tables of a manifest that the images do without, by the beginning of their headers. Members
/// and other targets are not in `guest-image/`; development dependencies would have to be downloaded.
const OMITTED_TABLES: [&str; 5] =
    ["[workspace]", "[dev-dependencies", "[[bench]]", "[[example]]", "[[test]]"];

fn main() {
    // Read at run time: a target directory may be a copy of another checkout's.
    let sources = directory("CARGO_MANIFEST_DIR").join("guest-image");
    let out = directory("OUT_DIR");
    // Cargo follows the links.
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-env-changed=DOCS_RS");

    let images =
        if env::var_os("DOCS_RS").is_some() { placeholders(&out) } else { build(&sources, &out) };
    println!("cargo::rustc-env=GUEST_ELF={}", images.join("image").display());
    println!("cargo::rustc-env=GUEST_IMAGES={}", images.display());
}

/// Builds the images, and returns the directory that holds them.
fn build(sources: &Path, out: &Path) -> PathBuf {
    let workspace = out.join("guest-workspace");
    let target_dir = out.join("guest");
    lay_out(sources, &workspace).expect("the workspace of the guest images can be laid out");
    fetch_dependencies(sources, &workspace);

    let mut build = cargo(&workspace);
    build.args(["build", "--offline", "--profile", "guest", "--target", TARGET]);
    // As a package of its own mmu-core would have its feature `alloc`, and the guest has no heap.
    build.args(["--package", "crosswalk-guest"]);
    let with_test_images = env::var_os("CARGO_FEATURE_TEST_IMAGES").is_some();
    let test_images: &[&str] = if with_test_images { &TEST_IMAGES } else { &[] };
    for image in IMAGES.iter().chain(test_images) {
        build.args(["--bin", image]);
    }
    build.arg("--target-dir").arg(&target_dir);
    build.env("RUSTFLAGS", FLAGS).env("CROSSWALK_BARE_METAL", "1");
    assert!(succeeds(build), "the guest images were not built: see the messages above");

    target_dir.join(TARGET).join("guest")
}

/// Empty files where the library includes images, for docs.rs: it has no network, and documentation
/// contains no images.
fn placeholders(out: &Path) -> PathBuf {
    let images = out.join("placeholders");
    fs::create_dir_all(&images).expect("OUT_DIR can be written");

    for name in IMAGES {
        fs::write(images.join(name), "").expect("OUT_DIR can be written");
    }
    images
}

/// A directory that cargo names in this variable.
fn directory(variable: &str) -> PathBuf {
    env::var_os(variable).unwrap_or_else(|| panic!("cargo sets {variable}")).into()
}

/// Makes the images' workspace: the manifests, and links to the sources.
fn lay_out(sources: &Path, workspace: &Path) -> io::Result<()> {
    let members = PACKAGES.map(|(name, _)| name);
    let header = format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n\n");
    let root = fs::read_to_string(sources.join("workspace.toml"))?;
    fs::create_dir_all(workspace)?;
    write_if_changed(&workspace.join("Cargo.toml"), &(header + &without_omitted_tables(&root)))?;

    for (name, files) in PACKAGES {
        let from = sources.join(name);
        let to = workspace.join(name);
        let manifest = fs::read_to_string(from.join("manifest.toml"))?;
        fs::create_dir_all(&to)?;
        write_if_changed(&to.join("Cargo.toml"), &without_omitted_tables(&manifest))?;

        for file in files {
            link(&to.join(file), &from.join(file))?;
        }
    }
    Ok(())
}

fn without_omitted_tables(manifest: &str) -> String {
    let mut is_omitted = false;
    let kept = manifest.lines().filter(|line| {
        if line.starts_with('[') {
            is_omitted = OMITTED_TABLES.iter().any(|table| line.starts_with(table));
        }
        !is_omitted
    });
    kept.flat_map(|line| [line, "\n"]).collect()
}

fn write_if_changed(path: &Path, text: &str) -> io::Result<()> {
    match fs::read_to_string(path) {
        Ok(found) if found == text => Ok(()),
        _ => fs::write(path, text),
    }
}

/// Makes a link to `target`, in place of an older one.
fn link(path: &Path, target: &Path) -> io::Result<()> {
    match fs::read_link(path) {
        Ok(found) if found == target => return Ok(()),
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    symlink(target, path)
}

/// Makes sure that the dependencies are there. The build of the host has downloaded them, possibly in
/// other versions than those of the lock file, so the network is the last resort.
fn fetch_dependencies(sources: &Path, workspace: &Path) {
    let lock = workspace.join("Cargo.lock");
    let use_locked_versions = || {
        fs::copy(sources.join("workspace.lock"), &lock).expect("the lock file can be copied");
    };
    let fetch = || {
        let mut fetch = cargo(workspace);
        fetch.args(["fetch", "--target", TARGET]);
        fetch
    };
    let is_offline_possible = || {
        let output = fetch().arg("--offline").output();
        output.expect("cargo can be started").status.success()
    };

    use_locked_versions();
    if is_offline_possible() {
        return;
    }

    fs::remove_file(&lock).expect("the copy can be removed");
    if is_offline_possible() {
        return;
    }

    use_locked_versions();
    assert!(succeeds(fetch()), "the dependencies of the guest images cannot be downloaded");
}

/// A cargo in the images' workspace, without what concerns the build of the host.
fn cargo(workspace: &Path) -> Command {
    const PREFIXES: [&str; 3] = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_"];
    const NAMES: [&str; 6] = [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CLIPPY_ARGS",
        "LLVM_PROFILE_FILE",
    ];

    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo.current_dir(workspace);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let changes_the_build = PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            || NAMES.contains(&text.as_ref());
        if changes_the_build {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Runs a command with its messages shown.
fn succeeds(mut command: Command) -> bool {
    command.status().expect("cargo can be started").success()
}
