//! The annotated walk: an access drawn as a person would draw it on paper, and a sequence step by step.

pub mod json;
mod page;
pub(in crate::report) mod steps;
pub mod tree;

pub use page::page;

use crate::finding::known::KnownFinding;
use crate::report::style::table::line;
use crate::verdict::{self, Verdict, describe_observation};
use crate::walker::{Mutant, WalkerSpec};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, EntryAfter};
use crosswalk_explain::address::{pages, split};
use crosswalk_explain::steps::{last_access, steps as steps_of};
use crosswalk_explain::words::{
    describe_expectation, end_in_words, flags, rights, step_in_words, why_not_walked,
};
use crosswalk_machine::Identity;
use mmu_core::walk::{Path, Step, WalkError};
use mmu_core::x86::format::{EntryBits, EntryKind};
use mmu_core::{
    ControlState, Cr0, Cr4, Efer, PagingMode, Prediction, Rule, Translation, Vendor, VirtAddr,
};
use std::fmt::{self, Write};

/// The walk of a case by a walker, step by step, and what the walker predicts. A sequence starts with
/// its steps, and with what a machine did in each, if it ran the case.
pub fn explain(case: &Case, walker: WalkerSpec, attempt: Option<&Attempt>) -> String {
    let mut text = String::new();
    if case.is_sequence() {
        let observed = steps::observed_in(case, attempt);
        steps::draw(&mut text, &steps_of(case, walker, &observed));
    }
    let mut prediction = walker.walker().predict(case);

    // The last access is drawn, on the tables as all before it left them.
    let last = last_access(case);
    describe_access(&mut text, &last);
    if let Some(why) = why_not_walked(&last, &prediction) {
        draw_address(&mut text, last.mode(), last.access.address, None);
        line(&mut text, why);
        text.push('\n');
    } else {
        for (part, page) in pages(&last) {
            let (path, end) = walker.walker().walk(&part, page);
            if last.form.has_source() {
                line(&mut text, &format!("{} at {page}", part.access.kind.name()));
            }
            draw_address(&mut text, last.mode(), page, Some(&path));
            draw_path(&mut text, &part.state, &path, &end);
        }
    }

    // The rules of every access, as coverage counts them.
    for earlier in walker.walker().predict_earlier(case) {
        prediction.rules.extend(earlier.rules);
    }
    describe_prediction(&mut text, &prediction, walker);
    text
}

/// Which of several machines the next lines are about.
pub fn on_machine(machine: &Identity) -> String {
    let mut text = String::new();
    let version = machine.version.as_deref().unwrap_or(&machine.host_kernel);
    line(&mut text, &format!("on        {} {}, {version}", machine.kind, machine.flavour));
    text
}

/// What a machine did with the case, beside what the walker predicts.
pub fn beside(case: &Case, walker: WalkerSpec, attempt: &Attempt) -> String {
    let mut text = String::new();
    match attempt {
        Attempt::Unsupported(why) => line(&mut text, &format!("machine   cannot run it: {why}")),
        Attempt::Observed(seen) => {
            let observed = describe_observation(case, seen);
            line(&mut text, &format!("machine   {observed} (decided by {})", seen.provenance));

            for entry in seen.entries.iter().filter(|entry| entry.before != entry.after) {
                let EntryAfter { at, before, after } = entry;
                let words = format!("          entry {at:#x}: {before:#x} became {after:#x}");
                line(&mut text, &words);
            }
        }
    }

    match verdict::judge(walker.walker(), case, attempt) {
        Verdict::Agree { unproved, .. } => {
            let note = if unproved { ", though nothing proves the physical address" } else { "" };
            line(&mut text, &format!("verdict   agree{note}"));
        }
        Verdict::Unsupported(_) => line(&mut text, "verdict   unsupported"),
        Verdict::Diverge { at, differences, .. } => {
            let place = if case.is_sequence() {
                format!(" at action {} of {}", at + 1, case.before.len() + 1)
            } else {
                String::new()
            };
            line(&mut text, &format!("verdict   DIVERGE{place}"));
            for difference in differences {
                line(&mut text, &format!("          {difference}"));
            }
        }
    }
    text
}

/// The known findings that a divergence shows, and whether they are forgiven.
pub fn known_as(known: &[&KnownFinding], are_forgiven: bool) -> String {
    let mut text = String::new();
    for KnownFinding { id, title, .. } in known {
        let note = if are_forgiven { "" } else { " (not forgiven)" };
        line(&mut text, &format!("known     {id}: {title}{note}"));
    }
    text
}

/// What is shown instead if the machine did not come back, as a known finding says.
pub fn did_not_return(id: &str, title: &str) -> String {
    let mut text = String::new();
    line(&mut text, &format!("machine   did not come back from it ({id}: {title})"));
    line(&mut text, "verdict   DIVERGE");
    text
}

