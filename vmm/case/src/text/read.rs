//! Reading the text form: every field is checked, and an error names the field.

use super::profile::ProfileText;
use super::{
    AccessText, ActionText, CaseError, CaseText, EntryText, InvpcidText, SEGMENTS, StateText,
    named, segment_name,
};
use crate::hex::Hex;
use crate::{AccessStep, Action, Case, Invpcid, SAVED_AREA, TableEntry, instruction};
use crosswalk_guest::stub::Form;
use crosswalk_guest::tables;
use mmu_core::x86::control::Mov;
use mmu_core::x86::state::StateError;
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Cr4, Efer, PagingMode, Profile, Ring, VirtAddr,
};
use std::collections::BTreeSet;

/// Bytes of the longest instruction, and of the widest data access.
const MAX_FETCH: u16 = 15;
const MAX_DATA: u16 = 8;
/// Bytes that CMPXCHG16B compares, and that ENTER pushes.
const MAX_COMPARED: u16 = 16;
const MAX_PUSHED: u16 = 24;

/// More entries and actions than any machine is given, and few enough that walks take no time.
const MAX_ENTRIES: usize = 1 << 16;
const MAX_ACTIONS: usize = 1 << 10;

impl TryFrom<CaseText> for Case {
    type Error = CaseError;

    fn try_from(text: CaseText) -> Result<Self, CaseError> {
        let ac = text.state.ac;
        let state = text.state.read()?;
        let mode = read_mode(&text.mode, &state)?;
        text.state.check_pdptes(mode)?;
        check_number("entries", text.entries.len(), MAX_ENTRIES)?;
        check_number("before", text.before.len(), MAX_ACTIONS)?;
        let entries = read_entries(&text.entries, mode)?;

        let actions = text.before.iter().enumerate();
        let before = actions
            .map(|(i, action)| action.read(&format!("before[{i}]"), mode, ac))
            .collect::<Result<Vec<_>, _>>()?;
        let AccessStep { access, form, value } = text.access.read("access", mode, ac)?;
        let profile = text.profile.map_or_else(|| Ok(Profile::default()), ProfileText::read)?;

        Ok(Self { profile, state, entries, before, access, form, value })
    }
}

/// Checks that a list is not longer than any that is of use.
fn check_number(place: &str, found: usize, most: usize) -> Result<(), CaseError> {
    if found > most {
        return Err(CaseError::new(place, format!("expected at most {most}, found {found}")));
    }
    Ok(())
}

/// The mode, which must be the one that the control state selects.
fn read_mode(name: &str, state: &ControlState) -> Result<PagingMode, CaseError> {
    let mode = named("mode", &PagingMode::ALL, PagingMode::name, name)?;
    let selected = state.mode();
    if selected != mode {
        let problem =
            format!("expected {:?}, the mode that state selects, found {name:?}", selected.name());
        return Err(CaseError::new("mode", problem));
    }
    Ok(mode)
}

