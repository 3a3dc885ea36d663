//! The annotated walk: an access drawn as a person would draw it on paper, and a sequence step by step.

pub mod json;
pub(in crate::report) mod steps;
pub mod tree;

use crate::finding::known::KnownFinding;
use crate::report::style::number::counted;
use crate::report::style::table::line;
use crate::verdict::describe_expectation;
use crate::verdict::{self, Verdict, describe_observation};
use crate::walker::{Mutant, PredictedPrivileged, WalkerSpec};
use crosswalk_case::observation::{Attempt, EntryAfter};
use crosswalk_case::{AccessStep, Action, Case};
use crosswalk_guest::stub::Form;
use crosswalk_machine::Identity;
use mmu_core::cache::TlbEntry;
use mmu_core::walk::{Path, Step, WalkError};
use mmu_core::x86::format::{Bits32, EntryBits, EntryKind, FiveLevel, FourLevel, Pae, levels};
use mmu_core::x86::semantics::{Cause, Denial, EntryError, Rights};
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Cr4, Efer, Fault, PagingMode, PhysAddr, Prediction,
    Rule, Segment, Translation, Vector, Vendor, VirtAddr,
};
use std::fmt::{self, Write};

/// The walk of a case by a walker, step by step, and what the walker predicts. A sequence starts with
/// its steps, and with what a machine did in each, if it ran the case.
pub fn explain(case: &Case, walker: WalkerSpec, attempt: Option<&Attempt>) -> String {
    let mut text = String::new();
    if case.is_sequence() {
        steps::draw(&mut text, &steps::steps(case, walker, attempt));
    }
    let mut prediction = walker.walker().predict(case);
    // Those of every access, as coverage counts them.
    for earlier in walker.walker().predict_earlier(case) {
        prediction.rules.extend(earlier.rules);
    }

    // The last access is drawn, on the tables as all before it left them.
    let last = last_access(case);
    describe_access(&mut text, &last);
    if is_walked(&prediction) {
        for (part, page) in pages(&last) {
            let (path, end) = walker.walker().walk(&part, page);
            if last.form.has_source() {
                line(&mut text, &format!("{} at {page}", part.access.kind.name()));
            }
            draw_address(&mut text, last.mode(), page, Some(&path));
            draw_path(&mut text, &part.state, &path, &end);
        }
    } else {
        draw_address(&mut text, last.mode(), last.access.address, None);
        line(&mut text, why_not_walked(&last, &prediction));
        text.push('\n');
    }

    describe_prediction(&mut text, &prediction, walker);
    text
}

/// The access of a case as if it were alone, on the tables as the actions before it leave them: with what software
/// stores, and with the A and D that the reference sets.
pub fn last_access(case: &Case) -> Case {
    let last = case.accesses().pop().unwrap_or_else(|| case.clone());
    if case.is_sequence() {
        Case { entries: steps::entries_before_last(case), ..last }
    } else {
        last
    }
}

/// Whether the walker looks at the tables at all: a fault that leaves CR2 alone comes before the walk.
/// Where such a fault is one member of CANON-2, the other is a walk.
fn is_walked(prediction: &Prediction) -> bool {
    prediction.alternatives.iter().all(|alternative| {
        let is_open = alternative.choice.is_some_and(|(rule, _)| rule == Rule::Canon2);
        is_open || alternative.outcome.fault().is_none_or(comes_after_a_walk)
    })
}

/// Whether a processor may have walked the tables before this fault.
fn comes_after_a_walk(fault: &Fault) -> bool {
    fault.cr2.is_some() || fault.vector == Vector::AlignmentCheck
}

fn why_not_walked(case: &Case, prediction: &Prediction) -> &'static str {
    let is_canonical = case.canonical_ends() == [true; 2];
    match case.mode() {
        _ if is_canonical && prediction.rules.contains(Rule::Align1) => {
            "not a multiple of 16, which the instruction requires, so there is no walk"
        }
        _ if prediction.rules.contains(Rule::Canon5) => {
            "violates LASS: bit 63 of the address is that of the other half, so there is no walk"
        }
        mode if mode.is_long_mode() && prediction.rules.contains(Rule::Mode8) => {
            "CR3 has bits set that cannot be loaded: MOV to CR3 faults, and the access is not made"
        }
        PagingMode::Pae => {
            "a PDPTE has reserved bits set when it is loaded: MOV to CR3 faults, and the access is \
             not made"
        }
        PagingMode::FiveLevel => {
            "not canonical: bits 63 to 56 are not all equal, so there is no walk"
        }
        _ => "not canonical: bits 63 to 47 are not all equal, so there is no walk",
    }
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

