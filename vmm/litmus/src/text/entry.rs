//! Entries: `A`, `B ro d=1`, `T`, `0`.

use super::words::{Words, number};
use crate::places::{Frame, Table};
use mmu_core::x86::format::EntryBits;

/// The flags of an entry without words: present, writable, user, accessed, clean.
const USUAL: EntryBits = EntryBits::P.union(EntryBits::RW).union(EntryBits::US).union(EntryBits::A);

/// The PTE that the rest of a line describes.
pub(super) fn pte(words: &mut Words<'_>) -> Result<u64, String> {
    if words.skip("0") {
        return Ok(0);
    }
    let frame = words.frame()?;
    Ok(flags(words)?.bits() | key(words)? | frame.address())
}

/// The PDE: 0, a table, or a frame of 2 MiB.
pub(super) fn pde(words: &mut Words<'_>) -> Result<u64, String> {
    if words.skip("0") {
        return Ok(0);
    }
    if words.skip("first") {
        return Ok(Table::FIRST.pde());
    }
    let name = words.next()?;
    if let Some(table) = Table::named(name) {
        return Ok(table.address() | flags(words)?.bits());
    }
    let frame = Frame::named(name);
    let frame = frame.ok_or_else(|| {
        format!("expected a table (T, U), `first`, a frame of 2 MiB (A to H), or 0; found {name:?}")
    })?;
    words.expect("large")?;
    Ok(frame.large_address() | (flags(words)? | EntryBits::PS).bits())
}

/// The flags that follow a frame.
pub(super) fn flags(words: &mut Words<'_>) -> Result<EntryBits, String> {
    let mut flags = USUAL;
    while let Some(word) = words.peek() {
        match word {
            "ro" => flags.remove(EntryBits::RW),
            "rw" => flags.insert(EntryBits::RW),
            "super" => flags.remove(EntryBits::US),
            "a=0" => flags.remove(EntryBits::A),
            "a=1" => flags.insert(EntryBits::A),
            "d=0" => flags.remove(EntryBits::D),
            "d=1" => flags.insert(EntryBits::D),
            "g" => flags.insert(EntryBits::G),
            "nx" => flags.insert(EntryBits::XD),
            "p=0" => flags.remove(EntryBits::P),
            _ => break,
        }
        words.next()?;
    }
    Ok(flags)
}

/// The protection key that follows the flags.
fn key(words: &mut Words<'_>) -> Result<u64, String> {
    let Some(key) = words.peek().and_then(|word| word.strip_prefix("key=")) else { return Ok(0) };
    words.next()?;
    let key = number(key)?;
    let key = u32::try_from(key).ok().filter(|key| *key < 16);
    key.map(EntryBits::with_key).ok_or_else(|| "a protection key is below 16".into())
}

/// The bits of an entry by their names, as the locked operations have them.
pub(super) fn bits(words: &mut Words<'_>) -> Result<u64, String> {
    let mut bits = EntryBits::empty();
    while let Some(word) = words.optional() {
        bits |= match word {
            "p" => EntryBits::P,
            "rw" => EntryBits::RW,
            "a" => EntryBits::A,
            "d" => EntryBits::D,
            "g" => EntryBits::G,
            "nx" => EntryBits::XD,
            other => return Err(format!("expected p, rw, a, d, g or nx; found {other:?}")),
        };
    }
    if bits.is_empty() { Err("expected bits: p, rw, a, d, g, nx".into()) } else { Ok(bits.bits()) }
}
