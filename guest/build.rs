//! Builds the binaries as bare-metal images when `vmm/build.rs` asks for it, and as host stubs
//! otherwise, so that clippy and rust-analyzer read them like any other code.

/// Which binary is laid out by which linker script.
const SCRIPTS: [(&str, &str); 6] = [
    ("image", "link.ld"),
    ("rom", "rom.ld"),
    ("bad-triple-fault", "link.ld"),
    ("bad-loop", "link.ld"),
    ("bad-mailbox", "link.ld"),
    ("started", "link.ld"),
];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(bare_metal)");
    for (_, script) in SCRIPTS {
        println!("cargo::rerun-if-changed={script}");
    }
    println!("cargo::rerun-if-env-changed=CROSSWALK_BARE_METAL");
    if std::env::var_os("CROSSWALK_BARE_METAL").is_none() {
        return;
    }
    println!("cargo::rustc-cfg=bare_metal");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,max-page-size=0x1000",
        "-Wl,-z,norelro",
        "-Wl,-z,noexecstack",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    for (binary, script) in SCRIPTS {
        let directory = env!("CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg-bin={binary}=-Wl,-T,{directory}/{script}");
    }
}
