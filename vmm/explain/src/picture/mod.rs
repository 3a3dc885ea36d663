//! Everything that a picture of a walk shows, in parts: the address split, each entry field by field, what the path
//! allows so far, where it ends, the registers, and the error code.

mod entry;
mod fault;
mod field;
mod registers;
#[cfg(test)]
mod tests;

pub use field::{Field, FieldKind, Word};

use crate::address::{pages, split};
use crate::words::{end_in_words, why_not_walked};
use crosswalk_case::{Case, Hex};
use crosswalk_walker::{Walker, WalkerSpec};
use mmu_core::walk::{Path, Step, WalkError};
use mmu_core::x86::format::{EntryKind, root};
use mmu_core::x86::semantics::{Cause, EntryError, Rights};
use mmu_core::{PagingMode, Prediction, Regime, Translation, VirtAddr};
use serde::Serialize;

/// What is shown of a case: of a sequence, of its last access.
#[derive(Clone, Debug, Serialize)]
pub struct Picture {
    /// The paging mode.
    pub mode: &'static str,
    /// The registers, as they are at the access.
    pub registers: Vec<Word>,
    /// The walk of each page that the access touches; without entries where nothing is walked.
    pub walks: Vec<WalkPicture>,
    /// Of each outcome that is allowed, the error code; null where it is no page fault.
    pub error_codes: Vec<Option<Word>>,
}

/// The walk of one page.
#[derive(Clone, Debug, Serialize)]
pub struct WalkPicture {
    /// The kind of the access.
    pub access: &'static str,
    /// The linear address of the first byte there.
    pub address: Hex,
    /// The parts of the address.
    pub parts: Vec<AddressPart>,
    /// The entries, root first.
    pub entries: Vec<EntryPicture>,
    /// How it ends.
    pub end: EndPicture,
}

/// A part of the address.
#[derive(Clone, Debug, Serialize)]
pub struct AddressPart {
    /// What it selects: a table, `offset` or `sign`.
    pub name: String,
    /// Its highest bit.
    pub high: u8,
    /// Its lowest bit.
    pub low: u8,
    /// Its value.
    pub value: String,
}

/// An entry on the path.
#[derive(Clone, Debug, Serialize)]
pub struct EntryPicture {
    /// The entry.
    pub word: Word,
    /// Its physical address.
    pub at: Hex,
    /// The physical address of its table.
    pub table: Hex,
    /// Its index there.
    pub index: u64,
    /// The number of entries in the table.
    pub entries: u64,
    /// The number of bytes in an entry.
    pub bytes: u64,
    /// Whether it is read from a register.
    pub in_register: bool,
    /// `table`, `page` or `nowhere`.
    pub leads_to: &'static str,
    /// Where it leads; null if it leads nowhere.
    pub target: Option<Hex>,
    /// The number of bytes in the page, if it maps one.
    pub page_bytes: Option<u64>,
    /// What is wrong with it; null if nothing is.
    pub problem: Option<&'static str>,
    /// What the path allows with it, and which rights it takes away: user, write, execute.
    pub rights: [RightPicture; 3],
}

/// A right, after an entry.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RightPicture {
    /// Its name.
    pub name: &'static str,
    /// Whether the path has it with this entry.
    pub has: bool,
    /// Whether this entry takes it away.
    pub lost: bool,
}

/// How a walk ends.
#[derive(Clone, Debug, Serialize)]
pub struct EndPicture {
    /// In words.
    pub words: String,
    /// `reached`, `denied`, `stopped`, or `none` if there is no walk.
    pub kind: &'static str,
    /// The physical address of the first byte; null if it ends in a fault.
    pub physical: Option<Hex>,
    /// The first byte of the page, if there is one.
    pub page: Option<Hex>,
    /// The number of bytes in the page.
    pub page_bytes: Option<u64>,
}

