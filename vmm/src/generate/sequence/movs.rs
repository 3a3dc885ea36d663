//! MOVs to control registers between the accesses of a sequence: of values that change what an access may
//! do, and of values that fault and must change nothing.

use super::steps::StepWriter;
use crosswalk_case::{Action, Invpcid};
use crosswalk_machine::LeftOut;
use mmu_core::x86::control::Mov;
use mmu_core::x86::format::EntryBits;
use mmu_core::{Cr0, Cr4, Efer, Features, PagingMode};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

impl<R: Rng> StepWriter<'_, R> {
    /// Moves something to a control register.
    pub(super) fn mov(&mut self) {
        let mov = match self.rng.random_range(0..20) {
            _ if self.mapping.other_root.is_some() && self.rng.random_bool(0.6) => self.mov_root(),
            0..5 => self.mov_cr3(),
            // Only the host can load such a CR4.
            _ if self.state.cr4.intersects(self.machine.not_in_cpuid) => self.mov_cr0_or_efer(),
            5..14 => self.mov_cr4(),
            _ => self.mov_cr0_or_efer(),
        };

        let mut state = self.state;
        // In long mode no MOV reads memory.
        let nothing = mmu_core::memory::SparseTables::new(&[]);
        Action::Mov(mov).change(&mut state, self.machine.profile, &nothing);
        self.state = state;
        self.actions.push(Action::Mov(mov));
    }

    /// Whether it may execute INVPCID.
    pub(super) fn has_invpcid(&self) -> bool {
        self.makes_movs() && self.machine.profile.features.contains(Features::INVPCID)
    }

    /// INVPCID, mostly of what is cached here. Some raise #GP: a type above 3, a reserved bit of the
    /// descriptor, a PCID without CR4.PCIDE, an address that is not canonical.
    pub(super) fn invpcid(&mut self) {
        let page = self.mapping.pages.choose(self.rng).expect("there is a page").get();
        let own = if self.state.cr4.contains(Cr4::PCIDE) { self.state.cr3 & 0xfff } else { 0 };
        let mut descriptor = [own, page];
        match self.rng.random_range(0..12) {
            0 | 1 => descriptor[0] = self.rng.random_range(0..4),
            2 => descriptor[0] |= 1 << self.rng.random_range(12..64),
            3 => descriptor[1] ^= 1 << self.rng.random_range(58..63),
            _ => {}
        }
        let low = self.rng.random_range(0..4);
        let kind = match self.rng.random_range(0..20) {
            0 => 4 + low,
            // In 64-bit mode all 64 bits count.
            1 => 1 << self.rng.random_range(32..64) | low,
            _ => low,
        };
        self.actions.push(Action::Invpcid(Invpcid { kind, descriptor }));
    }

    /// From one root to the other. With PCIDs the tables of a root keep theirs, or what is cached may be of the
    /// other (TLB-5).
    fn mov_root(&mut self) -> Mov {
        let first = self.mapping.entries[0].entry.at & EntryBits::ADDRESS;
        let other = self.mapping.other_root.expect("there is another root");
        let cr3 = self.state.cr3;
        let target = if cr3 & EntryBits::ADDRESS == first { other } else { first };

        let mut low = cr3 & 0xfff;
        let mut keeps_cached = 0;
        if self.state.cr4.contains(Cr4::PCIDE) {
            let own = u64::from(target == other);
            low = if self.rng.random_bool(0.8) { own } else { self.rng.random_range(0..4) };
            keeps_cached = u64::from(self.rng.random_bool(0.5)) << 63;
        }
        Mov::Cr3(target | low | keeps_cached)
    }

    /// Mostly with a bit that faults (MODE-8): one above MAXPHYADDR, or bit 63, which asks for no
    /// invalidation with PCIDE=1 (MODE-9). Bits 62 and 61 turn LAM on where there is LAM.
    fn mov_cr3(&mut self) -> Mov {
        const LAM: std::ops::RangeInclusive<u8> = 61..=62;
        const PWT_AND_PCD: u64 = 0x18;

        let cr3 = self.state.cr3;
        if self.state.cr4.contains(Cr4::PCIDE) && self.rng.random_bool(0.6) {
            let pcid = self.rng.random_range(0..4);
            return Mov::Cr3(cr3 & !0xfff | pcid | u64::from(self.rng.random_bool(0.5)) << 63);
        }
        if self.machine.reserved_movs.is_err() || self.rng.random_bool(0.2) {
            return Mov::Cr3(cr3 ^ (self.rng.random::<u64>() & PWT_AND_PCD));
        }

        let has_lam = self.machine.profile.features.contains(Features::LAM);
        let first = self.machine.profile.physical_address_bits;
        let bits: Vec<u8> = (first..64).filter(|bit| !(has_lam && LAM.contains(bit))).collect();
        let bit = *bits.choose(self.rng).expect("there is bit 63");
        Mov::Cr3(cr3 | 1 << bit)
    }

    /// A toggle, LA57 (MODE-2), or a bit that is reserved on every processor.
    fn mov_cr4(&mut self) -> Mov {
        const RESERVED: [u8; 3] = [15, 26, 40];

        let cr4 = self.state.cr4;
        // Where PKRU has been loaded, it stays in use, and so does a bit that only the host can load. PCIDE
        // could not be restored beside a PCID, and the guest runs with it in 4-level paging alone.
        let is_4_level = self.state.mode() == PagingMode::FourLevel;
        let fixed = [
            (Cr4::PKE, self.state.pkru != 0),
            (Cr4::PCIDE, cr4.contains(Cr4::PCIDE) || !is_4_level),
        ];
        let is_fixed = |bit: &Cr4| fixed.contains(&(*bit, true));
        let available = Cr4::available(self.machine.profile);
        let takes_any = !self.machine.left_out.contains(LeftOut::CR4_BITS);
        let may_not_be_set = |bit: &Cr4| {
            let is_reserved = !available.contains(*bit);
            let is_unknown = !takes_any && !self.cr4_at_first.contains(*bit);
            let is_refused =
                self.machine.reserved_movs.is_err() || self.machine.not_in_cpuid.contains(*bit);
            is_unknown || is_reserved && is_refused
        };
        let toggles = [Cr4::PGE, Cr4::PSE, Cr4::SMEP, Cr4::SMAP, Cr4::PKE, Cr4::PCIDE];
        let toggles: Vec<Cr4> =
            toggles.into_iter().filter(|bit| !is_fixed(bit) && !may_not_be_set(bit)).collect();

        let changed = match self.rng.random_range(0..10) {
            0..3 if !may_not_be_set(&Cr4::LA57) => Cr4::LA57,
            3 if self.machine.reserved_movs.is_ok() => {
                let bit = *RESERVED.choose(self.rng).expect("there are some");
                Cr4::from_bits_retain(1 << bit)
            }
            _ => match toggles.choose(self.rng) {
                Some(bit) => *bit,
                None => return self.mov_cr0_or_efer(),
            },
        };
        Mov::Cr4(cr4 ^ changed)
    }

    fn mov_cr0_or_efer(&mut self) -> Mov {
        let has_nx = self.machine.profile.features.contains(Features::NX);
        let cr0 = self.state.cr0;
        let efer = self.state.efer;

        match self.rng.random_range(0..10) {
            0..4 if has_nx => Mov::Efer(efer ^ Efer::NXE),
            // LMA is ignored or checked (MODE-1); LME cannot change while paging is on, and bit 9 is
            // reserved.
            0..6 => Mov::Efer(efer ^ Efer::LMA),
            6 => Mov::Efer(efer ^ Efer::LME),
            7 => Mov::Efer(efer | Efer::from_bits_retain(1 << 9)),
            // Bits 63:32 are #GP, and so is NW without CD. Bits 28:19 remain clear.
            8 => {
                let bit = *[29, 32, 63, 20].choose(self.rng).expect("there are some");
                Mov::Cr0(cr0 | Cr0::from_bits_retain(1 << bit))
            }
            _ => Mov::Cr0(cr0 ^ Cr0::WP),
        }
    }
}
