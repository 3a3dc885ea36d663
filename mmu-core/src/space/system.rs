//! The system: its state, and the steps that all operations share. The operations are in files of
//! their own, each with an `impl` of [`System`].

use super::environment::Environment;
use super::error::SpaceError;
use super::event::Statistics;
use super::frames::Frames;
use super::ids::{ObjectId, SpaceId};
use super::object::Object;
use super::region::Region;
use super::slots::Slots;
use super::tables::SpaceTables;
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::fault::Fault;
use crate::x86::format::{EntryBits, Format};
use arrayvec::ArrayVec;
use bitflags::bitflags;

/// The maximum number of address spaces.
pub const MAX_SPACES: usize = 16;
/// The maximum number of regions of a space.
pub const MAX_REGIONS: usize = 12;
/// The maximum number of shared objects.
pub const MAX_OBJECTS: usize = 8;

bitflags! {
    /// What keeps processes apart and the tables true. A test leaves one out to check that this is
    /// noticed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Safeguards: u8 {
        /// Cached translations are shot down when an entry changes.
        const SHOOT_DOWN = 1 << 0;
        /// A frame is wiped before a process can read it.
        const WIPE = 1 << 1;
        /// After a fork neither side can write to a page that both have.
        const WRITE_PROTECT = 1 << 2;
    }
}

/// The resources and behaviour of a system.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The first of its frames, 4 KiB aligned.
    pub first_frame: PhysAddr,
    /// The number of its frames, for tables and pages.
    pub frames: usize,
    /// The number of slots of the store.
    pub slots: u32,
    /// The number of slots, from the first, with images from which programs are loaded.
    pub images: u32,
    /// Whether the processor has execute-disable and it is on. Entries of 4 bytes have no such bit.
    pub execute_disable: bool,
    /// The safeguards in force: all, except in tests.
    pub safeguards: Safeguards,
}

/// An address space.
#[derive(Clone, Debug)]
pub(super) struct Space<F: Format> {
    pub(super) tables: SpaceTables<F>,
    pub(super) regions: ArrayVec<Region, MAX_REGIONS>,
    /// The last faults that were [`Spurious`](super::Minor::Spurious), as long as no entry of the
    /// space changes. If one of them comes again, it was not an old translation. An access that two
    /// pages deny may be reported at either (CODE-12), so there are two.
    pub(super) retried: ArrayVec<Fault, 2>,
}

/// Address spaces over at most `FRAMES` frames and `SLOTS` slots. All state is in this value, in tables
/// and in frames, so no allocator is needed.
///
/// It acts through an [`Environment`], which every operation takes. Operations and faults are the only
/// input, so the same sequence of them gives the same frames, tables and decisions everywhere.
#[derive(Clone, Debug)]
pub struct System<F: Format, const FRAMES: usize, const SLOTS: usize> {
    pub(super) frames: Frames<FRAMES>,
    pub(super) slots: Slots<SLOTS>,
    pub(super) spaces: [Option<Space<F>>; MAX_SPACES],
    pub(super) objects: [Option<Object>; MAX_OBJECTS],
    /// The number of the frame at the clock's hand.
    pub(super) hand: usize,
    /// A frame that must not be reclaimed at the moment, because it is being copied.
    pub(super) pinned: Option<PhysAddr>,
    pub(super) statistics: Statistics,
    pub(super) settings: Settings,
}

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// Whether leaves have rights, A and D. In a format without them every mapped page counts as
    /// written, and a fork copies at once.
    pub(super) const HAS_FLAGS: bool = SpaceTables::<F>::HAS_FLAGS;

    /// A system without address spaces.
    ///
    /// # Errors
    /// When entries of the format cannot hold the address of a frame or the number of a slot.
    pub fn new(settings: Settings) -> Result<Self, SpaceError> {
        let frames = Frames::new(settings.first_frame, settings.frames);

        let last = frames.address(frames.count().saturating_sub(1));
        for frame in [settings.first_frame, last] {
            // A range that wraps has no last frame.
            if !SpaceTables::<F>::fits(frame) || last < settings.first_frame {
                return Err(SpaceError::FrameTooHigh(frame));
            }
        }

        let slots = Slots::new(settings.slots, settings.images);
        if let Some(last) = slots.last()
            && !SpaceTables::<F>::fits_absent(last)
        {
            return Err(SpaceError::SlotTooHigh(last));
        }

        Ok(Self {
            frames,
            slots,
            spaces: [const { None }; MAX_SPACES],
            objects: [const { None }; MAX_OBJECTS],
            hand: 0,
            pinned: None,
            statistics: Statistics::default(),
            settings,
        })
    }

    pub(super) fn space(&self, space: SpaceId) -> Result<&Space<F>, SpaceError> {
        let known = self.spaces.get(usize::from(space.0)).and_then(Option::as_ref);
        known.ok_or(SpaceError::NoSuchSpace(space))
    }

    pub(super) fn space_mut(&mut self, space: SpaceId) -> Result<&mut Space<F>, SpaceError> {
        let known = self.spaces.get_mut(usize::from(space.0)).and_then(Option::as_mut);
        known.ok_or(SpaceError::NoSuchSpace(space))
    }

    pub(super) fn object(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(usize::from(id.0))?.as_ref()
    }

    pub(super) fn object_mut(&mut self, id: ObjectId) -> Option<&mut Object> {
        self.objects.get_mut(usize::from(id.0))?.as_mut()
    }

    /// Whether a page may have been written through this entry.
    pub(super) const fn is_dirty(entry: u64) -> bool {
        !Self::HAS_FLAGS || entry & EntryBits::D.bits() != 0
    }

    /// Shoots down the translation of one page.
    pub(super) fn flush_page<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        page: VirtAddr,
    ) {
        self.forget_retry(space);
        if self.settings.safeguards.contains(Safeguards::SHOOT_DOWN) {
            self.statistics.pages_forgotten += 1;
            env.flush_page(space, page);
        }
    }

    /// Shoots down all translations of a space.
    pub(super) fn flush_space<E: Environment>(&mut self, env: &mut E, space: SpaceId) {
        self.forget_retry(space);
        if self.settings.safeguards.contains(Safeguards::SHOOT_DOWN) {
            self.statistics.spaces_forgotten += 1;
            env.flush_space(space);
        }
    }

    /// The entries of a space have changed, so its next fault may come from an old translation.
    fn forget_retry(&mut self, space: SpaceId) {
        if let Ok(space) = self.space_mut(space) {
            space.retried.clear();
        }
    }
}
