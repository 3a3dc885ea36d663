//! What finished cases become now and then: implicit accesses of further kinds, shadow-stack accesses, and data with
//! address bit 31 set. What is drawn depends on the case alone, so that all others stay the cases that their names
//! have meant so far.

use crate::generate::address_bits;
use crate::generate::shadow_stacks::with_shadow_stacks;
use crosswalk_case::Case;
use crosswalk_guest::contents::{ACCESS_BYTE, is_loadable};
use crosswalk_guest::high::{self, appears_at_bit_31};
use crosswalk_guest::stub::{Code, Form};
use crosswalk_machine::Capabilities;
use mmu_core::outcome::Span;
use mmu_core::x86::format::EntryBits;
use mmu_core::{Access, AccessKind, AnyMmu, Cr4, Outcome, PagingMode, Ring, Segment, VirtAddr};
use rand::seq::IteratorRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Varies a case. `frames` is the data address to which its leaves lead, if they lead to data in that place.
pub(super) fn vary(mut case: Case, machine: &Capabilities, frames: Option<u64>) -> Case {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(case.value);
    let has_bit_31 = machine.high_memory && frames.is_some_and(appears_at_bit_31);
    if has_bit_31 && rng.random_bool(0.12) {
        set_bit_31(&mut case);
    }

    if case.state.cr4.contains(Cr4::CET) {
        return with_shadow_stacks(case);
    }

    let is_wide = Code::of(case.table_use()) == Code::Bits64;
    let can_be_implicit = case.access.ring == Ring::Three && is_wide;
    if !can_be_implicit || machine.implicit_accesses.is_err() {
        return case;
    }
    match case.form {
        Form::SegmentLimit if machine.any_local_table && rng.random_bool(0.05) => {
            leave_canonical(&mut rng, &mut case);
        }
        Form::Store if !case.access.crosses_page() && rng.random_bool(0.06) => {
            return or_as_segment_load(&mut rng, case);
        }
        _ => {}
    }
    case
}

/// Lets the leaves lead to the same frames where these have address bit 31 set.
fn set_bit_31(case: &mut Case) {
    const MOVED: u64 = 0x4000_0000 ^ high::BIT_31;

    if case.mode() == PagingMode::Unpaged {
        return;
    }
    let leads_there = |value: u64| appears_at_bit_31(value & EntryBits::ADDRESS & 0xffff_ffff);
    for entry in &mut case.entries {
        if leads_there(entry.value) {
            entry.value ^= MOVED;
        }
    }
}

/// Sets a bit of the address above the canonical ones (CANON-1). It becomes the base of the local descriptor
/// table.
fn leave_canonical(rng: &mut impl Rng, case: &mut Case) {
    let Some(bits) = address_bits(case.mode()) else { return };
    let bad = case.access.address.get() ^ 1 << rng.random_range(bits..64);
    case.access.address = VirtAddr::new(bad);
}

/// Turns a store into the load of a segment, whose accessed bit the processor sets, if there is a
/// descriptor for it wherever the processor may write.
fn or_as_segment_load(rng: &mut impl Rng, case: Case) -> Case {
    let page = case.access.address.get() & !0xfff;
    let at_offset = |offset: u64| at_access_byte(&case, VirtAddr::new(page | offset));
    let Some(frames) = frames_behind(&at_offset(ACCESS_BYTE)) else { return case };

    let offsets = (ACCESS_BYTE..0x1000).step_by(8);
    let is_descriptor = |offset: &u64| frames.iter().all(|frame| is_loadable(frame | offset));
    offsets.filter(is_descriptor).choose(rng).map_or_else(|| case.clone(), at_offset)
}

/// The load of a segment whose descriptor has its access byte at an address.
fn at_access_byte(store: &Case, address: VirtAddr) -> Case {
    let mut case = store.clone();
    case.form = Form::SegmentLoad;
    case.access.address = address;
    case.access.size = 1;
    case.access.segment = Segment::Data;
    case.access.implicit = true;
    case
}

/// The data frames from which the processor may read the descriptor of a segment. `None` if it may read it
/// from elsewhere, or reads none: a machine that reads one all the same must not find what it cannot load.
fn frames_behind(load: &Case) -> Option<Vec<u64>> {
    let address = VirtAddr::new(load.access.address.get() - ACCESS_BYTE);
    let read = Access { kind: AccessKind::Read, address, size: 8, ..load.access };
    let prediction = AnyMmu::new(load.state, load.profile).predict(load, &read).ok()?;
    let spans = prediction.alternatives.iter().filter_map(|way| match &way.outcome {
        Outcome::Fault(_) => None,
        Outcome::Translated(spans) => Some(spans),
    });

    let frame = |span: &Span| Some(load.data_behind(span.address.get())? & !0xfff);
    let frames: Option<Vec<u64>> = spans.flatten().map(frame).collect();
    frames.filter(|frames| !frames.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::tests::capabilities;
    use crosswalk_guest::layout::Arena;
    use mmu_core::Profile;

    fn plain(mode: PagingMode) -> Case {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, profile)
    }

    /// What a case becomes, with 1000 values.
    fn varied(case: &Case) -> Vec<Case> {
        let machine = capabilities(true);
        let vary = |value| vary(Case { value, ..case.clone() }, &machine, Some(0x4067_8000));
        (0..1000).map(vary).collect()
    }

    /// The frame of lane 3 is at 0x40678000, and again at 0x80678000.
    #[test]
    fn mode_7_a_leaf_of_32_bits_leads_to_data_with_bit_31() {
        let cases = varied(&plain(PagingMode::Bits32));
        let leaf = |case: &Case| case.entries[1].value;
        assert!(cases.iter().all(|case| [0x4067_8007, 0x8067_8007].contains(&leaf(case))));

        let moved = cases.iter().filter(|case| leaf(case) == 0x8067_8007).count();
        assert!((80..160).contains(&moved), "{moved}");
    }

    #[test]
    fn a_store_becomes_the_load_of_a_descriptor_in_its_frame() {
        let mut store = plain(PagingMode::FourLevel);
        store.access = Access::write(store.access.address, 8, Ring::Three);
        store.form = Form::Store;

        let cases = varied(&store);
        let loads: Vec<_> = cases.iter().filter(|case| case.form == Form::SegmentLoad).collect();
        assert!((30..100).contains(&loads.len()), "{}", loads.len());
        for case in loads {
            assert!(case.access.implicit && case.access.size == 1);
            let offset = case.access.address.get() & 0xfff;
            assert!(is_loadable(0x4067_8000 | offset), "{offset:#x}");
        }

        // Where there is no descriptor, or none is read, it stays a store.
        for leaf in [0xffff_f007, 0] {
            store.entries[3].value = leaf;
            assert!(varied(&store).iter().all(|case| case.form == Form::Store));
        }
        store.access.ring = Ring::Zero;
        assert!(varied(&store).iter().all(|case| case.form == Form::Store));
    }

    #[test]
    fn canon_1_a_descriptor_is_read_at_bad_addresses() {
        let mut read = plain(PagingMode::FourLevel);
        read.form = Form::SegmentLimit;
        let cases = varied(&read);
        let is_bad = |case: &&Case| !case.access.address.is_canonical(48);
        assert!((20..90).contains(&cases.iter().filter(is_bad).count()));
    }
}
