//! No public function panics, whatever the values that it is given: every constructor and method is
//! driven with arbitrary ones. Only what the functions return is not checked here.

#[cfg(feature = "alloc")]
mod nested;
mod values;

use mmu_core::cache::{
    CachedMmu, History, Invalidation, RegisterWrite, StructureCaches, StructureEntry, Tlb,
    TlbEntry, invalidated_by, pcid,
};
use mmu_core::memory::{
    AtomicTableMemory, AtomicWords, Bytes, SparseTables, TableMemory, TableMemoryMut, Unshared,
};
use mmu_core::space::{
    Backing, Event, EventSink, FrameUse, Frames, ObjectId, Protection, Region, RegionKind,
    Safeguards, Settings, SlotNumber, Slots, Software, SpaceId, System,
};
use mmu_core::table::Cursor;
use mmu_core::table::mapping::{FrameAllocator, FrameRange, Mapper};
use mmu_core::walk::Path;
use mmu_core::x86::control::Mov;
use mmu_core::x86::format::{
    self, Bits32, EntryBits, FiveLevel, Format, FourLevel, Linear, Pae, Unpaged,
};
use mmu_core::x86::semantics::{Cause, Denial, EntryError, Rights};
use mmu_core::{
    Access, AccessTranslation, AnyCachedMmu, AnyMmu, Cr0, Cr4, Fault, Features, Mmu, Outcome,
    PageFaultCode, PagingMode, PhysAddr, Profile, Reference, Regime, Ring, Semantics, Vector,
    VirtAddr,
};
use proptest::prelude::*;
use std::sync::atomic::AtomicU64;
use values::{MEMORY, Values};

fn drive_addresses(values: &mut Values) {
    let address = values.address();
    let _ = address.is_canonical(values.byte());
    let _ = address.truncated(values.byte());
    let _ = address.sign_extended(values.byte());
    let _ = address.index(values.byte(), values.byte());
    let _ = address.offset(values.byte());
    let _ = address.wrapping_add(values.number());
    let _ = (values.place() + values.number()).is_aligned(values.size());

    let access = values.access();
    let _ = (access.last_byte(), access.bytes_in_first_page(), access.crosses_page());
    let sizes = access.pages().map(|page| u32::from(page.size));
    assert_eq!(sizes.sum::<u32>(), u32::from(access.size));

    let profile = values.profile();
    let _ = profile.check().map_err(|error| error.to_string());
    let _ = profile.with_physical_address_bits(values.byte());
    let _ = (profile.bits_above_physical(), profile.physical_address_mask());
    let registers = [(); 4].map(|()| values.number() as u32);
    let _ = Profile::from_cpuid(|_, _| Some(registers));
    let _ = Features::from_bits_retain(values.word() as u32).cpuid_bit();
    let _ = (Vector::from_number(values.byte()), Ring::from_cpl(values.byte()));
    let _ = values.fault().to_string();
    let _ = (EntryBits::key_of(values.number()), EntryBits::with_key(values.number() as u32));

    let entries = [(values.number(), values.number())];
    let tables = SparseTables::new(&entries).with_memory_below(values.number());
    let _ = tables.read_entry(values.place(), values.byte());
    let mut memory = Bytes::new(values.place(), vec![0; 64]);
    let _ = memory.bytes(values.place(), values.number()).map(<[u8]>::len);
    let _ = memory.read_entry(values.place(), values.byte());
    let _ = memory.write_entry(values.place(), values.byte(), values.number());
    let (current, new) = (values.number(), values.number());
    let memory = Unshared::new(memory);
    let _ = memory.compare_exchange(values.place(), values.byte(), current, new);

    let words = [const { AtomicU64::new(0) }; 4];
    let mut words = AtomicWords::new(values.place(), words);
    let _ = words.read_entry(values.place(), values.byte());
    let _ = words.write_entry(values.place(), values.byte(), values.number());
    let _ = words.compare_exchange(values.place(), values.byte(), current, new);
    let mut bytes = vec![0; values.byte().into()];
    let _ = words.read(values.place(), &mut bytes);
    let _ = words.write(values.place(), &bytes);
}

fn drive_translation(translated: AccessTranslation) {
    let spans = translated.spans().map(|span| usize::from(span.len));
    assert!(spans.sum::<usize>() > 0);
    for page in translated.translations() {
        let _ = (page.page_size(), page.pat_index());
    }
    let mut bytes = [0; 7];
    let _ = translated.split(&bytes).count();
    let _ = translated.split_mut(&mut bytes).count();
    let _ = translated.address();
    let _ = Outcome::of::<()>(Ok(translated));
}

