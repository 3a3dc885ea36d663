//! What a case requires of a machine.

use super::registers::unloadable_cr3;
use crate::{Capabilities, LeftOut};
use crosswalk_case::{Action, Case, TableEntry};
use crosswalk_guest::layout::{Arena, DATA_BASE, DATA_SIZE};
use crosswalk_guest::stub::{Code, Form};
use mmu_core::memory::SparseTables;
use mmu_core::x86::control::Mov;
use mmu_core::x86::format::EntryBits;
use mmu_core::{
    AccessKind, Alternative, AnyMmu, ControlState, Cr0, Cr4, Efer, Features, Outcome, PagingMode,
    Prediction, Ring, Rule,
};

/// Control bits, and the feature that each requires.
const FEATURES_OF_CR4: [(Cr4, Features, &str); 7] = [
    (Cr4::SMEP, Features::SMEP, "SMEP"),
    (Cr4::SMAP, Features::SMAP, "SMAP"),
    (Cr4::PKE, Features::PKU, "PKU"),
    (Cr4::PKS, Features::PKS, "PKS"),
    (Cr4::PGE, Features::PGE, "PGE"),
    (Cr4::PCIDE, Features::PCID, "PCID"),
    (Cr4::CET, Features::CET_SS, "CET_SS"),
];

/// The reason why this machine cannot run a case; `None` if it can.
pub fn cannot_run(case: &Case, machine: &Capabilities) -> Option<String> {
    let is_read_only = |at: u64| Arena::ALL.iter().any(|arena| arena.is_read_only(at));
    if let Err(why) = &machine.read_only_tables
        && case.entries.iter().any(|entry| is_read_only(entry.at))
    {
        return Some(why.clone());
    }

    if let Some(why) = cannot_survive(case, machine) {
        return Some(why);
    }

    if case.is_sequence() {
        let accesses = case.accesses();
        cannot_restore_cr4(case, machine)
            .or_else(|| lacks_invpcid(case, machine))
            .or_else(|| accesses.iter().find_map(|alone| cannot_access(alone, machine)))
    } else {
        cannot_access(case, machine)
    }
}

/// Whether a sequence leaves a CR4 behind that the guest itself cannot load: one with a bit that is not in
/// CPUID, which only the host can set.
fn cannot_restore_cr4(case: &Case, machine: &Capabilities) -> Option<String> {
    let only_by_host = case.state.cr4 & machine.not_in_cpuid;
    let moves_cr4 = case.before.iter().any(|action| matches!(action, Action::Mov(Mov::Cr4(_))));
    (moves_cr4 && !only_by_host.is_empty()).then(|| {
        format!("the guest cannot load CR4 with {only_by_host:?}, which CPUID does not report")
    })
}

fn lacks_invpcid(case: &Case, machine: &Capabilities) -> Option<String> {
    let uses_it = case.before.iter().any(|action| matches!(action, Action::Invpcid(_)));
    let has_it = machine.profile.features.contains(Features::INVPCID);
    (uses_it && !has_it).then(|| "this machine has no INVPCID: CPUID 7 EBX[10] is 0".into())
}

/// Why the guest does not survive a MOV of the case, on a machine on which reserved bits end it.
fn cannot_survive(case: &Case, machine: &Capabilities) -> Option<String> {
    let why = machine.reserved_movs.as_ref().err()?;
    let in_place = unloadable_cr3(case);
    // 32-bit code moves no value of its own.
    let makes_movs = case.is_sequence() && Code::of(case.table_use()) == Code::Bits64;
    if in_place.is_none() && !makes_movs {
        return None;
    }

    let unread = SparseTables::new(&[]);
    let sets_reserved_bit = |mov: Mov, state: &ControlState| match mov {
        Mov::Cr3(value) => state.load_cr3(value, machine.profile, &unread).is_err(),
        Mov::Cr4(value) => !Cr4::available(machine.profile).contains(value),
        Mov::Cr0(_) | Mov::Efer(_) => false,
    };
    let mut state = case.state;
    let mut ends_guest = in_place.is_some();
    for action in &case.before {
        ends_guest |= action.mov(&state).is_some_and(|mov| sets_reserved_bit(mov, &state));
        action.change(&mut state, case.profile, case);
    }
    ends_guest.then(|| why.clone())
}

