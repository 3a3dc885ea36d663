//! What a processor may have cached.
//!
//! Not what it has: whether an entry was cached, and whether it has been evicted since, is up to the
//! processor. So these sets grow by everything that a walk can read at any moment, and shrink only where
//! the manuals require it (TLB-1 to TLB-4).

use super::cached_path::{CachedEnd, CachedPath};
use super::choices::LitmusChoices;
use super::decisions::LitmusSemantics;
use super::memory::Sight;
use super::walked::Walked;
use crate::access::{Access, Ring};
use crate::address::VirtAddr;
use crate::cache::Invalidation;
use crate::x86::profile::Profile;
use crate::x86::state::ControlState;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Everything that one processor may have cached, with the choices that it takes to still have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MayCache {
    paths: BTreeMap<CachedPath, LitmusChoices>,
}

impl MayCache {
    /// What may serve an access to this address.
    pub(super) fn serving<'a>(
        &'a self,
        address: VirtAddr,
        state: &'a ControlState,
    ) -> impl Iterator<Item = (&'a CachedPath, LitmusChoices)> {
        self.paths
            .iter()
            .filter(move |(path, _)| path.serves(address, state))
            .map(|(path, choices)| (path, *choices))
    }

    /// Adds all that walks may cache now: for these addresses, below anything that is cached already.
    pub(super) fn fill<S: LitmusSemantics>(
        &mut self,
        semantics: S,
        (state, profile): (&ControlState, Profile),
        addresses: &[VirtAddr],
        sight: Sight<'_>,
    ) {
        let too = (semantics.caches_absent_entries(), semantics.caches_before_accessed());
        loop {
            let mut found = Vec::new();
            for address in addresses {
                // Rights play no part in what is cached.
                let access = Access::read(*address, 8, Ring::Three);
                let above = self.serving(*address, state);
                let above = above.filter(|(path, _)| path.end == CachedEnd::Table);
                let above = above.map(|(path, choices)| (Some(path), choices));
                for (start, choices) in
                    core::iter::once((None, LitmusChoices::empty())).chain(above)
                {
                    // What is outside memory is not cached.
                    let walked = Walked::new(state, profile, sight, start, &access);
                    let Ok(walked) = walked else { continue };
                    let paths = walked.cacheable(start, state, &access, too);
                    found.extend(paths.map(|path| (path, choices)));
                }
            }

            let added = found.into_iter().map(|(path, choices)| self.insert(path, choices));
            if added.filter(|is_new| *is_new).count() == 0 {
                return;
            }
        }
    }

    /// Adds a path, and returns whether that changes anything.
    fn insert(&mut self, path: CachedPath, choices: LitmusChoices) -> bool {
        match self.paths.get_mut(&path) {
            // It is there without more choices.
            Some(known) if choices.contains(*known) => false,
            Some(known) if !known.contains(choices) => false,
            Some(known) => {
                *known = choices;
                true
            }
            None => {
                self.paths.insert(path, choices);
                true
            }
        }
    }

    /// Drops what the processor must drop. `least` is what it must if it makes use of `spared_by`.
    pub(super) fn invalidate<S: LitmusSemantics>(
        &mut self,
        semantics: S,
        [most, least]: [Invalidation; 2],
        spared_by: LitmusChoices,
    ) {
        self.paths.retain(|path, choices| {
            if semantics.drops(path, least, path.is_dropped_by(least)) {
                return false;
            }
            if path.is_dropped_by(most) {
                *choices |= spared_by;
            }
            let unless_global = CachedPath { global: false, ..path.clone() };
            if path.global && unless_global.is_dropped_by(least) {
                *choices |= LitmusChoices::GLOBAL_KEPT;
            }
            true
        });
    }
}
