//! Where a vCPU stands still for another thread, which looks at the guest meanwhile.
//!
//! The vCPU's thread looks at one word before each batch. When a pause is wanted, it lets its timer interrupt the
//! batch soon, and stands still at the first interruption within the lists of the cases: there the registers are
//! those of the cases. Where no batch runs, the thread is asked to stand still between two of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a vCPU stands still. Then it goes on, whatever the other thread does.
const LIMIT: Duration = Duration::from_secs(3);

/// The control registers of a vCPU, as KVM has them (`KVM_GET_SREGS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuRegisters {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
}

/// Where a vCPU is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PausedAt {
    /// In a batch, with the registers of its cases.
    Batch {
        /// The number of the batch: how many this machine has begun, those of its probes included.
        number: u64,
        /// The number of the record on which the guest works, as `Arena::record` counts.
        record: usize,
    },
    /// Between two batches, in the guest's own kernel.
    Between {
        /// How many batches this machine has begun.
        batches: u64,
    },
}

/// A vCPU that is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PausedVcpu {
    /// Its registers.
    pub registers: VcpuRegisters,
    /// Where it is paused.
    pub at: PausedAt,
}

/// Why a guest could not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// The machine is gone, or the guest with it.
    #[error("the guest is gone")]
    Gone,
    /// The vCPU did not come to a place where it can be paused.
    #[error("the guest could not be paused")]
    NoAnswer,
    /// The other thread took so long that the guest went on.
    #[error("the guest went on before it was read")]
    WentOn,
}

/// Where a vCPU can be paused. Clones are of the same vCPU.
#[derive(Clone, Debug, Default)]
pub(super) struct PausePoint(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether a pause is wanted. It is the only thing at which a vCPU looks in every batch.
    is_wanted: AtomicBool,
    /// Number of batches that have begun.
    batches: AtomicU64,
    phase: Mutex<Phase>,
    changed: Condvar,
    lookers: Mutex<()>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Running,
    Wanted,
    Paused(PausedVcpu),
}

impl PausePoint {
    /// Notes that a batch begins.
    pub(super) fn batch_begins(&self) {
        self.0.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a pause is wanted.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.is_wanted.load(Ordering::Relaxed)
    }

    /// Stands still in a batch, at a record, if a pause is still wanted.
    pub(super) fn pause_in_batch(&self, registers: VcpuRegisters, record: usize) {
        let number = self.0.batches.load(Ordering::Relaxed);
        self.stand_still(PausedVcpu { registers, at: PausedAt::Batch { number, record } });
    }

    /// Stands still between two batches, if a pause is still wanted.
    pub(super) fn pause_between(&self, registers: VcpuRegisters) {
        let batches = self.0.batches.load(Ordering::Relaxed);
        self.stand_still(PausedVcpu { registers, at: PausedAt::Between { batches } });
    }

    fn stand_still(&self, vcpu: PausedVcpu) {
        let mut phase = self.phase();
        if !matches!(*phase, Phase::Wanted) {
            return;
        }
        self.enter(&mut phase, Phase::Paused(vcpu));

        let is_paused = |phase: &mut Phase| matches!(phase, Phase::Paused(_));
        let waited = self.0.changed.wait_timeout_while(phase, LIMIT, is_paused);
        let (mut phase, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if matches!(*phase, Phase::Paused(_)) {
            self.enter(&mut phase, Phase::Running);
        }
    }

    /// Asks for a pause. Returns whether the vCPU is paused after so long.
    pub(super) fn ask(&self, patience: Duration) -> bool {
        let mut phase = self.phase();
        self.enter(&mut phase, Phase::Wanted);
        matches!(*self.while_wanted(phase, patience), Phase::Paused(_))
    }

    /// Waits for the vCPU that was asked to pause.
    pub(super) fn wait_for_vcpu(&self, patience: Duration) -> Result<PausedVcpu, PauseError> {
        let mut phase = self.while_wanted(self.phase(), patience);
        match *phase {
            Phase::Paused(vcpu) => Ok(vcpu),
            Phase::Running => Err(PauseError::WentOn),
            Phase::Wanted => {
                self.enter(&mut phase, Phase::Running);
                Err(PauseError::NoAnswer)
            }
        }
    }

    /// Wants no pause any more.
    pub(super) fn withdraw(&self) {
        let mut phase = self.phase();
        self.enter(&mut phase, Phase::Running);
    }

    /// Lets the vCPU go on. Returns whether it was still paused.
    pub(super) fn resume(&self) -> bool {
        let mut phase = self.phase();
        let was_paused = matches!(*phase, Phase::Paused(_));
        self.enter(&mut phase, Phase::Running);
        was_paused
    }

    fn while_wanted<'p>(
        &'p self,
        phase: MutexGuard<'p, Phase>,
        patience: Duration,
    ) -> MutexGuard<'p, Phase> {
        let is_wanted = |phase: &mut Phase| matches!(phase, Phase::Wanted);
        let waited = self.0.changed.wait_timeout_while(phase, patience, is_wanted);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn enter(&self, phase: &mut Phase, next: Phase) {
        *phase = next;
        self.0.is_wanted.store(matches!(next, Phase::Wanted), Ordering::Relaxed);
        self.0.changed.notify_all();
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.0.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lookers(&self) -> MutexGuard<'_, ()> {
        self.0.lookers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const VCPU: PausedVcpu = PausedVcpu {
        registers: VcpuRegisters { cr0: 0x8000_0011, cr3: 0x1000, cr4: 0x20, efer: 0xd00 },
        at: PausedAt::Batch { number: 7, record: 3 },
    };

    #[test]
    fn a_vcpu_stands_still_while_it_is_looked_at() {
        let point = PausePoint::default();
        assert!(!point.is_wanted());
        // Nobody wants it.
        point.stand_still(VCPU);

        thread::scope(|scope| {
            let went_on = scope.spawn(|| {
                while !point.is_wanted() {
                    thread::yield_now();
                }
                point.stand_still(VCPU);
            });
            assert!(point.ask(Duration::from_secs(60)));
            assert_eq!(point.wait_for_vcpu(Duration::ZERO), Ok(VCPU));
            assert!(!point.is_wanted() && !went_on.is_finished());
            assert!(point.resume());
            went_on.join().unwrap();
        });
    }

    #[test]
    fn a_vcpu_goes_on_by_itself() {
        let point = PausePoint::default();
        thread::scope(|scope| {
            let vcpu = scope.spawn(|| {
                while !point.is_wanted() {
                    thread::yield_now();
                }
                point.stand_still(VCPU);
            });
            assert!(point.ask(Duration::from_secs(60)));
            vcpu.join().unwrap();
            assert!(!point.resume(), "it has gone on");
        });
    }

    #[test]
    fn nobody_waits_for_a_vcpu_without_end() {
        let point = PausePoint::default();
        assert!(!point.ask(Duration::from_millis(1)));
        let waited = point.wait_for_vcpu(Duration::from_millis(1));
        assert_eq!(waited, Err(PauseError::NoAnswer));
        assert!(!point.is_wanted());
    }
}
