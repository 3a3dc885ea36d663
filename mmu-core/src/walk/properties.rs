//! Properties of every prediction, for random entries and registers. This file has those of 4-level
//! paging; `garbage` has those of every format, `many` those of walks for many addresses, `oracle` a second
//! implementation of 32-bit and PAE paging, and `shortcuts` compares a prediction with one that leaves
//! nothing out.

mod alignment;
mod garbage;
mod many;
mod oracle;
mod shortcuts;

use crate::access::{Access, AccessKind, Ring};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::{Outcome, Prediction};
use crate::walk::{Mmu, Path};
use crate::x86::fault::Vector;
use crate::x86::format::{EntryKind, FourLevel};
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::state::{ControlState, Cr0, Cr4, Efer};
use proptest::prelude::*;
use std::vec::Vec;

const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const XD: u64 = 1 << 63;
/// Bits 62:59 of a leaf.
const KEY: u64 = 0xf << 59;

/// A page: entry 1 of the PML4, 2 of the PDPT, 3 of the directory, 4 of the table.
const PAGE: u64 = 0x80_8060_4000;

/// Memory in which every frame contains these entries from slot 1 up. Each level uses its own slot,
/// so every address in an entry leads to the next one. Slot 5 is the PTE of the next page.
#[derive(Clone, Copy, Debug)]
struct EntrySlots([u64; 5]);

impl TableMemory for EntrySlots {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, _bytes: u8) -> Result<u64, OutsideMemory> {
        let slot = (at.get() & 0xfff) / 8;
        Ok(self.0[slot as usize - 1])
    }
}

/// Registers and a processor.
#[derive(Clone, Copy, Debug)]
struct GivenMachine {
    state: ControlState,
    profile: Profile,
}

impl GivenMachine {
    fn predict(self, slots: &EntrySlots, access: &Access) -> Prediction {
        Mmu::<FourLevel>::new(self.state, self.profile).predict(slots, access).unwrap()
    }

    /// Whether the likeliest outcome is that the access completes.
    fn allows(self, slots: &EntrySlots, access: &Access) -> bool {
        self.predict(slots, access).alternatives[0].outcome.fault().is_none()
    }

    /// The machine without SMEP and SMAP.
    fn without_prevention(mut self) -> Self {
        self.state.cr4 -= Cr4::SMEP | Cr4::SMAP;
        self
    }

    /// The machine without protection keys.
    fn without_keys(mut self) -> Self {
        self.state.cr4 -= Cr4::PKE | Cr4::PKS;
        self
    }
}

/// Any entry, but in most cases one that does not end the walk.
fn entry() -> impl Strategy<Value = u64> {
    let flags = prop_oneof![1 => Just(0), 19 => Just(P | RW | US)];
    let large = prop::bool::weighted(0.1).prop_map(|large| if large { PS } else { 0 });
    let frame = prop_oneof![
        6 => any::<u64>().prop_map(|frame| frame & 0xf_c000_0000),
        3 => any::<u64>().prop_map(|frame| frame & 0xf_ffff_f000),
        1 => any::<u64>().prop_map(|frame| frame & 0x000f_ffff_ffff_f000),
    ];

    // Each of the other bits is flipped in one case of eight.
    let noise =
        any::<[u64; 3]>().prop_map(|[a, b, c]| a & b & c & !(0x000f_ffff_ffff_f000 | PS | P));

    (flags, large, frame, noise)
        .prop_map(|(flags, large, frame, noise)| (flags ^ noise) | large | frame)
}

fn slots() -> impl Strategy<Value = EntrySlots> {
    prop::array::uniform5(entry()).prop_map(EntrySlots)
}

/// Entries without errors that map a 4 KiB page. Each lacks R/W or U/S, or has XD, in one case of
/// eight, so that every combination over the levels is common. The key is random.
fn good_slots() -> impl Strategy<Value = EntrySlots> {
    let entry = any::<[u64; 4]>().prop_map(|[a, b, c, d]| {
        let rights = (RW | US) ^ (a & b & c & (RW | US | XD));
        P | rights | d & (KEY | 0xf_ffff_f000)
    });
    prop::array::uniform5(entry).prop_map(EntrySlots)
}

fn vendor() -> impl Strategy<Value = Vendor> {
    prop_oneof![Just(Vendor::Intel), Just(Vendor::Amd), Just(Vendor::Unknown)]
}

