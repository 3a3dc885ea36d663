//! What all mappings together do with a frame. Each frame has a bit for each use.

use super::check::{AuditCheck, AuditChecks};
use super::{AuditFinding, finding};
use crate::scan::{Found, FrameSet};
use mmu_core::PhysAddr;
use mmu_core::walk::{EntryMeaning, PresentEntry};
use mmu_core::x86::semantics::Rights;

/// The low bits of an address within a frame.
const FRAME_SHIFT: u8 = 12;

/// The most frames that are looked at, counted as often as they are mapped: 64 TiB of mappings in each of two
/// passes. Tables that repeat can map more, and it would take as long as it sounds.
const MAX_FRAMES: u64 = 1 << 34;

/// Frames by what they are used for.
#[derive(Debug)]
pub(super) struct FrameUses {
    written_by_user: FrameSet,
    written_by_supervisor: FrameSet,
    user: FrameSet,
    tables: FrameSet,
    is_full: bool,
    frames_left: u64,
}

impl Default for FrameUses {
    fn default() -> Self {
        Self {
            written_by_user: FrameSet::default(),
            written_by_supervisor: FrameSet::default(),
            user: FrameSet::default(),
            tables: FrameSet::default(),
            is_full: false,
            frames_left: 2 * MAX_FRAMES,
        }
    }
}

impl FrameUses {
    /// Whether all frames could be remembered.
    pub(super) const fn is_complete(&self) -> bool {
        !self.is_full
    }

    /// Adds what an entry does with its frames.
    pub(super) fn add(&mut self, found: &Found, checks: AuditChecks) {
        match found {
            Found::Table(entry) | Found::Repeated(entry) => {
                if let EntryMeaning::Table(table) = entry.meaning {
                    self.tables.insert(table.get() >> FRAME_SHIFT);
                }
                // The table that the entry is in, of which the root is one.
                self.tables.insert(entry.at.get() >> FRAME_SHIFT);
            }
            Found::Page(page) if checks.need_frames() => self.add_page(page),
            _ => {}
        }
    }

    fn add_page(&mut self, page: &PresentEntry) {
        let (first, count) = frames(page);
        if !self.afford(count) {
            return;
        }
        let mut add = |set: &mut FrameSet| self.is_full |= !set.insert_range(first, count);

        if page.rights.contains(Rights::USER) {
            add(&mut self.user);
            if page.rights.contains(Rights::WRITE) {
                add(&mut self.written_by_user);
            }
        } else if page.rights.contains(Rights::WRITE) {
            add(&mut self.written_by_supervisor);
        }
    }

    /// Whether there is time for so many frames.
    fn afford(&mut self, count: u64) -> bool {
        let left = self.frames_left.checked_sub(count);
        self.frames_left = left.unwrap_or(0);
        self.is_full |= left.is_none();
        left.is_some()
    }

    /// What is wrong with a page, given what the others do with its frames.
    pub(super) fn findings(
        &mut self,
        page: &PresentEntry,
    ) -> impl Iterator<Item = AuditFinding> + use<> {
        let (first, frames) = frames(page);
        let count = if self.afford(frames) { frames } else { 0 };
        let rights = page.rights;
        let is_user = rights.contains(Rights::USER);
        let in_set = |set: &FrameSet| set.first_of_range(first, count);

        let is_code = rights.contains(Rights::EXECUTE) && !rights.contains(Rights::WRITE);
        let written = is_code.then(|| {
            let by_user = in_set(&self.written_by_user).map(|frame| (frame, "user code"));
            let by_supervisor = || {
                in_set(&self.written_by_supervisor)
                    .filter(|_| !is_user)
                    .map(|frame| (frame, "the supervisor"))
            };
            by_user.or_else(by_supervisor)
        });
        let written = written.flatten().map(|(frame, who)| {
            let detail = format!("executable here, writable by {who} elsewhere");
            (AuditCheck::WxAlias, frame, detail)
        });

        let shared = in_set(&self.user)
            .filter(|_| !is_user)
            .map(|frame| (AuditCheck::UserKernelAlias, frame, "a user page elsewhere".to_owned()));

        let is_written_by_user = rights.contains(Rights::USER | Rights::WRITE);
        let table = in_set(&self.tables).filter(|_| is_written_by_user).map(|frame| {
            (
                AuditCheck::UserWritableTable,
                frame,
                "a page table that user code can write".to_owned(),
            )
        });

        let page = *page;
        [written, shared, table].into_iter().flatten().map(move |(check, frame, detail)| {
            finding(check, &page, PhysAddr::new(frame << FRAME_SHIFT), detail)
        })
    }
}

/// The number of the first frame of a page, and how many it has.
fn frames(page: &PresentEntry) -> (u64, u64) {
    let address = match page.meaning {
        EntryMeaning::Page(address) | EntryMeaning::Table(address) => address.get(),
        EntryMeaning::Reserved(_) => 0,
    };
    (address >> FRAME_SHIFT, 1 << (page.level.shift - FRAME_SHIFT))
}
