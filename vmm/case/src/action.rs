//! Sequences: what happens before the access of a case.

use crate::{Case, TableEntry};
use crosswalk_guest::stub::Form;
use mmu_core::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use mmu_core::x86::control::Mov;
use mmu_core::{Access, ControlState, Cr0, PhysAddr, Profile, VirtAddr};
use std::fmt;
use std::iter::once;

/// One action before the access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Another access.
    Access(AccessStep),
    /// Software stores a table entry, without invalidating anything.
    Write(TableEntry),
    /// INVLPG.
    Invlpg(VirtAddr),
    /// INVPCID. It may fault.
    Invpcid(Invpcid),
    /// MOV to a control register, or WRMSR of EFER, of any value. It may fault.
    Mov(Mov),
    /// MOV to CR3 of the value that it already has.
    ReloadCr3,
    /// MOV to CR0 of the value that it already has, but with WP set or cleared.
    WriteProtect(bool),
    /// WRPKRU.
    Pkru(u32),
}

/// The operands of INVPCID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Invpcid {
    /// The type: what is invalidated.
    pub kind: u64,
    /// The descriptor's low and high 64 bits: the PCID, and a linear address.
    pub descriptor: [u64; 2],
}

/// An access, and how the guest performs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessStep {
    /// The access.
    pub access: Access,
    /// The instruction that performs it.
    pub form: Form,
    /// The value that the instruction stores or adds; the address of its source, if it has one.
    pub value: u64,
}

impl Action {
    /// The MOV to a control register that it is in a state. [`Self::ReloadCr3`] and
    /// [`Self::WriteProtect`] say it by what the register holds, so that they remain what they are when
    /// the state before them changes.
    ///
    /// ```
    /// use crosswalk_case::Action;
    /// use mmu_core::ControlState;
    /// use mmu_core::x86::control::Mov;
    /// let state = ControlState::four_level(0x5000);
    /// assert_eq!(Action::ReloadCr3.mov(&state), Some(Mov::Cr3(0x5000)));
    /// assert_eq!(Action::Pkru(0).mov(&state), None);
    /// ```
    pub fn mov(&self, state: &ControlState) -> Option<Mov> {
        match self {
            Self::Mov(mov) => Some(*mov),
            Self::ReloadCr3 => Some(Mov::Cr3(state.cr3)),
            Self::WriteProtect(on) => {
                let mut cr0 = state.cr0;
                cr0.set(Cr0::WP, *on);
                Some(Mov::Cr0(cr0))
            }
            Self::Access(_)
            | Self::Write(_)
            | Self::Invlpg(_)
            | Self::Invpcid(_)
            | Self::Pkru(_) => None,
        }
    }

    /// Whether it is a privileged instruction whose end is observed: a MOV to a control register, INVPCID, or
    /// INVLPG of an address that is not canonical with four levels, which may not fault (CANON-3).
    pub fn is_privileged(&self) -> bool {
        match self {
            Self::Mov(_) | Self::ReloadCr3 | Self::WriteProtect(_) | Self::Invpcid(_) => true,
            Self::Invlpg(address) => !address.is_canonical(48),
            Self::Access(_) | Self::Write(_) | Self::Pkru(_) => false,
        }
    }

    /// Changes the registers as the action most likely does: a MOV that faults changes none. `memory` has
    /// the tables at that point, from which PAE paging loads its PDPTEs.
    pub fn change<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        state: &mut ControlState,
        profile: Profile,
        memory: &M,
    ) {
        if let Self::Pkru(pkru) = self {
            state.pkru = *pkru;
        }
        let likeliest =
            self.mov(state).and_then(|mov| state.loads(mov, profile, memory).into_iter().next());
        if let Some(Ok(new)) = likeliest.map(|load| load.result) {
            *state = new;
        }
    }
}

