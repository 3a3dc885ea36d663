//! A path of tables of one entry each, whose flags are what an exercise is about.

use crate::answer::{End, rights_in_letters};
use crate::chance::Chance;
use crate::exercise::Table;
use mmu_core::memory::SparseTables;
use mmu_core::walk::{Path, Step, WalkError};
use mmu_core::x86::format::{EntryBits, EntryKind, Format, Level};
use mmu_core::x86::semantics::{Cause, Denial, EntryError, Rights};
use mmu_core::{
    Access, AccessKind, AnyMmu, ControlState, Outcome, PagingMode, PhysAddr, Profile, Ring,
    VirtAddr,
};

/// A path of tables, and what else decides a walk.
#[derive(Clone)]
pub(super) struct TablePath {
    pub(super) state: ControlState,
    pub(super) profile: Profile,
    pub(super) address: VirtAddr,
    levels: &'static [Level],
    /// Each entry with its physical address, the root's first.
    pub(super) entries: Vec<(u64, u64)>,
}

impl TablePath {
    /// A path in a format, with these flags at each level.
    pub(super) fn new<F: Format>(
        address: VirtAddr,
        flags: &[EntryBits],
        profile: Profile,
        chance: &mut Chance,
    ) -> Self {
        let frames: Vec<u64> =
            chance.different(F::LEVELS.len() + 1, 1..=0xff).into_iter().map(|n| n << 12).collect();
        let entries = F::LEVELS.iter().zip(flags).zip(frames.windows(2));
        let entries = entries.map(|((level, flags), frames)| {
            let kind = if level.number == 1 { EntryKind::Leaf } else { EntryKind::Table };
            let index = address.index(level.shift, level.index_bits);
            let at = frames[0] + index * u64::from(F::ENTRY_BYTES);
            (at, F::entry(level, kind, PhysAddr::new(frames[1]), *flags))
        });
        let entries = entries.collect();

        let state = match F::MODE {
            PagingMode::Bits32 => ControlState::bits32(frames[0]),
            _ => ControlState::four_level(frames[0]),
        };
        Self { state, profile, address, levels: F::LEVELS, entries }
    }

    /// An access to the address.
    pub(super) fn access(&self, kind: AccessKind, ring: Ring) -> Access {
        Access::new(kind, self.address, 1, ring)
    }

    /// How an access ends, if every processor agrees.
    pub(super) fn end(&self, access: &Access) -> Option<End> {
        let memory = SparseTables::new(&self.entries);
        let mmu = AnyMmu::new(self.state, self.profile);
        let prediction = mmu.predict(&memory, access).expect("an access of one byte");

        let mut ends =
            prediction.alternatives.iter().map(|alternative| match &alternative.outcome {
                Outcome::Translated(_) => End::Completes,
                Outcome::Fault(fault) if fault.cr2.is_some() => End::PageFault(fault.error_code),
                Outcome::Fault(_) => End::GeneralProtection,
            });
        let first = ends.next()?;
        ends.all(|end| end == first).then_some(first)
    }

    /// The walk of an access to an address that is canonical: the rights of the path or why it ends, and its entries.
    pub(super) fn walk(&self, access: &Access) -> (Result<Rights, Cause>, Vec<Step>) {
        let memory = SparseTables::new(&self.entries);
        let mmu = AnyMmu::new(self.state, self.profile);
        let mut path = Path::default();
        let walked = mmu.walk(&memory, self.address, access, &mut path);
        let walked = match walked {
            Ok(translation) => Ok(translation.rights),
            Err(WalkError::Fault(cause)) => Err(cause),
            Err(WalkError::Memory(_)) => unreachable!("every table of the path is in memory"),
        };
        (walked, path.steps.to_vec())
    }

    /// The entries as a table: in parts, as a number, or both.
    pub(super) fn printed(&self, has_parts: bool, has_number: bool) -> Table {
        let is_wide = self.levels.len() > 2;
        let mut columns = vec!["entry"];
        if has_number {
            columns.push("value");
        }
        if has_parts {
            columns.extend(["P", "R/W", "U/S"]);
            if is_wide {
                columns.push("XD");
            }
        }

        let digits = if is_wide { 18 } else { 10 };
        let rows = self.levels.iter().zip(&self.entries).map(|(level, (_, entry))| {
            let mut row = vec![level.entry_name.to_owned()];
            if has_number {
                row.push(format!("{entry:#0digits$x}"));
            }
            if has_parts {
                let bit = |bit: u32| (entry >> bit & 1).to_string();
                row.extend([bit(0), bit(1), bit(2)]);
                if is_wide {
                    row.push(bit(63));
                }
            }
            row
        });
        Table { title: "the entries on the path".into(), columns, rows: rows.collect() }
    }
}

/// An access in words: a user's write.
pub(super) fn access_in_words(access: &Access) -> String {
    let whose = if access.ring == Ring::Three { "user" } else { "supervisor" };
    let what = match access.kind {
        AccessKind::Fetch => "instruction fetch",
        kind => kind.name(),
    };
    let exempted = if access.ac { " with EFLAGS.AC = 1" } else { "" };
    format!("a {whose}'s {what}{exempted}")
}

/// The step of a walk in words: flags, and the rights so far.
pub(super) fn worked_step(step: &Step) -> String {
    let name = step.level.entry_name;
    let bit = |bit: u32| step.entry >> bit & 1;
    match step.error {
        Some(EntryError::NotPresent) => format!("{name}: P = 0. The walk ends here."),
        Some(EntryError::Reserved(bits)) => {
            format!(
                "{name}: P = 1, and bit {} is reserved. The walk ends here.",
                bits.trailing_zeros()
            )
        }
        None => {
            let xd = if bit(63) == 1 { ", XD = 1" } else { "" };
            format!(
                "{name}: P = 1, R/W = {}, U/S = {}{xd}: so far {}.",
                bit(1),
                bit(2),
                rights_in_letters(step.rights.bits().into())
            )
        }
    }
}

/// Why an access faults, in words.
pub(super) fn cause_in_words(cause: Cause, steps: &[Step]) -> String {
    let last = steps.last().map_or("entry", |step| step.level.entry_name);
    let denial = match cause {
        Cause::Entry(EntryError::NotPresent) => return format!("the {last} is not present"),
        Cause::Entry(EntryError::Reserved(bits)) => {
            return format!("bit {} of the {last} is reserved", bits.trailing_zeros());
        }
        Cause::Denied(denial) => denial,
    };

    let without = |bit: u32, value: u64| {
        let level = steps.iter().find(|step| step.entry >> bit & 1 == value);
        level.map_or("an entry", |step| step.level.entry_name)
    };
    let mut reasons = Vec::new();
    if denial.contains(Denial::SUPERVISOR_PAGE) {
        reasons.push(format!("U/S is 0 in the {}: a supervisor page", without(2, 0)));
    }
    if denial.contains(Denial::READ_ONLY) {
        reasons.push(format!("R/W is 0 in the {}: read-only", without(1, 0)));
    }
    if denial.contains(Denial::EXECUTE_DISABLED) {
        reasons.push(format!("XD is 1 in the {}: nothing is executed there", without(63, 1)));
    }
    if denial.contains(Denial::SMEP) {
        reasons.push("SMEP: the supervisor executes no user page".into());
    }
    if denial.contains(Denial::SMAP) {
        reasons.push("SMAP: the supervisor does not touch user pages".into());
    }
    reasons.join("; ")
}
