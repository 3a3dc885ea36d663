//! What a fork copies, and when.

use super::processes::Computer;
use crate::answer::Value::Number;
use crate::answer::{Form, Value};
use crate::chance::Chance;
use crate::exercise::{Exercise, Fact, Question, Table, When};
use crate::topic::{Difficulty, Topic};
use mmu_core::space::{Backing, Decision, Event, FrameUse, Minor, Protection, Region, RegionKind};
use mmu_core::{AccessKind, VirtAddr};

/// What an access makes the system do.
const DONE: &[&str] = &["nothing", "copy", "keep", "zeros"];
/// The same where there is shared memory.
const DONE_WITH_SHARED: &[&str] = &["nothing", "copy", "keep", "zeros", "map"];

/// Where shared memory begins: the page behind those of the process.
const SHARED_PAGE: u64 = 8;

/// Something that happens after the fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Access { process: usize, page: u64, kind: AccessKind },
    Ends { process: usize },
}

/// What is given.
struct Setting {
    /// Whether each of the parent's pages was written before the fork.
    touched: Vec<bool>,
    /// Whether there is a page of shared memory, in a frame since before the fork.
    has_shared: bool,
    processes: usize,
    steps: Vec<Step>,
}

/// A letter for each process, the parent first.
const NAMES: [char; 3] = ['P', 'C', 'D'];

pub(super) fn make(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    let setting = setting(difficulty, chance);
    let words = if setting.has_shared { DONE_WITH_SHARED } else { DONE };
    let run = run(&setting);

    let children = if setting.processes == 3 { "P forks C, and then D." } else { "P forks C." };
    let mut facts = vec![
        Fact::new(
            "fork",
            format!("{children} It copies no page: writes are copied when they come"),
        ),
        Fact::new("nothing", "the access makes no fault"),
        Fact::new("copy", "the writer gets a copy of the frame"),
        Fact::new("keep", "the writer keeps the frame, and may write to it from now on"),
        Fact::new("zeros", "a new frame of zeros"),
    ];
    if setting.has_shared {
        facts.push(Fact::new("map", "an entry for the frame that the others share"));
    }
    Exercise {
        topic: Topic::Fork,
        difficulty,
        story: Vec::new(),
        facts,
        tables: vec![printed_pages(&setting), printed_steps(&setting)],
        questions: vec![
            what_happens(&setting, words, &run),
            copies(&setting, &run),
            frames(&setting, &run),
        ],
    }
}

fn setting(difficulty: Difficulty, chance: &mut Chance) -> Setting {
    let pages = chance.of(3..=4) as usize;
    let untouched = chance.of(0..=pages as u64 - 1) as usize;
    let is_hard = difficulty == Difficulty::Hard;
    let mut setting = Setting {
        touched: (0..pages).map(|page| page != untouched).collect(),
        has_shared: is_hard,
        processes: if is_hard { 3 } else { 2 },
        steps: Vec::new(),
    };

    let (count, ends_at) = match difficulty {
        Difficulty::Basic => (6, None),
        Difficulty::Moderate => (7, Some(chance.of(2..=4) as usize)),
        Difficulty::Hard => (9, Some(chance.of(3..=6) as usize)),
    };
    let mut running: Vec<usize> = (0..setting.processes).collect();
    // A few pages often, so that accesses meet.
    let favourites = [chance.of(0..=pages as u64 - 1), chance.of(0..=pages as u64 - 1)];
    for number in 0..count {
        if ends_at == Some(number) {
            let process = running.remove(chance.of(1..=running.len() as u64 - 1) as usize);
            setting.steps.push(Step::Ends { process });
            continue;
        }
        let page = match chance.of(0..=9) {
            0..=5 => chance.pick(&favourites),
            6..=7 if setting.has_shared => SHARED_PAGE,
            _ => chance.of(0..=pages as u64 - 1),
        };
        let kind = if chance.percent(70) { AccessKind::Write } else { AccessKind::Read };
        setting.steps.push(Step::Access { process: chance.pick(&running), page, kind });
    }
    setting
}

/// What the system does.
struct Run {
    /// The decision about each access; `None` if it makes no fault.
    decisions: Vec<Option<Minor>>,
    /// The number of frames that have pages in the end.
    frames: u64,
}

/// Lets the steps happen.
fn run(setting: &Setting) -> Run {
    let mut computer = Computer::new(48);
    let pages = setting.touched.len() as u64;
    let parent = computer.process(pages);
    if setting.has_shared {
        let object =
            computer.system.create_object(1, Backing::Zero).expect("there is room for one");
        let start: VirtAddr = super::processes::address(SHARED_PAGE);
        let region = Region::new(RegionKind::Shared, start, 1, Protection::DATA);
        computer.map(parent, region.from_backing(Backing::Object(object)));
        computer.access(parent, SHARED_PAGE, AccessKind::Write);
    }
    for page in (0..pages).filter(|page| setting.touched[*page as usize]) {
        computer.access(parent, page, AccessKind::Write);
    }

    let mut processes = vec![parent];
    for _ in 1..setting.processes {
        let child = computer.system.fork(&mut computer.software, parent);
        processes.push(child.expect("there are frames for its tables"));
    }
    computer.events();

    let mut decisions = Vec::new();
    for step in &setting.steps {
        match *step {
            Step::Ends { process } => {
                let ended = computer.system.destroy(&mut computer.software, processes[process]);
                ended.expect("it is running");
                computer.events();
            }
            Step::Access { process, page, kind } => {
                let events = computer.access(processes[process], page, kind);
                decisions.push(events.iter().find_map(|event| match event {
                    Event::Fault { decision: Decision::Minor(minor), .. } => Some(*minor),
                    _ => None,
                }));
            }
        }
    }
    let is_page = |usage: &FrameUse| !matches!(usage, FrameUse::Table(_));
    let frames = computer.system.frames().iter().filter(|(_, frame)| is_page(&frame.usage));
    Run { frames: frames.count() as u64, decisions }
}

