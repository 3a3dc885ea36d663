//! Which frame the clock takes.

use super::processes::{Computer, number};
use crate::answer::Value::Number;
use crate::answer::{Form, Value, YES_OR_NO};
use crate::chance::Chance;
use crate::exercise::{Exercise, Fact, Question, Table, When};
use crate::topic::{Difficulty, Topic};
use crate::wording::listed;
use mmu_core::AccessKind;
use mmu_core::space::{Event, FrameUse, SpaceId};
use mmu_core::x86::format::EntryBits;
use std::collections::BTreeSet;

/// A frame before the clock runs.
struct Place {
    frame: u64,
    /// The page in it; `None` for a table.
    page: Option<u64>,
    /// A of the page in each process.
    accessed: Vec<bool>,
    dirty: bool,
}

/// What the clock did.
struct Taken {
    frame: u64,
    spared: BTreeSet<u64>,
    is_written: bool,
}

pub(super) fn make(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    let pages = match difficulty {
        Difficulty::Basic => chance.of(4..=6),
        Difficulty::Moderate => chance.of(5..=8),
        Difficulty::Hard => chance.of(4..=7),
    };
    let has_two = difficulty == Difficulty::Hard;
    let frames = pages + if has_two { 4 } else { 2 };
    let mut computer = Computer::new(frames as usize);
    let parent = computer.process(2 * pages);
    for page in 0..pages {
        touch(&mut computer, parent, page, chance);
    }

    let hand = turn(&mut computer, parent, pages, chance) % frames;
    let mut processes = vec![parent];
    if has_two {
        let child = computer.system.fork(&mut computer.software, parent);
        processes.push(child.expect("there are frames for its tables"));
    }
    let likely = chance.pick(&[40, 55, 70, 85]);
    for process in &processes {
        for page in 0..pages {
            computer.set_accessed(*process, page, chance.percent(likely));
        }
    }
    computer.events();

    // Mostly the hand does not stop where it is.
    let at_hand = first_page(&places(&computer, frames, &processes), hand);
    if chance.percent(75) {
        computer.set_accessed(parent, at_hand, true);
    }
    let places = places(&computer, frames, &processes);
    let first = take(&mut computer);
    let mut questions = vec![which(&places, hand, &first), spared(&places, hand, &first)];
    match difficulty {
        Difficulty::Basic => {}
        Difficulty::Moderate => {
            // The page for which the frame was taken comes in.
            computer.access(parent, pages, AccessKind::Read);
            let second = take(&mut computer);
            questions.push(which_next(&places, &first, &second));
        }
        Difficulty::Hard => questions.push(is_written(&places, &first)),
    }
    Exercise {
        topic: Topic::Clock,
        difficulty,
        story: vec![
            "A page has to come in, and no frame is free. The clock's hand goes round the frames in the \
             order of their numbers: where A = 1 it clears A and goes on, and a frame where A = 0 is taken. \
             Frames with page tables are passed over."
                .into(),
        ],
        facts: vec![Fact::new("hand", format!("at frame {hand}, which it looks at first"))],
        tables: vec![printed(&places, has_two)],
        questions,
    }
}

fn touch(computer: &mut Computer, process: SpaceId, page: u64, chance: &mut Chance) {
    let kind = if chance.percent(50) { AccessKind::Write } else { AccessKind::Read };
    computer.access(process, page, kind);
}

/// The first page that the hand comes to.
fn first_page(places: &[Place], hand: u64) -> u64 {
    let from_hand = places.iter().cycle().skip(hand as usize);
    from_hand.take(places.len()).find_map(|place| place.page).expect("there are pages")
}

/// Lets the clock run a few times, so that its hand is anywhere. Returns the number of the frame that it looks at next.
fn turn(computer: &mut Computer, process: SpaceId, pages: u64, chance: &mut Chance) -> u64 {
    let mut hand = 0;
    for _ in 0..chance.of(0..=3) {
        for page in 0..pages {
            computer.set_accessed(process, page, chance.percent(60));
        }
        hand = take(computer).frame + 1;
        for page in 0..pages {
            let is_present = computer.leaf(process, page).is_some_and(|leaf| leaf.entry & 1 != 0);
            if !is_present {
                touch(computer, process, page, chance);
            }
        }
    }
    hand
}

/// Lets the clock take a frame.
fn take(computer: &mut Computer) -> Taken {
    let taken = computer.system.reclaim(&mut computer.software);
    let frame = taken.expect("tables are in memory").expect("there are pages and slots");
    let mut taken = Taken { frame: number(frame), spared: BTreeSet::new(), is_written: false };
    for event in computer.events() {
        match event {
            Event::SecondChance { frame } => {
                taken.spared.insert(number(frame));
            }
            Event::Evicted { written, .. } => taken.is_written = written.is_some(),
            _ => {}
        }
    }
    taken
}

/// What is in the frames.
fn places(computer: &Computer, frames: u64, processes: &[SpaceId]) -> Vec<Place> {
    let known = computer.system.frames().iter();
    let places = known.map(|(frame, known)| {
        let page = match known.usage {
            FrameUse::Page(address) => {
                Some((address.get() - super::processes::address(0).get()) >> 12)
            }
            _ => None,
        };
        let entries: Vec<u64> = processes
            .iter()
            .filter_map(|process| Some(computer.leaf(*process, page?)?.entry))
            .collect();
        let has = |flag: EntryBits| move |entry: &u64| entry & flag.bits() != 0;
        Place {
            frame: number(frame),
            page,
            accessed: entries.iter().map(has(EntryBits::A)).collect(),
            dirty: known.dirty || entries.iter().any(has(EntryBits::D)),
        }
    });
    let places: Vec<Place> = places.collect();
    debug_assert_eq!(places.len() as u64, frames);
    places
}

