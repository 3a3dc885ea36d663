//! `--live`: what other terminals see of the guest of KVM that a run has, and that the run is none the worse for it.

use crate::guest_dumps::{case_that_is_not_run, four_level};
use crate::jobs::without_chance;
use crosswalk_test_support as support;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use support::{ProgramOutput, Sandbox, count, require_kvm, require_qemu, run, skip};

/// Time limit for a run to make its socket, and for what it does, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run with `--live`, in a directory of its own. It is killed when this is dropped.
struct LiveRun {
    sandbox: Sandbox,
    child: Option<Child>,
}

impl LiveRun {
    /// Starts it, and waits for its socket.
    fn start(sandbox: Sandbox, arguments: &[&str]) -> Self {
        // The tests may have been started by nohup, and a run leaves a signal ignored that is.
        let mut command = sandbox.std_command("env");
        command.arg("--default-signal=HUP").arg(support::program());
        command.args(arguments).args(["--live", "guest"]);
        // A pipe that is not read would hold it up.
        let file = |name| File::create(sandbox.path().join(name)).expect("a file");
        command.stdout(file("stdout")).stderr(file("stderr"));
        let mut run = Self { child: Some(command.spawn().expect("the program starts")), sandbox };

        let start = Instant::now();
        while UnixStream::connect(run.socket()).is_err() {
            assert!(!run.has_ended() && start.elapsed() < PATIENCE, "there is no socket");
            sleep(Duration::from_millis(20));
        }
        run
    }

    fn socket(&self) -> PathBuf {
        self.sandbox.path().join("guest")
    }

    /// The argument that names it.
    fn name(&self) -> String {
        format!("kvm:{}", self.socket().display())
    }

    fn process(&self) -> Pid {
        let child = self.child.as_ref().expect("it has not been waited for");
        Pid::from_raw(child.id().cast_signed())
    }

    fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it has not been waited for");
        child.try_wait().expect("its state").is_some()
    }

    fn signal(&self, signal: Signal) {
        kill(self.process(), signal).expect("it runs");
    }

    /// Waits for its end.
    fn output(&mut self) -> ProgramOutput {
        let mut child = self.child.take().expect("it has not been waited for");
        let status = child.wait().expect("it ends");
        let text = |name| fs::read_to_string(self.sandbox.path().join(name)).expect("text");
        ProgramOutput { code: status.code(), stdout: text("stdout"), stderr: text("stderr") }
    }
}

