//! Linux's `KVM_TRANSLATE`: the walk that KVM performs in software for user space.
//!
//! KVM always walks as for a system access, whatever the access, so it claims nothing about rights;
//! nor does it check whether an address is canonical. The virtual machine never runs.

mod cpuid;

use crate::frames::FRAME_SIZE;
use crate::memory::{erase, high_frames, write};
use crate::pages::{self, PageLookup, Reply};
use crate::reached;
use crate::registers::WalkRegisters;
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Ignores};
use crosswalk_guest::layout::LOW_MEMORY_END;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use mmu_core::{ControlState, Efer, Features, PagingMode, Profile};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// The faults that it does not look for.
const IGNORES: Ignores = Ignores::RIGHTS.union(Ignores::ADDRESS);

/// Where the high frames of a case are in this program's memory: above every address that a
/// processor has.
const HIGH: u64 = 1 << 52;
/// Maximum number of high frames.
const MAX_HIGH_FRAMES: usize = 32;

/// A virtual machine with one vCPU.
#[derive(Debug)]
pub struct KvmTranslate {
    // Fields are dropped in this order: the vCPU, then the virtual machine, then its memory.
    vcpu: VcpuFd,
    cpuid: CpuId,
    /// The profile that the vCPU's CPUID describes; `None` when it is not known.
    profile: Option<Profile>,
    initial_sregs: kvm_sregs,
    /// The features that this KVM supports.
    features: Features,
    vm: VmFd,
    memory: GuestMemoryMmap,
}

impl KvmTranslate {
    /// Creates the virtual machine.
    ///
    /// # Errors
    /// When there is no KVM, or it refuses; the error says why.
    pub fn new() -> Result<Self, String> {
        let kvm = Kvm::new().map_err(failed("/dev/kvm cannot be opened"))?;
        let vm = kvm.create_vm().map_err(failed("KVM_CREATE_VM"))?;
        let vcpu = vm.create_vcpu(0).map_err(failed("KVM_CREATE_VCPU"))?;
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(failed("KVM_GET_SUPPORTED_CPUID"))?;
        let initial_sregs = vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?;

        let ranges = [
            (GuestAddress(0), LOW_MEMORY_END as usize),
            (GuestAddress(HIGH), FRAME_SIZE as usize * MAX_HIGH_FRAMES),
        ];
        let memory = GuestMemoryMmap::from_ranges(&ranges).map_err(|error| error.to_string())?;

        let features = cpuid::features(&cpuid);
        let machine = Self { vcpu, cpuid, profile: None, initial_sregs, features, vm, memory };
        machine.set_memory_slot(0, 0, 0, LOW_MEMORY_END)?;
        Ok(machine)
    }

    fn try_answer(&mut self, case: &Case) -> Reply {
        pages::check(case, &PagingMode::ALL)?;
        pages::check_pdptes(case)?;
        pages::check_tables(case)?;
        self.check_features(case)?;

        let high = high_frames(case);
        if high.len() > MAX_HIGH_FRAMES {
            return Err("it has entries in too many places".into());
        }
        let place = |at: u64| {
            let frame = high.iter().position(|frame| *frame == at & !(FRAME_SIZE - 1));
            frame.map_or(at, |number| HIGH + FRAME_SIZE * number as u64 + at % FRAME_SIZE)
        };
        let set_slots = |machine: &Self, bytes: u64| {
            (1..).zip(&high).try_for_each(|(slot, frame)| {
                machine.set_memory_slot(slot, *frame, place(*frame), bytes)
            })
        };

        set_slots(self, FRAME_SIZE)?;
        write(&self.memory, case, place)?;
        let reply = self.translate(case);
        erase(&self.memory, case, place)?;
        set_slots(self, 0)?;
        reply
    }

    fn translate(&mut self, case: &Case) -> Reply {
        self.set_cpuid(case.profile)?;
        self.load_control_state(&case.state)?;

        pages::answer(case, IGNORES, |address| {
            let translation = self.vcpu.translate_gva(address).map_err(failed("KVM_TRANSLATE"))?;
            Ok(match translation.valid {
                0 => PageLookup::NotMapped,
                _ => PageLookup::Mapped { address: translation.physical_address, rights: None },
            })
        })
    }

