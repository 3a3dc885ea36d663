//! Two histories, held against each other after an order: what came of it, every event, what processes
//! read, the accounting, and every word of every frame and slot in use: tables with A and D, and pages.

use super::model::{MAX_SLOTS, Model, RunOutcome};
use crosswalk_guest::system::accounting::{self, Accounting};
use crosswalk_guest::system::history::{self, from_words, to_words};
use crosswalk_guest::system::layout::{FRAMES, MAX_FRAMES};
use crosswalk_guest::system::{Completion, Ending, MAX_MISMATCHES, Response, ScriptMismatch};
use crosswalk_machine::memory::GuestMemory;
use mmu_core::space::{
    BackingStore, Event, Frame, FrameUse, PAGE_BYTES, SlotNumber, SpaceError, SpaceId,
};
use mmu_core::x86::format::{EntryBits, Format};
use mmu_core::{PagingMode, PhysAddr, VirtAddr};
use std::collections::BTreeSet;

/// What the simulation says of an order.
pub(super) struct ModelSnapshot<'e> {
    pub(super) carried: Result<Completion, SpaceError>,
    pub(super) ran: &'e RunOutcome,
    pub(super) events: &'e [Event],
}

/// What the guest says of it, and its memory.
pub(super) struct GuestSnapshot<'s> {
    pub(super) answer: Response,
    pub(super) events: Vec<[u64; history::WORDS]>,
    pub(super) books: Accounting,
    pub(super) memory: &'s GuestMemory,
}

/// A word of a frame that differs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) frame: PhysAddr,
    pub(super) usage: FrameUse,
    pub(super) offset: u64,
    pub(super) machine: u64,
    pub(super) software: u64,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Compared {
    pub(super) differences: Vec<String>,
    /// The place of the first event that differs.
    pub(super) parted_at: Option<usize>,
    /// Every word that differs.
    pub(super) words: Vec<Word>,
    /// Frames and slots whose contents were compared.
    pub(super) frames: u64,
    /// PDPTEs in which only A differs, where that is known of the machine.
    pub(super) loose_pdptes: u64,
    /// Entries on the way of accesses that were not made in which only A differs (AD-2, AD-3).
    pub(super) chosen: BTreeSet<PhysAddr>,
}

/// So many differences of one kind are told.
const TOLD: usize = 4;

pub(super) fn compare<F: Format>(
    simulation: &Model<F>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
    forgives_loose_pdptes: bool,
    chosen_before: &BTreeSet<PhysAddr>,
) -> Compared {
    let mut compared = Compared::default();
    answers(&mut compared.differences, expected, seen);
    compared.parted_at = events(&mut compared.differences, simulation, expected, seen);
    book_keeping(&mut compared.differences, simulation, &seen.books);
    let mut free = chosen_before.clone();
    free.extend(on_the_way(simulation, &expected.ran.not_made));
    compared.words = contents(&mut compared, simulation, seen.memory, forgives_loose_pdptes, &free);
    compared
}

/// What came of the order, and what its processes read.
fn answers(differences: &mut Vec<String>, expected: &ModelSnapshot<'_>, seen: &GuestSnapshot<'_>) {
    let Response { completion: carried, endings, mismatch_count, mismatches, .. } = &seen.answer;
    if *carried != Response::completion_words(&expected.carried) {
        let words = match &expected.carried {
            Ok(carried) => format!("{carried:?}"),
            Err(error) => error.to_string(),
        };
        differences.push(format!(
            "the software answers \"{words}\", the machine something else: {:#x}, {:#x}, {:#x}",
            carried[0], carried[1], carried[2]
        ));
    }
    let all = expected.ran.endings.iter().map(|ending| ending.words());
    for (number, (software, machine)) in
        all.chain(std::iter::repeat([0; 3])).zip(endings).enumerate()
    {
        if software != *machine {
            let words = |words| Ending::describe(words).unwrap_or("ended in an unknown way");
            differences.push(format!(
                "program {number}: in software it {}, on the machine it {}",
                words(software),
                words(*machine)
            ));
        }
    }
    let listed = (*mismatch_count as usize).min(MAX_MISMATCHES);
    if *mismatch_count != expected.ran.wrongs.len() as u64
        || mismatches[..listed] != expected.ran.wrongs[..listed.min(expected.ran.wrongs.len())]
    {
        let first = mismatches[..listed].iter().find(|wrong| !expected.ran.wrongs.contains(wrong));
        differences.push(match first {
            Some(ScriptMismatch { address, found, .. }) => {
                format!(
                    "on the machine a process found {found:#x} at {address:#x}, and not in software"
                )
            }
            None => format!(
                "{} loads went wrong in software, {mismatch_count} on the machine",
                expected.ran.wrongs.len()
            ),
        });
    }
}

