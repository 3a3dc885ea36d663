//! Builds the page tables of a small address space, walks them, and changes what is mapped.
//!
//! ```sh
//! cargo run -p mmu-core --example mapper
//! ```

use mmu_core::memory::Bytes;
use mmu_core::table::mapping::{FrameRange, MapError, Mapper};
use mmu_core::walk::Path;
use mmu_core::x86::format::{EntryBits, FourLevel};
use mmu_core::{
    Access, ControlState, Mmu, Outcome, PageSize, PhysAddr, Profile, Ring, Rule, VirtAddr,
};

/// The physical memory: 1 MiB from address 0 on. Large frames may be outside it, as only tables are
/// read and written.
type ByteMemory = Bytes<Vec<u8>>;

/// The root table. It must exist before anything is mapped.
const ROOT: u64 = 0x1000;

const CODE: VirtAddr = VirtAddr::new(0x40_0000);
const DATA: VirtAddr = VirtAddr::new(0x40_1000);
const KERNEL: VirtAddr = VirtAddr::new(0xffff_8000_0020_0000);

fn main() -> Result<(), MapError> {
    let mut ram = Bytes::new(PhysAddr::new(0), vec![0; 0x10_0000]);
    let state = ControlState::four_level(ROOT);
    let mmu = Mmu::<FourLevel>::new(state, Profile::default());

    // The mapper takes frames for new tables from a range. It borrows the memory, so it is dropped
    // before each walk below, and `edit` makes another one.
    let frames = FrameRange::new(PhysAddr::new(0x2000), 16);
    let mut mapper = Mapper::<FourLevel, _, _>::new(state, Profile::default(), &mut ram, frames);

    // Flags are those of the leaf. Tables above it allow everything, and P and PS are added.
    let code = EntryBits::US;
    let data = EntryBits::US | EntryBits::RW | EntryBits::XD;
    let kernel = EntryBits::RW | EntryBits::G;
    mapper.map(CODE, PhysAddr::new(0x8_0000), PageSize::Size4KiB, code)?;
    mapper.map(DATA, PhysAddr::new(0x8_1000), PageSize::Size4KiB, data)?;
    mapper.map(KERNEL, PhysAddr::new(0x4000_0000), PageSize::Size2MiB, kernel)?;

    println!("The mapped pages:");
    for page in mapper.pages() {
        let page = page?;
        println!("  {} -> {}, {:?}, {}", page.page, page.frame, page.size, names(page.flags));
    }

    println!("\nWhat the mapper refuses:");
    let overlap = mapper.map(CODE, PhysAddr::new(0x9_0000), PageSize::Size4KiB, code);
    let misaligned = mapper.map(DATA, PhysAddr::new(0x9_0000), PageSize::Size2MiB, data);
    for refused in [overlap, misaligned].into_iter().filter_map(Result::err) {
        println!("  {refused}");
    }

    println!("\nWalks:");
    show_walk(&mmu, &ram, &Access::read(DATA.wrapping_add(0x234), 8, Ring::Three));
    show_walk(&mmu, &ram, &Access::write(CODE, 8, Ring::Three));
    show_walk(&mmu, &ram, &Access::fetch(KERNEL.wrapping_add(0x1_2345), 4, Ring::Zero));

    // Changing a live mapping returns what must be invalidated: an INVLPG on a real processor. A
    // walk without caches, like the ones here, sees the change at once.
    println!("Protect the data page, and move it to another frame:");
    let read_only = EntryBits::US | EntryBits::XD;
    let flush = edit(&mut ram, state).protect(DATA, PageSize::Size4KiB, read_only)?;
    println!("  read-only now; invalidate {}", flush.0);
    let (old, flush) =
        edit(&mut ram, state).remap(DATA, PhysAddr::new(0x9_0000), PageSize::Size4KiB)?;
    println!("  moved from {old}; invalidate {}\n", flush.0);

    show_walk(&mmu, &ram, &Access::read(DATA, 8, Ring::Three));
    show_walk(&mmu, &ram, &Access::write(DATA, 8, Ring::Three));
    Ok(())
}

/// A mapper that changes what is mapped. It needs no frames, as it adds no tables.
fn edit(
    ram: &mut ByteMemory,
    state: ControlState,
) -> Mapper<'_, FourLevel, ByteMemory, FrameRange> {
    Mapper::new(state, Profile::default(), ram, FrameRange::new(PhysAddr::new(0), 0))
}

/// Prints the entries on the path of an access, and how the access ends.
fn show_walk(mmu: &Mmu<FourLevel>, ram: &ByteMemory, access: &Access) {
    println!("  {} of {} in {:?}", access.kind.name(), access.address, access.ring);

    // A walk reports its steps to a trace; `Path` keeps them.
    let mut path = Path::default();
    let _ = mmu.walk(ram, access.address, access, &mut path);
    for step in &path.steps {
        let name = step.level.entry_name;
        println!("    {name:5} at {} is {:#018x}, points to {}", step.at, step.entry, step.target);
    }

    // The prediction is about the whole access: masking, canonical addresses, both of its pages,
    // and the updates of A and D. Here the manuals allow exactly one outcome.
    let prediction = mmu.predict(ram, access).expect("the access has a size");
    let likeliest = &prediction.alternatives[0];
    match &likeliest.outcome {
        Outcome::Translated(spans) => println!("    reaches {}", spans[0].address),
        Outcome::Fault(fault) => println!("    raises {fault}"),
    }
    let rules: Vec<_> = prediction.rules.iter().map(Rule::id).collect();
    println!("    decided by {}\n", rules.join(", "));
}

/// The names of flags: `P RW US`.
fn names(flags: EntryBits) -> String {
    flags.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
}
