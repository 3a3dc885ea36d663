//! The virtual-machine control block of SVM (APM volume 2, "Layout of VMCB").

use super::Lane;
use super::run::LaneExit;
use super::segments::{self, Segment};
use mmu_core::{Cr0, Efer};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A control block.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(transparent)]
pub(super) struct Vmcb([u64; WORDS]);

/// Number of words of a control block: a page.
const WORDS: usize = 0x1000 / 8;

/// Offsets of fields. Those of the state-save area begin at 0x400.
mod offset {
    pub(super) const CR_INTERCEPTS: usize = 0x000;
    pub(super) const DR_INTERCEPTS: usize = 0x004;
    pub(super) const EXCEPTION_INTERCEPTS: usize = 0x008;
    pub(super) const INSTRUCTION_INTERCEPTS: usize = 0x00c;
    pub(super) const VIRTUALIZATION_INTERCEPTS: usize = 0x010;
    pub(super) const PORT_PERMISSIONS: usize = 0x040;
    pub(super) const MSR_PERMISSIONS: usize = 0x048;
    pub(super) const ASID: usize = 0x058;
    pub(super) const TLB_CONTROL: usize = 0x05c;
    pub(super) const EXIT_CODE: usize = 0x070;
    pub(super) const EXIT_INFO_1: usize = 0x078;
    pub(super) const EXIT_INFO_2: usize = 0x080;
    pub(super) const NESTED_PAGING: usize = 0x090;
    pub(super) const NESTED_CR3: usize = 0x0b0;

    pub(super) const ES: usize = 0x400;
    pub(super) const CS: usize = 0x410;
    pub(super) const SS: usize = 0x420;
    pub(super) const DS: usize = 0x430;
    pub(super) const CPL: usize = 0x4cb;
    pub(super) const EFER: usize = 0x4d0;
    pub(super) const CR4: usize = 0x548;
    pub(super) const CR3: usize = 0x550;
    pub(super) const CR0: usize = 0x558;
    pub(super) const DR7: usize = 0x560;
    pub(super) const DR6: usize = 0x568;
    pub(super) const RFLAGS: usize = 0x570;
    pub(super) const RIP: usize = 0x578;
    pub(super) const RAX: usize = 0x5f8;
    pub(super) const CR2: usize = 0x640;
    pub(super) const PAT: usize = 0x668;
}

/// All intercepts of instructions and events in the first of two words.
const ALL_INSTRUCTIONS: u32 = u32::MAX;
/// VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, RDTSCP, ICEBP, WBINVD, MONITOR, MWAIT twice, XSETBV.
const ALL_OF_VIRTUALIZATION: u32 = 0x3fff;
/// Flushes the whole TLB. Every processor with SVM knows this value.
const FLUSH_ALL: u8 = 1;
/// The address-space identifier of all lanes; 0 is the host's.
const OWN_ASID: u32 = 1;

// What registers hold after a reset.
const PLAIN_DR6: u64 = 0xffff_0ff0;
const PLAIN_DR7: u64 = 0x400;
/// Every memory type at its place.
const PLAIN_PAT: u64 = 0x0007_0406_0007_0406;

impl Vmcb {
    /// The control block of a lane whose second level has its root at `ncr3`. The permission maps are at
    /// `permissions`.
    pub(super) fn new(lane: &Lane, ncr3: u64, permissions: u64) -> Self {
        let mut block = Self([0; WORDS]);

        block.put(offset::CR_INTERCEPTS, &u32::MAX);
        block.put(offset::DR_INTERCEPTS, &u32::MAX);
        block.put(offset::EXCEPTION_INTERCEPTS, &u32::MAX);
        block.put(offset::INSTRUCTION_INTERCEPTS, &ALL_INSTRUCTIONS);
        block.put(offset::VIRTUALIZATION_INTERCEPTS, &ALL_OF_VIRTUALIZATION);
        block.put(offset::PORT_PERMISSIONS, &permissions);
        block.put(offset::MSR_PERMISSIONS, &permissions);
        block.put(offset::ASID, &OWN_ASID);
        block.put(offset::TLB_CONTROL, &FLUSH_ALL);
        block.put(offset::NESTED_PAGING, &1_u64);
        block.put(offset::NESTED_CR3, &ncr3);

        let data = segments::data(lane);
        block.put_segment(offset::CS, segments::code(lane));
        for register in [offset::ES, offset::SS, offset::DS] {
            block.put_segment(register, data);
        }
        block.put(offset::CPL, &lane.ring.cpl());

        let registers = [
            (offset::EFER, efer(lane).bits()),
            (offset::CR4, lane.state.cr4.bits()),
            (offset::CR3, lane.state.cr3),
            (offset::CR0, lane.state.cr0.bits()),
            (offset::DR7, PLAIN_DR7),
            (offset::DR6, PLAIN_DR6),
            (offset::RFLAGS, segments::rflags(lane)),
            (offset::RIP, lane.rip),
            (offset::RAX, lane.rax),
            (offset::PAT, PLAIN_PAT),
        ];
        for (register, value) in registers {
            block.put(register, &value);
        }
        block
    }

