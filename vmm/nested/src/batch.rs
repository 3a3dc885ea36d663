//! How cases run on a machine, many at once: each becomes a lane of a nested batch, and what the lane did becomes an
//! observation.

use crate::NestedCase;
use crate::generate::CaseBatch;
use crate::observation::{EntryAfter, NestedAttempt, NestedObservation, SeenEnd};
use crate::requirements::cannot_run;
use crate::stubs;
use crosswalk_case::observation::Provenance;
use crosswalk_guest::layout::lane_of_data;
use crosswalk_guest::nested;
use crosswalk_machine::nested::{Lane, LaneExit, LaneRun, NestedBatch, NestedRun, Root};
use crosswalk_machine::{GuestFailure, Machine, MachineError, RunLog};
use mmu_core::nested::SecondLevel;
use mmu_core::{AccessKind, ControlState, PagingMode};

/// The exits of SVM that are told apart (APM volume 2, appendix C).
mod svm {
    pub(super) const EXCEPTION: u64 = 0x40;
    pub(super) const CPUID: u64 = 0x72;
    pub(super) const NPF: u64 = 0x400;
    pub(super) const INVALID: u64 = !0;
    /// The same in 32 bits.
    pub(super) const INVALID_32: u64 = 0xffff_ffff;
}

/// The exits of VMX that are told apart (SDM volume 3, appendix C).
mod vmx {
    pub(super) const EXCEPTION: u32 = 0;
    pub(super) const CPUID: u32 = 10;
    pub(super) const EPT_VIOLATION: u32 = 48;
    pub(super) const EPT_MISCONFIGURATION: u32 = 49;
    /// The entry failed.
    pub(super) const FAILED: u32 = 1 << 31;
}

/// What a batch did.
#[derive(Clone, Debug)]
pub struct BatchRun {
    /// What each case did.
    pub attempts: Vec<NestedAttempt>,
    /// How the guest failed, if it did not survive the batch. Each case has run alone then, and where the guest does
    /// not survive that either, this is what the machine did with the case.
    pub failure: Option<GuestFailure>,
}

/// Runs a batch.
///
/// # Errors
/// If the machine fails, or the guest does and cannot be started again.
pub fn run(
    batch: &CaseBatch,
    machine: &mut dyn Machine,
    provenance: Provenance,
) -> Result<BatchRun, MachineError> {
    let encoded = encode(batch);
    machine.start(encoded.write(machine.memory(), machine.capabilities()));
    finish(batch, &encoded, machine, provenance)
}

/// Waits until a batch that was started has run.
///
/// # Errors
/// As of [`run`].
pub fn finish(
    batch: &CaseBatch,
    encoded: &NestedBatch,
    machine: &mut dyn Machine,
    provenance: Provenance,
) -> Result<BatchRun, MachineError> {
    let ran = machine.finish().and_then(|log| {
        if let Some(why) = &log.skipped {
            return Ok(vec![NestedAttempt::Unsupported(why.clone()); batch.cases.len()]);
        }
        let ran = encoded.read_back(&log, machine.memory())?;
        Ok(observe(batch, encoded, &ran, provenance))
    });

    let (failure, error) = match ran {
        Ok(attempts) => return Ok(BatchRun { attempts, failure: None }),
        Err(error) => match &error {
            MachineError::GuestFailed { failure, .. } => (failure.clone(), error),
            _ => return Err(error),
        },
    };
    machine.recover(error)?;
    // What the batch has stored is undone; nothing else of it counts.
    let _ = encoded.read_back(&RunLog::default(), machine.memory());

    let attempts = if let [_] = batch.cases.as_slice() {
        vec![lost(&failure, provenance)]
    } else {
        let alone = |case| run_alone(case, machine, provenance);
        batch.cases.iter().map(alone).collect::<Result<_, _>>()?
    };
    Ok(BatchRun { attempts, failure: Some(failure) })
}

