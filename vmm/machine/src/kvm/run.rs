//! Running the guest to its next doorbell.

use super::pause::PausePoint;
use super::vm::Vm;
use super::watchdog::{INTERVAL, Watchdog};
use crate::memory::GuestMemory;
use crate::patience::{MAX_WAIT, Patience};
use crate::{GuestFailure, Interrupter, MachineError, Position, RunLog, Stopwatch};
use crosswalk_case::observation::OutsideAccess;
use crosswalk_guest::contents;
use crosswalk_guest::layout::{Arena, CONTROL, SUPERVISOR_WINDOW};
use crosswalk_guest::mailbox::{AccessRecord, Control, DOORBELL_PORT, Doorbell};
use kvm_ioctls::VcpuExit;
use nix::time::ClockId;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How long a guest may compute without coming further in the lists of a batch. A full batch takes
/// some 20 ms, but seconds where one hypervisor shadows the page tables of another.
const LIMIT: Duration = Duration::from_secs(4);
/// How long a guest may compute from one doorbell to the next, however far it comes.
const BATCH_LIMIT: Duration = MAX_WAIT;
/// How long an access may take before it is taken never to end. The longest takes microseconds.
const ACCESS_LIMIT: Duration = Duration::from_secs(1);
/// How soon a guest is interrupted that is to be paused within a batch. Where it cannot be yet, twice as much time
/// passes before the next interruption: a guest that enters slowly would come no further otherwise.
const PAUSE_INTERVAL: Duration = Duration::from_micros(200);
/// Maximum number of accesses outside memory in one batch. It is far above that of any batch of
/// ours.
const MAX_OUTSIDE: usize = 100_000;

/// Why the vCPU stopped.
enum Stop {
    /// The guest rang the doorbell with this message.
    Doorbell(u8),
    /// The guest accessed an address without memory. A load has been answered.
    Outside(OutsideAccess),
    /// The watchdog interrupted the vCPU.
    Interrupted,
    /// KVM cannot emulate an instruction.
    NotEmulated,
    /// The vCPU was reset.
    TripleFault,
    /// For any other reason, described by KVM's name for it.
    Other(String),
}

impl Vm {
    /// Runs until the guest rings its doorbell, and answers accesses outside memory on the way.
    /// `arena` is the arena of the batch, if a batch is running; where a pause is wanted, it is paused in its lists.
    pub(super) fn run_to_doorbell(
        &mut self,
        memory: &GuestMemory,
        interrupter: &Interrupter,
        arena: Option<Arena>,
        pause: &PausePoint,
    ) -> Result<RunLog, MachineError> {
        let mut interval = if pause.is_wanted() { PAUSE_INTERVAL } else { INTERVAL };
        let mut watchdog =
            Watchdog::start(interval).map_err(MachineError::host("starting the watchdog"))?;
        let mut run = Run::start(Moment::now()?);
        let mut stopwatch = Stopwatch::start();

        loop {
            if interrupter.is_interrupted() {
                return Err(MachineError::Interrupted);
            }
            run.log.time.exit += stopwatch.lap();
            let stop = self.run_to_stop()?;
            run.log.time.guest += stopwatch.lap();
            if matches!(stop, Stop::Interrupted) {
                self.pause_if_wanted(pause, arena)?;
                if interval < INTERVAL {
                    interval = next_interval(interval, pause.is_wanted());
                    watchdog.set(interval).map_err(MachineError::host("setting the watchdog"))?;
                }
            }
            let now = Moment::now()?;
            let position = || self.position(arena);

            match run.react(stop, now, position, memory) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(run.log),
                Err(failure) => return Err(MachineError::guest(failure, position())),
            }
        }
    }

    /// Stands still, if another thread wants it and the guest is in the lists of a batch.
    fn pause_if_wanted(
        &self,
        pause: &PausePoint,
        arena: Option<Arena>,
    ) -> Result<(), MachineError> {
        if pause.is_wanted()
            && let Some(Position { record }) = self.position(arena)
        {
            pause.pause_in_batch(self.control_registers()?, record);
        }
        Ok(())
    }

    /// Runs the vCPU until it stops.
    fn run_to_stop(&mut self) -> Result<Stop, MachineError> {
        let exit = match self.vcpu.run() {
            Ok(exit) => exit,
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                return Ok(Stop::Interrupted);
            }
            Err(error) => return Err(MachineError::host("KVM_RUN")(error)),
        };

        Ok(match exit {
            VcpuExit::IoOut(DOORBELL_PORT, &[message]) => Stop::Doorbell(message),
            VcpuExit::MmioRead(address, data) => Stop::Outside(answer_load(address, data)),
            VcpuExit::MmioWrite(address, data) => Stop::Outside(note_store(address, data)),
            VcpuExit::InternalError => Stop::NotEmulated,
            VcpuExit::Shutdown => Stop::TripleFault,
            other => Stop::Other(format!("{other:?}")),
        })
    }

    /// The record on which the guest works: the one just before RSP, if RSP is in a list of the
    /// arena. While RSP is an operand, as of PUSH, it waits in RDX (operands.s). Ring 0 finds the lists in
    /// its window if paging is on.
    fn position(&self, arena: Option<Arena>) -> Option<Position> {
        let arena = arena?;
        let registers = self.vcpu.get_regs().ok()?;
        let size = size_of::<AccessRecord>() as u64;

        [registers.rsp, registers.rdx].into_iter().find_map(|list| {
            let address = list.checked_sub(SUPERVISOR_WINDOW).unwrap_or(list).checked_sub(size)?;
            Some(Position { record: arena.record_at(address)? })
        })
    }
}