impl Drop for LiveRun {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Holds the guest after the case with the address 0x728d3e2f304c.
fn held_case() -> LiveRun {
    let sandbox = Sandbox::new();
    sandbox.file("case.json", four_level().to_string());
    LiveRun::start(sandbox, &["explain", "case.json", "--machine", "kvm", "--dump", "guest.elf"])
}

fn check(arguments: &[&str]) -> LiveRun {
    LiveRun::start(Sandbox::new(), &[&["check", "--machine", "kvm"], arguments].concat())
}

#[test]
fn the_guest_after_a_case_has_what_the_case_says() {
    require_kvm!();
    let mut held = held_case();
    let name = held.name();

    let walk = run(&["walk", &name, "0x728d3e2f304c", "--json"]).expect_code(0).json();
    assert_eq!(
        (&walk["physical"], &walk["image"]["mode"]),
        (&json!("0x501aa04c"), &json!("4level"))
    );
    let last = walk["path"].as_array().expect("a list").last().expect("an entry").clone();
    assert_eq!([&last["at"], &last["entry"]], ["0x646798", "0x501aa027"], "KVM has set A: {last}");

    let image = &walk["image"];
    let registers =
        json!({ "cr0": "0x80010011", "cr3": "0x640000", "cr4": "0x620", "efer": "0xd00" });
    assert_eq!(image["registers"], registers);
    let origins = json!({ "cr0": "case", "cr3": "case", "cr4": "case", "efer": "case" });
    assert_eq!(image["register_origins"], origins);
    assert_eq!((&image["physical_address_bits"], &image["derived"]), (&json!(40), &json!([])));
    let guest = &image["guest"];
    assert_eq!((&guest["kvm"]["socket"], &guest["kvm"]["moment"]), (&json!(name), &json!("case")));
    assert_eq!(
        (&guest["run_state"], &guest["process"]),
        (&json!("paused"), &json!(held.process().as_raw()))
    );
    assert_eq!((&guest["memory_access"], &guest["monitor"]), (&json!("copy"), &Value::Null));

    let maps = run(&["maps", &name, "--has", "0x728d3e2f304c", "--json"]).expect_code(0).json();
    assert_eq!(maps["mappings"][0]["physical"], "0x501aa000");
    let rmap = run(&["rmap", &name, "0x501aa04c", "--json"]).expect_code(0).json();
    let addresses = rmap["led_by"].as_array().expect("a list").iter().map(|by| &by["address"]);
    assert!(addresses.clone().any(|at| at == "0x728d3e2f304c"), "{rmap}");
    // The guest's own pages are writable and executable.
    let audit = run(&["audit", &name, "--checks", "wx", "--json"]).expect_code(1).json();
    assert_eq!(audit["checks"][0]["check"], "wx");

    held.signal(Signal::SIGINT);
    let text = held.output().expect_code(0).expect_80_columns().words_of_stdout();
    assert!(text.contains("live crosswalk walk kvm:guest 0x728d3e2f304c; Ctrl-C ends"), "{text}");
    assert!(!held.socket().exists());
}

/// The dump was written of the same guest.
#[test]
fn the_guest_after_a_case_maps_what_its_dump_maps() {
    require_kvm!();
    let held = held_case();
    let dump = held.sandbox.path().join("guest.elf").display().to_string();
    let diff = ["diff", &held.name(), &dump, "--flags", "--efer", "0xd00", "--json"];
    let diff = run(&diff).expect_code(0).json();
    assert_eq!((&diff["count"], &diff["complete"]), (&json!(0), &json!(true)));

    let text = run(&["maps", &held.name()]).expect_code(0).expect_80_columns().words_of_stdout();
    assert!(text.contains(": guest of KVM, "), "{text}");
    assert!(text.contains("moment: after the case"), "{text}");
    let process = format!("memory: a copy of that of process {}, for which", held.process());
    assert!(text.contains(&process), "{text}");
}

#[test]
fn each_command_looks_at_a_guest_that_runs_batches() {
    require_kvm!();
    let mut checked = check(&["--for", "5m", "--seed", "5", "--mode", "4level"]);
    let name = checked.name();

    let mut batches = Vec::new();
    for _ in 0..3 {
        let maps = run(&["maps", &name, "--stats"]).expect_code(0).words_of_stdout();
        assert!(maps.contains("registers: of the vCPU, as KVM has them"), "{maps}");
        let walk = run(&["walk", &name, "0x100000", "--json"]).expect_code(0).json();
        // The guest's code is where its own tables have it, in those of the cases, too; SMAP may forbid to read it.
        let leaf = walk["path"].as_array().and_then(|path| path.last()).expect("an entry");
        assert_eq!(leaf["target"], "0x100000", "{walk}");
        let image = &walk["image"];
        let origins = json!({ "cr0": "vcpu", "cr3": "vcpu", "cr4": "vcpu", "efer": "vcpu" });
        assert_eq!((&image["register_origins"], &image["mode"]), (&origins, &json!("4level")));
        let guest = &image["guest"];
        assert_eq!(
            (&guest["run_state"], &guest["kvm"]["moment"]),
            (&json!("running"), &json!("batch"))
        );
        assert_eq!(guest["process"], checked.process().as_raw());
        batches.push(count(&guest["kvm"], "batch"));
    }
    assert!(batches.is_sorted_by(|before, after| before < after), "it goes on: {batches:?}");

    let rmap = run(&["rmap", &name, "0x100000", "--json"]).expect_code(0).json();
    assert!(count(&rmap, "mappings") > 0);
    run(&["audit", &name, "--checks", "wx"]).expect_code(1);
    run(&["diff", &name, &name]).expect_code(0);

    checked.signal(Signal::SIGINT);
    let text = checked.output().expect_80_columns().words_of_stdout();
    assert!(text.contains("live crosswalk maps kvm:guest"), "{text}");
    assert!(!checked.socket().exists());
}

/// Clients that hold their connections and say nothing, that say too much, and that leave at once.
fn be_hostile(socket: &PathBuf, stop: &AtomicBool) {
    let mut held = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (Ok(silent), Ok(mut talks)) =
            (UnixStream::connect(socket), UnixStream::connect(socket))
        else {
            return;
        };
        drop(UnixStream::connect(socket));
        talks.set_write_timeout(Some(Duration::from_millis(10))).expect("a socket");
        let _ = talks.write_all(&vec![b'x'; 1 << 20]);
        if held.len() < 200 {
            held.push((silent, talks));
        }
    }
}

