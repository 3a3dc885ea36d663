//! The decisions of a processor in a test, one method each. The defaults are the manuals; a processor
//! with one known mistake overrides one of them.

use super::cached_path::CachedPath;
use crate::cache::Invalidation;
use crate::x86::fault::PageFaultCode;

/// What a processor does about stores, walks and caches.
///
/// ```
/// use mmu_core::cache::Invalidation;
/// use mmu_core::litmus::LitmusSemantics;
///
/// /// Forgets the paging-structure caches.
/// #[derive(Clone, Copy)]
/// struct InvlpgForgetsStructures;
/// impl LitmusSemantics for InvlpgForgetsStructures {
///     fn invlpg(&self, by_manual: Invalidation) -> Invalidation {
///         match by_manual {
///             Invalidation::Page { address, pcid } => Invalidation::Path { address, pcid },
///             other => other,
///         }
///     }
/// }
/// ```
pub trait LitmusSemantics: Copy {
    /// What INVLPG drops (TLB-4).
    fn invlpg(&self, by_manual: Invalidation) -> Invalidation {
        by_manual
    }

    /// What a write of a control register drops (TLB-4).
    fn register_write(&self, by_manual: Invalidation) -> Invalidation {
        by_manual
    }

    /// What a page fault of this error code drops (TLB-3).
    fn page_fault(&self, _code: PageFaultCode, by_manual: Invalidation) -> Invalidation {
        by_manual
    }

    /// The error code of a page fault (CODE-1).
    fn fault_code(&self, by_manual: PageFaultCode) -> PageFaultCode {
        by_manual
    }

    /// Whether an invalidation drops this path. `by_manual` says whether it does by the manuals.
    fn drops(&self, _path: &CachedPath, _what: Invalidation, by_manual: bool) -> bool {
        by_manual
    }

    /// Whether an entry without P is cached (TLB-1).
    fn caches_absent_entries(&self) -> bool {
        false
    }

    /// Whether an entry is cached before its A is set (TLB-1).
    fn caches_before_accessed(&self) -> bool {
        false
    }

    /// Whether A and D are set by a locked operation, so that no store in between is lost (AD-4).
    fn updates_flags_atomically(&self) -> bool {
        true
    }

    /// Whether a write through a cached translation without D sets D in memory first (AD-1).
    fn sets_dirty_on_hit(&self) -> bool {
        true
    }

    /// Whether a serializing instruction waits until all stores are in memory.
    fn serializing_waits_for_stores(&self) -> bool {
        true
    }

    /// Whether stores become visible in their order.
    fn stores_in_order(&self) -> bool {
        true
    }

    /// Whether a fetch may run code as it was when the test began, while another processor fetches, too. By the
    /// manuals a processor runs what it has stored (SDM "Self-Modifying Code").
    fn keeps_old_code(&self) -> bool {
        false
    }

    /// Whether the walk of a data access sees the earlier stores of its own processor.
    fn walk_sees_own_stores(&self) -> bool {
        true
    }
}

/// A processor as the manuals have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LitmusReference;

impl LitmusSemantics for LitmusReference {}
