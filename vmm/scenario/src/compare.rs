//! Comparing the two sides after a request: the response, every event, what processes read, the
//! accounting, and every word of every frame and slot in use: page tables with A and D, and pages.

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

/// The maximum number of differences of one kind that are reported.
const MAX_REPORTED: usize = 4;

/// What the model did for a request.
pub(super) struct ModelSnapshot<'e> {
    pub(super) completion: Result<Completion, SpaceError>,
    pub(super) outcome: &'e RunOutcome,
    pub(super) events: &'e [Event],
}

/// What the guest reports of it, and the guest's memory.
pub(super) struct GuestSnapshot<'s> {
    pub(super) response: Response,
    pub(super) events: Vec<[u64; history::WORDS]>,
    pub(super) accounting: Accounting,
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

/// The result of one comparison.
#[derive(Default)]
pub(super) struct Compared {
    /// Everything that differs, in words.
    pub(super) differences: Vec<String>,
    /// The index of the first event that differs.
    pub(super) parted_at: Option<usize>,
    /// Every word that differs.
    pub(super) words: Vec<Word>,
    /// The number of frames and slots whose contents were compared.
    pub(super) frames: u64,
    /// The number of PDPTEs in which only A differs, on a machine that is known for it.
    pub(super) loose_pdptes: u64,
    /// Entries on the path of accesses that were not made in which only A differs (AD-2, AD-3).
    pub(super) chosen: BTreeSet<PhysAddr>,
}

/// Compares what both sides did for one request. `chosen_before` are the entries in which the machine
/// had chosen another A until then.
pub(super) fn compare<F: Format>(
    model: &Model<F>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
    forgives_loose_pdptes: bool,
    chosen_before: &BTreeSet<PhysAddr>,
) -> Compared {
    let mut compared = Compared::default();
    compare_completions(&mut compared.differences, expected, seen);
    compare_endings(&mut compared.differences, expected, seen);
    compare_mismatches(&mut compared.differences, expected, seen);
    compared.parted_at = compare_events(&mut compared.differences, model, expected, seen);
    compare_accounting(&mut compared.differences, model, &seen.accounting);

    let mut free = chosen_before.clone();
    free.extend(on_the_path(model, &expected.outcome.not_made));
    compare_frames(&mut compared, model, seen.memory, forgives_loose_pdptes, &free);
    compare_slots(&mut compared, model, seen.memory);
    compared
}

/// Compares how the request was completed.
fn compare_completions(
    differences: &mut Vec<String>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
) {
    let machine = &seen.response.completion;
    if *machine == Response::completion_words(&expected.completion) {
        return;
    }

    let software = match &expected.completion {
        Ok(completion) => format!("{completion:?}"),
        Err(error) => error.to_string(),
    };
    differences.push(format!(
        "the software answers \"{software}\", the machine something else: {:#x}, {:#x}, {:#x}",
        machine[0], machine[1], machine[2]
    ));
}

/// Compares how programs ended.
fn compare_endings(
    differences: &mut Vec<String>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
) {
    let in_words = |words| Ending::describe(words).unwrap_or("ended in an unknown way");
    let endings = expected.outcome.endings.iter().map(|ending| ending.words());
    let all_endings = endings.chain(std::iter::repeat([0; 3]));

    for (number, (software, machine)) in all_endings.zip(&seen.response.endings).enumerate() {
        if software != *machine {
            differences.push(format!(
                "program {number}: in software it {}, on the machine it {}",
                in_words(software),
                in_words(*machine)
            ));
        }
    }
}

/// Compares the loads that found another value than expected.
fn compare_mismatches(
    differences: &mut Vec<String>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
) {
    let software = &expected.outcome.mismatches;
    let count = seen.response.mismatch_count;
    let listed = (count as usize).min(MAX_MISMATCHES);
    let machine = &seen.response.mismatches[..listed];
    if count == software.len() as u64 && *machine == software[..listed.min(software.len())] {
        return;
    }

    let only_on_machine = machine.iter().find(|mismatch| !software.contains(mismatch));
    differences.push(match only_on_machine {
        Some(ScriptMismatch { address, found, .. }) => {
            format!(
                "on the machine a process found {found:#x} at {address:#x}, and not in software"
            )
        }
        None => {
            format!("{} loads went wrong in software, {count} on the machine", software.len())
        }
    });
}

/// Compares events, and returns the index of the first that differs.
fn compare_events<F: Format>(
    differences: &mut Vec<String>,
    model: &Model<F>,
    expected: &ModelSnapshot<'_>,
    seen: &GuestSnapshot<'_>,
) -> Option<usize> {
    let software = expected.events;
    let machine = &seen.events;
    let count = software.len().max(machine.len());
    let place = (0..count).find(|place| {
        let words = software.get(*place).map(to_words);
        words.as_ref() != machine.get(*place)
    })?;

    let in_words = |event: Option<&Event>| {
        event.map_or_else(|| "nothing more".into(), |event| describe(model, event))
    };
    let on_machine = match machine.get(place).map(from_words) {
        Some(None) => "words that are no event".into(),
        Some(Some(event)) => in_words(Some(&event)),
        None => in_words(None),
    };
    differences.push(format!(
        "event {}: in software {}, on the machine {on_machine}",
        place + 1,
        in_words(software.get(place))
    ));
    Some(place)
}

