//! Habits of the command line: options that would be ignored, names that mean one case everywhere, commands that can
//! be pasted, input without end, and Ctrl-C.

use assert_cmd::Command;
use crosswalk_test_support as support;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;
use support::{ProgramOutput, Sandbox, program, require_kvm, require_program, require_qemu, run};

/// Every option about a machine, with a value.
const OPTIONS: [[&str; 2]; 5] = [
    ["--qemu", "qemu-system-x86_64"],
    ["--cpu", "corei7_skylake_x"],
    ["--phys-bits", "40"],
    ["--qemu-cpu", "-nx"],
    ["--guest-image", "/dev/null"],
];

/// Which of them a machine heeds.
fn heeds(machine: &str, option: &str) -> bool {
    match machine {
        "kvm" => matches!(option, "--phys-bits" | "--guest-image"),
        "qemu" => matches!(option, "--qemu" | "--phys-bits" | "--qemu-cpu" | "--guest-image"),
        "bochs" => option == "--cpu",
        // Naming a QEMU, or what only QEMU has, chooses it.
        "auto" => option != "--cpu",
        "v86" | "corpus" | "none" => false,
        other => panic!("{other}"),
    }
}

#[test]
fn an_option_that_a_machine_ignores_is_refused() {
    let check: &[&str] = &["check", "--cases", "10"];
    let explain: &[&str] = &["explain", "random:pae:1:1@skylake"];
    let scenario: &[&str] = &["scenario", "isolation"];
    let mutants: &[&str] = &["mutants", "--cases", "10"];
    let record: &[&str] = &["record", "out.jsonl", "--cases", "10"];
    let all = ["auto", "kvm", "qemu", "bochs", "v86", "corpus"];

    for (command, machines) in [
        (check, &all[..]),
        (record, &all[..5]),
        (explain, &all[..5]),
        (mutants, &all[..3]),
        (scenario, &["auto", "kvm", "qemu", "none"]),
    ] {
        for machine in machines {
            for [option, value] in OPTIONS {
                if heeds(machine, option) {
                    continue;
                }
                let given = format!("{option}={value}");
                let arguments = [command, &["--machine", machine, &given]].concat();
                let output = run(&arguments).expect_code(2);
                let line = output.only_line_of_stderr();
                assert!(line.contains(option), "{arguments:?}: {line}");
                assert_eq!(output.stdout, "", "{arguments:?}");
            }
        }
    }
}

#[test]
fn an_option_that_a_command_ignores_is_refused() {
    let name = "random:4level:7:1@skylake";
    for (arguments, option) in [
        (&["explain", name, "--phys-bits", "40"][..], "--phys-bits"),
        (&["explain", name, "--cpu", "athlon"], "--cpu"),
        (&["explain", name, "--guest-image", "x"], "--guest-image"),
        (&["machines", "--cpu", "athlon"], "--cpu"),
        (&["scenario", "--seed", "7"], "--seed"),
        (&["scenario", "all", "--seed", "7"], "--seed"),
        (&["scenario", "isolation", "--operations", "9"], "--operations"),
        (&["scenario", "--mode", "pae"], "--mode"),
        (&["scenario", "--machine", "none"], "--machine"),
        (&["scenario", "--qemu", "qemu-system-x86_64"], "--qemu"),
        (&["check", "--machine", "corpus", "--for", "1s"], "--for"),
        (&["check", "--machine", "corpus", "--jobs", "2"], "--jobs"),
        (&["check", "--machine", "corpus", "--seed", "2"], "--seed"),
        (&["image", "out", "--case", name, "--phys-bits", "40"], "--phys-bits"),
        (&["image", "out", "--case", "{}", "--profile", "skylake"], "--profile"),
        (&["image", "out", "--case", name, "--seed", "7"], "--seed"),
        (&["image", "out", "--case", name, "--cases", "7"], "--cases"),
        (&["image", "out", "--case", name, "--sequences", "off"], "--sequences"),
    ] {
        let output = run(arguments).expect_code(2);
        assert!(output.stderr.contains(option), "{arguments:?}: {}", output.stderr);
    }
}

/// `corpus` is offered where it is taken.
#[test]
fn a_command_offers_the_machines_that_it_takes() {
    for (command, is_offered) in
        [("check", true), ("mutants", false), ("record", false), ("explain", false)]
    {
        let help = run(&[command, "--help"]).expect_code(0).stdout;
        let kinds = help.lines().map(str::trim_start).filter(|line| line.starts_with("- corpus:"));
        assert_eq!(kinds.count() == 1, is_offered, "{help}");
    }
    for command in [&["mutants"][..], &["record", "out"], &["explain", "{}"]] {
        let output = run(&[command, &["--machine", "corpus"]].concat()).expect_code(2);
        assert!(output.stderr.contains("possible values: auto, kvm, qemu"), "{}", output.stderr);
        assert!(!output.stderr.contains("corpus,") && !output.stderr.contains(", corpus"));
    }
}