/// The same cases with and without clients, of whom some mean no good.
#[test]
fn nobody_who_looks_changes_what_a_run_reports() {
    require_kvm!();
    let arguments =
        ["--cases", "100000", "--seed", "7", "--sequences", "off", "--jobs", "1", "--json"];
    let alone = run(&[&["check", "--machine", "kvm"], &arguments[..]].concat()).expect_code(0);

    let mut looked_at = check(&arguments);
    let (name, socket) = (looked_at.name(), looked_at.socket());
    let stop = AtomicBool::new(false);
    run(&["maps", &name, "--stats"]).expect_code(0);
    let output = thread::scope(|scope| {
        scope.spawn(|| be_hostile(&socket, &stop));
        // The hostile ones may be served first, and the run may end meanwhile.
        while !looked_at.has_ended() {
            run(&["maps", &name, "--stats"]);
        }
        stop.store(true, Ordering::Relaxed);
        looked_at.output()
    });

    assert_eq!(output.stderr, "");
    let output = output.expect_code(0);
    assert_eq!(without_chance(output.json()), without_chance(alone.json()));
    assert!(!socket.exists());
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_another_is_not() {
    require_kvm!();
    let mut killed = held_case();
    killed.signal(Signal::SIGKILL);
    killed.output();
    assert!(killed.socket().exists());
    let gone = run(&["maps", &killed.name()]).expect_code(2);
    assert!(gone.only_line_of_stderr().contains("nobody listens: the run is gone"), "{gone:?}");

    let sandbox = std::mem::take(&mut killed.sandbox);
    let explain = ["explain", "case.json", "--machine", "kvm"];
    let held = LiveRun::start(sandbox, &explain);
    run(&["maps", &held.name(), "--stats"]).expect_code(0);

    let second = held.sandbox.run(&[&explain[..], &["--live", "guest"]].concat()).expect_code(2);
    let error = second.only_line_of_stderr();
    assert!(error.contains("--live: guest: another program listens there"), "{error}");
    let other = held.sandbox.run(&[&explain[..], &["--live", "case.json"]].concat()).expect_code(2);
    assert!(other.only_line_of_stderr().contains("a file that is not a socket"), "{other:?}");
    assert_eq!((&*second.stdout, &*other.stdout), ("", ""), "the case was not run");
}

#[test]
fn no_signal_that_ends_a_run_leaves_its_socket() {
    require_kvm!();
    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGQUIT] {
        let mut checked = check(&["--for", "5m", "--seed", "5"]);
        // An answer comes from a batch, so the run catches signals.
        run(&["walk", &checked.name(), "0x100000"]).expect_code(0);
        checked.signal(signal);
        checked.output().expect_code(4);
        assert!(!checked.socket().exists(), "{signal}");
    }

    let mut held = held_case();
    run(&["walk", &held.name(), "0x728d3e2f304c"]).expect_code(0);
    held.signal(Signal::SIGHUP);
    held.output().expect_code(0);
    assert!(!held.socket().exists());
}

#[test]
fn a_case_that_was_not_run_leaves_nothing_to_look_at() {
    require_kvm!();
    let sandbox = Sandbox::new();
    sandbox.file("case.json", case_that_is_not_run().to_string());
    let explain = ["explain", "case.json", "--machine", "kvm", "--live", "guest"];
    let output = sandbox.run(&explain).expect_code(2);
    assert!(output.stdout.contains("verdict   unsupported"), "{}", output.stdout);
    assert!(!output.stdout.contains("live "), "{}", output.stdout);
    let error = output.only_line_of_stderr();
    assert!(
        error.contains("--live: there is nothing to look at, since the case was not"),
        "{error}"
    );
    assert!(!sandbox.path().join("guest").exists());
}