/// The access, and the state it is made in.
fn describe_access(text: &mut String, case: &Case) {
    let state = &case.state;
    line(text, &step_in_words(&case.access_step()));

    let bit = |name: &str, set: bool| format!("{name}={}", u8::from(set));
    let mut bits = vec![
        bit("CR0.WP", state.cr0.contains(Cr0::WP)),
        bit("EFER.NXE", state.efer.contains(Efer::NXE)),
        bit("CR4.SMEP", state.cr4.contains(Cr4::SMEP)),
        bit("CR4.SMAP", state.cr4.contains(Cr4::SMAP)),
        bit("AC", case.access.ac),
        bit("CR4.PKE", state.cr4.contains(Cr4::PKE)),
    ];
    if state.cr0.contains(Cr0::AM) {
        bits.push("CR0.AM=1".to_owned());
    }
    if state.cr4.contains(Cr4::LASS) {
        bits.push("CR4.LASS=1".to_owned());
    }
    if state.pkru != 0 {
        bits.push(format!("PKRU={:#x}", state.pkru));
    }
    line(text, &format!("{} paging, CR3={:#x}, {}", case.mode(), state.cr3, bits.join(", ")));

    let profile = case.profile;
    let vendor = match profile.vendor {
        Vendor::Intel => "Intel",
        Vendor::Amd => "AMD",
        Vendor::Unknown => "any vendor",
    };
    line(text, &format!("processor: {vendor}, MAXPHYADDR {}", profile.physical_address_bits));
    text.push('\n');
}

/// The address split into the bits that index each level, as far as the walk went.
pub(in crate::report) fn draw_address(
    text: &mut String,
    mode: PagingMode,
    address: VirtAddr,
    path: Option<&Path>,
) {
    let is_long_mode = mode.is_long_mode();
    let whole = if is_long_mode { address } else { address.truncated(32) };
    let digits = if is_long_mode { 18 } else { 10 };
    let _ = writeln!(text, "{:#0digits$x}", whole.get());

    let mut rows = [const { String::new() }; 3];
    for field in split(mode, address, path) {
        let (bits, name, value) = (field.range(), field.name, field.value);
        let width = bits.len().max(value.len()).max(name.len()) + 2;
        for (row, word) in rows.iter_mut().zip([bits, value, name]) {
            let _ = write!(row, "{word:^width$}|");
        }
    }
    for row in rows {
        let _ = writeln!(text, "  {}", row.trim_end_matches('|').trim_end());
    }
    text.push('\n');
}

/// The entries of a walk in a control state, and how it ended.
pub(in crate::report) fn draw_path<E: fmt::Display>(
    text: &mut String,
    state: &ControlState,
    path: &Path,
    end: &Result<Translation, WalkError<E>>,
) {
    for step in &path.steps {
        draw_step(text, state, step);
    }
    line(text, &end_in_words(end));
    text.push('\n');
}

/// An entry on the path: where it is, what it contains, and where it leads.
fn draw_step(text: &mut String, state: &ControlState, step: &Step) {
    let bytes = if state.mode() == PagingMode::Bits32 { 4 } else { 8 };
    let table_size = bytes << step.level.index_bits;
    let table = step.at.get() & !(table_size - 1);
    let index = (step.at.get() - table) / bytes;
    let name = step.level.entry_name;
    let held = if step.level.has_flags { "" } else { ", held in a register" };
    let _ = writeln!(text, "{name:<6} at {} = {table:#x} + {bytes} * {index}{held}", step.at);

    let target = match (step.error, step.kind) {
        (Some(_), _) => String::new(),
        (None, EntryKind::Table) => format!("-> table {}", step.target),
        (None, EntryKind::Leaf) => format!("-> page {}", step.target),
    };
    let flags = flags(state, step);
    let digits = 2 + 2 * bytes as usize;
    let decoded = format!("       {:#0digits$x}  {flags:<22} {target}", step.entry);
    let _ = writeln!(text, "{}", decoded.trim_end());

    if step.error.is_none() && step.level.has_flags {
        let _ = writeln!(text, "       so far: {}", rights(step.rights));
    }
}

/// The allowed outcomes, with the entries that each changes, and the rules that led there.
fn describe_prediction(text: &mut String, prediction: &Prediction, walker: WalkerSpec) {
    for (i, alternative) in prediction.alternatives.iter().enumerate() {
        let label = if i == 0 { "outcome " } else { "or      " };
        let choice = match alternative.choice {
            Some((rule, member)) => format!(" (if {member}, {rule})"),
            None => String::new(),
        };
        let outcome = describe_expectation(alternative);
        line(text, &format!("{label}  {outcome}{choice}"));

        for update in &alternative.updates {
            let name = update.level.entry_name;
            let set = bit_names(update.must_set & !update.before);
            let open = bit_names(update.open_bits());
            if !set.is_empty() {
                line(text, &format!("          sets {set} in the {name} at {}", update.at));
            }
            if !open.is_empty() {
                let (at, rule) = (update.at, update.open_by);
                line(text, &format!("          may set {open} in the {name} at {at} ({rule})"));
            }
        }
    }
    let rules: Vec<_> = prediction.rules.iter().map(Rule::id).collect();
    line(text, &format!("rules     {}", rules.join(", ")));

    for mutant in walker.mutants() {
        let Mutant { id, mistake, origin, .. } = mutant;
        line(text, &format!("walker    mutant {id}: {mistake} ({origin})"));
    }
}

fn bit_names(bits: u64) -> String {
    let names = EntryBits::from_bits_retain(bits).iter_names().map(|(name, _)| name);
    names.collect::<Vec<_>>().join(" and ")
}
