//! Live guests of QEMU with page tables made by hand: QEMU loads the memory, and its gdb stub sets the control
//! registers. No code makes them; what runs is a loop that counts in memory.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time limit for QEMU to start, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the memory begins that QEMU loads.
const LOADED: u64 = 0x1000;

/// CR0 with PE, ET, WP and PG.
const CR0: u64 = 0x8001_0011;

/// The registers and the memory of a guest.
#[derive(Clone, Debug)]
pub struct Tables {
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// Number of bytes of an entry.
    pub entry_bytes: usize,
    /// The entries, each with its physical address, from 0x1000 to 0xffff.
    pub entries: Vec<(u64, u64)>,
    /// Other bytes, each with their physical address.
    pub code: Vec<(u64, Vec<u8>)>,
}

impl Tables {
    fn memory(&self) -> Vec<u8> {
        let mut memory = vec![0; 0xf000];
        let mut write = |at: u64, bytes: &[u8]| {
            let at = (at - LOADED) as usize;
            memory[at..at + bytes.len()].copy_from_slice(bytes);
        };
        for (at, entry) in &self.entries {
            write(*at, &entry.to_le_bytes()[..self.entry_bytes]);
        }
        for (at, bytes) in &self.code {
            write(*at, bytes);
        }
        memory
    }
}

/// A QEMU with such a guest. It ends when this is dropped.
#[derive(Debug)]
pub struct TestGuest {
    directory: TempDir,
    qemu: Child,
}

impl TestGuest {
    /// Starts a QEMU with the tables, and options for memory or other monitors. The guest has not run yet.
    pub fn start(qemu: &Path, tables: &Tables, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be created");
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("tables"), tables.memory()).expect("the memory can be written");

        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(qemu).args([
            "-accel",
            "tcg",
            "-nodefaults",
            "-S",
        ]);
        command.args(["-display", "none", "-cpu", "max", "-m", "16", "-device"]);
        command
            .arg(format!("loader,file={},addr={LOADED:#x},force-raw=on", path("tables").display()));
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", path("qmp").display()));
        command.arg("-gdb").arg(format!("unix:{},server=on,wait=off", path("gdb").display()));
        command.args(options).stdout(Stdio::null()).stderr(Stdio::inherit());
        let guest = Self { qemu: command.spawn().expect("setpriv starts"), directory };

        let mut debugger = Debugger::connect(&guest.path("gdb"));
        for (number, value) in [(32, tables.efer), (29, tables.cr3), (30, tables.cr4), (27, CR0)] {
            debugger.set_register(number, value);
        }
        guest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory of its sockets.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The argument that names it.
    pub fn name(&self) -> String {
        format!("qmp:{}", self.path("qmp").display())
    }

    /// The number of QEMU's process: `setpriv` has become it.
    pub fn process(&self) -> u32 {
        self.qemu.id()
    }

    /// Executes a command of the monitor, on a connection of its own.
    pub fn execute(&self, command: &str, arguments: &Value) -> Value {
        let stream = connect(&self.path("qmp"));
        let mut answers = BufReader::new(stream.try_clone().expect("a socket")).lines();
        let mut ask = |request: Value| {
            (&stream).write_all(format!("{request}\n").as_bytes()).expect("QEMU reads");
            loop {
                let line = answers.next().expect("an answer").expect("text");
                let answer: Value = serde_json::from_str(&line).expect("JSON");
                if answer.get("return").is_some() {
                    return answer["return"].clone();
                }
                assert!(answer.get("error").is_none(), "{request}: {answer}");
            }
        };
        ask(json!({ "execute": "qmp_capabilities" }));
        ask(json!({ "execute": command, "arguments": arguments }))
    }

    /// The run state.
    pub fn run_state(&self) -> String {
        self.execute("query-status", &json!({}))["status"].as_str().expect("a name").to_owned()
    }

    /// Lets the guest run.
    pub fn run(&self) {
        self.execute("cont", &json!({}));
    }

    /// The word of 64 bits at a physical address.
    pub fn word(&self, at: u64) -> u64 {
        let arguments = json!({ "command-line": format!("xp /1gx {at:#x}") });
        let printed = self.execute("human-monitor-command", &arguments);
        let (_, digits) = printed.as_str().and_then(|text| text.rsplit_once("0x")).expect("a word");
        u64::from_str_radix(digits.trim(), 16).expect("hex")
    }

    /// Asserts that the guest runs: QEMU says so, and a word changes that it counts in.
    #[track_caller]
    pub fn expect_progress(&self, counter: u64) {
        assert_eq!(self.run_state(), "running");
        let before = self.word(counter);
        let start = Instant::now();
        while self.word(counter) == before {
            assert!(start.elapsed() < PATIENCE, "the guest does not run");
        }
    }
}

impl Drop for TestGuest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Connects to a socket that QEMU makes when it starts.
fn connect(path: &Path) -> UnixStream {
    let start = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{}: {error}", path.display()),
        }
        sleep(Duration::from_millis(20));
    }
}

/// A connection to the gdb stub, which knows the control registers once it was asked for their list.
struct Debugger(UnixStream);

impl Debugger {
    fn connect(path: &Path) -> Self {
        let mut debugger = Self(connect(path));
        debugger.ask("qSupported:xmlRegisters=i386");
        debugger.ask("qXfer:features:read:target.xml:0,ffb");
        debugger
    }

    fn ask(&mut self, packet: &str) -> String {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        self.0.write_all(format!("${packet}#{sum:02x}").as_bytes()).expect("the stub reads");

        let mut answer = Vec::new();
        let mut byte = [0];
        let end = loop {
            self.0.read_exact(&mut byte).expect("the stub answers");
            answer.push(byte[0]);
            // Two digits follow.
            if let Some(end) = answer.iter().position(|byte| *byte == b'#')
                && answer.len() == end + 3
            {
                break end;
            }
        };
        self.0.write_all(b"+").expect("the stub reads");
        let answer = String::from_utf8_lossy(&answer[..end]).into_owned();
        answer.split_once('$').map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    fn set_register(&mut self, number: u32, value: u64) {
        // The lowest byte first.
        let bytes = format!("{:016x}", value.swap_bytes());
        assert_eq!(self.ask(&format!("P{number:x}={bytes}")), "OK", "register {number}");
    }
}
