//! Booting images under QEMU, and what they print.

use crate::Sandbox;
use assert_cmd::Command;
use std::path::PathBuf;
use std::time::Duration;

/// Time limit for one boot, even on a busy machine: two hundred thousand cases take less than a minute.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// A machine of QEMU's, without anything but a serial port that writes into a file, and a device that ends it.
pub struct BootOptions<'o> {
    /// The type of machine, such as `pc`.
    pub machine: &'o str,
    /// The processor.
    pub cpu: &'o str,
    /// Its memory in MiB.
    pub memory: &'o str,
    /// How the image is attached, such as `-kernel FILE`.
    pub image: &'o [&'o str],
}

impl<'o> BootOptions<'o> {
    /// As a kernel, on a PC with every feature.
    pub fn kernel(image: &'o [&'o str]) -> Self {
        Self { machine: "pc", cpu: "max", memory: "2048", image }
    }
}

impl Sandbox {
    /// Boots an image, waits until the machine is off, and returns the path of the log with this name.
    pub fn boot(&self, options: &BootOptions<'_>, log: &str) -> PathBuf {
        let serial = format!("file:{log}");
        let arguments = [
            "-accel",
            "tcg,thread=single",
            "-M",
            options.machine,
            "-cpu",
            options.cpu,
            "-m",
            options.memory,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            &serial,
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=4",
        ];
        let mut command = Command::new("qemu-system-x86_64");
        command.current_dir(self.path()).args(arguments).args(options.image).timeout(TIME_LIMIT);
        let output = command.output().expect("QEMU starts");
        // The guest writes 0 to the device, which doubles it and adds 1.
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "QEMU did not end as it should: {errors}");
        self.path().join(log)
    }

    /// Makes an image with this name, boots it as a kernel, and returns the path of its log.
    pub fn image_and_boot(&self, name: &str, arguments: &[&str]) -> PathBuf {
        self.image_and_boot_on("max", name, arguments)
    }

    /// The same on a processor of QEMU's.
    pub fn image_and_boot_on(&self, cpu: &str, name: &str, arguments: &[&str]) -> PathBuf {
        let file = format!("{name}.elf");
        self.run(&[&["image", &file], arguments].concat()).expect_code(0);
        let image = ["-kernel", &file];
        self.boot(&BootOptions { cpu, ..BootOptions::kernel(&image) }, &format!("{name}.log"))
    }
}
