//! `explain --dump`: the guest after a case, as `walk` and `maps` find it. Expected addresses and entries are by hand.

use crosswalk_test_support as support;
use serde_json::{Value, json};
use support::{ProgramOutput, Sandbox, require_kvm, require_qemu};

/// A read by ring 3 that completes, with the tables of a case.
fn case(mode: &str, state: [&str; 4], entries: &[(&str, &str)], address: &str) -> Value {
    let [cr0, cr3, cr4, efer] = state;
    let entries: Vec<_> =
        entries.iter().map(|(at, value)| json!({"address": at, "value": value})).collect();
    let mut state = json!({
        "cr0": cr0, "cr3": cr3, "cr4": cr4, "efer": efer, "pkru": "0x0", "pkrs": "0x0", "ac": false
    });
    if mode == "pae" {
        // The guest's own mappings are below the first three.
        state["pdptes"] = json!(["0x441001", "0x442001", "0x443001", "0x444001"]);
    }
    json!({
        "mode": mode, "state": state, "entries": entries,
        "access": {
            "kind": "read", "address": address, "size": 4, "ring": 3, "segment": "data",
            "instruction": "mov from memory", "value": "0x0"
        },
        "profile": {"vendor": "amd", "max_physical_address": 40, "features": ["nx", "pge", "la57"]}
    })
}

/// A read of 0x728d3e2f304c, which is at 0x501aa04c by the PTE at 0x646798.
pub(crate) fn four_level() -> Value {
    case(
        "4level",
        ["0x80010011", "0x640000", "0x620", "0xd00"],
        &[
            ("0x640728", "0x641007"),
            ("0x6411a0", "0x644007"),
            ("0x644f88", "0x646007"),
            ("0x646798", "0x501aa007"),
        ],
        "0x728d3e2f304c",
    )
}

/// Runs a case, and looks for its address in the dump, which must lead to this physical address by this leaf.
#[track_caller]
fn assert_dumped(machine: &str, case: &Value, physical: &str, leaf: [&str; 2]) {
    let walk = dump_and_walk(machine, case);
    assert_eq!(walk["image"]["mode"], case["mode"]);
    assert_eq!(walk["physical"], physical, "{walk}");
    let last = walk["path"].as_array().expect("a list").last().expect("an entry").clone();
    assert_eq!([&last["at"], &last["entry"]], leaf, "the machine has set A: {last}");
}

/// Runs a case, and walks to its address in the dump.
#[track_caller]
fn dump_and_walk(machine: &str, case: &Value) -> Value {
    let sandbox = Sandbox::new();
    sandbox.file("case.json", case.to_string());
    let explain = ["explain", "case.json", "--machine", machine, "--dump", "guest.elf"];
    let output: ProgramOutput = sandbox.run(&explain).expect_code(0);
    assert!(output.stdout.contains("machine   value "), "{}", output.stdout);

    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let (address, efer) = (text(&case["access"]["address"]), text(&case["state"]["efer"]));
    let walk = ["walk", "guest.elf", &address, "--efer", &efer, "--json"];
    sandbox.run(&walk).expect_code(0).json()
}

#[test]
fn the_guest_of_kvm_is_in_the_dump() {
    require_kvm!();
    assert_dumped("kvm", &four_level(), "0x501aa04c", ["0x646798", "0x501aa027"]);
}

#[test]
fn the_guest_of_qemu_is_in_the_dump_in_each_mode() {
    require_qemu!();
    assert_dumped("qemu", &four_level(), "0x501aa04c", ["0x646798", "0x501aa027"]);

    // Bits 31:22 are 113, the offset in the page of 4 MiB is 0x3ac2d4.
    let state = ["0x80000011", "0x440000", "0x610", "0x0"];
    let small = case("32bit", state, &[("0x4401c4", "0x41400087")], "0x1c7ac2d4");
    assert_dumped("qemu", &small, "0x417ac2d4", ["0x4401c4", "0x414000a7"]);

    // Bits 31:30 are 3, 29:21 are 74, the offset in the page of 2 MiB is 0x80f10.
    let entries = [("0x440698", "0x444001"), ("0x444250", "0x52c00087")];
    let pae = case("pae", ["0x80010011", "0x440680", "0x630", "0x0"], &entries, "0xc9480f10");
    let dumped = dump_and_walk("qemu", &pae);
    // QEMU sets A in the PDPTE, where it is reserved: the case's own registers had it without.
    let pdpte = &dumped["path"][0];
    assert_eq!((&pdpte["at"], &pdpte["entry"]), (&json!("0x440698"), &json!("0x444021")));
    assert_eq!(pdpte["error"], "reserved bits 0x20");
}

/// A case whose table is where the guest's code is.
pub(crate) fn case_that_is_not_run() -> Value {
    let mut case = four_level();
    case["entries"][3]["address"] = json!("0x100000");
    case
}

#[test]
fn a_case_that_was_not_run_has_no_dump() {
    require_qemu!();
    let sandbox = Sandbox::new();
    sandbox.file("case.json", case_that_is_not_run().to_string());
    let explain = ["explain", "case.json", "--machine", "qemu", "--dump", "guest.elf"];
    let output = sandbox.run(&explain).expect_code(2);
    assert!(output.stdout.contains("verdict   unsupported"), "{}", output.stdout);
    let error = output.only_line_of_stderr();
    assert!(
        error.contains("--dump: there is nothing to look at, since the case was not"),
        "{error}"
    );
    assert!(!sandbox.path().join("guest.elf").exists());
}

/// Outside long mode bits 63:32 of an address are ignored, and `walk` wants none.
#[test]
fn the_command_for_a_dump_can_be_copied_into_a_shell() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let state = ["0x80000011", "0x440000", "0x610", "0x0"];
    let small = case("32bit", state, &[("0x4401c4", "0x41400087")], "0xf1c7ac2d4");
    sandbox.file("case.json", small.to_string());
    let explain = ["explain", "case.json", "--machine", "qemu", "--dump", "it's a; $x.elf"];
    let output = sandbox.run(&explain).expect_code(0);

    let (_, hint) = output.stdout.split_once(": crosswalk ").expect("a command");
    let script = format!("{} {hint}", support::program().display());
    let mut shell = sandbox.std_command("sh");
    let walk = shell.args(["-c", &script]).output().expect("a shell");
    let text = String::from_utf8_lossy(&walk.stdout);
    assert!(walk.status.success() && text.contains("0x417ac2d4"), "{script}{text}{walk:?}");
}

#[test]
fn what_has_no_dump_is_told() {
    let sandbox = Sandbox::new();
    let case = four_level();
    sandbox.file("case.json", case.to_string());
    sandbox.file("two.json", json!([case, case]).to_string());

    let explain = ["explain", "case.json", "--dump", "guest.elf"];
    assert!(sandbox.run(&explain).expect_code(2).stderr.contains("--machine"));
    for (arguments, words) in [
        (["case.json", "--machine", "bochs"], "--dump is not for bochs"),
        (["two.json", "--machine", "qemu"], "--dump takes one case, not 2"),
    ] {
        if arguments.contains(&"qemu") {
            require_qemu!();
        }
        let arguments = [&["explain"], &arguments[..], &["--dump", "guest.elf"]].concat();
        let error = sandbox.run(&arguments).expect_code(2).only_line_of_stderr().to_owned();
        assert!(error.contains(words), "{error}");
        assert!(!sandbox.path().join("guest.elf").exists());
    }
}
