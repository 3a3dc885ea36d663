//! What a live guest is asked, and what happens when the other side is not what it should be. The other side is a
//! thread of the test, which is not QEMU: memory is read as the monitor prints it.

use super::*;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use tempfile::TempDir;

const GREETING: &str =
    r#"{"QMP":{"version":{"qemu":{"micro":2,"minor":0,"major":10}},"capabilities":[]}}"#;

const REGISTERS: &str = "\r\nCPU#0\r\nSMM=0\r\nCR0=80000011 CR2=0 CR3=00001000 CR4=00000000\r\n\
                         EFER=0000000000000000\r\n";

const LAYOUT: &str = "FlatView #0\n AS \"memory\", root: system\n  \
                      0000000000000000-0000000000ffffff (prio 0, ram): pc.ram\n";

/// A monitor that answers as a function says: `None` closes the connection.
struct FakeMonitor {
    directory: TempDir,
    thread: JoinHandle<Vec<String>>,
}

impl FakeMonitor {
    fn new(
        greeting: &'static str,
        answer: impl FnMut(&str) -> Option<Value> + Send + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("qmp")).unwrap();
        let thread = thread::spawn(move || serve(&listener, greeting, answer));
        Self { directory, thread }
    }

    /// A guest in 32-bit paging whose tables are empty.
    fn of_guest(mut other: impl FnMut(&str) -> Option<Value> + Send + 'static) -> Self {
        let mut state = "running";
        Self::new(GREETING, move |command| {
            match command {
                "stop" => state = "paused",
                "cont" => state = "running",
                _ => {}
            }
            if let Some(answer) = other(command) {
                return (answer != json!("close")).then_some(answer);
            }
            Some(json!({ "return": match command {
                "query-status" => json!({ "status": state }),
                "query-cpus-fast" => json!([{ "thread-id": 1 }]),
                "info registers -a" => json!(REGISTERS),
                "info mtree -f" => json!(LAYOUT),
                "info tlb" => json!("PG disabled"),
                "gpa2hva 0x0" => json!("Host virtual address for 0x0 (pc.ram) is 0x1000\r\n"),
                line if line.starts_with("xp") => json!(zeros(line)),
                _ => json!({}),
            }}))
        })
    }

    fn address(&self) -> MonitorAddress {
        MonitorAddress::Unix(self.directory.path().join("qmp"))
    }

    /// The commands that it was given.
    fn commands(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn serve(
    listener: &UnixListener,
    greeting: &str,
    mut answer: impl FnMut(&str) -> Option<Value>,
) -> Vec<String> {
    let (mut stream, _) = listener.accept().unwrap();
    let mut commands = Vec::new();
    let say =
        |stream: &mut UnixStream, line: &str| stream.write_all(format!("{line}\n").as_bytes());
    if say(&mut stream, greeting).is_err() {
        return commands;
    }

    let reader = BufReader::new(stream.try_clone().unwrap());
    for line in reader.lines().map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).unwrap();
        let line = request["arguments"]["command-line"].as_str();
        let command = line.or(request["execute"].as_str()).unwrap().to_owned();
        let answer = answer(&command);
        commands.push(command);

        let Some(mut answer) = answer else { return commands };
        if answer.is_object() && answer.get("id").is_none() {
            answer["id"] = request["id"].clone();
        }
        // An event precedes each answer.
        let _ = say(&mut stream, r#"{"event":"STOP","timestamp":{}}"#);
        let text = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
        let _ = say(&mut stream, &text);
    }
    commands
}

/// What `xp /COUNTgx ADDRESS` prints of memory that is all zero.
fn zeros(line: &str) -> String {
    let mut words = line.split_whitespace().skip(1);
    let count = words.next().unwrap().trim_matches(|letter| "/gx".contains(letter));
    let count: u64 = count.parse().unwrap();
    let at = u64::from_str_radix(words.next().unwrap().trim_start_matches("0x"), 16).unwrap();
    let lines = (0..count).map(|word| format!("{:016x}: {:#018x}", at + 8 * word, 0));
    lines.collect::<Vec<_>>().join("\r\n")
}

const BEGINNING: [&str; 6] = [
    "qmp_capabilities",
    "query-status",
    "stop",
    "query-status",
    "info registers -a",
    "info mtree -f",
];

