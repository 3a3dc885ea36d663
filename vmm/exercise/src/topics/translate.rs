//! An address translated by hand, with the tables printed.

use crate::answer::Form;
use crate::answer::Value::{Nowhere, Number};
use crate::chance::Chance;
use crate::exercise::{Exercise, Fact, Question, When};
use crate::slip::Slip;
use crate::tables::Tables;
use crate::topic::{Difficulty, Topic};
use crate::toy;
use crate::wording::{listed, size};
use mmu_core::walk::Step;
use mmu_core::x86::format::{Bits32, EntryBits, EntryKind, Format, FourLevel, Leaf, Level};
use mmu_core::{ControlState, Cr4, PhysAddr, Profile, Reference, VirtAddr};

pub(super) fn make(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    match (difficulty, chance.of(0..=3)) {
        (Difficulty::Basic, 0) => of::<toy::Flat12>(difficulty, chance),
        (Difficulty::Basic, 1) => of::<toy::FlatKilobytes>(difficulty, chance),
        (Difficulty::Basic, _) => of::<toy::Flat16>(difficulty, chance),
        (Difficulty::Moderate, 0) => of::<toy::Two14>(difficulty, chance),
        (Difficulty::Moderate, 1) => of::<toy::Two20>(difficulty, chance),
        (Difficulty::Moderate, 2) => of::<toy::Three20>(difficulty, chance),
        (Difficulty::Moderate, _) => of::<toy::Two16>(difficulty, chance),
        (Difficulty::Hard, 0) => of::<Bits32>(difficulty, chance),
        (Difficulty::Hard, _) => of::<FourLevel>(difficulty, chance),
    }
}

/// What makes a walk, besides the tables and the address.
#[derive(Clone, Copy)]
struct Setting {
    state: ControlState,
    profile: Profile,
}

impl Setting {
    fn of<F: Format>(root: u64) -> Self {
        let state = if F::LEVELS.len() == 2 && F::LEVELS[0].has_flags {
            let bits32 = ControlState::bits32(root);
            ControlState { cr4: bits32.cr4 | Cr4::PSE, ..bits32 }
        } else {
            ControlState::four_level(root)
        };
        Self { state, profile: Profile::default() }
    }
}

fn of<F: Format>(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    let last = &F::LEVELS[F::LEVELS.len() - 1];
    let shift = if last.has_flags { 12 } else { last.shift };
    let frames = chance.different(20, 1..=0xff);
    let frames = frames.into_iter().map(|frame| frame << shift).collect();

    let mut tables = Tables::<F>::new(frames);
    let addresses = addresses::<F>(chance);
    for address in addresses {
        let leaf_level = if is_large::<F>(chance) { 2 } else { 1 };
        map(&mut tables, address, leaf_level, chance);
    }
    add_others(&mut tables, addresses, chance);

    let setting = Setting::of::<F>(tables.root());
    Exercise {
        topic: Topic::Translate,
        difficulty,
        story: vec!["Entries that are not shown are 0.".into()],
        facts: facts::<F>(tables.root()),
        tables: tables.printed(),
        questions: addresses.map(|address| question(&tables, setting, address)).to_vec(),
    }
}

/// Two addresses that share tables, and sometimes all of them.
fn addresses<F: Format>(chance: &mut Chance) -> [VirtAddr; 2] {
    let highest = (1_u64 << F::ADDRESS_BITS) - 1;
    let first = chance.of(0..=highest);
    // The other one has another index at one of the last two levels.
    let levels = F::LEVELS.len();
    let level = &F::LEVELS[chance.of(levels.saturating_sub(2) as u64..=levels as u64 - 1) as usize];
    let other_index = chance.of(1..=(1 << level.index_bits) - 1) << level.shift;
    let offset = chance.of(0..=(1 << F::LEVELS[levels - 1].shift) - 1);
    let second = first ^ other_index ^ offset;

    [first, second].map(|address| {
        let address = VirtAddr::new(address);
        if F::IS_LONG_MODE { address.sign_extended(F::ADDRESS_BITS) } else { address }
    })
}

/// Whether the page is a large one, if the level above the last has such.
fn is_large<F: Format>(chance: &mut Chance) -> bool {
    let has_large = F::LEVELS
        .iter()
        .any(|level| level.number == 2 && matches!(level.leaf, Leaf::IfPageSizeBit(..)));
    has_large && chance.percent(40)
}

