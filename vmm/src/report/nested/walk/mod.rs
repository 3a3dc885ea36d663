//! A nested case drawn: both dimensions, every reference to memory in order, and where it ends.

pub(super) mod json;

use crate::report::style::number::counted;
use crate::report::style::table::line;
use crosswalk_machine::Identity;
use crosswalk_nested::known::KnownNestedFinding;
use crosswalk_nested::observation::NestedAttempt;
use crosswalk_nested::verdict::{NestedVerdict, judge};
use crosswalk_nested::walker::{NestedWalker, predict};
use crosswalk_nested::{NestedCase, Step};
use mmu_core::nested::{Dimension, EntryReference, Ept, NestedRights, SecondLevel};
use mmu_core::x86::format::{EntryBits, EntryKind};
use mmu_core::x86::semantics::EntryError;
use mmu_core::{Access, ControlState, Cr0, Cr4, Efer, PagingMode};
use std::fmt::Write;

/// A case, step by step, with the outcomes that a walker allows.
pub fn explain(case: &NestedCase, walker: &dyn NestedWalker) -> String {
    let mut text = String::new();
    describe_states(&mut text, case);
    for step in case.steps() {
        draw_step(&mut text, case, walker, &step);
    }

    let prediction = predict(walker, case);
    if prediction.alternatives.is_empty() {
        line(&mut text, "expected  nothing: the case leads to memory of which nothing is known");
    }
    for (number, way) in prediction.alternatives.iter().enumerate() {
        let label = if number == 0 { "expected " } else { "or       " };
        let choice = way
            .choice
            .map_or_else(String::new, |(rule, member)| format!(" (if {member}, {})", rule.id()));
        let step = if way.step == 0 { "in the first step" } else { "at last" };
        line(&mut text, &format!("{label} {step}: {}{choice}", way.end));
        for update in way.updates.iter().filter(|update| update.must_set & !update.before != 0) {
            let set = update.must_set & !update.before;
            let whose = whose(update.dimension);
            let name = update.level.entry_name;
            line(
                &mut text,
                &format!("          sets {set:#x} in the {whose} {name} at {}", update.at),
            );
        }
    }
    let rules: Vec<_> = prediction.rules.iter().map(|rule| rule.id()).collect();
    line(&mut text, &format!("rules     {}\n", rules.join(" ")));
    text
}

/// Which machine the following is about.
pub fn on_machine(identity: &Identity) -> String {
    let what = identity.version.as_ref().unwrap_or(&identity.cpu);
    format!("{} ({}): {what}\n", identity.kind, identity.flavour)
}

/// What a machine did with a case, and whether it is allowed.
pub fn draw(case: &NestedCase, walker: &dyn NestedWalker, attempt: &NestedAttempt) -> String {
    let mut text = String::new();
    match attempt {
        NestedAttempt::Unsupported(why) => {
            line(&mut text, &format!("machine   cannot run it: {why}"));
        }
        NestedAttempt::Observed(seen) => {
            line(&mut text, &format!("machine   {} (decided by {})", seen.end, seen.provenance));
            for entry in &seen.changed {
                let set = entry.after & !entry.before;
                line(&mut text, &format!("          sets {set:#x} at {:#x}", entry.at));
            }
            if let Some((first, _)) = seen.stored.first() {
                let bytes = counted(seen.stored.len() as u64, "byte");
                line(&mut text, &format!("          stores {bytes} from {first:#x} on"));
            }
        }
    }
    match judge(walker, case, attempt) {
        NestedVerdict::Agree { choice } => {
            let choice = choice
                .map_or_else(String::new, |(rule, member)| format!(": {member} ({})", rule.id()));
            line(&mut text, &format!("verdict   AGREE{choice}"));
        }
        NestedVerdict::Diverge { differences, .. } => {
            line(&mut text, "verdict   DIVERGE");
            for difference in &differences {
                line(&mut text, &format!("          {difference}"));
            }
        }
        NestedVerdict::Unsupported(_) => line(&mut text, "verdict   NOT RUN"),
        NestedVerdict::Unpredicted => line(&mut text, "verdict   NOTHING COMPARED"),
    }
    text
}

/// The known findings that explain what a machine did, a line for each.
pub fn known_as<'k>(
    known: impl Iterator<Item = &'k KnownNestedFinding>,
    are_forgiven: bool,
) -> String {
    let mut text = String::new();
    for KnownNestedFinding { id, title, .. } in known {
        let note = if are_forgiven { "" } else { " (not forgiven)" };
        line(&mut text, &format!("known     {id}: {title}{note}"));
    }
    text
}

