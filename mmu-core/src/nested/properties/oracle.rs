//! A second implementation, written from the prose of the manuals: all references of a walk by a loop over
//! the levels, registers as numbers. It uses none of the crate's formats and rules. It knows one page, and 4
//! or 5 levels in each dimension (SDM "VMX Support for Address Translation", APM "Nested
//! Paging").

use super::{Frames, access, frames};
use crate::access::{Access, AccessKind, Ring};
use crate::address::VirtAddr;
use crate::nested::{
    Dimension, Ept, EptCapabilities, NestedEnd, NestedExit, NestedMmu, SecondLevel,
};
use crate::x86::profile::{Profile, Vendor};
use crate::x86::state::{ControlState, Cr0, Cr4, Efer};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

/// How the oracle says that an access ends.
#[derive(Clone, Debug, PartialEq)]
enum End {
    At(u64),
    PageFault(u64),
    NestedPageFault(u64, u64),
    Violation(u64, u64),
    Misconfiguration(u64),
}

/// The bits that must be set, by host-physical address; the guest's and the second level's.
type Set = BTreeMap<(bool, u64), u64>;

#[expect(clippy::struct_excessive_bools, reason = "each is a bit of a register")]
struct Oracle<'m> {
    memory: &'m Frames,
    maxphyaddr: u32,
    guest_levels: u64,
    guest_root: u64,
    guest_nxe: bool,
    guest_wp: bool,
    guest_smep: bool,
    guest_smap: bool,
    second_levels: u64,
    second_root: u64,
    is_npt: bool,
    host_nxe: bool,
    ept_flags: bool,
    ept_execute_only: bool,
    kind: AccessKind,
    is_user: bool,
    ac: bool,
    linear: u64,
    set: Set,
}

impl<'m> Oracle<'m> {
    fn new(
        memory: &'m Frames,
        guest: &ControlState,
        second: &SecondLevel,
        profile: &Profile,
        access: &Access,
    ) -> Self {
        let (second_root, second_levels, host_nxe, ept) = match second {
            SecondLevel::Npt(host) => {
                (host.cr3, 4 + (host.cr4.bits() >> 12 & 1), host.efer.bits() >> 11 & 1 == 1, None)
            }
            SecondLevel::Ept(ept) => (ept.eptp & !0xfff, 1 + (ept.eptp >> 3 & 7), true, Some(ept)),
        };
        let (cr0, cr4) = (guest.cr0.bits(), guest.cr4.bits());
        Oracle {
            memory,
            maxphyaddr: profile.physical_address_bits.into(),
            guest_levels: 4 + (cr4 >> 12 & 1),
            guest_root: guest.cr3,
            guest_nxe: guest.efer.bits() >> 11 & 1 == 1,
            guest_wp: cr0 >> 16 & 1 == 1,
            guest_smep: cr4 >> 20 & 1 == 1,
            guest_smap: cr4 >> 21 & 1 == 1,
            second_levels,
            second_root,
            is_npt: ept.is_none(),
            host_nxe,
            ept_flags: ept.is_some_and(|ept| ept.eptp >> 6 & 1 == 1),
            ept_execute_only: ept
                .is_some_and(|ept| ept.capabilities.contains(EptCapabilities::EXECUTE_ONLY)),
            kind: access.kind,
            is_user: access.ring == Ring::Three,
            ac: access.ac,
            linear: access.address.get(),
            set: Set::new(),
        }
    }

    fn writes(&self) -> bool {
        matches!(self.kind, AccessKind::Write | AccessKind::ReadModifyWrite)
    }

    fn above_maxphyaddr(&self, entry: u64) -> bool {
        (entry & 0x000f_ffff_ffff_ffff) >> self.maxphyaddr != 0
    }

