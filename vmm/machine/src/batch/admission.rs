//! Whether a case can be run at all in the fixed layout of the guest's memory, and on a machine.
//! Generated cases fit by construction; a case that somebody wrote may not, and must not be able to
//! hurt the guest.

use super::encode::stub_of;
use crate::Capabilities;
use crosswalk_case::{Action, Case, TableEntry};
use crosswalk_guest::high::data_behind;
use crosswalk_guest::layout::{Arena, DATA_BASE, DATA_SIZE, HOLE_BASE, is_above_the_layout};
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables;
use mmu_core::outcome::MAX_ENTRIES;
use mmu_core::walk::{predict_in_mode, root_in_mode};
use mmu_core::x86::format::EntryBits;
use mmu_core::{Cr0, Cr4, Efer, Features, Outcome, PagingMode, Reference, Regime, Ring, Rule};

/// The arena whose tables the case uses; any when it uses none.
///
/// # Errors
/// The reason why the case cannot be run, for people.
pub fn arena_of(case: &Case) -> Result<Arena, String> {
    let arena = if case.mode() == PagingMode::Unpaged {
        let lane = data_behind(case.access.address.get(), 0);
        let first = Arena::ALL[0];
        lane.and_then(Arena::of_data).unwrap_or(first)
    } else {
        let base = root_in_mode(&Regime::new(case.state, case.profile)).get() & !0xfff;
        Arena::ALL.into_iter().find(|arena| arena.table(0) == base).ok_or_else(|| {
            let [first, second] = Arena::ALL.map(|arena| arena.table(0));
            format!("its CR3 points to {base:#x}; a root table lies at {first:#x} or {second:#x}")
        })?
    };
    check_state(case, arena)?;
    check_entries(case, arena)?;
    if case.is_sequence() {
        check_sequence(case)?;
    }
    case.accesses().iter().try_for_each(|alone| check_access(alone, case.is_sequence()))?;
    Ok(arena)
}

/// The most that comes before the last access.
const MAX_ACTIONS: usize = 16;

/// What the guest can do in one go: the list of ring 3, then that of ring 0, in 64-bit code.
fn check_sequence(case: &Case) -> Result<(), String> {
    if Code::of(case.mode()) != Code::Bits64 {
        return Err(format!("a sequence runs in 64-bit code, and not in {}", case.mode()));
    }
    if case.entries.len() > MAX_ENTRIES {
        let count = case.entries.len();
        return Err(format!("a sequence has at most {MAX_ENTRIES} entries; it has {count}"));
    }
    if case.before.len() > MAX_ACTIONS {
        let count = case.before.len();
        return Err(format!("at most {MAX_ACTIONS} actions come before an access; it has {count}"));
    }
    let rings: Vec<Ring> = case.accesses().iter().map(|made| made.access.ring).collect();
    if rings.windows(2).any(|pair| pair == [Ring::Zero, Ring::Three]) {
        return Err("ring 3 comes before ring 0 in a sequence".into());
    }
    for action in &case.before {
        let Action::Write(TableEntry { at, .. }) = action else { continue };
        if case.entries.iter().all(|entry| entry.at != *at) {
            return Err(format!("it writes the entry at {at:#x}, which is not listed at first"));
        }
        if Arena::ALL.iter().any(|arena| arena.is_read_only(*at)) {
            return Err(format!("it writes the entry at {at:#x}, which can only be read"));
        }
    }
    Ok(())
}

/// What a mode asks of the registers, and what it leaves free.
struct RegisterLimits {
    cr4: (Cr4, Cr4),
    efer: Efer,
    cr3_free: u64,
}

