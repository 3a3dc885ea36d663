//! Linux's `KVM_TRANSLATE`: a system call for each address.

use crate::measure::Run;
use crate::workload::{MEMORY, Memory, Workload};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Error, Kvm, VcpuFd, VmFd};
use mmu_core::Cr4;

/// The machine, if this host has a KVM.
pub(crate) fn kvm_translate<'w>(memory: &'w Memory, workload: &'w Workload) -> Option<Run<'w>> {
    let (vm, vcpu) = machine(memory, workload)
        .inspect_err(|error| eprintln!("KVM_TRANSLATE is left out: {error}"))
        .ok()?;

    Some(Box::new(move |addresses| {
        // The vCPU must not outlive its machine.
        let _vm = &vm;
        let mut sum = 0_u64;
        for address in addresses {
            if let Ok(found) = vcpu.translate_gva(*address)
                && found.valid != 0
            {
                sum = sum.wrapping_add(found.physical_address);
            }
        }
        sum
    }))
}

/// A virtual machine with the memory of the benchmark, and a vCPU in the state of a workload. It never
/// runs.
#[expect(unsafe_code, reason = "KVM keeps a pointer to memory of this program")]
fn machine(memory: &Memory, workload: &Workload) -> Result<(VmFd, VcpuFd), Error> {
    let kvm = Kvm::new()?;
    let vm = kvm.create_vm()?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY,
        userspace_addr: memory.words().as_ptr() as u64,
    };
    // SAFETY: the memory is mapped until the program ends, and the vCPU never runs.
    unsafe { vm.set_user_memory_region(region) }?;

    let vcpu = vm.create_vcpu(0)?;
    vcpu.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?;
    let state = workload.state();
    let mut registers = vcpu.get_sregs()?;
    registers.cr0 = state.cr0.bits();
    registers.cr3 = state.cr3;
    registers.cr4 = Cr4::PAE.bits();
    registers.efer = state.efer.bits();
    vcpu.set_sregs(&registers)?;
    Ok((vm, vcpu))
}
