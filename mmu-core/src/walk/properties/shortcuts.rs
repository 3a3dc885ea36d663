//! A prediction takes shortcuts: an ordinary access is settled by one walk with masks, and a choice that
//! the walk shows to be without effect is not tried. Here each prediction is compared with one that walks
//! in detail and tries every choice.

use super::garbage::{FlatMemory, Garbage, Slots6, any_access, garbage, page_of_path};
use super::{A, D, P, PS, RW, US, XD};
use crate::access::{Access, AccessKind, MAX_FETCH_PAGES, MAX_PAGES};
use crate::address::VirtAddr;
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::Prediction;
use crate::walk::Mmu;
use crate::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae, Unpaged};
use crate::x86::state::{Cr0, Cr4};
use proptest::prelude::*;

const G: u64 = 1 << 8;

impl<F: Format> Mmu<F> {
    /// The prediction without any shortcut.
    fn predict_at_length<M: TableMemory<Error = OutsideMemory>>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Prediction {
        let mut found = Prediction::default();
        self.predict_in_regime(memory, access, None, &mut found);
        self.predict_other_choices(memory, access, &mut found);
        found.name_first_member();
        found
    }
}

/// A prediction into one that another access left behind is the one without shortcuts.
fn is_the_same<F: Format, M: TableMemory<Error = OutsideMemory>>(
    mmu: &Mmu<F>,
    memory: &M,
    access: &Access,
    earlier: &Access,
) -> Result<(), TestCaseError> {
    let mut found = mmu.predict(memory, earlier).unwrap_or_default();
    if mmu.predict_into(memory, access, &mut found).is_err() {
        prop_assert_eq!(found, Prediction::default());
        return Ok(());
    }
    prop_assert_eq!(found, mmu.predict_at_length(memory, access));
    Ok(())
}

/// Registers as random as those of [`Garbage`], with CR0.WP and CR0.AM, and, for `quiet`, without the
/// bits that let nearly every access fault.
fn mmu<F: Format>(garbage: &Garbage, [wp, am, quiet]: [bool; 3]) -> Mmu<F> {
    let regime = *garbage.mmu::<F>().regime();
    let mut state = regime.state;
    state.cr0.set(Cr0::WP, wp);
    state.cr0.set(Cr0::AM, am);
    if quiet {
        state.cr4 -= Cr4::LASS | Cr4::SMAP | Cr4::SMEP;
    }
    Mmu::new(state, regime.profile)
}

/// Entries that nearly always lead on: present, with every right except in one case of eight, and flags
/// at random. Addresses are small, so that no bit of them is reserved.
fn entries() -> impl Strategy<Value = Slots6> {
    let entry = any::<[u64; 4]>().prop_map(|[a, b, c, d]| {
        let missing = a & b & c & (RW | US | XD);
        let rare = a & b & d & (PS | P);
        (P | RW | US) ^ missing ^ rare | d & (A | D | G) | c & 0x1f_f000
    });
    prop::array::uniform6(entry).prop_map(Slots6)
}

/// The size of an access to one page or several.
fn size() -> impl Strategy<Value = u16> {
    prop_oneof![6 => 1..=16_u16, 1 => 1..=0x3000_u16]
}

/// The access with this size, unless it is a fetch, which is small.
fn resized(access: Access, size: u16) -> Access {
    const PAGES: [u16; 2] = [MAX_FETCH_PAGES as u16, MAX_PAGES as u16];
    let [few, many] = PAGES.map(|pages| (pages - 1) << 12);
    let most = if access.kind == AccessKind::Fetch { few } else { many };
    Access { size: size.min(most), ..access }
}

macro_rules! for_every_format {
    ($($name:ident: $format:ty,)+) => {$(
        mod $name {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(2048))]

                #[test]
                fn shortcuts_lead_to_the_same_in_random_memory(
                    garbage in garbage(), flags in any::<[bool; 3]>(),
                    access in any_access(), earlier in any_access(), size in size(),
                ) {
                    let memory = garbage.memory::<$format>();
                    let access = resized(access, size);
                    is_the_same(&mmu::<$format>(&garbage, flags), &memory, &access, &earlier)?;
                }

                #[test]
                fn shortcuts_lead_to_the_same_where_accesses_complete(
                    garbage in garbage(), entries in entries(), flags in any::<[bool; 3]>(),
                    access in any_access(), earlier in any_access(), size in size(),
                ) {
                    let page = page_of_path::<$format>();
                    let at_page = |access: Access| {
                        let offset = access.address.offset(12);
                        Access { address: VirtAddr::new(page + offset), ..access }
                    };
                    let (access, earlier) = (resized(at_page(access), size), at_page(earlier));
                    is_the_same(&mmu::<$format>(&garbage, flags), &entries, &access, &earlier)?;
                }
            }
        }
    )+};
}

for_every_format! {
    unpaged: Unpaged,
    bits32: Bits32,
    pae: Pae,
    four_level: FourLevel,
    five_level: FiveLevel,
    flat: FlatMemory,
}
