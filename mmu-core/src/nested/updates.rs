//! What an access of a guest does to the entries of both dimensions: which of A and D are set, and which
//! may be.

use super::outcome::{Dimension, NestedUpdate};
use super::page::{Dimensions, NestedPage, NestedPageEnd};
use super::rule::AnyRule;
use super::second::SecondWalk;
use super::semantics::{NestedRights, NestedSemantics, Purpose};
use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr};
use crate::outcome::{EntryUpdate, EntryUpdates, Span};
use crate::walk::{PageEnd, WalkedPage};
use crate::x86::fault::{Fault, PageFaultCode};
use crate::x86::format::{EntryBits, EntryKind, EptBits, Format};
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{Cause, EntryError};
use alloc::vec::Vec;

/// Number of bytes up to which a store that faults stores nothing (AD-7).
const MAX_UNDIVIDED_BYTES: u16 = 8;

impl<N: NestedSemantics, F: Format> Dimensions<'_, N, F> {
    /// The updates of all entries, the guest's first.
    pub(super) fn updates(
        &self,
        pages: &[NestedPage],
        access: &Access,
        rules: &mut RuleSet,
    ) -> Vec<NestedUpdate> {
        let mut updates = Vec::new();
        self.add_guest_updates(pages, access, rules, &mut updates);
        if self.second.level().has_flags() {
            self.add_second_updates(pages, access, true, &mut updates);
        }
        updates
    }

    /// The updates of an access that fails the alignment check: the processor may have walked to the
    /// page, but it has not written there (ALIGN-1).
    pub(super) fn updates_without_access(
        &self,
        pages: &[NestedPage],
        access: &Access,
    ) -> Vec<NestedUpdate> {
        let mut updates = Vec::new();
        self.add_guest_updates(pages, access, &mut RuleSet::default(), &mut updates);
        for update in &mut updates {
            update.must_set &= EntryBits::A.bits();
            update.may_set &= EntryBits::A.bits();
        }
        if self.second.level().has_flags() {
            self.add_second_updates(pages, access, false, &mut updates);
        }

        for update in &mut updates {
            update.may_set |= update.must_set;
            update.must_set = 0;
            update.open_by = AnyRule::Paging(Rule::Align1);
        }
        updates
    }

    /// Those of the guest's entries: as if there were no second level, but for a page that it refuses.
    fn add_guest_updates(
        &self,
        pages: &[NestedPage],
        access: &Access,
        rules: &mut RuleSet,
        updates: &mut Vec<NestedUpdate>,
    ) {
        let walked: Vec<_> = pages.iter().map(|page| walked_page(page, !page.fails())).collect();
        self.add_for_guest(pages, &self.guest.updates(&walked, access, rules), updates);

        // The guest's tables map this page and allow the access, so A and D are set before the second
        // level refuses the page (NEST-6).
        let refused =
            pages.iter().filter(|page| page.fails_at_page() && page.guest_rights.is_some());
        for page in refused.filter(|_| self.nested.sets_guest_flags_before_page()) {
            let complete = [walked_page(page, true)];
            let mut set = self.guest.updates(&complete, access, rules);
            // Of several pages, this one may be reported before the walk for another, or after it.
            if pages.len() > 1 {
                for update in &mut set {
                    update.may_set = update.must_set;
                    update.must_set = 0;
                }
            }
            self.add_for_guest(pages, &set, updates);
        }
    }

    /// Adds updates of the guest's entries, which are known by guest-physical address.
    fn add_for_guest(
        &self,
        pages: &[NestedPage],
        set: &EntryUpdates,
        updates: &mut Vec<NestedUpdate>,
    ) {
        for EntryUpdate { at, level, before, must_set, may_set, open_by } in set {
            let Some(read) = pages.iter().find_map(|page| page.read_of(*at)) else { continue };
            let Ok(host) = read.walk.end else { continue };

            // What may not be written there stays as it is.
            let is_writable = read.walk.rights().contains(NestedRights::WRITE);
            if !is_writable && self.nested.checks_flag_writes() {
                continue;
            }
            let update = NestedUpdate {
                dimension: Dimension::Guest,
                at: host,
                bytes: read.bytes,
                level,
                before: *before,
                must_set: *must_set,
                may_set: *may_set,
                open_by: AnyRule::Paging(*open_by),
            };
            merge(updates, update);
        }
    }

    /// Those of the second level's entries. A translation that completed was used, so its flags are set;
    /// unless the page it was for may not have been reached.
    fn add_second_updates(
        &self,
        pages: &[NestedPage],
        access: &Access,
        is_made: bool,
        updates: &mut Vec<NestedUpdate>,
    ) {
        let first_failing = pages.iter().position(NestedPage::fails);
        let failing = pages.iter().filter(|page| page.fails()).count();

        for (number, page) in pages.iter().enumerate() {
            let is_walked = failing == 0 || (failing == 1 && page.fails());
            let is_behind = first_failing.is_some_and(|first| first < number);
            // As in one dimension, a page behind one that fails is not written by a store that is one
            // access (AD-7).
            let may_be_written = is_made && (!is_behind || access.size > MAX_UNDIVIDED_BYTES);

            let reads = page.reads.iter().map(|read| &read.walk);
            for walk in reads.chain(&page.page) {
                let is_written = walk.access.purpose == Purpose::Table || may_be_written;
                self.add_second_walk(walk, is_walked, is_written, updates);
            }
        }
    }

    fn add_second_walk(
        &self,
        walk: &SecondWalk,
        is_walked: bool,
        may_be_written: bool,
        updates: &mut Vec<NestedUpdate>,
    ) {
        let is_complete = walk.end.is_ok();
        let good = walk.steps.iter().map(|step| &step.step).filter(|step| step.error.is_none());

        for step in good.filter(|step| step.level.has_flags) {
            let (accessed, dirty) = flags_of(self.second.is_npt());
            let is_leaf = step.kind == EntryKind::Leaf;
            let sets_dirty =
                is_leaf && is_complete && may_be_written && self.nested.sets_dirty(&walk.access);

            let mut flags = 0;
            if self.nested.sets_accessed(step.level) {
                flags |= accessed;
            }
            if sets_dirty {
                flags |= dirty;
            }

            let open_by = match (is_complete, step.kind) {
                (true, _) if is_walked => Rule::Ad1,
                (true, _) => Rule::Ad7,
                (false, EntryKind::Leaf) => Rule::Ad3,
                (false, EntryKind::Table) => Rule::Ad2,
            };
            let is_set = is_complete && is_walked;
            let update = NestedUpdate {
                dimension: Dimension::Second,
                at: step.at,
                bytes: self.second.entry_bytes(),
                level: step.level,
                before: step.entry,
                must_set: if is_set { flags } else { 0 },
                may_set: if is_set { 0 } else { flags },
                open_by: AnyRule::Paging(open_by),
            };
            merge(updates, update);
        }
    }
}

