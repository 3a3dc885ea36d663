//! What the TLB hits.

use crate::answer::Value::Number;
use crate::answer::{Form, Value};
use crate::chance::Chance;
use crate::exercise::{Exercise, Fact, Question, Table, When};
use crate::topic::{Difficulty, Topic};
use crate::wording::listed;
use mmu_core::memory::{
    AtomicTableMemory, Bytes, OutsideMemory, TableMemory, TableMemoryMut, Unshared,
};
use mmu_core::x86::format::{EntryBits, EntryKind, Format, FourLevel};
use mmu_core::{
    Access, AnyCachedMmu, ControlState, Cr4, PhysAddr, Profile, Reference, Ring, VirtAddr,
};
use std::cell::Cell;
use std::collections::BTreeMap;

const HIT_OR_MISS: &[&str] = &["miss", "hit"];

/// The number of table entries that a walk reads.
const ENTRIES: usize = FourLevel::LEVELS.len();

/// The first page. The others follow it.
const FIRST_PAGE: u64 = 0x40_0000;

/// The bit of CR3 with which MOV to CR3 drops nothing.
const KEEP: u64 = 1 << 63;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A read of a page.
    Read(usize),
    Invlpg(usize),
    /// MOV to CR3 with the tables of this process, and with bit 63 or without.
    LoadRoot {
        process: u64,
        keeps: bool,
    },
}

/// What is given besides the steps.
struct Setting {
    /// Whether each page is global.
    global: Vec<bool>,
    has_pcids: bool,
}

/// A letter for each page.
fn letter(page: usize) -> char {
    (b'A' + page as u8) as char
}

pub(super) fn make(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    let pages = chance.of(3..=4) as usize;
    let has_global = difficulty > Difficulty::Basic;
    let global = (0..pages).map(|page| has_global && page + 1 == pages).collect();
    let setting = Setting { global, has_pcids: difficulty == Difficulty::Hard };
    let (steps, run) = interesting(&setting, difficulty, chance);
    let mut questions = vec![hits(&setting, &steps, &run)];
    if difficulty != Difficulty::Moderate {
        questions.push(entries_read(&run));
    }
    Exercise {
        topic: Topic::Tlb,
        difficulty,
        story: Vec::new(),
        facts: facts(&setting, difficulty),
        tables: vec![printed(&setting, &steps)],
        questions,
    }
}

/// Steps in which something that was cached is missed, and something is hit after other steps than reads.
fn interesting(setting: &Setting, difficulty: Difficulty, chance: &mut Chance) -> (Vec<Step>, Run) {
    const MOST_DRAWS: usize = 200;

    let pages = setting.global.len();
    let mut steps = draw_steps(difficulty, pages, chance);
    for _ in 0..MOST_DRAWS {
        let run = run(setting, &steps);
        let misses = run.hits.iter().filter(|is_hit| !**is_hit).count();
        let first_drop = steps.iter().position(|step| !matches!(step, Step::Read(_)));
        let has_late_hit =
            first_drop.is_some_and(|first| run.hits.iter().skip(first).any(|is_hit| *is_hit));
        let firsts = if difficulty == Difficulty::Basic { pages } else { pages + 1 };
        if misses > firsts && has_late_hit {
            return (steps, run);
        }
        steps = draw_steps(difficulty, pages, chance);
    }
    let run = run(setting, &steps);
    (steps, run)
}

fn draw_steps(difficulty: Difficulty, pages: usize, chance: &mut Chance) -> Vec<Step> {
    let (count, others) = match difficulty {
        Difficulty::Basic => (8, 25),
        Difficulty::Moderate => (9, 35),
        Difficulty::Hard => (11, 40),
    };
    let mut steps = Vec::new();
    let mut process = 1;
    while steps.len() < count {
        let page = chance.of(0..=pages as u64 - 1) as usize;
        // Only what was cached can be dropped: it begins with reads, and ends with one.
        let is_other = steps.len() > 1 && steps.len() + 1 < count && chance.percent(others);
        let step = match is_other {
            false => Step::Read(page),
            true if difficulty == Difficulty::Basic || chance.percent(35) => Step::Invlpg(page),
            true => {
                process = if chance.percent(70) { 3 - process } else { process };
                let keeps = difficulty == Difficulty::Hard && chance.percent(50);
                Step::LoadRoot { process, keeps }
            }
        };
        let is_idle = !matches!(step, Step::Read(_))
            && steps.last().is_some_and(|last| !matches!(last, Step::Read(_)));
        if !is_idle {
            steps.push(step);
        }
    }
    steps
}

