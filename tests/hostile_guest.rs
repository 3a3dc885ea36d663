//! What a dead guest leaves behind, and files that are not guests: each ends in a clear error, in time.

use crosswalk_test_support as support;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::{Duration, Instant};
use support::hostile::HostileImage;
use support::{ProgramOutput, Sandbox, guest_image, require_kvm, require_qemu};

/// Time limit for detecting a misbehaving guest, even on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Runs `check` with another guest image. The run must end in time and leave no process behind.
fn check_with(sandbox: &Sandbox, machine: &str, image: &str) -> ProgramOutput {
    let options = ["--machine", machine, "--cases", "500", "--seed", "1", "--guest-image", image];
    let start = Instant::now();
    let output = sandbox.run(&[&["check", "--json"], &options[..]].concat());
    assert!(start.elapsed() < TIME_LIMIT, "{:?}", start.elapsed());
    assert_eq!(sandbox.processes(), [""; 0], "processes are left behind");
    output
}

/// A guest that misbehaves while it runs a batch leaves a case to look at.
#[test]
fn the_case_at_hand_is_saved() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let image = sandbox.file("guest", HostileImage::read().with("triple_faults_in_a_command"));
    let output = check_with(&sandbox, "kvm", &image).expect_code(3);
    assert_eq!(output.stdout, "", "a run whose guest dies has no report");
    let line = output.only_line_of_stderr();
    assert!(line.starts_with("crosswalk: the guest triple-faulted"), "{line}");

    let files = sandbox.files();
    let saved: Vec<_> = files.iter().filter(|name| **name != image).collect();
    let [saved] = saved[..] else { panic!("expected one saved case, found {files:?}") };
    assert!(line.contains(saved.as_str()), "{line} does not name {saved}");
    let explained = sandbox.run(&["explain", saved]).expect_code(0);
    assert!(explained.stdout.contains("outcome"), "{}", explained.stdout);
}

#[test]
fn a_file_that_is_not_a_guest_image_is_named() {
    let sandbox = Sandbox::new();
    sandbox.file("notes.txt", "not an ELF file");
    sandbox.file("empty", "");
    std::fs::create_dir(sandbox.path().join("folder")).expect("a directory can be created");
    let test = std::env::current_exe().expect("this test is a file");
    let other_elf = test.to_str().expect("a plain path");

    let names = ["notes.txt", "empty", "folder", "missing", other_elf];
    for (name, machine) in names.into_iter().flat_map(|name| [(name, "kvm"), (name, "qemu")]) {
        let output = check_with(&sandbox, machine, name).expect_code(2);
        let line = output.only_line_of_stderr();
        assert!(line.contains(name) && line.contains("is not a guest image"), "{line}");
    }
}

/// Asserts that the program handles a damaged image: it may refuse the image, find the guest dead,
/// or, when nothing that matters is damaged, run it. It must not panic (which every run asserts),
/// hang, or be killed.
fn assert_survives(sandbox: &Sandbox, machine: &str, image: &[u8], damage: &str) {
    let name = sandbox.file("damaged", image);
    let output = check_with(sandbox, machine, &name);
    let code = output.code.unwrap_or_else(|| panic!("{damage}: killed: {}", output.stderr));
    assert!((0..=3).contains(&code), "{damage}: exit {code}: {}", output.stderr);

    let has_error = !output.stderr.is_empty();
    assert_eq!(has_error, code >= 2, "{damage}: exit {code}, standard error {:?}", output.stderr);
}

/// The guest image that comes with the program.
fn intact_image() -> Vec<u8> {
    std::fs::read(guest_image("image")).expect("the image was built with the program")
}

#[test]
fn a_truncated_image_is_survived() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let image = intact_image();
    let cut = |length: usize| {
        assert_survives(&sandbox, "kvm", &image[..length], &format!("cut to {length} bytes"));
    };

    // Around the ends of the ELF header and of the first program headers, then evenly.
    [1, 16, 63, 64, 65, 119, 120, 121].into_iter().for_each(cut);
    (1..13).map(|part| image.len() * part / 13).for_each(cut);
}

/// A few lengths only: a guest that hangs takes QEMU's whole time limit.
#[test]
fn a_truncated_image_is_survived_on_qemu() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let image = intact_image();
    for length in (1..5).map(|part| image.len() * part / 5) {
        assert_survives(&sandbox, "qemu", &image[..length], &format!("cut to {length} bytes"));
    }
}

#[test]
fn flipped_bytes_in_the_headers_are_survived() {
    /// Bytes of the ELF header, and of each program header after it.
    const ELF_HEADER: usize = 64;
    const PROGRAM_HEADER: usize = 56;
    /// The offset of `e_phnum`, the number of program headers, in the ELF header.
    const PHNUM: usize = 56;

    require_kvm!();
    let sandbox = Sandbox::new();
    let image = intact_image();
    let headers = ELF_HEADER + PROGRAM_HEADER * usize::from(image[PHNUM]);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(0x0e1f);

    for number in 0..50 {
        let mut damaged = image.clone();
        let mut places = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            let place = rng.random_range(0..headers);
            damaged[place] ^= rng.random_range(1..=255_u8);
            places.push(format!("{place:#x}: {:#x}", damaged[place]));
        }

        let damage = format!("copy {number}, {}", places.join(", "));
        assert_survives(&sandbox, "kvm", &damaged, &damage);
    }
}
