//! `walk`, `maps`, `rmap`, `diff` and `audit` on live guests of QEMU, of each version that is there. The guest goes on
//! as before, whatever happens to the program.

use crosswalk_test_support as support;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::live_guest::{Tables, TestGuest};
use support::memory_image::{SmallMemory, write_dump};
use support::{Sandbox, count, require_qemu, run};

/// Where the guest that runs counts.
const COUNTER: u64 = 0x6000;

/// Time limit for the program to catch signals.
const PATIENCE: Duration = Duration::from_secs(120);

/// The QEMUs that are there.
fn qemus() -> Vec<PathBuf> {
    let installed = PathBuf::from("qemu-system-x86_64");
    [Some(installed), support::requirement::second_qemu()].into_iter().flatten().collect()
}

/// Code that counts in the word at 0x1000 for ever: `inc word [0x1000]; jmp` back, of 16 bits, as CS is after a reset.
/// It is at 0xfff0 of the last 64 KiB below 4 GiB, where a reset starts.
fn counting(page: u64) -> (u64, Vec<u8>) {
    (page + 0xff0, vec![0xff, 0x06, 0x00, 0x10, 0xeb, 0xfa])
}

/// 4-level paging: 0x1000 is the counter, and the last page below 4 GiB the code.
fn running_tables() -> Tables {
    let table = |from: u64, index: u64, to: u64| (from + 8 * index, to | 0x67);
    Tables {
        cr3: 0x1000,
        cr4: 0x20,
        efer: 0xd00,
        entry_bytes: 8,
        entries: vec![
            table(0x1000, 0, 0x2000),
            table(0x2000, 0, 0x3000),
            table(0x3000, 0, 0x4000),
            table(0x4000, 1, COUNTER),
            table(0x2000, 3, 0x8000),
            table(0x8000, 511, 0x9000),
            table(0x9000, 511, 0x5000),
        ],
        code: vec![counting(0x5000)],
    }
}

/// The same beside 510 entries of the root that point to it: tables without end.
fn bomb_tables() -> Tables {
    let mut tables = running_tables();
    tables.entries.extend((1..511).map(|index| (0x1000 + 8 * index, 0x1067)));
    tables
}

fn running_guest(qemu: &Path, tables: &Tables, options: &[&str]) -> TestGuest {
    let guest = TestGuest::start(qemu, tables, options);
    guest.run();
    guest.expect_progress(COUNTER);
    guest
}

#[test]
fn each_command_reads_a_running_guest_and_lets_it_go_on() {
    require_qemu!();
    for qemu in qemus() {
        let guest = running_guest(&qemu, &running_tables(), &[]);
        let name = guest.name();

        let maps = run(&["maps", &name, "--json"]).expect_code(0).json();
        guest.expect_progress(COUNTER);
        let pages: Vec<_> = maps["mappings"].as_array().expect("a list").iter().collect();
        let addresses: Vec<_> =
            pages.iter().map(|page| (&page["first"], &page["physical"])).collect();
        let expected = [(json!("0x1000"), json!("0x6000")), (json!("0xfffff000"), json!("0x5000"))];
        assert_eq!(addresses, expected.each_ref().map(|(first, physical)| (first, physical)));

        let image = &maps["image"];
        assert_eq!((&image["file"], &image["format"]), (&Value::Null, &Value::Null));
        assert_eq!(image["guest"]["monitor"], name);
        assert_eq!(image["guest"]["run_state"], "running");
        assert_eq!(image["guest"]["memory_access"], "process");
        assert_eq!(image["guest"]["process"], guest.process());
        let registers =
            json!({ "cr0": "0x80010011", "cr3": "0x1000", "cr4": "0x20", "efer": "0xd00" });
        assert_eq!(image["registers"], registers);
        let origins =
            json!({ "cr0": "monitor", "cr3": "monitor", "cr4": "monitor", "efer": "monitor" });
        assert_eq!(image["register_origins"], origins);
        assert_eq!(image["derived"], json!([]));

        let walk = run(&["walk", &name, "0x1008", "--json"]).expect_code(0).json();
        assert_eq!(walk["physical"], "0x6008");
        let rmap = run(&["rmap", &name, "0x6010", "--json"]).expect_code(0).json();
        assert_eq!(rmap["led_by"][0]["address"], "0x1010");
        let audit = run(&["audit", &name, "--json"]).expect_code(1).json();
        assert_eq!(audit["checks"][0], json!({ "check": "wx", "count": 2 }));
        run(&["diff", &name, &name]).expect_code(0);
        let moved =
            run(&["diff", &name, &name, "--cr3-b", "0x2000", "--json"]).expect_code(1).json();
        assert_eq!(moved["images"][1]["register_origins"]["cr3"], "options");
        guest.expect_progress(COUNTER);

        let text = run(&["maps", &name]).expect_code(0).expect_80_columns().words_of_stdout();
        assert!(text.contains("run state: running, stopped while its tables were read"), "{text}");
        assert!(text.contains("registers: as the monitor prints them"), "{text}");
    }
}