fn facts(setting: &Setting, difficulty: Difficulty) -> Vec<Fact> {
    let pages = (0..setting.global.len()).map(letter);
    let mut facts = vec![
        Fact::new("pages", listed(pages)),
        Fact::new("TLB", "empty at first, and with room for all that is read here"),
        Fact::new("tables", format!("{ENTRIES} levels; nothing but the TLB caches them")),
    ];
    if difficulty == Difficulty::Basic {
        return facts;
    }

    let global: Vec<char> =
        (0..setting.global.len()).filter(|page| setting.global[*page]).map(letter).collect();
    facts.push(Fact::new(
        "global",
        format!("CR4.PGE = 1, and {} has G = 1 in both processes", listed(global)),
    ));
    facts.push(Fact::new(
        "processes",
        "1 and 2, with other frames for the same pages; process 1 runs at first",
    ));
    facts.push(Fact::new(
        "PCIDs",
        if setting.has_pcids {
            "CR4.PCIDE = 1: process 1 has PCID 1, process 2 has PCID 2"
        } else {
            "CR4.PCIDE = 0: there are none"
        },
    ));
    facts
}

fn printed(setting: &Setting, steps: &[Step]) -> Table {
    let rows = steps
        .iter()
        .zip(1..)
        .map(|(step, number)| vec![number.to_string(), in_words(*step, setting.has_pcids)]);
    Table { title: "what happens".into(), columns: vec!["step", "what"], rows: rows.collect() }
}

fn in_words(step: Step, has_pcids: bool) -> String {
    match step {
        Step::Read(page) => format!("read {}", letter(page)),
        Step::Invlpg(page) => format!("INVLPG {}", letter(page)),
        Step::LoadRoot { process, .. } if !has_pcids => {
            format!("MOV to CR3: process {process}")
        }
        Step::LoadRoot { process, keeps } => {
            format!("MOV to CR3: process {process}, bit 63 = {}", u8::from(keeps))
        }
    }
}

/// What the cached MMU does: for each read whether it hits, and how many entries are read in all.
struct Run {
    hits: Vec<bool>,
    entries: u64,
}

/// Runs the steps on the MMU with a TLB and no other caches.
fn run(setting: &Setting, steps: &[Step]) -> Run {
    type OnlyTlb = AnyCachedMmu<Reference, 64, 4, 0>;

    let memory = CountedMemory { memory: Unshared::new(tables(setting)), reads: Cell::new(0) };
    let cr3 = |process: u64| root(process) | if setting.has_pcids { process } else { 0 };
    let mut state = ControlState::four_level(cr3(1));
    state.cr4 |= Cr4::PGE;
    state.cr4.set(Cr4::PCIDE, setting.has_pcids);
    let mut mmu = OnlyTlb::with_semantics(Reference, state, Profile::default());

    let mut hits = Vec::new();
    for step in steps {
        match step {
            Step::Read(page) => {
                let before = memory.reads.get();
                let read = Access::read(address(*page), 1, Ring::Three);
                mmu.translate(&memory, &read).expect("every page is mapped");
                hits.push(memory.reads.get() == before);
            }
            Step::Invlpg(page) => mmu.invlpg(address(*page)),
            Step::LoadRoot { process, keeps } => {
                let value = cr3(*process) | if *keeps { KEEP } else { 0 };
                mmu.write_cr3(&memory, value).expect("the value is good");
            }
        }
    }
    Run { hits, entries: memory.reads.get() }
}

fn address(page: usize) -> VirtAddr {
    VirtAddr::new(FIRST_PAGE + ((page as u64) << 12))
}

/// The root table of a process. Its other tables follow.
const fn root(process: u64) -> u64 {
    process << 16
}

