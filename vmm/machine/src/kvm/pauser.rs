//! Pausing a vCPU from another thread, which looks at the guest meanwhile.

use super::pause::{PauseError, PausePoint, PausedVcpu};
use super::slots::GuestRange;
use super::thread::{Knocker, VcpuThread};
use std::sync::Arc;
use std::time::Duration;

/// How long a batch is waited for that can be paused. A batch takes some 20 ms.
const BATCH: Duration = Duration::from_millis(500);

/// How long the vCPU's thread may take to come to its next job.
const JOB: Duration = Duration::from_secs(5);

/// Pauses the vCPU of a machine from another thread.
#[derive(Clone, Debug)]
pub struct Pauser {
    point: PausePoint,
    vcpu: Knocker,
    ranges: Arc<[GuestRange]>,
}

impl Pauser {
    pub(super) fn new(point: PausePoint, vcpu: &VcpuThread, ranges: Vec<GuestRange>) -> Self {
        Self { point, vcpu: vcpu.knocker(), ranges: ranges.into() }
    }

    /// The guest's physical memory.
    pub fn ranges(&self) -> &[GuestRange] {
        &self.ranges
    }

    /// Pauses the vCPU, looks at the guest, and lets it go on. The guest waits for a few seconds at most; the
    /// machine takes this for time in which it did not run. One thread looks at a time.
    ///
    /// # Errors
    /// If the vCPU cannot be paused, or went on before `look` ended.
    pub fn pause<T>(&self, look: impl FnOnce(&PausedVcpu) -> T) -> Result<T, PauseError> {
        let _one_at_a_time = self.point.lookers();

        if !self.point.ask(BATCH) {
            let point = self.point.clone();
            let asked = self.vcpu.knock(move |vm| {
                // Without registers nothing is paused, and the caller is told so.
                if let Ok(registers) = vm.control_registers() {
                    point.pause_between(registers);
                }
            });
            if !asked {
                self.point.withdraw();
                return Err(PauseError::Gone);
            }
        }
        let vcpu = self.point.wait_for_vcpu(JOB)?;
        let seen = look(&vcpu);
        if self.point.resume() { Ok(seen) } else { Err(PauseError::WentOn) }
    }
}
