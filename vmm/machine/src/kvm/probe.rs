//! Probes of KVM: what it can do, and who decides which results.
//!
//! For the provenance of results, batches of plain cases run, one class of result and one ring at a
//! time. KVM's counters then show how many instructions it emulated and how many page faults it
//! injected.

use super::KvmMachine;
use super::stats::{Counters, Stats};
use super::vm::Vm;
use crate::host::Flavour;
use crate::probe::{CASES, HARMLESS_PKRU, Prober, implicit_accesses, observed};
use crate::{Deciders, MachineError, ModeOffer, ResultClass, nested};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Observation, Provenance, name_of_fault};
use crosswalk_guest::contents::CODE_OFFSETS;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_guest::tables::TableUse;
use mmu_core::{AccessKind, Cr0, Cr4, Features, PagingMode, Ring, VirtAddr};

/// Runs all probes and notes what they find.
pub(super) fn probe(machine: &mut KvmMachine, flavour: Flavour) -> Result<(), MachineError> {
    let mut prober = KvmProber { machine, flavour, prober: Prober::default() };

    prober.probe_provenance()?;
    prober.allow_live_page_sizes();
    prober.probe_control_bits()?;
    prober.probe_pkru()?;
    for mode in PagingMode::ALL {
        let offer = prober.probe_mode(mode)?;
        prober.machine.parts.capabilities.modes.push(offer);
    }

    prober.probe_compatibility()?;
    prober.probe_reserved_movs()?;
    prober.probe_saved_rf()?;
    let nested_modes = nested::probe::modes(prober.machine, KvmMachine::restart)?;

    let parts = &mut prober.machine.parts;
    parts.capabilities.nested_modes = nested_modes;
    parts.capabilities.implicit_accesses = implicit_accesses(&parts.memory);
    Ok(())
}

/// Checks that an address bit at MAXPHYADDR is reserved in a leaf and in a table's entry, in both rings. Under nested
/// paging the processor has its own MAXPHYADDR, and only a KVM that looks at page faults enforces a smaller one (NEST-4).
pub(super) fn check_width(machine: &mut KvmMachine, flavour: Flavour) -> Result<(), MachineError> {
    let bits = machine.parts.capabilities.profile.physical_address_bits;
    if bits >= MAX_PHYSICAL_ADDRESS_BITS {
        return Ok(());
    }

    let mut prober = KvmProber { machine, flavour, prober: Prober::default() };
    for ring in Ring::ALL {
        for (level, name) in [(3, "PTE"), (2, "PDE")] {
            let (attempts, _) = prober.run(ring, |case| case.entries[level].value |= 1 << bits)?;
            if let Some(seen) = attempts.iter().filter_map(observed).find(|seen| !is_reserved(seen))
            {
                let found = seen.fault.map_or_else(
                    || "none".to_owned(),
                    |fault| name_of_fault(fault.vector, fault.error_code),
                );
                return Err(MachineError::Unavailable(format!(
                    "this KVM ({}) does not enforce a MAXPHYADDR of {bits}: bit {bits} of a {name} is set, an \
                     access in ring {} is to raise #PF(RSVD), and raises {found}; {}",
                    flavour.name(),
                    ring.cpl(),
                    flavour.how_to_narrow(),
                )));
            }
        }
    }
    Ok(())
}

/// The widest physical address of any processor: above it nothing is reserved for its sake.
const MAX_PHYSICAL_ADDRESS_BITS: u8 = 52;

/// Whether a page fault reports a reserved bit (CODE-4).
fn is_reserved(seen: &Observation) -> bool {
    const PAGE_FAULT: u8 = 14;
    const RSVD: u32 = 1 << 3;
    seen.fault.is_some_and(|fault| fault.vector == PAGE_FAULT && fault.error_code & RSVD != 0)
}

struct KvmProber<'m> {
    machine: &'m mut KvmMachine,
    flavour: Flavour,
    prober: Prober,
}

