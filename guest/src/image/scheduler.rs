//! Running the programs of one request: processes take turns, and the system serves their faults.

use crate::environment::ImageEnvironment;
use crate::process::{ProcessRegisters, ProcessorMode, Trap};
use crosswalk_guest::system::layout::{MAX_FRAMES, MAX_SLOTS};
use crosswalk_guest::system::program::Call;
use crosswalk_guest::system::{Ending, MAX_RUNS, ProgramRun, Response, ScriptMismatch};
use mmu_core::space::{Decision, SpaceId, System};
use mmu_core::x86::format::Format;
use mmu_core::{Fault, Vector, VirtAddr};

/// A system of the guest's size.
pub(crate) type KernelSystem<F> = System<F, MAX_FRAMES, MAX_SLOTS>;

/// Number of equal faults in a row after which an access is taken never to complete.
const MAX_FAULTS: u32 = 8;

/// Runs every program to its end, round robin: a process that yields lets the next one go on.
/// Endings and mismatches go into the response.
pub(crate) fn run_in_turn<F: Format>(
    system: &mut KernelSystem<F>,
    environment: &mut ImageEnvironment,
    processor: ProcessorMode,
    runs: &[Option<ProgramRun>; MAX_RUNS],
    response: &mut Response,
) {
    let start = |run: ProgramRun| (run.space, processor.start(run.program, run.arguments));
    let mut waiting = runs.map(|run| run.map(start));

    while waiting.iter().any(Option::is_some) {
        for (place, ending) in waiting.iter_mut().zip(&mut response.endings) {
            let Some((space, registers)) = place else { continue };

            let mut report_mismatch = |mismatch| {
                if let Some(entry) = response.mismatches.get_mut(response.mismatch_count as usize) {
                    *entry = mismatch;
                }
                response.mismatch_count += 1;
            };
            let turn =
                take_turn(system, environment, processor, *space, registers, &mut report_mismatch);

            if let Some(ended) = turn {
                *ending = ended.words();
                *place = None;
            }
        }
    }
}

/// Runs a process until it yields (`None`) or ends.
fn take_turn<F: Format>(
    system: &mut KernelSystem<F>,
    environment: &mut ImageEnvironment,
    processor: ProcessorMode,
    space: SpaceId,
    registers: &mut ProcessRegisters,
    report_mismatch: &mut impl FnMut(ScriptMismatch),
) -> Option<Ending> {
    let mut last = None;
    let mut repeated = 0;

    loop {
        let root = match system.root(space) {
            Ok(root) => root,
            Err(error) => return Some(Ending::Refused(error)),
        };
        let trap = processor.run(root, registers);

        if let Some((call, [address, low, high])) = registers.call(&trap) {
            registers.step_over_call();

            if call == Call::Mismatch as u64 {
                let found = low & 0xffff_ffff | high << 32;
                report_mismatch(ScriptMismatch { space: space.0.into(), address, found });
                continue;
            }
            return if call == Call::Yield as u64 { None } else { Some(Ending::Exited) };
        }

        let Some(fault) = fault_of(&trap) else {
            return Some(Ending::Exception(trap.vector as u8));
        };
        repeated = if last == Some((trap.at, fault)) { repeated + 1 } else { 1 };
        last = Some((trap.at, fault));

        match system.fault(environment, space, &fault) {
            Ok(Decision::Invalid(invalid)) => return Some(Ending::Invalid(invalid)),
            Ok(_) if repeated >= MAX_FAULTS => return Some(Ending::Endless),
            Ok(_) => {}
            Err(error) => return Some(Ending::Refused(error)),
        }
    }
}

/// The fault that the system serves; `None` for exceptions that no address causes.
fn fault_of(trap: &Trap) -> Option<Fault> {
    let vector = Vector::from_number(trap.vector as u8)?;
    let cr2 = (vector == Vector::PageFault).then(|| VirtAddr::new(trap.cr2));

    Some(Fault { vector, error_code: trap.error_code as u32, cr2 })
}
