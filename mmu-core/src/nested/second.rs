//! A walk of the second level: from a guest-physical address to a host-physical one.

use super::level::{Ept, EptCapabilities, SecondLevel};
use super::semantics::{NestedAccess, NestedRights, NestedSemantics, SecondFault};
use crate::access::{Access, Ring};
use crate::address::{PhysAddr, VirtAddr, low_bits};
use crate::memory::TableMemory;
use crate::walk::{Mmu, Step, Trace, WalkError};
use crate::x86::format::{
    Bits32, EntryKind, EptBits, EptFiveLevel, EptFourLevel, FiveLevel, Format, FourLevel, Level,
    MAX_LEVELS, Pae, Unpaged,
};
use crate::x86::profile::{Features, Profile};
use crate::x86::regime::Regime;
use crate::x86::rule::Rule;
use crate::x86::semantics::{Cause, Denial, EntryError, Reference, Rights, Semantics};
use crate::x86::state::{ControlState, PagingMode};
use arrayvec::ArrayVec;

/// An entry of the second level on the path of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SecondStep {
    pub(super) step: Step,
    /// What the path down to it grants, itself included even if it is bad.
    pub(super) rights: NestedRights,
}

/// A walk of the second level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecondWalk {
    /// The address that is translated.
    pub(super) guest_physical: PhysAddr,
    pub(super) access: NestedAccess,
    pub(super) steps: ArrayVec<SecondStep, MAX_LEVELS>,
    /// The host-physical address.
    pub(super) end: Result<PhysAddr, SecondFault>,
}

impl SecondWalk {
    /// An address that nothing translates.
    fn untranslated(guest_physical: PhysAddr, access: NestedAccess) -> Self {
        Self { guest_physical, access, steps: ArrayVec::new(), end: Ok(guest_physical) }
    }

    /// What all entries on the path grant.
    pub(super) fn rights(&self) -> NestedRights {
        self.steps.last().map_or(NestedRights::all(), |last| last.rights)
    }
}

/// The MMU of the second level.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecondMmu<N: NestedSemantics> {
    nested: N,
    level: SecondLevel,
    format: AnyFormat<N>,
}

#[derive(Clone, Copy, Debug)]
enum AnyFormat<N: NestedSemantics> {
    Unpaged(Mmu<Unpaged, Within<N>>),
    Bits32(Mmu<Bits32, Within<N>>),
    Pae(Mmu<Pae, Within<N>>),
    FourLevel(Mmu<FourLevel, Within<N>>),
    FiveLevel(Mmu<FiveLevel, Within<N>>),
    EptFourLevel(Mmu<EptFourLevel, Within<N>>),
    EptFiveLevel(Mmu<EptFiveLevel, Within<N>>),
}

/// Does the same with the MMU of any format.
macro_rules! in_any_format {
    ($any:expr, $mmu:ident => $result:expr) => {
        match $any {
            AnyFormat::Unpaged($mmu) => $result,
            AnyFormat::Bits32($mmu) => $result,
            AnyFormat::Pae($mmu) => $result,
            AnyFormat::FourLevel($mmu) => $result,
            AnyFormat::FiveLevel($mmu) => $result,
            AnyFormat::EptFourLevel($mmu) => $result,
            AnyFormat::EptFiveLevel($mmu) => $result,
        }
    };
}

impl<N: NestedSemantics> SecondMmu<N> {
    /// The MMU of a second level. `global_is_reserved` is the member of CODE-7 that it follows, if the
    /// processor's is not known.
    pub(super) fn new(
        nested: N,
        level: SecondLevel,
        profile: Profile,
        global_is_reserved: Option<bool>,
    ) -> Self {
        let within = Within { nested, level };
        let format = match level {
            SecondLevel::Npt(host) => npt(within, host, profile, global_is_reserved),
            SecondLevel::Ept(ept) => extended(within, ept, profile),
        };
        Self { nested, level, format }
    }

    pub(super) const fn level(&self) -> &SecondLevel {
        &self.level
    }

    pub(super) const fn is_npt(&self) -> bool {
        matches!(self.level, SecondLevel::Npt(_))
    }

