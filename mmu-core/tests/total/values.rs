//! Arbitrary values of every type.

use mmu_core::cache::Invalidation;
use mmu_core::memory::Bytes;
use mmu_core::x86::format::{EntryKind, Leaf, Level};
use mmu_core::x86::profile::ControlFeatures;
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Cr4, Efer, Fault, Features, PageSize, PhysAddr, Pins,
    Profile, Ring, Segment, Vector, Vendor, VirtAddr,
};

/// Number of bytes of memory from address 0 on.
pub(crate) const MEMORY: usize = 0x1_0000;

/// Arbitrary values, many of them near the limits of their types and of memory.
pub(crate) struct Values(pub(crate) u64);

impl Values {
    /// The next word of `SplitMix64`.
    pub(crate) const fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn number(&mut self) -> u64 {
        let word = self.word();
        match self.word() % 8 {
            0 => word % 4,
            1 => u64::MAX - word % 4,
            2 => 1_u64.rotate_left(word as u32),
            3 => 1_u64.rotate_left(word as u32).wrapping_sub(1 + (word >> 32) % 2),
            4 => word % MEMORY as u64,
            5 => (word % MEMORY as u64) & !0xfff,
            6 => word & 0xffff_f000,
            _ => word,
        }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.number() as u8
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.word() & 1 != 0
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.word() as usize % all.len()]
    }

    pub(crate) fn address(&mut self) -> VirtAddr {
        VirtAddr::new(self.number())
    }

    pub(crate) fn place(&mut self) -> PhysAddr {
        PhysAddr::new(self.number())
    }

    pub(crate) fn access(&mut self) -> Access {
        Access {
            kind: self.one_of(&AccessKind::ALL),
            address: self.address(),
            size: self.number() as u16,
            ring: self.one_of(&Ring::ALL),
            segment: self.one_of(&Segment::ALL),
            implicit: self.flag(),
            shadow_stack: self.flag(),
            ac: self.flag(),
            compatibility: self.flag(),
        }
    }

    pub(crate) fn pin(&mut self) -> Option<bool> {
        self.one_of(&[None, Some(false), Some(true)])
    }

    pub(crate) fn profile(&mut self) -> Profile {
        Profile {
            vendor: self.one_of(&Vendor::ALL),
            physical_address_bits: self.byte(),
            features: Features::from_bits_retain(self.word() as u32),
            control_features: ControlFeatures::from_bits_retain(self.word() as u32),
            pins: Pins {
                global_in_pml4e_is_reserved: self.pin(),
                pdptes_are_walked: self.pin(),
                absent_pdptes_are_checked: self.pin(),
                smep_alone_reports_fetch: self.pin(),
                denied_pte_is_accessed: self.pin(),
                faults_save_rf: self.pin(),
            },
        }
    }

    pub(crate) fn state(&mut self) -> ControlState {
        ControlState {
            cr0: Cr0::from_bits_retain(self.number() as _),
            cr3: self.number(),
            cr4: Cr4::from_bits_retain(self.number() as _),
            efer: Efer::from_bits_retain(self.number() as _),
            pkru: self.number() as u32,
            pkrs: self.number() as u32,
            pdptes: [(); 4].map(|()| self.number()),
        }
    }

    /// Any state, or a ready-made one.
    pub(crate) fn possible_state(&mut self) -> ControlState {
        let cr3 = self.number();
        let pdptes = [(); 4].map(|()| self.number());
        let any = self.state();
        self.one_of(&[
            any,
            ControlState::unpaged(),
            ControlState::bits32(cr3),
            ControlState::pae(cr3, pdptes),
            ControlState::four_level(cr3),
            ControlState::five_level(cr3),
        ])
    }

    pub(crate) fn level(&mut self) -> Level {
        Level {
            number: self.byte(),
            entry_name: "any",
            shift: self.byte(),
            index_bits: self.byte(),
            leaf: self.one_of(&[Leaf::Never, Leaf::Always]),
            has_flags: self.flag(),
        }
    }

    pub(crate) fn kind(&mut self) -> EntryKind {
        self.one_of(&[EntryKind::Table, EntryKind::Leaf])
    }

    pub(crate) fn size(&mut self) -> PageSize {
        let sizes = [PageSize::Size4KiB, PageSize::Size2MiB, PageSize::Size4MiB];
        self.one_of(&[sizes[0], sizes[1], sizes[2], PageSize::Size1GiB])
    }

    pub(crate) fn fault(&mut self) -> Fault {
        let vectors = [Vector::StackFault, Vector::GeneralProtection, Vector::PageFault];
        let cr2 = self.flag().then(|| self.address());
        Fault { vector: self.one_of(&vectors), error_code: self.number() as u32, cr2 }
    }

    pub(crate) fn invalidation(&mut self) -> Invalidation {
        let (address, pcid) = (self.address(), self.number() as u16);
        self.one_of(&[
            Invalidation::Nothing,
            Invalidation::Path { address, pcid },
            Invalidation::Page { address, pcid },
            Invalidation::Address { address, pcid },
            Invalidation::Context { pcid },
            Invalidation::WholeContext { pcid },
        ])
    }

    /// Memory in which many entries lead to others.
    pub(crate) fn memory(&mut self) -> Bytes<Vec<u8>> {
        let words = (0..MEMORY / 8).flat_map(|_| {
            let entry = self.number() & 0x1f_ffff | self.word() & 0x67;
            entry.to_le_bytes()
        });
        Bytes::new(PhysAddr::new(0), words.collect())
    }
}
