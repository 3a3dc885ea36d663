//! Properties of every format on random memory: a walk ends in an outcome after a bounded number of
//! reads, and updates only A and D.

use super::{A, D, P, PS, RW, US, XD, access, vendor};
use crate::access::{Access, AccessKind, Ring};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{Bytes, OutsideMemory, SparseTables, TableMemory, TableMemoryMut, Unshared};
use crate::outcome::{AccessError, Outcome};
use crate::walk::tests::state_of;
use crate::walk::{Mmu, Path, WalkError};
use crate::x86::format::{
    Bits32, EntryBits, EntryKind, FiveLevel, Format, FourLevel, Linear, Pae, Unpaged,
};
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::regime::Regime;
use crate::x86::rule::Rule;
use crate::x86::state::{Cr4, Efer};
use core::cell::Cell;
use proptest::prelude::*;
use std::vec::Vec;

/// A flat table whose entries fit in one 4 KiB frame.
pub(super) type FlatMemory = Linear<20, 12, 4>;

/// Memory that counts the reads, and checks that each is of one aligned entry.
struct Counting<'m, M> {
    memory: &'m M,
    entry_bytes: u8,
    reads: Cell<usize>,
}

impl<'m, M> Counting<'m, M> {
    fn new<F: Format>(memory: &'m M) -> Self {
        Self { memory, entry_bytes: F::ENTRY_BYTES, reads: Cell::new(0) }
    }
}

impl<M: TableMemory<Error = OutsideMemory>> TableMemory for Counting<'_, M> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        assert_eq!(bytes, self.entry_bytes);
        assert_eq!(at.get() % u64::from(bytes), 0, "{at} is not aligned");
        self.reads.set(self.reads.get() + 1);
        self.memory.read_entry(at, bytes)
    }
}

/// Random memory and registers, and a random processor.
#[derive(Clone, Debug)]
pub(super) struct Garbage {
    seed: u64,
    /// Whether entries are present and point into the random memory, so that walks go deep.
    tame: bool,
    cr3: u64,
    /// CR4 and EFER, of which the format fixes some bits.
    state: [u64; 2],
    pdptes: [u64; 4],
    vendor: Vendor,
    physical_address_bits: u8,
    features: u32,
}

/// Number of frames of random memory.
const FRAMES: u64 = 4;

prop_compose! {
    pub(super) fn garbage()(
        seed in any::<u64>(), tame in any::<bool>(), cr3 in 0..FRAMES * 0x1000,
        state in any::<[u64; 2]>(), vendor in vendor(), physical_address_bits in 32..=52_u8,
        features in any::<u32>(),
        pdptes in prop_oneof![
            any::<[u64; 4]>(),
            prop::array::uniform4((0..FRAMES).prop_map(|frame| frame << 12 | P)),
        ],
    ) -> Garbage {
        Garbage { seed, tame, cr3, state, pdptes, vendor, physical_address_bits, features }
    }
}

/// An access of at most 8 bytes at any address.
pub(super) fn any_access() -> impl Strategy<Value = Access> {
    let address = prop_oneof![
        any::<u64>(),
        any::<u64>().prop_map(|address| address & 0xffff_ffff),
        any::<u64>().prop_map(|address| ((address << 16) as i64 >> 16) as u64),
        any::<u64>().prop_map(|address| address | 0xfff),
    ];
    (access(), address, any::<[bool; 2]>()).prop_map(|(access, address, flags)| {
        let [shadow_stack, compatibility] = flags;
        let shadow_stack = shadow_stack && access.kind != AccessKind::Fetch;
        Access { address: VirtAddr::new(address), shadow_stack, compatibility, ..access }
    })
}

impl Garbage {
    /// The memory, filled by `SplitMix64`.
    pub(super) fn memory<F: Format>(&self) -> Bytes<Vec<u8>> {
        let mut seed = self.seed;
        let words = (0..FRAMES * 0x1000 / 8).flat_map(|_| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ z >> 31).to_le_bytes()
        });
        let mut bytes: Vec<u8> = words.collect();

        if self.tame {
            for entry in bytes.chunks_exact_mut(F::ENTRY_BYTES.into()) {
                // Bits 13:0, present.
                entry[0] |= 1;
                entry[1] &= 0x3f;
                entry[2..].fill(0);
            }
        }

        Bytes::new(PhysAddr::new(0), bytes)
    }

    pub(super) fn mmu<F: Format>(&self) -> Mmu<F> {
        let [cr4, efer] = self.state;
        // CR3 is aligned for the flat table.
        let mut state = state_of(F::MODE, self.cr3 & !3);

        // CR4.PAE, CR4.LA57, EFER.LME and EFER.LMA are those of the format.
        state.cr4 |= Cr4::from_bits_retain(cr4) - (Cr4::PAE | Cr4::LA57);
        state.efer |= Efer::from_bits_retain(efer) - (Efer::LME | Efer::LMA);
        state.efer.set(Efer::NXE, efer & 1 != 0);
        state.pdptes = self.pdptes;

        let profile = Profile {
            vendor: self.vendor,
            physical_address_bits: self.physical_address_bits,
            features: Features::from_bits_truncate(self.features),
            ..Profile::default()
        };
        Mmu::new(state, profile)
    }
}