fn name_of_page(page: u64) -> String {
    if page == SHARED_PAGE { "the shared page".into() } else { format!("page {page}") }
}

fn printed_pages(setting: &Setting) -> Table {
    let mut rows: Vec<Vec<String>> = (0..)
        .zip(&setting.touched)
        .map(|(page, is_touched)| {
            let state = if *is_touched { "written, in a frame" } else { "never touched" };
            vec![name_of_page(page), state.into()]
        })
        .collect();
    if setting.has_shared {
        rows.push(vec![name_of_page(SHARED_PAGE), "shared memory, in a frame".into()]);
    }
    Table { title: "pages of P before the fork".into(), columns: vec!["page", "state"], rows }
}

fn in_words(step: Step) -> String {
    match step {
        Step::Ends { process } => format!("{} ends", NAMES[process]),
        Step::Access { process, page, kind } => {
            let does = if kind == AccessKind::Write { "writes to" } else { "reads" };
            format!("{} {does} {}", NAMES[process], name_of_page(page))
        }
    }
}

fn printed_steps(setting: &Setting) -> Table {
    let rows = (1..).zip(&setting.steps);
    let rows = rows.map(|(number, step): (u32, _)| vec![number.to_string(), in_words(*step)]);
    Table { title: "after the fork".into(), columns: vec!["step", "what"], rows: rows.collect() }
}

/// The accesses, each with the number of its step.
fn accesses(setting: &Setting) -> impl Iterator<Item = (usize, Step)> {
    let numbered = (1..).zip(setting.steps.iter().copied());
    numbered.filter(|(_, step)| matches!(step, Step::Access { .. }))
}

fn what_happens(setting: &Setting, words: &'static [&'static str], run: &Run) -> Question {
    let word = |decision: &Option<Minor>| match decision {
        None | Some(Minor::Spurious) => 0,
        Some(Minor::Copy) => 1,
        Some(Minor::Reuse) => 2,
        Some(Minor::ZeroFill) => 3,
        Some(Minor::MapShared) => 4,
    };
    let answer: Vec<usize> = run.decisions.iter().map(word).collect();
    let form = Form::Words(words, answer.len());

    let text = "What does each read and write make the system do, in order?";
    let mut question = Question::new(text, form, Value::Words(answer.clone()));
    for (place, ((number, step), word)) in accesses(setting).zip(answer).enumerate() {
        let why = format!("Step {number}, {}: {}.", in_words(step), why(step, word, words));
        question = question.work(why.clone()).because(When::Step(place), why);
    }
    question
}

fn why(step: Step, word: usize, words: &[&str]) -> String {
    let Step::Access { page, kind, .. } = step else { return String::new() };
    let name = words[word];
    let why = match (word, kind, page) {
        (0, _, SHARED_PAGE) => "shared memory that it has already: all read and write one frame",
        (0, AccessKind::Read, _) => "its entry allows reading: a read copies nothing",
        (0, ..) => "the page is its own by now, and it may write to it",
        (1, ..) => "another process still has the frame, which is read-only in both",
        (2, ..) => "no other process has the frame any more: there is nobody to copy it for",
        (3, ..) => "the page was never touched before the fork, so there was no frame to share",
        _ => "shared memory is not copied: the fork left its entries to the first access",
    };
    format!("{name}, since {why}")
        .replace("since shared memory that", "since it is shared memory that")
}

fn copies(setting: &Setting, run: &Run) -> Question {
    let copies = run.decisions.iter().filter(|decision| **decision == Some(Minor::Copy)).count();
    let is_write =
        |step: &(usize, Step)| matches!(step.1, Step::Access { kind: AccessKind::Write, .. });
    let writes = accesses(setting).filter(is_write).count();
    let touched = setting.touched.iter().filter(|is_touched| **is_touched).count();

    Question::new("How many frames are copied in all?", Form::Count, Number(copies as u128))
        .work(format!("The fork itself copies none. Of the writes that follow, {copies} copy: one frame each."))
        .wrong_number(writes as u128, "That is the number of writes. Not every write copies.")
        .wrong_number(
            touched as u128,
            "That many pages were shared by the fork. A frame is copied only when it is written to.",
        )
        .wrong_number(
            (touched + copies) as u128,
            "The fork itself copies none: it shares them until a process writes.",
        )
}

fn frames(setting: &Setting, run: &Run) -> Question {
    let touched = setting.touched.iter().filter(|is_touched| **is_touched).count() as u64;
    let before = touched + u64::from(setting.has_shared);
    let new = |minor: Minor| {
        run.decisions.iter().filter(|decision| **decision == Some(minor)).count() as u64
    };
    let (copies, zeros) = (new(Minor::Copy), new(Minor::ZeroFill));
    let freed = before + copies + zeros - run.frames;

    let text = "How many frames have pages in the end? (Those of page tables do not count.)";
    let freed_words =
        if freed > 0 { format!(" - {freed} that ended with a process") } else { String::new() };
    Question::new(text, Form::Count, Number(run.frames.into()))
        .work(format!(
            "{before} before the fork + {copies} copied + {zeros} of zeros{freed_words} = {}.",
            run.frames
        ))
        .wrong_number(
            (before + copies + zeros).into(),
            "When a process ends, the frames that it alone has become free.",
        )
        .wrong_number(
            (before * setting.processes as u64).into(),
            "The fork copies no page: the processes share the frames.",
        )
        .wrong_number(
            (run.frames + copies).into(),
            "A copy is one more frame, not two: the original stays with the others.",
        )
}