impl KvmProber<'_> {
    /// Runs plain 4-level cases in one ring, all changed in the same way. Returns the results, and
    /// what KVM counted meanwhile.
    fn run(
        &mut self,
        ring: Ring,
        change: impl Fn(&mut Case),
    ) -> Result<(Vec<Attempt>, Counters), MachineError> {
        self.run_with(TableUse::of(PagingMode::FourLevel), ring, change)
    }

    /// The same in any use of the tables.
    fn run_with(
        &mut self,
        table_use: TableUse,
        ring: Ring,
        change: impl Fn(&mut Case),
    ) -> Result<(Vec<Attempt>, Counters), MachineError> {
        let open =
            |vm: &mut Vm| Stats::open(&vm.vcpu).map_err(MachineError::host("KVM_GET_STATS_FD"));
        let stats = self.machine.vcpu.run(open)?;
        let read = || stats.read().map_err(MachineError::host("reading KVM's counters"));

        let before = read()?;
        let attempts = self.prober.run(self.machine, table_use, ring, change)?;
        let counted = read()?.since(before);

        Ok((attempts, counted))
    }

    /// Allows the page size of a live mapping to change, unless the processor walks the guest's tables.
    fn allow_live_page_sizes(&mut self) {
        let parts = &mut self.machine.parts;
        let decider = parts.provenance.of(Ring::Three, false, ResultClass::Translation);
        parts.capabilities.live_page_sizes = decider != Provenance::Processor;
    }

    fn probe_provenance(&mut self) -> Result<(), MachineError> {
        let table_use = TableUse::of(PagingMode::FourLevel);
        for ring in Ring::ALL {
            let deciders = self.deciders(table_use, ring, make_non_canonical)?;
            match ring {
                Ring::Zero => self.machine.parts.provenance.supervisor = deciders,
                Ring::Three => self.machine.parts.provenance.user = deciders,
            }
        }

        Ok(())
    }

    /// Who decides in a ring. `make_bad` gives a plain case a bad address.
    fn deciders(
        &mut self,
        table_use: TableUse,
        ring: Ring,
        make_bad: fn(&mut Case),
    ) -> Result<Deciders, MachineError> {
        let (_, reads) = self.run_with(table_use, ring, |_| {})?;
        let (_, faults) = self.run_with(table_use, ring, |case| case.entries[3].value = 0)?;
        let (_, bad_addresses) = self.run_with(table_use, ring, make_bad)?;
        let (_, misaligned) = self.run_with(table_use, ring, misalign)?;

        let deciders = deciders(self.flavour, reads, faults, [bad_addresses, misaligned]);
        let beneath = &self.machine.parts.identity.beneath;
        Ok(deciders.map(|provenance| decider_over(beneath, provenance)))
    }

    /// Which of SMEP and SMAP the machine accepts and obeys although its CPUID lacks them.
    fn probe_control_bits(&mut self) -> Result<(), MachineError> {
        let features = self.machine.parts.capabilities.profile.features;

        for (bit, feature) in [(Cr4::SMEP, Features::SMEP), (Cr4::SMAP, Features::SMAP)] {
            if !features.contains(feature) && self.accepts_control_bit(bit) {
                // The probe's cases would be left out otherwise.
                self.machine.parts.capabilities.not_in_cpuid |= bit;
                if !self.obeys_control_bit(bit)? {
                    self.machine.parts.capabilities.not_in_cpuid -= bit;
                }
            }
        }

        Ok(())
    }

    fn accepts_control_bit(&mut self, bit: Cr4) -> bool {
        let profile = self.machine.parts.capabilities.profile;
        let mut state = Case::plain(Arena::ALL[0], 0, Ring::Zero, profile).state;
        state.cr4 |= bit;

        self.machine.vcpu.run(move |vm| vm.force_control(&state)).is_ok()
    }

    /// Whether ring-0 accesses to user pages fault, as they must under SMEP (a fetch) or SMAP (a
    /// read).
    fn obeys_control_bit(&mut self, bit: Cr4) -> Result<bool, MachineError> {
        let (attempts, _) = self.run(Ring::Zero, |case| {
            case.state.cr4 |= bit;
            if bit == Cr4::SMEP {
                make_fetch(case);
            }
        })?;

        let faults = |attempt| observed(attempt).is_some_and(|seen| seen.fault.is_some());
        Ok(attempts.iter().all(faults))
    }

    /// Whether a mode is offered. A machine whose guest dies in the mode is restarted.
    fn probe_mode(&mut self, mode: PagingMode) -> Result<ModeOffer, MachineError> {
        match self.prober.mode(self.machine, mode) {
            Err(MachineError::GuestFailed { failure, .. }) => {
                self.machine.restart()?;
                Ok((mode, Err(format!("entering it, the guest {failure}"))))
            }
            offer => offer,
        }
    }

    /// Whether code in compatibility mode runs, and who decides there: a KVM may run it in another way
    /// than 64-bit code. A machine whose guest dies of it is restarted.
    fn probe_compatibility(&mut self) -> Result<(), MachineError> {
        let offer = match self.prober.compatibility(self.machine) {
            Err(MachineError::GuestFailed { failure, .. }) => {
                self.machine.restart()?;
                Err(format!("entering it, the guest {failure}"))
            }
            offer => offer?,
        };

        if offer.is_ok() {
            let table_use = TableUse { mode: PagingMode::FourLevel, compatibility: true };
            let supervisor = self.deciders(table_use, Ring::Zero, make_wrap)?;
            let user = self.deciders(table_use, Ring::Three, make_wrap)?;
            self.machine.parts.provenance.compatible_supervisor = supervisor;
            self.machine.parts.provenance.compatible_user = user;
        }
        self.machine.parts.capabilities.compatibility = offer;
        Ok(())
    }

    /// Whether the guest survives reserved bits of CR3 and CR4. A machine whose guest dies of them is
    /// restarted.
    fn probe_reserved_movs(&mut self) -> Result<(), MachineError> {
        let survives = self.prober.reserved_movs(self.machine)?;
        if survives.is_err() {
            self.machine.restart()?;
        }
        self.machine.parts.capabilities.reserved_movs = survives;
        Ok(())
    }

    /// Pins what faults save as RF. Over an emulated processor there is no one answer: KVM saves 1 where it
    /// raises a fault itself, and the processor may save 0 (T25).
    fn probe_saved_rf(&mut self) -> Result<(), MachineError> {
        if self.machine.parts.identity.beneath == "tcg" {
            return Ok(());
        }
        let saved = self.prober.saved_rf(self.machine)?;
        self.machine.parts.capabilities.note_saved_rf(saved);
        Ok(())
    }

    /// With PKU in CPUID, whether ring 0 can load PKRU as well; without, whether ring 3 can load it
    /// all the same.
    fn probe_pkru(&mut self) -> Result<(), MachineError> {
        if self.machine.parts.capabilities.profile.features.contains(Features::PKU) {
            // The probe's cases would be left out otherwise.
            self.machine.parts.capabilities.pkru_in_ring_0 = true;
            let loads = self.loads_pkru_in_ring_0()?;
            self.machine.parts.capabilities.pkru_in_ring_0 = loads;
        } else {
            self.machine.parts.capabilities.pkru_without_pku = true;
            let (attempts, _) = self.run(Ring::Three, |case| case.state.pkru = HARMLESS_PKRU)?;
            let loads = attempts.iter().all(|attempt| observed(attempt).is_some());
            self.machine.parts.capabilities.pkru_without_pku = loads;
        }

        Ok(())
    }

    /// Whether ring 0 can load PKRU. A machine whose guest dies of it is restarted.
    fn loads_pkru_in_ring_0(&mut self) -> Result<bool, MachineError> {
        match self.prober.pkru_in_ring_0(self.machine) {
            Err(MachineError::GuestFailed { .. }) => {
                self.machine.restart()?;
                Ok(false)
            }
            loads => loads,
        }
    }
}

