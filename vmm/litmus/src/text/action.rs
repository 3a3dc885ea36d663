//! Actions: `read x`, `pte x = B`, `invlpg x`.

use super::entry;
use super::setting::{self, Setting};
use super::words::{Words, number};
use crate::outcome::Observed;
use crate::places::{Flag, Table, content};
use mmu_core::PhysAddr;
use mmu_core::litmus::{Action, LockedOperation};

/// An action, and whether and how its result is observed. `None` if it has none.
pub(super) struct Parsed {
    pub(super) action: Action,
    pub(super) observed: Option<Observed>,
}

/// CR3\[63\]: nothing is to be dropped (MODE-9).
const KEEP: u64 = 1 << 63;

/// Reads an action.
pub(super) fn read(cell: &str, setting: &Setting) -> Result<Parsed, String> {
    let mut words = Words::new(cell);
    let parsed = first(&mut words, setting).map_err(|problem| format!("`{cell}`: {problem}"))?;
    words.end().map_err(|problem| format!("`{cell}`: {problem}"))?;
    Ok(parsed)
}

fn first(words: &mut Words<'_>, setting: &Setting) -> Result<Parsed, String> {
    let observed = |action, observed| Ok(Parsed { action, observed: Some(observed) });
    let unobserved = |action| Ok(Parsed { action, observed: None });
    match words.next()? {
        "read" => observed(Action::Read(words.address()?), Observed::Content),
        "touch" => observed(Action::Read(words.address()?), Observed::Not),
        "fetch" => observed(Action::Fetch(words.address()?), Observed::Content),
        "write" => write(words),
        "load" => load(words),
        "pte" => {
            let at = pte(words)?;
            words.expect("=")?;
            unobserved(Action::Store(at, entry::pte(words)?))
        }
        "pde" => {
            words.expect("=")?;
            unobserved(Action::Store(Table::FIRST.place_of_pde(), entry::pde(words)?))
        }
        "pdpte" => {
            words.expect("=")?;
            let (at, first) = Table::first_pdpte();
            let entry = if words.skip("0") { 0 } else { words.expect("first").map(|()| first)? };
            unobserved(Action::Store(PhysAddr::new(at), setting.pdpte(entry)))
        }
        "frame" => {
            let frame = words.frame()?;
            words.expect("=")?;
            unobserved(Action::Store(PhysAddr::new(frame.address()), small_letter(words)?))
        }
        "xchg" => {
            let at = pte(words)?;
            words.expect("=")?;
            Ok(locked(at, LockedOperation::Exchange(entry::pte(words)?)))
        }
        "clear" => {
            let at = pte(words)?;
            Ok(locked(at, LockedOperation::And(!entry::bits(words)?)))
        }
        "set" => {
            let at = pte(words)?;
            Ok(locked(at, LockedOperation::Or(entry::bits(words)?)))
        }
        "cmpxchg" => {
            let at = pte(words)?;
            words.expect("=")?;
            let expected = entry::pte(words)?;
            words.expect("->")?;
            Ok(locked(at, LockedOperation::CompareExchange(expected, entry::pte(words)?)))
        }
        "wait" => {
            let flag = words.flag()?;
            words.expect("=")?;
            unobserved(Action::WaitFor(flag.at(), words.number()?))
        }
        "fence" => unobserved(Action::Fence),
        "invlpg" => unobserved(Action::Invlpg(words.address()?)),
        "invpcid" => invpcid(words),
        "cr0" => unobserved(Action::WriteCr0(setting::cr0(words, setting.state().cr0)?)),
        "cr3" => cr3(words, setting),
        "cr4" => unobserved(Action::WriteCr4(setting::cr4(words, setting.state().cr4)?)),
        "efer" => unobserved(Action::WriteEfer(setting::efer(words, setting.state().efer)?)),
        "pkru" => {
            let value = words.number()?;
            let value = u32::try_from(value).map_err(|_| "PKRU has 32 bits".to_string())?;
            unobserved(Action::WritePkru(value))
        }
        "interrupt" => unobserved(Action::Interrupt(words.processor(super::MAX_PROCESSORS)?)),
        name => {
            let flag = Flag::named(name).ok_or_else(|| format!("there is no action {name:?}"))?;
            words.expect("=")?;
            unobserved(Action::Store(flag.at(), words.number()?))
        }
    }
}

/// `write x`, `write x = d`, and through a page that maps a table, `write x = entry B ro`.
fn write(words: &mut Words<'_>) -> Result<Parsed, String> {
    let address = words.address()?;
    let value = match words.skip("=") {
        true if words.skip("entry") => entry::pte(words)?,
        true => small_letter(words)?,
        false => content('w'),
    };
    Ok(Parsed { action: Action::Write(address, value), observed: Some(Observed::Content) })
}

/// `load pte x`, `load f`.
fn load(words: &mut Words<'_>) -> Result<Parsed, String> {
    if words.skip("pte") {
        let action = Action::Load(pte(words)?);
        return Ok(Parsed { action, observed: Some(Observed::Entry) });
    }
    let action = Action::Load(words.flag()?.at());
    Ok(Parsed { action, observed: Some(Observed::Number) })
}

fn locked(at: PhysAddr, operation: LockedOperation) -> Parsed {
    Parsed { action: Action::Locked(at, operation), observed: Some(Observed::Entry) }
}

/// A page and the table in which its PTE is meant.
fn pte(words: &mut Words<'_>) -> Result<PhysAddr, String> {
    words.skip("pte");
    let page = words.page()?;
    let table = if words.skip("in") { words.table()? } else { Table::FIRST };
    Ok(page.pte(table))
}

/// `cr3 first`, `cr3 T pcid=1 keep`.
fn cr3(words: &mut Words<'_>, setting: &Setting) -> Result<Parsed, String> {
    let root = setting.root(words)?;
    let pcid = pcid(words)?;
    let keep = if words.skip("keep") { KEEP } else { 0 };
    Ok(Parsed { action: Action::WriteCr3(root | pcid | keep), observed: None })
}

/// `pcid=1`, 0 without it.
fn pcid(words: &mut Words<'_>) -> Result<u64, String> {
    let Some(pcid) = words.peek().and_then(|word| word.strip_prefix("pcid=")) else { return Ok(0) };
    words.next()?;
    let pcid = number(pcid)?;
    if pcid < 0x1000 { Ok(pcid) } else { Err("a PCID has 12 bits".into()) }
}

/// `invpcid 0 pcid=1 x`, with the page for type 0 alone.
fn invpcid(words: &mut Words<'_>) -> Result<Parsed, String> {
    let kind = words.number()?;
    let pcid = pcid(words)?;
    let address = if kind == 0 { words.address()?.get() } else { 0 };
    Ok(Parsed { action: Action::Invpcid(kind, [pcid, address]), observed: None })
}

/// The content of a frame, a small letter.
fn small_letter(words: &mut Words<'_>) -> Result<u64, String> {
    let word = words.next()?;
    let mut letters = word.chars();
    let letter =
        letters.next().filter(|letter| letter.is_ascii_lowercase() && letters.next().is_none());
    letter.map(content).ok_or_else(|| format!("expected a small letter; found {word:?}"))
}