    /// Maps bytes of this program's memory, from `place` on, at a guest-physical address. A length
    /// of 0 removes the slot.
    #[expect(unsafe_code, reason = "KVM keeps a pointer to memory of this program")]
    fn set_memory_slot(
        &self,
        slot: u32,
        guest_physical: u64,
        place: u64,
        bytes: u64,
    ) -> Result<(), String> {
        let host =
            self.memory.get_host_address(GuestAddress(place)).map_err(|error| error.to_string())?;
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: guest_physical,
            memory_size: bytes,
            userspace_addr: host as u64,
        };
        // SAFETY: `self.memory` maps the range, lives as long as the virtual machine, and no
        // reference to its contents exists.
        unsafe { self.vm.set_user_memory_region(region) }
            .map_err(|error| format!("KVM_SET_USER_MEMORY_REGION at {guest_physical:#x}: {error}"))
    }

    /// Refuses cases whose walk depends on a page size that this KVM does not support.
    fn check_features(&self, case: &Case) -> Result<(), String> {
        let missing = case.profile.features - self.features;
        if missing.contains(Features::PAGE_1GB) && reached::one_gib_page(case) {
            return Err("this KVM has no 1 GiB pages".into());
        }
        Ok(())
    }

    /// Gives the vCPU the processor of the case, as far as walks depend on it.
    fn set_cpuid(&mut self, profile: Profile) -> Result<(), String> {
        if self.profile == Some(profile) {
            return Ok(());
        }

        cpuid::describe(&mut self.cpuid, &profile, self.features);

        self.profile = None;
        self.vcpu.set_cpuid2(&self.cpuid).map_err(failed("KVM_SET_CPUID2"))?;
        self.profile = Some(profile);
        Ok(())
    }

    /// Loads the control state, as far as a system access depends on it: without SMAP and
    /// protection keys, which would deny accesses by rights that are not the case's.
    fn load_control_state(&mut self, state: &ControlState) -> Result<(), String> {
        let WalkRegisters { cr0, cr3, cr4, mut efer } = WalkRegisters::of(state);
        efer.set(Efer::LMA, efer.contains(Efer::LME));

        let mut wanted = self.initial_sregs;
        wanted.cr0 = cr0.bits();
        wanted.cr3 = cr3;
        wanted.cr4 = cr4.bits();
        wanted.efer = efer.bits();
        self.vcpu.set_sregs(&wanted).map_err(failed("KVM_SET_SREGS refuses the control state"))?;

        // A KVM with paging in long mode only accepts the others silently, and leaves PG clear.
        let kept = self.vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?;
        let registers = |sregs: &kvm_sregs| (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer);
        if registers(&kept) != registers(&wanted) {
            return Err("KVM_SET_SREGS takes the control state, but does not keep it".into());
        }
        Ok(())
    }
}

impl Candidate for KvmTranslate {
    fn answer(&mut self, case: &Case) -> Answer {
        self.try_answer(case).unwrap_or_else(Answer::Silent)
    }
}

/// Puts the operation that failed in front of an error.
fn failed(operation: &'static str) -> impl Fn(kvm_ioctls::Error) -> String {
    move |error| format!("{operation}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_notices_tables_outside_memory, assert_right, plain, set_entry,
        with_each_entry_absent, write, write_through_a_high_table,
    };
    use crosswalk_test_support::skip;

    /// The candidate, unless there is no KVM here.
    fn candidate() -> Option<KvmTranslate> {
        KvmTranslate::new().map_err(|why| skip("kvm", &why)).ok()
    }

    #[test]
    fn present_and_absent_pages() {
        let Some(mut candidate) = candidate() else { return };
        let mut case = write(PagingMode::FourLevel);
        assert_right(&mut candidate, &case);
        for absent in with_each_entry_absent(&case) {
            assert_right(&mut candidate, &absent);
        }

        // P, W, U, PS, and PAT in bit 12, which is not part of the address.
        set_entry(&mut case, 2, 0x4000_1087);
        assert_right(&mut candidate, &case);
    }

    #[test]
    fn reserved_bits_are_checked() {
        let Some(mut candidate) = candidate() else { return };
        for entry in 0..4 {
            let mut case = plain(PagingMode::FourLevel);
            case.profile.physical_address_bits = 40;
            case.entries[entry].value |= 1 << 40;
            assert_right(&mut candidate, &case);
        }
    }

    #[test]
    fn tables_at_high_addresses_are_read() {
        let Some(mut candidate) = candidate() else { return };
        let case = write_through_a_high_table();
        for _ in 0..2 {
            assert_right(&mut candidate, &case);
        }
    }

    #[test]
    fn every_mode_is_answered_or_refused_with_a_reason() {
        let Some(mut candidate) = candidate() else { return };
        for mode in PagingMode::ALL {
            let case = plain(mode);
            if let Answer::Silent(why) = candidate.answer(&case) {
                assert!(why.starts_with("KVM_SET_SREGS"), "{mode}: {why}");
                println!("{mode}: {why}");
            } else {
                assert_right(&mut candidate, &case);
            }
        }
    }

    #[test]
    fn tables_outside_memory_are_noticed() {
        let Some(mut candidate) = candidate() else { return };
        assert_notices_tables_outside_memory(&mut candidate, PagingMode::FourLevel, |_| ());
    }
}
