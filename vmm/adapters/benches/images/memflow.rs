//! memflow: its map of an address space, in memory that it has whole and in place.

use crate::pieces::{Piece, PieceRights};
use ::memflow::architecture::x86::x64;
use ::memflow::connector::MappedPhysicalMemory;
use ::memflow::mem::{DirectTranslate, MemoryMap, VirtualDma, VirtualTranslate};
use ::memflow::types::{Address, PageType};
use crosswalk_inspect::MemoryImage;
use mmu_core::PhysAddr;

/// Bytes of the arena from which memflow allocates.
const SCRATCH: usize = 64 << 20;

/// The memory of an image.
pub(crate) struct Memory(Vec<(u64, Vec<u8>)>);

impl Memory {
    /// Reads all of it.
    pub(crate) fn read(image: &MemoryImage) -> Self {
        let extents = image.memory().extents().expect("an image that is not compressed");
        let parts = extents.iter().map(|extent| {
            let mut bytes = vec![0; (extent.last() - extent.start + 1) as usize];
            image.memory().read(PhysAddr::new(extent.start), &mut bytes).expect("it is there");
            (extent.start, bytes)
        });
        Self(parts.collect())
    }

    fn translator(&self, cr3: u64) -> impl VirtualTranslate + '_ {
        let mut map = MemoryMap::<&[u8]>::new();
        for (start, bytes) in &self.0 {
            map.push(Address::from(*start), bytes);
        }
        let scratch = DirectTranslate::with_capacity(SCRATCH);
        let root = x64::new_translator(Address::from(cr3));
        VirtualDma::with_vat(MappedPhysicalMemory::with_info(map), x64::ARCH, root, scratch)
    }

    /// The work of its map.
    pub(crate) fn ranges(&self, cr3: u64) -> usize {
        self.translator(cr3).virt_page_map_vec(0).len()
    }

    /// Every page.
    pub(crate) fn pages(&self, cr3: u64) -> Vec<Piece> {
        let pages = self.translator(cr3).virt_translation_map_vec();
        let pieces = pages.iter().map(|page| {
            let kind = page.out_physical.page_type();
            let first = page.in_virtual.to_umem();
            Piece {
                first,
                last: first + (page.size - 1),
                physical: page.out_physical.address().to_umem(),
                rights: PieceRights {
                    writable: Some(kind.contains(PageType::WRITEABLE)),
                    user: None,
                    executable: Some(!kind.contains(PageType::NOEXEC)),
                },
            }
        });
        pieces.collect()
    }
}