fn registers(mode: PagingMode, pcid: bool) -> RegisterLimits {
    let sse = Cr4::OSFXSR | Cr4::OSXMMEXCPT;
    let checks = Cr4::PGE | Cr4::SMEP | Cr4::SMAP | Cr4::PSE;
    let long = |own: Cr4| RegisterLimits {
        cr4: (sse | Cr4::PAE | own, checks | Cr4::PKE | Cr4::PKS),
        efer: Efer::LME | Efer::LMA,
        cr3_free: 0x18,
    };
    let legacy = |own: Cr4, free: Cr4, cr3_free| RegisterLimits {
        cr4: (sse | own, checks | free),
        efer: Efer::empty(),
        cr3_free,
    };
    match mode {
        PagingMode::FiveLevel => long(Cr4::LA57),
        PagingMode::FourLevel | PagingMode::Linear if pcid => {
            RegisterLimits { cr3_free: 0xfff, ..long(Cr4::PCIDE) }
        }
        PagingMode::FourLevel | PagingMode::Linear => long(Cr4::empty()),
        PagingMode::Pae => legacy(Cr4::PAE, Cr4::empty(), 0xfff),
        PagingMode::Bits32 => legacy(Cr4::empty(), Cr4::empty(), 0xfff),
        PagingMode::Unpaged => legacy(Cr4::empty(), Cr4::PAE, u64::MAX),
    }
}

fn check_state(case: &Case, arena: Arena) -> Result<(), String> {
    let (state, mode) = (&case.state, case.mode());
    let RegisterLimits { cr4: (cr4, free_cr4), efer, cr3_free } =
        registers(mode, state.cr4.contains(Cr4::PCIDE));
    let pg = if mode == PagingMode::Unpaged { Cr0::empty() } else { Cr0::PG };
    let cr0 = Cr0::PE | Cr0::ET | pg;
    for (register, value, wanted, free) in [
        ("CR0", state.cr0.bits(), cr0.bits(), Cr0::WP.bits()),
        ("CR4", state.cr4.bits(), cr4.bits(), free_cr4.bits()),
        ("EFER", state.efer.bits(), efer.bits(), Efer::NXE.bits()),
        ("CR3", state.cr3, arena.table(0) & !cr3_free, cr3_free),
    ] {
        if value & !free != wanted {
            return Err(format!(
                "its {register} is {value:#x}; in {mode} the guest runs with {wanted:#x}, and with \
                 or without {free:#x}"
            ));
        }
    }
    if state.pkrs & 3 != 0 {
        return Err("the guest's own pages have key 0, which PKRS must leave free".into());
    }
    if mode == PagingMode::Pae {
        check_pdptes(case, arena)?;
    }
    Ok(())
}

/// The guest itself lives below the first two PDPTEs.
fn check_pdptes(case: &Case, arena: Arena) -> Result<(), String> {
    for i in 0..2 {
        let (pdpte, table) = (case.state.pdptes[i], arena.table(1 + i));
        let listed = case.entries.iter().find(|entry| entry.at == pdpte_address(case, i));
        let free = 0xe18;
        let is_good = |entry: u64| entry & !free == table | EntryBits::P.bits();
        if !is_good(pdpte) || !listed.is_none_or(|entry| is_good(entry.value)) {
            return Err(format!(
                "its PDPTE {i} is {pdpte:#x}; the guest itself lives there and needs {:#x}, in the \
                 register and in memory",
                table | EntryBits::P.bits()
            ));
        }
    }
    Ok(())
}

/// Where a PDPTE lies in memory.
fn pdpte_address(case: &Case, index: usize) -> u64 {
    (case.state.cr3 & 0xffff_ffe0) + 8 * index as u64
}

fn check_entries(case: &Case, arena: Arena) -> Result<(), String> {
    let mode = case.mode();
    let bytes = tables::entry_bytes(mode);
    let written = case.before.iter().filter_map(|action| match action {
        Action::Write(entry) => Some(entry),
        _ => None,
    });
    for entry in case.entries.iter().chain(written) {
        if arena.is_read_only(entry.at) && bytes == 8 {
            check_read_only(*entry)?;
            continue;
        }
        let table = arena.table_at(entry.at).filter(|table| *table < tables::count(mode));
        let Some(table) = table else {
            let (from, to) = (arena.table(0), arena.table(tables::count(mode)));
            let at = entry.at;
            return Err(format!(
                "its entry at {at:#x} lies outside the tables of {mode}, {from:#x} to {to:#x}"
            ));
        };
        let slot = (entry.at & 0xfff) / bytes;
        if tables::is_own(mode, table, slot as usize) {
            return Err(format!("slot {slot} of table {table} maps the guest itself"));
        }
        let target = entry.value & TARGET;
        let is_table = arena.table_at(target).is_some() || arena.is_read_only(target);
        let is_own = target < DATA_BASE && !is_table;
        let ignores_ps = mode == PagingMode::Bits32 && !case.state.cr4.contains(Cr4::PSE);
        let is_large = entry.value & EntryBits::PS.bits() != 0 && !ignores_ps;
        if entry.value & EntryBits::P.bits() != 0 && is_own && !is_large {
            let (at, value) = (entry.at, entry.value);
            return Err(format!(
                "its entry {value:#x} at {at:#x} points into the guest's own memory, not to a \
                 table of its arena or to data"
            ));
        }
    }
    Ok(())
}

