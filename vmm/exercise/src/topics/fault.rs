//! Which fault, and which error code.

use super::path::{TablePath, access_in_words, cause_in_words, worked_step};
use crate::answer::{End, Form, Value, rights_in_letters};
use crate::chance::Chance;
use crate::exercise::{Exercise, Fact, Question, When};
use crate::topic::{Difficulty, Topic};
use crate::wording::with_capital;
use mmu_core::walk::Step;
use mmu_core::x86::format::{Bits32, EntryBits, Format, FourLevel};
use mmu_core::x86::semantics::Cause;
use mmu_core::{Access, AccessKind, Cr0, Cr4, PageFaultCode, Profile, Ring, VirtAddr};

/// The number of bits of a physical address.
const PHYSICAL_BITS: u8 = 40;

pub(super) fn make(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    match difficulty {
        Difficulty::Basic => of::<Bits32>(difficulty, chance),
        Difficulty::Moderate | Difficulty::Hard => of::<FourLevel>(difficulty, chance),
    }
}

fn of<F: Format>(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    let (path, accesses) = loop {
        let path = path::<F>(difficulty, chance);
        if let Some(accesses) = accesses(&path, difficulty, chance) {
            break (path, accesses);
        }
    };

    let format = if F::IS_LONG_MODE {
        "4-level paging"
    } else {
        "32-bit paging: no XD, what can be read can be executed"
    };
    let mut facts = vec![
        Fact::new("format", format),
        Fact::new("virtual address", format!("{:#x}", path.address.get())),
    ];
    facts.extend(registers(&path, difficulty));
    if difficulty != Difficulty::Basic {
        facts.push(Fact::new(
            "entry",
            "P, R/W and U/S are bits 0, 1 and 2, XD is bit 63; bit 7 of a PML4E is reserved",
        ));
        facts.push(Fact::new(
            "physical addresses",
            format!("{PHYSICAL_BITS} bits: bits 51:{PHYSICAL_BITS} of an entry are reserved"),
        ));
    }
    Exercise {
        topic: Topic::Fault,
        difficulty,
        story: Vec::new(),
        facts,
        tables: vec![path.printed(difficulty != Difficulty::Hard, difficulty != Difficulty::Basic)],
        questions: accesses.iter().map(|access| question(&path, access)).collect(),
    }
}

fn path<F: Format>(difficulty: Difficulty, chance: &mut Chance) -> TablePath {
    let highest = (1_u64 << F::ADDRESS_BITS) - 1;
    let mut address = VirtAddr::new(chance.of(0..=highest));
    if F::IS_LONG_MODE {
        address = address.sign_extended(F::ADDRESS_BITS);
    }
    if difficulty == Difficulty::Hard && chance.percent(12) {
        address = VirtAddr::new(address.get() ^ 1 << chance.of(48..=62));
    }

    let all = EntryBits::P | EntryBits::RW | EntryBits::US;
    let mut flags = vec![all; F::LEVELS.len()];
    for _ in 0..chance.pick(&[0, 1, 1, 1, 2, 2]) {
        let level = chance.of(0..=flags.len() as u64 - 1) as usize;
        let is_basic = difficulty == Difficulty::Basic;
        flags[level] ^= match chance.of(0..=if is_basic { 3 } else { 5 }) {
            0 => EntryBits::P,
            1 => EntryBits::RW,
            2 => EntryBits::US,
            3 => EntryBits::RW | EntryBits::US,
            4 => EntryBits::XD,
            _ if level == 0 && chance.percent(50) => EntryBits::PS,
            _ => EntryBits::from_bits_retain(1 << chance.of(PHYSICAL_BITS.into()..=51)),
        };
    }

    let profile = Profile { physical_address_bits: PHYSICAL_BITS, ..Profile::default() };
    let mut path = TablePath::new::<F>(address, &flags, profile, chance);
    path.state.cr0.set(Cr0::WP, difficulty == Difficulty::Basic || chance.percent(50));
    if difficulty == Difficulty::Hard {
        path.state.cr4.set(Cr4::SMEP, chance.percent(60));
        path.state.cr4.set(Cr4::SMAP, chance.percent(60));
    }
    path
}

fn registers(path: &TablePath, difficulty: Difficulty) -> Vec<Fact> {
    let bit = |is_set: bool| u8::from(is_set).to_string();
    let mut facts = vec![Fact::new("CR0.WP", bit(path.state.cr0.contains(Cr0::WP)))];
    if difficulty != Difficulty::Basic {
        facts.push(Fact::new("EFER.NXE", "1"));
    }
    if difficulty == Difficulty::Hard {
        facts.push(Fact::new("CR4.SMEP", bit(path.state.cr4.contains(Cr4::SMEP))));
        facts.push(Fact::new("CR4.SMAP", bit(path.state.cr4.contains(Cr4::SMAP))));
    }
    facts
}