fn printed(places: &[Place], has_two: bool) -> Table {
    let bit = |is_set: bool| u8::from(is_set).to_string();
    let rows = places.iter().map(|place| {
        let Some(page) = place.page else {
            let blank = if has_two { 3 } else { 1 };
            let blanks = std::iter::repeat_n(String::new(), blank);
            return [place.frame.to_string(), "page table".into()]
                .into_iter()
                .chain(blanks)
                .collect();
        };
        let mut row = vec![place.frame.to_string(), format!("page {page}")];
        row.extend(place.accessed.iter().map(|is_set| bit(*is_set)));
        if has_two {
            row.push(bit(place.dirty));
        }
        row
    });
    let columns = if has_two {
        vec!["frame", "holds", "A in P", "A in Q", "dirty"]
    } else {
        vec!["frame", "holds", "A"]
    };
    let title = if has_two { "frames, shared by P and Q" } else { "frames" };
    Table { title: title.into(), columns, rows: rows.collect() }
}

fn is_accessed(place: &Place) -> bool {
    place.accessed.iter().any(|is_set| *is_set)
}

fn which(places: &[Place], hand: u64, taken: &Taken) -> Question {
    let right = taken.frame;
    let text = "Which frame does the clock take?";
    let mut question = Question::new(text, Form::Count, Number(right.into()));

    let from_hand = places.iter().cycle().skip(hand as usize).take(places.len());
    let mut is_found = false;
    for place in from_hand {
        let frame = place.frame;
        if !is_found && place.page.is_some() && is_accessed(place) {
            question = question.work(format!("Frame {frame}: A = 1, cleared."));
        } else if !is_found && place.page.is_some() {
            question = question.work(format!("Frame {frame}: A = 0, taken."));
            is_found = true;
        }
        question = question.wrong_number(frame.into(), why_not(place, hand, right));
    }
    if !is_found {
        question = question.work(format!(
            "Every A was 1 and is 0 now. The hand comes round again: frame {right} is taken."
        ));
    }
    question
}

/// Why a frame is not the one that is taken.
fn why_not(place: &Place, hand: u64, right: u64) -> String {
    let frame = place.frame;
    match place.page {
        None => format!("Frame {frame} has a page table: it is passed over."),
        Some(_) if is_accessed(place) => {
            let which = if place.accessed.len() > 1 {
                "A = 1 in at least one process"
            } else {
                "its A is 1"
            };
            format!("Frame {frame} is not taken: {which}. It gets a second chance.")
        }
        Some(_) => format!(
            "Frame {frame} has A = 0, too, but from frame {hand} on the hand comes to frame {right} first."
        ),
    }
}

fn spared(places: &[Place], hand: u64, taken: &Taken) -> Question {
    let right = taken.frame;
    let text = "In which frames is A cleared on the way?";
    let mut question =
        Question::new(text, Form::Set, Value::Set(taken.spared.clone())).work(format!(
            "The hand goes from frame {hand} to frame {right}, and clears A where it is 1: in {}.",
            if taken.spared.is_empty() { "none of them".into() } else { listed(&taken.spared) }
        ));
    for place in places {
        let frame = place.frame;
        let why = if place.page.is_none() {
            format!("Frame {frame} has a page table, which has no A here.")
        } else if taken.spared.contains(&frame) {
            format!("The hand passes frame {frame}, where A is 1.")
        } else if is_accessed(place) {
            format!("The hand does not come to frame {frame}: it stops at frame {right}.")
        } else {
            format!("In frame {frame} A is 0 already.")
        };
        question = question.because(When::Element(frame), why);
    }
    question
}

/// The next frame, once the first has its new page.
fn which_next(places: &[Place], first: &Taken, second: &Taken) -> Question {
    let right = second.frame;
    let text = "The page is in and was read. Nothing else is accessed, and another one has to come in: \
                which frame is taken now?";
    let mut question = Question::new(text, Form::Count, Number(right.into()))
        .work(format!("The hand goes on behind frame {}.", first.frame));
    let count = places.len() as u64;
    let mut passed: Vec<u64> = second.spared.iter().copied().collect();
    passed.sort_by_key(|frame| (frame + count - first.frame - 1) % count);
    for spared in passed {
        question = question.work(format!("Frame {spared}: A = 1, cleared."));
    }
    question = question.work(format!("Frame {right}: A = 0, taken."));
    for place in places {
        let frame = place.frame;
        let why = if place.page.is_none() {
            format!("Frame {frame} has a page table: it is passed over.")
        } else if frame == first.frame {
            format!("Frame {frame} has just been taken: its new page has A = 1.")
        } else if second.spared.contains(&frame) {
            format!("Frame {frame} is not taken: its A is 1. It gets a second chance.")
        } else {
            format!(
                "The hand goes on behind frame {}, and comes to frame {right} before frame {frame}.",
                first.frame
            )
        };
        question = question.wrong_number(frame.into(), why);
    }
    question
}

fn is_written(places: &[Place], taken: &Taken) -> Question {
    let text = "Is its page written to the store first?";
    let answer = Value::Words(vec![usize::from(taken.is_written)]);
    let place = places.iter().find(|place| place.frame == taken.frame);
    let why = if place.is_some_and(|place| place.dirty) {
        "The page is dirty: what was written to it is nowhere else."
    } else {
        "The page is clean: the store has it, or it is all zeros."
    };
    Question::new(text, Form::Words(YES_OR_NO, 1), answer).work(why).because(When::Step(0), why)
}