    /// What a control block holds after an exit.
    pub(super) fn exit(&self) -> LaneExit {
        LaneExit::Svm {
            code: self.get(offset::EXIT_CODE),
            info1: self.get(offset::EXIT_INFO_1),
            info2: self.get(offset::EXIT_INFO_2),
        }
    }

    pub(super) fn rip(&self) -> u64 {
        self.get(offset::RIP)
    }

    pub(super) fn rax(&self) -> u64 {
        self.get(offset::RAX)
    }

    pub(super) fn cr2(&self) -> u64 {
        self.get(offset::CR2)
    }

    fn put_segment(&mut self, register: usize, segment: Segment) {
        self.put(register, &segment.selector);
        self.put(register + 2, &segment.attributes());
        self.put(register + 4, &segment.limit);
    }

    fn put<T: IntoBytes + Immutable>(&mut self, offset: usize, value: &T) {
        let bytes = value.as_bytes();
        self.0.as_mut_bytes()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// The word at an offset, which is a constant multiple of 8 in the block.
    fn get(&self, offset: usize) -> u64 {
        self.0.get(offset / 8).copied().unwrap_or_default()
    }
}

/// EFER of a lane: VMRUN wants SVME, and LMA as the other bits make it.
fn efer(lane: &Lane) -> Efer {
    let mut efer = lane.state.efer | Efer::SVME;
    let in_long_mode = efer.contains(Efer::LME) && lane.state.cr0.contains(Cr0::PG);
    efer.set(Efer::LMA, in_long_mode);
    efer
}

#[cfg(test)]
mod tests {
    use super::super::{Lane, LaneExit, Root};
    use super::*;
    use mmu_core::{ControlState, Ring};

    fn lane(ring: Ring, is_64_bit: bool) -> Lane {
        Lane {
            state: ControlState::four_level(0x54_0000),
            is_64_bit,
            ring,
            rip: 0x1234,
            rax: 0x5678,
            back: 0,
            ac: true,
            root: Root::Npt { ncr3: 0x54_1000 },
        }
    }

    fn bytes(block: &Vmcb, at: usize, len: usize) -> &[u8] {
        &block.as_bytes()[at..at + len]
    }

    /// The offsets and formats are those of APM volume 2, appendix B; the attributes are bits 55:52 and 47:40 of a
    /// descriptor.
    #[test]
    fn a_lane_becomes_a_control_block() {
        let block = Vmcb::new(&lane(Ring::Three, true), 0x54_1000, 0x5a_3000);
        let code = [0x0b, 0, 0xfb, 0x0a, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes(&block, 0x410, 16), code);
        let stack = [0x13, 0, 0xf3, 0x0c, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes(&block, 0x420, 16), stack);
        assert_eq!(bytes(&block, 0x4c8, 8), [0, 0, 0, 3, 0, 0, 0, 0]);
        assert_eq!(bytes(&block, 0x4d0, 8), 0x1d00_u64.to_le_bytes());
        assert_eq!(bytes(&block, 0x550, 8), 0x54_0000_u64.to_le_bytes());
        assert_eq!(bytes(&block, 0x570, 8), 0x4_0002_u64.to_le_bytes());
        assert_eq!(bytes(&block, 0x58, 8), [1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes(&block, 0x90, 8), [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes(&block, 0xb0, 8), 0x54_1000_u64.to_le_bytes());
        assert_eq!(bytes(&block, 0x40, 8), bytes(&block, 0x48, 8));

        let supervisor = Vmcb::new(&lane(Ring::Zero, false), 0, 0);
        assert_eq!(bytes(&supervisor, 0x410, 4), [0x08, 0, 0x9b, 0x0c]);
        assert_eq!(bytes(&supervisor, 0x420, 4), [0x10, 0, 0x93, 0x0c]);
        assert_eq!(bytes(&supervisor, 0x4cb, 1), [0]);
    }

    #[test]
    fn lma_follows_the_other_bits() {
        let mut unpaged = lane(Ring::Zero, false);
        unpaged.state.cr0.remove(Cr0::PG);
        let block = Vmcb::new(&unpaged, 0, 0);
        assert_eq!(bytes(&block, 0x4d0, 8), 0x1900_u64.to_le_bytes());
    }

    #[test]
    fn an_exit_is_read_where_the_processor_writes_it() {
        let mut words = [0; WORDS];
        for (place, value) in [(0x70, 1), (0x78, 2), (0x80, 3), (0x578, 4), (0x5f8, 5), (0x640, 6)]
        {
            words[place / 8] = value;
        }
        let block = Vmcb(words);
        assert_eq!(block.exit(), LaneExit::Svm { code: 1, info1: 2, info2: 3 });
        assert_eq!([block.rip(), block.rax(), block.cr2()], [4, 5, 6]);
    }
}
