//! The mutants whose mistake is in one access. Each is the reference with one decision of the walk
//! replaced.

use super::Mutant;
use super::Need::{
    self, Amd, AnyLocalTable, BitsAbove, BitsBelow, Feature, HighMemory, Implicit, Lacks,
    LoadsPkru, Mode, OneOf,
};
use crate::Erased;
use mmu_core::x86::format::{EntryBits, EntryKind, Format, Level};
use mmu_core::x86::semantics::{Cause, Denial, EntryError, Rights};
use mmu_core::{
    Access, AccessKind, Efer, Fault, Features, PageFaultCode, PagingMode, PhysAddr, Reference,
    Regime, Ring, Rule, Semantics, VirtAddr,
};

/// Defines mutants. Each has an id, the rule that it breaks, where the mistake happened, the mistake,
/// what a machine must have for it to show, and the methods of [`Semantics`] that make it.
macro_rules! mutants {
    ($($id:ident, $rule:expr, $origin:literal, $mistake:literal, [$($need:expr),*], { $($method:item)+ })+) => {
        $(
            #[derive(Clone, Copy)]
            pub(super) struct $id;

            impl Semantics for $id {
                $($method)+
            }
        )+

        pub(super) const MUTANTS: &[Mutant] = &[$(
            Mutant {
                id: stringify!($id),
                rule: $rule,
                mistake: $mistake,
                origin: $origin,
                needs: &[$($need),*],
                semantics: Some(&$id),
                walker: &Erased(&$id),
            },
        )+];
    };
}

const PKU: Need = Feature(Features::PKU);
const PKS: Need = Feature(Features::PKS);

const PS: u64 = EntryBits::PS.bits();

/// A bit that is not a right, and marks that the root was passed.
const PASSED_ROOT: Rights = Rights::from_bits_retain(1 << 7);

/// Whether a PDE of 32-bit paging maps a page.
fn is_4_mib_pde<F: Format>(level: &Level, kind: EntryKind) -> bool {
    F::MODE == PagingMode::Bits32 && level.number == 2 && kind == EntryKind::Leaf
}

