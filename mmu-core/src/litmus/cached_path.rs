//! The entries that lead towards a page, as a cache has them.

use crate::address::{PhysAddr, VirtAddr};
use crate::cache::{Invalidation, StructureEntry, TlbEntry, pcid};
use crate::x86::format::EntryBits;
use crate::x86::semantics::Rights;
use crate::x86::state::{ControlState, Efer};
use arrayvec::ArrayVec;

/// What the last entry of a cached path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CachedEnd {
    /// It points to a table: this is in a paging-structure cache.
    Table,
    /// It maps the page: this is in a TLB.
    Page,
    /// It is not present. No processor caches that.
    Absent,
}

/// The entries that lead from the root towards a page, as a cache has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CachedPath {
    /// The address for which they were read.
    pub address: VirtAddr,
    /// The PCID that was current then.
    pub pcid: u16,
    /// What the last one is.
    pub end: CachedEnd,
    /// The lowest linear-address bit of the last one's index.
    pub shift: u8,
    /// Whether every PCID may use it.
    pub global: bool,
    /// EFER.NXE of then (CODE-3).
    pub(super) nxe: bool,
    /// The PDPTE registers of then.
    pub(super) pdptes: [u64; 4],
    /// The entries, those in registers aside.
    pub(super) entries: ArrayVec<u64, 5>,
}

impl CachedPath {
    /// The entries that memory had, the uppermost first.
    pub fn entries(&self) -> &[u64] {
        &self.entries
    }

    /// What the paths below `start` have in common with it, or those below the root.
    pub(super) fn above(start: Option<&Self>, state: &ControlState, address: VirtAddr) -> Self {
        let (pcid, pdptes) =
            start.map_or((pcid(state), state.pdptes), |start| (start.pcid, start.pdptes));
        Self {
            address,
            pcid,
            end: CachedEnd::Table,
            shift: 0,
            global: false,
            nxe: has_nxe(state),
            pdptes,
            entries: ArrayVec::new(),
        }
    }

    /// The registers by which a walk goes on below it.
    pub(super) fn walking_state(&self, current: &ControlState) -> ControlState {
        let mut state = ControlState { pdptes: self.pdptes, ..*current };
        state
            .efer
            .set(Efer::NXE, if self.end == CachedEnd::Page { self.nxe } else { has_nxe(current) });
        state
    }

    /// Whether the processor may use it for a page.
    pub(super) fn serves(&self, address: VirtAddr, current: &ControlState) -> bool {
        let is_of_context = self.global || self.pcid == pcid(current);
        let is_whole = self.end == CachedEnd::Page;
        let is_understood =
            is_whole || !depends_on_nxe(&self.entries, [self.nxe, has_nxe(current)]);
        self.address == address && is_of_context && is_understood
    }

    /// Whether something drops it.
    pub(super) fn is_dropped_by(&self, what: Invalidation) -> bool {
        match self.end {
            CachedEnd::Table => what.drops_structure(&StructureEntry {
                prefix: self.address.index(self.shift, 64),
                shift: self.shift,
                pcid: self.pcid,
                table: PhysAddr::new(0),
                rights: Rights::all(),
            }),
            CachedEnd::Page | CachedEnd::Absent => what.drops(&TlbEntry {
                page: self.address.index(self.shift, 64),
                shift: self.shift,
                pcid: self.pcid,
                global: self.global,
                above: Rights::all(),
                rights: Rights::all(),
                leaf: 0,
                dirty: false,
            }),
        }
    }
}

/// Whether EFER.NXE decides what an entry means (CODE-3).
fn depends_on_nxe(entries: &[u64], [one, other]: [bool; 2]) -> bool {
    one != other && entries.iter().any(|entry| entry & EntryBits::XD.bits() != 0)
}

/// EFER.NXE.
fn has_nxe(state: &ControlState) -> bool {
    state.efer.contains(Efer::NXE)
}
