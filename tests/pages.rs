//! The program's pages as they open, in a browser: axe-core finds nothing to object to, in light and dark, and no page
//! is wider than a small window.

use crosswalk_test_support as support;
use serde_json::json;
use support::browser::drive;
use support::memory_image::write_small_guests;
use support::{Sandbox, require_browser, require_kvm};

/// Looks at the page that a command writes into `file`.
#[track_caller]
fn look_at(sandbox: &Sandbox, command: &[&str], file: &str, name: &str) {
    sandbox.run(command).expect_code(0);
    assert_eq!(drive("look.mjs", &sandbox.path().join(file), &[name]), json!([]));
}

#[test]
fn the_report_of_a_check_can_be_read_by_everybody() {
    require_browser!();
    require_kvm!();
    let run = ["check", "--machine", "kvm", "--seed", "1", "--cases", "2000", "--report", "r"];
    look_at(&Sandbox::new(), &run, "r/index.html", "check");
}

#[test]
fn the_report_of_litmus_tests_can_be_read_by_everybody() {
    require_browser!();
    require_kvm!();
    let tests = ["litmus", "all", "--machine", "kvm", "--runs", "100", "--seed", "1"];
    let run = [&tests[..], &["--report", "page.html"]].concat();
    look_at(&Sandbox::new(), &run, "page.html", "litmus");
}

#[test]
fn the_page_of_an_address_space_can_be_read_by_everybody() {
    require_browser!();
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    look_at(&sandbox, &["maps", "guest.elf", "--html", "page.html"], "page.html", "maps");
}