/// What is drawn and coloured of an image is so of a guest.
#[test]
fn the_tree_and_the_page_are_those_of_a_running_guest() {
    require_qemu!();
    let guest = running_guest(Path::new("qemu-system-x86_64"), &running_tables(), &[]);
    let name = guest.name();

    let tree = run(&["maps", &name, "--tree", "--json"]).expect_code(0).json();
    assert_eq!(tree["image"]["guest"]["run_state"], "running");
    let tables =
        tree["tree"]["tables"].as_array().expect("a list").iter().map(|table| &table["physical"]);
    let expected = ["0x1000", "0x2000", "0x3000", "0x4000", "0x8000", "0x9000"];
    assert_eq!(tables.collect::<Vec<_>>(), expected);
    guest.expect_progress(COUNTER);

    let page = guest.directory().join("page.html").display().to_string();
    let written = run(&["maps", &name, "--html", &page]).expect_code(0);
    assert!(written.stdout.contains(": 2 ranges, 6 tables, 2 findings of audit."), "{written:?}");
    let html = std::fs::read_to_string(&page).expect("the page is there");
    assert!(html.contains("running, stopped while its tables were read"), "{html}");
    assert!(html.contains(&format!("that of process {}", guest.process())), "{html}");
    guest.expect_progress(COUNTER);

    for command in [&["maps", &name][..], &["maps", &name, "--tree"], &["walk", &name, "0x1000"]] {
        let coloured = run(&[command, &["--color", "always"]].concat()).expect_code(0).stdout;
        assert!(coloured.contains("\u{1b}["), "{command:?}: {coloured}");
    }
    guest.expect_progress(COUNTER);
}

/// A dump of before, compared with the guest of now.
#[test]
fn an_image_of_before_is_compared_with_the_guest_of_now() {
    require_qemu!();
    let guest = running_guest(Path::new("qemu-system-x86_64"), &running_tables(), &[]);
    let dump = guest.directory().join("before.elf").display().to_string();
    let arguments = json!({ "paging": false, "protocol": format!("file:{dump}") });
    guest.execute("dump-guest-memory", &arguments);

    let same = run(&["diff", &dump, &guest.name(), "--flags", "--json"]).expect_code(0).json();
    assert_eq!(same["images"][0]["format"], "elf");
    assert_eq!(same["images"][1]["guest"]["run_state"], "running");
    guest.expect_progress(COUNTER);
}

