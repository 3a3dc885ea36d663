//! What an input of the differential target means. All zeros is a plain mapping of everything; each
//! field deviates from it a little, so that most inputs are tables that lead somewhere.

use super::oracle::{Attempted, OracleProcessor};
use super::ram::{RAM_BYTES, Ram};
use crate::reader::Reader;
use mmu_core::x86::profile::ControlFeatures;
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Cr4, Efer, Features, PagingMode, Pins, Profile, Ring,
    Segment, Vendor, VirtAddr,
};

/// P, R/W and U/S.
const PLAIN: u64 = 7;

/// Registers and processor, for both sides.
pub(super) struct StateAndProfile {
    pub(super) state: ControlState,
    pub(super) profile: Profile,
    pub(super) processor: OracleProcessor,
}

impl StateAndProfile {
    pub(super) fn read(input: &mut Reader<'_>) -> Self {
        let mode = input.pick(&[
            PagingMode::FourLevel,
            PagingMode::Bits32,
            PagingMode::Pae,
            PagingMode::FiveLevel,
            PagingMode::Unpaged,
        ]);
        let flags = input.u16();
        let lacks = input.u8();
        let maxphyaddr = 52 - input.u8() % 21;
        let vendor = input.pick(&[Vendor::Intel, Vendor::Amd, Vendor::Unknown]);
        let pdptes_are_walked = flags >> 15 != 0;
        let root = (u64::from(input.u8()) << 12) | u64::from(input.u16());
        let keys = [input.u32(), input.u32()];
        let pdptes: [u64; 4] = std::array::from_fn(|_| pdpte(input.u8()));

        let state = ControlState {
            cr3: spiked(root, input.u8()),
            pkru: keys[0],
            pkrs: keys[1],
            pdptes,
            ..state_of(mode, flags)
        };
        let profile = profile_of(vendor, maxphyaddr, lacks, pdptes_are_walked);
        let processor = OracleProcessor {
            cr0: state.cr0.bits(),
            cr3: state.cr3,
            cr4: state.cr4.bits(),
            efer: state.efer.bits(),
            pkru: state.pkru,
            pkrs: state.pkrs,
            pdptes: (!pdptes_are_walked).then_some(pdptes),
            maxphyaddr: maxphyaddr.into(),
            has_pse36: !is_set(lacks, 0),
            has_pat: !is_set(lacks, 1),
            has_1_gib_pages: !is_set(lacks, 2),
            pml4e_g_is_reserved: is_set(lacks, 3),
            smep_alone_reports_fetch: !is_set(lacks, 4),
        };
        Self { state, profile, processor }
    }
}

const fn is_set(byte: u8, number: u32) -> bool {
    byte >> number & 1 == 1
}

fn state_of(mode: PagingMode, flags: u16) -> ControlState {
    let mut state = match mode {
        PagingMode::Bits32 => ControlState::bits32(0),
        PagingMode::Pae => ControlState::pae(0, [0; 4]),
        PagingMode::FiveLevel => ControlState::five_level(0),
        PagingMode::Unpaged | PagingMode::Linear => ControlState::unpaged(),
        PagingMode::FourLevel => ControlState::four_level(0),
    };

    let toggles = |number: u16| flags >> number & 1 != 0;
    if toggles(0) {
        state.cr0.toggle(Cr0::WP);
    }
    if toggles(1) {
        state.efer.toggle(Efer::NXE);
    }
    let bits = [
        Cr4::SMEP,
        Cr4::SMAP,
        Cr4::PKE,
        Cr4::PKS,
        Cr4::PSE,
        Cr4::PGE,
        Cr4::PCIDE,
        Cr4::CET,
        Cr4::LAM_SUP,
    ];
    for (number, bit) in (2..).zip(bits) {
        if toggles(number) {
            state.cr4.toggle(bit);
        }
    }
    state
}