/// The time to the interruption after one at this interval.
fn next_interval(interval: Duration, is_pause_wanted: bool) -> Duration {
    if is_pause_wanted { (2 * interval).min(INTERVAL) } else { INTERVAL }
}

/// A moment, by the clock on the wall and by that of the vCPU.
#[derive(Clone, Copy, Debug)]
struct Moment {
    wall: Instant,
    /// The processor time of the vCPU's thread.
    used: Duration,
}

impl Moment {
    fn now() -> Result<Self, MachineError> {
        let used = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
        let used = used.map_err(MachineError::host("reading the thread's clock"))?;
        Ok(Self { wall: Instant::now(), used: used.into() })
    }

    /// The patience with something that starts at this moment.
    fn patience(self, limit: Duration) -> Patience {
        Patience::start(limit, self.used, self.wall)
    }
}

/// A run to the next doorbell.
struct Run {
    /// The patience with the whole batch.
    batch: Patience,
    /// The patience since the guest last came further, and the number of the record after the one that
    /// it reached then.
    progress: Patience,
    reached: usize,
    /// The record at the last interruption, and the patience with that access.
    access: Option<(Position, Patience)>,
    log: RunLog,
}

impl Run {
    fn start(now: Moment) -> Self {
        Self {
            batch: now.patience(BATCH_LIMIT),
            progress: now.patience(LIMIT),
            reached: 0,
            access: None,
            log: RunLog::default(),
        }
    }

    /// Decides, at a stop with the guest at this position, whether it runs on, is done, or failed.
    fn react(
        &mut self,
        stop: Stop,
        now: Moment,
        position: impl Fn() -> Option<Position>,
        memory: &GuestMemory,
    ) -> Result<ControlFlow<()>, GuestFailure> {
        match stop {
            Stop::Doorbell(message) => check_message(message, memory).map(ControlFlow::Break),
            Stop::Outside(access) => {
                let record = position().ok_or(GuestFailure::OutsideMemory(access.address))?;
                self.log.outside.push((record, access));

                if self.log.outside.len() > MAX_OUTSIDE {
                    Err(GuestFailure::EndlessOutside)
                } else if self.is_late(Some(record), now) {
                    Err(GuestFailure::Hang)
                } else {
                    Ok(ControlFlow::Continue(()))
                }
            }
            Stop::Interrupted if self.is_late_at(position(), now) => Err(GuestFailure::Hang),
            Stop::Interrupted => Ok(ControlFlow::Continue(())),
            Stop::NotEmulated => {
                let record = position().ok_or(GuestFailure::NotEmulated)?;
                let why = "KVM_EXIT_INTERNAL_ERROR: this KVM cannot run the access".to_owned();
                self.log.gave_up = Some((record, why));
                Ok(ControlFlow::Break(()))
            }
            Stop::TripleFault => Err(GuestFailure::TripleFault),
            Stop::Other(exit) => Err(GuestFailure::UnexpectedExit(exit)),
        }
    }