/// Tables by hand in four modes, about which the monitor of QEMU 7.2 is wrong. Later versions may be right: then there
/// are fewer differences, but never one without a reason. No code has run, and none does afterwards.
#[test]
fn what_the_monitor_of_a_live_guest_gets_wrong_is_named() {
    const XD: u64 = 1 << 63;

    require_qemu!();
    let four_level = vec![
        (0x1000, 0x2067),
        (0x1008, 0x20e7),
        (0x2000, 0x3067),
        (0x3000, 0x4067),
        (0x3008, 0x4020_20e7),
        (0x4000, 3 << 50 | 0x5067),
        (0x4008, XD | 0x6067),
        (0x4010, 0x7025),
    ];
    let five_level = four_level.iter().filter(|(at, _)| *at != 0x1008 && *at != 0x4010).copied();
    let five_level = five_level.chain([(0x8000, 0x1067)]).collect();
    let pae = vec![
        (0x1000, 0x2001),
        (0x2000, 0x3067),
        (0x2008, XD | 0x20_00e7),
        (0x3000, XD | 0x5067),
        (0x3008, 0x6067),
    ];
    let plain = vec![(0x1000, 0x2067), (0x1004, 0x40_60e7), (0x2000, 0x5067)];
    let tables = |cr3, cr4, efer, entry_bytes, entries| Tables {
        cr3,
        cr4,
        efer,
        entry_bytes,
        entries,
        code: Vec::new(),
    };
    let known = [
        (
            "4level",
            tables(0x1000, 0x20, 0xd00, 8, four_level),
            vec![("top-bits-dropped", 1), ("reserved-listed", 5)],
        ),
        (
            "5level",
            tables(0x8000, 0x1020, 0xd00, 8, five_level),
            vec![("top-bits-dropped", 1), ("reserved-listed", 1)],
        ),
        ("pae", tables(0x1000, 0x20, 0x800, 8, pae), vec![("xd-in-address", 2)]),
        ("32bit", tables(0x1000, 0x10, 0, 4, plain), vec![("high-bits-ignored", 1)]),
    ];

    for qemu in qemus() {
        for (mode, tables, expected) in &known {
            let guest = TestGuest::start(&qemu, tables, &[]);
            let name = guest.name();
            let output = run(&["maps", &name, "--check", &name, "--json"]);
            let document = output.json();
            assert_eq!(document["image"]["mode"], *mode);
            assert_eq!(document["image"]["guest"]["run_state"], "prelaunch");

            let differences = document["differences"].as_array().expect("a list");
            let found: Vec<_> = differences
                .iter()
                .map(|found| (found["difference"].as_str().expect("a name"), count(found, "count")))
                .collect();
            if document["image"]["guest"]["qemu"].as_str().is_some_and(|of| of.starts_with("7.2."))
            {
                assert_eq!(&found, expected, "{mode}");
            } else {
                assert!(found.iter().all(|difference| expected.contains(difference)), "{found:?}");
            }
            assert!(count(&document, "agreed") > 0);
            assert_eq!(output.code, Some(i32::from(!found.is_empty())));
            assert_eq!(guest.run_state(), "prelaunch");
        }
    }
}

/// Without the process there is the shared file of the memory, and without that what the monitor prints. A TCP
/// connection does not say whose it is.
#[test]
fn memory_is_read_in_three_ways_with_the_same_result() {
    require_qemu!();
    for qemu in qemus() {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a port").port();
        let monitor = format!("tcp:127.0.0.1:{port},server=on,wait=off");
        let sandbox = Sandbox::new();
        let file = sandbox.path().join("ram");
        let shared =
            format!("memory-backend-file,id=ram,size=16M,share=on,mem-path={}", file.display());
        let tcp = format!("qmp:127.0.0.1:{port}");
        let maps = |name: &str| run(&["maps", name, "--json"]).expect_code(0).json();

        let guest = running_guest(&qemu, &running_tables(), &["-qmp", &monitor]);
        let expected = maps(&guest.name())["mappings"].clone();
        let printed = maps(&tcp);
        assert_eq!(printed["image"]["guest"]["memory_access"], "monitor");
        assert_eq!(printed["mappings"], expected);
        guest.expect_progress(COUNTER);
        drop(guest);

        let options = ["-object", &shared, "-machine", "memory-backend=ram", "-qmp", &monitor];
        let guest = running_guest(&qemu, &running_tables(), &options);
        let of_file = maps(&tcp);
        assert_eq!(of_file["image"]["guest"]["memory_access"], "shared-file");
        assert_eq!(of_file["image"]["guest"]["shared_file"], file.display().to_string());
        assert_eq!(of_file["mappings"], expected);

        // Another file has its name now.
        std::fs::remove_file(&file).expect("the file is there");
        std::fs::write(&file, vec![0x55; 16 << 20]).expect("there is room");
        let lie = run(&["maps", &tcp]).expect_code(2);
        assert!(lie.only_line_of_stderr().contains("it is of another guest"), "{}", lie.stderr);
        guest.expect_progress(COUNTER);
    }
}

