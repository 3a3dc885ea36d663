//! Properties of nested predictions, for random tables of both dimensions. `identity` and `host` compare
//! them with those of one dimension, `oracle` with a second implementation, and `garbage` has those of
//! arbitrary memory.

mod garbage;
mod host;
mod identity;
mod oracle;

use crate::access::{Access, AccessKind, Ring};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::x86::profile::{Profile, Vendor};
use crate::x86::state::{ControlState, Cr0, Cr4, Efer};
use proptest::prelude::*;

/// Memory of 16 frames of 8 slots each, which every address leads to: bits 15:12 select the frame, and
/// bits 5:3 the slot.
#[derive(Clone, Debug)]
struct Frames([[u64; 8]; 16]);

impl Frames {
    const fn word(&self, at: u64) -> u64 {
        self.0[(at >> 12 & 15) as usize][(at >> 3 & 7) as usize]
    }
}

impl TableMemory for Frames {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let word = self.word(at.get() & !7);
        Ok(if bytes == 4 { word >> (8 * (at.get() & 4)) & 0xffff_ffff } else { word })
    }
}

/// An access whose indexes are small, so that it meets the slots.
fn access() -> impl Strategy<Value = Access> {
    let kind = prop::sample::select(&AccessKind::ALL[..]);
    let ring = prop::sample::select(&Ring::ALL[..]);
    let index = 0..8_u64;
    let offset = prop_oneof![4 => Just(0x234_u64), 1 => Just(0xffe)];

    (kind, ring, [index.clone(), index.clone(), index.clone(), index], offset, any::<bool>())
        .prop_map(|(kind, ring, [a, b, c, d], offset, ac)| {
            let address = a << 39 | b << 30 | c << 21 | d << 12 | offset;
            Access { ac, ..Access::new(kind, VirtAddr::new(address), 4, ring) }
        })
}

/// An entry that points to one of the frames and allows everything. The share `noisy` of them has bits
/// flipped, each in one case of 32.
fn entry(allowed: u64, noisy: f64) -> impl Strategy<Value = u64> {
    let frame = 0..16_u64;
    let flips = any::<[u64; 5]>().prop_map(|[a, b, c, d, e]| a & b & c & d & e);
    (frame, flips, prop::bool::weighted(noisy)).prop_map(move |(frame, flips, is_noisy)| {
        (frame << 12 | allowed) ^ if is_noisy { flips } else { 0 }
    })
}

fn frames(allowed: u64, noisy: f64) -> impl Strategy<Value = Frames> {
    let frame = prop::collection::vec(entry(allowed, noisy), 8);
    prop::collection::vec(frame, 16).prop_map(|frames| {
        let mut memory = Frames([[0; 8]; 16]);
        for (place, frame) in memory.0.iter_mut().zip(frames) {
            place.copy_from_slice(&frame);
        }
        memory
    })
}

/// A guest's control state in any mode, with random protections.
fn guest() -> impl Strategy<Value = ControlState> {
    (0..5, 0..16_u64, any::<[bool; 5]>(), any::<[u64; 4]>()).prop_map(
        |(mode, root, [wp, nxe, smep, smap, am], pdptes)| {
            let root = root << 12;
            let pdptes = pdptes.map(|entry| entry & 0xf000 | 1);
            let mut state = match mode {
                0 => ControlState::unpaged(),
                1 => ControlState::bits32(root),
                2 => ControlState::pae(root, pdptes),
                3 => ControlState::four_level(root),
                _ => ControlState::five_level(root),
            };
            state.cr0.set(Cr0::WP, wp);
            state.cr0.set(Cr0::AM, am);
            state.cr4.set(Cr4::SMEP, smep);
            state.cr4.set(Cr4::SMAP, smap);
            state.cr4.set(Cr4::PSE, nxe);
            if state.cr4.contains(Cr4::PAE) {
                state.efer.set(Efer::NXE, nxe);
            }
            state
        },
    )
}

fn profile() -> impl Strategy<Value = Profile> {
    let vendor = prop::sample::select(&Vendor::ALL[..]);
    let bits = prop_oneof![Just(40_u8), Just(48), Just(52)];
    (vendor, bits).prop_map(|(vendor, physical_address_bits)| Profile {
        vendor,
        physical_address_bits,
        ..Profile::default()
    })
}