#[test]
fn a_guest_that_ran_is_stopped_and_runs_again() {
    let monitor = FakeMonitor::of_guest(|_| None);
    let guest = LiveGuest::connect(&monitor.address()).unwrap();
    assert_eq!(
        (guest.version(), guest.run_state(), guest.cpus()[0].cr3),
        ("10.0.2", "running", 0x1000)
    );
    // The process of the socket is this one.
    assert!(matches!(guest.access(), MemoryAccess::Monitor(why) if why.contains("is not QEMU")));

    let mut bytes = [1; 0x1003];
    guest.memory().read(mmu_core::PhysAddr::new(0x1ffd), &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    guest.resume().unwrap();
    drop(guest);

    let commands = monitor.commands();
    assert_eq!(commands[..6], BEGINNING);
    let read = commands.iter().filter(|command| command.starts_with("xp"));
    assert_eq!(read.collect::<Vec<_>>(), ["xp /512gx 0x1ff8", "xp /1gx 0x2ff8"]);
    assert_eq!(commands[commands.len() - 3..], ["query-status", "cont", "query-status"]);
}

#[test]
fn a_cpu_in_system_management_mode_is_said_to_be() {
    let monitor = FakeMonitor::of_guest(|command| {
        let registers = REGISTERS.replace("SMM=0", "SMM=1");
        (command == "info registers -a").then(|| json!({ "return": registers }))
    });
    let guest = LiveGuest::connect(&monitor.address()).unwrap();
    let state = guest.control_state(&StateOptions::default()).unwrap();
    assert_eq!(state.derived.len(), 1);
    assert!(state.derived[0].contains("system-management mode"), "{:?}", state.derived);
}

#[test]
fn a_guest_that_did_not_run_is_left_as_it_is() {
    for state in ["paused", "prelaunch", "postmigrate", "shutdown", "internal-error", "suspended"] {
        let monitor = FakeMonitor::of_guest(move |command| {
            (command == "query-status").then(|| json!({ "return": { "status": state } }))
        });
        let guest = LiveGuest::connect(&monitor.address()).unwrap();
        assert_eq!(guest.run_state(), state);
        drop(guest);
        let commands = monitor.commands();
        assert!(!commands.iter().any(|command| command == "stop" || command == "cont"), "{state}");
    }
}

#[test]
fn a_guest_that_is_still_arriving_is_refused() {
    let monitor = FakeMonitor::of_guest(|command| {
        (command == "query-status").then(|| json!({ "return": { "status": "inmigrate" } }))
    });
    let error = LiveGuest::connect(&monitor.address()).unwrap_err().to_string();
    assert!(error.contains("not complete yet: QEMU's run state is inmigrate"), "{error}");
    assert_eq!(monitor.commands(), ["qmp_capabilities", "query-status"]);
}

#[test]
fn a_panic_and_an_error_let_the_guest_run_again() {
    let monitor = FakeMonitor::of_guest(|_| None);
    let guest = LiveGuest::connect(&monitor.address()).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        // All of it, not only what is used.
        let guest = guest;
        let _monitor = guest.monitor.lock();
        panic!("while it is stopped");
    }));
    assert!(panicked.is_err());
    assert!(monitor.commands().contains(&"cont".to_owned()));

    let monitor = FakeMonitor::of_guest(|command| {
        (command == "info registers -a").then(|| json!({ "return": "CPU#0 CR0=x" }))
    });
    let error = LiveGuest::connect(&monitor.address()).unwrap_err().to_string();
    assert!(error.ends_with("expected the value of CR0 among the registers of CPU 0"), "{error}");
    assert!(monitor.commands().contains(&"cont".to_owned()));
}

#[test]
fn what_stopped_the_guest_meanwhile_has_the_last_word() {
    let mut asked = 0;
    let monitor = FakeMonitor::of_guest(move |command| {
        asked += u32::from(command == "query-status");
        (asked == 3).then(|| json!({ "return": { "status": "shutdown" } }))
    });
    LiveGuest::connect(&monitor.address()).unwrap().resume().unwrap();
    assert!(!monitor.commands().contains(&"cont".to_owned()));
}

#[test]
fn a_guest_that_stays_stopped_is_the_error() {
    let monitor = FakeMonitor::of_guest(|command| {
        (command == "cont").then(|| json!({ "error": { "desc": "no\nway" } }))
    });
    let guest = LiveGuest::connect(&monitor.address()).unwrap();
    let error = guest.resume().unwrap_err().to_string();
    assert!(error.contains("cannot be resumed: ") && error.contains("`cont`: no way"), "{error}");

    // The error that came first is not forgotten.
    let monitor = FakeMonitor::of_guest(|command| match command {
        "info mtree -f" => Some(json!({ "return": "" })),
        "cont" => Some(json!("close")),
        _ => None,
    });
    let error = LiveGuest::connect(&monitor.address()).unwrap_err().to_string();
    assert!(error.contains("expected a view"), "{error}");
    assert!(error.contains("QEMU has closed the connection"), "{error}");
}

#[test]
fn what_is_not_a_monitor_is_one_error() {
    let refused: [(&'static str, Option<Value>, &str); 8] = [
        ("SSH-2.0-x", None, "the greeting: expected JSON"),
        ("[]", None, "the greeting: expected an object"),
        (r#"{"QMP":{}}"#, None, "expected that of QEMU's monitor protocol"),
        (GREETING, None, "QEMU has closed the connection"),
        (GREETING, Some(json!("{\"return\"")), "qmp_capabilities: expected JSON"),
        (GREETING, Some(json!({ "return": {}, "id": 77 })), "expected QEMU's answer"),
        (GREETING, Some(json!({ "id": 1 })), "expected an answer with a result"),
        (GREETING, Some(json!({ "return": {} })), "query-status: expected a run state"),
    ];
    for (greeting, answer, words) in refused {
        let monitor = FakeMonitor::new(greeting, move |_| answer.clone());
        let error = LiveGuest::connect(&monitor.address()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Another program is connected: the second connection waits in the backlog. The limit is that of the program.
#[test]
fn a_monitor_that_does_not_greet_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qmp");
    let _listener = UnixListener::bind(&path).unwrap();
    let start = Instant::now();
    let error = LiveGuest::connect(&MonitorAddress::Unix(path)).unwrap_err().to_string();
    assert!(error.contains("is another one connected?"), "{error}");
    assert!(start.elapsed() >= Duration::from_secs(4), "it does wait");
}

#[test]
fn memory_that_is_not_printed_cannot_be_read() {
    let monitor = FakeMonitor::of_guest(|command| {
        command.starts_with("xp").then(|| json!({ "return": "0000: Cannot access memory\r\n" }))
    });
    let guest = LiveGuest::connect(&monitor.address()).unwrap();
    let mut bytes = [0; 8];
    let error = guest.memory().read(mmu_core::PhysAddr::new(0), &mut bytes).unwrap_err();
    assert!(error.to_string().contains("cannot be read at 0x0"), "{error}");
    let outside = guest.memory().read(mmu_core::PhysAddr::new(0x100_0000), &mut bytes);
    assert!(outside.unwrap_err().to_string().contains("no memory at physical address"));
}