prop_compose! {
    fn machine()(
        [wp, nxe] in any::<[bool; 2]>(),
        [smep, smap, pke, pks] in any::<[bool; 4]>(),
        (pkru, pkrs) in any::<(u32, u32)>(),
        vendor in vendor(),
        physical_address_bits in prop::sample::select(vec![36_u8, 40, 48, 52]),
        large in any::<bool>(),
    ) -> GivenMachine {
        let mut state = ControlState::four_level(0x10_000);
        state.cr0.set(Cr0::WP, wp);
        state.efer.set(Efer::NXE, nxe);
        for (on, bit) in [(smep, Cr4::SMEP), (smap, Cr4::SMAP), (pke, Cr4::PKE), (pks, Cr4::PKS)] {
            state.cr4.set(bit, on);
        }
        state.pkru = pkru;
        state.pkrs = pkrs;

        let features = if large { Features::all() } else { Features::empty() };
        let profile = Profile { vendor, physical_address_bits, features, ..Profile::default() };

        GivenMachine { state, profile }
    }
}

prop_compose! {
    /// An access that begins in the page, and may end in the next.
    fn access()(
        kind in prop::sample::select(AccessKind::ALL.to_vec()),
        [user, implicit, ac] in any::<[bool; 3]>(),
        offset in prop_oneof![0..0x1000_u64, 0xff8..0x1000_u64],
        size in 1..=8_u16,
    ) -> Access {
        let ring = if user { Ring::Three } else { Ring::Zero };
        let implicit = implicit && kind != AccessKind::Fetch;

        Access { implicit, ac, ..Access::new(kind, VirtAddr::new(PAGE + offset), size, ring) }
    }
}

/// An access that does not cross into the next page.
fn access_to_one_page() -> impl Strategy<Value = Access> {
    access().prop_map(|access| {
        let size = access.bytes_in_first_page();
        Access { size, ..access }
    })
}

const fn bit(register: u64, number: u32) -> bool {
    register >> number & 1 == 1
}

fn is_user_mode(access: &Access) -> bool {
    access.ring == Ring::Three && !access.implicit
}

fn is_user_address(entries: &[u64]) -> bool {
    entries.iter().all(|entry| entry & US != 0)
}

/// The kinds of access that a part of the manual permits.
#[derive(Clone, Copy)]
struct Permitted {
    read: bool,
    write: bool,
    fetch: bool,
}

/// SDM "Determination of Access Rights", sentence by sentence.
#[expect(clippy::match_same_arms, reason = "each arm is a sentence of the manual")]
fn permitted_by_rights(entries: &[u64], state: &ControlState, access: &Access) -> Permitted {
    let writable = entries.iter().all(|entry| entry & RW != 0);
    let no_code = entries.iter().any(|entry| entry & XD != 0);

    let wp = bit(state.cr0.bits(), 16);
    let execution_prevention = bit(state.cr4.bits(), 20);
    let access_prevention = bit(state.cr4.bits(), 21) && (access.implicit || !access.ac);

    let mode_and_address = (is_user_mode(access), is_user_address(entries));
    let read = match mode_and_address {
        (false, false) => true,
        (false, true) => !access_prevention,
        (true, true) => true,
        (true, false) => false,
    };
    let write = match mode_and_address {
        (false, false) => writable || !wp,
        (false, true) => !access_prevention && (writable || !wp),
        (true, true) => writable,
        (true, false) => false,
    };
    let fetch = match mode_and_address {
        (false, false) => !no_code,
        (false, true) => !execution_prevention && !no_code,
        (true, true) => !no_code,
        (true, false) => false,
    };

    Permitted { read, write, fetch }
}

/// SDM "Protection Keys".
fn permitted_by_key(entries: &[u64], state: &ControlState, access: &Access) -> Permitted {
    let (keys_on, register) = if is_user_address(entries) {
        (bit(state.cr4.bits(), 22), state.pkru)
    } else {
        (bit(state.cr4.bits(), 24), state.pkrs)
    };
    let leaf = entries[entries.len() - 1];
    let key = (leaf << 1 >> 60) as u32;
    let access_disable = keys_on && bit(register.into(), 2 * key);
    let write_disable = keys_on && bit(register.into(), 2 * key + 1);

    let wp = bit(state.cr0.bits(), 16);
    let write_denied = write_disable && (is_user_mode(access) || wp);
    Permitted { read: !access_disable, write: !access_disable && !write_denied, fetch: true }
}

/// Whether the manual permits an access to a 4 KiB page that these four entries map.
fn manual_permits(entries: &[u64], state: &ControlState, access: &Access) -> bool {
    let by_both =
        [permitted_by_rights(entries, state, access), permitted_by_key(entries, state, access)];

    by_both.iter().all(|permitted| match access.kind {
        AccessKind::Read | AccessKind::Clflush => permitted.read,
        AccessKind::Write => permitted.write,
        AccessKind::ReadModifyWrite => permitted.read && permitted.write,
        AccessKind::Fetch => permitted.fetch,
    })
}

