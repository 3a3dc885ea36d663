//! Finding out, by trying, what this KVM can do and who decides what.
//!
//! Provenance: a few batches of plain cases are run, one class of result and one ring at a time,
//! and KVM's counters say how many instructions it emulated and how many page faults it injected.

use super::KvmMachine;
use super::stats::{Counters, Stats};
use crate::case::Case;
use crate::machine::batch::{Batch, DataFrames, Encoded};
use crate::machine::host::Flavour;
use crate::machine::{Capabilities, Machine, MachineError, ProvenanceMap, ResultClass};
use crate::observation::{Observation, Provenance, Run};
use guest::layout::{Arena, CONTROL};
use guest::mailbox::{Control, PROBE_LIMIT};
use mmu_core::{Cr4, Features, PagingMode, Profile, Ring, VirtAddr};

/// Cases in a probe batch: enough for the counters to stand out from the batch's own costs.
const CASES: usize = 64;

/// Before the probes: what CPUID says and no more.
pub(super) fn unprobed_capabilities(profile: Profile) -> Capabilities {
    Capabilities {
        profile,
        not_in_cpuid: Cr4::empty(),
        modes: Vec::new(),
        implicit_accesses: Ok(()),
        pkru_without_pku: false,
        pkru_in_ring_0: false,
        high_memory: true,
        sees_outside: true,
    }
}

/// Before the probes: the humblest assumption.
pub(super) fn unprobed_provenance() -> ProvenanceMap {
    let all = [Provenance::KvmEmulator; 3];
    ProvenanceMap { user: all, supervisor: all, outside: Provenance::KvmEmulator }
}

/// Runs all probes and notes what they found.
pub(super) fn probe(machine: &mut KvmMachine, flavour: Flavour) -> Result<(), MachineError> {
    let mut prober = Prober { machine, frames: DataFrames::default(), batches: 0 };
    prober.probe_provenance(flavour)?;
    prober.probe_control_bits()?;
    prober.probe_pkru()?;
    for mode in PagingMode::ALL {
        let offer = prober.probe_mode(mode)?;
        prober.machine.capabilities.modes.push((mode, offer));
    }
    prober.machine.capabilities.implicit_accesses = implicit_accesses(prober.machine);
    Ok(())
}

/// Whether the guest's descriptor probe found the guest's own descriptor.
fn implicit_accesses(machine: &KvmMachine) -> Result<(), String> {
    let Control { descriptor_limit, .. } = machine.memory.read_value(CONTROL);
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

struct Prober<'m> {
    machine: &'m mut KvmMachine,
    frames: DataFrames,
    batches: u64,
}