    /// The host-physical address of a guest-physical one. `access` has bit 0 for a read, 1 for a write, 2
    /// for a fetch, as in an exit qualification.
    fn host(&mut self, gpa: u64, is_table: bool, access: u64) -> Result<u64, End> {
        if gpa >> (12 + 9 * self.second_levels) != 0 {
            return Err(if self.is_npt {
                End::NestedPageFault(0, gpa)
            } else {
                End::Violation(access, gpa)
            });
        }

        let mut table = self.second_root;
        let mut used = Vec::new();
        let mut all = u64::MAX;
        let mut any_nx = false;
        for level in (1..=self.second_levels).rev() {
            let shift = 12 + 9 * (level - 1);
            let at = table + (gpa >> shift & 511) * 8;
            let entry = self.memory.word(at);
            let is_leaf = level == 1 || (level < 4 && entry >> 7 & 1 == 1);

            all &= entry;
            any_nx |= entry >> 63 == 1;
            if self.is_npt {
                if entry & 1 == 0 {
                    return Err(self.npf(gpa, is_table, access, 0));
                }
                let offset_bits =
                    if is_leaf && level > 1 { ((1 << shift) - 1) & !0x1fff } else { 0 };
                let is_reserved = self.above_maxphyaddr(entry)
                    || (!self.host_nxe && entry >> 63 == 1)
                    || (level >= 4 && entry & (1 << 7 | 1 << 8) != 0)
                    || entry & offset_bits != 0;
                if is_reserved {
                    return Err(self.npf(gpa, is_table, access, 1 << 3 | 1));
                }
            } else {
                let rwx = entry & 7;
                if rwx == 0 {
                    return Err(violation(gpa, is_table, access, 0));
                }
                let memory_type = entry >> 3 & 7;
                let offset_bits = if is_leaf { (1 << shift) - 0x1000 } else { 0xf8 };
                let is_misconfigured = rwx == 2
                    || rwx == 6
                    || (rwx == 4 && !self.ept_execute_only)
                    || self.above_maxphyaddr(entry)
                    || entry & offset_bits != 0
                    || (is_leaf && matches!(memory_type, 2 | 3 | 7));
                if is_misconfigured {
                    return Err(End::Misconfiguration(gpa));
                }
            }
            used.push((at, is_leaf));

            let base = entry & 0x000f_ffff_ffff_f000;
            if !is_leaf {
                table = base;
                continue;
            }

            if self.is_npt {
                let is_denied = all >> 2 & 1 == 0
                    || (access & 2 != 0 && all >> 1 & 1 == 0)
                    || (access & 4 != 0 && any_nx);
                if is_denied {
                    return Err(self.npf(gpa, is_table, access, 1));
                }
            } else if access & !all & 7 != 0 {
                return Err(violation(gpa, is_table, access, all & 7));
            }

            let is_dirty = access & 2 != 0;
            for (at, is_leaf) in used {
                let dirty = is_leaf && is_dirty;
                let bits = if self.is_npt {
                    1 << 5 | u64::from(dirty) << 6
                } else {
                    1 << 8 | u64::from(dirty) << 9
                };
                if self.is_npt || self.ept_flags {
                    *self.set.entry((true, at)).or_default() |= bits;
                }
            }
            let offset = (1 << shift) - 1;
            return Ok(base & !offset | gpa & offset);
        }
        unreachable!("the last level has leaves only")
    }

    fn npf(&self, gpa: u64, is_table: bool, access: u64, code: u64) -> End {
        let write = u64::from(access & 2 != 0) << 1;
        let fetch = u64::from(access & 4 != 0 && self.host_nxe) << 4;
        let which = if is_table { 1 << 33 } else { 1 << 32 };
        End::NestedPageFault(code | write | 1 << 2 | fetch | which, gpa)
    }

    fn page_fault(&self, present: bool, reserved: bool) -> End {
        let is_fetch = self.kind == AccessKind::Fetch;
        let i = is_fetch && (self.guest_nxe || self.guest_smep);
        End::PageFault(
            u64::from(present)
                | u64::from(self.writes()) << 1
                | u64::from(self.is_user) << 2
                | u64::from(reserved) << 3
                | u64::from(i) << 4,
        )
    }

