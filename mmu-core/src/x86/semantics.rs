//! The decisions of a walk, one method each.
//!
//! The default methods are the reference: they do what the manuals say. A walker with one known
//! mistake implements [`Semantics`] and overrides the one method that is wrong. It is compiled into
//! a separate walk, so the reference pays nothing for it.

use crate::access::{Access, AccessKind, Segment};
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::fault::{Fault, PageFaultCode, Vector};
use crate::x86::format::{EntryBits, EntryKind, Format, Level};
use crate::x86::regime::Regime;
use crate::x86::state::{CR3_LAM_U48, CR3_LAM_U57, Cr0, Cr4, Efer};
use bitflags::bitflags;

bitflags! {
    /// The rights that the entries of a path grant together. Each is an AND over the levels
    /// (RIGHT-1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Rights: u8 {
        /// R/W is 1 at every level.
        const WRITE = 1 << 0;
        /// U/S is 1 at every level: a user page.
        const USER = 1 << 1;
        /// XD is 0 at every level.
        const EXECUTE = 1 << 2;
    }
}

/// The reason why an entry ends the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryError {
    /// P is 0.
    NotPresent,
    /// These reserved bits are set.
    Reserved(u64),
}

bitflags! {
    /// The reasons why the rights of a complete translation deny an access. There can be several.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Denial: u8 {
        /// A user access to a supervisor page.
        const SUPERVISOR_PAGE = 1 << 0;
        /// A write to a read-only page.
        const READ_ONLY = 1 << 1;
        /// A fetch from an execute-disabled page.
        const EXECUTE_DISABLED = 1 << 2;
        /// A supervisor fetch from a user page under SMEP (RIGHT-3).
        const SMEP = 1 << 3;
        /// A supervisor data access to a user page under SMAP (RIGHT-4).
        const SMAP = 1 << 4;
        /// A protection key (RIGHT-5).
        const KEY = 1 << 5;
        /// A shadow-stack access to a page that is not a shadow stack of its kind (RIGHT-7).
        const SHADOW_STACK = 1 << 6;
    }
}

/// The cause of a page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// An entry is not present or has a reserved bit set.
    Entry(EntryError),
    /// The translation exists and its rights deny the access.
    Denied(Denial),
}

/// The result of the alignment check (ALIGN-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlignmentCheck {
    /// The access is aligned, or its alignment is not checked.
    Passes,
    /// Some processors refuse the access.
    MayFail,
    /// The access is refused.
    Fails,
}

/// The decisions of a walk. The defaults are the reference.
pub trait Semantics: Copy {
    /// Whether no decision is overridden. A walk may then take them all together.
    const IS_REFERENCE: bool = false;

    /// Whether the linear address of an access in long mode has 64 bits and must be canonical;
    /// otherwise it has 32 (MODE-1).
    fn has_64_bit_address(&self, access: &Access) -> bool {
        access.has_64_bit_address()
    }

    /// Whether the access violates linear-address space separation: a user-mode access to an address
    /// with bit 63 set, or a supervisor-mode access to one with bit 63 clear. A supervisor's data are
    /// separated only while CR4.SMAP=1, and an explicit access is excused by EFLAGS.AC; fetches always
    /// are (CANON-5; SDM "Linear-Address Space Separation (LASS)").
    ///
    /// It is called in long mode only. The addresses are those before masking, which never changes bit
    /// 63; in compatibility mode they have 32 bits.
    fn violates_lass(&self, access: &Access, regime: &Regime) -> bool {
        let cr4 = regime.state.cr4;
        let is_separated = access.is_user()
            || access.kind == AccessKind::Fetch
            || (cr4.contains(Cr4::SMAP) && (access.implicit || !access.ac));

        if !cr4.contains(Cr4::LASS) || !is_separated {
            return false;
        }

        let own_half = u64::from(!access.is_user());
        let is_outside = |byte: VirtAddr| byte.get() >> 63 != own_half;
        is_outside(access.address) || is_outside(self.last_byte(access, regime))
    }

