//! What is combined with what: the control bits, the accesses, and the entries that vary.

use super::bits::{Digit, KEY, can_be_leaf, digits, main_digits};
use super::digits::Digits;
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
    /// Off; on, with PKRU as it is at reset; with one key that denies all, or writes.
    UserKeys,
    /// The same with PKRS, for supervisor pages.
    SupervisorKeys,
    /// PAE without paging, where it means nothing (MODE-12).
    PaeWithoutPaging,
    /// What is turned over in PDPTE 2, in its register and in memory (PDPTE-2).
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

/// An access: the instruction, its ring, and EFLAGS.AC.
pub(super) type Way = (Form, Ring, bool);

/// Some combinations: the control state changes last, so that batches share it.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    controls: Vec<ControlDigit>,
    outer: Digits,
    /// Whether CR4.PSE is 1.
    pse: bool,
    pub(super) sections: Vec<Subspace>,
}

/// What is combined under one control state.
#[derive(Clone, Debug)]
pub(super) struct Subspace {
    /// The depth of the leaf, 0 for the root; none without paging.
    pub(super) leaf: usize,
    /// The depths of the entries that vary, with their digits.
    pub(super) varied: Vec<(usize, Vec<Digit>)>,
    /// Of the access, then of the entries.
    pub(super) digits: Digits,
}

impl Sweep {
    fn new(controls: Vec<ControlDigit>, pse: bool, sections: Vec<Subspace>) -> Self {
        let outer = Digits::new(controls.iter().map(ControlDigit::radix));
        Self { controls, outer, pse, sections }
    }

    /// How many control states there are.
    pub(super) fn states(&self) -> u64 {
        self.outer.count()
    }

    /// How many combinations each control state has.
    pub(super) fn of_a_state(&self) -> u64 {
        self.sections.iter().map(|section| section.digits.count()).sum()
    }

    /// Whether all lanes lie below PDPTE 2.
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
        for (control, value) in self.controls.iter().zip(self.outer.of(number)) {
            control.set(&mut state, value);
        }
        state.cr4.set(Cr4::PSE, self.pse);
        // When the machine itself sets CR4, the guest cannot flush global translations.
        let by_guest = !state.cr4.intersects(machine.not_in_cpuid);
        let pge = by_guest && machine.profile.features.contains(Features::PGE);
        state.cr4.set(Cr4::PGE, pge);
        state
    }

    /// The section and the digits of a combination.
    pub(super) fn combination(&self, mut number: u64) -> (&Subspace, Vec<usize>) {
        for section in &self.sections {
            let count = section.digits.count();
            if number < count {
                return (section, section.digits.of(number));
            }
            number -= count;
        }
        panic!("the part has no combination with this number")
    }
}

/// All parts of a mode.
pub(super) fn parts(mode: PagingMode, machine: &Capabilities) -> Vec<Sweep> {
    let ways = ways(mode, machine).len();
    let controls = controls(mode, machine);
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => {
            let plain = Subspace { leaf: 0, varied: Vec::new(), digits: Digits::new([ways]) };
            vec![Sweep::new(controls, false, vec![plain])]
        }
        // PSE decides what PS means (MODE-4).
        PagingMode::Bits32 => [false, true]
            .map(|pse| Sweep::new(controls.clone(), pse, sections(mode, pse, ways, machine)))
            .into(),
        PagingMode::Pae => {
            let leaf = levels(mode).len() - 1;
            let plain = Subspace { leaf, varied: Vec::new(), digits: Digits::new([ways]) };
            let with_pdpte =
                [controls.clone(), vec![ControlDigit::Pdpte(pdpte_masks(machine))]].concat();
            vec![
                Sweep::new(controls, false, sections(mode, false, ways, machine)),
                Sweep::new(with_pdpte, false, vec![plain]),
            ]
        }
        PagingMode::FourLevel | PagingMode::FiveLevel => {
            vec![Sweep::new(controls, false, sections(mode, false, ways, machine))]
        }
    }
}

