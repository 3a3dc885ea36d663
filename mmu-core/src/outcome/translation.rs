//! Translations: where an access goes, or why it does not complete.

use super::Span;
use crate::access::{MAX_PAGES, SizeError};
use crate::address::{PageSize, PhysAddr};
use crate::memory::OutsideMemory;
use crate::x86::fault::Fault;
use crate::x86::format::{EntryBits, Level};
use crate::x86::semantics::Rights;
use arrayvec::ArrayVec;
use core::{fmt, mem};

/// The translation of one linear address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address of the byte at the linear address.
    pub address: PhysAddr,
    /// What the whole path allows.
    pub rights: Rights,
    /// The entry that maps the page, with A and D if this translation has set them; 0 without
    /// paging.
    pub leaf: u64,
    /// The level of that entry; `None` without paging (MODE-12).
    pub level: Option<&'static Level>,
}

impl Translation {
    /// The size of the page. `None` without paging, where all bytes have one translation.
    pub fn page_size(&self) -> Option<PageSize> {
        self.level.and_then(Level::page_size)
    }

    /// The index into the PAT that the leaf's PWT, PCD and PAT select, as bits 0, 1 and 2 (MODE-11; SDM
    /// "Paging and Memory Typing When the PAT is Supported"). The memory type is entry number
    /// `pat_index` of `IA32_PAT`, combined with the MTRRs. It is 0 without paging.
    ///
    /// On a processor without PAT bit 2 has no meaning.
    pub fn pat_index(&self) -> u8 {
        let Some(level) = self.level.filter(|level| level.has_flags) else { return 0 };
        let leaf = EntryBits::from_bits_retain(self.leaf);
        let bit = |set: bool, number: u8| u8::from(set) << number;

        bit(leaf.contains(EntryBits::PWT), 0)
            | bit(leaf.contains(EntryBits::PCD), 1)
            | bit(level.has_pat(self.leaf), 2)
    }
}

/// The translation of an access that completes: its bytes may lie in several pages, whose frames need
/// not be adjacent.
///
/// Most accesses touch one page, and [`Self::address`] is all that there is to know. For the others
/// there is a span and a translation for each 4 KiB page, in the order of linear addresses. All of them
/// have been translated, with the rights checked, before the first byte is moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessTranslation {
    translations: ArrayVec<Translation, MAX_PAGES>,
    /// The number of bytes in each of the pages.
    lens: [u16; MAX_PAGES],
}

impl AccessTranslation {
    /// The translation of no bytes yet.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { translations: ArrayVec::new_const(), lens: [0; MAX_PAGES] }
    }

    /// Adds the next page, of which the access touches `len` bytes.
    #[inline]
    pub(crate) fn push(&mut self, translation: Translation, len: u16) {
        self.lens[self.translations.len()] = len;
        self.translations.push(translation);
    }

    /// The physical address of the first byte.
    pub fn address(&self) -> PhysAddr {
        self.translations[0].address
    }

    /// The bytes of the access, one span for each 4 KiB page that it touches.
    pub fn spans(&self) -> impl ExactSizeIterator<Item = Span> {
        let pages = self.translations.iter().zip(self.lens);
        pages.map(|(translation, len)| Span { address: translation.address, len })
    }

    /// The translation of the first byte in each of these pages, with rights, page size and memory
    /// type.
    pub fn translations(&self) -> &[Translation] {
        &self.translations
    }

    /// The bytes of a store, each span's with its physical address.
    ///
    /// ```
    /// # use mmu_core::{Access, ControlState, Mmu, Profile, Ring, VirtAddr};
    /// # use mmu_core::memory::SparseTables;
    /// # use mmu_core::x86::format::Bits32;
    /// let tables = SparseTables::new(&[(0, 0x1007), (0x1004, 0x5007), (0x1008, 0x9007)]);
    /// let mmu = Mmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
    /// let write = Access::write(VirtAddr::new(0x1ffd), 4, Ring::Three);
    ///
    /// let translated = mmu.probe(&tables, &write)?;
    /// let pieces = translated.split(b"word").map(|(at, bytes)| (at.get(), bytes));
    /// assert!(pieces.eq([(0x5ffd, b"wor".as_slice()), (0x9000, b"d".as_slice())]));
    /// # Ok::<(), mmu_core::AccessError>(())
    /// ```
    pub fn split<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = (PhysAddr, &'b [u8])> {
        let mut rest = bytes;
        self.spans().map(move |span| {
            let len = rest.len().min(span.len.into());
            let (piece, behind) = rest.split_at(len);
            rest = behind;
            (span.address, piece)
        })
    }

    /// The same for the bytes that a load fills.
    pub fn split_mut<'b>(
        &self,
        bytes: &'b mut [u8],
    ) -> impl Iterator<Item = (PhysAddr, &'b mut [u8])> {
        let mut rest = bytes;
        self.spans().map(move |span| {
            let len = rest.len().min(span.len.into());
            let (piece, behind) = mem::take(&mut rest).split_at_mut(len);
            rest = behind;
            (span.address, piece)
        })
    }
}

/// Why an access is not translated. `E` is the error of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessError<E = OutsideMemory> {
    /// The access raises this exception.
    Fault(Fault),
    /// An entry could not be read or updated, for instance because a table is outside memory (OUT-1).
    /// What happens then depends on the machine.
    Memory(E),
    /// The entry at this address changed again and again while A or D was to be set (AD-4).
    Contended(PhysAddr),
    /// No instruction makes an access of this size.
    Size(SizeError),
}

impl<E: fmt::Display> fmt::Display for AccessError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::Contended(at) => write!(f, "the entry at {at} changes faster than it is read"),
            Self::Size(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for AccessError<E> {}

impl<E> From<Fault> for AccessError<E> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<E> From<SizeError> for AccessError<E> {
    fn from(error: SizeError) -> Self {
        Self::Size(error)
    }
}
