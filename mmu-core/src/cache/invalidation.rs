//! What an instruction, a fault or a change of the control state drops from the caches (TLB-3, TLB-4;
//! SDM "Operations that Invalidate TLBs and Paging-Structure Caches").

use super::entry::{StructureEntry, TlbEntry};
use crate::address::VirtAddr;
use crate::table::limits;
use crate::x86::control::CR3_NO_FLUSH;
use crate::x86::fault::{Fault, Vector};
use crate::x86::format::Format;
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::state::{ControlState, Cr0, Cr4, Efer};
use arrayvec::ArrayVec;

/// A part of the caches to drop. Addresses are those that a walk translates: canonical in long mode,
/// cut to 32 bits elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Nothing.
    Nothing,
    /// What a page fault at an address drops (TLB-3), and the least that INVLPG drops with AMD's
    /// EFER.TCE: the translation of the address, even if global, and the entries above that lead
    /// there.
    Path {
        /// The address that faulted, or the operand.
        address: VirtAddr,
        /// The current PCID.
        pcid: u16,
    },
    /// What INVLPG drops: the translation of an address, even if global, and every paging-structure
    /// entry of the current PCID, whatever its address.
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
    /// All of a PCID, including global translations cached under it.
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
    /// What INVLPG of an address may drop, the least first. There are two possibilities only with
    /// AMD's EFER.TCE, which allows a processor to spare the paging-structure entries that lead
    /// elsewhere (TLB-4; APM "Invalidation of Cached Upper-level Entries by INVLPG").
    ///
    /// A non-canonical address drops nothing (CANON-3). It is not masked first, since INVLPG is not
    /// an access (SDM "Linear-Address Pre-Processing"). What is canonical depends on the width that
    /// the processor has, whether or not CR4.LA57 uses it: of an address that only 57 bits make
    /// canonical, nothing is translated with four levels, but the paging-structure entries go.
    ///
    /// ```
    /// use mmu_core::cache::Invalidation;
    /// use mmu_core::x86::format::FourLevel;
    /// use mmu_core::{ControlState, Efer, Profile, VirtAddr};
    /// let mut state = ControlState::four_level(0x1000);
    /// let profile = Profile::default();
    /// let address = VirtAddr::new(0x5000);
    /// let page = Invalidation::Page { address, pcid: 0 };
    /// assert_eq!(Invalidation::invlpg::<FourLevel>(&state, &profile, address)[..], [page]);
    /// state.efer |= Efer::TCE;
    /// let path = Invalidation::Path { address, pcid: 0 };
    /// let allowed = Invalidation::invlpg::<FourLevel>(&state, &profile, address);
    /// assert_eq!(allowed[..], [path, page]);
    /// ```
    pub fn invlpg<F: Format>(
        state: &ControlState,
        profile: &Profile,
        address: VirtAddr,
    ) -> ArrayVec<Self, 2> {
        let mut allowed = ArrayVec::new();
        let address = limits::wrapped::<F>(address);
        let pcid = pcid(state);

        if F::IS_LONG_MODE && !address.is_canonical(linear_address_bits(state, profile)) {
            allowed.push(Self::Nothing);
            return allowed;
        }

        if state.efer.contains(Efer::TCE) {
            allowed.push(Self::Path { address, pcid });
        }
        allowed.push(Self::Page { address, pcid });
        allowed
    }

    /// What INVPCID of a type drops, with its descriptor as the low and the high 64 bits (SDM
    /// "INVPCID - Invalidate Process-Context Identifier").
    ///
    /// # Errors
    /// #GP(0) for a type above 3, for a reserved bit in the descriptor, for a PCID other than 0
    /// with types 0 and 1 while CR4.PCIDE=0, and for an address with type 0 that is not canonical in
    /// the width that the processor has (CANON-3).
    pub fn invpcid<F: Format>(
        state: &ControlState,
        profile: &Profile,
        kind: u64,
        [low, high]: [u64; 2],
    ) -> Result<Self, Fault> {
        let fault = Fault { vector: Vector::GeneralProtection, error_code: 0, cr2: None };
        let require = |condition: bool| if condition { Ok(()) } else { Err(fault) };

        let pcid = low as u16 & PCID;
        let pcid_exists = pcid == 0 || state.cr4.contains(Cr4::PCIDE);
        require(low == u64::from(pcid))?;

        match kind {
            0 => {
                // The address has 64 bits even outside 64-bit mode.
                let address = VirtAddr::new(high);
                let is_canonical = address.is_canonical(linear_address_bits(state, profile));
                require(pcid_exists && is_canonical)?;
                Ok(Self::Address { address: limits::wrapped::<F>(address), pcid })
            }
            1 => require(pcid_exists).map(|()| Self::Context { pcid }),
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

    /// How much a register write drops, to compare two possibilities of the same write.
    const fn extent(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Path { .. } | Self::Page { .. } | Self::Address { .. } => 1,
            Self::Context { .. } => 2,
            Self::WholeContext { .. } => 3,
            Self::NonGlobal => 4,
            Self::Everything => 5,
        }
    }

    /// The address, if only translations of one address are dropped.
    pub(super) const fn address(self) -> Option<VirtAddr> {
        match self {
            Self::Path { address, .. }
            | Self::Page { address, .. }
            | Self::Address { address, .. } => Some(address),
            _ => None,
        }
    }
}

/// The width of linear addresses that a processor has: 57 bits with 5-level paging, whether or not
/// CR4.LA57 turns it on (CANON-3; SDM "CPUID" and "INVPCID", Intel's "5-Level Paging and 5-Level EPT"
/// white paper, "Canonicality Checking"). A machine that obeys CR4.LA57 without the feature has it, too.
fn linear_address_bits(state: &ControlState, profile: &Profile) -> u8 {
    let has_57 = profile.features.contains(Features::LA57) || state.cr4.contains(Cr4::LA57);
    if has_57 { 57 } else { 48 }
}

