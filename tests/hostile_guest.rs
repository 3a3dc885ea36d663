//! Guests that misbehave, and files that are no guests: each ends in a clear error, soon.

mod common;

use common::{Ran, Sandbox, guest_image, require_kvm, require_qemu};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::{Duration, Instant};

/// A misbehaving guest must be found out long before this, even on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn check_with(sandbox: &Sandbox, machine: &str, image: &str) -> Ran {
    let asked = ["--machine", machine, "--cases", "500", "--seed", "1", "--guest-image", image];
    let start = Instant::now();
    let ran = sandbox.run(&[&["check", "--json"], &asked[..]].concat());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(sandbox.processes(), [""; 0], "left behind");
    ran
}

/// The images boot, pass for a guest, and then do what they are for.
fn assert_dies(machine: &str, image: &str, words: &str) {
    let sandbox = Sandbox::new();
    let ran = check_with(&sandbox, machine, guest_image(image).to_str().expect("a path of ours"));
    let ran = ran.expect_code(3);
    assert_eq!(ran.stdout, "", "there is no report of a run that died");
    let line = ran.only_line_of_stderr();
    assert!(line.starts_with("crosswalk: the guest ") && line.contains(words), "{line}");

    let files = sandbox.files();
    let [saved] = &files[..] else { panic!("expected one saved case, found {files:?}") };
    assert!(line.contains(saved.as_str()), "{line} does not name {saved}");
    let explained = sandbox.run(&["explain", saved]).expect_code(0);
    assert!(explained.stdout.contains("outcome"), "{}", explained.stdout);
}

#[test]
fn a_guest_that_triple_faults() {
    require_kvm!();
    assert_dies("kvm", "bad-triple-fault", "triple-faulted");
}

#[test]
fn a_guest_that_loops_for_ever() {
    require_kvm!();
    assert_dies("kvm", "bad-loop", "did not come back");
}

#[test]
fn a_guest_that_writes_nonsense_into_the_mailbox() {
    require_kvm!();
    assert_dies("kvm", "bad-mailbox", "nonsense");
}

#[test]
fn bad_guests_on_qemu() {
    require_qemu!();
    assert_dies("qemu", "bad-triple-fault", "triple-faulted");
    assert_dies("qemu", "bad-loop", "did not come back");
    assert_dies("qemu", "bad-mailbox", "nonsense");
}

#[test]
fn a_file_that_is_no_image_is_named() {
    let sandbox = Sandbox::new();
    sandbox.file("notes.txt", "not an ELF file");
    sandbox.file("empty", "");
    std::fs::create_dir(sandbox.path().join("folder")).expect("a directory can be made");
    let elf = std::env::current_exe().expect("this test is a file");
    let other_elf = elf.to_str().expect("a path of ours");
    let names = ["notes.txt", "empty", "folder", "missing", other_elf];
    for (name, machine) in names.into_iter().flat_map(|name| [(name, "kvm"), (name, "qemu")]) {
        let ran = check_with(&sandbox, machine, name).expect_code(2);
        let line = ran.only_line_of_stderr();
        assert!(line.contains(name) && line.contains("is not a guest image"), "{line}");
    }
}

/// The program may refuse a damaged image, find the guest dead, or, when nothing that matters is
/// damaged, run it. It may not panic (which every run asserts), hang, or be killed.
fn assert_survives(sandbox: &Sandbox, machine: &str, image: &[u8], damage: &str) {
    let name = sandbox.file("damaged", image);
    let ran = check_with(sandbox, machine, &name);
    let code = ran.code.unwrap_or_else(|| panic!("{damage}: killed: {}", ran.stderr));
    assert!((0..=3).contains(&code), "{damage}: exit {code}: {}", ran.stderr);
    let is_told = !ran.stderr.is_empty();
    assert_eq!(is_told, code >= 2, "{damage}: exit {code}, standard error {:?}", ran.stderr);
}

fn real_image() -> Vec<u8> {
    std::fs::read(guest_image("image")).expect("the image was built with the program")
}

#[test]
fn a_truncated_image_is_survived() {
    require_kvm!();
    let (sandbox, image) = (Sandbox::new(), real_image());
    let cut = |length: usize| {
        assert_survives(&sandbox, "kvm", &image[..length], &format!("cut to {length} bytes"));
    };
    // Around the ends of the ELF header and of the first program headers, then evenly.
    [1, 16, 63, 64, 65, 119, 120, 121].into_iter().for_each(cut);
    (1..13).map(|part| image.len() * part / 13).for_each(cut);
}

/// A few only: a guest that hangs takes QEMU's whole deadline.
#[test]
fn a_truncated_image_is_survived_on_qemu() {
    require_qemu!();
    let (sandbox, image) = (Sandbox::new(), real_image());
    for length in (1..5).map(|part| image.len() * part / 5) {
        assert_survives(&sandbox, "qemu", &image[..length], &format!("cut to {length} bytes"));
    }
}

#[test]
fn flipped_bytes_in_the_headers_are_survived() {
    require_kvm!();
    let (sandbox, image) = (Sandbox::new(), real_image());
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(0x0e1f);
    // The ELF header says how many program headers of 56 bytes follow it.
    let headers = 64 + 56 * usize::from(image[56]);
    for number in 0..50 {
        let mut damaged = image.clone();
        let mut places = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            let place = rng.random_range(0..headers);
            damaged[place] ^= rng.random_range(1..=255_u8);
            places.push(format!("{place:#x}: {:#x}", damaged[place]));
        }
        assert_survives(
            &sandbox,
            "kvm",
            &damaged,
            &format!("copy {number}, {}", places.join(", ")),
        );
    }
}
