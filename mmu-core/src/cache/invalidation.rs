//! What an instruction, a fault or a change of the control state drops from the caches (TLB-3, TLB-4;
//! SDM "Operations that Invalidate TLBs and Paging-Structure Caches").

use super::{StructureEntry, TlbEntry};
use crate::address::VirtAddr;
use crate::x86::control::CR3_NO_FLUSH;
use crate::x86::fault::{Fault, Vector};
use crate::x86::format::Format;
use crate::x86::state::{ControlState, Cr0, Cr4, Efer};
use arrayvec::ArrayVec;

/// A part of the caches that is to be dropped. Addresses are those that a walk translates: canonical
/// in long mode, cut to 32 bits elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Nothing at all.
    Nothing,
    /// What a page fault at an address drops (TLB-3), and at least what INVLPG drops with AMD's
    /// EFER.TCE: its translation, global ones too, and the entries above that lead there.
    Path {
        /// The address that faulted, or the operand.
        address: VirtAddr,
        /// The current PCID.
        pcid: u16,
    },
    /// What INVLPG drops: the translation of an address, global ones too, and every
    /// paging-structure entry of the current PCID, whatever its address.
    Page {
        /// The operand.
        address: VirtAddr,
        /// The current PCID.
        pcid: u16,
    },
    /// What INVPCID type 0 drops: the translation of an address in a PCID unless it is global, and
    /// the entries above that lead there.
    Address {
        /// The address in the descriptor.
        address: VirtAddr,
        /// The PCID in the descriptor.
        pcid: u16,
    },
    /// What MOV to CR3 and INVPCID type 1 drop: all of a PCID except global translations.
    Context {
        /// The PCID in the new CR3 or in the descriptor.
        pcid: u16,
    },
    /// All of a PCID, global translations made under it too.
    WholeContext {
        /// The current PCID.
        pcid: u16,
    },
    /// What INVPCID type 3 drops: everything except global translations.
    NonGlobal,
    /// Everything, in every PCID.
    Everything,
}

impl Invalidation {
    /// What INVLPG of an address drops, the least first. There are two members only with AMD's
    /// EFER.TCE: it spares paging-structure entries that lead elsewhere, which a processor may drop
    /// nevertheless (TLB-4; APM "Invalidation of Cached Upper-level Entries by INVLPG").
    ///
    /// CANON-3: a non-canonical address does nothing. It is not masked first: INVLPG is no access
    /// (SDM "Linear-Address Pre-Processing").
    ///
    /// ```
    /// use mmu_core::cache::Invalidation;
    /// use mmu_core::x86::format::FourLevel;
    /// use mmu_core::{ControlState, Efer, VirtAddr};
    /// let mut state = ControlState::long_mode(0x1000);
    /// let address = VirtAddr::new(0x5000);
    /// let page = Invalidation::Page { address, pcid: 0 };
    /// assert_eq!(Invalidation::invlpg::<FourLevel>(&state, address)[..], [page]);
    /// state.efer |= Efer::TCE;
    /// let path = Invalidation::Path { address, pcid: 0 };
    /// assert_eq!(Invalidation::invlpg::<FourLevel>(&state, address)[..], [path, page]);
    /// ```
    pub fn invlpg<F: Format>(state: &ControlState, address: VirtAddr) -> ArrayVec<Self, 2> {
        let mut members = ArrayVec::new();
        let pcid = pcid(state);
        let translated = if F::IS_LONG_MODE { address } else { address.truncated(F::ADDRESS_BITS) };
        if F::IS_LONG_MODE && !address.is_canonical(F::ADDRESS_BITS) {
            members.push(Self::Nothing);
            return members;
        }
        if state.efer.contains(Efer::TCE) {
            members.push(Self::Path { address: translated, pcid });
        }
        members.push(Self::Page { address: translated, pcid });
        members
    }

    /// What INVPCID of a type drops; the descriptor is given as its low and its high 64 bits (SDM
    /// "INVPCID - Invalidate Process-Context Identifier").
    ///
    /// # Errors
    /// #GP(0) for a type above 3, for a reserved bit in the descriptor, for a PCID other than 0
    /// with types 0 and 1 while CR4.PCIDE=0, and for a non-canonical address with type 0 (CANON-3).
    pub fn invpcid<F: Format>(
        state: &ControlState,
        kind: u64,
        [low, high]: [u64; 2],
    ) -> Result<Self, Fault> {
        let fault = Fault { vector: Vector::GeneralProtection, error_code: 0, cr2: None };
        let require = |condition: bool| if condition { Ok(()) } else { Err(fault) };
        let pcid = low as u16 & PCID;
        let named_exists = pcid == 0 || state.cr4.contains(Cr4::PCIDE);
        require(low == u64::from(pcid))?;
        match kind {
            0 => {
                // The address has 64 bits outside 64-bit mode too.
                let address = VirtAddr::new(high);
                let bits = if state.cr4.contains(Cr4::LA57) { 57 } else { 48 };
                require(named_exists && address.is_canonical(bits))?;
                let address =
                    if F::IS_LONG_MODE { address } else { address.truncated(F::ADDRESS_BITS) };
                Ok(Self::Address { address, pcid })
            }
            1 => require(named_exists).map(|()| Self::Context { pcid }),
            2 => Ok(Self::Everything),
            3 => Ok(Self::NonGlobal),
            _ => Err(fault),
        }
    }