    /// Whether the guest, at this position, has had its time: for the batch, or since it last came
    /// further.
    fn is_late(&mut self, position: Option<Position>, now: Moment) -> bool {
        if let Some(Position { record }) = position
            && record >= self.reached
        {
            self.reached = record + 1;
            self.progress = now.patience(LIMIT);
        }

        self.batch.is_over(now.used, now.wall) || self.progress.is_over(now.used, now.wall)
    }

    /// Whether the guest is late, or has been at the same record for too long.
    fn is_late_at(&mut self, position: Option<Position>, now: Moment) -> bool {
        let is_late = self.is_late(position, now);

        match (&mut self.access, position) {
            (Some((last, patience)), Some(position)) if *last == position => {
                patience.is_over(now.used, now.wall) || is_late
            }
            (access, position) => {
                *access = position.map(|position| (position, now.patience(ACCESS_LIMIT)));
                is_late
            }
        }
    }
}

/// Checks a message of the doorbell. Only the completion of a command is a good one.
fn check_message(message: u8, memory: &GuestMemory) -> Result<(), GuestFailure> {
    if message == Doorbell::Completed as u8 {
        Ok(())
    } else if message == Doorbell::Panic as u8 {
        let Control { panic, .. } = memory.read_value(CONTROL);
        Err(GuestFailure::of_report(panic))
    } else {
        Err(GuestFailure::UnknownMessage(message))
    }
}

/// Answers a load from an address without memory: with the contents that data memory would have
/// there.
fn answer_load(address: u64, data: &mut [u8]) -> OutsideAccess {
    let mut bytes = [0; 8];
    for (byte, at) in bytes.iter_mut().zip(address..).take(data.len()) {
        *byte = contents::byte(at);
    }
    data.copy_from_slice(&bytes[..data.len()]);

    let len = data.len() as u8;
    OutsideAccess { address, len, is_write: false, data: u64::from_le_bytes(bytes) }
}