/// The same for a single access.
fn cannot_access(case: &Case, machine: &Capabilities) -> Option<String> {
    lacks_mode(case, machine)
        .or_else(|| lacks_feature(case, machine))
        .or_else(|| cannot_load_pkru(case, machine))
        .or_else(|| cannot_access_implicitly(case, machine))
        .or_else(|| cannot_run_compatibility_mode(case, machine))
        .or_else(|| is_left_out(case, machine.left_out))
        .or_else(|| cannot_reach(case, machine))
}

fn lacks_mode(case: &Case, machine: &Capabilities) -> Option<String> {
    let mode = case.mode();
    let (_, offer) = machine.modes.iter().find(|(offered, _)| *offered == mode)?;
    let why = offer.as_ref().err()?;
    Some(format!("this machine does not run {mode}: {why}"))
}

fn lacks_feature(case: &Case, machine: &Capabilities) -> Option<String> {
    let features = machine.profile.features;

    for (bit, feature, name) in FEATURES_OF_CR4 {
        let has_it = features.contains(feature) || machine.not_in_cpuid.contains(bit);
        if case.state.cr4.contains(bit) && !has_it {
            return Some(format!("this machine has no {name}"));
        }
    }

    let lacks_nx = case.state.efer.contains(Efer::NXE) && !features.contains(Features::NX);
    lacks_nx.then(|| "this machine has no NX".into())
}

fn cannot_load_pkru(case: &Case, machine: &Capabilities) -> Option<String> {
    if case.state.pkru == 0 {
        return None;
    }

    if !case.state.cr4.contains(Cr4::PKE) && !machine.pkru_without_pku {
        return Some("PKRU cannot be loaded while CR4.PKE is 0".into());
    }
    if case.access.ring == Ring::Zero && !machine.pkru_in_ring_0 {
        return Some("this machine loads PKRU in ring 3 only".into());
    }
    None
}

fn cannot_access_implicitly(case: &Case, machine: &Capabilities) -> Option<String> {
    if !case.access.implicit {
        return None;
    }

    let why = machine.implicit_accesses.as_ref().err()?;
    Some(format!("implicit accesses cannot be tested: {why}"))
}

fn cannot_run_compatibility_mode(case: &Case, machine: &Capabilities) -> Option<String> {
    if !case.access.compatibility {
        return None;
    }

    let why = machine.compatibility.as_ref().err()?;
    Some(format!("this machine does not run code in compatibility mode: {why}"))
}

/// Whether the access is of a kind that the user has left out.
fn is_left_out(case: &Case, left_out: LeftOut) -> Option<String> {
    if left_out.is_empty() {
        return None;
    }

    let access = &case.access;
    let is_fetch = access.kind == AccessKind::Fetch;
    let kinds = [
        (LeftOut::FETCH, is_fetch),
        (LeftOut::RING0_FETCH, is_fetch && access.ring == Ring::Zero),
        (LeftOut::CLFLUSH, access.kind == AccessKind::Clflush),
        (LeftOut::IMPLICIT, access.implicit),
        (LeftOut::COMPATIBILITY, access.compatibility),
        (LeftOut::CR3_BITS, has_cr3_bits(case)),
        (LeftOut::PAE_WITHOUT_PSE, is_pae_without_pse(case)),
        (LeftOut::OWN_MEMORY, maps_own_memory(case)),
        (LeftOut::READ_ONLY_KEY_0, has_read_only_key_0(case)),
    ];
    let is_one = |(kind, is_so): &(LeftOut, bool)| *is_so && left_out.contains(*kind);
    let (kind, _) = kinds.into_iter().find(is_one)?;
    Some(format!("left out: {}", kind.names().join(", ")))
}

