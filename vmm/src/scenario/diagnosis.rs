//! Why two histories part, where it can be told from what the guest left behind.

use super::compare::{Compared, GuestSnapshot, ModelSnapshot, Word};
use super::model::Model;
use crosswalk_guest::system::history::from_words;
use mmu_core::space::{Decision, Event, FrameUse, Minor};
use mmu_core::x86::format::{EntryBits, Format};
use mmu_core::{PageFaultCode, Vector, VirtAddr};

/// The cause, if it is one of those that a system can forget.
pub(super) fn cause<F: Format>(
    simulation: &Model<F>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
    Compared { parted_at, words, .. }: &Compared,
) -> Option<String> {
    old_translation(simulation, expected, seen, *parted_at)
        .or_else(|| missing_wipe(simulation, seen, words))
        .or_else(|| missing_protection(simulation, words))
}

/// An access was made that faults in software, although the guest's own entry does not allow it.
fn old_translation<F: Format>(
    simulation: &Model<F>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
    parted_at: Option<usize>,
) -> Option<String> {
    let (from, page_of) = (parted_at?, |address: VirtAddr| address.get() & !0xfff);
    // What the clock does for a fault comes before it.
    let mut later = expected.events.iter().skip(from);
    let (space, fault) = later.find_map(|event| match event {
        Event::Fault { space, fault, .. } => Some((*space, *fault)),
        _ => None,
    })?;
    let code = PageFaultCode::from_bits_retain(fault.error_code);
    let address = fault.cr2.filter(|_| fault.vector == Vector::PageFault)?;
    let faulted_too = seen.events.iter().skip(from).filter_map(from_words).any(|event| {
        let Event::Fault { space: other, fault, .. } = event else { return false };
        other == space && fault.cr2.map(page_of) == Some(page_of(address))
    });
    let page = VirtAddr::new(page_of(address));
    let leaf = simulation.system.look(seen.memory, space, page).ok()?;
    let entry = leaf.map_or(0, |leaf| leaf.entry);
    let allows = entry & EntryBits::P.bits() != 0
        && (!code.contains(PageFaultCode::W) || entry & EntryBits::RW.bits() != 0);
    let name = simulation.name_of(space)?;
    (!faulted_too && !allows).then(|| {
        format!(
            "on the machine the access of {name} to {address} is made, although the entry of its \
             page is {entry:#x}: an old translation was used, the shoot-down is missing"
        )
    })
}

/// A frame was given to a process as zeros, and holds something else.
fn missing_wipe<F: Format>(
    simulation: &Model<F>,
    seen: &GuestSnapshot<'_>,
    words: &[Word],
) -> Option<String> {
    seen.events.iter().filter_map(from_words).find_map(|event| {
        let Event::Fault { space, fault, decision, frame: Some(frame) } = event else {
            return None;
        };
        let word = words.iter().find(|word| word.frame == frame && word.software == 0)?;
        let (name, page) = (simulation.name_of(space)?, fault.cr2?);
        (decision == Decision::Minor(Minor::ZeroFill)).then(|| {
            format!(
                "frame {frame}, given to {name} for {page}, holds {:#x} at offset {:#x} on the \
                 machine, which somebody else left: the wipe is missing",
                word.machine, word.offset
            )
        })
    })
}

/// A leaf may be written on the machine, although others have its frame.
fn missing_protection<F: Format>(simulation: &Model<F>, words: &[Word]) -> Option<String> {
    let word = words.iter().find(|word| {
        let (differs, writable) = (word.machine ^ word.software, EntryBits::RW.bits());
        // Two entries of 4 bytes share a word.
        let differs = differs | differs >> 32;
        matches!(word.usage, FrameUse::Table(_))
            && differs & 0xffff_ffff == writable
            && (word.machine & (writable | writable << 32))
                > (word.software & (writable | writable << 32))
    })?;
    let FrameUse::Table(space) = word.usage else { return None };
    let name = simulation.name_of(space)?;
    Some(format!(
        "an entry of {name} at {} is {:#x} on the machine and may be written, although another \
         process has its frame, too: the write protection after a fork is missing",
        word.frame + word.offset,
        word.machine
    ))
}