    /// The linear address that is translated: LAM and UAI mask bits of data addresses (CANON-4; SDM
    /// "Linear-Address Masking", APM "Upper Address Ignore"), in 64-bit mode only. UAI does so for DS
    /// and ES only. `None` if the highest bit that LAM leaves differs from bit 63.
    fn masked_address(&self, access: &Access, regime: &Regime) -> Option<VirtAddr> {
        let state = &regime.state;
        if access.kind == AccessKind::Fetch || access.implicit || access.compatibility {
            return Some(access.address);
        }
        let by_ds_or_es = access.segment == Segment::Data && !access.shadow_stack;
        if state.efer.contains(Efer::UAIE) && by_ds_or_es {
            // Bits 63:57 are ignored, as if they repeated bit 56.
            return Some(access.address.sign_extended(57));
        }

        let five_levels = state.cr4.contains(Cr4::LA57);
        let bit_63 = access.address.get() >> 63;
        let kept = match bit_63 {
            0 if state.cr3 & CR3_LAM_U57 != 0 => 57,
            0 if state.cr3 & CR3_LAM_U48 != 0 => 48,
            1 if state.cr4.contains(Cr4::LAM_SUP) => 48 + 9 * u8::from(five_levels),
            _ => return Some(access.address),
        };

        let extended = access.address.sign_extended(kept);
        (extended.get() >> 63 == bit_63).then_some(extended)
    }

    /// The linear address of the last byte, before it is masked itself. Under LAM it may follow the
    /// masked address of the first (CANON-2).
    fn last_byte(&self, access: &Access, regime: &Regime) -> VirtAddr {
        let follows = regime.choices.bytes_follow_the_masked_first;
        let first = if follows { self.masked_address(access, regime) } else { None };
        Access { address: first.unwrap_or(access.address), ..*access }.last_byte()
    }

    /// Whether every byte of the access has a canonical address once it is masked (CANON-2). Bits
    /// that UAI ignores are not part of any byte's address, so that with 57 address bits every byte
    /// passes.
    ///
    /// Under LAM the bytes may be masked one by one, or follow the first one's masked address.
    fn is_canonical(&self, access: &Access, address_bits: u8, regime: &Regime) -> bool {
        let first = self.masked_address(access, regime);

        let last = if regime.choices.bytes_follow_the_masked_first {
            first.map(|first| Access { address: first, ..*access }.last_byte())
        } else {
            let alone = Access { address: access.last_byte(), size: 1, ..*access };
            self.masked_address(&alone, regime)
        };
        let is_canonical =
            |byte: Option<VirtAddr>| byte.is_some_and(|b| b.is_canonical(address_bits));
        is_canonical(first) && is_canonical(last)
    }

    /// The fault of an access that violates LASS, is not canonical, or exceeds the limit of its
    /// segment: #SS for the stack, otherwise #GP. CR2 keeps its value (CANON-1, CANON-5; SDM "Canonical
    /// Addressing", "Limit Checking" and the exception pages of the instructions). A fetch goes through CS.
    fn non_canonical_fault(&self, access: &Access) -> Fault {
        let vector = match access.segment {
            Segment::Stack if access.kind != AccessKind::Fetch => Vector::StackFault,
            _ => Vector::GeneralProtection,
        };
        Fault { vector, error_code: 0, cr2: None }
    }

    /// The alignment check: CR0.AM, EFLAGS.AC, and CPL 3 turn it on, for explicit data accesses. An
    /// access of 4 bytes counts as a doubleword, one of 10 as a double extended-precision number. Of 16
    /// bytes, the processor may check for a multiple of 8 (ALIGN-1; SDM "Interrupt 17 - Alignment Check
    /// Exception (#AC)").
    fn alignment_check(&self, access: &Access, regime: &Regime) -> AlignmentCheck {
        let is_data = !matches!(access.kind, AccessKind::Fetch | AccessKind::Clflush);
        let is_on = regime.state.cr0.contains(Cr0::PE | Cr0::AM) && access.ac;
        // The pointer to a shadow stack is checked when it is loaded.
        if !is_on || !is_data || !access.is_user() || access.shadow_stack {
            return AlignmentCheck::Passes;
        }

        let shift = match access.size {
            2 => 1,
            4 | 6 => 2,
            8 | 10 | 16 => 3,
            _ => 0,
        };
        match access.address.offset(shift) {
            0 => AlignmentCheck::Passes,
            _ if access.size == 16 => AlignmentCheck::MayFail,
            _ => AlignmentCheck::Fails,
        }
    }

    /// The physical address of the root table, from CR3 (MODE-8).
    fn root<F: Format>(&self, regime: &Regime) -> PhysAddr {
        F::root(regime)
    }

    /// The index into the table of a level.
    fn index(&self, level: &Level, address: VirtAddr) -> u64 {
        address.table_index(level.shift, level.index_bits)
    }