    /// Whether it drops a translation.
    pub const fn drops(self, entry: &TlbEntry) -> bool {
        match self {
            Self::Nothing => false,
            Self::Path { address, pcid } | Self::Page { address, pcid } => {
                entry.translates(address, pcid)
            }
            Self::Address { address, pcid } => entry.translates(address, pcid) && !entry.global,
            Self::Context { pcid } => entry.pcid == pcid && !entry.global,
            Self::WholeContext { pcid } => entry.pcid == pcid,
            Self::NonGlobal => !entry.global,
            Self::Everything => true,
        }
    }

    /// Whether it drops an entry of the paging-structure caches.
    pub const fn drops_structure(self, entry: &StructureEntry) -> bool {
        match self {
            Self::Nothing => false,
            Self::Path { address, pcid } | Self::Address { address, pcid } => {
                entry.serves(address, pcid)
            }
            Self::Page { pcid, .. } | Self::Context { pcid } | Self::WholeContext { pcid } => {
                entry.pcid == pcid
            }
            Self::NonGlobal | Self::Everything => true,
        }
    }

    /// The address, where translations of one address only are dropped.
    pub(super) const fn address(self) -> Option<VirtAddr> {
        match self {
            Self::Path { address, .. }
            | Self::Page { address, .. }
            | Self::Address { address, .. } => Some(address),
            _ => None,
        }
    }
}

/// Bits 11:0 of CR3.
const PCID: u16 = 0xfff;

/// The current PCID: CR3\[11:0\] with CR4.PCIDE, else 0 (MODE-8).
pub const fn pcid(state: &ControlState) -> u16 {
    if state.cr4.contains(Cr4::PCIDE) { state.cr3 as u16 & PCID } else { 0 }
}

/// What was written. Two control states tell all but a MOV to CR3, which counts even if CR3 stays as
/// it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterWrite {
    /// MOV to CR3 of this value, with the bit 63 that is not stored (MODE-9).
    Cr3(u64),
    /// Any other: CR0, CR4, EFER, PKRU, EFLAGS.
    Other,
}

/// What a change of the control state drops (TLB-4). `new` is the state after the write.
///
/// ```
/// use mmu_core::cache::{Invalidation, RegisterWrite, invalidated_by};
/// use mmu_core::{ControlState, Cr4};
/// let old = ControlState::long_mode(0x1000);
/// let new = ControlState { cr3: 0x2000, ..old };
/// let all_but_global = Invalidation::Context { pcid: 0 };
/// assert_eq!(invalidated_by(RegisterWrite::Cr3(0x2000), &old, &new), all_but_global);
/// let new = ControlState { cr4: old.cr4 | Cr4::PGE, ..old };
/// assert_eq!(invalidated_by(RegisterWrite::Other, &old, &new), Invalidation::Everything);
/// ```
pub fn invalidated_by(
    write: RegisterWrite,
    old: &ControlState,
    new: &ControlState,
) -> Invalidation {
    let changes = |bit| (old.cr4 ^ new.cr4).contains(bit);
    let sets = |bit| (new.cr4 - old.cr4).contains(bit);
    let clears = |bit| (old.cr4 - new.cr4).contains(bit);
    let nxe_changes = (old.efer ^ new.efer).contains(Efer::NXE);
    let all_of = |pcid| Invalidation::WholeContext { pcid };
    let rows = [
        // SDM, MOV to CR0.
        ((old.cr0 - new.cr0).contains(Cr0::PG), Invalidation::Everything),
        // SDM, MOV to CR4.
        (changes(Cr4::PGE), Invalidation::Everything),
        (clears(Cr4::PCIDE), Invalidation::Everything),
        // APM "TLB Management". The SDM does not list PSE, with which a PDE changes its meaning
        // (MODE-4), nor PKE, which no cached fact depends on.
        (changes(Cr4::PSE), Invalidation::Everything),
        (sets(Cr4::PKE), Invalidation::Everything),
        // No manual lists these. LA57 changes only where it decides nothing (MODE-2); NXE changes
        // which entries are good (CODE-3).
        (changes(Cr4::LA57), Invalidation::Everything),
        (nxe_changes, Invalidation::Everything),
        // SDM, MOV to CR4: all of the current PCID. In modes where PAE can change it is the only
        // one.
        (changes(Cr4::PAE), all_of(pcid(old))),
        (sets(Cr4::SMEP), all_of(pcid(old))),
    ];
    if let Some((_, invalidation)) = rows.into_iter().find(|(happens, _)| *happens) {
        return invalidation;
    }
    match write {
        // MODE-9.
        RegisterWrite::Cr3(value) if new.cr4.contains(Cr4::PCIDE) && value & CR3_NO_FLUSH != 0 => {
            Invalidation::Nothing
        }
        // SDM, MOV to CR3: the PCID of the new CR3, which is 0 while PCIDE=0. Global ones stay.
        RegisterWrite::Cr3(_) => Invalidation::Context { pcid: pcid(new) },
        RegisterWrite::Other => Invalidation::Nothing,
    }
}