/// Whether CR3 has a bit that is not part of the base (MODE-8).
fn has_cr3_bits(case: &Case) -> bool {
    let mode = case.mode();
    let of_base = if mode == PagingMode::Pae { 0xfe0 } else { 0 };
    let has_pcid = case.state.cr4.contains(Cr4::PCIDE);
    mode != PagingMode::Unpaged && !has_pcid && case.state.cr3 & 0xfff & !of_base != 0
}

/// Whether PKRU denies ring 0 writes by key 0, at least to user pages. Those of sequences leave key 0 alone.
fn has_read_only_key_0(case: &Case) -> bool {
    let state = &case.state;
    state.cr4.contains(Cr4::PKE) && state.cr0.contains(Cr0::WP) && state.pkru & 2 != 0
}

fn is_pae_without_pse(case: &Case) -> bool {
    case.mode() == PagingMode::Pae && !case.state.cr4.contains(Cr4::PSE)
}

/// Whether an entry would map the guest's own memory if it had no reserved bits: a large page begins below the data
/// memory. The leaves of the last level never do.
fn maps_own_memory(case: &Case) -> bool {
    let is_large = EntryBits::P | EntryBits::PS;
    let ignores_size = case.mode() == PagingMode::Bits32 && !case.state.cr4.contains(Cr4::PSE);

    let has_large_page = |entry: &TableEntry| {
        let flags = EntryBits::from_bits_retain(entry.value);
        flags.contains(is_large) && entry.value & u64::from(u32::MAX) < DATA_BASE
    };
    !ignores_size && case.entries.iter().any(has_large_page)
}

/// Whether the access may reach an address that this machine lacks, or that it cannot observe.
fn cannot_reach(case: &Case, machine: &Capabilities) -> Option<String> {
    if (machine.sees_outside && machine.high_memory) || stays_low(case) {
        return None;
    }
    if case.form.has_source() {
        let parts = case.access_step().parts();
        let mut alone =
            parts.iter().map(|part| Case { access: *part, form: Form::Load, ..case.clone() });
        return alone.find_map(|alone| cannot_reach(&alone, machine));
    }

    let prediction = predict(case)?;
    let leads_outside = prediction.alternatives.iter().any(reads_table_outside);
    if leads_outside && machine.left_out.contains(LeftOut::OUTSIDE) {
        return Some("left out: a table without memory".into());
    }

    let reached = reached_addresses(&prediction);
    if !machine.sees_outside && reached.iter().any(|at| case.is_outside(*at)) {
        return Some("accesses outside memory do not leave this machine".into());
    }
    let is_high = |at: &u64| *at >= DATA_BASE + DATA_SIZE && !case.is_outside(*at);
    if !machine.high_memory && reached.iter().any(is_high) {
        return Some("this machine has no memory at high addresses".into());
    }
    None
}

/// Whether no page that a good entry may map, in whatever mode and at whatever level, reaches above the data
/// memory. Then the access does not either, and nothing has to be predicted. Bits that no physical address
/// of the processor has are reserved in an entry (CODE-4).
fn stays_low(case: &Case) -> bool {
    /// Where data memory ends: at 2 GiB.
    const END: u64 = DATA_BASE + DATA_SIZE;
    /// The address bits of an entry from there on.
    const HIGH: u64 = EntryBits::ADDRESS & !(END - 1);
    /// Address bits 39:32 of a 4 MiB page (MODE-5).
    const HIGH_OF_4_MIB: u64 = 0x1f_e000;

    let high = HIGH & case.profile.physical_address_mask();
    match case.mode() {
        PagingMode::Unpaged => {
            let access = &case.access;
            access.address.get().saturating_add(access.size.into()) <= END
        }
        PagingMode::Linear => false,
        PagingMode::Bits32 => case.entries.iter().all(|TableEntry { value, .. }| {
            let is_large = value & EntryBits::PS.bits() != 0;
            value & (if is_large { HIGH | HIGH_OF_4_MIB } else { HIGH }) == 0
        }),
        _ => case.entries.iter().all(|entry| entry.value & high == 0),
    }
}