#[test]
fn a_feature_that_qemu_does_not_know_is_bad_usage() {
    require_qemu!();
    for arguments in [["check", "--cases=10"], ["mutants", "--cases=10"]] {
        let output = run(&[&arguments[..], &["--qemu-cpu", "bogus"]].concat()).expect_code(2);
        let line = output.only_line_of_stderr();
        assert!(line.contains("refuses its processor") && line.contains("bogus"), "{line}");
    }
}

/// What a narrower KVM does is found by a probe: it runs as asked, or the probe's result is told.
#[test]
fn a_kvm_enforces_a_smaller_maxphyaddr_or_is_refused() {
    require_kvm!();
    let kvm = ["check", "--machine", "kvm", "--cases", "5000", "--seed", "1", "--json"];
    let own = run(&kvm).json()["machine"]["max_physical_address"].as_u64().expect("a number");

    let narrow = run(&[&kvm[..], &["--phys-bits", "36"]].concat());
    if narrow.code == Some(3) {
        let line = narrow.only_line_of_stderr();
        assert!(line.contains("does not enforce a MAXPHYADDR of 36: bit 36 of a"), "{line}");
    } else {
        let document = narrow.expect_code(0).json();
        assert_eq!(document["machine"]["max_physical_address"], 36);
    }

    let wide = (own + 1).to_string();
    let wide = run(&[&kvm[..], &["--phys-bits", &wide]].concat()).expect_code(3);
    assert!(wide.only_line_of_stderr().contains(&format!("at most {own}")), "{}", wide.stderr);
}

/// The case that a text has drawn, without the line with its name.
fn drawn(output: &ProgramOutput) -> (String, String) {
    let text = output.stdout.strip_prefix("case      ").expect("its name first");
    let (name, walk) = text.split_once("\n\n").expect("the walk after it");
    let walk = walk.split("\nmachine ").next().expect("a part");
    (name.to_owned(), walk.trim_end().to_owned())
}

#[test]
fn a_name_with_its_machine_means_one_case_everywhere() {
    let bare = run(&["explain", "random:4level:7:12345"]).expect_code(2);
    assert!(bare.only_line_of_stderr().contains("on another machine this is another case"));

    let generation = run(&["explain", "random:4level:7:12345@skylake"]).expect_code(0);
    let (name, walk) = drawn(&generation);
    assert!(name.starts_with("random:4level:7:12345@intel46."), "{name}");
    assert_eq!(drawn(&run(&["explain", &name]).expect_code(0)), (name, walk));

    for (name, words) in [
        ("random:4level:7:1@", "after @"),
        ("random:4level:7:1@amd99", "after @"),
        ("random:4level@amd48", "random:MODE:SEED:INDEX"),
    ] {
        let output = run(&["explain", name]).expect_code(2);
        assert!(output.only_line_of_stderr().contains(words), "{}", output.stderr);
    }
}

#[test]
fn a_machine_says_the_whole_name_of_its_cases() {
    require_qemu!();
    for (bits, index) in [("40", "12345"), ("48", "3")] {
        let name = format!("random:4level:7:{index}");
        let options = ["--machine", "qemu", "--phys-bits", bits];
        let here = run(&[&["explain", &name], &options[..]].concat()).expect_code(0);
        let (name, walk) = drawn(&here);
        // Where QEMU has more memory it takes another vendor.
        assert!(name.contains(&format!("{bits}.")), "{name}");
        assert_eq!(drawn(&run(&["explain", &name]).expect_code(0)), (name, walk));
    }
}

/// The commands that a text offers: lines that begin with two blanks and the program's name.
fn commands(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    lines.filter(|line| line.starts_with("crosswalk ")).collect()
}