/// A walk over random memory ends after at most one read per level.
fn walk_ends<F: Format>(garbage: &Garbage, access: &Access) -> Result<(), TestCaseError> {
    let memory = garbage.memory::<F>();
    let counting = Counting::new::<F>(&memory);
    let mmu = garbage.mmu::<F>();
    let mut path = Path::default();
    let result = mmu.walk(&counting, access.address, access, &mut path);
    prop_assert_eq!(mmu.walk(&memory, access.address, access, &mut ()), result);

    let steps = path.steps.len();
    prop_assert!(counting.reads.get() <= F::LEVELS.len());
    prop_assert!(steps <= F::LEVELS.len());

    match result {
        Ok(translation) => {
            prop_assert_eq!(path.steps.last().map_or(0, |step| step.entry), translation.leaf);
        }
        Err(WalkError::Fault(_)) => prop_assert!(steps > 0),
        Err(WalkError::Memory(outside)) => {
            prop_assert!(outside.0.get() >= FRAMES * 0x1000);
            prop_assert!(steps < F::LEVELS.len());
        }
    }

    Ok(())
}

/// Maximum number of walks for a prediction: one for each of two pages to find out whether it is
/// ordinary; then one for each of them, three times if a table is outside memory (first to find out, then
/// with zeros and with ones), for each of the two members of two choices.
const WALKS_PER_PREDICTION: usize = 2 + 2 * 3 * 4;

/// A prediction over random memory has an outcome, takes a bounded number of reads, and updates
/// only A and D.
fn prediction_ends<F: Format>(garbage: &Garbage, access: &Access) -> Result<(), TestCaseError> {
    let memory = garbage.memory::<F>();
    let counting = Counting::new::<F>(&memory);
    let prediction = garbage.mmu::<F>().predict(&counting, access).unwrap();
    let walks = if garbage.vendor == Vendor::Intel { 2 + 2 * 3 } else { WALKS_PER_PREDICTION };

    prop_assert!(counting.reads.get() <= walks * F::LEVELS.len());
    prop_assert!(!prediction.alternatives.is_empty());

    for known in &prediction.alternatives {
        for update in &known.updates {
            prop_assert!(update.level.has_flags);
            prop_assert_eq!((update.must_set | update.may_set) & !(A | D), 0);
            prop_assert_eq!(update.must_set & update.may_set, 0);
            // A and D are in the low byte of the entry, so no neighbour changes.
            prop_assert_eq!(update.at.get() % u64::from(F::ENTRY_BYTES), 0);
            prop_assert_eq!(update.before >> 1 >> (8 * F::ENTRY_BYTES - 1), 0);
        }
    }

    Ok(())
}