/// A table that can only be read maps pages, and no flag is left to be set there.
fn check_read_only(entry: TableEntry) -> Result<(), String> {
    let set = EntryBits::P | EntryBits::A | EntryBits::D;
    let TableEntry { at, value } = entry;
    if EntryBits::from_bits_retain(value).contains(set) && value & TARGET >= DATA_BASE {
        return Ok(());
    }
    Err(format!(
        "its entry {value:#x} at {at:#x} lies in the table that the guest can only read: there it \
         must be present, accessed and dirty, and map data"
    ))
}

/// The bits of an entry that are an address.
const TARGET: u64 = EntryBits::ADDRESS;

fn check_access(case: &Case, of_sequence: bool) -> Result<(), String> {
    let access = &case.access;
    if access.shadow_stack {
        return Err("the guest makes no shadow-stack accesses".into());
    }
    if access.implicit != (case.form == Form::SegmentLimit) {
        return Err("an implicit access is what lsl does, and lsl makes no other".into());
    }
    if case.form == Form::SegmentLimit && (access.ring == Ring::Zero || access.size != 8) {
        return Err("lsl reads 8 bytes, in ring 3".into());
    }
    let sized = !matches!(case.form, Form::Jump | Form::Clflush);
    let keyed = case.state.pkru != 0;
    let code = Code::of(case.mode());
    let has_stub = stub_of(&case.access_step(), keyed).index(code).is_some();
    if (sized && !access.size.is_power_of_two()) || !has_stub {
        let bits = if code == Code::Bits64 { 64 } else { 32 };
        return Err(format!(
            "the guest has no {bits}-bit instruction for a {} of {} bytes{}",
            access.kind.name(),
            access.size,
            if keyed { " with PKRU" } else { "" }
        ));
    }
    let bits = case.profile.physical_address_bits;
    let prediction = predict_in_mode(Reference, case.state, case.profile, case, access);
    for alternative in &prediction.alternatives {
        let Outcome::Translated(spans) = &alternative.outcome else { continue };
        for span in spans {
            let (first, last) = (span.address.get(), span.address.get() + span.len as u64 - 1);
            let in_data = [first, last].iter().all(|at| data_behind(*at, bits).is_some());
            // What leaves the machine is not told apart by access.
            let is_above = [first, last].into_iter().all(is_above_the_layout) && !of_sequence;
            if !in_data && !is_above {
                return Err(format!(
                    "it would reach physical address {first:#x}; data lies at {DATA_BASE:#x} to \
                     {:#x}, and again from {HOLE_BASE:#x} on, where nothing else is",
                    DATA_BASE + DATA_SIZE
                ));
            }
        }
    }
    Ok(())
}

/// Why this machine cannot run a case, if it cannot.
pub fn cannot_run(case: &Case, machine: &Capabilities) -> Option<String> {
    let is_read_only = |at: u64| Arena::ALL.iter().any(|arena| arena.is_read_only(at));
    if let Err(why) = &machine.read_only_tables
        && case.entries.iter().any(|entry| is_read_only(entry.at))
    {
        return Some(why.clone());
    }
    if case.is_sequence() {
        return case.accesses().iter().find_map(|alone| cannot_access(alone, machine));
    }
    cannot_access(case, machine)
}

