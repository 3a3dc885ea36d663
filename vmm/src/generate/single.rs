//! Cases that run alone, of the kinds that a machine may handle in a way that involves other lanes.

use super::alone::alone;
use super::state::not_in_cpuid;
use super::{ENDLESS, PDPTE_LOW_RESERVED_BITS, Stream, address_bits, stream_seed};
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::contents::{self, CODE_OFFSETS, DESCRIPTOR_OFFSETS};
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::x86::format::EntryBits;
use mmu_core::{Access, AccessKind, Cr4, Efer, Features, PagingMode, Ring, VirtAddr};
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Single cases of one mode: a batch has one. The same seed and machine give the same cases.
#[derive(Clone, Debug)]
pub struct SingleStream {
    seed: u64,
    mode: PagingMode,
    machine: Capabilities,
}

impl SingleStream {
    /// Cases for a machine with these capabilities.
    pub const fn new(seed: u64, mode: PagingMode, machine: Capabilities) -> Self {
        Self { seed, mode, machine }
    }

    /// Whether the guest makes implicit accesses in this mode.
    fn makes_implicit_accesses(&self) -> bool {
        self.mode.is_long_mode() && self.machine.implicit_accesses.is_ok()
    }

    fn case(&self, number: u64) -> Case {
        let stream = stream_seed(self.seed.rotate_left(32), self.mode, number);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream);
        let arena = Arena::for_batch(number);

        match number % 8 {
            7 if self.makes_implicit_accesses() && rng.random_bool(0.5) => {
                implicit_access(&mut rng, self.mode, arena, &self.machine)
            }
            7 if self.mode != PagingMode::Unpaged => {
                fetch_without_nxe(&mut rng, self.mode, arena, &self.machine)
            }
            6 if self.mode == PagingMode::Pae => bad_register(&mut rng, arena, &self.machine),
            _ => {
                // In compatibility mode every other time.
                let batch = if number % 16 == 14 { 55 } else { 0 };
                let mut case = alone(&mut rng, (self.mode, batch), arena, &self.machine);
                if rng.random_bool(0.5) {
                    remove_known_pdptes(&mut case);
                }
                case
            }
        }
    }
}

impl Stream for SingleStream {
    fn mode(&self) -> PagingMode {
        self.mode
    }

    fn batches(&self) -> u64 {
        ENDLESS
    }

    fn cases_before(&self, batch: u64) -> u64 {
        batch
    }

    fn batch(&self, number: u64, _most: usize) -> Batch {
        Batch { arena: Arena::for_batch(number), cases: vec![self.case(number)] }
    }
}

/// Removes the PDPTEs that are in memory as they are in their registers: they need not be listed, and
/// then it does not matter what a machine does to them in memory.
fn remove_known_pdptes(case: &mut Case) {
    let is_needed = |entry: &TableEntry| {
        let register = case.pdpte_at(entry.at).map(|pdpte| case.state.pdptes[pdpte]);
        register != Some(entry.value)
    };
    case.entries = case.entries.iter().copied().filter(is_needed).collect();
}

/// A fetch by ring 0 without execute-disable, with or without SMEP and SMAP (RIGHT-3, RIGHT-4), which
/// walkers confuse with each other.
fn fetch_without_nxe(
    rng: &mut impl Rng,
    mode: PagingMode,
    arena: Arena,
    machine: &Capabilities,
) -> Case {
    let lane = rng.random_range(0..250);
    let mut case = Case::plain_in(mode, arena, lane, Ring::Zero, machine.profile);
    case.state.efer -= Efer::NXE;
    for (bit, feature) in [(Cr4::SMEP, Features::SMEP), (Cr4::SMAP, Features::SMAP)] {
        let has_feature = machine.profile.features.contains(feature);
        let has_it = has_feature || not_in_cpuid(mode, machine).contains(bit);
        case.state.cr4.set(bit, has_it && rng.random_bool(0.5));
    }
    if rng.random_bool(0.3) {
        let leaf = case.entries.last_mut().expect("a mode with tables");
        leaf.value &= !EntryBits::US.bits();
    }

    let page = case.access.address.get() & !0xfff;
    let address = VirtAddr::new(page + CODE_OFFSETS.start);
    case.access = Access::fetch(address, contents::CODE_SIZE, Ring::Zero);
    case.form = Form::Jump;
    case
}

/// An implicit access that EFLAGS.AC does not excuse from SMAP (RIGHT-4), or one to an address that is
/// not canonical (CANON-1).
fn implicit_access(
    rng: &mut impl Rng,
    mode: PagingMode,
    arena: Arena,
    machine: &Capabilities,
) -> Case {
    let lane = rng.random_range(0..250);
    let mut case = Case::plain_in(mode, arena, lane, Ring::Three, machine.profile);
    let page = case.access.address.get() & !0xfff;
    let mut ac = false;
    let mut address = page + DESCRIPTOR_OFFSETS.start + 8 * rng.random_range(0..64);

    match address_bits(mode) {
        Some(bits) if machine.any_local_table && rng.random_bool(0.5) => {
            address ^= 1 << rng.random_range(bits..64);
        }
        _ => {
            let has_smap = machine.profile.features.contains(Features::SMAP);
            case.state.cr4.set(Cr4::SMAP, has_smap);
            ac = rng.random_bool(0.75);
        }
    }

    let read = Access::read(VirtAddr::new(address), 8, Ring::Three);
    case.access = Access { implicit: true, ac, ..read };
    case.form = Form::SegmentLimit;
    case
}

/// A PDPTE with a reserved bit, in memory as in its register (PDPTE-2). It is not listed, so that it
/// does not matter what a machine does to it in memory.
fn bad_register(rng: &mut impl Rng, arena: Arena, machine: &Capabilities) -> Case {
    let lane = rng.random_range(0..250);
    let mut case = Case::plain_in(PagingMode::Pae, arena, lane, Ring::Three, machine.profile);
    case.state.pdptes[2] |= 1 << PDPTE_LOW_RESERVED_BITS[rng.random_range(0..6)];
    case.entries.remove(0);

    if rng.random_bool(0.5) {
        case.access.kind = AccessKind::Write;
        case.form = Form::Store;
        case.value = rng.random();
    }
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::tests::capabilities;
    use crosswalk_machine::batch::arena_of;

    fn cases() -> impl Iterator<Item = Case> {
        let streams = PagingMode::ALL.map(|mode| SingleStream::new(3, mode, capabilities(true)));
        streams.into_iter().flat_map(|stream| (0..400).map(move |number| stream.case(number)))
    }

    #[test]
    fn they_fit_the_layout_and_are_the_same_after_their_text_form() {
        for case in cases() {
            assert!(arena_of(&case).is_ok(), "{:?}: {case}", arena_of(&case));
            assert_eq!(Case::from_json(&case.to_json()).unwrap(), case);
            assert!(!case.is_sequence());
        }
    }
}