/// The address of the first byte in each page that the case's instruction touches, with the case as if it
/// made that access alone; each page once for each kind of access.
pub(super) fn pages(case: &Case) -> Vec<(Case, VirtAddr)> {
    let mut pages: Vec<(Case, VirtAddr)> = Vec::new();
    for part in case.access_step().parts() {
        for page in part.pages().map(|page| page.address) {
            let is_same = |(known, address): &(Case, VirtAddr)| {
                known.access.kind == part.kind
                    && known.access.segment == part.segment
                    && address.get() >> 12 == page.get() >> 12
            };
            if !pages.iter().any(is_same) {
                pages.push((Case { access: part, ..case.clone() }, page));
            }
        }
    }
    pages
}

/// An action in a line.
pub(in crate::report) fn action_in_words(action: &Action) -> String {
    match action {
        Action::Access(step) => step_in_words(step),
        other => other.to_string(),
    }
}

/// An instruction in a line: one with a source by its name.
pub(in crate::report) fn step_in_words(step: &AccessStep) -> String {
    let AccessStep { access, form, .. } = step;
    let Some(source) = step.source() else { return in_words(access) };
    let Access { size, address, .. } = access;
    let name = step.instruction();
    let ring = access.ring.cpl();
    let reads = Access { address: source, ..*access };
    let crosses = access.crosses_page() || reads.crosses_page();
    let crossing = if crosses { ", across a page boundary" } else { "" };
    let size = counted(*size, "byte");
    match form {
        Form::CompareStrings => {
            format!("{name} of {size} at {source} and at {address}, ring {ring}{crossing}")
        }
        _ => format!("{name} of {size} from {source} to {address}, ring {ring}{crossing}"),
    }
}

/// Where a cached translation leads.
fn address_of_page(mode: PagingMode, cached: &TlbEntry) -> Option<PhysAddr> {
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => None,
        PagingMode::Bits32 => cached.frame::<Bits32>(),
        PagingMode::Pae => cached.frame::<Pae>(),
        PagingMode::FourLevel => cached.frame::<FourLevel>(),
        PagingMode::FiveLevel => cached.frame::<FiveLevel>(),
    }
}

/// How a privileged instruction ends: `#GP(0), and CR3 holds 0x440000`. The register is not mentioned where it
/// holds what was moved to it.
fn ending_in_words(predicted: &PredictedPrivileged) -> String {
    let holds = match predicted.mov.zip(predicted.register) {
        Some((mov, register)) if predicted.fault.is_some() || register != mov.value() => {
            format!(", and {} holds {register:#x}", mov.register())
        }
        _ => String::new(),
    };
    match predicted.fault {
        Some(fault) => format!("{fault}{holds}"),
        None => format!("completed{holds}"),
    }
}

