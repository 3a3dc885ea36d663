//! The jail: what a guest that broke out, QEMU, or a walker may not do is refused, and the run ends with
//! an error or goes on. Each escape also goes through without the jail, so it can be told apart.

use crosswalk_test_support as support;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::{
    ProgramOutput, Sandbox, program, require_kvm, require_program, require_qemu, run, skip,
};

/// Time limit for something to happen, even on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// The beginning of a program in Python that tries to escape. `attempt` says on standard error what
/// happened.
const ATTEMPT: &str = r#"
import ctypes, fcntl, json, os, resource, socket, sys, time

def attempt(name, action):
    try:
        action()
        result = "went through"
    except (OSError, MemoryError) as error:
        result = "refused"
    sys.stderr.write(f"{name} {result}\n")
    sys.stderr.flush()

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

def outlive_the_parent():
    if ctypes.CDLL(None).prctl(1, 0) != 0:
        raise OSError

def connect(family, address):
    # A connection that nobody answers went through the jail.
    try:
        socket.socket(family).connect(address)
    except (ConnectionRefusedError, FileNotFoundError):
        pass
"#;

/// A stand-in for QEMU that has been taken over by its guest: it tells QEMU's version, then tries to
/// escape.
const TAKEN_OVER: &str = r#"
if "--version" in sys.argv:
    os.execv("REAL", sys.argv)
attempt("reading-a-file", lambda: open("/etc/passwd").read())
attempt("writing-a-file", lambda: open("DIRECTORY/written", "w"))
attempt("removing-a-file", lambda: os.unlink("DIRECTORY/victim"))
attempt("connecting", lambda: connect(socket.AF_INET, ("127.0.0.1", 9)))
attempt("connecting-locally", lambda: connect(socket.AF_UNIX, "DIRECTORY/none"))
attempt("forking", fork)
attempt("signalling", lambda: os.kill(os.getppid(), 0))
attempt("outliving", outlive_the_parent)
attempt("running", lambda: os.execv("/bin/true", ["true"]) if os.environ["ESCAPE"] == "no" else None)
sys.exit(9)
"#;

const ESCAPES: [&str; 8] = [
    "reading-a-file",
    "writing-a-file",
    "removing-a-file",
    "connecting",
    "connecting-locally",
    "forking",
    "signalling",
    "outliving",
];

/// A walker that tries to change its host, then says nothing about a case.
const HOSTILE_WALKER: &str = r#"
for line in sys.stdin:
    attempt("writing-a-file", lambda: open("written", "w"))
    attempt("removing-a-file", lambda: os.unlink("victim"))
    attempt("making-a-directory", lambda: os.mkdir("made"))
    attempt("changing-a-mode", lambda: os.chmod("victim", 0o777))
    attempt("connecting", lambda: connect(socket.AF_INET, ("127.0.0.1", 9)))
    attempt("connecting-locally", lambda: connect(socket.AF_UNIX, "none"))
    attempt("signalling", lambda: os.kill(os.getppid(), 0))
    attempt("limiting", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0)))
    attempt("slowing", lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 0))
    attempt("locking", lambda: fcntl.flock(open("victim"), fcntl.LOCK_EX))
    attempt("sending", lambda: socket.socketpair(type=socket.SOCK_DGRAM))
    attempt("leaving-its-group", lambda: os.setpgid(0, 0))
    attempt("READING", lambda: open("victim").read())
    attempt("FORKING", fork)
    attempt("DISCARDING", lambda: open("/dev/null", "w").write("nothing"))
    print(json.dumps({"silent": "as planned"}), flush=True)
"#;

/// A walker that takes memory, and touches none of it.
const MEMORY_HOG: &str = r#"
for line in sys.stdin:
    attempt("taking-memory", lambda: bytearray(5 << 30))
    print(json.dumps({"silent": "as planned"}), flush=True)
"#;

