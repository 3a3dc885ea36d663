//! What is measured: the walks of mmu-core.

use crate::measure::Run;
use crate::workload::{Memory, Workload};
use mmu_core::cache::CachedMmu;
use mmu_core::x86::format::FourLevel;
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

/// Through a TLB and paging-structure caches of the default size.
pub(crate) fn cached<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    let mut mmu = Box::new(CachedMmu::<FourLevel>::new(workload.state(), Profile::default()));
    let tables = memory.tables();
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            if let Ok(translated) = mmu.translate(&tables, &read(*address)) {
                sum = sum.wrapping_add(translated.address().get());
            }
        }
        sum
    })
}