#[test]
fn an_error_after_the_guest_is_stopped_lets_it_go_on() {
    require_qemu!();
    let guest = running_guest(Path::new("qemu-system-x86_64"), &running_tables(), &[]);
    let name = guest.name();
    for (arguments, words) in [
        (vec!["maps", &name, "--cpu", "7"], "it has the registers of 1 CPU,"),
        (vec!["maps", &name, "--format", "elf"], "not for live guests"),
        (vec!["maps", &name, "--range", "0x0-0x800000000000"], "is not canonical"),
        (vec!["maps", &name, "--check", &name, "--cr3", "0x2000"], "leave out --cr3"),
        (vec!["maps", &name, "--check", "info-tlb:missing"], "missing: cannot be read"),
        (vec!["walk", &name, "0x100000000", "--efer", "0"], "expected an address of 32 bits"),
        (vec!["maps", &name, "--cr4", "0x400000000"], "no processor can be in this state"),
        (vec!["maps", &name, "--html", "-"], "expected the name of a file"),
        (vec!["diff", &name, "missing.elf"], "missing.elf: opening it"),
        (vec!["diff", &name, &name, "--cpu-b", "1"], "not those of CPU 1"),
    ] {
        let output = run(&arguments).expect_code(2);
        assert!(output.only_line_of_stderr().contains(words), "{arguments:?}: {}", output.stderr);
        assert_eq!(output.stdout, "");
        guest.expect_progress(COUNTER);
    }
}