/// Notes a store to an address without memory, which has no effect.
fn note_store(address: u64, data: &[u8]) -> OutsideAccess {
    let mut bytes = [0; 8];
    bytes[..data.len()].copy_from_slice(data);

    let len = data.len() as u8;
    OutsideAccess { address, len, is_write: true, data: u64::from_le_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTINUE: Result<ControlFlow<()>, GuestFailure> = Ok(ControlFlow::Continue(()));
    const BREAK: Result<ControlFlow<()>, GuestFailure> = Ok(ControlFlow::Break(()));

    fn at(record: usize) -> impl Fn() -> Option<Position> {
        move || Some(Position { record })
    }

    fn access_at(address: u64) -> OutsideAccess {
        OutsideAccess { address, len: 8, is_write: false, data: 0 }
    }

    fn outside_the_lists() -> Option<Position> {
        None
    }

    /// A run that has just started, and the moments at which the vCPU had used so many milliseconds
    /// of the same time on the wall.
    fn started() -> (Run, impl Fn(u64) -> Moment) {
        let start = Instant::now();
        let moment = move |milliseconds| {
            let used = Duration::from_millis(milliseconds);
            Moment { wall: start + used, used }
        };
        (Run::start(moment(0)), moment)
    }

    #[test]
    fn a_guest_that_is_to_be_paused_has_more_and_more_time() {
        let mut interval = PAUSE_INTERVAL;
        assert_eq!(next_interval(interval, false), INTERVAL);
        for _ in 0..9 {
            let next = next_interval(interval, true);
            assert!(next == 2 * interval || next == INTERVAL, "{next:?} after {interval:?}");
            interval = next;
        }
        assert_eq!(interval, INTERVAL);
    }

    #[test]
    fn an_access_that_does_not_end_is_a_hang() {
        let memory = GuestMemory::new().unwrap();
        let (mut run, now) = started();
        let mut interrupted = |milliseconds, record| {
            run.react(Stop::Interrupted, now(milliseconds), at(record), &memory)
        };

        assert_eq!(interrupted(900, 3), CONTINUE);
        for milliseconds in (1000..2000).step_by(100) {
            assert_eq!(interrupted(milliseconds, 4), CONTINUE, "{milliseconds} ms");
        }
        assert_eq!(interrupted(2000, 4), Err(GuestFailure::Hang));
    }

    #[test]
    fn a_guest_that_comes_no_further_is_a_hang() {
        let memory = GuestMemory::new().unwrap();
        let outside = || Stop::Outside(access_at(0x9000_0000));

        for stop in [|| Stop::Interrupted, outside] {
            let (mut run, now) = started();
            for look in 0..40 {
                let record = 7 + look % 2;
                let result = run.react(stop(), now(100 * look as u64), at(record), &memory);
                assert_eq!(result, CONTINUE, "look {look}");
            }
            // Record 8 was reached at 100 ms.
            assert_eq!(run.react(stop(), now(4000), at(7), &memory), CONTINUE);
            assert_eq!(run.react(stop(), now(4100), at(8), &memory), Err(GuestFailure::Hang));
        }
    }

    /// As on a KVM that shadows the tables of a KVM, beside a build.
    #[test]
    fn a_slow_guest_that_comes_further_has_the_time_of_a_batch() {
        let memory = GuestMemory::new().unwrap();
        let (mut run, now) = started();
        let outside = || Stop::Outside(access_at(0x9000_0000));

        for look in 0..300 {
            let result = run.react(outside(), now(100 * look as u64), at(look), &memory);
            assert_eq!(result, CONTINUE, "look {look}");
        }
        let late = run.react(Stop::Interrupted, now(30_000), at(300), &memory);
        assert_eq!(late, Err(GuestFailure::Hang));
    }

    #[test]
    fn outside_accesses_without_end_are_a_failure() {
        let memory = GuestMemory::new().unwrap();
        let (mut run, now) = started();
        let mut outside =
            || run.react(Stop::Outside(access_at(0x9000_0000)), now(1), at(1), &memory);

        assert!((0..MAX_OUTSIDE).all(|_| outside() == CONTINUE));
        assert_eq!(outside(), Err(GuestFailure::EndlessOutside));
    }

    #[test]
    fn a_stop_outside_the_lists_is_a_failure() {
        let memory = GuestMemory::new().unwrap();
        let access = access_at(0x9000_0000);
        let (mut run, now) = started();

        assert_eq!(run.react(Stop::Outside(access), now(1), at(1), &memory), CONTINUE);
        let outside = run.react(Stop::Outside(access), now(1), outside_the_lists, &memory);
        assert_eq!(outside, Err(GuestFailure::OutsideMemory(0x9000_0000)));

        assert_eq!(run.react(Stop::NotEmulated, now(1), at(2), &memory), BREAK);
        assert_eq!(run.log.gave_up.as_ref().map(|(position, _)| *position), at(2)());
        let not_emulated = run.react(Stop::NotEmulated, now(1), outside_the_lists, &memory);
        assert_eq!(not_emulated, Err(GuestFailure::NotEmulated));
    }

    #[test]
    fn only_completion_is_a_good_message() {
        let memory = GuestMemory::new().unwrap();
        memory.write_value(CONTROL, &Control { panic: 14 + 1, ..Control::default() });
        let message = |message| {
            let (mut run, now) = started();
            run.react(Stop::Doorbell(message), now(1), outside_the_lists, &memory)
        };

        assert_eq!(message(Doorbell::Completed as u8), BREAK);
        let panic = Err(GuestFailure::Exception { vector: 14 });
        assert_eq!(message(Doorbell::Panic as u8), panic);
        assert_eq!(message(0x77), Err(GuestFailure::UnknownMessage(0x77)));
    }
}