/// An access in a line.
fn in_words(access: &Access) -> String {
    let kind = match access.kind {
        AccessKind::ReadModifyWrite => "read-modify-write",
        other => other.name(),
    };
    let ring = access.ring.cpl();
    let segment = match access.segment {
        Segment::Data => "",
        Segment::Stack => ", stack segment",
        Segment::Fs => ", through FS",
        Segment::Gs => ", through GS",
    };
    let implicit = if access.implicit { ", implicit" } else { "" };
    let submode = if access.compatibility { ", in compatibility mode" } else { "" };
    let crossing = if access.crosses_page() { ", across a page boundary" } else { "" };

    let Access { size, address, .. } = access;
    let size = counted(*size, "byte");
    format!("{kind} of {size} at {address}, ring {ring}{segment}{implicit}{submode}{crossing}")
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
    for (bits, value, name) in split(mode, address, path) {
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

/// The parts of an address: the bits, their value, and what they select.
pub(super) fn split(
    mode: PagingMode,
    address: VirtAddr,
    path: Option<&Path>,
) -> Vec<(String, String, String)> {
    let levels = levels(mode);
    let address = if mode.is_long_mode() { address } else { address.truncated(32) };
    let mut fields = Vec::new();
    let mut shift = levels.first().map_or(32, |level| level.shift + level.index_bits);
    if mode.is_long_mode() {
        let digits = 2 + usize::from(64 - shift).div_ceil(4);
        let sign = format!("{:#0digits$x}", address.get() >> shift);
        fields.push((format!("63:{shift}"), sign, "sign".to_owned()));
    }

    // A large page ends the split early. A walk that stops says nothing about the bits below.
    let is_leaf =
        |step: &Step| step.kind == EntryKind::Leaf && step.error != Some(EntryError::NotPresent);
    let large_at = path.and_then(|path| path.steps.iter().position(is_leaf));
    let met = large_at.map_or(levels.len(), |index| index + 1);
    for level in &levels[..met] {
        let index = address.index(level.shift, level.index_bits);
        let bits = format!("{}:{}", level.shift + level.index_bits - 1, level.shift);
        let name = level.entry_name.trim_end_matches('E').to_owned();
        shift = level.shift;
        fields.push((bits, index.to_string(), name));
    }

    let offset = format!("{:#x}", address.offset(shift));
    fields.push((format!("{}:0", shift - 1), offset, "offset".to_owned()));
    fields
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

/// How a walk ended.
pub(super) fn end_in_words<E: fmt::Display>(end: &Result<Translation, WalkError<E>>) -> String {
    match end {
        Ok(translation) => format!("reaches {}", translation.address),
        Err(WalkError::Memory(outside)) => format!("stops: {outside} (OUT-1)"),
        Err(WalkError::Fault(Cause::Entry(EntryError::NotPresent))) => {
            "stops: the entry is not present".into()
        }
        Err(WalkError::Fault(Cause::Entry(EntryError::Reserved(bits)))) => {
            format!("stops: reserved bits {bits:#x} are set")
        }
        Err(WalkError::Fault(Cause::Denied(denial))) => format!("denied: {}", reasons(*denial)),
    }
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

/// The flags of an entry that have a meaning at its level.
pub(in crate::report) fn flags(state: &ControlState, step: &Step) -> String {
    let mut names = Vec::new();
    let bits = EntryBits::from_bits_retain(step.entry);
    for (flag, name) in [
        (EntryBits::P, "P"),
        (EntryBits::RW, "RW"),
        (EntryBits::US, "US"),
        (EntryBits::PWT, "PWT"),
        (EntryBits::PCD, "PCD"),
        (EntryBits::A, "A"),
        (EntryBits::D, if step.kind == EntryKind::Leaf { "D" } else { "" }),
        (EntryBits::PS, if step.level.number == 1 { "PAT" } else { "PS" }),
        (EntryBits::G, "G"),
        (EntryBits::XD, "XD"),
    ] {
        if bits.contains(flag) && !name.is_empty() {
            names.push(name.to_owned());
        }
    }

    let is_large = step.kind == EntryKind::Leaf && step.level.number > 1;
    if is_large && bits.contains(EntryBits::LARGE_PAT) {
        names.push("PAT".into());
    }
    let keys_are_on = state.cr4.intersects(Cr4::PKE | Cr4::PKS);
    if step.kind == EntryKind::Leaf && keys_are_on {
        names.push(format!("key {}", EntryBits::key_of(step.entry)));
    }

    if names.is_empty() { "(no flags)".into() } else { names.join(" ") }
}

pub(in crate::report) fn rights(rights: Rights) -> String {
    let has = |right, yes, no| if rights.contains(right) { yes } else { no };
    [
        has(Rights::USER, "user", "supervisor"),
        has(Rights::WRITE, "writable", "read-only"),
        has(Rights::EXECUTE, "executable", "not executable"),
    ]
    .join(", ")
}

fn reasons(denial: Denial) -> String {
    let reasons = [
        (Denial::SUPERVISOR_PAGE, "a user access to a supervisor page (RIGHT-1)"),
        (Denial::READ_ONLY, "a write to a read-only page (RIGHT-1, RIGHT-2)"),
        (Denial::EXECUTE_DISABLED, "a fetch from an execute-disabled page (RIGHT-1)"),
        (Denial::SMEP, "SMEP forbids a supervisor fetch from a user page (RIGHT-3)"),
        (Denial::SMAP, "SMAP forbids a supervisor access to a user page (RIGHT-4)"),
        (Denial::KEY, "the protection key forbids it (RIGHT-5)"),
        (Denial::SHADOW_STACK, "the page is not a shadow stack of this kind (RIGHT-7)"),
    ];
    let reasons = reasons.into_iter().filter(|(reason, _)| denial.contains(*reason));
    reasons.map(|(_, words)| words).collect::<Vec<_>>().join("; ")
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