/// The control bits that the machine has in a mode.
fn controls(mode: PagingMode, machine: &Capabilities) -> Vec<ControlDigit> {
    let features = machine.profile.features;
    let is_long_mode = matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel);
    let forced = if is_long_mode { machine.not_in_cpuid } else { Cr4::empty() };
    let has = |feature, bit| features.contains(feature) || forced.contains(bit);
    let mut controls = vec![ControlDigit::WriteProtect];
    let mut add = |condition: bool, control| {
        if condition {
            controls.push(control);
        }
    };
    add(features.contains(Features::NX), ControlDigit::NoExecute);
    add(has(Features::SMEP, Cr4::SMEP), ControlDigit::Smep);
    add(has(Features::SMAP, Cr4::SMAP), ControlDigit::Smap);
    // PKRU must be loaded for both rings.
    let user_keys = has(Features::PKU, Cr4::PKE) && machine.pkru_in_ring_0;
    add(is_long_mode && user_keys, ControlDigit::UserKeys);
    add(is_long_mode && has(Features::PKS, Cr4::PKS), ControlDigit::SupervisorKeys);
    add(mode == PagingMode::Unpaged, ControlDigit::PaeWithoutPaging);
    controls
}

/// Every way to make the access, ring by ring.
pub(super) fn ways(mode: PagingMode, machine: &Capabilities) -> Vec<Way> {
    let is_long_mode = matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel);
    let explicit = Form::ALL.into_iter().filter(|form| *form != Form::SegmentLimit);
    let mut ways: Vec<Way> = [(Ring::Three, false), (Ring::Zero, false), (Ring::Zero, true)]
        .into_iter()
        .flat_map(|(ring, ac)| explicit.clone().map(move |form| (form, ring, ac)))
        .collect();
    if is_long_mode && machine.implicit_accesses.is_ok() {
        ways.insert(0, (Form::SegmentLimit, Ring::Three, false));
    }
    ways
}

/// For every size of page: each entry of the path in all its bits, and each two of them in the main
/// ones.
fn sections(mode: PagingMode, pse: bool, ways: usize, machine: &Capabilities) -> Vec<Subspace> {
    let levels = levels(mode);
    let mut sections = Vec::new();
    for leaf in (0..levels.len()).rev().filter(|depth| can_be_leaf(&levels[*depth], pse)) {
        let all = |depth: usize| (depth, digits(mode, &levels[depth], depth == leaf, pse, machine));
        let main = |depth: usize| (depth, main_digits(all(depth).1));
        let own: Vec<usize> = (0..=leaf).filter(|depth| levels[*depth].has_flags).collect();
        let mut add = |varied: Vec<(usize, Vec<Digit>)>| {
            let of_entries = varied.iter().flat_map(|(_, digits)| digits);
            let radices = of_entries.map(|digit| digit.values.len());
            let digits = Digits::new([ways].into_iter().chain(radices));
            sections.push(Subspace { leaf, varied, digits });
        };
        for depth in &own {
            add(vec![all(*depth)]);
        }
        for (i, upper) in own.iter().enumerate() {
            for lower in &own[i + 1..] {
                add(vec![main(*upper), main(*lower)]);
            }
        }
    }
    sections
}

/// What can be wrong with a PDPTE as it is loaded, present or not.
fn pdpte_masks(machine: &Capabilities) -> Vec<u64> {
    let above = 1 << machine.profile.physical_address_bits;
    let ignored = (EntryBits::PWT | EntryBits::PCD).bits() | 0xe00;
    let low = [1, 2, 5, 6, 7, 8].map(|bit| 1_u64 << bit);
    let reserved = low.into_iter().chain([above, 1 << 63]);
    let present: Vec<u64> = [0, ignored].into_iter().chain(reserved).collect();
    let absent: Vec<u64> = present.iter().map(|mask| mask ^ EntryBits::P.bits()).collect();
    [present, absent].concat()
}
