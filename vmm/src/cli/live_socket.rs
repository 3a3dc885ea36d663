//! `--live`: a socket by which other terminals look at the guest of KVM while a command has it.
//!
//! A client gets a copy of one moment, without saying anything, and is not waited for. So a client can neither
//! hold the run up nor change it; and since the guest then runs four times as long as it stood still, many clients
//! cannot either.

use super::failure::Failure;
use super::guest_dump::{last_state, walked_address};
use super::output::print;
use super::stop_flag::stop_flag_to_tidy_up;
use crate::report::shell_word;
use crosswalk_case::{Case, FullProfile};
use crosswalk_inspect::{
    Extent, GuestSnapshot, GuestSocket, SealedMemory, SnapshotMoment, SnapshotRegisters,
};
use crosswalk_machine::Machine;
use crosswalk_machine::kvm::{GuestRange, PausedAt, PausedVcpu, Pauser};
use crosswalk_machine::memory::GuestMemory;
use mmu_core::Profile;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many times as long a guest runs, after it stood still, before it does so again.
const RUNS: u32 = 4;

/// A socket, and the thread that serves it. Both go when this is dropped.
pub(super) struct LiveSocket {
    socket: Arc<GuestSocket>,
    /// The thread ends when this is dropped.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LiveSocket {
    /// Lets others look at the guest of a machine while it runs batches.
    pub(super) fn of_running(path: &Path, machine: &dyn Machine) -> Result<Self, Failure> {
        let guest = LookedAt::new(machine, machine.capabilities().profile)?;
        Self::serve(make_socket(path)?, move || guest.snapshot_of_running())
    }

    fn serve(
        socket: GuestSocket,
        snapshot: impl Fn() -> Result<GuestSnapshot, String> + Send + 'static,
    ) -> Result<Self, Failure> {
        let socket = Arc::new(socket);
        let (stop, stopped) = channel();
        let served = socket.clone();
        let thread = thread::Builder::new()
            .name("live".into())
            .spawn(move || serve(&served, &stopped, snapshot))
            .map_err(|error| Failure::machine(format!("starting a thread: {error}")))?;
        Ok(Self { socket, stop: Some(stop), thread: Some(thread) })
    }

    /// The paragraph that says how to look at the guest.
    pub(super) fn invitation(&self) -> String {
        format!("live      crosswalk maps {}\n\n", self.argument())
    }

    /// How a shell names the guest. Where it is printed, a line may be long: people copy it.
    fn argument(&self) -> String {
        let mut name = OsString::from("kvm:");
        name.push(self.socket.path());
        shell_word(name)
    }
}

impl Drop for LiveSocket {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.socket.close();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported, and is none of the run.
            let _ = thread.join();
        }
    }
}

/// A socket for the guest after a case, which is made before the case is run. Who connects meanwhile waits.
pub(super) struct SocketAfterCase {
    socket: GuestSocket,
    /// Whether the user has ended the program.
    stop: Arc<AtomicBool>,
}

impl SocketAfterCase {
    /// Makes the socket, if the machine is one at whose guest others can look.
    pub(super) fn new(path: &Path, machine: &dyn Machine) -> Result<Self, Failure> {
        pauser(machine)?;
        let stop = stop_flag_to_tidy_up()?;
        Ok(Self { socket: make_socket(path)?, stop })
    }

