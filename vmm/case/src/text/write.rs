//! Writing the text form.

use super::profile::{FullProfile, ProfileText};
use super::{AccessText, ActionText, CaseText, EntryText, InvpcidText, StateText, segment_name};
use crate::hex::Hex;
use crate::{AccessStep, Action, Case, Invpcid, instruction};
use mmu_core::x86::control::Mov;
use mmu_core::{ControlState, PagingMode};
use serde::{Serialize, Serializer};

impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        CaseText::from(self).serialize(serializer)
    }
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for Case {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Case".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        CaseText::json_schema(generator)
    }
}

impl From<&Case> for CaseText {
    fn from(case: &Case) -> Self {
        Self {
            mode: case.mode().name().into(),
            state: write_state(&case.state, case.access.ac),
            entries: case.entries.iter().map(EntryText::from).collect(),
            before: case.before.iter().map(|action| write_action(action, case.access.ac)).collect(),
            access: write_access(&case.access_step(), case.access.ac),
            profile: Some(ProfileText::Full(FullProfile::from(&case.profile))),
        }
    }
}

/// The control state, with EFLAGS.AC of the last access.
fn write_state(state: &ControlState, ac: bool) -> StateText {
    StateText {
        cr0: Hex(state.cr0.bits()),
        cr3: Hex(state.cr3),
        cr4: Hex(state.cr4.bits()),
        efer: Hex(state.efer.bits()),
        pkru: Hex(state.pkru.into()),
        pkrs: Hex(state.pkrs.into()),
        pdptes: (state.mode() == PagingMode::Pae).then(|| state.pdptes.map(Hex)),
        ac,
    }
}

fn write_action(action: &Action, last_ac: bool) -> ActionText {
    match action {
        Action::Access(step) => ActionText::Access(write_access(step, last_ac)),
        Action::Write(entry) => ActionText::Write(entry.into()),
        Action::Invpcid(Invpcid { kind, descriptor }) => {
            let descriptor = descriptor.map(Hex);
            ActionText::Invpcid(InvpcidText { kind: Hex(*kind), descriptor })
        }
        Action::Invlpg(address) => ActionText::Invlpg(Hex(address.get())),
        Action::Mov(mov) => write_mov(*mov),
        Action::ReloadCr3 => ActionText::ReloadCr3,
        Action::Pkru(pkru) => ActionText::Pkru(Hex((*pkru).into())),
        Action::WriteProtect(on) => ActionText::WriteProtect(*on),
    }
}

fn write_mov(mov: Mov) -> ActionText {
    let value = Hex(mov.value());
    match mov {
        Mov::Cr0(_) => ActionText::MovCr0(value),
        Mov::Cr3(_) => ActionText::MovCr3(value),
        Mov::Cr4(_) => ActionText::MovCr4(value),
        Mov::Efer(_) => ActionText::WrmsrEfer(value),
    }
}

/// An access, with its EFLAGS.AC where that differs from the last access's.
fn write_access(step: &AccessStep, last_ac: bool) -> AccessText {
    let AccessStep { access, form, value } = step;
    let source = step.source().map(|source| Hex(source.get()));
    AccessText {
        kind: access.kind.name().into(),
        address: Hex(access.address.get()),
        size: access.size,
        ring: access.ring.cpl(),
        segment: segment_name(access.segment).into(),
        implicit: access.implicit,
        shadow_stack: access.shadow_stack,
        compatibility: access.compatibility,
        ac: (access.ac != last_ac).then_some(access.ac),
        instruction: Some(instruction::name(*form).into()),
        value: source.is_none().then_some(Hex(*value)),
        source,
    }
}