/// The place of the first event that differs.
fn events<F: Format>(
    differences: &mut Vec<String>,
    simulation: &Model<F>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
) -> Option<usize> {
    let (software, machine) = (expected.events, &seen.events);
    let count = software.len().max(machine.len());
    let place = (0..count).find(|place| {
        let words = software.get(*place).map(to_words);
        words.as_ref() != machine.get(*place)
    })?;
    let narrate = |event: Option<&Event>| {
        event.map_or_else(|| "nothing more".into(), |event| describe(simulation, event))
    };
    let on_machine = match machine.get(place).map(from_words) {
        Some(None) => "words that are no event".into(),
        Some(Some(event)) => narrate(Some(&event)),
        None => narrate(None),
    };
    differences.push(format!(
        "event {}: in software {}, on the machine {on_machine}",
        place + 1,
        narrate(software.get(place))
    ));
    Some(place)
}

/// An event in words.
pub(super) fn describe<F: Format>(simulation: &Model<F>, event: &Event) -> String {
    let name = |space: SpaceId| simulation.name_of(space).unwrap_or('?');
    match event {
        Event::Fault { space, fault, decision, frame } => {
            let frame = frame.map_or_else(String::new, |frame| format!(" -> {frame}"));
            format!("{} has {fault}: {decision}{frame}", name(*space))
        }
        Event::Grown { space, start } => format!("the stack of {} grows to {start}", name(*space)),
        Event::SecondChance { frame } => format!("the clock clears A of {frame}"),
        Event::Evicted { frame, written, .. } => match written {
            Some(slot) => format!("the clock takes {frame}, dirty, to slot {}", slot.0),
            None => format!("the clock takes {frame}, clean"),
        },
    }
}

/// Who has which frame, how often slots are in use, and the counts.
fn book_keeping<F: Format>(
    differences: &mut Vec<String>,
    simulation: &Model<F>,
    machine: &Accounting,
) {
    let software = accounting::of(&simulation.system, FRAMES);
    let narrate = |[what, how]: &[u64; 2]| format!("{what:#x}/{how:#x}");
    let frames = software.frames.iter().zip(&machine.frames).enumerate();
    for (number, (software, machine)) in
        frames.filter(|(_, (software, machine))| software != machine).take(TOLD)
    {
        let frame = FRAMES + number as u64 * PAGE_BYTES;
        differences.push(format!(
            "the books of frame {frame}: in software {}, on the machine {}",
            narrate(software),
            narrate(machine)
        ));
    }
    if software.slots != machine.slots {
        differences.push("slots of the store are in use otherwise".into());
    }
    if software.counts != machine.counts {
        differences.push(format!(
            "the counts: in software {:?}, on the machine {:?}",
            software.counts, machine.counts
        ));
    }
}