fn map<F: Format>(tables: &mut Tables<F>, address: VirtAddr, leaf: u8, chance: &mut Chance) {
    let path = tables.path_to(address, leaf, table_flags(chance));
    let table = path[path.len() - 1];
    let level = tables.level(table);
    let index = address.index(level.shift, level.index_bits);
    // The other address may have a table here.
    if tables.get(table, index).is_some() {
        return;
    }

    let mut entry = leaf_entry::<F>(level, chance);
    if chance.percent(20) {
        entry &= !EntryBits::P.bits();
    }
    tables.set(table, index, entry);
}

/// An entry that maps a page of a level to any frame.
fn leaf_entry<F: Format>(level: &Level, chance: &mut Chance) -> u64 {
    let highest = if level.shift > 12 { 0x3f } else { 0xff };
    let frame = PhysAddr::new(chance.of(1..=highest) << level.shift);
    let mut flags = table_flags(chance);
    flags.set(EntryBits::RW, chance.percent(70));
    flags.set(EntryBits::US, chance.percent(60));
    flags.set(EntryBits::D, chance.percent(30));
    F::entry(level, EntryKind::Leaf, frame, flags)
}

fn table_flags(chance: &mut Chance) -> EntryBits {
    let accessed = if chance.percent(50) { EntryBits::A } else { EntryBits::empty() };
    EntryBits::P | EntryBits::RW | EntryBits::US | accessed
}

/// Adds entries that a walk with a slip would use, and others.
fn add_others<F: Format>(tables: &mut Tables<F>, addresses: [VirtAddr; 2], chance: &mut Chance) {
    let used: Vec<u64> = addresses
        .iter()
        .flat_map(|address| {
            F::LEVELS.iter().map(|level| address.index(level.shift, level.index_bits))
        })
        .collect();

    let mut table = 0;
    // Tables that are added here get entries, too.
    while table < tables.count() {
        let level = tables.level(table);
        let highest = (1 << level.index_bits) - 1;
        let mut wanted = used.clone();
        wanted.extend(used.iter().flat_map(|index| [index ^ 1, index + 1, index >> 1]));
        wanted.retain(|index| *index <= highest);
        for _ in 0..chance.of(3..=5) {
            let index = chance.pick(&wanted);
            if tables.get(table, index).is_none() {
                add_other(tables, table, index, chance);
            }
        }
        table += 1;
    }
}

/// An entry that no right walk uses.
fn add_other<F: Format>(tables: &mut Tables<F>, table: usize, index: u64, chance: &mut Chance) {
    let level = tables.level(table);
    let flags = table_flags(chance);
    match (level.number, tables.some_below(level)) {
        (1, _) => {
            let entry = leaf_entry::<F>(level, chance);
            tables.set(table, index, entry);
        }
        // One more page table, with entries of its own.
        (2, _) if tables.count() <= F::LEVELS.len() => {
            tables.below(table, index, flags);
        }
        (_, Some(below)) => {
            let entry = F::entry(level, EntryKind::Table, PhysAddr::new(below), flags);
            let is_present = chance.percent(40);
            tables.set(table, index, if is_present { entry } else { entry & !EntryBits::P.bits() });
        }
        _ => {}
    }
}

fn facts<F: Format>(root: u64) -> Vec<Fact> {
    let last = &F::LEVELS[F::LEVELS.len() - 1];
    let bits: Vec<String> = F::LEVELS.iter().map(|level| level.index_bits.to_string()).collect();
    let split = format!("{} of index, {} of offset", bits.join(" + "), last.shift);

    if !last.has_flags {
        return vec![
            Fact::new("address bits", split),
            Fact::new("page size", size(1 << last.shift)),
            Fact::new("root table", format!("{root:#x}")),
            Fact::new(
                "entry",
                format!(
                    "{}: bit 0 is valid, the others are the number of a frame",
                    size(F::ENTRY_BYTES.into())
                ),
            ),
        ];
    }
    let (name, address) = if F::IS_LONG_MODE {
        ("4-level paging", "bits 51:12")
    } else {
        ("32-bit paging with CR4.PSE = 1", "bits 31:12")
    };
    let large = &F::LEVELS[F::LEVELS.len() - 2];
    vec![
        Fact::new("format", name),
        Fact::new("address bits", split),
        Fact::new("CR3", format!("{root:#x}")),
        Fact::new(
            "entry",
            format!("{} bytes: bit 0 is P, {address} are the address", F::ENTRY_BYTES),
        ),
        Fact::new(
            "large pages",
            format!("bit 7 (PS) of a PDE: it maps {}", size(1 << large.shift)),
        ),
    ]
}

