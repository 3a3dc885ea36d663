//! The space of combinations: control bits, accesses, and the entries that vary.

use super::bits::{Digit, IGNORED, KEY, VariedEntry, can_be_leaf, digits, main_digits};
use super::digits::Digits;
use crate::generate::PDPTE_LOW_RESERVED_BITS;
use crate::generate::state::not_in_cpuid;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Capabilities;
use mmu_core::x86::format::{EntryBits, levels};
use mmu_core::{ControlState, Cr0, Cr4, Efer, Features, PagingMode, Ring};

/// A digit of the control state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ControlDigit {
    WriteProtect,
    NoExecute,
    Smep,
    Smap,
    /// Off; on with PKRU 0; on with one key that denies all accesses; on with one that denies writes.
    UserKeys,
    /// The same with PKRS, for supervisor pages.
    SupervisorKeys,
    /// PAE without paging, where it has no effect (MODE-12).
    PaeWithoutPaging,
    /// The bits that are flipped in PDPTE 2, in its register and in memory (PDPTE-2).
    Pdpte(Vec<u64>),
}

impl ControlDigit {
    fn radix(&self) -> usize {
        match self {
            Self::UserKeys | Self::SupervisorKeys => 4,
            Self::Pdpte(masks) => masks.len(),
            _ => 2,
        }
    }

    fn set(&self, state: &mut ControlState, value: usize) {
        let is_on = value > 0;
        // Rights of the key: bit 0 denies all accesses, bit 1 writes.
        let rights = [0, 0, 1, 2][value.min(3)] << (2 * KEY);

        match self {
            Self::WriteProtect => state.cr0.set(Cr0::WP, !is_on),
            Self::NoExecute => state.efer.set(Efer::NXE, !is_on),
            Self::Smep => state.cr4.set(Cr4::SMEP, is_on),
            Self::Smap => state.cr4.set(Cr4::SMAP, is_on),
            Self::UserKeys => {
                state.cr4.set(Cr4::PKE, is_on);
                state.pkru = rights;
            }
            Self::SupervisorKeys => {
                state.cr4.set(Cr4::PKS, is_on);
                state.pkrs = rights;
            }
            Self::PaeWithoutPaging => state.cr4.set(Cr4::PAE, is_on),
            Self::Pdpte(masks) => state.pdptes[2] ^= masks[value],
        }
    }
}

/// A way to make the access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AccessVariant {
    /// The instruction.
    pub(super) form: Form,
    /// The ring.
    pub(super) ring: Ring,
    /// EFLAGS.AC.
    pub(super) ac: bool,
}

/// The subspaces that are combined with the same control bits. The control state changes last, so that
/// the cases of a batch share it.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    controls: Vec<ControlDigit>,
    /// The numbers of the control states.
    states: Digits,
    /// Whether CR4.PSE is 1.
    pse: bool,
    subspaces: Vec<Subspace>,
}

/// Combinations of an access with the values of one or two entries.
#[derive(Clone, Debug)]
pub(super) struct Subspace {
    /// The depth of the leaf, 0 for the root or without paging.
    pub(super) leaf: usize,
    /// The depths of the entries that vary, with their digits.
    pub(super) varied: Vec<(usize, Vec<Digit>)>,
    /// The number of a combination: a digit for the access, then those of the entries.
    digits: Digits,
}

impl Subspace {
    fn new(leaf: usize, varied: Vec<(usize, Vec<Digit>)>, accesses: usize) -> Self {
        let of_entries = varied.iter().flat_map(|(_, digits)| digits);
        let radices = of_entries.map(|digit| digit.values.len());
        let digits = Digits::new([accesses].into_iter().chain(radices));
        Self { leaf, varied, digits }
    }
}

impl Sweep {
    fn new(controls: Vec<ControlDigit>, pse: bool, subspaces: Vec<Subspace>) -> Self {
        let states = Digits::new(controls.iter().map(ControlDigit::radix));
        Self { controls, states, pse, subspaces }
    }

    /// The number of control states.
    pub(super) fn states(&self) -> u64 {
        self.states.count()
    }

    /// The number of combinations in each control state.
    pub(super) fn cases_of_a_state(&self) -> u64 {
        self.subspaces.iter().map(|subspace| subspace.digits.count()).sum()
    }

    /// Whether PDPTE 2 varies, so that all lanes must be below it.
    pub(super) fn varies_a_pdpte(&self) -> bool {
        self.controls.iter().any(|control| matches!(control, ControlDigit::Pdpte(_)))
    }

    /// The control state with this number.
    pub(super) fn state(
        &self,
        number: u64,
        plain: ControlState,
        machine: &Capabilities,
    ) -> ControlState {
        let mut state = plain;
        for (control, value) in self.controls.iter().zip(self.states.of(number)) {
            control.set(&mut state, value);
        }
        state.cr4.set(Cr4::PSE, self.pse);

        // If the machine itself sets CR4, the guest cannot flush global translations.
        let set_by_guest = !state.cr4.intersects(machine.not_in_cpuid);
        let pge = set_by_guest && machine.profile.features.contains(Features::PGE);
        state.cr4.set(Cr4::PGE, pge);
        state
    }

    /// The subspace and the digits of a combination.
    pub(super) fn combination(&self, number: u64) -> (&Subspace, Vec<usize>) {
        let mut in_subspace = number;
        for subspace in &self.subspaces {
            let count = subspace.digits.count();
            if in_subspace < count {
                return (subspace, subspace.digits.of(in_subspace));
            }
            in_subspace -= count;
        }
        panic!("the sweep has no combination {number}")
    }
}

