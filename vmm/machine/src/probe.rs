//! Probes: batches of plain cases, all changed in one way, that show what a machine can do.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use crate::batch::{Batch, Encoded};
use crate::memory::GuestMemory;
use crate::{GuestFailure, Machine, MachineError, ModeOffer};
use crosswalk_case::observation::{Attempt, Observation, SavedFrame, name_of_fault};
use crosswalk_case::{Action, Case};
use crosswalk_guest::layout::{Arena, CONTROL};
use crosswalk_guest::mailbox::{Control, PROBE_LIMIT};
use crosswalk_guest::tables::TableUse;
use mmu_core::x86::control::Mov;
use mmu_core::{ControlState, Cr4, Features, PagingMode, Ring};
use std::collections::BTreeSet;

/// Number of cases in a probe batch: enough for counters to stand out from the costs of the batch
/// itself.
pub(super) const CASES: usize = 64;

/// A PKRU that restricts key 15 only, which no plain case uses: loading it tests the instruction
/// alone.
pub(super) const HARMLESS_PKRU: u32 = 0xc000_0000;

/// Runs probe batches.
#[derive(Debug, Default)]
pub(super) struct Prober {
    batches: u64,
}

impl Prober {
    /// Runs plain cases in one use of the tables and one ring, all changed in the same way.
    pub(super) fn run(
        &mut self,
        machine: &mut impl Machine,
        table_use: TableUse,
        ring: Ring,
        change: impl Fn(&mut Case),
    ) -> Result<Vec<Attempt>, MachineError> {
        let arena = Arena::for_batch(self.batches);
        let profile = machine.capabilities().profile;
        let cases = (0..CASES).map(|lane| {
            let mut case = Case::plain_with(table_use, arena, lane, ring, profile);
            change(&mut case);
            case
        });
        let batch = Batch { arena, cases: cases.collect() };
        self.run_batch(machine, batch)
    }

    fn run_batch(
        &mut self,
        machine: &mut impl Machine,
        batch: Batch,
    ) -> Result<Vec<Attempt>, MachineError> {
        let encoded = Encoded::new(batch, machine.image(), machine.capabilities());
        self.batches = self.batches.wrapping_add(1);

        let command = encoded.write(machine.memory());
        let log = machine.run(command).map_err(|error| encoded.blame(error))?;
        encoded.read_back(&log, machine.memory(), machine.provenance())
    }

    /// Whether the machine offers a mode. It does not if CPUID lacks the mode, or if plain accesses
    /// do not complete in it.
    pub(super) fn mode(
        &mut self,
        machine: &mut impl Machine,
        mode: PagingMode,
    ) -> Result<ModeOffer, MachineError> {
        let has_la57 = machine.capabilities().profile.features.contains(Features::LA57);
        if mode == PagingMode::FiveLevel && !has_la57 {
            return Ok((mode, Err("CPUID 7 ECX[16] says that there is no LA57".into())));
        }

        let offer = self.plain_reads(machine, TableUse::of(mode))?;
        Ok((mode, offer))
    }

    /// Whether the machine runs code in compatibility mode.
    pub(super) fn compatibility(
        &mut self,
        machine: &mut impl Machine,
    ) -> Result<Result<(), String>, MachineError> {
        let table_use = TableUse { mode: PagingMode::FourLevel, compatibility: true };
        self.plain_reads(machine, table_use)
    }

    /// Whether plain reads complete in both rings, or how one ends.
    fn plain_reads(
        &mut self,
        machine: &mut impl Machine,
        table_use: TableUse,
    ) -> Result<Result<(), String>, MachineError> {
        for ring in [Ring::Zero, Ring::Three] {
            let attempts = self.run(machine, table_use, ring, |_| {})?;

            if let Some(failed) = attempts.iter().find(|attempt| !completes(attempt)) {
                let end = how_it_ended(failed);
                return Ok(Err(format!("a plain read in ring {} ends in {end}", ring.cpl())));
            }
        }

        Ok(Ok(()))
    }

    /// Whether the guest survives a MOV to CR3 or CR4 of a reserved bit, or how it fails. After that the
    /// machine must be started again.
    pub(super) fn reserved_movs(
        &mut self,
        machine: &mut impl Machine,
    ) -> Result<Result<(), String>, MachineError> {
        let [arena, _] = Arena::ALL;
        let profile = machine.capabilities().profile;
        let mut case = Case::plain(arena, 0, Ring::Zero, profile);
        let ControlState { cr3, cr4, .. } = case.state;
        let movs = [Mov::Cr4(cr4 | Cr4::from_bits_retain(1 << 15)), Mov::Cr3(cr3 | 1 << 63)];
        case.before = movs.map(Action::Mov).to_vec();

        match self.run_batch(machine, Batch { arena, cases: vec![case] }) {
            Err(MachineError::GuestFailed { failure, .. }) => Ok(Err(format!(
                "a MOV to CR3 or CR4 of a reserved bit ends the guest: it {failure}"
            ))),
            ran => ran.map(|_| Ok(())),
        }
    }

    /// Whether page faults save RFLAGS with RF=1 or with 0. `None` if some do and others do not, or the guest
    /// does not see it.
    pub(super) fn saved_rf(
        &mut self,
        machine: &mut impl Machine,
    ) -> Result<Option<bool>, MachineError> {
        let without_page = |case: &mut Case| {
            case.entries.pop();
        };
        let table_use = TableUse::of(PagingMode::FourLevel);
        let attempts = self.run(machine, table_use, Ring::Three, without_page)?;

        let frames = attempts.iter().filter_map(|attempt| observed(attempt)?.fault?.frame);
        let saved: BTreeSet<bool> = frames.map(SavedFrame::has_rf).collect();
        Ok(saved.first().copied().filter(|_| saved.len() == 1))
    }

    /// Whether ring 0 can load PKRU. The machine must have PKU.
    pub(super) fn pkru_in_ring_0(
        &mut self,
        machine: &mut impl Machine,
    ) -> Result<bool, MachineError> {
        let keyed = |case: &mut Case| {
            case.state.cr4 |= Cr4::PKE;
            case.state.pkru = HARMLESS_PKRU;
        };
        let attempts = self.run(machine, TableUse::of(PagingMode::FourLevel), Ring::Zero, keyed)?;

        Ok(attempts.iter().all(|attempt| observed(attempt).is_some()))
    }
}

/// What was observed, if the case ran.
pub(super) fn observed(attempt: &Attempt) -> Option<&Observation> {
    match attempt {
        Attempt::Observed(observation) => Some(observation),
        Attempt::Unsupported(_) => None,
    }
}

fn completes(attempt: &Attempt) -> bool {
    observed(attempt).is_some_and(|observation| observation.fault.is_none())
}

/// The end of an attempt that did not complete.
fn how_it_ended(attempt: &Attempt) -> String {
    match attempt {
        Attempt::Unsupported(why) => why.clone(),
        Attempt::Observed(observation) => observation.fault.map_or_else(
            || "nothing".to_owned(),
            |fault| name_of_fault(fault.vector, fault.error_code),
        ),
    }
}

/// Checks the guest's self-test at boot: the reference walk, running in the guest.
pub(super) fn check_self_test(memory: &GuestMemory) -> Result<(), MachineError> {
    let right = memory.read_value::<Control>(CONTROL).modes_walked;

    if right == PagingMode::ALL.len() as u64 {
        Ok(())
    } else {
        Err(MachineError::guest(GuestFailure::SelfTest { right }, None))
    }
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
