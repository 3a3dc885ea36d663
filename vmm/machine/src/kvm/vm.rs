//! A virtual machine with one vCPU, which starts in long mode on the guest's own page tables.

use super::pause::{PausePoint, VcpuRegisters};
use super::slots::MemorySlots;
use crate::guest_tables;
use crate::image::Image;
use crate::memory::GuestMemory;
use crate::probe::check_self_test;
use crate::{Interrupter, MachineError};
use crosswalk_guest::layout::{CONTROL, SUPERVISOR_WINDOW};
use crosswalk_guest::mailbox::Control;
use kvm_bindings::{CpuId, kvm_segment, kvm_sregs};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use mmu_core::{ControlState, Profile};

/// Three pages for VMX to keep a guest in real mode: below 4 GiB and away from the guest's memory.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// RFLAGS with nothing set but the bit that is always 1.
const PLAIN_RFLAGS: u64 = 0x2;

/// A virtual machine and its vCPU.
///
/// The fields are dropped in this order: KVM lets go of the memory before it is unmapped.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) vcpu: VcpuFd,
    owner: VmFd,
    slots: MemorySlots,
}

impl Vm {
    /// Creates a virtual machine on this memory and boots the guest.
    pub(super) fn start(
        kvm: &Kvm,
        memory: &GuestMemory,
        image: &Image,
        cpuid: &CpuId,
        profile: Profile,
    ) -> Result<Self, MachineError> {
        let owner = kvm.create_vm().map_err(MachineError::host("KVM_CREATE_VM"))?;
        owner.set_tss_address(TSS_ADDRESS).map_err(MachineError::host("KVM_SET_TSS_ADDR"))?;
        let slots = MemorySlots::map(kvm, &owner, memory, profile.physical_address_bits)?;

        image.load(memory);
        guest_tables::build(memory, profile)?;
        memory.write_value(CONTROL, &Control::default());

        let vcpu = owner.create_vcpu(0).map_err(MachineError::host("KVM_CREATE_VCPU"))?;
        vcpu.set_cpuid2(cpuid).map_err(MachineError::host("KVM_SET_CPUID2"))?;
        let mut machine = Self { vcpu, owner, slots };
        machine.enter_long_mode(guest_tables::own_state(profile), image.entry())?;

        machine.run_to_doorbell(memory, &Interrupter::default(), None, &PausePoint::default())?;
        check_self_test(memory)?;
        Ok(machine)
    }

    /// Sets the registers for the first instruction at `entry`, a user address, in ring 0.
    fn enter_long_mode(&mut self, state: ControlState, entry: u64) -> Result<(), MachineError> {
        let data = kvm_segment {
            limit: 0xffff_ffff,
            selector: 0x10,
            type_: 3,
            present: 1,
            s: 1,
            db: 1,
            g: 1,
            ..Default::default()
        };
        let code = kvm_segment { selector: 0x08, type_: 11, db: 0, l: 1, ..data };
        // A busy task state, as after reset. VMX requires one.
        let task = kvm_segment { limit: 0x67, type_: 11, present: 1, ..Default::default() };

        let mut sregs = self.sregs()?;
        sregs.cs = code;
        sregs.ds = data;
        sregs.es = data;
        sregs.fs = data;
        sregs.gs = data;
        sregs.ss = data;
        sregs.tr = task;
        sregs.cr0 = state.cr0.bits();
        sregs.cr3 = state.cr3;
        sregs.cr4 = state.cr4.bits();
        sregs.efer = state.efer.bits();
        self.vcpu.set_sregs(&sregs).map_err(MachineError::host("KVM_SET_SREGS"))?;

        let mut regs = self.vcpu.get_regs().map_err(MachineError::host("KVM_GET_REGS"))?;
        regs.rip = entry + SUPERVISOR_WINDOW;
        regs.rflags = PLAIN_RFLAGS;
        self.vcpu.set_regs(&regs).map_err(MachineError::host("KVM_SET_REGS"))
    }

    /// Makes KVM read the read-only memory again, to which the host has written.
    pub(super) fn renew_read_only(&self) -> Result<(), MachineError> {
        self.slots.renew_read_only(&self.owner)
    }

    /// Sets the control registers from outside, which bypasses the checks on the guest's own
    /// instructions.
    pub(super) fn force_control(&mut self, state: &ControlState) -> Result<(), MachineError> {
        let mut sregs = self.sregs()?;
        sregs.cr0 = state.cr0.bits();
        sregs.cr4 = state.cr4.bits();
        sregs.efer = state.efer.bits();

        self.vcpu
            .set_sregs(&sregs)
            .map_err(MachineError::host("KVM_SET_SREGS with bits that CPUID lacks"))
    }

    /// The control registers, as KVM has them.
    pub(super) fn control_registers(&self) -> Result<VcpuRegisters, MachineError> {
        let kvm_sregs { cr0, cr3, cr4, efer, .. } = self.sregs()?;
        Ok(VcpuRegisters { cr0, cr3, cr4, efer })
    }

    fn sregs(&self) -> Result<kvm_sregs, MachineError> {
        self.vcpu.get_sregs().map_err(MachineError::host("KVM_GET_SREGS"))
    }
}