/// All sweeps of a mode.
pub(super) fn sweeps(mode: PagingMode, machine: &Capabilities) -> Vec<Sweep> {
    let accesses = accesses(mode, machine).len();
    let controls = controls(mode, machine);
    let all = |pse| subspaces(mode, pse, accesses, machine);

    match mode {
        PagingMode::Unpaged | PagingMode::Linear => {
            let plain = Subspace::new(0, Vec::new(), accesses);
            vec![Sweep::new(controls, false, vec![plain])]
        }
        // PSE decides what PS means (MODE-4).
        PagingMode::Bits32 => {
            [false, true].map(|pse| Sweep::new(controls.clone(), pse, all(pse))).into()
        }
        PagingMode::Pae => {
            let pdpte = ControlDigit::Pdpte(pdpte_masks(machine));
            let with_pdpte = [controls.clone(), vec![pdpte]].concat();
            let plain = Subspace::new(levels(mode).len() - 1, Vec::new(), accesses);
            vec![
                Sweep::new(controls, false, all(false)),
                Sweep::new(with_pdpte, false, vec![plain]),
            ]
        }
        PagingMode::FourLevel | PagingMode::FiveLevel => {
            vec![Sweep::new(controls, false, all(false))]
        }
    }
}

/// The control bits that the machine has in a mode.
fn controls(mode: PagingMode, machine: &Capabilities) -> Vec<ControlDigit> {
    let features = machine.profile.features;
    let is_long_mode = mode.is_long_mode();
    let not_in_cpuid = not_in_cpuid(mode, machine);
    let has = |feature, bit| features.contains(feature) || not_in_cpuid.contains(bit);

    let mut controls = vec![ControlDigit::WriteProtect];
    let mut add = |condition: bool, control| {
        if condition {
            controls.push(control);
        }
    };
    add(features.contains(Features::NX), ControlDigit::NoExecute);
    add(has(Features::SMEP, Cr4::SMEP), ControlDigit::Smep);
    add(has(Features::SMAP, Cr4::SMAP), ControlDigit::Smap);
    // PKRU must be loaded in both rings.
    let user_keys = has(Features::PKU, Cr4::PKE) && machine.pkru_in_ring_0;
    add(is_long_mode && user_keys, ControlDigit::UserKeys);
    add(is_long_mode && has(Features::PKS, Cr4::PKS), ControlDigit::SupervisorKeys);
    add(mode == PagingMode::Unpaged, ControlDigit::PaeWithoutPaging);
    controls
}

/// Every way to make the access, ring by ring.
pub(super) fn accesses(mode: PagingMode, machine: &Capabilities) -> Vec<AccessVariant> {
    let mut accesses = Vec::new();
    if mode.is_long_mode() && machine.implicit_accesses.is_ok() {
        accesses.push(AccessVariant { form: Form::SegmentLimit, ring: Ring::Three, ac: false });
    }

    for (ring, ac) in [(Ring::Three, false), (Ring::Zero, false), (Ring::Zero, true)] {
        let is_special = |form: &Form| {
            matches!(form, Form::SegmentLimit | Form::SegmentLoad | Form::Fxsave)
                || form.is_to_shadow_stack()
        };
        let explicit = Form::ALL.into_iter().filter(|form| !is_special(form) && !form.has_source());
        accesses.extend(explicit.map(|form| AccessVariant { form, ring, ac }));
    }
    accesses
}

/// For every page size: each entry of the path in all its bits, and each two of them in their main
/// bits.
fn subspaces(
    mode: PagingMode,
    pse: bool,
    accesses: usize,
    machine: &Capabilities,
) -> Vec<Subspace> {
    let levels = levels(mode);
    let mut subspaces = Vec::new();

    for leaf in (0..levels.len()).rev().filter(|depth| can_be_leaf(&levels[*depth], pse)) {
        let all = |depth: usize| {
            let place = VariedEntry { level: &levels[depth], is_leaf: depth == leaf, pse };
            (depth, digits(mode, place, machine))
        };
        let main = |depth: usize| (depth, main_digits(all(depth).1));
        let own: Vec<usize> = (0..=leaf).filter(|depth| levels[*depth].has_flags).collect();

        for depth in &own {
            subspaces.push(Subspace::new(leaf, vec![all(*depth)], accesses));
        }
        for (i, upper) in own.iter().enumerate() {
            for lower in &own[i + 1..] {
                let varied = vec![main(*upper), main(*lower)];
                subspaces.push(Subspace::new(leaf, varied, accesses));
            }
        }
    }
    subspaces
}

/// What can be wrong with a PDPTE when it is loaded, present or not: the bits to flip.
fn pdpte_masks(machine: &Capabilities) -> Vec<u64> {
    let ignored = (EntryBits::PWT | EntryBits::PCD).bits() | IGNORED;
    let above_address = 1 << machine.profile.physical_address_bits;
    let low = PDPTE_LOW_RESERVED_BITS.map(|bit| 1_u64 << bit);
    let reserved = low.into_iter().chain([above_address, EntryBits::XD.bits()]);

    let present: Vec<u64> = [0, ignored].into_iter().chain(reserved).collect();
    let absent: Vec<u64> = present.iter().map(|mask| mask ^ EntryBits::P.bits()).collect();
    [present, absent].concat()
}