fn tables(setting: &Setting) -> Bytes<Vec<u8>> {
    let mut memory = Bytes::new(PhysAddr::new(0), vec![0; 0x4_0000]);
    for process in 1..=2 {
        for (page, is_global) in setting.global.iter().enumerate() {
            let frame = if *is_global { 0x3_0000 } else { root(process) + 0x8000 };
            for (depth, level) in (0..).zip(FourLevel::LEVELS) {
                let is_leaf = level.number == 1;
                let kind = if is_leaf { EntryKind::Leaf } else { EntryKind::Table };
                let table = root(process) + (depth << 12);
                let target = if is_leaf { frame + ((page as u64) << 12) } else { table + 0x1000 };

                let mut flags = EntryBits::P | EntryBits::US;
                flags.set(EntryBits::G, is_leaf && *is_global);
                let at = table + 8 * address(page).index(level.shift, level.index_bits);
                let entry = FourLevel::entry(level, kind, PhysAddr::new(target), flags);
                memory.write_entry(PhysAddr::new(at), 8, entry).expect("tables are in memory");
            }
        }
    }
    memory
}

/// Memory that counts the entries that are read.
struct CountedMemory {
    memory: Unshared<Bytes<Vec<u8>>>,
    reads: Cell<u64>,
}

impl TableMemory for CountedMemory {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        self.reads.set(self.reads.get() + 1);
        self.memory.read_entry(at, bytes)
    }
}

/// The compare of a locked update does not count as a read.
impl AtomicTableMemory for CountedMemory {
    fn compare_exchange(
        &self,
        at: PhysAddr,
        bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        self.memory.compare_exchange(at, bytes, current, new)
    }
}

fn hits(setting: &Setting, steps: &[Step], run: &Run) -> Question {
    let answer = run.hits.iter().map(|is_hit| usize::from(*is_hit)).collect();
    let form = Form::Words(HIT_OR_MISS, run.hits.len());
    let text = "For each read in order: is it a hit or a miss?";

    let mut question = Question::new(text, form, Value::Words(answer));
    for (number, why) in reasons(setting, steps, run).into_iter().enumerate() {
        question = question.work(why.clone()).because(When::Step(number), why);
    }
    question
}

/// Why each read hits or misses: what filled its place last, or what emptied it.
fn reasons(setting: &Setting, steps: &[Step], run: &Run) -> Vec<String> {
    // Whether each page is cached, and why.
    let mut last: BTreeMap<(u64, usize), (bool, String)> = BTreeMap::new();
    let of_process = if setting.global.contains(&true) { " for this process" } else { "" };
    let mut process = 1;
    let mut hits = run.hits.iter();
    let mut reasons = Vec::new();

    for (step, number) in steps.iter().zip(1..) {
        // A global page is the same in both.
        let whose = |page: usize| if setting.global[page] { 0 } else { process };
        match *step {
            Step::Read(page) => {
                let is_hit = hits.next().is_some_and(|is_hit| *is_hit);
                let key = (whose(page), page);
                let never = || format!("{} was not cached yet{of_process}", letter(page));
                let why = last.get(&key).map_or_else(never, |(_, why)| why.clone());
                let word = HIT_OR_MISS[usize::from(is_hit)];
                reasons.push(format!("Step {number}, read {}, is a {word}: {why}.", letter(page)));
                if !is_hit {
                    let why = format!("step {number} brought it in, and nothing dropped it");
                    last.insert(key, (true, why));
                }
            }
            Step::Invlpg(page) => {
                if let Some(known @ (true, _)) = last.get_mut(&(whose(page), page)) {
                    *known = (false, format!("INVLPG in step {number} dropped it"));
                }
            }
            Step::LoadRoot { process: next, keeps } => {
                for (key, known) in &mut last {
                    let is_dropped = !setting.has_pcids || key.0 == next;
                    if known.0 && key.0 != 0 && is_dropped && !keeps {
                        let why =
                            format!("MOV to CR3 in step {number} dropped it, as it is not global");
                        *known = (false, why);
                    }
                }
                process = next;
            }
        }
    }
    reasons
}

fn entries_read(run: &Run) -> Question {
    let misses = run.hits.iter().filter(|is_hit| !**is_hit).count();
    Question::new(
        "How many table entries does the MMU read in all?",
        Form::Count,
        Number(run.entries.into()),
    )
    .work(format!(
        "{misses} misses, each a walk of {ENTRIES} levels: {misses} * {ENTRIES} = {}.",
        run.entries
    ))
    .wrong_number(misses as u128, format!("Each miss is a walk of {ENTRIES} entries."))
    .wrong_number(
        (run.hits.len() * ENTRIES) as u128,
        "Only misses read the tables: a hit reads none.",
    )
    .wrong_number(
        (misses * (ENTRIES + 1)) as u128,
        "The byte that is read in the end is not a table entry.",
    )
}
