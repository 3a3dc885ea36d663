//! Outcomes in words: `a np`, `ok A:ad`.

use crate::places::{Flag, Frame, Page, Table, letter};
use mmu_core::PhysAddr;
use mmu_core::litmus::{ActionResult, LitmusOutcome};
use mmu_core::x86::format::EntryBits;

/// Which results of a test are part of its outcomes, and how they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    /// Of each processor's results, whether each is observed, and whether it is an entry.
    pub(crate) results: Vec<Vec<Observed>>,
    /// The entries whose flags are observed at the end.
    pub(crate) entries: Vec<ObservedEntry>,
}

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    /// Not at all.
    Not,
    /// As the content of a frame, or a fault.
    Content,
    /// As an entry.
    Entry,
    /// As a number.
    Number,
}

/// The flags of an entry that are observed at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObservedEntry {
    pub(crate) at: PhysAddr,
    pub(crate) flags: EntryBits,
}

impl Observation {
    /// The outcome in words.
    pub(crate) fn written(&self, outcome: &LitmusOutcome) -> String {
        let mut words = Vec::new();
        for (results, observed) in outcome.results.iter().zip(&self.results) {
            for (result, how) in results.iter().zip(observed) {
                match how {
                    Observed::Not => {}
                    Observed::Content => words.push(content(*result)),
                    Observed::Entry => words.push(entry_result(*result)),
                    Observed::Number => words.push(number(*result)),
                }
            }
        }
        for (bits, observed) in outcome.memory.iter().zip(&self.entries) {
            words.push(flags(*bits, observed.flags));
        }
        if words.is_empty() { "done".into() } else { words.join(" ") }
    }
}

/// The result of an access.
pub(crate) fn content(result: ActionResult) -> String {
    match result {
        ActionResult::Value(value) => {
            letter(value).map_or_else(|| format!("{value:#x}"), |letter| letter.to_string())
        }
        ActionResult::Wrote => "ok".into(),
        ActionResult::Fault(code) if code & 1 == 0 => "np".into(),
        ActionResult::Fault(_) => "pf".into(),
    }
}

/// The result of a load of an entry, or of a locked operation on one.
pub(crate) fn entry_result(result: ActionResult) -> String {
    match result {
        ActionResult::Value(value) => entry(value),
        other => content(other),
    }
}

/// The result of a load of a flag.
pub(crate) fn number(result: ActionResult) -> String {
    match result {
        ActionResult::Value(value) => value.to_string(),
        other => content(other),
    }
}

/// An entry in short: what it points to, and which of A and D it has: `A:ad`, `T`, `0`.
pub(crate) fn entry(value: u64) -> String {
    let bits = EntryBits::from_bits_retain(value);
    let frame = Frame::of_entry(value).map(Frame::name);
    let table = Table::all().find(|table| table.address() == value & EntryBits::ADDRESS);
    let name = frame.or_else(|| table?.name());
    let name = name.map_or_else(|| format!("{:#x}", value & EntryBits::ADDRESS), String::from);

    if !bits.contains(EntryBits::P) {
        return if value == 0 { "0".into() } else { format!("0({name})") };
    }
    let mut text = name;
    let flags = [(EntryBits::A, 'a'), (EntryBits::D, 'd')];
    let set: String =
        flags.iter().filter(|(flag, _)| bits.contains(*flag)).map(|(_, name)| *name).collect();
    if !set.is_empty() {
        text.push(':');
        text.push_str(&set);
    }
    text
}

/// The observed flags: `a1 d0`.
fn flags(bits: u64, observed: EntryBits) -> String {
    let bits = EntryBits::from_bits_retain(bits);
    let names = [(EntryBits::A, 'a'), (EntryBits::D, 'd'), (EntryBits::P, 'p')];
    let wanted = names.iter().filter(|(flag, _)| observed.contains(*flag));
    wanted
        .map(|(flag, name)| format!("{name}{}", u8::from(bits.contains(*flag))))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The name of what is at a physical address: `pte x`, `pde`, `frame A`, `f`.
pub(crate) fn place(at: PhysAddr) -> String {
    for table in Table::all() {
        let within = table.name().map_or_else(String::new, |name| format!(" in {name}"));
        if let Some(page) = Page::all().find(|page| page.pte(table) == at) {
            return format!("pte {}{within}", page.name());
        }
        for ((entry, _), name) in table.tree().into_iter().zip(["PML4E", "PDPTE", "PDE"]) {
            if entry == at.get() {
                return format!(
                    "{name}{}",
                    table.name().map_or_else(String::new, |name| format!(" of {name}"))
                );
            }
        }
    }
    if let Some(flag) = Flag::all().find(|flag| flag.at() == at) {
        return flag.name().to_string();
    }
    let frame = Frame::all().find(|frame| {
        frame.address() == at.get() & !0xfff || frame.large_address() == at.get() & !0x1f_ffff
    });
    frame.map_or_else(|| format!("{:#x}", at.get()), |frame| format!("frame {}", frame.name()))
}