/// One answer over random memory is one of those that are predicted, with what it sets.
fn translation_is_allowed<F: Format>(
    garbage: &Garbage,
    access: &Access,
) -> Result<(), TestCaseError> {
    let mmu = garbage.mmu::<F>();
    let memory = Unshared::new(garbage.memory::<F>());
    let prediction = mmu.predict(&memory, access).unwrap();

    let probed = Outcome::of(mmu.probe(&memory, access));
    let translated = Outcome::of(mmu.translate(&memory, access));
    // D decides what a shadow stack is, and an access to several pages may set it on the way.
    if !access.shadow_stack {
        prop_assert_eq!(&probed, &translated);
    }
    let outcome = match translated {
        Ok(outcome) => outcome,
        Err(error) => {
            prop_assert!(matches!(error, AccessError::Memory(_)), "{:?}", error);
            return Ok(());
        }
    };

    let mut others = memory.clone();
    let is_allowed = prediction.alternatives.iter().any(|known| {
        let mut after = known.updates.iter().map(|update| {
            let entry = memory.read_entry(update.at, F::ENTRY_BYTES).unwrap_or(0);
            (update, entry)
        });
        known.outcome == outcome && after.all(|(update, entry)| update.allows(entry))
    });
    prop_assert!(is_allowed, "{:?} is not in {:?}", outcome, prediction);

    // Nothing else has changed. If a page after the one that faults is outside memory, there are
    // alternatives with entries outside memory, too (OUT-1).
    for update in prediction.alternatives.iter().flat_map(|known| &known.updates) {
        if let Err(OutsideMemory(at)) = others.write_entry(update.at, F::ENTRY_BYTES, update.before)
        {
            prop_assert!(at.get() >= FRAMES * 0x1000);
        }
    }
    let all = |memory: Unshared<Bytes<Vec<u8>>>| {
        let memory = memory.into_inner();
        memory.bytes(PhysAddr::new(0), FRAMES * 0x1000).unwrap().to_vec()
    };
    prop_assert_eq!(all(others), all(Unshared::new(garbage.memory::<F>())));
    Ok(())
}

/// Memory in which every frame is the same: the entry of level `n` is in slot `n`, so every address
/// in an entry leads to the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots6(pub(super) [u64; 6]);

impl TableMemory for Slots6 {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let slot = (at.get() & 0xfff) / u64::from(bytes);
        Ok(self.0.get(slot as usize).map_or(0, |entry| entry & u64::MAX >> (64 - 8 * bytes)))
    }
}

/// The address of the page whose path uses entry `n` at level `n`.
pub(super) fn page_of_path<F: Format>() -> u64 {
    F::LEVELS.iter().map(|level| u64::from(level.number) << level.shift).sum()
}

/// An entry that grants more rights allows everything that was allowed before.
fn rights_are_monotonic<F: Format>(
    (entries, level, wider): (Slots6, usize, [bool; 3]),
    profile: Profile,
    access: &Access,
) -> Result<(), TestCaseError> {
    let Some(level) = F::LEVELS.get(level).filter(|level| level.has_flags) else { return Ok(()) };

    let mut state = state_of(F::MODE, 0);
    state.pdptes[3] = P;
    let mmu = Mmu::<F>::new(state, profile);

    let address = VirtAddr::new(page_of_path::<F>() + access.address.offset(12));
    let access = Access { address, size: access.bytes_in_first_page(), ..*access };
    let allows = |entries: &Slots6| {
        mmu.predict(entries, &access).unwrap().alternatives[0].outcome.fault().is_none()
    };

    let mut more = entries;
    let entry = &mut more.0[usize::from(level.number)];
    let [write, user, execute] = wider;
    *entry |= if write { RW } else { 0 } | if user { US } else { 0 };
    *entry &= !if execute { XD } else { 0 };

    prop_assert!(!allows(&entries) || allows(&more));
    Ok(())
}

/// Entries without errors, whose rights may deny the access.
fn path() -> impl Strategy<Value = Slots6> {
    let entry = any::<[u64; 4]>().prop_map(|[a, b, c, d]| {
        // Each right is missing in one case of eight.
        P | ((RW | US) ^ (a & b & c & (RW | US | XD))) | d & (A | D | 0x7fff_f000)
    });
    prop::array::uniform6(entry).prop_map(Slots6)
}

/// Memory in which every entry has the same value.
struct Everywhere(u64);

impl TableMemory for Everywhere {
    type Error = OutsideMemory;

    fn read_entry(&self, _at: PhysAddr, _bytes: u8) -> Result<u64, OutsideMemory> {
        Ok(self.0)
    }
}

/// A table that points to itself is also the page that the last level maps. An entry that serves two
/// levels makes an access one that is looked at again, in detail.
fn self_maps_end<F: Format>() {
    let mut state = state_of(F::MODE, 0x3000);
    state.pdptes = [0x3001; 4];
    let mmu = Mmu::<F>::new(state, Profile { vendor: Vendor::Intel, ..Profile::default() });

    // Frame 3, with every right. The flat table has the frame number in bits 31:1.
    let entry = if F::MODE == FlatMemory::MODE { 3 << 1 | P } else { 0x3000 | P | RW | US };
    for address in [0, 0x1234, 0x7fff_f010, 0xffff_f010, page_of_path::<F>()] {
        let access = Access::write(VirtAddr::new(address), 8, Ring::Three);

        let memory = Everywhere(entry);
        let counting = Counting::new::<F>(&memory);
        let prediction = mmu.predict(&counting, &access).unwrap();
        let reached = prediction.alternatives[0].outcome.physical_address().map(PhysAddr::get);

        assert_eq!(reached, Some(0x3000 + address % 0x1000), "{:?} {address:#x}", F::MODE);
        assert!(counting.reads.get() <= 2 * F::LEVELS.len());

        // If every entry has PS set, the first level with large pages ends the walk.
        let large_pages = Everywhere(P | RW | US | PS);
        let counting = Counting::new::<F>(&large_pages);
        assert_eq!(mmu.predict(&counting, &access).unwrap().alternatives.len(), 1);
        assert!(counting.reads.get() <= 2 * F::LEVELS.len());
    }
}

