//! Finding out, by trying, what this KVM can do and who decides what.
//!
//! Provenance: a few batches of plain cases are run, one class of result and one ring at a time,
//! and KVM's counters say how many instructions it emulated and how many page faults it injected.

use super::KvmMachine;
use super::stats::{Counters, Stats};
use crate::host::Flavour;
use crate::probe::{CASES, Prober, implicit_accesses, observed};
use crate::{MachineError, ProvenanceMap, ResultClass};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Provenance};
use crosswalk_guest::layout::Arena;
use mmu_core::{Cr4, Features, PagingMode, Ring, VirtAddr};

/// Before the probes: the humblest assumption.
pub(super) fn unprobed_provenance() -> ProvenanceMap {
    let all = [Provenance::KvmEmulator; 3];
    // A change of CR0.PG leaves the guest under every KVM, which loads the PDPTEs itself.
    let load = Provenance::KvmEmulator;
    ProvenanceMap { user: all, supervisor: all, outside: Provenance::KvmEmulator, load }
}

/// Runs all probes and notes what they found.
pub(super) fn probe(machine: &mut KvmMachine, flavour: Flavour) -> Result<(), MachineError> {
    let mut prober = KvmProber { machine, prober: Prober::default() };
    prober.probe_provenance(flavour)?;
    prober.probe_control_bits()?;
    prober.probe_pkru()?;
    for mode in PagingMode::ALL {
        let offer = prober.probe_mode(mode)?;
        prober.machine.parts.capabilities.modes.push((mode, offer));
    }
    prober.machine.parts.capabilities.implicit_accesses =
        implicit_accesses(&prober.machine.parts.memory);
    Ok(())
}

struct KvmProber<'m> {
    machine: &'m mut KvmMachine,
    prober: Prober,
}

impl KvmProber<'_> {
    /// Runs plain 4-level cases in one ring, all changed in the same way, and says what KVM did.
    fn run(
        &mut self,
        ring: Ring,
        change: impl Fn(&mut Case),
    ) -> Result<(Vec<Attempt>, Counters), MachineError> {
        let stats = Stats::open(&self.machine.vm.vcpu)
            .map_err(|source| MachineError::Host { doing: "KVM_GET_STATS_FD", source })?;
        let read = || {
            stats
                .read()
                .map_err(|source| MachineError::Host { doing: "reading KVM's counters", source })
        };
        let before = read()?;
        let runs = self.prober.run(self.machine, PagingMode::FourLevel, ring, change)?;
        Ok((runs, read()?.since(before)))
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
                Ring::Zero => self.machine.parts.provenance.supervisor = map,
                Ring::Three => self.machine.parts.provenance.user = map,
            }
        }
        Ok(())
    }

    /// Beneath TCG, what would be the processor's is TCG's.
    fn beneath(&self, provenance: Provenance) -> Provenance {
        match provenance {
            _ if self.machine.parts.identity.beneath != "tcg" => provenance,
            Provenance::Processor => Provenance::Tcg,
            Provenance::ProcessorOnShadowTables => Provenance::TcgOnShadowTables,
            other => other,
        }
    }

    /// Which of SMEP and SMAP the machine accepts and obeys though its CPUID lacks them.
    fn probe_control_bits(&mut self) -> Result<(), MachineError> {
        let features = self.machine.parts.capabilities.profile.features;
        for (bit, feature) in [(Cr4::SMEP, Features::SMEP), (Cr4::SMAP, Features::SMAP)] {
            if features.contains(feature) {
                continue;
            }
            let mut state =
                Case::plain(Arena::ALL[0], 0, Ring::Zero, self.machine.parts.capabilities.profile)
                    .state;
            state.cr4 |= bit;
            if self.machine.vm.force_control(&state).is_err() {
                continue;
            }
            self.machine.parts.capabilities.not_in_cpuid |= bit;
            let (runs, _) = self.run(Ring::Zero, |case| {
                case.state.cr4 |= bit;
                if bit == Cr4::SMEP {
                    make_fetch(case);
                }
            })?;
            if !runs.iter().all(|run| observed(run).is_some_and(|seen| seen.fault.is_some())) {
                self.machine.parts.capabilities.not_in_cpuid -= bit;
            }
        }
        Ok(())
    }

    /// Why a mode is not offered. A guest that died of it is started anew.
    fn probe_mode(&mut self, mode: PagingMode) -> Result<Result<(), String>, MachineError> {
        match self.prober.mode(self.machine, mode) {
            Err(MachineError::GuestFailed { what, .. }) => {
                self.machine.start_anew()?;
                Ok(Err(format!("entering it, the guest {what}")))
            }
            offer => offer,
        }
    }

    /// Whether ring 3 can load PKRU though CPUID lacks PKU; where CPUID has it, whether ring 0 can.
    fn probe_pkru(&mut self) -> Result<(), MachineError> {
        if self.machine.parts.capabilities.profile.features.contains(Features::PKU) {
            // Else the probe's cases are left out.
            self.machine.parts.capabilities.pkru_in_ring_0 = true;
            let loaded = match self.prober.pkru_in_ring_0(self.machine) {
                Err(MachineError::GuestFailed { .. }) => {
                    self.machine.start_anew()?;
                    false
                }
                loaded => loaded?,
            };
            self.machine.parts.capabilities.pkru_in_ring_0 = loaded;
            return Ok(());
        }
        self.machine.parts.capabilities.pkru_without_pku = true;
        // Key 15 is no plain case's: only the instruction is tried.
        let (runs, _) = self.run(Ring::Three, |case| case.state.pkru = 0xc000_0000)?;
        let loaded = runs.iter().all(|run| observed(run).is_some());
        self.machine.parts.capabilities.pkru_without_pku = loaded;
        Ok(())
    }
}

fn make_non_canonical(case: &mut Case) {
    let address = case.access.address.get();
    case.access.address = VirtAddr::new(address ^ 1 << 62);
}

fn make_fetch(case: &mut Case) {
    case.access.kind = mmu_core::AccessKind::Fetch;
    case.access.address = VirtAddr::new((case.access.address.get() & !0xfff) | 0x808);
    case.form = crosswalk_guest::stub::Form::Jump;
}