    /// The entry, if the walk takes it from a register rather than from memory (PDPTE-1).
    fn register<F: Format>(&self, level: &Level, index: u64, regime: &Regime) -> Option<u64> {
        F::register(level, index, regime)
    }

    /// The reason why an entry ends the walk, if it does. P is checked first: with P=0 the other
    /// bits belong to the operating system (CODE-1).
    fn entry_error(
        &self,
        _level: &Level,
        _kind: EntryKind,
        entry: u64,
        reserved: u64,
    ) -> Option<EntryError> {
        if entry & EntryBits::P.bits() == 0 {
            Some(EntryError::NotPresent)
        } else if entry & reserved != 0 {
            Some(EntryError::Reserved(entry & reserved))
        } else {
            None
        }
    }

    /// Whether an entry maps a page.
    fn is_leaf<F: Format>(&self, level: &Level, entry: u64, regime: &Regime) -> bool {
        F::is_leaf(level, entry, regime)
    }

    /// The reserved bits of an entry.
    #[inline]
    fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
        F::reserved_bits(level, kind, regime).iter().fold(0, |mask, (bits, _)| mask | bits)
    }

    /// The physical address in an entry.
    fn address<F: Format>(&self, level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
        F::address(level, kind, entry)
    }

    /// The rights of a path that is one entry longer: R/W and U/S must be set at every level, and
    /// XD at none (RIGHT-1).
    fn combine(&self, above: Rights, entry: u64) -> Rights {
        let entry = EntryBits::from_bits_retain(entry);
        let mut own = Rights::empty();
        own.set(Rights::WRITE, entry.contains(EntryBits::RW));
        own.set(Rights::USER, entry.contains(EntryBits::US));
        own.set(Rights::EXECUTE, !entry.contains(EntryBits::XD));

        above & own
    }

    /// The reasons why the rights of the entries so far end the walk at an entry that points to a
    /// table. There are none: rights are judged when the whole translation exists, so that an entry
    /// further down that is not present, or has a reserved bit set, comes first (CODE-2).
    fn denial_on_the_way(&self, _rights: Rights, _access: &Access, _regime: &Regime) -> Denial {
        Denial::empty()
    }

    /// Whether the access needs the right to write (CODE-10, RIGHT-8).
    fn is_write(&self, access: &Access) -> bool {
        access.kind.writes()
    }

    /// The reasons why a complete translation denies the access; empty if it is allowed.
    ///
    /// `rights` are those of the whole path, `above` those of the path without its leaf.
    fn denial(
        &self,
        above: Rights,
        rights: Rights,
        leaf: u64,
        access: &Access,
        regime: &Regime,
    ) -> Denial {
        let user = access.is_user();
        let fetch = access.kind == AccessKind::Fetch;

        let mut denial = Denial::empty();
        denial.set(Denial::SUPERVISOR_PAGE, user && !rights.contains(Rights::USER));
        denial.set(Denial::READ_ONLY, self.write_denied(rights, access, regime));
        denial.set(Denial::EXECUTE_DISABLED, fetch && !rights.contains(Rights::EXECUTE));
        denial.set(Denial::SHADOW_STACK, self.shadow_stack_denied(above, rights, leaf, access));
        denial.set(Denial::SMEP, self.smep_denied(rights, access, regime));
        denial.set(Denial::SMAP, self.smap_denied(rights, access, regime));
        denial.set(Denial::KEY, self.key_denied(rights, leaf, access, regime));
        denial
    }

    /// R/W: binds the user always, the supervisor while CR0.WP=1 (RIGHT-2).
    fn write_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        self.is_write(access)
            && !access.shadow_stack
            && !rights.contains(Rights::WRITE)
            && (access.is_user() || regime.state.cr0.contains(Cr0::WP))
    }

    /// Shadow stacks: a shadow-stack page is read-only and dirty in its leaf, and writable above.
    /// User accesses need a user page, supervisor accesses a supervisor page (RIGHT-7; SDM
    /// "Shadow-Stack Accesses").
    fn shadow_stack_denied(
        &self,
        above: Rights,
        rights: Rights,
        leaf: u64,
        access: &Access,
    ) -> bool {
        let leaf = EntryBits::from_bits_retain(leaf);
        let is_shadow_stack = above.contains(Rights::WRITE)
            && !leaf.contains(EntryBits::RW)
            && leaf.contains(EntryBits::D);
        let is_user_page = rights.contains(Rights::USER);

        access.shadow_stack && !(is_shadow_stack && is_user_page == access.is_user())
    }

    /// SMEP. It does not depend on NXE (RIGHT-3).
    fn smep_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        access.kind == AccessKind::Fetch
            && !access.is_user()
            && rights.contains(Rights::USER)
            && regime.state.cr4.contains(Cr4::SMEP)
    }

    /// SMAP: fetches are exempt, and so are explicit accesses while EFLAGS.AC=1 (RIGHT-4).
    fn smap_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        access.kind != AccessKind::Fetch
            && !access.is_user()
            && rights.contains(Rights::USER)
            && regime.state.cr4.contains(Cr4::SMAP)
            && (access.implicit || !access.ac)
    }

    /// Protection keys: the page, not the CPL, selects PKRU (user pages) or PKRS (supervisor
    /// pages). The key is in the leaf, and there are keys in long mode only (RIGHT-5, RIGHT-6; SDM
    /// "Protection Keys").
    fn key_denied(&self, rights: Rights, leaf: u64, access: &Access, regime: &Regime) -> bool {
        let state = &regime.state;
        let user_page = rights.contains(Rights::USER);
        let (enabled, register) = if user_page {
            (state.cr4.contains(Cr4::PKE), state.pkru)
        } else {
            (state.cr4.contains(Cr4::PKS), state.pkrs)
        };
        if !enabled || !state.efer.contains(Efer::LMA) || access.kind == AccessKind::Fetch {
            return false;
        }

        let key_rights = register >> (2 * EntryBits::key_of(leaf));
        let access_disabled = key_rights & 1 != 0;
        let write_disabled = key_rights & 2 != 0;

        // While CR0.WP=0, WD in PKRU does not bind the supervisor, and WD in PKRS binds no access:
        // "If CR0.WP = 0, IA32_PKRS.WDi does not affect write accesses to supervisor-mode
        // addresses". A user access to such a page is denied anyway; the difference shows in PK
        // (CODE-11).
        let obeys_write_disable = state.cr0.contains(Cr0::WP) || (user_page && access.is_user());
        access_disabled || (write_disabled && self.is_write(access) && obeys_write_disable)
    }

    /// Whether I/D is set for fetches (CODE-8).
    fn reports_fetch(&self, regime: &Regime) -> bool {
        let state = &regime.state;
        let nx = state.cr4.contains(Cr4::PAE) && state.efer.contains(Efer::NXE);
        nx || (state.cr4.contains(Cr4::SMEP) && regime.choices.smep_alone_reports_fetch)
    }

    /// The error code of a page fault (SDM "Page-Fault Exceptions").
    fn page_fault_code(&self, cause: Cause, access: &Access, regime: &Regime) -> PageFaultCode {
        let fetch = access.kind == AccessKind::Fetch;
        let reserved = matches!(cause, Cause::Entry(EntryError::Reserved(_)));
        let key = matches!(cause, Cause::Denied(denial) if denial.contains(Denial::KEY));

        let mut code = PageFaultCode::empty();
        // RSVD implies P: reserved bits are checked in present entries only (CODE-1).
        code.set(PageFaultCode::P, cause != Cause::Entry(EntryError::NotPresent));
        code.set(PageFaultCode::W, self.is_write(access));
        code.set(PageFaultCode::U, access.is_user());
        code.set(PageFaultCode::RSVD, reserved);
        code.set(PageFaultCode::I, fetch && self.reports_fetch(regime));
        code.set(PageFaultCode::SS, access.shadow_stack);
        code.set(PageFaultCode::PK, key);
        code
    }

    /// Whether a PDPTE with reserved bits raises #GP when it is loaded into its register (PDPTE-2).
    fn checks_loaded_pdptes(&self) -> bool {
        true
    }

    /// Whether a completed translation sets A in the entry of this level (AD-1).
    fn sets_accessed(&self, _level: &Level) -> bool {
        true
    }

    /// Whether a completed translation sets D in the leaf: on a write only, including one that only
    /// CR0.WP=0 allows (AD-1, RIGHT-2).
    fn sets_dirty(&self, _rights: Rights, access: &Access) -> bool {
        self.is_write(access)
    }
}

/// The semantics that the manuals define.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reference;

impl Semantics for Reference {
    const IS_REFERENCE: bool = true;
}