/// If the table of a level is outside memory, the prediction has the alternatives of OUT-1.
fn outside_is_an_outcome<F: Format>() {
    let mut state = state_of(F::MODE, 0x1000);
    state.pdptes = [0x2001; 4];
    let profile = Profile { vendor: Vendor::Intel, ..Profile::default() };
    let mmu = Mmu::<F>::new(state, profile);
    let regime = Regime::new(state, profile);
    let page = page_of_path::<F>();
    let access = Access::read(VirtAddr::new(page), 8, Ring::Three);

    let mut entries: Vec<(u64, u64)> = Vec::new();
    let mut table = F::root(&regime);
    for (depth, level) in F::LEVELS.iter().enumerate() {
        let memory = SparseTables::new(&entries);
        let prediction = mmu.predict(&memory, &access).unwrap();
        let in_register = F::register(level, 0, &regime).is_some();
        if !in_register {
            assert!(prediction.rules.contains(Rule::Out1), "{:?} {depth}", F::MODE);
            assert!((1..=2).contains(&prediction.alternatives.len()));
        }

        // The entry of this level points to the next table, which is outside memory.
        let index = access.address.index(level.shift, level.index_bits);
        let at = table + index * u64::from(F::ENTRY_BYTES);
        table = PhysAddr::new(0x2000 + 0x1000 * depth as u64);
        let flags = EntryBits::P | EntryBits::RW | EntryBits::US;
        entries.push((at.get(), F::entry(level, EntryKind::Table, table, flags)));
    }
}

macro_rules! for_every_format {
    ($($name:ident: $format:ty,)+) => {$(
        mod $name {
            use super::*;

            proptest! {
                #[test]
                fn a_walk_over_random_memory_ends(garbage in garbage(), access in any_access()) {
                    walk_ends::<$format>(&garbage, &access)?;
                }

                #[test]
                fn a_prediction_over_random_memory_ends(garbage in garbage(), access in any_access()) {
                    prediction_ends::<$format>(&garbage, &access)?;
                }
            }

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(1024))]

                #[test]
                fn a_translation_is_among_the_predictions(
                    garbage in garbage(), access in any_access(),
                ) {
                    translation_is_allowed::<$format>(&garbage, &access)?;
                }
            }

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(1024))]

                #[test]
                fn rights_are_monotonic(
                    entries in path(), level in 0..5_usize, wider in any::<[bool; 3]>(),
                    vendor in vendor(), access in access(),
                ) {
                    let profile = Profile { vendor, ..Profile::default() };
                    super::rights_are_monotonic::<$format>((entries, level, wider), profile, &access)?;
                }
            }

            #[test]
            fn a_walk_of_tables_that_point_to_themselves_ends() {
                self_maps_end::<$format>();
            }

            #[test]
            fn a_table_outside_memory_has_the_alternatives_of_out_1() {
                outside_is_an_outcome::<$format>();
            }
        }
    )+};
}

for_every_format! {
    bits32: Bits32,
    pae: Pae,
    four_level: FourLevel,
    five_level: FiveLevel,
    flat: FlatMemory,
}

proptest! {
    #[test]
    fn without_paging_nothing_is_read(garbage in garbage(), access in any_access()) {
        walk_ends::<Unpaged>(&garbage, &access)?;
        prediction_ends::<Unpaged>(&garbage, &access)?;
        translation_is_allowed::<Unpaged>(&garbage, &access)?;

        let memory = garbage.memory::<Unpaged>();
        let prediction = garbage.mmu::<Unpaged>().predict(&memory, &access).unwrap();
        let reached = prediction.alternatives[0].outcome.physical_address();
        prop_assert_eq!(reached, Some(PhysAddr::new(access.address.get() & 0xffff_ffff)));
    }
}