/// A walker that starts processes until it is stopped.
const FORK_BOMB: &str = r#"
for line in sys.stdin:
    count = 0
    try:
        while count < 2000:
            if os.fork() == 0:
                time.sleep(1000)
            count += 1
        sys.stderr.write(f"{count} processes went through\n")
    except OSError:
        sys.stderr.write(f"refused after {count} processes\n")
    print(json.dumps({"silent": "as planned"}), flush=True)
"#;

/// A program found in `PATH`.
fn found(name: &str) -> PathBuf {
    crosswalk_machine::jail::find_program(name).expect("the caller requires it")
}

/// Python itself, and not a script that starts it: in jail, a program starts no other. Every user must
/// be able to run it.
fn interpreter() -> PathBuf {
    let of_system = Path::new("/usr/bin/python3");
    if let Ok(interpreter) = of_system.canonicalize() {
        return interpreter;
    }

    let script = "import os, sys; print(os.path.realpath(sys.executable))";
    let output = Command::new("python3").args(["-c", script]).output().expect("it is required");
    String::from_utf8(output.stdout).expect("a plain path").trim().into()
}

/// A sandbox that every user can enter, with a file in it that must stay.
fn open_sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(sandbox.path(), everybody).expect("it is ours");
    sandbox.file("victim", "alive");
    sandbox
}

/// Makes an executable program in Python.
fn python(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    let interpreter = interpreter();
    let directory = sandbox.path().display().to_string();
    let text = text.replace("DIRECTORY", &directory);
    let script = format!("#!{}\n{ATTEMPT}\n{text}", interpreter.display());

    let path = sandbox.path().join(sandbox.file(name, script));
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("it is ours");
    path
}

/// The parts of a jail, as `machines` lists them.
fn parts(jail: &Value) -> Vec<(String, bool)> {
    let part = |part: &Value| {
        let name = part["part"].as_str().expect("a part has a name").to_owned();
        let in_force = part["in_force"].as_bool().expect("it is in force or not");
        let words = if in_force { &part["how"] } else { &part["reason"] };
        assert!(words.is_string(), "{part} says neither how nor why not");
        (name, in_force)
    };
    jail["parts"].as_array().expect("a list").iter().map(part).collect()
}

/// Whether a walker's jail has these parts here.
fn has(names: &[&str]) -> bool {
    let offers = ProgramOutput::of(&mut Sandbox::new().command(&["machines", "--json"])).json();
    let parts = parts(&offers["machines"][0]["walkers_jail"]);
    let has_all = names.iter().all(|name| parts.contains(&((*name).to_owned(), true)));
    if !has_all {
        skip("jail", &format!("this host has not all of {names:?}"));
    }
    has_all
}

/// Runs the program in a sandbox as a user without privileges.
fn run_as_nobody(sandbox: &Sandbox, arguments: &[&str]) -> ProgramOutput {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        return sandbox.run(arguments);
    }

    let user = NOBODY.to_string();
    let mut command = assert_cmd::Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
    command.arg(program()).args(arguments).current_dir(sandbox.path());
    command.env("CROSSWALK_TEST_SANDBOX", sandbox.path());
    ProgramOutput::of(&mut command)
}

#[test]
fn machines_lists_the_parts_of_every_jail() {
    let offers = ProgramOutput::of(&mut Sandbox::new().command(&["machines", "--json"])).json();
    for offer in offers["machines"].as_array().expect("a list") {
        let walkers = parts(&offer["walkers_jail"]);
        for name in ["no-new-privileges", "capabilities", "seccomp", "landlock", "namespaces"] {
            assert!(walkers.iter().any(|(part, _)| part == name), "{name}: {walkers:?}");
        }
        // An emulator that boots images has its jail when it runs.
        if !offer["machine"].is_null() {
            assert_eq!(offer["jail"]["on"], true, "{offer}");
            let names: Vec<_> = parts(&offer["jail"]).into_iter().map(|(name, _)| name).collect();
            assert!(names.contains(&"seccomp".to_owned()), "{names:?}");
        }
    }
}

