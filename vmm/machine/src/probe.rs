//! Finding out, by trying, what a machine can do: batches of plain cases, all changed in one way.

use super::batch::{Batch, DataFrames, Encoded};
use super::memory::GuestMemory;
use super::{Machine, MachineError};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Observation, name_of_fault};
use crosswalk_guest::layout::{Arena, CONTROL};
use crosswalk_guest::mailbox::{Control, PROBE_LIMIT};
use mmu_core::{Cr4, Features, PagingMode, Ring};

/// Cases in a probe batch: enough for counters to stand out from the batch's own costs.
pub(super) const CASES: usize = 64;

/// Runs probe batches.
#[derive(Debug, Default)]
pub(super) struct Prober {
    frames: DataFrames,
    batches: u64,
}

impl Prober {
    /// Runs plain cases in one mode and ring, all changed in the same way.
    pub(super) fn run(
        &mut self,
        machine: &mut impl Machine,
        mode: PagingMode,
        ring: Ring,
        change: impl Fn(&mut Case),
    ) -> Result<Vec<Attempt>, MachineError> {
        let arena = Arena::for_batch(self.batches);
        let profile = machine.capabilities().profile;
        let cases = (0..CASES).map(|lane| {
            let mut case = Case::plain_in(mode, arena, lane, ring, profile);
            change(&mut case);
            case
        });
        let batch = Batch { arena, cases: cases.collect() };
        let encoded = Encoded::new(batch, machine.image(), machine.capabilities());
        self.batches += 1;
        let command = encoded.write(machine.memory());
        let log = machine.run(command).map_err(|error| encoded.blame(error))?;
        encoded.read_back(&log, machine.memory(), &mut self.frames, machine.provenance())
    }

    /// Why a mode is not offered: CPUID lacks it, or plain accesses do not complete in it.
    pub(super) fn mode(
        &mut self,
        machine: &mut impl Machine,
        mode: PagingMode,
    ) -> Result<Result<(), String>, MachineError> {
        let has_la57 = machine.capabilities().profile.features.contains(Features::LA57);
        if mode == PagingMode::FiveLevel && !has_la57 {
            return Ok(Err("CPUID 7 ECX[16] says that there is no LA57".into()));
        }
        for ring in [Ring::Zero, Ring::Three] {
            let runs = self.run(machine, mode, ring, |_| {})?;
            let completes = |run: &Attempt| observed(run).is_some_and(|seen| seen.fault.is_none());
            let Some(failed) = runs.iter().find(|run| !completes(run)) else { continue };
            let end = match (failed, observed(failed).and_then(|seen| seen.fault)) {
                (Attempt::Unsupported(why), _) => why.clone(),
                (_, Some(fault)) => name_of_fault(fault.vector, fault.error_code),
                (_, None) => "nothing".to_owned(),
            };
            let ring = if ring == Ring::Zero { 0 } else { 3 };
            return Ok(Err(format!("a plain read in ring {ring} ends in {end}")));
        }
        Ok(Ok(()))
    }

    /// Whether PKRU can be loaded in ring 0; the machine must have PKU.
    pub(super) fn pkru_in_ring_0(
        &mut self,
        machine: &mut impl Machine,
    ) -> Result<bool, MachineError> {
        // Key 15 is no plain case's: only the instruction is tried.
        let keyed = |case: &mut Case| {
            case.state.cr4 |= Cr4::PKE;
            case.state.pkru = 0xc000_0000;
        };
        let runs = self.run(machine, PagingMode::FourLevel, Ring::Zero, keyed)?;
        Ok(runs.iter().all(|run| observed(run).is_some()))
    }
}

/// What was observed, if the case ran.
pub(super) fn observed(run: &Attempt) -> Option<&Observation> {
    match run {
        Attempt::Observed(observation) => Some(observation),
        Attempt::Unsupported(_) => None,
    }
}

/// The guest's self-test at boot: the reference, walking in the guest.
pub(super) fn check_self_test(memory: &GuestMemory) -> Result<(), MachineError> {
    let walked = memory.read_value::<Control>(CONTROL).modes_walked;
    if walked == PagingMode::ALL.len() as u64 {
        return Ok(());
    }
    let what = format!("failed its self-test: its reference walks {walked} modes of 5 right");
    Err(MachineError::guest(what, None))
}

/// Whether the guest's descriptor probe at boot found the guest's own descriptor.
pub(super) fn implicit_accesses(memory: &GuestMemory) -> Result<(), String> {
    let Control { descriptor_limit, .. } = memory.read_value(CONTROL);
    if descriptor_limit == u64::from(PROBE_LIMIT) {
        return Ok(());
    }
    let found = if descriptor_limit == u64::MAX {
        "no such descriptor".to_owned()
    } else {
        format!("the limit {descriptor_limit:#x}")
    };
    Err(format!(
        "a descriptor read in ring 3 does not use the guest's own table: LSL found {found}, and \
         {PROBE_LIMIT:#x} was to be found"
    ))
}
