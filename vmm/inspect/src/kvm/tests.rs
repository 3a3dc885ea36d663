//! A run that tells what is so, and others that tell something else. The other side is a thread of the test.

use super::*;
use crate::extents::Extent;
use mmu_core::{PagingMode, PhysAddr};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

/// How long a test waits for a run that says nothing.
const SHORT: Duration = Duration::from_millis(200);

/// PAE paging with PDPTEs that are not those in memory, which has 0xabcd at 0x1000; the same page is at 0x9000, too.
fn snapshot() -> GuestSnapshot {
    let piece = Extent { start: 0x1000, len: 0x1000, offset: 0x1000 };
    let memory = SealedMemory::copy(0x4000, &[piece], |at, bytes| {
        assert_eq!((at, bytes.len()), (0x1000, 0x1000));
        bytes[..2].copy_from_slice(&[0xcd, 0xab]);
    });
    GuestSnapshot {
        moment: SnapshotMoment::Batch { number: 7, record: 3 },
        paused: Duration::from_micros(1234),
        profile: "{}".to_owned(),
        registers: SnapshotRegisters {
            cr0: 0x8000_0011,
            cr3: 0x1000,
            cr4: 0x20,
            efer: 0x800,
            pdptes: Some([0x2001, 0, 0, 0x3001]),
        },
        ranges: vec![
            Extent { start: 0, len: 0x4000, offset: 0 },
            Extent { start: 0x9000, len: 0x1000, offset: 0x1000 },
        ],
        memory: memory.unwrap(),
    }
}

/// What a client gets of a run that serves one.
fn connect_to(serve: impl FnOnce(UnixStream) + Send) -> Result<KvmGuest, MemoryImageError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("guest");
    let listener = UnixListener::bind(&path).unwrap();
    let address: KvmAddress = format!("kvm:{}", path.display()).parse().unwrap();

    thread::scope(|scope| {
        scope.spawn(|| serve(listener.accept().unwrap().0));
        KvmGuest::connect_within(&address, Duration::from_secs(60))
    })
}

fn word(guest: &KvmGuest, at: u64) -> Option<u16> {
    let mut bytes = [0; 2];
    guest.memory().read(PhysAddr::new(at), &mut bytes).ok()?;
    Some(u16::from_le_bytes(bytes))
}

#[test]
fn what_a_run_tells_of_its_guest_arrives() {
    let guest = connect_to(|client| snapshot().send(&client).unwrap()).unwrap();
    assert_eq!(guest.moment(), SnapshotMoment::Batch { number: 7, record: 3 });
    assert_eq!(guest.paused(), Duration::from_micros(1234));
    assert_eq!((guest.process(), guest.profile()), (Some(std::process::id() as i32), "{}"));

    let words = [0x1000, 0x9000, 0x2000, 0x3ffe, 0x4000].map(|at| word(&guest, at));
    assert_eq!(words, [Some(0xabcd), Some(0xabcd), Some(0), Some(0), None]);
    let places = [0x1000, 0x9000].map(|at| guest.memory().place(PhysAddr::new(at)));
    assert_eq!(places, [Some(0x1000); 2], "it is the same memory");
}

#[test]
fn the_pdptes_are_those_that_the_vcpu_has_loaded() {
    let guest = connect_to(|client| snapshot().send(&client).unwrap()).unwrap();
    let own = guest.control_state(&StateOptions::default()).unwrap();
    assert_eq!((own.state.mode(), own.state.pdptes), (PagingMode::Pae, [0x2001, 0, 0, 0x3001]));
    assert_eq!((own.origins.cr3, own.derived.len()), (RegisterOrigin::Vcpu, 0));

    // MOV to CR3 loads those in memory.
    let options = StateOptions { cr3: Some(0x1000), ..StateOptions::default() };
    let other = guest.control_state(&options).unwrap();
    assert_eq!(other.state.pdptes, [0xabcd, 0, 0, 0]);
    assert_eq!((other.origins.cr3, other.derived.len()), (RegisterOrigin::Options, 1));

    let options = StateOptions { cpu: 1, ..StateOptions::default() };
    let error = guest.control_state(&options).unwrap_err().to_string();
    assert!(
        error.ends_with("registers of 1 CPU, counted from 0, and not those of CPU 1"),
        "{error}"
    );
}

#[test]
fn each_moment_is_told_apart() {
    for moment in [SnapshotMoment::Between { batches: 9 }, SnapshotMoment::AfterCase] {
        let told = GuestSnapshot { moment, ..snapshot() };
        let guest = connect_to(move |client| told.send(&client).unwrap()).unwrap();
        assert_eq!(guest.moment(), moment);
    }
}

/// Sends bytes, with a file beside them.
fn send_raw(stream: &UnixStream, bytes: &[u8], file: Option<BorrowedFd<'_>>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let files = file.map(|file| [file; 3]);
    if let Some(files) = &files {
        assert!(beside.push(SendAncillaryMessage::ScmRights(files)));
    }
    let parts = [IoSlice::new(bytes)];
    sendmsg(stream, &parts, &mut beside, SendFlags::NOSIGNAL).unwrap();
}

/// A line that a run could send of [`snapshot`].
fn line() -> Value {
    json!({
        "crosswalk": 1, "moment": { "batch": 7, "record": 3 }, "paused_us": 1234, "profile": "{}",
        "registers": { "cr0": "0x80000011", "cr3": "0x1000", "cr4": "0x20", "efer": "0x0", "pdptes": null },
        "ranges": [["0x0", "0x4000", "0x0"]],
    })
}