fn describe_states(text: &mut String, case: &NestedCase) {
    let guest = &case.guest;
    let root = match case.mode() {
        PagingMode::Unpaged => String::new(),
        _ => format!(", CR3={:#x}", guest.cr3),
    };
    line(text, &format!("guest     {}{root}{}", case.mode(), flags_of(guest)));

    let second = match case.second {
        SecondLevel::Npt(host) => {
            format!("NPT in {}, nCR3={:#x}{}", host.mode(), host.cr3, flags_of(&host))
        }
        SecondLevel::Ept(ept) => {
            let Ept { eptp, mode_based_execute, .. } = ept;
            let flags = if ept.has_flags() { ", A and D" } else { ", without A and D" };
            let execute = if mode_based_execute { ", mode-based execute control" } else { "" };
            format!("EPT of {} levels, EPTP={eptp:#x}{flags}{execute}", ept.levels())
        }
    };
    line(text, &format!("second    {second}"));
    let bits = case.profile.physical_address_bits;
    line(text, &format!("processor MAXPHYADDR {bits}\n"));
}

/// The bits of control registers that decide here.
fn flags_of(state: &ControlState) -> String {
    let mut words = String::new();
    for (is_set, word) in [
        (state.cr0.contains(Cr0::WP), "WP"),
        (state.efer.contains(Efer::NXE), "NXE"),
        (state.cr4.contains(Cr4::PSE), "PSE"),
        (state.cr4.contains(Cr4::PGE), "PGE"),
        (state.cr4.contains(Cr4::SMEP), "SMEP"),
        (state.cr4.contains(Cr4::SMAP), "SMAP"),
    ] {
        if is_set {
            words += " ";
            words += word;
        }
    }
    if words.is_empty() { words } else { format!(",{words}") }
}

/// One step, with every reference. Those of the second level are indented: they translate the address of the guest's
/// entry below them, or of the page.
fn draw_step(text: &mut String, case: &NestedCase, walker: &dyn NestedWalker, step: &Step) {
    let what = match step {
        Step::Instruction(_) => "the instruction is fetched",
        Step::Access(_) => "the access",
        Step::Return(_) => "what was fetched returns",
    };
    line(text, &format!("{what}: {}", in_words(step.access())));

    match walker.walk_step(case, step) {
        Ok(walk) => {
            for (number, reference) in (1..).zip(&walk.references) {
                draw_reference(text, number, reference);
            }
            line(text, &format!("      ends in {}\n", walk.end));
        }
        Err(error) => line(text, &format!("      {error}\n")),
    }
}

fn in_words(access: &Access) -> String {
    let Access { kind, address, size, ring, .. } = access;
    let bytes = counted(u64::from(*size), "byte");
    format!("{} of {bytes} at {address} in ring {}", kind.name(), ring.cpl())
}

const fn whose(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Guest => "guest's",
        Dimension::Second => "second level's",
    }
}

fn draw_reference(text: &mut String, number: usize, reference: &EntryReference) {
    let EntryReference { level, entry, at, guest_physical, .. } = reference;
    let at = at.map_or_else(|| "a register".to_owned(), |at| at.to_string());
    let is_guest = reference.dimension == Dimension::Guest;

    let mut words = format!("{number:>4}  ");
    if is_guest {
        let _ = write!(words, "guest {:<6} {guest_physical} is {at}", level.entry_name);
    } else {
        let _ = write!(words, "    {:<6} {guest_physical} by {at}", level.entry_name);
    }
    let _ = write!(words, " = {entry:#x} {}", flags(reference, is_guest));
    match reference.error {
        Some(EntryError::NotPresent) => words += " <- not present",
        Some(EntryError::Reserved(bits)) => {
            let _ = write!(words, " <- wrong bits {bits:#x}");
        }
        None if !reference.missing.is_empty() => {
            let missing: Vec<_> = rights(reference.missing).collect();
            let _ = write!(words, " <- lacks {}", missing.join(" "));
        }
        None => {}
    }
    line(text, &words);
}

/// The names of the flags that are set in an entry.
fn flags(reference: &EntryReference, is_guest: bool) -> String {
    let entry = reference.entry;
    let is_leaf = reference.kind == EntryKind::Leaf;
    let is_ept = !is_guest && reference.level.entry_name.starts_with("EPT");

    let names: &[(u64, &str)] = if is_ept {
        &[(1, "R"), (2, "W"), (4, "X"), (1 << 8, "A"), (1 << 9, "D"), (1 << 10, "XU")]
    } else {
        &[
            (EntryBits::P.bits(), "P"),
            (EntryBits::RW.bits(), "RW"),
            (EntryBits::US.bits(), "US"),
            (EntryBits::A.bits(), "A"),
            (EntryBits::D.bits(), "D"),
            (EntryBits::XD.bits(), "XD"),
        ]
    };
    let mut set: Vec<&str> =
        names.iter().filter(|(bit, _)| entry & bit != 0).map(|(_, name)| *name).collect();
    if is_leaf && reference.level.number > 1 {
        set.push("large");
    }
    set.join(" ")
}

fn rights(rights: NestedRights) -> impl Iterator<Item = &'static str> {
    let all = [
        (NestedRights::READ, "read"),
        (NestedRights::WRITE, "write"),
        (NestedRights::EXECUTE, "execute"),
        (NestedRights::EXECUTE_USER, "execute for users"),
        (NestedRights::USER, "user"),
    ];
    all.into_iter().filter(move |(right, _)| rights.contains(*right)).map(|(_, name)| name)
}