/// Who decides translations, page faults, address faults and alignment faults in a ring, from what KVM
/// counted for a batch of each.
fn deciders(
    flavour: Flavour,
    reads: Counters,
    faults: Counters,
    other_faults: [Counters; 2],
) -> Deciders {
    // A list of 64 reads has some 300 instructions. If it runs natively, KVM emulates only what
    // belongs to the batch as a whole. Three per case are more than that.
    let runs_in_kvm = reads.instructions_emulated > 3 * CASES as u64;
    if runs_in_kvm {
        return [Provenance::KvmEmulator; 4];
    }

    let translation = if flavour.processor_walks() {
        Provenance::Processor
    } else {
        Provenance::ProcessorOnShadowTables
    };

    let injects = faults.faults_injected >= CASES as u64;
    let page_fault = if injects { Provenance::KvmWalker } else { Provenance::Processor };

    // KVM may emulate the instructions of the handler, too, but those are as many for a page fault.
    // What another fault costs beyond them is the access itself.
    let emulated_for_page_faults = faults.instructions_emulated + CASES as u64 / 2;
    let [address_fault, alignment_fault] = other_faults.map(|counted| {
        let is_emulated = counted.instructions_emulated >= emulated_for_page_faults;
        if is_emulated { Provenance::KvmEmulator } else { Provenance::Processor }
    });

    [translation, page_fault, address_fault, alignment_fault]
}