mutants! {
    B01, Some(Rule::Code2), "v86 ebea7292, ACRN 44a2d77c3", "R/W and U/S judged on the way down, before the entries below", [], {
        fn denial_on_the_way(&self, rights: Rights, access: &Access, regime: &Regime) -> Denial {
            let denial = Reference.denial(rights, rights, 0, access, regime);
            denial & (Denial::SUPERVISOR_PAGE | Denial::READ_ONLY)
        }
    }
    B01x, Some(Rule::Code2), "Bochs 91e6ca8d5", "XD judged on the way down, before the entries below", [Feature(Features::NX)], {
        fn denial_on_the_way(&self, rights: Rights, access: &Access, regime: &Regime) -> Denial {
            Reference.denial(rights, rights, 0, access, regime) & Denial::EXECUTE_DISABLED
        }
    }
    B02, Some(Rule::Code9), "halfix 9bbf835", "W/R and U/S left out of the error code when the PDPTE is absent", [Mode(PagingMode::Pae)], {
        fn page_fault_code(&self, cause: Cause, access: &Access, regime: &Regime) -> PageFaultCode {
            let code = Reference.page_fault_code(cause, access, regime);
            let pdpte = regime.state.pdptes[(access.address.get() >> 30 & 3) as usize];
            let is_absent = regime.state.mode() == PagingMode::Pae && pdpte & EntryBits::P.bits() == 0;
            if is_absent { code - (PageFaultCode::W | PageFaultCode::U) } else { code }
        }
    }
    B04, Some(Rule::Right3), "QEMU b4bda1ae57", "SMEP applied to user fetches, too", [Feature(Features::SMEP)], {
        fn smep_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
            Reference.smep_denied(rights, &Access { ring: Ring::Zero, ..*access }, regime)
        }
    }
    B05, Some(Rule::Right4), "QEMU 8a201bd47e, Bochs 93a07982d", "EFLAGS.AC excuses implicit accesses, too", [Implicit, Feature(Features::SMAP)], {
        fn smap_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
            !access.ac && Reference.smap_denied(rights, access, regime)
        }
    }
    B06, Some(Rule::Right5), "Bochs 951361a3a", "PKRU applied to supervisor pages, too", [PKU], {
        fn key_denied(&self, rights: Rights, leaf: u64, access: &Access, regime: &Regime) -> bool {
            Reference.key_denied(rights | Rights::USER, leaf, access, regime)
                || Reference.key_denied(rights, leaf, access, regime)
        }
    }
    B09b, Some(Rule::Mode5), "86Box f1a60d824, 74bda7121", "PSE-36: PDE[20:17] dropped from the address", [Mode(PagingMode::Bits32), Feature(Features::PSE36), HighMemory, BitsAbove(36)], {
        fn address<F: Format>(&self, level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
            let whole = F::address(level, kind, entry).get();
            let dropped = if is_4_mib_pde::<F>(level, kind) { 0xf0_0000_0000 } else { 0 };
            PhysAddr::new(whole & !dropped)
        }
    }
    B10, None, "HAXM 57590d2", "32-bit addresses from 0x80000000 on sign-extended", [Mode(PagingMode::Bits32)], {
        fn address<F: Format>(&self, level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
            let whole = F::address(level, kind, entry).get();
            let is_negative = F::MODE == PagingMode::Bits32 && whole >> 31 == 1;
            PhysAddr::new(if is_negative { whole | EntryBits::ADDRESS & !0xffff_ffff } else { whole })
        }
    }
    B11, Some(Rule::Mode8), "PCem 34c0db9c, gdb-pt-dump 38a0df1, Bareflank #631", "CR3[11:0] kept in the address of the root", [], {
        fn root<F: Format>(&self, regime: &Regime) -> PhysAddr {
            // PAE has bits 11:5 in the address anyway.
            let low = if F::MODE == PagingMode::Pae { 0x1f } else { 0xfff };
            F::root(regime) + (regime.state.cr3 & low)
        }
    }
    B12, Some(Rule::Mode8), "libvmi 71202ef, 938c048, seL4_projects_libs PR121", "CR3 and the addresses of tables cut to 32 bits", [BitsAbove(38)], {
        fn root<F: Format>(&self, regime: &Regime) -> PhysAddr {
            PhysAddr::new(F::root(regime).get() & 0xffff_ffff)
        }

        fn address<F: Format>(&self, level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
            let whole = F::address(level, kind, entry).get();
            PhysAddr::new(if kind == EntryKind::Table { whole & 0xffff_ffff } else { whole })
        }
    }
    B35, Some(Rule::Right2), "86Box 250f47720", "implicit writes ignore R/W while CR0.WP=1", [Implicit], {
        fn write_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
            !access.implicit && Reference.write_denied(rights, access, regime)
        }
    }
    B36, Some(Rule::Right2), "PCem 3ba03410", "R/W binds implicit writes while CR0.WP=0, like those of a user", [Implicit], {
        fn write_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
            let as_user = Access { implicit: false, ..*access };
            Reference.write_denied(rights, access, regime)
                || Reference.write_denied(rights, &as_user, regime)
        }
    }
    B37, Some(Rule::Canon1), "Bochs 55cb12bad, 8108da227", "implicit accesses not tested for canonical form", [Implicit, AnyLocalTable], {
        fn is_canonical(&self, access: &Access, address_bits: u8, regime: &Regime) -> bool {
            access.implicit || Reference.is_canonical(access, address_bits, regime)
        }
    }
    B39, Some(Rule::Right1), "QEMU 128b52e8d1", "the rights of the root's entry forgotten", [], {
        fn combine(&self, above: Rights, entry: u64) -> Rights {
            let rights = Reference.combine(above, entry);
            if above.contains(PASSED_ROOT) { rights | PASSED_ROOT } else { Rights::all() | PASSED_ROOT }
        }
    }
    M01, Some(Rule::Mode5), "Xen 4c5d78a10d", "PSE-36: PDE[20:13] dropped from the address", [Mode(PagingMode::Bits32), Feature(Features::PSE36), HighMemory], {
        fn address<F: Format>(&self, level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
            let whole = F::address(level, kind, entry).get();
            let dropped = if is_4_mib_pde::<F>(level, kind) { !u64::from(u32::MAX) } else { 0 };
            PhysAddr::new(whole & !dropped)
        }
    }
    M02, Some(Rule::Mode4), "Xen 4c5d78a10d, libvmi e2803da", "PS honoured while CR4.PSE=0", [Mode(PagingMode::Bits32)], {
        fn is_leaf<F: Format>(&self, level: &Level, entry: u64, regime: &Regime) -> bool {
            (is_4_mib_pde::<F>(level, EntryKind::Leaf) && entry & PS != 0)
                || Reference.is_leaf::<F>(level, entry, regime)
        }
    }
    M03, Some(Rule::Right3), "Xen 4c5d78a10d", "SMEP enforced only if NXE=1", [Feature(Features::SMEP)], {
        fn smep_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
            regime.state.efer.contains(Efer::NXE) && Reference.smep_denied(rights, access, regime)
        }
    }
    M04, Some(Rule::Right2), "Xen 4c5d78a10d", "a WP=0 supervisor write to a read-only page leaves D clear", [], {
        fn sets_dirty(&self, rights: Rights, access: &Access) -> bool {
            self.is_write(access) && rights.contains(Rights::WRITE)
        }
    }
    M05, Some(Rule::Code7), "Xen 4c5d78a10d", "G in a PML4E never treated as reserved", [Amd], {
        fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
            let own = if level.number == 4 { EntryBits::G.bits() } else { 0 };
            Reference.reserved_bits::<F>(level, kind, regime) & !own
        }
    }
    M06, Some(Rule::Pdpte4), "Xen 4c5d78a10d", "the reserved bits of PAE's third level unchecked", [Mode(PagingMode::Pae)], {
        fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
            // PDPTEs of PAE are the entries without flags.
            if level.has_flags { Reference.reserved_bits::<F>(level, kind, regime) } else { 0 }
        }
    }
    M07, Some(Rule::Right4), "Xen a0b40c3e08", "a fetch treated as a read when I/D cannot be reported", [Feature(Features::SMAP)], {
        fn smap_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
            let mut judged = *access;
            if access.kind == AccessKind::Fetch && !self.reports_fetch(regime) {
                judged.kind = AccessKind::Read;
            }
            Reference.smap_denied(rights, &judged, regime)
        }
    }
    M08, Some(Rule::Right6), "Xen 8f2e3d8913", "the protection key of a large page taken as 0", [OneOf(&[PKU, PKS])], {
        fn key_denied(&self, rights: Rights, leaf: u64, access: &Access, regime: &Regime) -> bool {
            let key = if leaf & PS != 0 { EntryBits::with_key(15) } else { 0 };
            Reference.key_denied(rights, leaf & !key, access, regime)
        }
    }
    M09, Some(Rule::Code11), "Xen 8f2e3d8913", "PK left out when ordinary rights fail too", [OneOf(&[PKU, PKS])], {
        fn page_fault_code(&self, cause: Cause, access: &Access, regime: &Regime) -> PageFaultCode {
            let code = Reference.page_fault_code(cause, access, regime);

            match cause {
                Cause::Denied(denial) if denial != Denial::KEY => code - PageFaultCode::PK,
                _ => code,
            }
        }
    }
    M10, Some(Rule::Code9), "Xen c558361467", "an implicit supervisor access treated as a user access", [Implicit], {
        fn denial(
            &self,
            above: Rights,
            rights: Rights,
            leaf: u64,
            access: &Access,
            regime: &Regime,
        ) -> Denial {
            Reference.denial(above, rights, leaf, &Access { implicit: false, ..*access }, regime)
        }
    }
    M11a, Some(Rule::Code5), "Xen XSA-176", "PS accepted in a PML4E", [], {
        fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
            let own = if level.number == 4 { PS } else { 0 };
            Reference.reserved_bits::<F>(level, kind, regime) & !own
        }
    }
    M11b, Some(Rule::Mode10), "Xen XSA-176", "PS accepted in a PDPTE without support for 1 GiB pages", [Lacks(Features::PAGE_1GB)], {
        fn is_leaf<F: Format>(&self, level: &Level, entry: u64, regime: &Regime) -> bool {
            (level.number == 3 && entry & PS != 0) || Reference.is_leaf::<F>(level, entry, regime)
        }
    }
    M12, Some(Rule::Code4), "Xen 5dbd60e16a", "a physical address above MAXPHYADDR accepted", [BitsBelow(52)], {
        fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
            let above = regime.profile.bits_above_physical();
            Reference.reserved_bits::<F>(level, kind, regime) & !above
        }
    }
    M13a, Some(Rule::Code1), "Xen b38c115140", "reserved bits of a non-present entry checked", [], {
        fn entry_error(
            &self,
            level: &Level,
            kind: EntryKind,
            entry: u64,
            reserved: u64,
        ) -> Option<EntryError> {
            if entry & reserved != 0 {
                return Some(EntryError::Reserved(entry & reserved));
            }
            Reference.entry_error(level, kind, entry, reserved)
        }
    }
    M13b, Some(Rule::Code1), "QEMU, October 2022", "RSVD reported without P", [], {
        fn page_fault_code(&self, cause: Cause, access: &Access, regime: &Regime) -> PageFaultCode {
            let code = Reference.page_fault_code(cause, access, regime);
            let reserved = code.contains(PageFaultCode::RSVD);
            if reserved { code - PageFaultCode::P } else { code }
        }
    }
    M14, Some(Rule::Code6), "Xen 6d972a6195", "the alignment bits of a large leaf not checked", [], {
        fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
            let alignment = match kind {
                EntryKind::Leaf => ((1 << level.shift) - 1) & !0x1fff,
                EntryKind::Table => 0,
            };
            Reference.reserved_bits::<F>(level, kind, regime) & !alignment
        }
    }
    M15, Some(Rule::Canon1), "QEMU #676", "a non-canonical address reported as #PF", [], {
        fn non_canonical_fault(&self, access: &Access) -> Fault {
            let mut code = PageFaultCode::empty();
            code.set(PageFaultCode::W, self.is_write(access));
            code.set(PageFaultCode::U, access.is_user());
            Fault::page_fault(code, access.address)
        }
    }
    M16, Some(Rule::Right5), "Bochs 72d55ca09", "PKRU or PKRS chosen by CPL instead of by the page's U/S", [OneOf(&[LoadsPkru, PKS])], {
        fn key_denied(&self, rights: Rights, leaf: u64, access: &Access, regime: &Regime) -> bool {
            let chosen = if access.ring == Ring::Three { Rights::USER } else { Rights::empty() };
            Reference.key_denied((rights - Rights::USER) | chosen, leaf, access, regime)
        }
    }
    M18, Some(Rule::Ad1), "Bochs 54961f032", "A of the PML5E lost", [Mode(PagingMode::FiveLevel)], {
        fn sets_accessed(&self, level: &Level) -> bool {
            level.number != 5
        }
    }
    M19, Some(Rule::Mode5), "Bochs 7a183ab52", "the reserved mask of a 4 MiB PDE wrong when MAXPHYADDR > 40", [Mode(PagingMode::Bits32), Feature(Features::PSE36), BitsAbove(40)], {
        fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
            let bits = u32::from(regime.profile.physical_address_bits);
            if bits <= 40 || !is_4_mib_pde::<F>(level, kind) {
                return Reference.reserved_bits::<F>(level, kind, regime);
            }
            // `41 - bits` ones, from bit `13 + bits - 32` up, with shifts that wrap.
            let ones = 1_u32.wrapping_shl(41_u32.wrapping_sub(bits)).wrapping_sub(1);
            u64::from(ones.wrapping_shl(bits - 19))
        }
    }
    M21, Some(Rule::Canon2), "Bochs 8674659f9", "only the first byte of an access tested for canonical form", [], {
        fn is_canonical(&self, access: &Access, address_bits: u8, regime: &Regime) -> bool {
            let first = self.masked_address(access, regime);
            first.is_some_and(|first| first.is_canonical(address_bits))
        }
    }
    M30, Some(Rule::Mode8), "HAXM #152", "CR3[11:5] dropped in PAE", [Mode(PagingMode::Pae)], {
        fn root<F: Format>(&self, regime: &Regime) -> PhysAddr {
            let dropped = if F::MODE == PagingMode::Pae { 0xfe0 } else { 0 };
            PhysAddr::new(F::root(regime).get() & !dropped)
        }
    }
    M32, Some(Rule::Mode8), "ACRN #2561", "one CR3 low bit too few ignored in PAE", [Mode(PagingMode::Pae)], {
        fn root<F: Format>(&self, regime: &Regime) -> PhysAddr {
            let kept = if F::MODE == PagingMode::Pae { regime.state.cr3 & 0x10 } else { 0 };
            F::root(regime) + kept
        }
    }
    M31, Some(Rule::Pdpte1), "HAXM #152", "PDPTE registers not kept: a later edit of memory is seen", [
        Mode(PagingMode::Pae)
    ], {
        fn register<F: Format>(&self, _: &Level, _: u64, _: &Regime) -> Option<u64> {
            None
        }
    }
    M33, Some(Rule::Pdpte2), "ACRN #3574", "PDPTEs are loaded into registers unchecked, so no #GP", [
        Mode(PagingMode::Pae)
    ], {
        fn checks_loaded_pdptes(&self) -> bool {
            false
        }

        fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
            let unchecked = !level.has_flags && !regime.choices.pdptes_are_walked;
            if unchecked { 0 } else { Reference.reserved_bits::<F>(level, kind, regime) }
        }
    }
    M34, None, "gem5 a746d8d619", "the index of the upper level used again", [], {
        fn index(&self, level: &Level, address: VirtAddr) -> u64 {
            let shift = if level.number == 4 { level.shift } else { level.shift + 9 };
            address.index(shift, level.index_bits)
        }
    }
    M36, Some(Rule::Right8), "gem5 #226", "CLFLUSH treated as a write", [], {
        fn is_write(&self, access: &Access) -> bool {
            access.kind.writes() || access.kind == AccessKind::Clflush
        }
    }
    M37, Some(Rule::Mode11), "volatility3 #580, x86_64 #612", "PAT, bit 12 of a large leaf, left in the address", [], {
        fn address<F: Format>(&self, level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
            let large = kind == EntryKind::Leaf && level.number > 1;
            let pat = if large { entry & EntryBits::LARGE_PAT.bits() } else { 0 };
            F::address(level, kind, entry) + pat
        }
    }
    M38, Some(Rule::Code8), "baresifter #4", "I/D always reported for a fetch", [], {
        fn reports_fetch(&self, _regime: &Regime) -> bool {
            true
        }
    }
    M39, Some(Rule::Code6), "sail-riscv 9c3fd5b8", "every reserved bit ignored in leaves", [], {
        fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
            match kind {
                EntryKind::Table => Reference.reserved_bits::<F>(level, kind, regime),
                EntryKind::Leaf => 0,
            }
        }
    }
    M41, Some(Rule::Right1), "memflow 0.2.4", "R/W ORed over the levels", [], {
        fn combine(&self, above: Rights, entry: u64) -> Rights {
            // The rights above the root are not ORed.
            let above_writes = above.contains(PASSED_ROOT | Rights::WRITE);
            let mut rights = Reference.combine(above, entry) | PASSED_ROOT;
            rights.set(Rights::WRITE, above_writes || entry & EntryBits::RW.bits() != 0);
            rights
        }
    }
    M42, Some(Rule::Code1), "x86_64 0.15.5", "an entry with P=0 and other bits set reported as mapped", [], {
        fn entry_error(
            &self,
            level: &Level,
            kind: EntryKind,
            entry: u64,
            reserved: u64,
        ) -> Option<EntryError> {
            let seen = if entry == 0 { 0 } else { entry | EntryBits::P.bits() };
            Reference.entry_error(level, kind, seen, reserved)
        }
    }
}

#[cfg(test)]
mod tests;
