//! Litmus tests on QEMU's TCG, with a thread for each processor.

use super::image;
use super::layout::{CONTROL, MEMORY_SIZE, barrier, finished};
use super::{LitmusPlan, OutcomeCounts, counts};
use crate::jail::Jail;
use crate::patience::Patience;
use crate::qemu::process::{Options, QemuProcess, RamRegion};
use crate::qemu::unnamed_file::unnamed_file;
use crate::{GuestFailure, MachineError};
use mmu_core::litmus::LitmusTest;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

/// Runs a test on a QEMU, given by its name or path.
///
/// # Errors
/// If there is no such QEMU, a processor hangs or resets, or the host fails.
pub fn run_on_qemu(
    test: &LitmusTest,
    plan: &LitmusPlan,
    program: &Path,
    jail: &Jail,
) -> Result<OutcomeCounts, MachineError> {
    let file = unnamed_file("guest memory")?;
    file.set_len(MEMORY_SIZE).map_err(MachineError::host("sizing guest memory"))?;
    let own = file.try_clone().map_err(MachineError::host("sharing guest memory"))?;
    let range = (GuestAddress(0), MEMORY_SIZE as usize, Some(FileOffset::new(own, 0)));
    let memory = GuestMemoryMmap::from_ranges_with_files(&[range]).map_err(|error| {
        MachineError::host("mapping guest memory")(std::io::Error::other(error))
    })?;
    let iterations = plan.iterations();
    image::load(&memory, test, iterations, &plan.delays);

    let options = Options {
        program,
        phys_bits: None,
        cpu_flags: &[],
        memory: &[RamRegion { guest_physical: 0, len: MEMORY_SIZE, file: file.as_fd() }],
        processors: test.programs.len() as u8,
    };
    let mut process = QemuProcess::start(&options, jail)?;
    wait(&mut process, &memory, test.programs.len(), plan.patience)?;
    counts(&memory, test, iterations)
}

/// Waits until every processor has finished.
fn wait(
    process: &mut QemuProcess,
    memory: &GuestMemoryMmap,
    processors: usize,
    limit: Duration,
) -> Result<(), MachineError> {
    const PAUSE: Duration = Duration::from_millis(2);
    let has_finished = |number| {
        memory.read_obj::<u8>(GuestAddress(CONTROL + finished(number))).is_ok_and(|done| done == 1)
    };

    let progress = || -> Vec<u64> {
        let counters = (0..processors).map(|number| GuestAddress(CONTROL + barrier(number)));
        counters.map(|at| memory.read_obj(at).unwrap_or(0)).collect()
    };

    let mut patience: Option<Patience> = None;
    let mut last = progress();
    while !(0..processors).all(has_finished) {
        std::thread::sleep(PAUSE);
        process.check_alive()?;
        let (used, now) = (process.cpu_time()?, Instant::now());
        if progress() != last {
            last = progress();
            patience = None;
        }
        let patience = patience.get_or_insert_with(|| Patience::start(limit, used, now));
        if patience.is_over(used, now) {
            return Err(MachineError::guest(GuestFailure::Hang, None));
        }
    }
    Ok(())
}
