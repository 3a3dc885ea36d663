//! Two processors of an emulator, each in a thread of its own, on one memory. One of them unmaps a page.
//! The other still has its translation cached, and uses it until it is told to drop it.
//!
//! ```sh
//! cargo run -p mmu-core --example two_processors
//! ```

use mmu_core::memory::{AtomicWords, OutsideMemory};
use mmu_core::{
    Access, AccessError, AnyCachedMmu, ControlState, PhysAddr, Profile, Ring, VirtAddr,
};
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::thread;

/// The page that both use. Its entry is number 1 of the last table.
const PAGE: VirtAddr = VirtAddr::new(0x1000);
const PTE: PhysAddr = PhysAddr::new(0x4008);

type Ram = AtomicWords<Vec<AtomicU64>>;

struct Processor<'m> {
    mmu: AnyCachedMmu,
    ram: &'m Ram,
}

impl<'m> Processor<'m> {
    fn new(ram: &'m Ram) -> Self {
        let state = ControlState::four_level(0x1000);
        Self { mmu: AnyCachedMmu::new(state, Profile::default()), ram }
    }

    /// Loads 8 bytes for user code. The error is a fault, which the emulator would deliver.
    fn load(&mut self, address: VirtAddr) -> Result<u64, AccessError> {
        let translated = self.mmu.translate(self.ram, &Access::read(address, 8, Ring::Three))?;

        let mut value = [0; 8];
        for (at, bytes) in translated.split_mut(&mut value) {
            self.ram.read(at, bytes).map_err(AccessError::Memory)?;
        }
        Ok(u64::from_le_bytes(value))
    }
}

/// 4 KiB pages: `PAGE` is mapped to the frame at 0x5000, for user code.
fn memory() -> Result<Ram, OutsideMemory> {
    let ram = Ram::new(PhysAddr::new(0), (0..0xc00).map(|_| AtomicU64::new(0)).collect());
    let tables = [(0x1000, 0x2007), (0x2000, 0x3007), (0x3000, 0x4007), (PTE.get(), 0x5007)];
    for (at, word) in tables.into_iter().chain([(0x5000, 42)]) {
        ram.write(PhysAddr::new(at), &u64::to_le_bytes(word))?;
    }
    Ok(ram)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ram = memory()?;
    let step = Barrier::new(2);

    thread::scope(|scope| {
        scope.spawn(|| {
            let mut second = Processor::new(&ram);
            println!("second: reads {:?}", second.load(PAGE));
            step.wait(); // the first processor unmaps the page,
            step.wait(); // and has done so
            println!("second: still reads {:?}: its TLB has the page", second.load(PAGE));
            step.wait(); // the first processor sends the interrupt of a shoot-down
            second.mmu.invlpg(PAGE);
            let fault = second.load(PAGE).expect_err("the page is unmapped");
            println!("second: after INVLPG, {fault}");
            assert_eq!(fault.to_string(), "#PF(U) at 0x1000");
        });

        let mut first = Processor::new(&ram);
        assert_eq!(first.load(PAGE), Ok(42));
        step.wait();
        ram.write(PTE, &[0; 8]).expect("the table is in memory");
        first.mmu.invlpg(PAGE);
        println!("first:  unmaps the page, then {}", first.load(PAGE).expect_err("unmapped"));
        step.wait();
        step.wait();
    });
    Ok(())
}
