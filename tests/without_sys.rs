//! `check` where there is no /sys, as in many containers: nothing tells the flavour of the KVM.

use assert_cmd::Command;
use crosswalk_test_support as support;
use support::report::{list, text};
use support::{ProgramOutput, Sandbox, program, require_kvm, require_program, skip};

/// The arguments of `unshare` that run a command in namespaces of its own, with an empty /sys.
const WITHOUT_SYS: [&str; 7] = [
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs none /sys && exec \"$@\"",
    "sh",
];

fn without_sys(sandbox: &Sandbox) -> Command {
    let mut command = Command::new("unshare");
    command.current_dir(sandbox.path()).args(WITHOUT_SYS);
    command
}

#[test]
fn without_sys_a_run_says_that_known_findings_cannot_be_matched() {
    require_kvm!();
    require_program!("unshare");
    let sandbox = Sandbox::new();
    if !without_sys(&sandbox).arg("true").output().is_ok_and(|tried| tried.status.success()) {
        return skip("namespaces", "this user may not create namespaces");
    }

    let check = |arguments: &[&str]| {
        let mut command = without_sys(&sandbox);
        command.arg(program()).args([
            "check",
            "--machine",
            "kvm",
            "--cases",
            "5000",
            "--seed",
            "1",
        ]);
        let output = ProgramOutput::of(command.args(arguments));
        assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
        output
    };
    let reason = "known findings of a flavour cannot be matched";

    let in_text = check(&["--report", "report"]).words_of_stdout();
    assert!(in_text.contains("flavour unknown"), "{in_text}");
    assert!(in_text.contains(reason), "{in_text}");
    let page = std::fs::read_to_string(sandbox.path().join("report/index.html")).expect("a page");
    assert!(page.contains(reason), "{page}");

    let report = check(&["--json"]).json();
    assert_eq!(report["machine"]["flavour"], "unknown");
    assert!(text(&report["machine"]["unknown_flavour"]).contains(reason), "{}", report["machine"]);
    let known = |finding: &serde_json::Value| finding["known"] == true && finding["count"] != 0;
    assert!(!list(&report["findings"]).iter().any(known), "{}", report["findings"]);
}

/// Where the flavour is known, there is nothing to say.
#[test]
fn with_sys_no_word_is_lost_about_it() {
    require_kvm!();
    let check = ["check", "--machine", "kvm", "--cases", "500", "--json"];
    let report = support::run(&check).json();
    let is_unknown = report["machine"]["flavour"] == "unknown";
    assert_eq!(report["machine"].get("unknown_flavour").is_some(), is_unknown);
}