impl Prober<'_> {
    /// Runs plain cases in one ring, all changed in the same way.
    fn run(
        &mut self,
        ring: Ring,
        change: impl Fn(&mut Case),
    ) -> Result<(Vec<Run>, Counters), MachineError> {
        self.run_in(PagingMode::FourLevel, ring, change)
    }

    fn run_in(
        &mut self,
        mode: PagingMode,
        ring: Ring,
        change: impl Fn(&mut Case),
    ) -> Result<(Vec<Run>, Counters), MachineError> {
        let arena = Arena::for_batch(self.batches);
        let profile = self.machine.capabilities.profile;
        let cases = (0..CASES).map(|lane| {
            let mut case = Case::plain_in(mode, arena, lane, ring, profile);
            change(&mut case);
            case
        });
        let batch = Batch { arena, cases: cases.collect() };
        let encoded = Encoded::new(batch, &self.machine.image, &self.machine.capabilities);
        self.batches += 1;
        let command = encoded.write(&self.machine.memory);
        let stats = Stats::open(&self.machine.vm.vcpu)
            .map_err(|source| MachineError::Host { doing: "KVM_GET_STATS_FD", source })?;
        let read = || {
            stats
                .read()
                .map_err(|source| MachineError::Host { doing: "reading KVM's counters", source })
        };
        let before = read()?;
        let log = self.machine.run(command).map_err(|error| encoded.blame(error))?;
        let counters = read()?.since(before);
        let (memory, provenance) = (&self.machine.memory, &self.machine.provenance);
        let runs = encoded.read_back(&log, memory, &mut self.frames, provenance)?;
        Ok((runs, counters))
    }

    fn probe_provenance(&mut self, flavour: Flavour) -> Result<(), MachineError> {
        let provenance = |emulated: bool, otherwise: Provenance| {
            if emulated { Provenance::KvmEmulator } else { otherwise }
        };
        for ring in [Ring::Zero, Ring::Three] {
            let (_, reads) = self.run(ring, |_| {})?;
            let (_, faults) = self.run(ring, |case| case.entries[3].value = 0)?;
            let (_, bad_addresses) = self.run(ring, make_non_canonical)?;
            // A list of 64 reads is some 300 instructions. Natively run, none is emulated but the
            // batch's own overhead; more than one for each case is no overhead.
            let runs_in_kvm = reads.instructions_emulated > 3 * CASES as u64;
            let injected = faults.faults_injected >= CASES as u64;
            // The handler's instructions may be emulated too, but they are as many for a page
            // fault: what an address fault costs beyond those is the access itself.
            let address_in_kvm = runs_in_kvm
                || bad_addresses.instructions_emulated
                    >= faults.instructions_emulated + CASES as u64 / 2;
            let map = [
                (
                    ResultClass::Translation,
                    if flavour.processor_walks() {
                        Provenance::Processor
                    } else {
                        Provenance::ProcessorOnShadowTables
                    },
                    runs_in_kvm,
                ),
                (
                    ResultClass::PageFault,
                    if injected { Provenance::KvmWalker } else { Provenance::Processor },
                    runs_in_kvm,
                ),
                (ResultClass::AddressFault, Provenance::Processor, address_in_kvm),
            ]
            .map(|(_, otherwise, emulated)| provenance(emulated, otherwise))
            .map(|provenance| self.beneath(provenance));
            match ring {
                Ring::Zero => self.machine.provenance.supervisor = map,
                Ring::Three => self.machine.provenance.user = map,
            }
        }
        Ok(())
    }

    /// Beneath TCG, what would be the processor's is TCG's.
    fn beneath(&self, provenance: Provenance) -> Provenance {
        match provenance {
            _ if self.machine.identity.beneath != "tcg" => provenance,
            Provenance::Processor => Provenance::Tcg,
            Provenance::ProcessorOnShadowTables => Provenance::TcgOnShadowTables,
            other => other,
        }
    }

    /// Which of SMEP and SMAP the machine accepts and obeys though its CPUID lacks them.
    fn probe_control_bits(&mut self) -> Result<(), MachineError> {
        let features = self.machine.capabilities.profile.features;
        for (bit, feature) in [(Cr4::SMEP, Features::SMEP), (Cr4::SMAP, Features::SMAP)] {
            if features.contains(feature) {
                continue;
            }
            let mut state =
                Case::plain(Arena::ALL[0], 0, Ring::Zero, self.machine.capabilities.profile).state;
            state.cr4 |= bit;
            if self.machine.vm.force_control(&state).is_err() {
                continue;
            }
            self.machine.capabilities.not_in_cpuid |= bit;
            let (runs, _) = self.run(Ring::Zero, |case| {
                case.state.cr4 |= bit;
                if bit == Cr4::SMEP {
                    make_fetch(case);
                }
            })?;
            if !runs.iter().all(|run| observed(run).is_some_and(|seen| seen.fault.is_some())) {
                self.machine.capabilities.not_in_cpuid -= bit;
            }
        }
        Ok(())
    }

    /// Why a mode is not offered: CPUID lacks it, or plain accesses do not complete in it. A guest that
    /// died of it is started anew.
    fn probe_mode(&mut self, mode: PagingMode) -> Result<Result<(), String>, MachineError> {
        let features = self.machine.capabilities.profile.features;
        if mode == PagingMode::FiveLevel && !features.contains(Features::LA57) {
            return Ok(Err("CPUID 7 ECX[16] says that there is no LA57".into()));
        }
        for ring in [Ring::Zero, Ring::Three] {
            match self.run_in(mode, ring, |_| {}) {
                Ok((runs, _)) => {
                    let completed =
                        |run: &Run| observed(run).is_some_and(|seen| seen.fault.is_none());
                    if !runs.iter().all(completed) {
                        let ring = if ring == Ring::Zero { 0 } else { 3 };
                        return Ok(Err(format!("a plain read in ring {ring} does not complete")));
                    }
                }
                Err(MachineError::GuestFailed { what, .. }) => {
                    self.machine.start_anew()?;
                    return Ok(Err(format!("entering it, the guest {what}")));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(Ok(()))
    }

    /// Whether ring 3 can load PKRU though CPUID lacks PKU; where CPUID has it, whether ring 0 can.
    fn probe_pkru(&mut self) -> Result<(), MachineError> {
        if self.machine.capabilities.profile.features.contains(Features::PKU) {
            self.machine.capabilities.pkru_in_ring_0 = true;
            let keyed = |case: &mut Case| {
                case.state.cr4 |= Cr4::PKE;
                case.state.pkru = 0xc000_0000;
            };
            let loaded = self.run(Ring::Zero, keyed);
            let loaded =
                loaded.is_ok_and(|(runs, _)| runs.iter().all(|run| observed(run).is_some()));
            if !loaded {
                self.machine.start_anew()?;
            }
            self.machine.capabilities.pkru_in_ring_0 = loaded;
            return Ok(());
        }
        self.machine.capabilities.pkru_without_pku = true;
        // Key 15 is no plain case's: only the instruction is tried.
        let (runs, _) = self.run(Ring::Three, |case| case.state.pkru = 0xc000_0000)?;
        let loaded = runs.iter().all(|run| observed(run).is_some());
        self.machine.capabilities.pkru_without_pku = loaded;
        Ok(())
    }
}

fn observed(run: &Run) -> Option<&Observation> {
    match run {
        Run::Observed(observation) => Some(observation),
        Run::Unsupported(_) => None,
    }
}

fn make_non_canonical(case: &mut Case) {
    let address = case.access.address.get();
    case.access.address = VirtAddr::new(address ^ 1 << 62);
}

fn make_fetch(case: &mut Case) {
    case.access.kind = mmu_core::AccessKind::Fetch;
    case.access.address = VirtAddr::new((case.access.address.get() & !0xfff) | 0x808);
    case.form = guest::stub::Form::Jump;
}