#[test]
fn without_a_jail_machines_and_reports_say_so() {
    require_qemu!();
    let offers = run(&["machines", "--no-jail", "--json"]).expect_code(0).json();
    assert_eq!(offers["machines"][1]["jail"]["on"], false);
    assert_eq!(offers["machines"][1]["walkers_jail"]["on"], false);

    let check = ["check", "--machine", "qemu", "--cases", "500", "--seed", "1"];
    let free = run(&[&check[..], &["--no-jail"]].concat()).expect_code(0);
    assert!(free.stdout.contains("\njail      none (--no-jail)\n"), "{}", free.stdout);
    let report = run(&[&check[..], &["--no-jail", "--json"]].concat()).expect_code(0).json();
    assert_eq!(report["jail"]["on"], false);

    let report = run(&[&check[..], &["--json"]].concat()).expect_code(0).json();
    assert_eq!(report["jail"]["on"], true);
}

/// Runs `check` with a QEMU that is taken over. Returns its output, and that every attempt ended so.
fn check_with_taken_over_qemu(options: &[&str], result: &str) {
    let sandbox = open_sandbox();
    let stand_in = TAKEN_OVER.replace("REAL", &found("qemu-system-x86_64").display().to_string());
    python(&sandbox, "qemu-system-x86_64", &stand_in);
    let path = std::env::var("PATH").expect("there is one");

    let arguments = [&["check", "--machine", "qemu", "--cases", "500"], options].concat();
    let mut command = sandbox.command(&arguments);
    command.env("PATH", format!("{}:{path}", sandbox.path().display()));
    command.env("ESCAPE", if result == "refused" { "no" } else { "yes" });
    let output = ProgramOutput::of(&mut command).expect_code(3);

    assert_eq!(output.stdout, "");
    let line = output.only_line_of_stderr();
    for escape in ESCAPES {
        assert!(line.contains(&format!("{escape} {result}")), "{escape}: {line}");
    }
    if result == "refused" {
        assert!(line.contains("running refused"), "{line}");
        assert!(line.contains("--no-jail"), "{line}");
        let victim = std::fs::read_to_string(sandbox.path().join("victim"));
        assert_eq!(victim.expect("it stays"), "alive");
        assert!(!sandbox.path().join("written").exists());
    }
    assert_eq!(sandbox.processes(), [""; 0], "processes are left behind");
}

#[test]
fn a_guest_that_took_over_qemu_cannot_escape() {
    require_qemu!();
    require_program!("python3");
    if has(&["seccomp", "landlock"]) {
        check_with_taken_over_qemu(&[], "refused");
    }
}

#[test]
fn without_a_jail_it_can() {
    require_qemu!();
    require_program!("python3");
    check_with_taken_over_qemu(&["--no-jail"], "went through");
}

/// A run in progress, which is killed when it is dropped.
struct InProgress(Child);

impl Drop for InProgress {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The status files of all threads of a process, with their names.
fn threads(id: u32) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten();
    let paths = tasks.filter_map(|task| Some(task.ok()?.path()));
    paths
        .filter_map(|path| {
            let name = std::fs::read_to_string(path.join("comm")).ok()?.trim().to_owned();
            Some((name, std::fs::read_to_string(path.join("status")).ok()?))
        })
        .collect()
}

/// Waits until something is there.
fn wait_for<T>(find: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < TIME_LIMIT, "it does not come");
        sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn assert_locked(status: &str) {
    for line in ["NoNewPrivs:\t1", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "no {line:?} in {status}");
    }
    assert!(status.contains("Seccomp:\t2"), "no filter: {status}");
}

