//! A case with its walk, drawn: the address split into indices, and a box for each entry.

use crate::finding::Example;
use crate::report::walk::{end_in_words, flags, in_words, pages, split};
use crate::walker::Walker;
use mmu_core::{PagingMode, Reference};

/// A case that shows a finding.
pub(super) struct Shown {
    pub(super) expected: String,
    pub(super) observed: String,
    pub(super) differences: Vec<String>,
    pub(super) access: String,
    /// The page that the access touches, or both.
    pub(super) pages: Vec<DrawnPage>,
    pub(super) case: String,
}

/// The walk for one page.
pub(super) struct DrawnPage {
    pub(super) address: String,
    pub(super) fields: Vec<AddressField>,
    pub(super) steps: Vec<DrawnStep>,
    pub(super) end: String,
    /// `ends` or `fails`.
    pub(super) class: &'static str,
}

/// A part of the address.
pub(super) struct AddressField {
    pub(super) bits: String,
    pub(super) value: String,
    pub(super) name: String,
}

/// An entry.
pub(super) struct DrawnStep {
    pub(super) name: &'static str,
    pub(super) at: String,
    pub(super) value: String,
    pub(super) flags: String,
    pub(super) class: &'static str,
}

pub(super) fn show(example: &Example) -> Shown {
    let case = &example.case;
    let digits = if case.mode() == PagingMode::Bits32 { 10 } else { 18 };
    let page = |address| {
        let (path, end) = Reference.walk(case, address);
        let step = |step: &mmu_core::walk::Step| DrawnStep {
            name: step.level.entry_name,
            at: format!("at {:#x}", step.at.get()),
            value: format!("{:#0digits$x}", step.entry),
            flags: flags(case, step),
            class: if step.error.is_some() { "fails" } else { "" },
        };
        DrawnPage {
            address: format!("{:#x}", address.get()),
            fields: split(case.mode(), address, Some(&path))
                .into_iter()
                .map(|(bits, value, name)| AddressField { bits, value, name })
                .collect(),
            steps: path.steps.iter().map(step).collect(),
            class: if end.is_ok() { "ends" } else { "fails" },
            end: end_in_words(&end),
        }
    };
    let is_walked = case.canonical_ends() == [true; 2];
    let pages = if is_walked { pages(case).into_iter().map(page).collect() } else { Vec::new() };
    Shown {
        expected: example.expected.clone(),
        observed: example.observed.clone(),
        differences: example.differences.iter().map(ToString::to_string).collect(),
        access: in_words(&case.access),
        pages,
        case: case.to_json(),
    }
}
