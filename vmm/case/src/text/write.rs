//! Writing the text form.

use super::profile::{FullProfile, ProfileText};
use super::{AccessText, ActionText, CaseText, EntryText, StateText, segment_name};
use crate::hex::Hex;
use crate::{AccessStep, Action, Case, instruction};
use mmu_core::{ControlState, PagingMode};
use serde::{Serialize, Serializer};

impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        CaseText::from(self).serialize(serializer)
    }
}

impl From<&Case> for CaseText {
    fn from(case: &Case) -> Self {
        Self {
            mode: case.mode().name().into(),
            state: StateText::from(&case.state),
            entries: case.entries.iter().map(EntryText::from).collect(),
            before: case.before.iter().map(ActionText::from).collect(),
            access: AccessText::from(&case.access_step()),
            profile: Some(ProfileText::Full(FullProfile::from(&case.profile))),
        }
    }
}

impl From<&ControlState> for StateText {
    fn from(state: &ControlState) -> Self {
        Self {
            cr0: Hex(state.cr0.bits()),
            cr3: Hex(state.cr3),
            cr4: Hex(state.cr4.bits()),
            efer: Hex(state.efer.bits()),
            pkru: Hex(state.pkru.into()),
            pkrs: Hex(state.pkrs.into()),
            pdptes: (state.mode() == PagingMode::Pae).then(|| state.pdptes.map(Hex)),
            ac: state.ac,
        }
    }
}

impl From<&Action> for ActionText {
    fn from(action: &Action) -> Self {
        match action {
            Action::Access(step) => Self::Access(AccessText::from(step)),
            Action::Write(entry) => Self::Write(entry.into()),
            Action::Invlpg(address) => Self::Invlpg(Hex(address.get())),
            Action::ReloadCr3 => Self::ReloadCr3,
            Action::Pkru(pkru) => Self::Pkru(Hex((*pkru).into())),
            Action::WriteProtect(on) => Self::WriteProtect(*on),
        }
    }
}

impl From<&AccessStep> for AccessText {
    fn from(AccessStep { access, form, value }: &AccessStep) -> Self {
        Self {
            kind: access.kind.name().into(),
            address: Hex(access.address.get()),
            size: access.size,
            ring: access.ring.cpl(),
            segment: segment_name(access.segment).into(),
            implicit: access.implicit,
            shadow_stack: access.shadow_stack,
            compatibility: access.compatibility,
            instruction: Some(instruction::name(*form).into()),
            value: Hex(*value),
        }
    }
}