/// Runs one case, if the machine can run it.
///
/// # Errors
/// As of [`run`].
pub fn run_alone(
    case: &NestedCase,
    machine: &mut dyn Machine,
    provenance: Provenance,
) -> Result<NestedAttempt, MachineError> {
    if let Some(why) = cannot_run(case, machine.capabilities()) {
        return Ok(NestedAttempt::Unsupported(why));
    }
    let attempt = run(&CaseBatch::alone(case), machine, provenance)?.attempts.pop();
    Ok(attempt.unwrap_or_else(|| NestedAttempt::Unsupported("it was not run".into())))
}

/// The guest did not survive the case.
fn lost(failure: &GuestFailure, provenance: Provenance) -> NestedAttempt {
    NestedAttempt::Observed(NestedObservation {
        end: SeenEnd::Lost(failure.into()),
        rip: 0,
        changed: Vec::new(),
        stored: Vec::new(),
        provenance,
    })
}

/// The batch as the machine takes it.
pub fn encode(batch: &CaseBatch) -> NestedBatch {
    let mut tables = vec![[0_u64; 512]; nested::TABLES];
    let first = batch.arena.nested_table(0);
    for entry in batch.cases.iter().flat_map(NestedCase::entries) {
        let offset = entry.at.wrapping_sub(first);
        if let Some(table) = tables.get_mut((offset >> 12) as usize) {
            table[(offset & 0xfff) as usize / 8] |= entry.value << ((offset & 4) * 8);
        }
    }

    NestedBatch {
        arena: batch.arena,
        host: batch.cases.first().map_or_else(|| ControlState::four_level(0), host_of),
        tables,
        code: stubs::page(),
        lanes: batch.cases.iter().map(lane_of).collect(),
    }
}

/// The control state of the hypervisor.
fn host_of(case: &NestedCase) -> ControlState {
    match case.second {
        SecondLevel::Npt(host) => host,
        SecondLevel::Ept(_) => ControlState::four_level(0),
    }
}

fn lane_of(case: &NestedCase) -> Lane {
    let code = case.code.get();
    let address = case.access.address.get();
    let is_fetch = case.access.kind == AccessKind::Fetch;
    Lane {
        state: case.guest,
        is_64_bit: case.is_64_bit(),
        ring: case.access.ring,
        rip: if is_fetch { address } else { code.wrapping_add(stubs::offset(&case.access)) },
        rax: address,
        back: code.wrapping_add(stubs::BACK),
        ac: case.access.ac,
        root: match case.second {
            SecondLevel::Npt(host) => Root::Npt { ncr3: host.cr3 },
            SecondLevel::Ept(ept) => {
                Root::Ept { eptp: ept.eptp, mode_based_execute: ept.mode_based_execute }
            }
        },
    }
}

/// What the lanes did, as observations of their cases.
pub fn observe(
    batch: &CaseBatch,
    encoded: &NestedBatch,
    ran: &NestedRun,
    provenance: Provenance,
) -> Vec<NestedAttempt> {
    let mut attempts: Vec<NestedAttempt> = batch
        .cases
        .iter()
        .zip(&ran.lanes)
        .map(|(case, lane)| attempt_of(case, lane, provenance))
        .collect();

    add_entries(batch, encoded, ran, &mut attempts);
    for (at, byte) in &ran.stored {
        let lane = lane_of_data(*at).unwrap_or(0);
        if let Some(seen) = observed(&mut attempts, lane) {
            seen.stored.push((*at, *byte));
        }
    }
    attempts
}

