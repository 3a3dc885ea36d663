//! Builds the binaries as bare-metal images when `vmm/build.rs` asks for it, and as host stubs
//! otherwise, so that clippy and rust-analyzer read them like any other code.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(bare_metal)");
    println!("cargo::rerun-if-changed=link.ld");
    println!("cargo::rerun-if-env-changed=CROSSWALK_BARE_METAL");
    if std::env::var_os("CROSSWALK_BARE_METAL").is_none() {
        return;
    }
    println!("cargo::rustc-cfg=bare_metal");
    let script = format!("-Wl,-T,{}/link.ld", env!("CARGO_MANIFEST_DIR"));
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,max-page-size=0x1000",
        "-Wl,-z,norelro",
        "-Wl,-z,noexecstack",
        &script,
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