/// The contents of every frame and slot in use.
fn contents<F: Format>(
    compared: &mut Compared,
    simulation: &Model<F>,
    memory: &GuestMemory,
    forgives_loose_pdptes: bool,
    free: &BTreeSet<PhysAddr>,
) -> Vec<Word> {
    let mut words = Vec::new();
    let is_root = |frame: PhysAddr| {
        let mut roots = simulation.system.spaces().map(|space| simulation.system.root(space));
        roots.any(|root| root == Ok(frame))
    };
    for (frame, &Frame { usage, .. }) in simulation.system.frames().iter().take(MAX_FRAMES) {
        compared.frames += 1;
        let pdptes = forgives_loose_pdptes && F::MODE == PagingMode::Pae && is_root(frame);
        for (offset, machine, software) in differing(simulation, memory, frame) {
            let only_a = only_a::<F>(machine ^ software);
            if pdptes && only_a && offset < 32 {
                compared.loose_pdptes += 1;
            } else if only_a && let Some(at) = word_in(free, frame + offset) {
                compared.chosen.insert(at);
            } else {
                words.push(Word { frame, usage, offset, machine, software });
            }
        }
    }
    for Word { frame, usage, offset, machine, software } in words.iter().take(TOLD) {
        let place = match usage {
            FrameUse::Table(space) => {
                let name = simulation.name_of(*space).unwrap_or('?');
                format!("a table of {name}, in frame {frame}")
            }
            FrameUse::Page(page) => format!("page {page}, in frame {frame}"),
            FrameUse::Shared(object, number) => {
                format!("page {number} of shared object {object}, in frame {frame}")
            }
        };
        compared.differences.push(format!(
            "{place}, offset {offset:#x}: in software {software:#x}, on the machine {machine:#x}"
        ));
    }
    for slot in (0..MAX_SLOTS as u32).map(SlotNumber) {
        if simulation.system.slots().references(slot) == 0 {
            continue;
        }
        compared.frames += 1;
        let place = simulation.computer.place(slot);
        if let Some((offset, machine, software)) = differing(simulation, memory, place).next() {
            compared.differences.push(format!(
                "slot {}, offset {offset:#x}: in software {software:#x}, on the machine {machine:#x}",
                slot.0
            ));
        }
    }
    words
}

/// Whether entries differ in A alone. Two of 4 bytes share a word.
fn only_a<F: Format>(differing: u64) -> bool {
    let a = EntryBits::A.bits();
    let pair = if F::ENTRY_BYTES == 4 { a << 32 } else { 0 };
    differing != 0 && differing & !(a | pair) == 0
}

/// The entries on the way of accesses that were not made: a machine may have set A there, or not
/// (AD-2, AD-3), and it stays so.
fn on_the_way<F: Format>(simulation: &Model<F>, accesses: &[(SpaceId, VirtAddr)]) -> Vec<PhysAddr> {
    let path = |&(space, address): &(SpaceId, VirtAddr)| {
        simulation.system.path(&simulation.computer, space, address).ok()
    };
    accesses.iter().filter_map(path).flatten().collect()
}

/// An entry of the set that lies in the word at this address.
fn word_in(entries: &BTreeSet<PhysAddr>, at: PhysAddr) -> Option<PhysAddr> {
    entries.range(at..at + 8).next().copied()
}

/// The words of a page of memory that differ: offset, on the machine, in software.
fn differing<F: Format>(
    simulation: &Model<F>,
    memory: &GuestMemory,
    at: PhysAddr,
) -> impl Iterator<Item = (u64, u64, u64)> {
    let mut machine = [0; PAGE_BYTES as usize];
    memory.read(at.get(), &mut machine);
    let software = simulation.computer.memory().bytes(at, PAGE_BYTES).unwrap_or_default();
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let differ = software != machine;
    let (software, machine) =
        if differ { (software.to_vec(), machine.to_vec()) } else { Default::default() };
    let pairs: Vec<_> = (0..)
        .step_by(8)
        .zip(machine.chunks(8).zip(software.chunks(8)))
        .filter(|(_, (machine, software))| machine != software)
        .map(|(offset, (machine, software))| (offset, word(machine), word(software)))
        .collect();
    pairs.into_iter()
}
