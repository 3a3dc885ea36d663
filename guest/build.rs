//! Builds the binaries as bare-metal images when `vmm/machine/build.rs` asks for it, and otherwise
//! as host stubs, so that clippy and rust-analyzer read them like any other code.

/// The linker script of each binary.
const SCRIPTS: [(&str, &str); 7] = [
    ("image", "link.ld"),
    ("rom", "rom.ld"),
    ("disk_rom", "rom.ld"),
    ("front", "front.ld"),
    ("sector", "sector.ld"),
    ("hostile", "link.ld"),
    ("started", "link.ld"),
];

/// Linker arguments of every image.
const ARGUMENTS: [&str; 8] = [
    "-nostartfiles",
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,--build-id=none",
    "-Wl,-z,max-page-size=0x1000",
    "-Wl,-z,norelro",
    "-Wl,-z,noexecstack",
];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(bare_metal)");
    println!("cargo::rerun-if-env-changed=CROSSWALK_BARE_METAL");
    for (_, script) in SCRIPTS {
        println!("cargo::rerun-if-changed={script}");
    }

    if std::env::var_os("CROSSWALK_BARE_METAL").is_some() {
        build_bare_metal();
    }
}

fn build_bare_metal() {
    println!("cargo::rustc-cfg=bare_metal");

    for argument in ARGUMENTS {
        println!("cargo::rustc-link-arg-bins={argument}");
    }

    // Read at run time: a target directory may be a copy of another checkout's.
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    for (binary, script) in SCRIPTS {
        println!("cargo::rustc-link-arg-bin={binary}=-Wl,-T,{directory}/{script}");
    }
}