    fn run(&mut self) -> Result<u64, End> {
        let table_access = match (self.is_npt, self.ept_flags) {
            (true, _) => 2,
            (false, true) => 3,
            (false, false) => 1,
        };

        let mut table = self.guest_root;
        let mut used = Vec::new();
        let mut all = u64::MAX;
        let mut any_xd = false;
        for level in (1..=self.guest_levels).rev() {
            let shift = 12 + 9 * (level - 1);
            let gpa = table + (self.linear >> shift & 511) * 8;
            let at = self.host(gpa, true, table_access)?;
            let entry = self.memory.word(at);
            let is_leaf = level == 1 || (level < 4 && entry >> 7 & 1 == 1);

            if entry & 1 == 0 {
                return Err(self.page_fault(false, false));
            }
            let offset_bits = if is_leaf && level > 1 { ((1 << shift) - 1) & !0x1fff } else { 0 };
            let g_is_reserved = self.is_npt;
            let is_reserved = self.above_maxphyaddr(entry)
                || (!self.guest_nxe && entry >> 63 == 1)
                || (level >= 4 && entry >> 7 & 1 == 1)
                || (level >= 4 && g_is_reserved && entry >> 8 & 1 == 1)
                || entry & offset_bits != 0;
            if is_reserved {
                return Err(self.page_fault(true, true));
            }

            all &= entry;
            any_xd |= entry >> 63 == 1;
            used.push((gpa, at, entry, is_leaf));
            let base = entry & 0x000f_ffff_ffff_f000;
            if !is_leaf {
                table = base;
                continue;
            }

            let (writable, user_page) = (all >> 1 & 1 == 1, all >> 2 & 1 == 1);
            let is_fetch = self.kind == AccessKind::Fetch;
            let is_denied = if self.is_user {
                !user_page || (self.writes() && !writable) || (is_fetch && any_xd)
            } else {
                (self.writes() && !writable && self.guest_wp)
                    || (is_fetch && (any_xd || (user_page && self.guest_smep)))
                    || (!is_fetch && user_page && self.guest_smap && !self.ac)
            };
            if is_denied {
                return Err(self.page_fault(true, false));
            }

            let flags_of = |is_leaf, writes| 1 << 5 | u64::from(is_leaf && writes) << 6;
            for &(gpa, _, entry, is_leaf) in &used {
                if !self.is_npt && !self.ept_flags && flags_of(is_leaf, self.writes()) & !entry != 0
                {
                    // To change A or D the table must be writable.
                    self.host(gpa, true, 3)?;
                }
            }
            for (_, at, _, is_leaf) in used {
                let flags = flags_of(is_leaf, self.writes());
                *self.set.entry((false, at)).or_default() |= flags;
            }

            let access = match self.kind {
                AccessKind::Read | AccessKind::Clflush => 1,
                AccessKind::Write => 2,
                AccessKind::ReadModifyWrite => 3,
                AccessKind::Fetch => 4,
            };
            let offset = (1 << shift) - 1;
            return self.host(base & !offset | self.linear & offset, false, access);
        }
        unreachable!("the last level has leaves only")
    }
}

/// "Exit Qualification for EPT Violations". A read-modify-write of the page is compared without bit 0.
fn violation(gpa: u64, is_table: bool, access: u64, rights: u64) -> End {
    let page = u64::from(!is_table) << 8;
    End::Violation(access | rights << 3 | 1 << 7 | page, gpa)
}

/// The likeliest end, as far as the oracle describes it.
fn end_of(end: &NestedEnd) -> End {
    match *end {
        NestedEnd::Translated(ref spans) => End::At(spans[0].address.get()),
        NestedEnd::Fault(fault) => End::PageFault(fault.error_code.into()),
        NestedEnd::Exit(NestedExit::NestedPageFault { info1, info2, .. }) => {
            End::NestedPageFault(info1, info2)
        }
        NestedEnd::Exit(NestedExit::EptViolation { qualification, guest_physical, .. }) => {
            End::Violation(qualification, guest_physical)
        }
        NestedEnd::Exit(NestedExit::EptMisconfiguration { guest_physical, .. }) => {
            End::Misconfiguration(guest_physical)
        }
    }
}