/// An event in words.
fn describe<F: Format>(model: &Model<F>, event: &Event) -> String {
    let name = |space: SpaceId| model.name_of(space).unwrap_or('?');
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

/// Compares the owners of frames, the references to slots, and the counts.
fn compare_accounting<F: Format>(
    differences: &mut Vec<String>,
    model: &Model<F>,
    machine: &Accounting,
) {
    let software = accounting::of(&model.system, FRAMES);
    let in_words = |[what, how]: &[u64; 2]| format!("{what:#x}/{how:#x}");

    let frames = software.frames.iter().zip(&machine.frames).enumerate();
    let differing = frames.filter(|(_, (software, machine))| software != machine);
    for (number, (software, machine)) in differing.take(MAX_REPORTED) {
        let frame = FRAMES + number as u64 * PAGE_BYTES;
        differences.push(format!(
            "the accounting of frame {frame}: in software {}, on the machine {}",
            in_words(software),
            in_words(machine)
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

/// Compares the contents of every frame in use. In the entries of `free` A may differ.
fn compare_frames<F: Format>(
    compared: &mut Compared,
    model: &Model<F>,
    memory: &GuestMemory,
    forgives_loose_pdptes: bool,
    free: &BTreeSet<PhysAddr>,
) {
    let is_root = |frame: PhysAddr| {
        let mut roots = model.system.spaces().map(|space| model.system.root(space));
        roots.any(|root| root == Ok(frame))
    };

    for (frame, &Frame { usage, .. }) in model.system.frames().iter().take(MAX_FRAMES) {
        compared.frames += 1;
        let has_loose_pdptes =
            forgives_loose_pdptes && F::MODE == PagingMode::Pae && is_root(frame);

        for (offset, machine, software) in differing_words(model, memory, frame) {
            let only_a = only_a_differs::<F>(machine ^ software);
            if has_loose_pdptes && only_a && offset < 32 {
                compared.loose_pdptes += 1;
            } else if only_a && let Some(at) = entry_in_word(free, frame + offset) {
                compared.chosen.insert(at);
            } else {
                compared.words.push(Word { frame, usage, offset, machine, software });
            }
        }
    }

    for word in compared.words.iter().take(MAX_REPORTED) {
        compared.differences.push(describe_word(model, word));
    }
}

/// A word that differs, in words.
fn describe_word<F: Format>(model: &Model<F>, word: &Word) -> String {
    let Word { frame, usage, offset, machine, software } = word;
    let place = match usage {
        FrameUse::Table(space) => {
            let name = model.name_of(*space).unwrap_or('?');
            format!("a table of {name}, in frame {frame}")
        }
        FrameUse::Page(page) => format!("page {page}, in frame {frame}"),
        FrameUse::Shared(object, number) => {
            format!("page {number} of shared object {object}, in frame {frame}")
        }
    };
    format!("{place}, offset {offset:#x}: in software {software:#x}, on the machine {machine:#x}")
}

/// Compares the contents of every slot in use.
fn compare_slots<F: Format>(compared: &mut Compared, model: &Model<F>, memory: &GuestMemory) {
    for slot in (0..MAX_SLOTS as u32).map(SlotNumber) {
        if model.system.slots().references(slot) == 0 {
            continue;
        }

        compared.frames += 1;
        let place = model.computer.place(slot);
        if let Some((offset, machine, software)) = differing_words(model, memory, place).next() {
            compared.differences.push(format!(
                "slot {}, offset {offset:#x}: in software {software:#x}, on the machine {machine:#x}",
                slot.0
            ));
        }
    }
}

/// Whether entries differ in A alone. Two entries of 4 bytes share a word.
fn only_a_differs<F: Format>(differing: u64) -> bool {
    let a = EntryBits::A.bits();
    let upper_a = if F::ENTRY_BYTES == 4 { a << 32 } else { 0 };
    differing != 0 && differing & !(a | upper_a) == 0
}

/// The entries on the path of accesses that were not made. A machine may set A there or not (AD-2,
/// AD-3), and the entry stays as it is then.
fn on_the_path<F: Format>(model: &Model<F>, accesses: &[(SpaceId, VirtAddr)]) -> Vec<PhysAddr> {
    let path = |&(space, address): &(SpaceId, VirtAddr)| {
        model.system.path(&model.computer, space, address).ok()
    };
    accesses.iter().filter_map(path).flatten().collect()
}

/// An entry of the set that is part of the word at this address.
fn entry_in_word(entries: &BTreeSet<PhysAddr>, at: PhysAddr) -> Option<PhysAddr> {
    entries.range(at..at + 8).next().copied()
}

/// The words of a page of memory that differ: offset, value on the machine, value in software.
fn differing_words<F: Format>(
    model: &Model<F>,
    memory: &GuestMemory,
    at: PhysAddr,
) -> impl Iterator<Item = (u64, u64, u64)> {
    let mut machine = [0; PAGE_BYTES as usize];
    memory.read(at.get(), &mut machine);
    let software = model.computer.memory().bytes(at, PAGE_BYTES).unwrap_or_default();

    // Most pages are equal, and comparing them whole is fast.
    let mut differing = Vec::new();
    if software != machine {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        for (number, (machine, software)) in machine.chunks(8).zip(software.chunks(8)).enumerate() {
            if machine != software {
                differing.push((8 * number as u64, word(machine), word(software)));
            }
        }
    }
    differing.into_iter()
}