fn drive_format<F: Format>(values: &mut Values) {
    let mut memory = values.memory();
    let (state, profile) = (values.state(), values.profile());
    let regime = Regime::new(state, profile);
    let (level, kind, access) = (values.level(), values.kind(), values.access());
    let (entry, address) = (values.number(), values.address());

    let _ = (F::root(&regime), F::is_leaf(&level, entry, &regime));
    let _ = F::reserved_bits(&level, kind, &regime);
    let _ = F::address(&level, kind, entry);
    let _ = F::entry(&level, kind, values.place(), EntryBits::from_bits_retain(values.number()));
    let _ = F::rule_at_work(&level, kind, entry, &regime);
    let _ = F::register(&level, values.number(), &regime);

    let rights = Rights::from_bits_retain(values.byte());
    let _ = Reference.masked_address(&access, &regime);
    let _ = Reference.is_canonical(&access, values.byte(), &regime);
    let _ = Reference.index(&level, address);
    let _ = Reference.denial(rights, rights, entry, &access, &regime);
    let denied = Cause::Denied(Denial::from_bits_retain(values.byte()));
    let cause = values.one_of(&[denied, Cause::Entry(EntryError::NotPresent)]);
    let _ = Reference.page_fault_code(cause, &access, &regime);

    let cursor = Cursor::<F>::at_depth(values.number() as usize, values.place());
    if let Some(cursor) = cursor.or(Cursor::at_root(values.place())) {
        let _ = (cursor.entry_at(values.number()), cursor.entry_for(address), cursor.is_last());
        let _ = cursor.read(&memory, values.place());
        let _ = cursor.below(values.place());
    }

    let mmu = Mmu::<F>::new(state, profile);
    let mut path = Path::default();
    for _ in 0..3 {
        let _ = mmu.walk(&memory, values.address(), &access, &mut path);
    }
    for access in [access, values.access(), values.access()] {
        if let Ok(prediction) = mmu.predict(&memory, &access) {
            assert!(!prediction.alternatives.is_empty());
        }
    }

    for _ in 0..3 {
        let _ = mmu.probe(&memory, &values.access()).map(drive_translation);
        let _ = mmu.translate(&Unshared::new(&mut memory), &values.access());
    }

    let mut history = History::<_, 2>::new(memory.clone());
    for _ in 0..3 {
        let _ = history.edit(values.place(), values.byte(), values.number());
        history.forget(values.address());
        history.invlpg::<F>(&state, &profile, values.address());
        history.page_fault(&state, values.address());
        let new = values.state();
        let write = RegisterWrite::Cr3(values.number());
        let _ = history.write_register(write, &state, &new, profile.vendor);
        let _ = history.set_flags(values.place(), values.byte(), values.number());
        let _ = mmu.predict_stale(&history, &values.access(), |_| {});
        let _ = mmu.predict_after_edits(&history, &values.access());
    }
    history.forget_all();

    let mut cached = CachedMmu::<F, Reference, 4, 2, 2>::with_semantics(Reference, state, profile);
    for _ in 0..4 {
        let access = values.access();
        let _ = cached.translate(&Unshared::new(&mut memory), &access).map(drive_translation);
        let _ = cached.probe(&memory, &values.access());
        cached.invalidate(values.invalidation());
        cached.invlpg(values.address());
        let _ = cached.invpcid(values.number(), [values.number(), values.number()]);
        cached.set_state(RegisterWrite::Cr3(values.number()), values.state());
    }
    let _ = Invalidation::invlpg::<F>(&state, &profile, values.address());
    let _ = invalidated_by(RegisterWrite::Other, &state, &values.state());

    let frames = FrameRange::new(values.place(), values.number() as usize);
    let mut mapper = Mapper::<F, _, _>::new(state, profile, &mut memory, frames);
    for _ in 0..4 {
        let (page, frame, size) = (values.address(), values.place(), values.size());
        let flags = EntryBits::from_bits_retain(values.number());
        let _ = mapper.map(page, frame, size, flags);
        let _ = mapper.map_range(page, frame, values.number(), flags);
        let _ = mapper.protect(page, size, flags);
        let _ = mapper.remap(page, values.place(), size);
        let _ = mapper.translate(page);
        let _ = mapper.pages().take(8).count();
        let _ = mapper.unmap(page, size);
    }
}

fn drive_modes(values: &mut Values) {
    let memory = values.memory();
    let (state, profile, access) = (values.state(), values.profile(), values.access());
    let regime = Regime::new(state, profile);
    let (level, kind, place) = (values.level(), values.kind(), values.place());

    let _ = (state.mode(), pcid(&state), format::root(&regime));
    let _ = format::decode(&regime, &level, values.number());
    for mode in PagingMode::ALL {
        let flags = EntryBits::from_bits_retain(values.word());
        let _ = format::entry(mode, &level, kind, place, flags);
    }

    let mut memory = memory;
    let mmu = AnyMmu::new(state, profile);
    let _ = mmu.predict(&memory, &access);
    let _ = mmu.walk(&memory, values.address(), &access, &mut ());
    let _ = mmu.probe(&memory, &values.access()).map(drive_translation);
    let _ = mmu.translate(&Unshared::new(&mut memory), &values.access());

    let cr0 = Cr0::from_bits_retain(values.number() as _);
    let cr4 = Cr4::from_bits_retain(values.number() as _);
    for mov in [Mov::Cr0(cr0), Mov::Cr3(values.number()), Mov::Cr4(cr4)] {
        assert!(!state.loads(mov, profile, &memory).is_empty());
    }
    let _ = state.load_cr0(cr0, profile, &memory);
    let _ = state.load_cr3(values.number(), profile, &memory);
    let _ = state.load_cr4(cr4, profile, &memory);
}