/// The entries; no address may occur twice.
fn read_entries(texts: &[EntryText], mode: PagingMode) -> Result<Vec<TableEntry>, CaseError> {
    let mut entries: Vec<TableEntry> = Vec::new();
    let mut addresses = BTreeSet::new();
    for (i, text) in texts.iter().enumerate() {
        let place = format!("entries[{i}].address");
        let entry = text.read(&place, mode)?;
        if !addresses.insert(entry.at) {
            let problem = format!("expected each address once, found {:#x} again", entry.at);
            return Err(CaseError::new(place, problem));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// The value of PKRU or PKRS.
fn read_key_rights(place: &str, value: Hex) -> Result<u32, CaseError> {
    u32::try_from(value.0).map_err(|_| {
        CaseError::new(place, format!("expected at most 32 bits, found {:#x}", value.0))
    })
}

impl StateText {
    fn read(&self) -> Result<ControlState, CaseError> {
        let state = ControlState {
            cr0: Cr0::from_bits_retain(self.cr0.0),
            cr3: self.cr3.0,
            cr4: Cr4::from_bits_retain(self.cr4.0),
            efer: Efer::from_bits_retain(self.efer.0),
            pkru: read_key_rights("state.pkru", self.pkru)?,
            pkrs: read_key_rights("state.pkrs", self.pkrs)?,
            pdptes: self.pdptes.map_or([0; 4], |pdptes| pdptes.map(|Hex(entry)| entry)),
        };
        check_possible(&state, |register| format!("state.{register}"))?;
        Ok(state)
    }

    /// PDPTEs are registers of PAE paging alone.
    fn check_pdptes(&self, mode: PagingMode) -> Result<(), CaseError> {
        if self.pdptes.is_some() && mode != PagingMode::Pae {
            let problem = format!("expected in pae paging only, found in {mode}");
            return Err(CaseError::new("state.pdptes", problem));
        }
        Ok(())
    }
}

/// Checks that some processor can be in a state, and that the model knows all its bits; `place` is where
/// the text has a register. A machine may obey a bit that its CPUID lacks, so the case's own processor
/// does not count. CR3 is not checked: it is the operand of the MOV that comes before the access, and that
/// may fault (MODE-8). Nor are the PDPTEs: what loads them may fault, too (PDPTE-2).
fn check_possible(state: &ControlState, place: impl Fn(&str) -> String) -> Result<(), CaseError> {
    let besides_cr3 = ControlState { cr3: 0, ..*state };
    besides_cr3.check().map_err(|error| {
        let StateError { register, value, bits, reason } = error;
        let problem = format!(
            "expected a state that a processor can be in: {reason}; found {value:#x}, where bits \
             {bits:#x} are wrong"
        );
        CaseError::new(place(register), problem)
    })
}

impl EntryText {
    fn read(&self, place: &str, mode: PagingMode) -> Result<TableEntry, CaseError> {
        let Self { address: Hex(at), value: Hex(value) } = *self;
        let bytes = tables::entry_bytes(mode);
        if !at.is_multiple_of(bytes) {
            let problem = format!("expected a multiple of {bytes}, found {at:#x}");
            return Err(CaseError::new(place, problem));
        }
        Ok(TableEntry { at, value })
    }
}

impl ActionText {
    fn read(&self, place: &str, mode: PagingMode, ac: bool) -> Result<Action, CaseError> {
        Ok(match self {
            Self::Access(access) => {
                Action::Access(access.read(&format!("{place}.access"), mode, ac)?)
            }
            Self::Write(entry) => {
                Action::Write(entry.read(&format!("{place}.write.address"), mode)?)
            }
            Self::Invpcid(InvpcidText { kind, descriptor: [Hex(low), Hex(high)] }) => {
                Action::Invpcid(Invpcid { kind: kind.0, descriptor: [*low, *high] })
            }
            Self::Invlpg(address) => Action::Invlpg(VirtAddr::new(address.0)),
            Self::MovCr0(Hex(value)) => Action::Mov(Mov::Cr0(Cr0::from_bits_retain(*value))),
            Self::MovCr3(Hex(value)) => Action::Mov(Mov::Cr3(*value)),
            Self::MovCr4(Hex(value)) => Action::Mov(Mov::Cr4(Cr4::from_bits_retain(*value))),
            Self::WrmsrEfer(Hex(value)) => Action::Mov(Mov::Efer(Efer::from_bits_retain(*value))),
            Self::ReloadCr3 => Action::ReloadCr3,
            Self::Pkru(pkru) => Action::Pkru(read_key_rights(&format!("{place}.pkru"), *pkru)?),
            Self::WriteProtect(on) => Action::WriteProtect(*on),
        })
    }
}

impl AccessText {
    /// Reads the access; `ac` is EFLAGS.AC unless the text gives another.
    fn read(&self, place: &str, mode: PagingMode, ac: bool) -> Result<AccessStep, CaseError> {
        let at = |field: &str| format!("{place}.{field}");
        let kind = named(&at("kind"), &AccessKind::ALL, AccessKind::name, &self.kind)?;

        let form = self.read_form(&at("instruction"), kind)?;
        let limit = match form {
            _ if kind == AccessKind::Fetch => MAX_FETCH,
            Form::FailingCompare => MAX_COMPARED,
            Form::Enter => MAX_PUSHED,
            Form::Fxsave => SAVED_AREA,
            _ => MAX_DATA,
        };
        if self.size == 0 || self.size > limit {
            let problem =
                format!("expected 1 to {limit} bytes for a {}, found {}", self.kind, self.size);
            return Err(CaseError::new(at("size"), problem));
        }

        if self.compatibility && !mode.is_long_mode() {
            let problem = format!("expected in 4level and 5level paging only, found in {mode}");
            return Err(CaseError::new(at("compatibility"), problem));
        }

        let access = Access {
            kind,
            address: VirtAddr::new(self.address.0),
            size: self.size,
            ring: read_ring(&at("ring"), self.ring)?,
            segment: named(&at("segment"), &SEGMENTS, segment_name, &self.segment)?,
            implicit: self.implicit,
            shadow_stack: self.shadow_stack,
            ac: self.ac.unwrap_or(ac),
            compatibility: self.compatibility,
        };
        let step = AccessStep { access, form, value: self.read_value(&at, form)? };
        if let Some(expected) = expected_size(&step) {
            let name = step.instruction();
            let problem = format!("expected {expected} for {name}, found {}", self.size);
            return Err(CaseError::new(at("size"), problem));
        }
        if let Some(problem) = problem_of_source(&step) {
            return Err(CaseError::new(at("source"), problem));
        }
        Ok(step)
    }

    /// The value, or in its place the source of an instruction that has one.
    fn read_value(&self, at: &impl Fn(&str) -> String, form: Form) -> Result<u64, CaseError> {
        let name = instruction::name(form);
        match (self.source, self.value) {
            (Some(Hex(source)), None) if form.has_source() => Ok(source),
            (None, value) if !form.has_source() => Ok(value.map_or(0, |Hex(value)| value)),
            (_, Some(_)) if form.has_source() => {
                Err(CaseError::new(at("value"), format!("expected none, as {name} has a source")))
            }
            (None, _) => Err(CaseError::new(at("source"), format!("expected one for {name}"))),
            _ => Err(CaseError::new(at("source"), format!("expected none for {name}"))),
        }
    }

    /// The instruction, which must be one for this kind of access.
    fn read_form(&self, place: &str, kind: AccessKind) -> Result<Form, CaseError> {
        match &self.instruction {
            None if self.shadow_stack => Ok(match kind {
                AccessKind::Read => Form::ShadowLoad,
                AccessKind::Write => Form::ShadowStore,
                _ => Case::default_form(kind),
            }),
            None => Ok(Case::default_form(kind)),
            Some(name) => named(place, instruction::forms(kind), instruction::name, name),
        }
    }
}

/// The sizes that an instruction can have, in words, if it does not have one of them.
const fn expected_size(step: &AccessStep) -> Option<&'static str> {
    let size = step.access.size;
    let (is_one, expected) = match step.form {
        Form::MoveString | Form::CompareStrings => (size.is_power_of_two(), "1, 2, 4 or 8"),
        Form::Push | Form::Pop => (matches!(size, 2 | 8), "2 or 8"),
        Form::Enter => (size == MAX_PUSHED, "24"),
        Form::Fxsave => (size == SAVED_AREA, "512"),
        Form::Call => (size == 8, "8"),
        Form::ShadowStore | Form::ShadowLoad => (matches!(size, 4 | 8), "4 or 8"),
        _ => (true, ""),
    };
    if is_one { None } else { Some(expected) }
}

/// Why an instruction cannot have its source.
fn problem_of_source(step: &AccessStep) -> Option<String> {
    if step.form == Form::Enter {
        let places = [step.access.address.get(), step.value];
        let are_aligned = places.iter().all(|place| place.is_multiple_of(8));
        return (!are_aligned)
            .then(|| "expected multiples of 8 for enter, address and source".into());
    }

    let parts = step.parts();
    let all = parts.iter().filter(|part| part.kind == AccessKind::Write).map(|part| part.size);
    let is_cut = step.form == Form::RepeatedMove && all.sum::<u16>() != step.access.size;
    is_cut.then(|| {
        "expected to cross into the next page where the address does, or only one of them to cross"
            .into()
    })
}

fn read_ring(place: &str, cpl: u8) -> Result<Ring, CaseError> {
    let found = Ring::ALL.into_iter().find(|ring| ring.cpl() == cpl);
    found.ok_or_else(|| CaseError::new(place, format!("expected one of 0, 3, found {cpl}")))
}