fn attempt_of(case: &NestedCase, lane: &LaneRun, provenance: Provenance) -> NestedAttempt {
    let completed = SeenEnd::Completed { rax: lane.rax, rcx: lane.rcx };
    let end = match lane.exit {
        LaneExit::NotRun => {
            return NestedAttempt::Unsupported("the hypervisor did not come to this case".into());
        }
        LaneExit::Svm { code: svm::CPUID, .. } | LaneExit::Vmx { reason: vmx::CPUID, .. } => {
            completed
        }
        LaneExit::Svm { code: svm::NPF, info1, info2 } => SeenEnd::Npf { info1, info2 },
        LaneExit::Svm { code, info1, info2 } => match code.checked_sub(svm::EXCEPTION) {
            Some(vector @ 0..32) => SeenEnd::Fault {
                vector: vector as u8,
                error_code: info1 as u32,
                cr2: if vector == 14 { info2 } else { lane.cr2 },
            },
            _ if matches!(code, svm::INVALID | svm::INVALID_32) => SeenEnd::NotEntered { code },
            _ => SeenEnd::Other { code },
        },
        LaneExit::Vmx {
            reason: vmx::EXCEPTION,
            qualification,
            interruption,
            interruption_error,
            ..
        } => SeenEnd::Fault {
            vector: interruption as u8,
            error_code: interruption_error,
            cr2: qualification,
        },
        LaneExit::Vmx {
            reason: vmx::EPT_VIOLATION,
            qualification,
            guest_physical,
            guest_linear,
            ..
        } => SeenEnd::EptViolation { qualification, guest_physical, linear: guest_linear },
        LaneExit::Vmx {
            reason: vmx::EPT_MISCONFIGURATION, qualification, guest_physical, ..
        } => SeenEnd::EptMisconfiguration { guest_physical, qualification },
        LaneExit::Vmx { reason, .. } if reason & vmx::FAILED != 0 => {
            SeenEnd::NotEntered { code: reason.into() }
        }
        LaneExit::Vmx { reason, .. } => SeenEnd::Other { code: reason.into() },
        LaneExit::VmxFailed { error } => SeenEnd::NotEntered { code: error.into() },
    };

    // 32-bit code has the low half of RIP.
    let rip = if case.is_64_bit() { lane.rip } else { lane.rip & 0xffff_ffff };
    NestedAttempt::Observed(NestedObservation {
        end,
        rip,
        changed: Vec::new(),
        stored: Vec::new(),
        provenance,
    })
}

/// Adds every word of the tables that changed to the case that has it.
fn add_entries(
    batch: &CaseBatch,
    encoded: &NestedBatch,
    ran: &NestedRun,
    attempts: &mut [NestedAttempt],
) {
    let first = batch.arena.nested_table(0);
    let tables = encoded.tables.iter().zip(&ran.tables).enumerate();
    for (number, (before, after)) in tables {
        if before == after {
            continue;
        }
        for (index, (before, after)) in before.iter().zip(after).enumerate() {
            if before != after {
                let at = first + (number * 0x1000 + index * 8) as u64;
                add_word(batch, at, *before, *after, attempts);
            }
        }
    }
}

/// Adds a word that changed: one entry of 8 bytes, or one or two of 4.
fn add_word(batch: &CaseBatch, at: u64, before: u64, after: u64, attempts: &mut [NestedAttempt]) {
    let owner = batch.cases.iter().position(|case| case.entries().any(|entry| entry.at & !7 == at));
    let lane = owner.unwrap_or(0);
    let is_narrow = owner.and_then(|lane| batch.cases.get(lane)).is_some_and(|case| {
        let of_guest = case.guest_entries.iter().any(|entry| entry.at & !7 == at);
        let mode = match (of_guest, case.second) {
            (true, _) => case.mode(),
            (false, SecondLevel::Npt(host)) => host.mode(),
            (false, SecondLevel::Ept(_)) => PagingMode::FourLevel,
        };
        mode == PagingMode::Bits32
    });
    let Some(seen) = observed(attempts, lane) else { return };

    if !is_narrow {
        seen.changed.push(EntryAfter { at, before, after });
        return;
    }
    for half in [0, 4] {
        let part = |word: u64| word >> (half * 8) & 0xffff_ffff;
        if part(before) != part(after) {
            let (before, after) = (part(before), part(after));
            seen.changed.push(EntryAfter { at: at + half, before, after });
        }
    }
}

/// The observation of a lane, or else the first there is.
fn observed(attempts: &mut [NestedAttempt], lane: usize) -> Option<&mut NestedObservation> {
    let is_observed = |attempt: &NestedAttempt| matches!(attempt, NestedAttempt::Observed(_));
    let index = if attempts.get(lane).is_some_and(is_observed) {
        lane
    } else {
        attempts.iter().position(is_observed)?
    };
    match attempts.get_mut(index)? {
        NestedAttempt::Observed(seen) => Some(seen),
        NestedAttempt::Unsupported(_) => None,
    }
}