/// If an emulator is beneath this host, it decides what the processor seems to decide.
fn decider_over(beneath: &str, provenance: Provenance) -> Provenance {
    match (beneath, provenance) {
        ("tcg", Provenance::Processor) => Provenance::Tcg,
        ("tcg", Provenance::ProcessorOnShadowTables) => Provenance::TcgOnShadowTables,
        ("bochs", Provenance::Processor) => Provenance::Emulator,
        ("bochs", Provenance::ProcessorOnShadowTables) => Provenance::EmulatorOnShadowTables,
        (_, other) => other,
    }
}

fn make_non_canonical(case: &mut Case) {
    let address = case.access.address.get();
    case.access.address = VirtAddr::new(address ^ 1 << 62);
}

/// Lets a plain read in compatibility mode pass 4 GiB.
fn make_wrap(case: &mut Case) {
    case.access.address = VirtAddr::new(0xffff_fffe);
}

fn misalign(case: &mut Case) {
    case.state.cr0 |= Cr0::AM;
    case.access.ac = true;
    case.access.address = case.access.address.wrapping_add(1);
}

/// Turns a plain read into a fetch of the second stub in its page.
fn make_fetch(case: &mut Case) {
    let page = case.access.address.get() & !0xfff;
    case.access.kind = AccessKind::Fetch;
    case.access.address = VirtAddr::new(page | (CODE_OFFSETS.start + 8));
    case.form = Form::Jump;
}

#[cfg(test)]
mod tests {
    use super::decider_over;
    use crosswalk_case::observation::Provenance;

    #[test]
    fn what_an_emulator_did_is_never_called_the_processor() {
        let shadow = Provenance::ProcessorOnShadowTables;
        for (beneath, own, on_shadow) in [
            ("tcg", "tcg", "tcg-on-shadow-tables"),
            ("bochs", "emulator", "emulator-on-shadow-tables"),
            ("bare", "processor", "processor-on-shadow-tables"),
            ("kvm", "processor", "processor-on-shadow-tables"),
        ] {
            let names =
                [Provenance::Processor, shadow].map(|who| decider_over(beneath, who).name());
            assert_eq!(names, [own, on_shadow], "{beneath}");
        }

        // What KVM does, it does anywhere.
        for who in [Provenance::KvmWalker, Provenance::KvmEmulator] {
            assert_eq!(decider_over("bochs", who), who);
        }
    }
}
