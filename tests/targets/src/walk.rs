//! The walk. Whatever the tables, the registers, the processor and the access are: in every paging mode,
//! and after every MOV to a control register that succeeds, a prediction has an outcome and reads
//! aligned entries only.
//!
//! Input, each field as [`Unstructured`] reads it: the registers in the order of [`ControlState`], the
//! [`profile`], the [`access`], and the width of an address where memory ends. The rest are the
//! little-endian words of [`Tables`].

use arbitrary::{Result, Unstructured};
use mmu_core::memory::{OutsideMemory, TableMemory};
use mmu_core::x86::control::Mov;
use mmu_core::x86::profile::ControlFeatures;
use mmu_core::{
    Access, AccessKind, AnyMmu, ControlState, Cr0, Cr4, Efer, Features, PagingMode, PhysAddr, Pins,
    Profile, Ring, Segment, Vendor, VirtAddr,
};

/// Walks in every mode.
///
/// # Panics
/// When a walk does not do what it must.
pub fn walk(bytes: &[u8]) {
    let _ = walk_all(Unstructured::new(bytes));
}

fn walk_all(mut input: Unstructured<'_>) -> Result<()> {
    let state = control_state(&mut input)?;
    let profile = profile(&mut input)?;
    let access = access(&mut input)?;
    let end = 1 << input.int_in_range(12..=63)?;
    let tables = Tables { words: input.take_rest().as_chunks().0, end };

    let predict = |state| {
        // An access of a size that no instruction has is refused.
        if let Ok(prediction) = AnyMmu::new(state, profile).predict(&tables, &access) {
            assert!(!prediction.alternatives.is_empty(), "no outcome");
        }
    };

    for mode in PagingMode::ALL {
        predict(in_mode(mode, state));
    }
    for mov in
        [Mov::Cr0(state.cr0), Mov::Cr3(state.cr3), Mov::Cr4(state.cr4), Mov::Efer(state.efer)]
    {
        for before in PagingMode::ALL {
            let loads = in_mode(before, state).loads(mov, profile, &tables);
            loads.into_iter().filter_map(|load| load.result.ok()).for_each(predict);
        }
    }

    Ok(())
}

/// Memory in which every frame is a table: the address of an entry selects one of the words.
struct Tables<'w> {
    words: &'w [[u8; 8]],
    /// There is no memory from here on.
    end: u64,
}

impl TableMemory for Tables<'_> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> std::result::Result<u64, OutsideMemory> {
        assert!(at.get().is_multiple_of(bytes.into()), "{at} is not a multiple of {bytes}");
        if at.get() >= self.end {
            return Err(OutsideMemory(at));
        }

        let number = at.get() / u64::from(bytes);
        let index = number.checked_rem(self.words.len() as u64).unwrap_or(0);
        let word = self.words.get(usize::try_from(index).unwrap_or(0)).copied().unwrap_or_default();
        Ok(u64::from_le_bytes(word) & (u64::MAX >> (64 - 8 * bytes)))
    }
}

/// The registers, with the bits that select a mode.
fn in_mode(mode: PagingMode, mut state: ControlState) -> ControlState {
    state.cr0.set(Cr0::PG, mode != PagingMode::Unpaged);
    state.cr4.set(Cr4::PAE, mode != PagingMode::Bits32);
    state.cr4.set(Cr4::LA57, mode == PagingMode::FiveLevel);
    state.efer.set(Efer::LMA, mode.is_long_mode());
    assert_eq!(state.mode(), mode);
    state
}

fn control_state(input: &mut Unstructured<'_>) -> Result<ControlState> {
    Ok(ControlState {
        cr0: Cr0::from_bits_retain(input.arbitrary()?),
        cr3: input.arbitrary()?,
        cr4: Cr4::from_bits_retain(input.arbitrary()?),
        efer: Efer::from_bits_retain(input.arbitrary()?),
        pkru: input.arbitrary()?,
        pkrs: input.arbitrary()?,
        pdptes: input.arbitrary()?,
    })
}

/// MAXPHYADDR, the vendor, the features, and a pin for each choice.
fn profile(input: &mut Unstructured<'_>) -> Result<Profile> {
    Ok(Profile {
        physical_address_bits: input.int_in_range(32..=52)?,
        vendor: *input.choose(&[Vendor::Intel, Vendor::Amd, Vendor::Unknown])?,
        features: Features::from_bits_truncate(input.arbitrary()?),
        control_features: ControlFeatures::all(),
        pins: Pins {
            global_in_pml4e_is_reserved: input.arbitrary()?,
            pdptes_are_walked: input.arbitrary()?,
            absent_pdptes_are_checked: input.arbitrary()?,
            smep_alone_reports_fetch: input.arbitrary()?,
            denied_pte_is_accessed: input.arbitrary()?,
            faults_save_rf: None,
        },
    })
}

/// Its kind, address and size, the ring and the segment, and four flags: implicit, to a shadow stack,
/// EFLAGS.AC, and in compatibility mode.
fn access(input: &mut Unstructured<'_>) -> Result<Access> {
    Ok(Access {
        kind: *input.choose(&AccessKind::ALL)?,
        address: VirtAddr::new(input.arbitrary()?),
        size: input.int_in_range(1..=4096)?,
        ring: *input.choose(&Ring::ALL)?,
        segment: *input.choose(&Segment::ALL)?,
        implicit: input.arbitrary()?,
        shadow_stack: input.arbitrary()?,
        ac: input.arbitrary()?,
        compatibility: input.arbitrary()?,
    })
}