#[test]
fn commands_that_are_shown_can_be_pasted() {
    let sandbox = Sandbox::new();
    let walker = "my walker's.sh";
    sandbox.file(
        walker,
        "#!/bin/sh\nwhile read -r case; do echo '{\"fault\":{\"vector\":1}}'; done\n",
    );
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(sandbox.path().join(walker), executable).expect("it is ours");

    let mut outputs = vec![
        sandbox.run(&["replay", "--cases", "3000", "--walker", "mutant:M41"]),
        sandbox.run(&["replay", "--cases", "50", "--walker", r#"cmd:"./my walker's.sh""#]),
        sandbox.run(&["replay", "--known", "none"]),
        sandbox.run(&["conformance", "--no-adapters", "--walker", "mutant:M41"]),
        sandbox.run(&["findings", "T20", "T1"]),
    ];
    if support::requirement::has_qemu() {
        let check = ["check", "--machine", "qemu", "--cases", "3000", "--seed", "1"];
        outputs.push(sandbox.run(&[&check[..], &["--known", "none"]].concat()));
    }

    let mut path = program().parent().expect("a directory").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").expect("there is one"));
    for output in outputs {
        assert!(!commands(&output.stdout).is_empty(), "{}{}", output.stdout, output.stderr);
        for line in commands(&output.stdout).into_iter().take(4) {
            let mut shell = Command::new("sh");
            shell.args(["-c", line]).env("PATH", &path).current_dir(sandbox.path());
            let pasted = ProgramOutput::of(&mut shell).expect_code(0);
            assert!(pasted.stdout.contains("\noutcome "), "{line}: {}", pasted.stdout);
        }
    }
}

#[test]
fn counts_seeds_and_times_are_written_as_people_do() {
    let sandbox = Sandbox::new();
    let replay = sandbox.run(&["replay", "--cases", "1e2", "--json"]).expect_code(0).json();
    assert_eq!(replay["totals"]["cases"], 100);

    let random = ["scenario", "random", "--machine", "none", "--operations", "1e2", "--json"];
    let [hex, decimal] = ["0x10", "16"]
        .map(|seed| sandbox.run(&[&random[..], &["--seed", seed]].concat()).expect_code(0).json());
    assert_eq!((&hex["seed"], &hex["runs"]), (&decimal["seed"], &decimal["runs"]));
    let endless = sandbox.run(&[&random[..5], &["1e18"]].concat()).expect_code(2);
    assert!(endless.only_line_of_stderr().contains("--operations: expected at most"));
}

#[test]
fn an_input_without_end_is_refused() {
    require_program!("mkfifo");
    let sandbox = Sandbox::new();
    assert!(sandbox.std_command("mkfifo").arg("pipe").status().expect("it runs").success());
    let entry = |i: u64| format!(r#"{{"address":"{:#x}","value":"0x0"}}"#, 0x44_0000 + 8 * i);
    let entries: Vec<_> = (0..200_000).map(entry).collect();
    let state = r#"{"cr0":"0x80010011","cr3":"0x440000","cr4":"0x620","efer":"0xd00"}"#;
    let case = format!(
        r#"{{"mode":"4level","state":{state},"entries":[{}],"access":{{"kind":"read","address":"0x0","size":1,"ring":0}}}}"#,
        entries.join(",")
    );
    sandbox.file("large.json", case);

    for (arguments, words) in [
        (&["explain", "large.json"][..], "entries: expected at most 65536, found 200000"),
        (&["explain", "/dev/zero"], "expected at most"),
        (&["explain", "pipe"], "nothing writes into this pipe"),
        (&["explain", "."], "Is a directory"),
        (&["replay", "/dev/zero"], "expected lines of at most"),
        (&["replay", "pipe"], "nothing writes into this pipe"),
        (&["replay", "."], "Is a directory"),
        (&["compare", "pipe"], "nothing writes into this pipe"),
        (&["judge", "/dev/zero"], "expected a line of a log within"),
        (&["judge", "pipe"], "nothing writes into this pipe"),
        (&["judge", "."], "Is a directory"),
        (&["merge", "pipe"], "expected a directory"),
        (&["replay", "--cases", "9", "--known", "/dev/zero"], "expected at most"),
        (&["replay", "--cases", "9", "--known", "pipe"], "nothing writes into this pipe"),
        (&["replay", "--cases", "9", "--known", "."], "Is a directory"),
        (&["findings", "--known", "pipe"], "nothing writes into this pipe"),
        (&["image", "out", "--case", "pipe"], "nothing writes into this pipe"),
        (&["image", "out", "--like", "pipe"], "nothing writes into this pipe"),
        (&["record", "out", "--machine", "qemu", "--cases-of", "pipe"], "nothing writes into"),
    ] {
        let output = sandbox.run(arguments).expect_code(2);
        let line = output.only_line_of_stderr();
        assert!(line.contains(words), "{arguments:?}: {line}");
    }
}

/// A pipe whose writer comes later, or writes later.
#[test]
fn a_named_pipe_is_read_once_it_has_a_writer() {
    require_program!("mkfifo");
    let sandbox = Sandbox::new();
    assert!(sandbox.std_command("mkfifo").arg("pipe").status().expect("it runs").success());
    let line = "(sleep 0.2; exec > pipe; sleep 0.2; echo '[]') & \"$crosswalk\" explain pipe";
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(sandbox.path()).env("crosswalk", program());
    let output = ProgramOutput::of(&mut shell).expect_code(2);
    assert!(output.only_line_of_stderr().contains("found an empty array"), "{}", output.stderr);
}

#[test]
fn a_corpus_that_was_cut_off_or_damaged_is_told_as_such() {
    let sandbox = Sandbox::new();
    let bundled = support::repository().join("vmm/corpus/bundled.jsonl.zst");
    let mut bytes = std::fs::read(bundled).expect("the corpus");
    let cut_off = sandbox.file("cut.zst", &bytes[..50_000]);
    bytes[60_000..60_300].fill(0);
    let damaged = sandbox.file("damaged.zst", &bytes);

    for (file, words) in [(cut_off, "cut off"), (damaged, "is damaged")] {
        let output = sandbox.run(&["replay", &file]).expect_code(2);
        let line = output.only_line_of_stderr();
        assert!(line.contains(words) && !line.contains("Error"), "{line}");
    }
}

#[test]
fn the_directory_of_a_report_is_checked_first() {
    let sandbox = Sandbox::new();
    sandbox.file("file", "");
    for arguments in [
        &["replay"][..],
        &["check", "--machine", "corpus"],
        &["check", "--machine", "bochs"],
        &["check", "--machine", "v86"],
    ] {
        let output = sandbox.run(&[arguments, &["--report", "file"]].concat()).expect_code(2);
        let line = output.only_line_of_stderr();
        assert!(line.contains("file: the directory cannot be used"), "{arguments:?}: {line}");
        assert_eq!(output.stdout, "", "{arguments:?}");
    }
}

/// Writes a walker that is a shell script.
fn walker(sandbox: &Sandbox, script: &str) -> &'static str {
    sandbox.file("walker", format!("#!/bin/sh\n{script}\n"));
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(sandbox.path().join("walker"), executable).expect("it is ours");
    "cmd:./walker"
}

/// Each answer may take five seconds, and two that are late are enough.
#[test]
fn a_walker_that_hangs_is_given_up_soon() {
    let sandbox = Sandbox::new();
    let walker = walker(&sandbox, "exec sleep 1000");
    let output = sandbox.run(&["replay", "--cases", "500", "--walker", walker]).expect_code(1);
    assert!(
        output.words_of_stdout().contains("cmd:./walker: 2 without an answer, "),
        "{}",
        output.stdout
    );
}

#[test]
fn a_walker_has_arguments_and_its_errors_are_whole() {
    let sandbox = Sandbox::new();
    let answer = r#"{"translated":{"address":"0x0","entries":[],"ignores":["rights","present","the right ones"]}}"#;
    sandbox.file("two words.sh", format!("while read -r case; do echo '{answer}'; done"));
    let replay = ["replay", "--cases", "50", "--walker", "cmd:sh 'two words.sh'"];
    let output = sandbox.run(&replay).expect_code(1);
    let words = output.words_of_stdout();
    // What is wrong, and what would have been right.
    assert!(words.contains("unknown variant `the right ones`"), "{words}");
    assert!(
        words.contains("expected one of `present`, `reserved`, `rights`, `address`"),
        "{words}"
    );

    let open = run(&["replay", "--walker", "cmd:sh 'two"]).expect_code(2);
    assert!(open.stderr.contains("found a quote without its end"), "{}", open.stderr);
}

/// Whether a process catches SIGINT, by its `/proc/PID/status`.
fn catches_interrupts(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (Signal::SIGINT as u32 - 1) & 1 == 1)
}

#[test]
fn an_interrupted_command_reports_what_it_had() {
    let sandbox = Sandbox::new();
    let walker =
        walker(&sandbox, "while read -r case; do sleep 0.1; echo '{\"silent\":\"\"}'; done");
    let mut commands = vec![
        vec!["replay", "--walker", walker],
        vec!["scenario", "random", "--machine", "none", "--operations", "1e7"],
    ];
    if support::requirement::has_qemu() {
        commands.push(vec!["mutants", "--machine", "qemu", "--for", "1h"]);
        commands.push(vec!["record", "out.jsonl", "--machine", "qemu", "--cases", "1e12"]);
    }

    for arguments in commands {
        let mut child = sandbox
            .std_command(program())
            .args(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        while !catches_interrupts(child.id()) {
            let ended = child.try_wait().expect("a child");
            assert_eq!(ended, None, "{arguments:?} ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(700));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it is ours");

        let output = child.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let is_said = stderr.contains("interrupted")
            || String::from_utf8_lossy(&output.stdout).contains("stopped before its end");
        assert!(is_said, "{arguments:?}: {stderr}");
        match output.status.code() {
            Some(4) => assert!(!output.stdout.is_empty(), "{arguments:?}"),
            // There was nothing to report yet.
            Some(130) => {}
            other => panic!("{arguments:?}: {other:?}: {stderr}"),
        }
    }
}