/// Two different accesses on whose ends all processors agree; mostly they end in different ways.
fn accesses(path: &TablePath, difficulty: Difficulty, chance: &mut Chance) -> Option<Vec<Access>> {
    const MOST_DRAWS: usize = 60;

    let kinds: &[AccessKind] = match difficulty {
        Difficulty::Basic => &[AccessKind::Read, AccessKind::Write],
        _ => &[AccessKind::Read, AccessKind::Write, AccessKind::Fetch],
    };
    let mut chosen: Vec<(Access, End)> = Vec::new();
    for draw in 0..MOST_DRAWS {
        let ring = chance.pick(&Ring::ALL);
        let mut access = path.access(chance.pick(kinds), ring);
        let has_exemption = ring == Ring::Zero
            && access.kind != AccessKind::Fetch
            && path.state.cr4.contains(Cr4::SMAP);
        access.ac = has_exemption && chance.percent(30);

        let Some(end) = path.end(&access) else { continue };
        let is_like_another = chosen
            .iter()
            .any(|(other, known)| *other == access || (draw < MOST_DRAWS / 2 && *known == end));
        if !is_like_another {
            chosen.push((access, end));
        }
        if chosen.len() == 2 {
            return Some(chosen.into_iter().map(|(access, _)| access).collect());
        }
    }
    None
}

fn question(path: &TablePath, access: &Access) -> Question {
    let end = path.end(access).expect("the access was chosen for it");
    let what = access_in_words(access);
    let text = format!("How does {what} of it end: which fault and code, or none?");
    let question = Question::new(text, Form::End, Value::End(end));

    if end == End::GeneralProtection {
        let why = "The address is not canonical: bits 63:48 must repeat bit 47. No table is read.";
        return question
            .work(why)
            .work("#GP(0), whatever the tables say.")
            .because(When::AnyFault, why)
            .wrong(Value::End(End::Completes), why);
    }

    let (walked, steps) = path.walk(access);
    let question = steps.iter().fold(question, |question, step| question.work(worked_step(step)));
    let question = question.wrong(
        Value::End(End::GeneralProtection),
        "The address is canonical, so the tables decide: a page fault, if any.",
    );
    match (end, walked) {
        (End::PageFault(code), Err(cause)) => {
            let why = cause_in_words(cause, &steps);
            let question = question
                .work(format!("{}: {why}.", with_capital(&what)))
                .work(format!("The code {code:#x} is {end}."))
                .wrong(Value::End(End::Completes), format!("It faults: {why}."));
            with_bits_of_code(question, code, cause, access, &steps)
        }
        (_, walked) => {
            let rights = walked.map_or(0, |rights| rights.bits().into());
            let why = why_it_completes(path, access, rights);
            question
                .work(format!("{}: {why}", with_capital(&what)))
                .because(When::AnyFault, format!("It completes: {why}"))
        }
    }
}

fn why_it_completes(path: &TablePath, access: &Access, rights: u32) -> String {
    let letters = rights_in_letters(rights);
    let is_supervisor = access.ring == Ring::Zero;
    if is_supervisor && access.kind == AccessKind::Write && rights & 1 == 0 {
        return format!(
            "the path is {letters}, and with CR0.WP = 0 R/W does not bind the supervisor."
        );
    }
    if access.ac && rights & 2 != 0 && path.state.cr4.contains(Cr4::SMAP) {
        return format!("the path is {letters}, and EFLAGS.AC = 1 exempts it from SMAP.");
    }
    format!("every entry is present, and the path is {letters}, which is enough.")
}

/// What is wrong with each bit of the code, if it is wrong.
fn with_bits_of_code(
    question: Question,
    code: u32,
    cause: Cause,
    access: &Access,
    steps: &[Step],
) -> Question {
    let code = PageFaultCode::from_bits_retain(code);
    let last = steps.last().map_or("entry", |step| step.level.entry_name);
    let is_denied = matches!(cause, Cause::Denied(_));
    let why_p = match (code.contains(PageFaultCode::P), is_denied) {
        (false, _) => {
            format!("P is 0 in the code: the {last} is not present, so nothing is translated.")
        }
        (true, true) => {
            "P is 1 in the code: every entry is present. What is missing is a right.".into()
        }
        (true, false) => {
            format!("P is 1 in the code: the {last} is present, with a reserved bit set.")
        }
    };
    let why_w = if code.contains(PageFaultCode::W) {
        "W is 1: the access writes.".to_owned()
    } else {
        "W is 0: the access does not write. W says what the access does, not which right is missing.".into()
    };
    let why_u = if code.contains(PageFaultCode::U) {
        "U is 1: the access is a user's. U says whose access it is, not whose page.".to_owned()
    } else {
        "U is 0: the access is a supervisor's. U says whose access it is, not whose page.".into()
    };
    let why_rsvd = match (code.contains(PageFaultCode::RSVD), code.contains(PageFaultCode::P)) {
        (true, _) => format!("RSVD is 1: {}.", cause_in_words(cause, steps)),
        (false, false) => "RSVD is 0: in an entry with P = 0 no other bit counts.".into(),
        (false, true) => "RSVD is 0: no reserved bit is set on the path.".into(),
    };
    let why_i = match (code.contains(PageFaultCode::I), access.kind) {
        (true, _) => "I is 1: the access is an instruction fetch.",
        (false, _) => "I is 0: the access is not an instruction fetch.",
    };
    question
        .because(When::Bits(PageFaultCode::P.bits()), why_p)
        .because(When::Bits(PageFaultCode::W.bits()), why_w)
        .because(When::Bits(PageFaultCode::U.bits()), why_u)
        .because(When::Bits(PageFaultCode::RSVD.bits()), why_rsvd)
        .because(When::Bits(PageFaultCode::I.bits()), why_i)
}