/// A pager of which the user has read one letter: the guest runs before anything is printed.
#[test]
fn a_guest_does_not_wait_for_a_reader() {
    require_qemu!();
    let guest = running_guest(Path::new("qemu-system-x86_64"), &bomb_tables(), &[]);
    let sandbox = Sandbox::new();
    let mut command = sandbox.std_command(support::program());
    // More lines than a pipe takes.
    command.args(["maps", &guest.name(), "--pages", "--repeats", "100"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");

    let mut reader = child.stdout.take().expect("a pipe");
    let first = reader.read_exact(&mut [0]);
    assert!(first.is_ok(), "nothing was printed: {:?}", child.wait_with_output());
    guest.expect_progress(COUNTER);
    assert!(child.try_wait().expect("its state").is_none(), "it waits for the reader");

    drop(reader);
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// Starts the program, sends it signals once it catches the first, and returns its output. It has tables without
/// end to look through.
fn interrupt(arguments: &[&str], signals: &[Signal]) -> (Option<i32>, String) {
    let sandbox = Sandbox::new();
    let mut command = sandbox.std_command(support::program());
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let process = Pid::from_raw(child.id().cast_signed());

    let start = Instant::now();
    let bit = 1_u64 << (signals[0] as i32 - 1);
    loop {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        if caught.is_some_and(|mask| mask & bit != 0) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{arguments:?} does not catch {signals:?}");
    }

    // It has all of them before it goes on.
    kill(process, Signal::SIGSTOP).expect("it runs");
    for signal in signals {
        kill(process, *signal).expect("it is there");
    }
    kill(process, Signal::SIGCONT).expect("it is there");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{arguments:?}");
    (ended.status.code(), String::from_utf8(ended.stdout).expect("text"))
}

/// The commands that look through all tables, with what they say when they are interrupted.
fn endless<'a>(name: &'a str) -> [(Vec<&'a str>, &'static str); 4] {
    let forever = ["--repeats", "18446744073709551615"];
    let command = |words: &[&'a str]| [words, &forever[..]].concat();
    [
        (command(&["maps", name]), "Interrupted: this is what was found until then."),
        (command(&["rmap", name, "0x1000"]), "Interrupted: this is what was found until then."),
        (command(&["diff", name, name]), "What was looked at maps the same, and that is not"),
        (command(&["audit", name, "--checks", "wx"]), "Not everything was looked at"),
    ]
}

#[test]
fn after_a_signal_a_live_guest_goes_on_and_the_exit_code_is_4() {
    require_qemu!();
    for qemu in qemus() {
        let guest = running_guest(&qemu, &bomb_tables(), &[]);
        for (arguments, words) in endless(&guest.name()) {
            let once = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].map(|signal| vec![signal]);
            let more = [vec![Signal::SIGINT, Signal::SIGTERM], vec![Signal::SIGQUIT]];
            for signals in once.iter().chain(&more) {
                let (code, stdout) = interrupt(&arguments, signals);
                assert_eq!(code, Some(4), "{arguments:?} {signals:?}: {stdout}");
                assert!(stdout.contains(words), "{arguments:?}: {stdout}");
                guest.expect_progress(COUNTER);
            }
        }

        // The monitor would list the same pages again and again.
        let name = guest.name();
        let refused = run(&["maps", &name, "--check", &name]).expect_code(2);
        assert!(refused.stderr.contains("tables that point to themselves"), "{}", refused.stderr);
        guest.expect_progress(COUNTER);
    }
}

/// `audit` has found something, and so has `diff` beside the other root.
#[test]
fn after_a_signal_an_image_is_incomplete_whatever_was_found() {
    let sandbox = Sandbox::new();
    let mut memory = SmallMemory::new(0x2000);
    for index in 0..512 {
        memory.entry(0x1000 + 8 * index, 0x1067);
    }
    let image = sandbox.path().join("bomb.elf");
    write_dump(&image, &memory);
    let image = image.display().to_string();

    for (arguments, words) in endless(&image) {
        let (code, stdout) = interrupt(&arguments, &[Signal::SIGINT]);
        assert_eq!(code, Some(4), "{arguments:?}: {stdout}");
        assert!(stdout.contains(words), "{arguments:?}: {stdout}");
    }

    // The picture and the findings have seen the same, and nothing that was not looked at passes.
    let page = sandbox.path().join("page.html").display().to_string();
    let arguments = ["maps", &image, "--html", &page, "--repeats", "18446744073709551615"];
    let (code, stdout) = interrupt(&arguments, &[Signal::SIGINT]);
    assert!(code == Some(4) && stdout.contains("Interrupted"), "{code:?}: {stdout}");
    let page = std::fs::read_to_string(&page).expect("a page");
    let is_found = page.contains(r#"<details class="finding" id="found-wx""#);
    assert_eq!(page.contains("found: wx"), is_found, "{page}");
    assert!(page.contains("none in what was looked at: <span"), "{page}");
    assert!(page.contains("Not everything was looked at: it was interrupted"), "{page}");
    assert!(!page.contains("&#10003;") && !page.contains("0 of 512 present"), "{page}");

    let json = ["audit", &image, "--json", "--checks", "wx", "--repeats", "18446744073709551615"];
    let (code, stdout) = interrupt(&json, &[Signal::SIGINT]);
    let document: Value = serde_json::from_str(&stdout).expect("one document");
    assert_eq!((code, &document["complete"]), (Some(4), &json!(false)));
}

#[test]
fn what_is_no_monitor_is_one_line() {
    let sandbox = Sandbox::new();
    let path = sandbox.path().join("socket");
    let _listener = UnixListener::bind(&path).expect("a socket");
    let silent = format!("qmp:{}", path.display());
    let file = format!("qmp:{}", support::repository().join("README.md").display());
    for (name, words) in [
        ("qmp:missing", "qmp:missing: connecting to QEMU's monitor: No such file"),
        (&*file, "connecting to QEMU's monitor: Connection refused"),
        (&*silent, "is another one connected?"),
        ("qmp:", "qmp:: opening it: No such file"),
    ] {
        let output = run(&["maps", name]).expect_code(2);
        assert!(output.only_line_of_stderr().contains(words), "{name}: {}", output.stderr);
    }
}