fn drive_any_cached_mmu(values: &mut Values) {
    let mut memory = Unshared::new(values.memory());
    let mut mmu = AnyCachedMmu::<_, 4, 2, 2>::with_semantics(
        Reference,
        values.possible_state(),
        values.profile(),
    );

    for _ in 0..16 {
        let _ = mmu.translate(&memory, &values.access()).map(drive_translation);
        let _ = mmu.probe(&memory, &values.access());
        let value = values.number();
        match values.word() % 10 {
            0 => drop(mmu.write_cr0(&memory, 0x8001_0011 ^ value)),
            1 => drop(mmu.write_cr3(&memory, value)),
            2 => drop(mmu.write_cr4(&memory, 0x20 ^ value)),
            3 => drop(mmu.write_efer(value)),
            4 => mmu.write_pkru(value as u32),
            5 => mmu.write_pkrs(value as u32),
            6 => mmu.invlpg(values.address()),
            7 => drop(mmu.invpcid(value % 5, [values.number(), values.number()])),
            8 => mmu.invalidate(values.invalidation()),
            _ => mmu.set_state(RegisterWrite::Cr3(value), values.possible_state()),
        }
        let _ = memory.write_entry(values.place(), values.byte(), values.number());
    }
    let _ = (mmu.rules(), mmu.regime(), mmu.tlb().iter().count());
    let _ = mmu.structures().iter().count();
}

fn drive_caches(values: &mut Values) {
    let mut tlb = Tlb::<4, 2>::new();
    let structures = StructureCaches::<2>::new();
    for _ in 0..8 {
        let rights = Rights::from_bits_retain(values.byte());
        let (shift, pcid) = (values.byte(), values.number() as u16);
        let entry = TlbEntry {
            page: values.number(),
            shift,
            pcid,
            global: values.flag(),
            above: rights,
            rights,
            leaf: values.number(),
            dirty: values.flag(),
        };
        let (prefix, table) = (values.number(), values.place());
        let structure = StructureEntry { prefix, shift, pcid, table, rights };

        tlb.insert(entry);
        let (address, invalidation) = (values.address(), values.invalidation());
        let _ = tlb.lookup(address, pcid);
        let _ = structures.lookup(&values.level(), address, pcid);
        let _ = (entry.translates(address, pcid), entry.frame::<FourLevel>());
        let _ = structure.serves(address, pcid);
        let _ = (invalidation.drops(&entry), invalidation.drops_structure(&structure));
        tlb.invalidate(invalidation);
    }
}

/// Keeps no history.
#[derive(Clone)]
struct Forgetful;

impl EventSink for Forgetful {
    fn record(&mut self, _event: Event) {}
}

fn region(values: &mut Values) -> Region {
    let kinds = [RegionKind::Heap, RegionKind::Stack, RegionKind::Data, RegionKind::Guard];
    let (slot, object, place) =
        (SlotNumber(values.number() as u32), ObjectId(values.byte()), values.place());
    Region {
        kind: values.one_of(&kinds),
        start: values.address(),
        // A fixed region is mapped at once: in memory this small, thousands of pages are many.
        pages: values.number(),
        limit: values.number(),
        protection: Protection::from_bits_retain(values.byte()),
        backing: values.one_of(&[
            Backing::Zero,
            Backing::Image(slot),
            Backing::Object(object),
            Backing::Fixed(place),
        ]),
    }
}