impl Picture {
    /// What is shown of a case by a walker's walk, which predicts these outcomes.
    pub fn new(case: &Case, walker: WalkerSpec, prediction: &Prediction) -> Self {
        let last = case.accesses().pop().unwrap_or_else(|| case.clone());
        let regime = Regime::new(last.state, last.profile);
        let walks = match why_not_walked(&last, prediction) {
            None => {
                let pages = pages(&last).into_iter();
                pages.map(|(part, page)| walk(&part, walker.walker(), page)).collect()
            }
            Some(why) => vec![no_walk(&last, why)],
        };
        let outcomes = prediction.alternatives.iter().map(|way| way.outcome.fault());

        Self {
            mode: last.mode().name(),
            registers: registers::words(&regime),
            walks,
            error_codes: outcomes.map(|fault| fault.and_then(fault::word)).collect(),
        }
    }
}

fn walk(case: &Case, walker: &dyn Walker, page: VirtAddr) -> WalkPicture {
    let regime = Regime::new(case.state, case.profile);
    let (path, end) = walker.walk(case, page);
    let mut above = Rights::all();
    let entries = path.steps.iter().map(|step| {
        let entry = entry_picture(&regime, step, above);
        above = step.rights;
        entry
    });
    WalkPicture {
        access: case.access.kind.name(),
        address: Hex(page.get()),
        parts: parts(case.mode(), page, Some(&path)),
        entries: entries.collect(),
        end: end_picture(&path, &end),
    }
}

fn no_walk(case: &Case, why: &str) -> WalkPicture {
    WalkPicture {
        access: case.access.kind.name(),
        address: Hex(case.access.address.get()),
        parts: parts(case.mode(), case.access.address, None),
        entries: Vec::new(),
        end: EndPicture {
            words: why.into(),
            kind: "none",
            physical: None,
            page: None,
            page_bytes: None,
        },
    }
}

fn parts(mode: PagingMode, address: VirtAddr, path: Option<&Path>) -> Vec<AddressPart> {
    let parts = split(mode, address, path).into_iter();
    parts
        .map(|part| AddressPart {
            name: part.name,
            high: part.bits.0,
            low: part.bits.1,
            value: part.value,
        })
        .collect()
}

fn entry_picture(regime: &Regime, step: &Step, above: Rights) -> EntryPicture {
    let bytes = if regime.state.mode() == PagingMode::Bits32 { 4 } else { 8 };
    let entries = 1_u64 << step.level.index_bits;
    // PAE's four PDPTEs lie where CR3 says, at a multiple of 32.
    let table = step.at.get() & !(bytes * entries - 1);
    let leads = step.error.is_none();
    let is_page = leads && step.kind == EntryKind::Leaf;
    let right = |right, name| RightPicture {
        name,
        has: step.rights.contains(right),
        lost: above.contains(right) && !step.rights.contains(right),
    };

    EntryPicture {
        word: entry::word(regime, step),
        at: Hex(step.at.get()),
        table: Hex(table),
        index: (step.at.get() - table) / bytes,
        entries,
        bytes,
        in_register: !step.level.has_flags,
        leads_to: match step.kind {
            _ if !leads => "nowhere",
            EntryKind::Table => "table",
            EntryKind::Leaf => "page",
        },
        target: leads.then(|| Hex(step.target.get())),
        page_bytes: is_page.then(|| 1 << step.level.shift),
        problem: step.error.map(|error| match error {
            EntryError::NotPresent => "not present",
            EntryError::Reserved(_) => "reserved bits are set",
        }),
        rights: [
            right(Rights::USER, "user"),
            right(Rights::WRITE, "write"),
            right(Rights::EXECUTE, "execute"),
        ],
    }
}

fn end_picture(path: &Path, end: &Result<Translation, WalkError>) -> EndPicture {
    let leaf =
        path.steps.last().filter(|step| step.error.is_none() && step.kind == EntryKind::Leaf);
    EndPicture {
        words: end_in_words(end),
        kind: match end {
            Ok(_) => "reached",
            Err(WalkError::Fault(Cause::Denied(_))) => "denied",
            Err(_) => "stopped",
        },
        physical: end.as_ref().ok().map(|translation| Hex(translation.address.get())),
        page: leaf.map(|step| Hex(step.target.get())),
        page_bytes: leaf.map(|step| 1 << step.level.shift),
    }
}

/// The physical address of the first table that a case's CR3 leads to.
pub(crate) fn first_table(case: &Case) -> u64 {
    root(&Regime::new(case.state, case.profile)).get()
}