/// The same for one access.
fn cannot_access(case: &Case, machine: &Capabilities) -> Option<String> {
    let features = machine.profile.features;
    let mode = case.mode();
    if let Some((_, Err(why))) = machine.modes.iter().find(|(offered, _)| *offered == mode) {
        return Some(format!("this machine does not run {mode}: {why}"));
    }
    for (bit, feature, name) in [
        (Cr4::SMEP, Features::SMEP, "SMEP"),
        (Cr4::SMAP, Features::SMAP, "SMAP"),
        (Cr4::PKE, Features::PKU, "PKU"),
        (Cr4::PKS, Features::PKS, "PKS"),
        (Cr4::PGE, Features::PGE, "PGE"),
        (Cr4::PCIDE, Features::PCID, "PCID"),
    ] {
        let has_it = features.contains(feature) || machine.not_in_cpuid.contains(bit);
        if case.state.cr4.contains(bit) && !has_it {
            return Some(format!("this machine has no {name}"));
        }
    }
    if case.state.efer.contains(Efer::NXE) && !features.contains(Features::NX) {
        return Some("this machine has no NX".into());
    }
    if case.state.pkru != 0 && !case.state.cr4.contains(Cr4::PKE) && !machine.pkru_without_pku {
        return Some("PKRU cannot be loaded while CR4.PKE is 0".into());
    }
    if case.state.pkru != 0 && case.access.ring == Ring::Zero && !machine.pkru_in_ring_0 {
        return Some("this machine loads PKRU in ring 3 only".into());
    }
    if case.access.implicit
        && let Err(why) = &machine.implicit_accesses
    {
        return Some(format!("implicit accesses cannot be tested: {why}"));
    }
    if machine.sees_outside && machine.high_memory {
        return None;
    }
    let prediction = predict_in_mode(Reference, case.state, case.profile, case, &case.access);
    let spans =
        prediction.alternatives.iter().filter_map(|alternative| match &alternative.outcome {
            // A table outside memory may read as ones, and lead anywhere.
            _ if matches!(alternative.choice, Some((Rule::Out1, _))) => None,
            Outcome::Translated(spans) => Some(spans),
            Outcome::Fault(_) => None,
        });
    let reached: Vec<u64> = spans.flatten().map(|span| span.address.get()).collect();
    if !machine.sees_outside && reached.iter().any(|at| case.is_outside(*at)) {
        return Some("accesses outside memory do not leave this machine".into());
    }
    let is_high = |at: &u64| *at >= HOLE_BASE && !case.is_outside(*at);
    if !machine.high_memory && reached.iter().any(is_high) {
        return Some("this machine has no memory at high addresses".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::AccessStep;
    use mmu_core::Profile;

    fn plain(mode: PagingMode, ring: Ring) -> Case {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        Case::plain_in(mode, Arena::ALL[1], 3, ring, profile)
    }

    #[track_caller]
    fn assert_refused(case: &Case, words: &str) {
        let why = arena_of(case).expect_err("it does not fit");
        assert!(why.contains(words), "no {words:?} in {why:?}");
    }

    #[test]
    fn a_sequence_that_the_guest_cannot_run_is_refused() {
        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        case.before = vec![Action::ReloadCr3; 16];
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
        case.before.push(Action::ReloadCr3);
        assert_refused(&case, "at most 16 actions");

        let mut case = plain(PagingMode::Pae, Ring::Three);
        case.before = vec![Action::ReloadCr3];
        assert_refused(&case, "64-bit code");

        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        let AccessStep { access, form, value } =
            plain(PagingMode::FourLevel, Ring::Zero).access_step();
        case.before = vec![Action::Access(AccessStep { access, form, value })];
        assert_refused(&case, "ring 3 comes before ring 0");

        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        let unlisted = TableEntry { at: Arena::ALL[1].table(7) + 8, value: 0 };
        case.before = vec![Action::Write(unlisted)];
        assert_refused(&case, "not listed at first");
        // Nor may a step lead to the guest's own memory.
        let entry = case.entries[3];
        case.before = vec![Action::Write(TableEntry { value: 0x10_0007, ..entry })];
        assert_refused(&case, "the guest's own memory");
    }

    #[test]
    fn a_read_only_table_has_nothing_left_to_set() {
        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        let table = Arena::ALL[1].read_only_table();
        case.entries[2].value = table | 7;
        case.entries[3].at = table + 0x20;
        assert_refused(&case, "accessed and dirty");
        case.entries[3].value |= (EntryBits::A | EntryBits::D).bits();
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
        case.entries[3].value = Arena::ALL[1].table(5) | 0x67;
        assert_refused(&case, "map data");
    }
}
