//! An MMU for the mode that the control state selects, where it is known only at run time. Each mode
//! still has a walk compiled for its format; [`AnyMmu`] picks one.

use super::{Mmu, Trace, WalkError};
use crate::access::{Access, SizeError};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{AtomicTableMemory, OutsideMemory, TableMemory};
use crate::outcome::{AccessError, AccessTranslation, Prediction, Translation};
use crate::x86::format::{Bits32, FiveLevel, FourLevel, Pae, Unpaged};
use crate::x86::profile::Profile;
use crate::x86::regime::Regime;
use crate::x86::semantics::{Reference, Semantics};
use crate::x86::state::{ControlState, PagingMode};

/// The memory-management unit of one processor in one control state, in the mode that this state
/// selects: an [`Mmu`] of one of the formats.
///
/// ```
/// use mmu_core::memory::SparseTables;
/// use mmu_core::{Access, AnyMmu, ControlState, PagingMode, PhysAddr, Profile, Ring, VirtAddr};
///
/// let mmu = AnyMmu::new(ControlState::unpaged(), Profile::default());
/// assert_eq!(mmu.regime().state.mode(), PagingMode::Unpaged);
/// let read = Access::read(VirtAddr::new(0x1234), 1, Ring::Zero);
/// let translated = mmu.probe(&SparseTables::new(&[]), &read)?;
/// assert_eq!(translated.address(), PhysAddr::new(0x1234)); // MODE-12
/// # Ok::<(), mmu_core::AccessError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum AnyMmu<R: Semantics = Reference> {
    /// CR0.PG is 0.
    Unpaged(Mmu<Unpaged, R>),
    /// 32-bit paging.
    Bits32(Mmu<Bits32, R>),
    /// PAE paging.
    Pae(Mmu<Pae, R>),
    /// 4-level paging.
    FourLevel(Mmu<FourLevel, R>),
    /// 5-level paging.
    FiveLevel(Mmu<FiveLevel, R>),
}

/// Does the same with the MMU of any mode.
macro_rules! in_any_mode {
    ($any:expr, $mmu:ident => $result:expr) => {
        match $any {
            Self::Unpaged($mmu) => $result,
            Self::Bits32($mmu) => $result,
            Self::Pae($mmu) => $result,
            Self::FourLevel($mmu) => $result,
            Self::FiveLevel($mmu) => $result,
        }
    };
}

pub(crate) use in_any_mode;

impl AnyMmu {
    /// The reference for a control state and a processor.
    pub fn new(state: ControlState, profile: Profile) -> Self {
        Self::with_semantics(Reference, state, profile)
    }

    /// [`Mmu::locate`].
    ///
    /// # Errors
    /// As [`Mmu::locate`].
    pub fn locate<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        address: VirtAddr,
    ) -> Result<PhysAddr, WalkError<M::Error>> {
        in_any_mode!(self, mmu => mmu.locate(memory, address))
    }

    /// [`Mmu::walk_batch`].
    pub fn walk_batch<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        addresses: &[VirtAddr],
        access: &Access,
        each: impl FnMut(VirtAddr, Result<Translation, WalkError<M::Error>>),
    ) {
        in_any_mode!(self, mmu => mmu.walk_batch(memory, addresses, access, each));
    }

    /// [`Mmu::walk_range`]. `each` is given the first and the last address of a run, and its pages.
    ///
    /// ```
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::{Access, AnyMmu, ControlState, Profile, Ring, VirtAddr};
    ///
    /// let tables = SparseTables::new(&[(0, 0x1007), (0x1004, 0x5007), (0x1008, 0x9007)]);
    /// let mmu = AnyMmu::new(ControlState::bits32(0), Profile::default());
    /// let (first, last) = (VirtAddr::new(0x1000), VirtAddr::new(0x3fff));
    /// let read = Access::read(first, 1, Ring::Three);
    ///
    /// let mut found = Vec::new();
    /// mmu.walk_range(&tables, first, last, &read, |first, _, pages| match pages {
    ///     Ok(pages) => found.extend(pages.map(|page| page.address.get())),
    ///     Err(_) => assert_eq!(first.get(), 0x3000),
    /// });
    /// assert_eq!(found, [0x5000, 0x9000]);
    /// ```
    pub fn walk_range<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        first: VirtAddr,
        last: VirtAddr,
        access: &Access,
        mut each: impl FnMut(VirtAddr, VirtAddr, PagesOfRun<'_, M::Error>),
    ) {
        in_any_mode!(self, mmu => mmu.walk_range(memory, first, last, access, |run| {
            match run.pages {
                Ok(pages) => each(run.first, run.last, Ok(&mut pages.translations())),
                Err(error) => each(run.first, run.last, Err(error)),
            }
        }));
    }
}

/// The translation of the first address of each page of a run, or why there are no pages.
pub type PagesOfRun<'r, E> =
    Result<&'r mut dyn ExactSizeIterator<Item = Translation>, WalkError<E>>;

impl<R: Semantics> AnyMmu<R> {
    /// An MMU that decides as `semantics` does.
    pub fn with_semantics(semantics: R, state: ControlState, profile: Profile) -> Self {
        match state.mode() {
            PagingMode::Unpaged | PagingMode::Linear => {
                Self::Unpaged(Mmu::with_semantics(semantics, state, profile))
            }
            PagingMode::Bits32 => Self::Bits32(Mmu::with_semantics(semantics, state, profile)),
            PagingMode::Pae => Self::Pae(Mmu::with_semantics(semantics, state, profile)),
            PagingMode::FourLevel => {
                Self::FourLevel(Mmu::with_semantics(semantics, state, profile))
            }
            PagingMode::FiveLevel => {
                Self::FiveLevel(Mmu::with_semantics(semantics, state, profile))
            }
        }
    }

    /// The control state, processor and choices of this MMU.
    pub fn regime(&self) -> &Regime {
        in_any_mode!(self, mmu => mmu.regime())
    }

    /// [`Mmu::translate`].
    ///
    /// # Errors
    /// As [`Mmu::translate`].
    pub fn translate<M: AtomicTableMemory + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<AccessTranslation, AccessError<M::Error>> {
        in_any_mode!(self, mmu => mmu.translate(memory, access))
    }

    /// [`Mmu::probe`].
    ///
    /// # Errors
    /// As [`Mmu::translate`].
    pub fn probe<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<AccessTranslation, AccessError<M::Error>> {
        in_any_mode!(self, mmu => mmu.probe(memory, access))
    }

    /// [`Mmu::walk`].
    ///
    /// # Errors
    /// As [`Mmu::walk`].
    pub fn walk<M: TableMemory + ?Sized, T: Trace>(
        &self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        trace: &mut T,
    ) -> Result<Translation, WalkError<M::Error>> {
        in_any_mode!(self, mmu => mmu.walk(memory, address, access, trace))
    }

    /// [`Mmu::predict`].
    ///
    /// # Errors
    /// As [`Mmu::predict`].
    #[inline]
    pub fn predict<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<Prediction, SizeError> {
        let mut found = Prediction::default();
        self.predict_into(memory, access, &mut found)?;
        Ok(found)
    }

    /// [`Mmu::predict_into`].
    ///
    /// # Errors
    /// As [`Mmu::predict`].
    pub fn predict_into<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        found: &mut Prediction,
    ) -> Result<(), SizeError> {
        in_any_mode!(self, mmu => mmu.predict_into(memory, access, found))
    }
}