/// A and D in an entry of the second level.
const fn flags_of(is_npt: bool) -> (u64, u64) {
    if is_npt {
        (EntryBits::A.bits(), EntryBits::D.bits())
    } else {
        (EptBits::A.bits(), EptBits::D.bits())
    }
}

/// The page as the guest's dimension alone knows it: complete, or with the guest's fault. Where the second
/// level refused something, the path ends as if at an entry below.
fn walked_page(page: &NestedPage, is_complete: bool) -> WalkedPage {
    const BAD_ENTRY: Cause = Cause::Entry(EntryError::NotPresent);
    const NO_FAULT: Fault = Fault::page_fault(PageFaultCode::empty(), VirtAddr::new(0));

    let end = match &page.end {
        NestedPageEnd::Fault(cause, fault) => PageEnd::Fault(*cause, *fault),
        _ if is_complete => {
            // Which frame it is plays no part.
            PageEnd::Translated(Span { address: PhysAddr::new(0), len: page.len })
        }
        _ => PageEnd::Fault(BAD_ENTRY, NO_FAULT),
    };
    WalkedPage { path: page.path.clone(), end }
}

/// Adds an update. An entry that is there already gets the bits of both (AD-6).
fn merge(updates: &mut Vec<NestedUpdate>, update: NestedUpdate) {
    let same =
        |known: &&mut NestedUpdate| known.dimension == update.dimension && known.at == update.at;
    match updates.iter_mut().find(same) {
        Some(known) => {
            known.must_set |= update.must_set;
            known.may_set = (known.may_set | update.may_set) & !known.must_set;
        }
        None => updates.push(update),
    }
}