/// An entry's address, the bits that are set in it, and those that may be.
type VisibleUpdate = (PhysAddr, u64, u64);

/// The visible part of a prediction: the outcomes, and the bits that are or may be set.
fn visible(prediction: &Prediction) -> Vec<(Outcome, Vec<VisibleUpdate>)> {
    let updates = |known: &crate::Alternative| {
        known.updates.iter().map(|u| (u.at, u.must_set, u.may_set)).collect()
    };

    prediction.alternatives.iter().map(|known| (known.outcome.clone(), updates(known))).collect()
}

/// The size, in bits, of the page that the four entries map.
fn page_bits(slots: &EntrySlots, machine: GivenMachine) -> u8 {
    let large = |entry: u64| entry & PS != 0;
    let huge_pages = machine.profile.features.contains(Features::PAGE_1GB);

    match slots.0 {
        [_, pdpte, ..] if large(pdpte) && huge_pages => 30,
        [_, _, pde, ..] if large(pde) => 21,
        _ => 12,
    }
}

proptest! {
    // About one random access in six completes: enough cases to see many of each outcome.
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn rights_agree_with_the_prose_of_the_manual(
        slots in good_slots(), mut machine in machine(), access in access_to_one_page(),
    ) {
        // Otherwise XD would be reserved, which is a different rule.
        machine.state.efer |= Efer::NXE;
        let permitted = manual_permits(&slots.0[..4], &machine.state, &access);
        prop_assert_eq!(machine.allows(&slots, &access), permitted);
    }

    #[test]
    fn a_denied_access_is_reported_as_what_it_was(
        slots in good_slots(), mut machine in machine(), access in access_to_one_page(),
    ) {
        machine.state.efer |= Efer::NXE;
        let prediction = machine.predict(&slots, &access);

        if let Some(fault) = prediction.alternatives[0].outcome.fault() {
            prop_assert_eq!(fault.vector, Vector::PageFault);
            prop_assert_eq!(fault.cr2, Some(access.address));

            let writes = matches!(access.kind, AccessKind::Write | AccessKind::ReadModifyWrite);
            let user = access.ring == Ring::Three && !access.implicit;
            let fetch = access.kind == AccessKind::Fetch;
            // P, W, U, I and no RSVD; PK is ignored.
            let expected = 1 | u32::from(writes) << 1 | u32::from(user) << 2 | u32::from(fetch) << 4;
            prop_assert_eq!(fault.error_code & !0x20, expected);
        }
    }

    #[test]
    fn an_absent_root_entry_faults_whatever_its_other_bits_are(
        mut slots in slots(), root in any::<u64>(), machine in machine(), access in access_to_one_page(),
    ) {
        slots.0[0] = root & !P;
        for known in &machine.predict(&slots, &access).alternatives {
            let fault = known.outcome.fault().copied();
            prop_assert!(fault.is_some());
            // Neither P nor RSVD nor PK.
            prop_assert_eq!(fault.map(|fault| fault.error_code & 0b10_1001), Some(0));
            prop_assert!(known.updates.is_empty());
        }
    }

    #[test]
    fn a_translation_keeps_the_offset_into_its_page(
        slots in slots(), machine in machine(), access in access_to_one_page(),
    ) {
        for known in &machine.predict(&slots, &access).alternatives {
            if let Some(physical) = known.outcome.physical_address() {
                let mask = (1 << page_bits(&slots, machine)) - 1;
                prop_assert_eq!(physical.get() & mask, access.address.get() & mask);
                prop_assert_eq!(physical.get() & machine.profile.bits_above_physical(), 0);
            }
        }
    }

    #[test]
    fn an_access_is_translated_as_a_whole_or_not_at_all(
        slots in slots(), machine in machine(), access in access(),
    ) {
        for known in &machine.predict(&slots, &access).alternatives {
            if let Outcome::Translated(spans) = &known.outcome {
                prop_assert_eq!(spans.iter().map(|span| span.len).sum::<u16>(), access.size);
                prop_assert_eq!(spans.len(), if access.crosses_page() { 2 } else { 1 });
            }
        }
    }

    #[test]
    fn ignored_bits_decide_nothing(
        slots in slots(), noise in any::<[u64; 5]>(), machine in machine(), access in access(),
    ) {
        let machine = machine.without_keys();
        // Bits 11:9 and 62:52 of every entry, PWT and PCD, and A.
        let ignored: u64 = 0x7ff0_0000_0000_0e38;
        let mut other = slots;

        for (entry, noise) in other.0.iter_mut().zip(noise) {
            *entry ^= noise & ignored;
        }

        let expected = visible(&machine.predict(&slots, &access));
        prop_assert_eq!(visible(&machine.predict(&other, &access)), expected);
    }

    #[test]
    fn with_keys_bits_58_to_52_and_the_keys_of_tables_decide_nothing(
        slots in good_slots(), noise in any::<[u64; 5]>(), machine in machine(), access in access(),
    ) {
        let mut other = slots;
        for (level, (entry, noise)) in other.0.iter_mut().zip(noise).enumerate() {
            let key_is_ignored = if level < 3 { KEY } else { 0 };
            *entry ^= noise & (0x07f0_0000_0000_0e00 | key_is_ignored);
        }

        let expected = visible(&machine.predict(&slots, &access));
        prop_assert_eq!(visible(&machine.predict(&other, &access)), expected);
    }

    #[test]
    fn there_is_always_an_outcome_and_never_the_same_twice(
        slots in slots(), machine in machine(), access in access(),
    ) {
        let prediction = machine.predict(&slots, &access);
        prop_assert!(!prediction.alternatives.is_empty());
        prop_assert!(prediction.rules.iter().next().is_some());

        let visible = visible(&prediction);
        for (i, known) in visible.iter().enumerate() {
            prop_assert!(!visible[..i].contains(known));
        }
    }

    #[test]
    fn updates_touch_accessed_and_dirty_only(
        slots in slots(), machine in machine(), access in access(),
    ) {
        for known in &machine.predict(&slots, &access).alternatives {
            let completes = known.outcome.fault().is_none();
            for update in &known.updates {
                let touched = update.must_set | update.may_set;
                prop_assert_eq!(touched & !(A | D), 0);
                prop_assert_eq!(update.must_set & update.may_set, 0);

                // D: on a write, in a leaf.
                let writes = matches!(access.kind, AccessKind::Write | AccessKind::ReadModifyWrite);
                let leaf = update.level.number == 1 || update.before & PS != 0;
                prop_assert!(touched & D == 0 || writes && leaf);

                // Only present entries are updated. After a fault every update is open, otherwise
                // none.
                prop_assert_eq!(update.before & P, P);
                prop_assert_eq!(if completes { update.may_set } else { update.must_set }, 0);
            }
        }
    }

    #[test]
    fn more_rights_never_deny(
        slots in slots(), level in 0..5_usize, machine in machine(), access in access(),
        [rw, us, xd] in any::<[bool; 3]>(),
    ) {
        // With SMEP, SMAP or keys, U/S=1 takes rights away from the supervisor.
        let machine = machine.without_prevention().without_keys();
        let mut wider = slots;
        wider.0[level] |= if rw { RW } else { 0 } | if us { US } else { 0 };
        wider.0[level] &= !if xd { XD } else { 0 };

        prop_assert!(!machine.allows(&slots, &access) || machine.allows(&wider, &access));
    }

    #[test]
    fn fewer_physical_address_bits_never_allow(
        slots in slots(), mut machine in machine(), access in access(),
        (low, high) in (32..=52_u8, 32..=52_u8),
    ) {
        machine.profile.physical_address_bits = low.max(high);
        let wide = machine.allows(&slots, &access);
        machine.profile.physical_address_bits = low.min(high);
        prop_assert!(wide || !machine.allows(&slots, &access));
    }

    #[test]
    fn the_supervisor_may_do_what_users_may(
        slots in slots(), machine in machine(), access in access(),
    ) {
        let machine = machine.without_prevention();
        let user = Access { ring: Ring::Three, implicit: false, ..access };
        let supervisor = Access { ring: Ring::Zero, ..user };
        prop_assert!(!machine.allows(&slots, &user) || machine.allows(&slots, &supervisor));
    }

    #[test]
    fn without_wp_no_more_is_denied(
        slots in slots(), mut machine in machine(), access in access(),
    ) {
        machine.state.cr0 |= Cr0::WP;
        let with_wp = machine.allows(&slots, &access);
        machine.state.cr0 -= Cr0::WP;
        prop_assert!(!with_wp || machine.allows(&slots, &access));
    }

    #[test]
    fn a_trace_does_not_change_the_walk(
        slots in slots(), machine in machine(), access in access_to_one_page(),
    ) {
        let mmu = Mmu::<FourLevel>::new(machine.state, machine.profile);
        let mut path = Path::default();
        let traced = mmu.walk(&slots, access.address, &access, &mut path);
        prop_assert_eq!(traced, mmu.walk(&slots, access.address, &access, &mut ()));

        // The path ends in a leaf or in the entry that stopped it.
        let last = path.steps.last().expect("at least the root entry");
        prop_assert!(last.kind == EntryKind::Leaf || last.error.is_some());
        prop_assert!(traced.is_err() || last.kind == EntryKind::Leaf);
    }
}
