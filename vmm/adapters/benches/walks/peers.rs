//! The walkers of other projects, each used in the fastest way that its documentation shows.

use crate::measure::Run;
use crate::workload::{MEMORY, Memory, Workload};
use memflow::architecture::x86::{X86VirtualTranslate, x64};
use memflow::cglue::{CTup2, CTup3};
use memflow::error::{Error, ErrorKind, ErrorOrigin};
use memflow::mem::mem_data::{PhysicalReadMemOps, PhysicalWriteMemOps, opt_call};
use memflow::mem::virt_translate::VirtualTranslation;
use memflow::mem::{
    CachedVirtualTranslate, DirectTranslate, PhysicalMemory, PhysicalMemoryMetadata, VirtualDma,
    VirtualTranslate, VirtualTranslate2,
};
use memflow::types::Address;
use memflow::types::cache::count_validator::CountCacheValidator;
use page_table_multiarch::PagingHandler;
use page_table_multiarch::x86_64::X64PageTable;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use x86_64::structures::paging::mapper::{OffsetPageTable, Translate};
use x86_64::structures::paging::page_table::PageTable;

/// `x86_64`'s `OffsetPageTable`: no rights, no reserved bits, no A or D.
#[expect(unsafe_code, reason = "the library walks memory through pointers")]
pub(crate) fn x86_64<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    let start = memory.words().as_ptr().expose_provenance();
    let root = std::ptr::with_exposed_provenance_mut::<PageTable>(start + workload.root as usize);
    // SAFETY: the root table is in memory, aligned to 4 KiB, and nothing writes to it meanwhile.
    let root = unsafe { &mut *root };
    let offset = ::x86_64::VirtAddr::new(start as u64);
    // SAFETY: guest memory is mapped at the offset, and every table of the workload is in it.
    let table = unsafe { OffsetPageTable::new(root, offset) };
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            let found = table.translate_addr(::x86_64::VirtAddr::new(*address));
            sum = sum.wrapping_add(found.map_or(0, ::x86_64::PhysAddr::as_u64));
        }
        sum
    })
}

/// `page_table_multiarch`'s `query`: it ignores P above the leaf.
pub(crate) fn page_table_multiarch<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    START.store(memory.words().as_ptr().cast_mut().cast(), Ordering::Relaxed);
    ROOT.store(workload.root, Ordering::Relaxed);

    // The library clears a root table when it creates one.
    let root = &memory.words()[(workload.root / 8) as usize..][..512];
    let entries: Vec<_> = root.iter().map(|word| word.load(Ordering::Relaxed)).collect();
    let table = ManuallyDrop::new(X64PageTable::<Frames>::try_new().expect("it has a root"));
    for (word, entry) in root.iter().zip(entries) {
        word.store(entry, Ordering::Relaxed);
    }

    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            if let Ok((found, ..)) = table.query(memory_addr::VirtAddr::from(*address as usize)) {
                sum = sum.wrapping_add(usize::from(found) as u64);
            }
        }
        sum
    })
}

static START: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static ROOT: AtomicU64 = AtomicU64::new(0);

/// The library asks a type for frames.
struct Frames;

impl PagingHandler for Frames {
    fn alloc_frames(_: usize, _: usize) -> Option<memory_addr::PhysAddr> {
        Some(memory_addr::PhysAddr::from(ROOT.load(Ordering::Relaxed) as usize))
    }

    fn dealloc_frames(_: memory_addr::PhysAddr, _: usize) {}

    fn phys_to_virt(address: memory_addr::PhysAddr) -> memory_addr::VirtAddr {
        let start = START.load(Ordering::Relaxed) as usize;
        memory_addr::VirtAddr::from(start + usize::from(address))
    }
}

/// memflow, one address at a time.
pub(crate) fn memflow<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    one_by_one(translator(memory, workload, DirectTranslate::with_capacity(SCRATCH)))
}