fn drive_space<F: Format>(values: &mut Values) {
    let mut frames = Frames::<8>::new(values.place(), values.number() as usize);
    for _ in 0..4 {
        let usage = FrameUse::Page(values.address());
        let space = SpaceId(values.byte());
        let frame = frames.allocate_run(values.number() as usize, usage, space);
        let frame = frame.or_else(|| frames.allocate(usage, space)).unwrap_or(values.place());
        frames.share(frame);
        let _ = (frames.get(frame), frames.free(), frames.iter().count());
        let other = values.place();
        let _ = frames.release(values.one_of(&[frame, other]));
    }

    let slots = Slots::<8>::new(values.number() as u32, values.number() as u32);
    let slot = SlotNumber(values.number() as u32);
    let _ = (slots.references(slot), slots.in_use(), slot.plus(values.number()), slot.offset());
    let any = region(values);
    let _ = (any.end(), any.holds(values.address()));
    let _ = Region::stack(values.address(), values.number(), values.number()).end();
    let _ = Region::heap(values.address(), values.number(), values.number()).end();

    let is_usual = values.flag();
    let settings = Settings {
        first_frame: if is_usual { PhysAddr::new(0) } else { values.place() },
        frames: if is_usual { 12 } else { values.number() as usize },
        slots: values.number() as u32,
        images: values.number() as u32 % 9,
        execute_disable: values.flag(),
        safeguards: Safeguards::from_bits_retain(values.byte()),
    };
    let Ok(mut system) = System::<F, 12, 8>::new(settings) else { return };

    let bytes = vec![0; MEMORY];
    let mut computer = Software::<F, _, _>::new(bytes, values.place(), values.profile(), Forgetful);
    let _ = system.create(&mut computer);
    for _ in 0..8 {
        let any = values.byte();
        let space = SpaceId(values.one_of(&[0, 0, 0, 1, any]));
        let mut added = region(values);
        if values.flag() {
            let (start, pages) = (0x40_0000 + values.word() % 8 * 0x1_0000, 1 + values.word() % 4);
            added = Region { start: VirtAddr::new(start), pages, limit: pages, ..added };
        }
        let _ = system.map(&mut computer, space, added);
        let _ = computer.run(&system, space);

        let near = added.start.wrapping_add(values.word() % 0x4000);
        let far = values.address();
        let address = values.one_of(&[near, far]);
        let code = PageFaultCode::from_bits_retain(values.number() as u32);
        let _ = system.fault(&mut computer, space, &Fault::page_fault(code, address));
        let _ = system.fault(&mut computer, space, &values.fault());
        let _ = computer.access(&Access { address, ..values.access() });
        let _ = computer.stale(&system);

        let _ = system.grow(space, address, values.number());
        let backing = values.one_of(&[Backing::Zero, added.backing]);
        let _ = system.create_object(values.number(), backing);
        let _ = system.protect(&mut computer, space, address, added.protection);
        let _ = system.look(&computer, space, address);
        let _ = system.path(&computer, space, address).map(Iterator::count);
        let _ = system.sharers(&computer, values.place());
        let _ = (system.root(space), system.regions(space), system.table_frames(space));
        let _ = system.audit(&computer);
        match values.word() % 8 {
            0 => drop(system.fork(&mut computer, space)),
            1 => drop(system.unmap(&mut computer, space, address)),
            2 => drop(system.reclaim(&mut computer)),
            3 => drop(system.destroy(&mut computer, space)),
            _ => drop(system.create(&mut computer)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_address_access_or_profile_panics(seed in any::<u64>()) {
        for step in 0..64 {
            drive_addresses(&mut Values(seed ^ step));
        }
    }

    #[test]
    fn no_walk_cache_or_mapping_panics(seed in any::<u64>()) {
        drive_format::<Unpaged>(&mut Values(seed));
        drive_format::<Bits32>(&mut Values(seed));
        drive_format::<Pae>(&mut Values(seed));
        drive_format::<FourLevel>(&mut Values(seed));
        drive_format::<FiveLevel>(&mut Values(seed));
        drive_format::<Linear<24, 12, 4>>(&mut Values(seed));
        drive_format::<Linear<64, 4, 8>>(&mut Values(seed));
    }

    #[test]
    fn no_mode_or_control_register_panics(seed in any::<u64>()) {
        drive_modes(&mut Values(seed));
        for step in 0..4 {
            drive_any_cached_mmu(&mut Values(seed ^ step));
        }
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn no_nested_walk_panics(seed in any::<u64>()) {
        nested::drive_mmu(&mut Values(seed));
        for step in 0..16 {
            nested::drive_formats(&mut Values(seed ^ step));
            nested::drive_decisions(&mut Values(seed ^ step));
        }
    }

    #[test]
    fn no_cache_panics(seed in any::<u64>()) {
        for step in 0..64 {
            drive_caches(&mut Values(seed ^ step));
        }
    }

    #[test]
    fn no_address_space_panics(seed in any::<u64>()) {
        drive_space::<Bits32>(&mut Values(seed));
        drive_space::<Pae>(&mut Values(seed));
        drive_space::<FourLevel>(&mut Values(seed));
        drive_space::<FiveLevel>(&mut Values(seed));
        drive_space::<Linear<24, 12, 4>>(&mut Values(seed));
    }
}

#[test]
fn a_frame_allocator_and_its_numbers_wrap() {
    let mut frames = FrameRange::new(PhysAddr::new(u64::MAX), usize::MAX);
    assert!(frames.allocate().is_some() && frames.allocate().is_some());
}
