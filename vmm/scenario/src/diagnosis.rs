//! Why the two sides differ, where what the guest left behind shows it.

use super::compare::{Compared, GuestSnapshot, ModelSnapshot, Word};
use super::model::Model;
use crosswalk_guest::system::history::from_words;
use mmu_core::space::{Decision, Event, FrameUse, Minor};
use mmu_core::x86::format::{EntryBits, Format};
use mmu_core::{PageFaultCode, Vector, VirtAddr};

/// The cause, if a safeguard that the system lacks explains the difference.
pub(super) fn cause<F: Format>(
    model: &Model<F>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
    Compared { parted_at, words, .. }: &Compared,
) -> Option<String> {
    parted_at
        .and_then(|from| missing_shoot_down(model, expected, seen, from))
        .or_else(|| missing_wipe(model, seen, words))
        .or_else(|| missing_protection(model, words))
}

/// On the machine an access was made that faults in software, although the guest's own entry does not
/// allow it.
fn missing_shoot_down<F: Format>(
    model: &Model<F>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
    from: usize,
) -> Option<String> {
    // The events of the clock, which makes room for a page, come before the fault's own.
    let mut later = expected.events.iter().skip(from);
    let (space, fault) = later.find_map(|event| match event {
        Event::Fault { space, fault, .. } => Some((*space, *fault)),
        _ => None,
    })?;
    let address = fault.cr2.filter(|_| fault.vector == Vector::PageFault)?;

    let page_of = |address: VirtAddr| address.get() & !0xfff;
    let faulted_too = seen.events.iter().skip(from).filter_map(from_words).any(|event| {
        let Event::Fault { space: other, fault, .. } = event else { return false };
        other == space && fault.cr2.map(page_of) == Some(page_of(address))
    });

    let page = VirtAddr::new(page_of(address));
    let leaf = model.system.look(seen.memory, space, page).ok()?;
    let entry = leaf.map_or(0, |leaf| leaf.entry);
    let is_write = PageFaultCode::from_bits_retain(fault.error_code).contains(PageFaultCode::W);
    let allows =
        entry & EntryBits::P.bits() != 0 && (!is_write || entry & EntryBits::RW.bits() != 0);

    let name = model.name_of(space)?;
    (!faulted_too && !allows).then(|| {
        format!(
            "on the machine the access of {name} to {address} is made, although the entry of its \
             page is {entry:#x}: an old translation was used, the shoot-down is missing"
        )
    })
}

/// A frame was given to a process as zeros, but contains something else.
fn missing_wipe<F: Format>(
    model: &Model<F>,
    seen: &GuestSnapshot<'_>,
    words: &[Word],
) -> Option<String> {
    seen.events.iter().filter_map(from_words).find_map(|event| {
        let Event::Fault { space, fault, decision, frame: Some(frame) } = event else {
            return None;
        };
        let word = words.iter().find(|word| word.frame == frame && word.software == 0)?;
        let name = model.name_of(space)?;
        let page = fault.cr2?;

        (decision == Decision::Minor(Minor::ZeroFill)).then(|| {
            format!(
                "frame {frame}, given to {name} for {page}, holds {:#x} at offset {:#x} on the \
                 machine, which another process left: the wipe is missing",
                word.machine, word.offset
            )
        })
    })
}

/// A leaf can be written on the machine, although other processes have its frame.
fn missing_protection<F: Format>(model: &Model<F>, words: &[Word]) -> Option<String> {
    let writable = EntryBits::RW.bits();
    // Two entries of 4 bytes share a word.
    let both_writable = writable | writable << 32;
    let word = words.iter().find(|word| {
        let differing = word.machine ^ word.software;
        let in_either_half = differing | differing >> 32;

        matches!(word.usage, FrameUse::Table(_))
            && in_either_half & 0xffff_ffff == writable
            && (word.machine & both_writable) > (word.software & both_writable)
    })?;

    let FrameUse::Table(space) = word.usage else { return None };
    let name = model.name_of(space)?;
    Some(format!(
        "an entry of {name} at {} is {:#x} on the machine and may be written, although another \
         process has its frame, too: the write protection after a fork is missing",
        word.frame + word.offset,
        word.machine
    ))
}
