//! The ways into an image. Each of them leads to the same log, byte by byte.

use crosswalk_test_support as support;
use std::fs;
use support::boot::BootOptions;
use support::{Sandbox, require_qemu};

/// Cases in a mode outside long mode and in one inside it, made for any processor.
const CASES: [&str; 6] = ["--mode", "32bit,4level", "--cases", "1500", "--seed", "11"];

/// The ELF file as `a.elf`, and the medium as `a.iso`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for file in ["a.elf", "a.iso"] {
        sandbox.run(&[&["image", file][..], &CASES].concat()).expect_code(0);
    }
    sandbox
}

/// The file without the header of Multiboot, so that QEMU looks for the note of PVH.
fn without_multiboot(elf: &[u8]) -> Vec<u8> {
    const MAGIC: [u8; 4] = 0x1bad_b002_u32.to_le_bytes();

    let mut file = elf.to_vec();
    let at = file.windows(4).position(|word| word == MAGIC).expect("it has a header of Multiboot");
    file[at..at + 4].fill(0);
    file
}

#[test]
fn every_loader_and_firmware_leads_to_the_same_log() {
    require_qemu!();
    let sandbox = sandbox();
    let elf = fs::read(sandbox.path().join("a.elf")).expect("the image was made");
    sandbox.file("pvh.elf", without_multiboot(&elf));
    let log = |options: &BootOptions<'_>, name: &str| {
        fs::read_to_string(sandbox.boot(options, name)).expect("a log is text")
    };

    let multiboot = log(&BootOptions::kernel(&["-kernel", "a.elf"]), "multiboot.log");
    assert!(multiboot.ends_with("\ncw!\n"), "the log is not complete");

    let disk = "file=a.iso,format=raw,if=ide,readonly=off,snapshot=on";
    let stick = "file=a.iso,format=raw,if=none,id=stick,snapshot=on";
    let usb = ["-device", "qemu-xhci", "-device", "usb-storage,drive=stick", "-drive", stick];
    for (name, machine, image) in [
        ("PVH", "pc", &["-kernel", "pvh.elf"][..]),
        ("PVH on microvm", "microvm", &["-kernel", "a.elf"]),
        ("IDE disk", "pc", &["-drive", disk]),
        ("CD", "pc", &["-cdrom", "a.iso"]),
        ("CD on q35", "q35", &["-cdrom", "a.iso"]),
        ("USB stick", "pc", &usb),
    ] {
        let options = BootOptions { machine, ..BootOptions::kernel(image) };
        let other = log(&options, "other.log");
        let differs = other.lines().zip(multiboot.lines()).find(|(other, same)| other != same);
        assert_eq!(differs, None, "{name}");
        assert_eq!(other.len(), multiboot.len(), "{name}");
    }
}