fn question<F: Format>(tables: &Tables<F>, setting: Setting, address: VirtAddr) -> Question {
    let Setting { state, profile } = setting;
    let (reached, path) = tables.walk(Reference, state, profile, address);
    let text = format!("Which physical address does {:#x} lead to?", address.get());

    let answer = reached.map_or(Nowhere, |reached| Number(reached.into()));
    let mut question = Question::new(text, Form::Place, answer);
    for step in &path {
        question = question.work(worked_step(step, address));
    }
    let last = path.last().expect("a walk reads an entry");
    let offset = address.offset(last.level.shift);
    match reached {
        Some(reached) => {
            question = question
                .work(format!("{:#x} + offset {offset:#x} = {reached:#x}.", last.target.get()))
                .wrong(Nowhere, why_it_is_mapped(&path));
        }
        None => {
            question = question.work("The walk ends there: a page fault.").because(
                When::AnyPlace,
                format!(
                    "The {} at index {} is not present: the access faults.",
                    last.level.entry_name,
                    address.index(last.level.shift, last.level.index_bits)
                ),
            );
        }
    }

    for slip in Slip::all::<F>() {
        let wrong = match tables.walk(slip, state, profile, address) {
            (Some(wrong), _) => Number(wrong.into()),
            (None, _) => Nowhere,
        };
        if wrong != Nowhere || reached.is_none() {
            question = question.wrong(wrong, slip.why::<F>());
        }
    }
    with_slips_of_arithmetic(question, address, &path, reached)
}

/// Why an address does not fault.
fn why_it_is_mapped(path: &[Step]) -> String {
    let levels = listed(path.iter().map(|step| step.level.entry_name));
    let present = format!("Every entry on the path is present: {levels}.");
    match path.last() {
        Some(leaf) if leaf.level.number > 1 => {
            format!("{present} In the last one PS is 1: a large page, and no table is below it.")
        }
        _ => present,
    }
}

/// An entry of the path: which bits select it, and what it says.
fn worked_step(step: &Step, address: VirtAddr) -> String {
    let level = step.level;
    let (first, last) = (level.shift, level.shift + level.index_bits - 1);
    let index = address.index(level.shift, level.index_bits);
    let what = match (step.error, step.kind) {
        (Some(_), _) if level.has_flags => "P = 0, not present".into(),
        (Some(_), _) => "not valid".into(),
        (None, EntryKind::Table) => format!("the next table is at {:#x}", step.target.get()),
        (None, EntryKind::Leaf) if level.number > 1 => {
            format!("PS = 1, a large page at {:#x}", step.target.get())
        }
        (None, EntryKind::Leaf) => format!("the page is at {:#x}", step.target.get()),
    };
    format!(
        "{}: bits {last}:{first} are {index}; the entry at {:#x} is {:#x}: {what}.",
        level.entry_name,
        step.at.get(),
        step.entry
    )
}

/// Right entries, and a slip in what is done with them.
fn with_slips_of_arithmetic(
    question: Question,
    address: VirtAddr,
    path: &[Step],
    reached: Option<u64>,
) -> Question {
    let (Some(reached), Some(leaf)) = (reached, path.last()) else { return question };
    let offset = address.offset(leaf.level.shift);
    let frame = leaf.target.get();

    let mut question = question
        .wrong_number(frame.into(), "You forgot the offset: that is where the page begins.")
        .wrong_number(
            ((frame >> leaf.level.shift) + offset).into(),
            "The frame number has to be multiplied by the size of a page before the offset is added.",
        )
        .wrong_number(
            (frame >> leaf.level.shift).into(),
            "That is the number of the frame. Multiply it by the size of a page, and add the offset.",
        )
        .wrong_number(offset.into(), "That is the offset alone: the frame is missing.")
        .wrong_number(leaf.at.get().into(), "That is where the entry is. Its contents say where the page is.")
        .wrong_number(address.get().into(), "That is the virtual address itself.")
        .because(
            When::SameOffset(leaf.level.shift),
            "The offset is right, but not the frame: compare your walk with this one.",
        );
    if leaf.level.number > 1 {
        question = question.wrong_number(
            (frame + address.offset(12)).into(),
            format!("A large page has {} bits of offset, not 12.", leaf.level.shift),
        );
    }
    if let [.., above, _] = path {
        let early = above.target.get() + offset;
        question = question.wrong_number(
            early.into(),
            "You stopped a level early: that is an address in the last table, not in the page.",
        );
    }
    debug_assert_eq!(reached, frame + offset);
    question
}