#[test]
fn a_name_that_is_no_socket_is_told_as_such() {
    let sandbox = Sandbox::new();
    sandbox.file("file", "x");
    for name in ["kvm:file", "kvm:.", "kvm:/dev/null"] {
        let output = sandbox.run(&["maps", name]).expect_code(2);
        assert!(output.only_line_of_stderr().contains("this is not a socket"), "{output:?}");
    }
    let empty = sandbox.run(&["maps", "kvm:"]).expect_code(2);
    assert!(empty.only_line_of_stderr().contains("expected the path of a socket"), "{empty:?}");
}

#[test]
fn what_is_no_guest_of_kvm_is_told() {
    let sandbox = Sandbox::new();
    let case = four_level();
    sandbox.file("case.json", case.to_string());
    sandbox.file("two.json", json!([case, case]).to_string());
    let refused = |arguments: &[&str], words: &str| {
        let output = sandbox.run(&[arguments, &["--live", "guest"]].concat()).expect_code(2);
        assert!(output.stderr.contains(words), "{arguments:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "nothing is run before");
        assert!(!sandbox.path().join("guest").exists());
    };

    refused(&["explain", "case.json"], "--machine");
    refused(&["explain", "case.json", "--machine", "bochs"], "--live is not for bochs");
    refused(&["check", "--machine", "corpus"], "--live needs a machine");
    refused(&["check", "--machine", "v86"], "--live needs a machine that is given");
    require_qemu!();
    refused(
        &["check", "--machine", "qemu"],
        "--live is for the guest of KVM, and this machine is qemu",
    );
    refused(&["explain", "two.json", "--machine", "qemu"], "--live takes one case, not 2");
    refused(&["explain", "case.json", "--machine", "qemu"], "this machine is qemu");
}

#[test]
fn a_run_that_lies_ends_in_one_error() {
    let sandbox = Sandbox::new();
    let path = sandbox.path().join("guest");
    let listener = UnixListener::bind(&path).expect("a socket");
    let name = format!("kvm:{}", path.display());
    // A run that cannot answer is a failure of the host; one that says nonsense is none of this program.
    let lies: [(&[u8], i32); 4] = [
        (b"", 3),
        (b"\xff\x00\n", 2),
        (b"{\"crosswalk\":1,\"error\":\"\x1b[2J\"}\n", 2),
        (b"{\"crosswalk\":1,\"error\":\"its memory cannot be copied: \\u001b[2J\"}\n", 3),
    ];

    for (lie, code) in lies {
        for command in [&["maps", &name][..], &["walk", &name, "0"], &["diff", &name, &name]] {
            thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut client, _) = listener.accept().expect("a client");
                    client.write_all(lie).expect("it reads");
                });
                let output = run(command).expect_code(code);
                let error = output.only_line_of_stderr();
                assert!(error.contains(&name) && !error.contains('\x1b'), "{error}");
                assert_eq!(output.stdout, "");
            });
        }
    }
    let format = run(&["maps", &name, "--format", "elf"]).expect_code(2);
    assert!(format.only_line_of_stderr().contains("not for live guests"), "{format:?}");
}

/// The run closes the connection as soon as the terminal has the words.
#[test]
fn a_command_that_waits_for_a_run_says_so_on_a_terminal() {
    if !Path::new("/usr/bin/script").exists() {
        return skip("script", "no script, which runs a program on a terminal");
    }
    let sandbox = Sandbox::new();
    let listener = UnixListener::bind(sandbox.path().join("guest")).expect("a socket");
    let maps = format!("'{}' maps kvm:guest", support::program().display());
    let mut script = sandbox.std_command("script");
    script.args(["--quiet", "--return", "--flush", "--command", &maps, "typescript"]);
    let child = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("it starts");

    let (client, _) = listener.accept().expect("a client");
    let mut received = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut words = String::new();
    received.read_line(&mut words).expect("text");
    assert!(words.contains("kvm:guest: waiting for the run to answer"), "{words}");
    drop(client);
    received.read_to_string(&mut words).expect("text");
    assert!(words.contains("the run has closed the connection"), "{words}");
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
}