/// What the oracle cannot compare: the manuals leave it open.
fn forget_open(end: End, kind: AccessKind, second_levels: u64) -> End {
    let is_beyond = |gpa: u64| gpa >> (12 + 9 * second_levels) != 0;
    match end {
        End::NestedPageFault(_, gpa) if is_beyond(gpa) => End::NestedPageFault(0, gpa),
        End::Violation(_, gpa) if is_beyond(gpa) => End::Violation(0, gpa),
        End::Violation(qualification, gpa)
            if kind == AccessKind::ReadModifyWrite && qualification >> 8 & 1 == 1 =>
        {
            End::Violation(qualification & !1, gpa)
        }
        end => end,
    }
}

/// The bits that were clear before.
fn new_bits(set: impl IntoIterator<Item = ((bool, u64), u64)>, memory: &Frames) -> Set {
    let new = set.into_iter().map(|(place, bits)| (place, bits & !memory.word(place.1)));
    new.filter(|(_, bits)| *bits != 0).collect()
}

prop_compose! {
    /// A guest, a second level, a processor of the vendor that has it, and an access to one byte.
    fn registers()(
        roots in prop::array::uniform2(0..16_u64),
        [is_npt, nxe, host_nxe, wp, smep, smap] in any::<[bool; 6]>(),
        [flags, execute_only, guest_has_5, second_has_5] in any::<[bool; 4]>(),
        index_5 in 0..8_u64,
        access in access(),
    ) -> (ControlState, SecondLevel, Profile, Access) {
        let mut guest = ControlState::four_level(roots[0] << 12);
        guest.efer.set(Efer::NXE, nxe);
        guest.cr0.set(Cr0::WP, wp);
        guest.cr4.set(Cr4::SMEP, smep);
        guest.cr4.set(Cr4::SMAP, smap);
        guest.cr4.set(Cr4::LA57, guest_has_5);

        let mut host = ControlState::four_level(roots[1] << 12);
        host.efer.set(Efer::NXE, host_nxe);
        host.cr4.set(Cr4::LA57, second_has_5);
        let mut ept = Ept::four_level(roots[1] << 12).with_flags(flags);
        ept.capabilities = EptCapabilities::PAGE_1GB;
        ept.capabilities.set(EptCapabilities::EXECUTE_ONLY, execute_only);
        ept.eptp = ept.eptp & !0x38 | (3 + u64::from(second_has_5)) << 3;

        let second = if is_npt { SecondLevel::Npt(host) } else { SecondLevel::Ept(ept) };
        let vendor = if is_npt { Vendor::Amd } else { Vendor::Intel };
        let profile = Profile { vendor, ..Profile::default() };
        let upper = if guest_has_5 { index_5 << 48 } else { 0 };
        let address = VirtAddr::new(upper | access.address.get());
        (guest, second, profile, Access { address, size: 1, ..access })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn the_oracle_agrees(
        memory in frames(7, 0.04),
        (guest, second, profile, access) in registers(),
        is_wide in any::<bool>(),
    ) {
        let physical_address_bits = if is_wide { 52 } else { 40 };
        let profile = Profile { physical_address_bits, ..profile };
        let mut oracle = Oracle::new(&memory, &guest, &second, &profile, &access);
        let expected = match oracle.run() {
            Ok(address) => End::At(address),
            Err(end) => end,
        };

        let prediction = NestedMmu::new(guest, second, profile).predict(&memory, &access).unwrap();
        let likeliest = &prediction.alternatives[0];
        let found = end_of(&likeliest.end);
        let forget = |end| forget_open(end, access.kind, oracle.second_levels);
        prop_assert_eq!(forget(found), forget(expected));

        let set = likeliest.updates.iter().map(|update| {
            ((update.dimension == Dimension::Second, update.at.get()), update.must_set)
        });
        prop_assert_eq!(new_bits(set, &memory), new_bits(oracle.set.clone(), &memory));
    }
}