/// Bits 11:0 of CR3.
const PCID: u16 = 0xfff;

/// The current PCID: CR3\[11:0\] with CR4.PCIDE, else 0 (MODE-8).
pub const fn pcid(state: &ControlState) -> u16 {
    if state.cr4.contains(Cr4::PCIDE) { state.cr3 as u16 & PCID } else { 0 }
}

/// Which register was written. Every other write shows in the difference of two control states, but a
/// MOV to CR3 drops translations even if CR3 stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterWrite {
    /// MOV to CR3 of this value, with the bit 63 that is not stored (MODE-9).
    Cr3(u64),
    /// Any other register: CR0, CR4, EFER, PKRU, EFLAGS.
    Other,
}

/// What a change of the control state drops in the caches of an emulator (TLB-4): at least what
/// [`must_be_invalidated_by`] requires on any processor, and what it is safer to drop. `new` is the state
/// after the write.
///
/// ```
/// use mmu_core::cache::{Invalidation, RegisterWrite, invalidated_by};
/// use mmu_core::{ControlState, Cr4};
///
/// let old = ControlState::four_level(0x1000);
/// let other_root = ControlState { cr3: 0x2000, ..old };
/// let all_but_global = Invalidation::Context { pcid: 0 };
/// assert_eq!(invalidated_by(RegisterWrite::Cr3(0x2000), &old, &other_root), all_but_global);
///
/// let with_global = ControlState { cr4: old.cr4 | Cr4::PGE, ..old };
/// assert_eq!(invalidated_by(RegisterWrite::Other, &old, &with_global), Invalidation::Everything);
/// ```
pub fn invalidated_by(
    write: RegisterWrite,
    old: &ControlState,
    new: &ControlState,
) -> Invalidation {
    let changes = |bit| (old.cr4 ^ new.cr4).contains(bit);
    let nxe_changes = (old.efer ^ new.efer).contains(Efer::NXE);

    // Neither manual lists these. LA57 can only change where it has no effect (MODE-2). NXE changes
    // which entries are good (CODE-3).
    if changes(Cr4::LA57) || nxe_changes {
        return Invalidation::Everything;
    }

    let by_each = Vendor::ALL.map(|vendor| must_be_invalidated_by(write, old, new, vendor));
    let most = by_each.into_iter().max_by_key(|dropped| dropped.extent());
    most.unwrap_or(Invalidation::Nothing)
}

/// What the manuals require a change of the control state to drop (TLB-4): SDM "Operations that Invalidate
/// TLBs and Paging-Structure Caches" on Intel's processors, APM "TLB Management" on AMD's, and what both
/// require on an unknown one.
///
/// The lists differ. AMD's has CR0.PG from 0 to 1, CR4.PSE, CR4.PKE from 0 to 1, and for CR4.PAE all PCIDs;
/// Intel's has CR4.SMEP from 0 to 1. Neither has EFER.NXE.
///
/// ```
/// use mmu_core::cache::{Invalidation, RegisterWrite, must_be_invalidated_by};
/// use mmu_core::{ControlState, Cr4, Vendor};
///
/// let old = ControlState::four_level(0x1000);
/// let with_smep = ControlState { cr4: old.cr4 | Cr4::SMEP, ..old };
/// let dropped = |vendor| must_be_invalidated_by(RegisterWrite::Other, &old, &with_smep, vendor);
/// assert_eq!(dropped(Vendor::Intel), Invalidation::WholeContext { pcid: 0 });
/// assert_eq!(dropped(Vendor::Amd), Invalidation::Nothing);
/// ```
pub fn must_be_invalidated_by(
    write: RegisterWrite,
    old: &ControlState,
    new: &ControlState,
    vendor: Vendor,
) -> Invalidation {
    let changes = |bit| (old.cr4 ^ new.cr4).contains(bit);
    let sets = |bit| (new.cr4 - old.cr4).contains(bit);
    let clears = |bit| (old.cr4 - new.cr4).contains(bit);
    let paging_stops = (old.cr0 - new.cr0).contains(Cr0::PG);
    let paging_starts = (new.cr0 - old.cr0).contains(Cr0::PG);
    let current_context = Invalidation::WholeContext { pcid: pcid(old) };
    let is_amd = vendor == Vendor::Amd;

    let changes_that_drop = [
        (paging_stops || changes(Cr4::PGE) || clears(Cr4::PCIDE), Invalidation::Everything),
        (
            is_amd && (paging_starts || changes(Cr4::PAE) || changes(Cr4::PSE) || sets(Cr4::PKE)),
            Invalidation::Everything,
        ),
        (changes(Cr4::PAE), current_context),
        (vendor == Vendor::Intel && sets(Cr4::SMEP), current_context),
    ];
    if let Some((_, dropped)) = changes_that_drop.into_iter().find(|(happens, _)| *happens) {
        return dropped;
    }

    match write {
        // Bit 63 asks to keep everything (MODE-9).
        RegisterWrite::Cr3(value) if new.cr4.contains(Cr4::PCIDE) && value & CR3_NO_FLUSH != 0 => {
            Invalidation::Nothing
        }
        // MOV to CR3: the PCID of the new CR3, which is 0 while PCIDE=0. Global translations stay.
        RegisterWrite::Cr3(_) => Invalidation::Context { pcid: pcid(new) },
        RegisterWrite::Other => Invalidation::Nothing,
    }
}