/// The action in a few words, an access by its kind and address.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access(AccessStep { access, .. }) => {
                write!(f, "{} at {}", access.kind.name(), access.address)
            }
            Self::Write(entry) => {
                write!(f, "software writes {:#x} to the entry at {:#x}", entry.value, entry.at)
            }
            Self::Invlpg(address) => write!(f, "INVLPG of {address}"),
            Self::Invpcid(Invpcid { kind, descriptor: [low, high] }) => {
                write!(f, "INVPCID of type {kind:#x}, PCID {low:#x}, address {high:#x}")
            }
            Self::Mov(mov) => mov.fmt(f),
            Self::ReloadCr3 => f.write_str("MOV to CR3 of its own value"),
            Self::WriteProtect(on) => write!(f, "MOV to CR0 with WP={}", u8::from(*on)),
            Self::Pkru(pkru) => write!(f, "WRPKRU of {pkru:#x}"),
        }
    }
}

impl Case {
    /// Whether there are actions before the access.
    pub fn is_sequence(&self) -> bool {
        !self.before.is_empty()
    }

    /// The access of the case itself, which comes last.
    pub fn access_step(&self) -> AccessStep {
        AccessStep { access: self.access, form: self.form, value: self.value }
    }

    /// All actions in order, the access last.
    pub fn script(&self) -> impl Iterator<Item = Action> {
        self.before.iter().copied().chain(once(Action::Access(self.access_step())))
    }

    /// The sequence up to an access, which is then its last: action `at`, counted from 0. `None` if
    /// that is not an access.
    ///
    /// ```
    /// use crosswalk_case::{Action, Case};
    /// use crosswalk_guest::layout::Arena;
    /// use mmu_core::{Profile, Ring};
    ///
    /// let mut case = Case::plain(Arena::ALL[0], 0, Ring::Three, Profile::default());
    /// case.before = vec![Action::ReloadCr3, Action::Access(case.access_step())];
    /// assert_eq!(case.until(1).unwrap().before, [Action::ReloadCr3]);
    /// assert_eq!(case.until(2).unwrap(), case);
    /// assert_eq!(case.until(0), None);
    /// ```
    pub fn until(&self, at: usize) -> Option<Self> {
        let Action::Access(AccessStep { access, form, value }) = self.script().nth(at)? else {
            return None;
        };
        let before = self.before.iter().take(at).copied().collect();
        Some(Self { before, access, form, value, ..self.clone() })
    }

    /// Each access, including the last, as a case of its own: with the registers at that point, and
    /// the tables as software left them.
    ///
    /// ```
    /// use crosswalk_case::{Action, Case};
    /// use crosswalk_guest::layout::Arena;
    /// use mmu_core::{Cr0, Profile, Ring};
    ///
    /// let mut case = Case::plain(Arena::ALL[0], 0, Ring::Zero, Profile::default());
    /// case.before = vec![Action::Access(case.access_step()), Action::WriteProtect(false)];
    /// let accesses = case.accesses();
    /// let protected: Vec<bool> =
    ///     accesses.iter().map(|access| access.state.cr0.contains(Cr0::WP)).collect();
    /// assert_eq!(protected, [true, false]);
    /// ```
    pub fn accesses(&self) -> Vec<Self> {
        let mut alone = Self { before: Vec::new(), ..self.clone() };
        let mut accesses = Vec::new();
        for action in self.script() {
            let mut state = alone.state;
            action.change(&mut state, alone.profile, &alone);
            alone.state = state;
            match action {
                Action::Access(AccessStep { access, form, value }) => {
                    alone.access = access;
                    alone.form = form;
                    alone.value = value;
                    accesses.push(alone.clone());
                }
                Action::Write(TableEntry { at, value }) => {
                    // Outside memory nothing is stored.
                    let _ = alone.write_entry(PhysAddr::new(at), 8, value);
                }
                Action::Invlpg(_)
                | Action::Invpcid(_)
                | Action::Mov(_)
                | Action::ReloadCr3
                | Action::WriteProtect(_)
                | Action::Pkru(_) => {}
            }
        }
        accesses
    }
}
