//! Sequences: what comes before the access of a case.

use super::{Case, TableEntry};
use crosswalk_guest::stub::Form;
use mmu_core::{Access, ControlState, Cr0, VirtAddr};
use std::iter::once;

/// One thing done before the access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Another access.
    Access(AccessStep),
    /// Software stores a table entry, and invalidates nothing.
    Write(TableEntry),
    /// INVLPG.
    Invlpg(VirtAddr),
    /// MOV to CR3 of what it holds.
    ReloadCr3,
    /// WRPKRU.
    Pkru(u32),
    /// CR0.WP is set or cleared.
    WriteProtect(bool),
}

/// An access, and how the guest makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessStep {
    /// The access.
    pub access: Access,
    /// The instruction that makes it.
    pub form: Form,
    /// What the instruction stores, or adds.
    pub value: u64,
}

impl Action {
    /// The registers afterwards.
    pub fn change(&self, state: &mut ControlState) {
        match self {
            Self::Pkru(pkru) => state.pkru = *pkru,
            Self::WriteProtect(on) => state.cr0.set(Cr0::WP, *on),
            Self::Access(_) | Self::Write(_) | Self::Invlpg(_) | Self::ReloadCr3 => {}
        }
    }
}

impl Case {
    /// Whether anything comes before the access.
    pub fn is_sequence(&self) -> bool {
        !self.before.is_empty()
    }

    /// The access of the case itself.
    pub fn made(&self) -> AccessStep {
        AccessStep { access: self.access, form: self.form, value: self.value }
    }

    /// Every access, the last one too, each as a case of its own: with the registers of its moment,
    /// and the tables as software left them.
    pub fn accesses(&self) -> Vec<Self> {
        let mut alone = Self { before: Vec::new(), ..self.clone() };
        let mut accesses = Vec::new();
        for action in self.script() {
            action.change(&mut alone.state);
            match action {
                Action::Access(AccessStep { access, form, value }) => {
                    (alone.access, alone.form, alone.value) = (access, form, value);
                    accesses.push(alone.clone());
                }
                Action::Write(written) => {
                    let mut entries = alone.entries.iter_mut();
                    if let Some(entry) = entries.find(|entry| entry.at == written.at) {
                        entry.value = written.value;
                    }
                }
                _ => {}
            }
        }
        accesses
    }

    /// All that is done, the access last.
    pub fn script(&self) -> impl Iterator<Item = Action> {
        self.before.iter().copied().chain(once(Action::Access(self.made())))
    }
}
