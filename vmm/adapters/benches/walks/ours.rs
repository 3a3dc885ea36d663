//! What is measured: the walks of mmu-core.

use crate::measure::Run;
use crate::workload::{Memory, Workload};
use mmu_core::cache::CachedMmu;
use mmu_core::x86::format::FourLevel;
use mmu_core::x86::semantics::Reference;
use mmu_core::{Access, Mmu, Outcome, PhysAddr, Prediction, Profile, Ring, VirtAddr};

fn read(address: u64) -> Access {
    Access::read(VirtAddr::new(address), 8, Ring::Three)
}

fn mmu(workload: &Workload) -> Mmu<FourLevel> {
    Mmu::new(workload.state(), Profile::default())
}

/// One address after the other.
pub(crate) fn walk<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    let mmu = mmu(workload);
    let tables = memory.tables();
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            let access = read(*address);
            if let Ok(translation) = mmu.walk(&tables, access.address, &access, &mut ()) {
                sum = sum.wrapping_add(translation.address.get());
            }
        }
        sum
    })
}

/// All outcomes that are allowed.
pub(crate) fn predict<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    let mmu = mmu(workload);
    let tables = memory.tables();
    let mut prediction = Prediction::default();
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            let _ = mmu.predict_into(&tables, &read(*address), &mut prediction);
            let outcome = prediction.alternatives.first().map(|first| &first.outcome);
            let address = outcome.and_then(Outcome::physical_address);
            sum = sum.wrapping_add(address.map_or(0, PhysAddr::get));
        }
        sum
    })
}

/// An MMU with a TLB and paging-structure caches of these sizes.
type Caches<const SETS: usize, const WAYS: usize, const STRUCTURES: usize> =
    CachedMmu<FourLevel, Reference, SETS, WAYS, STRUCTURES>;

/// Such an MMU, with empty caches.
fn caches<const SETS: usize, const WAYS: usize, const STRUCTURES: usize>(
    workload: &Workload,
) -> Box<Caches<SETS, WAYS, STRUCTURES>> {
    Box::new(Caches::with_semantics(Reference, workload.state(), Profile::default()))
}

/// Through the caches, one address after the other.
pub(crate) fn cached<'w, const SETS: usize, const WAYS: usize, const STRUCTURES: usize>(
    memory: &'w Memory,
    workload: &'w Workload,
) -> Run<'w> {
    let mut mmu = caches::<SETS, WAYS, STRUCTURES>(workload);
    let tables = memory.tables();
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            let access = read(*address);
            if let Ok(translation) = mmu.walk(&tables, access.address, &access) {
                sum = sum.wrapping_add(translation.address.get());
            }
        }
        sum
    })
}

/// The same for lists of addresses.
pub(crate) fn cached_lists<'w, const SETS: usize, const WAYS: usize, const STRUCTURES: usize>(
    memory: &'w Memory,
    workload: &'w Workload,
) -> Run<'w> {
    let mut mmu = caches::<SETS, WAYS, STRUCTURES>(workload);
    let tables = memory.tables();
    in_lists(move |list, sum| {
        mmu.walk_batch(&tables, list, &read(0), |_, translated| {
            let address = translated.map_or(0, |translation| translation.address.get());
            *sum = sum.wrapping_add(address);
        });
    })
}

/// Gives the addresses as lists to something that adds the physical addresses to a sum.
fn in_lists<'w>(mut add: impl FnMut(&[VirtAddr], &mut u64) + 'w) -> Run<'w> {
    const LIST: usize = 1024;

    let mut list = Vec::with_capacity(LIST);
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for part in addresses.chunks(LIST) {
            list.clear();
            list.extend(part.iter().copied().map(VirtAddr::new));
            add(&list, &mut sum);
        }
        sum
    })
}

/// Level by level.
pub(crate) fn batch<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    let mmu = mmu(workload);
    let tables = memory.tables();
    in_lists(move |list, sum| {
        mmu.walk_batch(&tables, list, &read(0), |_, translated| {
            let address = translated.map_or(0, |translation| translation.address.get());
            *sum = sum.wrapping_add(address);
        });
    })
}

/// All pages from the first to the last, for workloads that have no others.
pub(crate) fn range<'w>(memory: &'w Memory, workload: &'w Workload) -> Option<Run<'w>> {
    let mmu = mmu(workload);
    let tables = memory.tables();
    let (first, last) = workload.range?;
    let (first, last) = (VirtAddr::new(first), VirtAddr::new(last));

    Some(Box::new(move |_| {
        let mut sum = 0_u64;
        mmu.walk_range(&tables, first, last, &read(0), |run| {
            if let Ok(pages) = run.pages {
                let pages = pages.translations();
                sum = pages.fold(sum, |sum, page| sum.wrapping_add(page.address.get()));
            }
        });
        // It finds the pages, and the others bytes in them.
        sum.wrapping_add(workload.offsets)
    }))
}

/// Without rights.
pub(crate) fn locate<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    let mmu = mmu(workload);
    let tables = memory.tables();
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            if let Ok(found) = mmu.locate(&tables, VirtAddr::new(*address)) {
                sum = sum.wrapping_add(found.get());
            }
        }
        sum
    })
}