    /// Number of bytes in an entry.
    pub(super) const fn entry_bytes(&self) -> u8 {
        if matches!(self.format, AnyFormat::Bits32(_)) { 4 } else { 8 }
    }

    /// Number of bits of a guest-physical address that are translated (NEST-12).
    fn address_bits(&self) -> u8 {
        match &self.format {
            AnyFormat::Unpaged(_) | AnyFormat::Bits32(_) | AnyFormat::Pae(_) => 32,
            AnyFormat::FourLevel(_) | AnyFormat::EptFourLevel(_) => 48,
            AnyFormat::FiveLevel(_) | AnyFormat::EptFiveLevel(_) => 57,
        }
    }

    /// Translates a guest-physical address.
    ///
    /// # Errors
    /// The error of the memory.
    pub(super) fn translate<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        guest_physical: PhysAddr,
        access: NestedAccess,
    ) -> Result<SecondWalk, M::Error> {
        let mut walk = SecondWalk::untranslated(guest_physical, access);
        let beyond = guest_physical.get() & !low_bits(self.address_bits());
        if beyond != 0 && self.nested.checks_reach() {
            walk.end = Err(SecondFault::OutOfReach);
            return Ok(walk);
        }

        // The tables are indexed by the guest-physical address, as others are by a linear one.
        let index = VirtAddr::new(guest_physical.get());
        let mut steps = Steps::default();
        let unjudged = Access::read(index, 1, Ring::Zero);
        let walked =
            in_any_format!(&self.format, mmu => mmu.walk(memory, index, &unjudged, &mut steps));
        let end = match walked {
            Ok(translation) => Ok(translation.address),
            Err(WalkError::Fault(Cause::Entry(EntryError::Reserved(bits)))) => {
                Err(SecondFault::Malformed(bits))
            }
            Err(WalkError::Fault(_)) => Err(SecondFault::NotPresent),
            Err(WalkError::Memory(error)) => return Err(error),
        };

        self.judge(&mut walk, &steps.0, end);
        Ok(walk)
    }

    /// An address that is not translated.
    pub(super) fn pass(guest_physical: PhysAddr, access: NestedAccess) -> SecondWalk {
        SecondWalk::untranslated(guest_physical, access)
    }

    /// Adds up the rights of the path, and judges the access by them.
    fn judge(&self, walk: &mut SecondWalk, steps: &[Step], end: Result<PhysAddr, SecondFault>) {
        let needed = self.nested.needed_rights(&self.level, &walk.access);
        let mut rights = NestedRights::all();

        for step in steps {
            let is_bad = step.error.is_some();
            let own = self.nested.entry_rights(&self.level, step.level, step.entry);
            if !is_bad || matches!(step.error, Some(EntryError::NotPresent)) {
                rights = self.nested.combine(rights, own, step.level);
            }
            walk.steps.push(SecondStep { step: *step, rights });

            let missing = needed - rights;
            if !is_bad && self.nested.denies_on_the_way() && !missing.is_empty() {
                walk.end = Err(SecondFault::Denied(missing));
                return;
            }
        }

        let missing = needed - rights;
        walk.end = match end {
            Ok(_) if !steps.is_empty() && !missing.is_empty() => Err(SecondFault::Denied(missing)),
            end => end,
        };
    }
}

/// NPT, in the format of the host's mode (NEST-7).
fn npt<N: NestedSemantics>(
    within: Within<N>,
    host: ControlState,
    profile: Profile,
    global_is_reserved: Option<bool>,
) -> AnyFormat<N> {
    let mut regime = Regime::new(host, profile);
    if let Some(is_reserved) = global_is_reserved {
        regime.choices.global_in_pml4e_is_reserved = is_reserved;
    }

    match host.mode() {
        PagingMode::Unpaged | PagingMode::Linear => {
            AnyFormat::Unpaged(Mmu::with_regime(within, regime))
        }
        PagingMode::Bits32 => AnyFormat::Bits32(Mmu::with_regime(within, regime)),
        PagingMode::Pae => AnyFormat::Pae(Mmu::with_regime(within, regime)),
        PagingMode::FourLevel => AnyFormat::FourLevel(Mmu::with_regime(within, regime)),
        PagingMode::FiveLevel => AnyFormat::FiveLevel(Mmu::with_regime(within, regime)),
    }
}

