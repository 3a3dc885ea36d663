//! A case with its walk, drawn: the address split into indices, and a box for each entry on the path.

use crate::finding::Example;
use crate::report::walk::steps::{CachedDrawing, StepDrawing, steps};
use crate::report::walk::{end_in_words, flags, last_access, pages, split, step_in_words};
use crate::walker::{Walker, WalkerSpec};
use crosswalk_case::Case;
use mmu_core::walk::Step;
use mmu_core::{PagingMode, Reference, VirtAddr};

/// A case that shows a finding.
pub(super) struct ShownExample {
    /// Which action of a sequence differs.
    pub(super) place: Option<String>,
    /// How often the case shows the finding.
    pub(super) shown: Option<String>,
    pub(super) expected: String,
    pub(super) observed: String,
    pub(super) differences: Vec<String>,
    pub(super) access: String,
    /// The steps of a sequence.
    pub(super) steps: Vec<ShownStep>,
    /// The walks for each page that the access touches.
    pub(super) pages: Vec<DrawnPage>,
    pub(super) case: String,
}

/// A step of a sequence.
pub(super) struct ShownStep {
    pub(super) action: String,
    pub(super) outcomes: String,
    pub(super) dropped: String,
    pub(super) cached: Vec<CachedDrawing>,
    /// `fails` if it is the step that differs.
    pub(super) class: &'static str,
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

/// An entry on the path.
pub(super) struct DrawnStep {
    pub(super) name: &'static str,
    pub(super) at: String,
    pub(super) value: String,
    pub(super) flags: String,
    pub(super) class: &'static str,
}

/// A finding's example, as the page shows it.
pub(super) fn show(example: &Example) -> ShownExample {
    let case = &example.case;
    let steps =
        if case.is_sequence() { steps(case, WalkerSpec::Reference, None) } else { Vec::new() };
    // The last access is drawn on the tables as all before it left them.
    let last = &last_access(case);
    let differs_at = example.place().map(|_| example.at);
    let is_walked = last.canonical_ends() == [true; 2];
    let pages = if is_walked { pages(last) } else { Vec::new() };

    ShownExample {
        place: example.place(),
        shown: example.shown.map(|shown| shown.to_string()),
        expected: example.expected.clone(),
        observed: example.observed.clone(),
        differences: example.differences.iter().map(ToString::to_string).collect(),
        access: step_in_words(&last.access_step()),
        steps: steps
            .into_iter()
            .enumerate()
            .map(|(at, step)| show_step(step, differs_at == Some(at)))
            .collect(),
        pages: pages.iter().map(|(part, page)| draw_page(part, *page)).collect(),
        case: case.to_json(),
    }
}

fn show_step(step: StepDrawing, differs: bool) -> ShownStep {
    ShownStep {
        action: step.action,
        outcomes: step.outcomes.join(", or "),
        dropped: step.dropped.join(", "),
        cached: step.cached,
        class: if differs { "fails" } else { "" },
    }
}

fn draw_page(case: &Case, page: VirtAddr) -> DrawnPage {
    let (path, end) = Reference.walk(case, page);
    let fields = split(case.mode(), page, Some(&path)).into_iter();

    DrawnPage {
        address: format!("{:#x}", page.get()),
        fields: fields.map(|(bits, value, name)| AddressField { bits, value, name }).collect(),
        steps: path.steps.iter().map(|step| draw_step(case, step)).collect(),
        class: if end.is_ok() { "ends" } else { "fails" },
        end: end_in_words(&end),
    }
}

fn draw_step(case: &Case, step: &Step) -> DrawnStep {
    let digits = if case.mode() == PagingMode::Bits32 { 10 } else { 18 };

    DrawnStep {
        name: step.level.entry_name,
        at: format!("at {:#x}", step.at.get()),
        value: format!("{:#0digits$x}", step.entry),
        flags: flags(&case.state, step),
        class: if step.error.is_some() { "fails" } else { "" },
    }
}