/// memflow, a list of addresses at a time.
pub(crate) fn memflow_list<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    in_lists(translator(memory, workload, DirectTranslate::with_capacity(SCRATCH)))
}

/// memflow with its cache of translations, one address at a time.
pub(crate) fn memflow_cached<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    one_by_one(translator(memory, workload, cache()))
}

/// memflow with its cache of translations, a list of addresses at a time.
pub(crate) fn memflow_cached_list<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    in_lists(translator(memory, workload, cache()))
}

/// Bytes of the arena from which memflow allocates.
const SCRATCH: usize = 64 << 20;

/// A cache that has room for every page of a workload, and is valid for every round.
fn cache() -> CachedVirtualTranslate<DirectTranslate, CountCacheValidator> {
    const ENTRIES: usize = 1 << 19;

    CachedVirtualTranslate::builder(DirectTranslate::with_capacity(SCRATCH))
        .arch(x64::ARCH)
        .entries(ENTRIES)
        .validator(CountCacheValidator::new(usize::MAX))
        .build()
        .expect("entries and an architecture are all that it needs")
}

type Translator<V> = VirtualDma<GuestMemory, V, X86VirtualTranslate>;

fn translator<V: VirtualTranslate2>(
    memory: &Memory,
    workload: &Workload,
    translate: V,
) -> Translator<V> {
    let translator = x64::new_translator(Address::from(workload.root));
    VirtualDma::with_vat(GuestMemory(memory.words()), x64::ARCH, translator, translate)
}

fn one_by_one<'w, V: VirtualTranslate2 + 'w>(mut translator: Translator<V>) -> Run<'w> {
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            if let Ok(found) = translator.virt_to_phys(Address::from(*address)) {
                sum = sum.wrapping_add(found.address().to_umem());
            }
        }
        sum
    })
}

fn in_lists<'w, V: VirtualTranslate2 + 'w>(mut translator: Translator<V>) -> Run<'w> {
    const LIST: usize = 1024;

    let mut list = Vec::with_capacity(LIST);
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for part in addresses.chunks(LIST) {
            list.clear();
            list.extend(part.iter().map(|address| CTup2(Address::from(*address), 1)));
            let mut add = |found: VirtualTranslation| {
                sum = sum.wrapping_add(found.out_physical.address().to_umem());
                true
            };
            let mut fail = |_| true;
            translator.virt_to_phys_list(&list, (&mut add).into(), (&mut fail).into());
        }
        sum
    })
}

/// Physical memory, as memflow reads it.
#[derive(Clone)]
struct GuestMemory(&'static [AtomicU64]);

impl GuestMemory {
    fn read(&self, at: u64, bytes: &mut [u8]) {
        for (number, piece) in bytes.chunks_mut(8).enumerate() {
            let word =
                self.0.get(at as usize / 8 + number).map_or(0, |w| w.load(Ordering::Relaxed));
            piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
        }
    }
}

impl PhysicalMemory for GuestMemory {
    fn phys_read_raw_iter(
        &mut self,
        PhysicalReadMemOps { inp, mut out, .. }: PhysicalReadMemOps<'_, '_, '_, '_>,
    ) -> memflow::error::Result<()> {
        for CTup3(address, meta, mut data) in inp {
            self.read(address.to_umem(), &mut data);
            opt_call(out.as_deref_mut(), CTup2(meta, data));
        }
        Ok(())
    }

    fn phys_write_raw_iter(
        &mut self,
        _: PhysicalWriteMemOps<'_, '_, '_, '_>,
    ) -> memflow::error::Result<()> {
        Err(Error(ErrorOrigin::PhysicalMemory, ErrorKind::NotSupported))
    }

    fn metadata(&self) -> PhysicalMemoryMetadata {
        PhysicalMemoryMetadata {
            max_address: Address::from(MEMORY - 1),
            real_size: MEMORY,
            readonly: true,
            ideal_batch_size: 4096,
        }
    }
}
