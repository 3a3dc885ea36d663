//! Running the guest to its next doorbell.

use super::vm::Vm;
use super::watchdog::Watchdog;
use crate::memory::GuestMemory;
use crate::{GuestFailure, MachineError, Position, RunLog};
use crosswalk_case::observation::OutsideAccess;
use crosswalk_guest::contents;
use crosswalk_guest::layout::{Arena, CONTROL, SUPERVISOR_WINDOW};
use crosswalk_guest::mailbox::{AccessRecord, Control, DOORBELL_PORT, Doorbell};
use kvm_ioctls::VcpuExit;
use mmu_core::Ring;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How long a guest may take from one doorbell to the next. A full batch takes some 20 ms.
const DEADLINE: Duration = Duration::from_secs(4);
/// Number of interruptions during one access after which it is taken never to end. The watchdog
/// interrupts every 100 ms, and the longest access takes microseconds.
const MAX_INTERRUPTIONS: u32 = 10;
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
    /// `arena` is the arena of the batch, if a batch is running.
    pub(super) fn run_to_doorbell(
        &mut self,
        memory: &GuestMemory,
        arena: Option<Arena>,
    ) -> Result<RunLog, MachineError> {
        let _watchdog = Watchdog::start().map_err(MachineError::host("starting the watchdog"))?;
        let mut run = Run::new();

        loop {
            let stop = self.run_to_stop()?;
            let position = || self.position(arena);

            match run.react(stop, position, memory) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(run.log),
                Err(failure) => return Err(MachineError::guest(failure, position())),
            }
        }
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
    /// arena.
    fn position(&self, arena: Option<Arena>) -> Option<Position> {
        let arena = arena?;
        let rsp = self.vcpu.get_regs().ok()?.rsp;
        let size = size_of::<AccessRecord>() as u64;
        let within = |ring: Ring, start: u64, end: u64, window: u64| {
            let record = rsp.checked_sub(start + window + size)? / size;
            (rsp < end + window).then_some(Position { ring, record: record as usize })
        };

        let user = arena.user_records();
        let supervisor = arena.supervisor_records();
        let end = arena.table_image(0);
        within(Ring::Three, user, supervisor, 0)
            // Without paging there is no window.
            .or_else(|| within(Ring::Zero, supervisor, end, 0))
            .or_else(|| within(Ring::Zero, supervisor, end, SUPERVISOR_WINDOW))
    }
}

/// A run to the next doorbell.
struct Run {
    patience: Patience,
    log: RunLog,
}

impl Run {
    fn new() -> Self {
        Self { patience: Patience::new(), log: RunLog::default() }
    }

    /// Decides, at a stop with the guest at this position, whether it runs on, is done, or failed.
    fn react(
        &mut self,
        stop: Stop,
        position: impl Fn() -> Option<Position>,
        memory: &GuestMemory,
    ) -> Result<ControlFlow<()>, GuestFailure> {
        match stop {
            Stop::Doorbell(message) => check_message(message, memory).map(ControlFlow::Break),
            Stop::Outside(access) => {
                let record = position().ok_or(GuestFailure::OutsideMemory(access.address))?;
                self.log.outside.push((record, access));

                if self.log.outside.len() > MAX_OUTSIDE || self.patience.is_late() {
                    return Err(GuestFailure::EndlessOutside);
                }
                Ok(ControlFlow::Continue(()))
            }
            Stop::Interrupted if self.patience.ends_at(position()) => Err(GuestFailure::Hang),
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
}

/// Checks a message of the doorbell. Only the completion of a command is a good one.
fn check_message(message: u8, memory: &GuestMemory) -> Result<(), GuestFailure> {
    if message == Doorbell::Completed as u8 {
        Ok(())
    } else if message == Doorbell::Panic as u8 {
        let Control { panic, .. } = memory.read_value(CONTROL);
        Err(GuestFailure::Exception { vector: panic.wrapping_sub(1) })
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

/// Decides when to stop waiting for a guest.
struct Patience {
    deadline: Instant,
    /// The record at the last interruption, and the number of interruptions there before it.
    last: Option<Position>,
    interruptions: u32,
}

impl Patience {
    fn new() -> Self {
        Self { deadline: Instant::now() + DEADLINE, last: None, interruptions: 0 }
    }

    fn is_late(&self) -> bool {
        Instant::now() > self.deadline
    }

    /// Notes an interruption. Whether the guest is late, or has been at the same record for too
    /// long.
    fn ends_at(&mut self, position: Option<Position>) -> bool {
        let is_same = position.is_some() && position == self.last;
        self.interruptions = if is_same { self.interruptions + 1 } else { 0 };
        self.last = position;

        self.is_late() || self.interruptions > MAX_INTERRUPTIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTINUE: Result<ControlFlow<()>, GuestFailure> = Ok(ControlFlow::Continue(()));
    const BREAK: Result<ControlFlow<()>, GuestFailure> = Ok(ControlFlow::Break(()));

    fn at(record: usize) -> impl Fn() -> Option<Position> {
        move || Some(Position { ring: Ring::Three, record })
    }

    fn outside_the_lists() -> Option<Position> {
        None
    }

    #[test]
    fn an_access_that_does_not_end_is_a_hang() {
        let memory = GuestMemory::new().unwrap();
        let mut run = Run::new();
        for record in [3, 4, 4] {
            assert_eq!(run.react(Stop::Interrupted, at(record), &memory), CONTINUE);
        }

        // Two interruptions at record 4 so far, of which the first does not count.
        for _ in 1..MAX_INTERRUPTIONS {
            assert_eq!(run.react(Stop::Interrupted, at(4), &memory), CONTINUE);
        }
        assert_eq!(run.react(Stop::Interrupted, at(4), &memory), Err(GuestFailure::Hang));
    }

    #[test]
    fn a_stop_outside_the_lists_is_a_failure() {
        let memory = GuestMemory::new().unwrap();
        let access = OutsideAccess { address: 0x9000_0000, len: 8, is_write: false, data: 0 };
        let mut run = Run::new();

        assert_eq!(run.react(Stop::Outside(access), at(1), &memory), CONTINUE);
        let outside = run.react(Stop::Outside(access), outside_the_lists, &memory);
        assert_eq!(outside, Err(GuestFailure::OutsideMemory(0x9000_0000)));

        assert_eq!(run.react(Stop::NotEmulated, at(2), &memory), BREAK);
        assert_eq!(run.log.gave_up.as_ref().map(|(position, _)| *position), at(2)());
        let not_emulated = run.react(Stop::NotEmulated, outside_the_lists, &memory);
        assert_eq!(not_emulated, Err(GuestFailure::NotEmulated));
    }

    #[test]
    fn only_completion_is_a_good_message() {
        let memory = GuestMemory::new().unwrap();
        memory.write_value(CONTROL, &Control { panic: 14 + 1, ..Control::default() });
        let message =
            |message| Run::new().react(Stop::Doorbell(message), outside_the_lists, &memory);

        assert_eq!(message(Doorbell::Completed as u8), BREAK);
        let panic = Err(GuestFailure::Exception { vector: 14 });
        assert_eq!(message(Doorbell::Panic as u8), panic);
        assert_eq!(message(0x77), Err(GuestFailure::UnknownMessage(0x77)));
    }
}