/// Handlers of the whole process do not run in jail, where what they do is refused.
#[track_caller]
fn assert_leaves_signals_to_others(status: &str) {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"));
    let mask = u64::from_str_radix(mask.expect("a mask"), 16).expect("it is hexadecimal");
    let is_blocked = |signal: Signal| mask >> (signal as i32 - 1) & 1 != 0;

    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        assert!(is_blocked(signal), "{signal} in {mask:#x}");
    }
    // That of the watchdog, and that of a mistake.
    for signal in [Signal::SIGUSR1, Signal::SIGSEGV] {
        assert!(!is_blocked(signal), "{signal} in {mask:#x}");
    }
}

#[test]
fn the_thread_of_a_vcpu_is_in_jail_and_the_others_are_not() {
    require_kvm!();
    if !has(&["seccomp"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let run = InProgress(sandbox.spawn(&["check", "--machine", "kvm", "--for", "60s"]));
    let id = run.0.id();

    let vcpu = wait_for(|| {
        let vcpu = threads(id).into_iter().find(|(name, _)| name == "vcpu");
        // It is not locked up before its first job.
        vcpu.filter(|(_, status)| status.contains("Seccomp:\t2"))
    });
    assert_locked(&vcpu.1);
    assert_leaves_signals_to_others(&vcpu.1);
    let others: Vec<_> = threads(id).into_iter().filter(|(name, _)| name != "vcpu").collect();
    assert!(!others.is_empty());
    for (name, status) in others {
        assert!(status.contains("NoNewPrivs:\t1"), "{name}: {status}");
    }
}

#[test]
fn every_thread_of_qemu_is_in_jail() {
    require_qemu!();
    if !has(&["seccomp", "namespaces"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let run = InProgress(sandbox.spawn(&["check", "--machine", "qemu", "--for", "60s"]));
    let id = run.0.id();

    let qemu = wait_for(|| {
        let of_thread = |thread: std::fs::DirEntry| {
            let children = std::fs::read_to_string(thread.path().join("children")).ok()?;
            children.split_whitespace().next()?.parse::<u32>().ok()
        };
        let mut tasks = std::fs::read_dir(format!("/proc/{id}/task")).ok()?;
        let child = tasks.find_map(|task| of_thread(task.ok()?))?;
        // QEMU has two threads even while it prints its version, and another for a guest.
        (threads(child).len() > 2).then_some(child)
    });
    for (_, status) in threads(qemu) {
        assert_locked(&status);
    }

    for kind in ["net", "mnt", "ipc"] {
        let namespace = |process: &str| {
            std::fs::read_link(format!("/proc/{process}/ns/{kind}")).expect("it can be read")
        };
        assert_ne!(namespace(&qemu.to_string()), namespace("self"), "{kind}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{qemu}/limits")).expect("it is there");
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let core: Vec<_> = core.expect("a limit").split_whitespace().rev().take(3).collect();
    assert_eq!(core, ["bytes", "0", "0"]);
}

/// Asks a walker about one case of the bundled corpus, and returns what it says on standard error.
fn ask(run: impl Fn(&[&str]) -> ProgramOutput, walker: &Path, options: &[&str]) -> String {
    let walker = format!("cmd:{}", walker.display());
    let output = run(&[&["replay", "--cases", "1", "--walker", &walker], options].concat());
    // It gave no answer, so there was nothing to compare.
    output.expect_code(3).stderr
}

#[test]
fn a_walker_changes_nothing_and_reaches_nobody() {
    require_program!("python3");
    require_program!("setpriv");
    if !has(&["seccomp", "landlock"]) {
        return;
    }

    for as_nobody in [false, true] {
        let sandbox = open_sandbox();
        let walker = python(&sandbox, "walker.py", HOSTILE_WALKER);
        let run = |arguments: &[&str]| {
            if as_nobody { run_as_nobody(&sandbox, arguments) } else { sandbox.run(arguments) }
        };

        let said = ask(run, &walker, &[]);
        for attempt in [
            "writing-a-file",
            "removing-a-file",
            "making-a-directory",
            "changing-a-mode",
            "connecting",
            "connecting-locally",
            "signalling",
            "limiting",
            "slowing",
            "locking",
            "sending",
            "leaving-its-group",
        ] {
            assert!(said.contains(&format!("{attempt} refused")), "{attempt}: {said}");
        }
        // What a walker needs.
        for attempt in ["READING", "FORKING", "DISCARDING"] {
            assert!(said.contains(&format!("{attempt} went through")), "{attempt}: {said}");
        }

        let victim = sandbox.path().join("victim");
        assert_eq!(std::fs::read_to_string(&victim).expect("it stays"), "alive");
        assert!(!sandbox.path().join("written").exists());

        let said = ask(run, &walker, &["--no-jail"]);
        for attempt in ["writing-a-file", "connecting", "signalling", "limiting", "sending"] {
            assert!(said.contains(&format!("{attempt} went through")), "{attempt}: {said}");
        }
    }
}

#[test]
fn a_walker_has_a_bounded_share_of_memory() {
    require_program!("python3");
    let sandbox = open_sandbox();
    let walker = python(&sandbox, "hog.py", MEMORY_HOG);
    let said = ask(|arguments| sandbox.run(arguments), &walker, &[]);
    assert!(said.contains("taking-memory refused"), "{said}");
}

/// The kernel limits the processes of no root, which `machines` says.
#[test]
fn a_walker_that_is_a_fork_bomb_is_stopped() {
    require_program!("python3");
    require_program!("setpriv");
    if !has(&["namespaces"]) {
        return;
    }
    let sandbox = open_sandbox();
    let walker = python(&sandbox, "bomb.py", FORK_BOMB);

    let said = ask(|arguments| run_as_nobody(&sandbox, arguments), &walker, &[]);
    let said = said.lines().next().expect("it says something");
    let count = said.strip_prefix("refused after ").and_then(|rest| rest.split(' ').next());
    let count: u32 = count.unwrap_or_else(|| panic!("{said}")).parse().expect("a number");
    assert!((1..256).contains(&count), "{said}");
    assert_eq!(sandbox.processes(), [""; 0], "processes are left behind");
}

#[test]
fn an_ordinary_user_has_the_jail_too() {
    require_qemu!();
    require_program!("setpriv");
    let sandbox = open_sandbox();
    let check = ["check", "--machine", "qemu", "--cases", "500", "--seed", "1", "--json"];
    let report = run_as_nobody(&sandbox, &check).expect_code(0).json();
    assert_eq!(report["jail"]["on"], true);

    let parts = parts(&report["jail"]);
    for name in ["no-new-privileges", "capabilities", "limits"] {
        assert!(parts.contains(&(name.to_owned(), true)), "{name}: {parts:?}");
    }
}

/// On a host that lets nobody have namespaces, the jail says so and the run goes on.
#[test]
fn a_host_without_namespaces_is_told() {
    require_qemu!();
    require_program!("unshare");
    require_program!("setpriv");
    // A user namespace in which no further one may be made, and without the privilege to make others.
    let script = format!(
        "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all \
         --inh-caps=-all --no-new-privs '{}' machines --json",
        program().display()
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script]);
    let output = command.output().expect("unshare starts");
    let Ok(offers) = serde_json::from_slice::<Value>(&output.stdout) else {
        let why = String::from_utf8_lossy(&output.stderr);
        return skip("jail", &format!("no such host can be made here: {}", why.trim()));
    };

    let qemu = &offers["machines"][1];
    assert_eq!(qemu["available"], true, "{qemu}");
    let parts = qemu["jail"]["parts"].as_array().expect("a list");
    let namespaces = parts.iter().find(|part| part["part"] == "namespaces").expect("it is listed");
    assert_eq!(namespaces["in_force"], false, "{namespaces}");
    let reason = namespaces["reason"].as_str().expect("a reason");
    let why = "this host lets this user have none: user.max_user_namespaces allows no more";
    assert_eq!(reason, why);
}