/// EPT. The EPT pointer stands in for CR3, and no other register governs these tables; whether there are
/// pages of 1 GiB is a capability of their own.
fn extended<N: NestedSemantics>(within: Within<N>, ept: Ept, profile: Profile) -> AnyFormat<N> {
    let mut features = profile.features;
    let has_1gb = ept.capabilities.contains(EptCapabilities::PAGE_1GB);
    features.set(Features::PAGE_1GB, has_1gb);

    let state = ControlState::four_level(ept.eptp);
    let regime = Regime::new(state, Profile { features, ..profile });
    if ept.levels() == 5 {
        AnyFormat::EptFiveLevel(Mmu::with_regime(within, regime))
    } else {
        AnyFormat::EptFourLevel(Mmu::with_regime(within, regime))
    }
}

/// Keeps the entries on the path.
#[derive(Default)]
struct Steps(ArrayVec<Step, MAX_LEVELS>);

impl Trace for Steps {
    const WANTED: bool = false;

    fn step(&mut self, step: Step) {
        let _ = self.0.try_push(step);
    }

    fn rule(&mut self, _rule: Rule) {}
}

/// The walk within the second level: where its entries lie, and which of them are well-formed. The rights
/// are judged apart.
#[derive(Clone, Copy, Debug)]
struct Within<N> {
    nested: N,
    level: SecondLevel,
}

impl<N: NestedSemantics> Within<N> {
    /// The bits of a present entry of EPT that have no meaning together: combinations of rights, and memory
    /// types.
    fn misconfigured_bits(&self, ept: &Ept, kind: EntryKind, entry: u64) -> u64 {
        let bits = EptBits::from_bits_retain(entry);
        let writes = bits & EptBits::WRITE;
        let mut executes = bits & EptBits::EXECUTE;
        if ept.mode_based_execute {
            executes |= bits & EptBits::EXECUTE_USER;
        }

        let mut wrong = 0;
        if !bits.contains(EptBits::READ) && self.nested.forbids_write_without_read() {
            wrong |= writes.bits();
        }
        if !bits.contains(EptBits::READ) && self.nested.forbids_execute_only(ept) {
            wrong |= executes.bits();
        }

        let memory_type = EptBits::memory_type_of(entry);
        if kind == EntryKind::Leaf && self.nested.forbids_memory_type(memory_type) {
            wrong |= entry & EptBits::MEMORY_TYPE;
        }
        wrong
    }
}

impl<N: NestedSemantics> Semantics for Within<N> {
    fn root<F: Format>(&self, regime: &Regime) -> PhysAddr {
        self.nested.root(&self.level, F::root(regime))
    }

    /// PDPTEs are in memory (NEST-7).
    fn register<F: Format>(&self, _level: &Level, _index: u64, _regime: &Regime) -> Option<u64> {
        None
    }

    fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
        let by_manual =
            F::reserved_bits(level, kind, regime).iter().fold(0, |mask, (bits, _)| mask | bits);
        self.nested.reserved_bits(&self.level, level, kind, by_manual)
    }

    /// NEST-3: what is present is checked for misconfigurations (SDM "EPT Misconfigurations").
    fn entry_error(
        &self,
        level: &Level,
        kind: EntryKind,
        entry: u64,
        reserved: u64,
    ) -> Option<EntryError> {
        let SecondLevel::Ept(ept) = &self.level else {
            return Reference.entry_error(level, kind, entry, reserved);
        };
        if !self.nested.ept_is_present(ept, entry) {
            return Some(EntryError::NotPresent);
        }

        let wrong = entry & reserved | self.misconfigured_bits(ept, kind, entry);
        (wrong != 0).then_some(EntryError::Reserved(wrong))
    }

    fn combine(&self, above: Rights, _entry: u64) -> Rights {
        above
    }

    fn denial(
        &self,
        _above: Rights,
        _rights: Rights,
        _leaf: u64,
        _access: &Access,
        _regime: &Regime,
    ) -> Denial {
        Denial::empty()
    }
}