    /// Holds the guest as the case has left it, until the user ends the program. The machine has run nothing since.
    pub(super) fn hold(self, machine: &dyn Machine, case: &Case) -> Result<(), Failure> {
        /// The time between two looks at the flag.
        const LOOK: Duration = Duration::from_millis(50);

        let guest = LookedAt::new(machine, case.profile)?;
        let registers = registers_of(case);
        let live = LiveSocket::serve(self.socket, move || {
            guest.snapshot(SnapshotMoment::AfterCase, registers)
        })?;

        let (name, address) = (live.argument(), walked_address(case));
        print(&format!("live      crosswalk walk {name} {address}; Ctrl-C ends this\n"));
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

fn make_socket(path: &Path) -> Result<GuestSocket, Failure> {
    GuestSocket::bind(path)
        .map_err(|error| Failure::of_io(format!("--live: {}: {error}", path.display()), &error))
}

/// What pauses the guest of a machine.
fn pauser(machine: &dyn Machine) -> Result<Pauser, Failure> {
    machine.pauser().ok_or_else(|| {
        let kind = &machine.identity().kind;
        Failure::Input(format!("--live is for the guest of KVM, and this machine is {kind}"))
    })
}

/// Serves one client after another, until the socket is closed.
fn serve(
    socket: &GuestSocket,
    stopped: &Receiver<()>,
    snapshot: impl Fn() -> Result<GuestSnapshot, String>,
) {
    /// How long is waited where the host has no room for another connection.
    const NO_ROOM: Duration = Duration::from_millis(100);

    loop {
        let rest = match socket.accept() {
            Ok(Some(client)) => answer(&client, snapshot()),
            Ok(None) => return,
            Err(_) => NO_ROOM,
        };
        if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Answers a client, which may be gone. Returns how long the guest is to run before the next one.
fn answer(client: &UnixStream, snapshot: Result<GuestSnapshot, String>) -> Duration {
    match snapshot {
        Ok(snapshot) => {
            let _ = snapshot.send(client);
            snapshot.paused * RUNS
        }
        Err(problem) => {
            let _ = GuestSnapshot::send_error(client, &problem);
            Duration::ZERO
        }
    }
}

/// A guest that others look at.
struct LookedAt {
    memory: GuestMemory,
    pauser: Pauser,
    /// The processor, as JSON.
    profile: String,
}

impl LookedAt {
    fn new(machine: &dyn Machine, profile: Profile) -> Result<Self, Failure> {
        let pauser = pauser(machine)?;
        let profile = serde_json::to_string(&FullProfile::from(&profile));
        let profile = profile.map_err(|error| Failure::machine(error.to_string()))?;

        // The kernel maps untouched pages when they are first looked at. That takes longer than all else, and no
        // guest waits for it now.
        let memory = machine.memory().clone();
        memory.ranges_in_use();
        Ok(Self { memory, pauser, profile })
    }

    /// The guest at a moment at which it is paused.
    fn snapshot_of_running(&self) -> Result<GuestSnapshot, String> {
        let paused = self.pauser.pause(|vcpu: &PausedVcpu| {
            let moment = match vcpu.at {
                PausedAt::Batch { number, record } => {
                    SnapshotMoment::Batch { number, record: record as u64 }
                }
                PausedAt::Between { batches } => SnapshotMoment::Between { batches },
            };
            let registers = vcpu.registers;
            self.snapshot(
                moment,
                SnapshotRegisters {
                    cr0: registers.cr0,
                    cr3: registers.cr3,
                    cr4: registers.cr4,
                    efer: registers.efer,
                    pdptes: None,
                },
            )
        });
        paused.map_err(|error| error.to_string())?
    }

    /// The guest, which stands still.
    fn snapshot(
        &self,
        moment: SnapshotMoment,
        registers: SnapshotRegisters,
    ) -> Result<GuestSnapshot, String> {
        let start = Instant::now();
        let (ranges, len) = in_file(self.pauser.ranges());
        let memory = self.copy(&ranges, len);
        let memory = memory.map_err(|error| format!("its memory cannot be copied: {error}"))?;
        Ok(GuestSnapshot {
            moment,
            paused: start.elapsed(),
            profile: self.profile.clone(),
            registers,
            ranges,
            memory,
        })
    }

    /// Copies the memory to where `ranges` says.
    fn copy(&self, ranges: &[Extent], len: u64) -> io::Result<SealedMemory> {
        let mut pieces = Vec::new();
        for (start, len) in self.memory.ranges_in_use() {
            let range = ranges.iter().find(|range| (range.start..=range.last()).contains(&start));
            // The processor may have too few address bits for a range.
            if let Some(range) = range {
                let offset = range.offset + (start - range.start);
                pieces.push(Extent { start, len, offset });
            }
        }
        SealedMemory::copy(len, &pieces, |at, bytes| self.memory.read(at, bytes))
    }
}

/// Where the ranges of a guest are in a file: one behind the other, and those that appear a second time where they are
/// already. With the size of the file.
fn in_file(ranges: &[GuestRange]) -> (Vec<Extent>, u64) {
    let (own, again): (Vec<&GuestRange>, _) =
        ranges.iter().partition(|range| range.start == range.place);

    let mut file_len = 0;
    let mut extents = Vec::new();
    for GuestRange { start, len, .. } in own {
        extents.push(Extent { start: *start, len: *len, offset: file_len });
        file_len += len;
    }
    for GuestRange { start, len, place } in again {
        let behind = extents.iter().find(|own| (own.start..=own.last()).contains(place));
        if let Some(behind) = behind {
            let offset = behind.offset + (place - behind.start);
            extents.push(Extent { start: *start, len: *len, offset });
        }
    }
    (extents, file_len)
}

/// The registers that the last access of a case meets.
fn registers_of(case: &Case) -> SnapshotRegisters {
    let state = last_state(case);
    SnapshotRegisters {
        cr0: state.cr0.bits(),
        cr3: state.cr3,
        cr4: state.cr4.bits(),
        efer: state.efer.bits(),
        pdptes: Some(state.pdptes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_appears_twice_is_in_the_file_once() {
        let range = |start, len, place| GuestRange { start, len, place };
        let ranges = [
            range(0, 0x80_0000, 0),
            range(0x4000_0000, 0x4000_0000, 0x4000_0000),
            range(0x8000_0000, 0x2000_0000, 0x4000_0000),
            range(0xa_8000_0000, 0x2000_0000, 0x6000_0000),
        ];
        let extent = |start, len, offset| Extent { start, len, offset };
        let expected = vec![
            extent(0, 0x80_0000, 0),
            extent(0x4000_0000, 0x4000_0000, 0x80_0000),
            extent(0x8000_0000, 0x2000_0000, 0x80_0000),
            extent(0xa_8000_0000, 0x2000_0000, 0x2080_0000),
        ];
        assert_eq!(in_file(&ranges), (expected, 0x4080_0000));
    }
}