#[track_caller]
fn assert_refused(bytes: &[u8], file: Option<BorrowedFd<'_>>, words: &str) {
    let error = connect_to(|client| send_raw(&client, bytes, file)).unwrap_err().to_string();
    assert!(error.starts_with("kvm:") && error.contains(words), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_lie_is_one_error() {
    let memory = snapshot().memory;
    let file = Some(memory.as_fd());
    let text = |line: &Value| format!("{line}\n").into_bytes();
    // Three descriptors, of which one is taken.
    let good = connect_to(|client| send_raw(&client, &text(&line()), file)).unwrap();
    assert_eq!(word(&good, 0x1000), Some(0xabcd));

    assert_refused(b"", None, "the run has closed the connection");
    assert_refused(b"SSH-2.0-x\n", None, "expected JSON");
    assert_refused(b"[]\n", None, "expected a run of this version of crosswalk");
    assert_refused(&text(&line()), None, "expected its memory");
    assert_refused(&text(&line())[..100], file, "the run has closed the connection");
    assert_refused(&vec![b' '; 1 << 17], file, "expected a line of at most 65536 bytes");
    let refusal = json!({ "crosswalk": 1, "error": format!("no\n{}", "x".repeat(1000)) });
    assert_refused(&text(&refusal), file, "the run says: no x");

    for (part, value) in [
        ("/crosswalk", json!(2)),
        ("/moment", json!({})),
        ("/moment/record", json!(-1)),
        ("/paused_us", json!(1.5)),
        ("/profile", json!(7)),
        ("/registers", json!("0x1")),
        ("/registers/cr3", json!("4096")),
        ("/registers/efer", json!("0x10000000000000000")),
        ("/registers/pdptes", json!(["0x1", "0x2", "0x3"])),
        ("/ranges", json!({})),
        ("/ranges/0", json!(["0x0", "0x4000"])),
        ("/ranges/0", json!(["0x0", "0x0", "0x0"])),
        ("/ranges/0", json!(["0x0", "0x4000", "0x1"])),
        ("/ranges/0", json!(["0xffffffffffffffff", "0x4000", "0x0"])),
        ("/ranges/0", json!(["0x0", "0x4000", "0xffffffffffffffff"])),
        ("/ranges", json!(vec![["0x0", "0x1000", "0x0"]; 1025])),
    ] {
        let mut lie = line();
        *lie.pointer_mut(part).unwrap() = value.clone();
        let name = part.split('/').nth(1).unwrap();
        assert_refused(&text(&lie), file, name);
    }
}

#[test]
fn memory_that_could_change_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory");
    fs::write(&path, vec![0; 0x4000]).unwrap();
    let file = File::open(&path).unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    let null = File::open("/dev/zero").unwrap();

    let line = format!("{}\n", line()).into_bytes();
    for memory in [file.as_fd(), socket.as_fd(), null.as_fd()] {
        assert_refused(&line, Some(memory), "nobody can change any more");
    }
}

#[test]
fn memory_that_was_copied_stays_as_it_is() {
    let memory = snapshot().memory;
    let mut file = File::from(memory.as_fd().try_clone_to_owned().unwrap());
    assert!(file.write_all(b"x").is_err());
    assert!(file.set_len(1).is_err() && file.set_len(1 << 20).is_err());
}

#[test]
fn a_run_that_says_nothing_is_not_waited_for_without_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("guest");
    let address: KvmAddress = format!("kvm:{}", path.display()).parse().unwrap();
    let connect = || KvmGuest::connect_within(&address, SHORT).unwrap_err().to_string();

    assert!(connect().contains("there is no such socket"));
    let listener = UnixListener::bind(&path).unwrap();
    assert!(connect().ends_with("the run does not answer"));
    drop(listener);
    assert!(connect().ends_with("nobody listens: the run is gone"));

    for other in ["/dev/null", "/"] {
        let address: KvmAddress = format!("kvm:{other}").parse().unwrap();
        let error = KvmGuest::connect_within(&address, SHORT).unwrap_err().to_string();
        assert!(error.ends_with("this is not a socket"), "{error}");
    }
}

#[test]
fn a_client_that_leaves_or_talks_is_no_error_of_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("guest");
    let socket = GuestSocket::bind(&path).unwrap();

    drop(UnixStream::connect(&path).unwrap());
    let gone = socket.accept().unwrap().unwrap();
    assert_eq!(snapshot().send(&gone).unwrap_err().kind(), io::ErrorKind::BrokenPipe);

    let mut talks = UnixStream::connect(&path).unwrap();
    talks.write_all(&[b'x'; 1 << 12]).unwrap();
    snapshot().send(&socket.accept().unwrap().unwrap()).unwrap();

    thread::scope(|scope| {
        let waits = scope.spawn(|| socket.accept().unwrap().is_none());
        socket.close();
        assert!(waits.join().unwrap());
    });
}

#[test]
fn the_socket_is_for_its_user_and_gone_with_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("guest");
    let socket = GuestSocket::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    drop(socket);
    assert!(!path.exists());

    // Another one has its name now.
    let socket = GuestSocket::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(socket);
    assert!(path.exists());
}

#[test]
fn only_a_socket_on_which_nobody_listens_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("guest");
    let problem = |path: &Path| GuestSocket::bind(path).unwrap_err().to_string();

    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(problem(&path), "another program listens there");
    drop(listener);
    let stale = path.clone();
    drop(GuestSocket::bind(&stale).unwrap());

    fs::write(&path, "mine").unwrap();
    assert_eq!(problem(&path), "there is a file that is not a socket");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    assert!(GuestSocket::bind(&directory.path().join("x".repeat(200))).is_err());
    assert!(GuestSocket::bind(&directory.path().join("missing/guest")).is_err());
}