/// With a pin for every choice, so that there is one outcome.
fn profile_of(vendor: Vendor, maxphyaddr: u8, lacks: u8, pdptes_are_walked: bool) -> Profile {
    let mut features = Features::all();
    for (number, feature) in [(0, Features::PSE36), (1, Features::PAT), (2, Features::PAGE_1GB)] {
        features.set(feature, !is_set(lacks, number));
    }

    Profile {
        vendor,
        physical_address_bits: maxphyaddr,
        features,
        control_features: ControlFeatures::all(),
        pins: Pins {
            global_in_pml4e_is_reserved: Some(is_set(lacks, 3)),
            pdptes_are_walked: Some(pdptes_are_walked),
            absent_pdptes_are_checked: Some(false),
            smep_alone_reports_fetch: Some(!is_set(lacks, 4)),
            denied_pte_is_accessed: None,
            faults_save_rf: None,
        },
    }
}

/// A PDPTE register. None has a reserved bit, since no load takes one (PDPTE-2).
fn pdpte(byte: u8) -> u64 {
    u64::from(byte & 0x7f) << 12 | u64::from(!is_set(byte, 7))
}

/// The value with one bit toggled, or none.
fn spiked(value: u64, number: u8) -> u64 {
    match number % 65 {
        0 => value,
        number => value ^ 1 << (number - 1),
    }
}

/// Memory full of entries. Each takes four bytes of the input: what differs from plain flags, the frame,
/// and two bits to toggle.
pub(super) fn ram(input: &mut Reader<'_>) -> Ram {
    let end = match input.u8() {
        0 => u64::MAX,
        width => 1 << (12 + width % 40),
    };
    let mut ram = Ram { bytes: [0; RAM_BYTES], end, outside: None };
    for number in 0..RAM_BYTES / 8 {
        ram.store(number, entry(input));
    }
    ram
}

pub(super) fn entry(input: &mut Reader<'_>) -> u64 {
    let [low, middle, first, second] = input.array();
    let flags = u64::from(low) | u64::from(middle & 0xf) << 8;
    let frame = u64::from(middle >> 4) << 12;
    spiked(spiked((flags ^ PLAIN) | frame, first), second)
}

/// An access: its kind and flags, its size, an index for each level, and a bit of the address to
/// toggle.
pub(super) fn access(input: &mut Reader<'_>, mode: PagingMode) -> Access {
    let kind = input.pick(&AccessKind::ALL);
    let flags = input.u8();
    let size = input.u8();
    let offset = u64::from(input.u16() & 0xfff);
    let indices: [u8; 5] = input.array();

    let (shifts, width): (&[u32], u32) = match mode {
        PagingMode::Bits32 => (&[12, 22], 32),
        PagingMode::FourLevel => (&[12, 21, 30, 39], 48),
        PagingMode::FiveLevel => (&[12, 21, 30, 39, 48], 57),
        PagingMode::Pae | PagingMode::Unpaged | PagingMode::Linear => (&[12, 21, 30], 32),
    };
    let levels = shifts.iter().zip(indices);
    let mut address = levels.fold(offset, |sum, (shift, index)| sum | u64::from(index) << shift);
    address &= (1 << width) - 1;
    if is_set(flags, 7) && width > 32 {
        // The upper half.
        address |= u64::MAX << (width - 1);
    }

    let is_fetch = kind == AccessKind::Fetch;
    Access {
        kind,
        address: VirtAddr::new(spiked(address, input.u8())),
        size: match size {
            large if large >= 0xf0 && !is_fetch => u16::from(large & 0xf) * 0x200 + 1,
            small => 1 + u16::from(small % 15),
        },
        ring: if is_set(flags, 0) { Ring::Zero } else { Ring::Three },
        segment: if is_set(flags, 1) { Segment::Stack } else { Segment::Data },
        implicit: is_set(flags, 2) && !is_fetch,
        shadow_stack: is_set(flags, 3) && !is_fetch,
        ac: is_set(flags, 4),
        compatibility: is_set(flags, 5),
    }
}

/// The same access in the oracle's terms.
pub(super) fn attempted(access: &Access) -> Attempted {
    Attempted {
        address: access.address.get(),
        size: access.size.into(),
        writes: matches!(access.kind, AccessKind::Write | AccessKind::ReadModifyWrite),
        fetches: access.kind == AccessKind::Fetch,
        cpl: access.ring.cpl(),
        through_ss: access.segment == Segment::Stack,
        implicit: access.implicit,
        shadow_stack: access.shadow_stack,
        ac: access.ac,
        compatibility: access.compatibility,
    }
}