/// An access of a size that no instruction has is not admitted.
fn predict(case: &Case) -> Option<Prediction> {
    AnyMmu::new(case.state, case.profile).predict(case, &case.access).ok()
}

/// Whether a table outside memory decides.
const fn reads_table_outside(alternative: &Alternative) -> bool {
    matches!(alternative.choice, Some((Rule::Out1, _)))
}

/// The physical addresses that the access may reach.
fn reached_addresses(prediction: &Prediction) -> Vec<u64> {
    let spans =
        prediction.alternatives.iter().filter_map(|alternative| match &alternative.outcome {
            // A table outside memory may read as ones, and lead anywhere.
            _ if reads_table_outside(alternative) => None,
            Outcome::Translated(spans) => Some(spans),
            Outcome::Fault(_) => None,
        });
    spans.flatten().map(|span| span.address.get()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::{Profile, VirtAddr};

    fn with_leaf(mode: PagingMode, change: impl Fn(&mut u64)) -> Case {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        let mut case = Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, profile);
        let leaf = case.entries.last_mut().expect("a plain case has entries");
        change(&mut leaf.value);
        case
    }

    /// A processor without shadow stacks is not asked to set CR4.CET.
    #[test]
    fn right_7_no_shadow_stack_is_used_without_cet_ss() {
        let mut case = with_leaf(PagingMode::FourLevel, |_| {});
        case.state.cr4 |= Cr4::CET;
        let machine =
            |features| Capabilities::of_everything(Profile { features, ..Profile::default() });
        assert_eq!(cannot_run(&case, &machine(Features::all())), None);
        let why = cannot_run(&case, &machine(Features::all() - Features::CET_SS)).unwrap();
        assert!(why.contains("CET_SS"), "{why}");
    }

    /// Data ends below bit 31. In a 4 MiB page, bits 20:13 are address bits 39:32
    /// (SDM "32-Bit Paging", "Format of a 32-Bit Page-Directory Entry that Maps a 4-MByte Page").
    #[test]
    fn mode_5_only_low_pages_need_no_prediction() {
        for mode in [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel] {
            assert!(stays_low(&with_leaf(mode, |_| {})), "{mode}");
            assert!(!stays_low(&with_leaf(mode, |leaf| *leaf |= 1 << 31)), "{mode}");
        }
        // The highest address bit of this processor, and the lowest reserved one.
        assert!(!stays_low(&with_leaf(PagingMode::FourLevel, |leaf| *leaf |= 1 << 39)));
        assert!(stays_low(&with_leaf(PagingMode::FourLevel, |leaf| *leaf |= 1 << 40)));

        // Bit 7 makes a directory entry a page; of the address bits only 13 to 20 matter.
        let page = |bit: u32| with_leaf(PagingMode::Bits32, |leaf| *leaf = 0x4000_0087 | 1 << bit);
        assert!(stays_low(&page(12)) && stays_low(&page(21)));
        assert!(!stays_low(&page(13)) && !stays_low(&page(20)));

        // Without paging there are no entries: the address itself decides.
        let profile = Profile::default();
        let mut flat = Case::plain_in(PagingMode::Unpaged, Arena::ALL[0], 3, Ring::Three, profile);
        flat.access.size = 8;
        flat.access.address = VirtAddr::new(0x7fff_fff8);
        assert!(stays_low(&flat));
        flat.access.address = VirtAddr::new(0x7fff_fff9);
        assert!(!stays_low(&flat));
    }
}
