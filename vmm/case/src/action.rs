//! Sequences: what happens before the access of a case.

use crate::{Case, TableEntry};
use crosswalk_guest::stub::Form;
use mmu_core::memory::TableMemoryMut;
use mmu_core::{Access, ControlState, Cr0, PagingMode, PhysAddr, VirtAddr};
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
    /// MOV to CR3 of the value that it already has.
    ReloadCr3,
    /// WRPKRU.
    Pkru(u32),
    /// CR0.WP is set or cleared.
    WriteProtect(bool),
}

/// An access, and how the guest performs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessStep {
    /// The access.
    pub access: Access,
    /// The instruction that performs it.
    pub form: Form,
    /// The value that the instruction stores or adds.
    pub value: u64,
}

impl Action {
    /// Changes the registers as the action does, but for PDPTEs ([`Self::load_pdptes`]).
    pub fn change(&self, state: &mut ControlState) {
        match self {
            Self::Pkru(pkru) => state.pkru = *pkru,
            Self::WriteProtect(on) => state.cr0.set(Cr0::WP, *on),
            Self::Access(_) | Self::Write(_) | Self::Invlpg(_) | Self::ReloadCr3 => {}
        }
    }

    /// Loads the PDPTEs of PAE paging from the tables in memory, if the action does so (PDPTE-1). They
    /// stay as they are if one is bad (PDPTE-2).
    pub fn load_pdptes(&self, state: &mut ControlState, memory: &Case) {
        if *self != Self::ReloadCr3 || state.mode() != PagingMode::Pae {
            return;
        }
        if let Ok(new) = state.load_cr3(state.cr3, memory.profile, memory) {
            state.pdptes = new.pdptes;
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
            action.change(&mut state);
            action.load_pdptes(&mut state, &alone);
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
                | Action::ReloadCr3
                | Action::Pkru(_)
                | Action::WriteProtect(_) => {}
            }
        }
        accesses
    }
}
