//! Which rights are left at the end of a path.

use super::path::{TablePath, access_in_words, cause_in_words, worked_step};
use crate::answer::{End, Form, Value, YES_OR_NO, rights_in_letters};
use crate::chance::Chance;
use crate::exercise::{Exercise, Fact, Question, When};
use crate::topic::{Difficulty, Topic};
use crate::wording::with_capital;
use mmu_core::walk::Step;
use mmu_core::x86::format::{Bits32, EntryBits, Format, FourLevel};
use mmu_core::x86::semantics::Rights;
use mmu_core::{Access, AccessKind, Cr0, Cr4, Profile, Ring, VirtAddr};

pub(super) fn make(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    match difficulty {
        Difficulty::Basic => of::<Bits32>(difficulty, chance),
        Difficulty::Moderate | Difficulty::Hard => of::<FourLevel>(difficulty, chance),
    }
}

fn of<F: Format>(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    let path = path::<F>(difficulty, chance);
    let accesses = match difficulty {
        Difficulty::Hard => 3,
        _ => 1,
    };
    let accesses = accesses_to_ask(&path, accesses, chance);

    let format = if F::IS_LONG_MODE {
        "4-level paging, EFER.NXE = 1"
    } else {
        "32-bit paging: no XD, what can be read can be executed"
    };
    let bit = |is_set: bool| u8::from(is_set).to_string();
    let mut facts = vec![
        Fact::new("format", format),
        Fact::new("CR0.WP", bit(path.state.cr0.contains(Cr0::WP))),
    ];
    if difficulty == Difficulty::Hard {
        facts.push(Fact::new("CR4.SMEP", bit(path.state.cr4.contains(Cr4::SMEP))));
        facts.push(Fact::new("CR4.SMAP", bit(path.state.cr4.contains(Cr4::SMAP))));
    }

    let mut questions = vec![what_is_left(&path)];
    questions.extend(accesses.iter().map(|access| is_allowed(&path, access)));
    Exercise {
        topic: Topic::Rights,
        difficulty,
        story: Vec::new(),
        facts,
        tables: vec![path.printed(true, false)],
        questions,
    }
}

/// A path that is present, with some rights missing at some levels.
fn path<F: Format>(difficulty: Difficulty, chance: &mut Chance) -> TablePath {
    let has_xd = F::LEVELS.len() > 2;
    // The more levels, the likelier each has all rights: otherwise none would be left.
    let missing = 30 / F::LEVELS.len() as u32 + 8;
    let flags: Vec<EntryBits> = F::LEVELS
        .iter()
        .map(|_| {
            let mut flags = EntryBits::P;
            flags.set(EntryBits::RW, !chance.percent(missing));
            flags.set(EntryBits::US, !chance.percent(missing));
            flags.set(EntryBits::XD, has_xd && chance.percent(missing));
            flags
        })
        .collect();

    let address = VirtAddr::new(chance.of(0..=0x7fff_ffff));
    let mut path = TablePath::new::<F>(address, &flags, Profile::default(), chance);
    path.state.cr0.set(Cr0::WP, chance.percent(50));
    if difficulty == Difficulty::Hard {
        path.state.cr4.set(Cr4::SMEP, chance.percent(60));
        path.state.cr4.set(Cr4::SMAP, chance.percent(60));
    }
    path
}

fn accesses_to_ask(path: &TablePath, count: usize, chance: &mut Chance) -> Vec<Access> {
    let has_xd = path.entries.len() > 2;
    let kinds: &[AccessKind] = if has_xd {
        &[AccessKind::Read, AccessKind::Write, AccessKind::Fetch]
    } else {
        &[AccessKind::Read, AccessKind::Write]
    };
    let mut accesses: Vec<Access> = Vec::new();
    while accesses.len() < count {
        let access = path.access(chance.pick(kinds), chance.pick(&Ring::ALL));
        if !accesses.contains(&access) {
            accesses.push(access);
        }
    }
    accesses
}

/// The rights of the whole path.
fn what_is_left(path: &TablePath) -> Question {
    // What a supervisor may read, it may read whatever the flags are, as long as there is no SMAP.
    let mut open = path.clone();
    open.state.cr4 -= Cr4::SMAP;
    let (walked, steps) = open.walk(&open.access(AccessKind::Read, Ring::Zero));
    let rights = walked.expect("a supervisor reads every page that is present");

    let text = "What does the whole path allow?";
    let question = Question::new(text, Form::Rights, Value::Rights(rights.bits().into()));
    let question = steps.iter().fold(question, |question, step| question.work(worked_step(step)));
    question
        .work("R/W and U/S must be 1 at every level, and XD at none.")
        .because(
            When::Bits(Rights::WRITE.bits().into()),
            why_right(&steps, "R/W", 1, 0, "the page can be written"),
        )
        .because(
            When::Bits(Rights::USER.bits().into()),
            why_right(&steps, "U/S", 2, 0, "it is a user page"),
        )
        .because(
            When::Bits(Rights::EXECUTE.bits().into()),
            why_right(&steps, "XD", 63, 1, "the page can be executed"),
        )
}

/// Which level takes a right away, or that none does.
fn why_right(steps: &[Step], name: &str, bit: u32, taken_by: u64, otherwise: &str) -> String {
    let by = steps.iter().filter(|step| step.entry >> bit & 1 == taken_by);
    let by: Vec<_> = by.map(|step| step.level.entry_name).collect();
    match &by[..] {
        [] => format!("{name} is {} at every level: {otherwise}.", 1 - taken_by),
        by => format!(
            "{name} is {taken_by} in the {}: one level is enough to take the right away.",
            by.join(" and the ")
        ),
    }
}

fn is_allowed(path: &TablePath, access: &Access) -> Question {
    let end = path.end(access).expect("nothing is left open here");
    let is_allowed = end == End::Completes;
    let what = access_in_words(access);
    let text = format!("Is {what} allowed?");
    let answer = Value::Words(vec![usize::from(is_allowed)]);

    let (walked, steps) = path.walk(access);
    let why = match walked {
        Err(cause) => format!("{}.", with_capital(&cause_in_words(cause, &steps))),
        Ok(rights) => why_it_is_allowed(access, rights),
    };
    Question::new(text, Form::Words(YES_OR_NO, 1), answer)
        .work(why.clone())
        .because(When::Step(0), why)
}

fn why_it_is_allowed(access: &Access, rights: Rights) -> String {
    let letters = rights_in_letters(rights.bits().into());
    let is_supervisor = access.ring == Ring::Zero;
    let is_write = access.kind == AccessKind::Write;
    match (is_supervisor, is_write && !rights.contains(Rights::WRITE)) {
        (true, true) => {
            format!("The path is {letters}, but with CR0.WP = 0 R/W does not bind the supervisor.")
        }
        (true, false) => format!(
            "The path is {letters}: U/S = 0 or 1, the supervisor may, as nothing else forbids it."
        ),
        (false, _) => format!("The path is {letters}, which is what the user needs."),
    }
}
