//! Linux's `KVM_TRANSLATE`: the walk that KVM makes in software for the programs above it.
//!
//! It always walks as the system does, whatever the access, so it says nothing of rights; nor does it
//! look whether an address is canonical. The virtual machine is never run.

use crate::memory::{erase, high_frames, write};
use crate::pages::{self, FoundPage, Said};
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Ignores};
use crosswalk_guest::layout::LOW_MEMORY_END;
use crosswalk_machine::host;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use mmu_core::{Cr0, Cr4, Efer, Features, PagingMode, Profile, Vendor};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// What it does not look for.
const IGNORES: Ignores = Ignores::RIGHTS.union(Ignores::ADDRESS);

/// Where this program keeps what a case has in high memory: past all that a processor can address.
const HIGH: u64 = 1 << 52;
/// So many frames in high memory at most.
const MAX_HIGH: u32 = 32;
const FRAME_SIZE: u64 = 0x1000;

/// A virtual machine with one vCPU.
#[derive(Debug)]
pub struct KvmTranslate {
    vcpu: VcpuFd,
    cpuid: CpuId,
    /// What the vCPU was told last.
    profile: Option<Profile>,
    sregs: kvm_sregs,
    /// The features that this KVM can give.
    features: Features,
    // Declared after the vCPU, closed after it.
    vm: VmFd,
    // And the memory after both.
    memory: GuestMemoryMmap,
}

/// The version: it is the kernel's.
pub fn version() -> String {
    host::kernel()
}

impl KvmTranslate {
    /// Makes the machine.
    ///
    /// # Errors
    /// When there is no KVM, and why.
    pub fn new() -> Result<Self, String> {
        let cannot = |doing: &str| {
            let doing = doing.to_owned();
            move |error: kvm_ioctls::Error| format!("{doing}: {error}")
        };
        let kvm = Kvm::new().map_err(cannot("/dev/kvm cannot be opened"))?;
        let vm = kvm.create_vm().map_err(cannot("KVM_CREATE_VM"))?;
        let vcpu = vm.create_vcpu(0).map_err(cannot("KVM_CREATE_VCPU"))?;
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(cannot("KVM_GET_SUPPORTED_CPUID"))?;
        let sregs = vcpu.get_sregs().map_err(cannot("KVM_GET_SREGS"))?;
        let ranges = [
            (GuestAddress(0), LOW_MEMORY_END as usize),
            (GuestAddress(HIGH), FRAME_SIZE as usize * MAX_HIGH as usize),
        ];
        let memory = GuestMemoryMmap::from_ranges(&ranges).map_err(|error| error.to_string())?;
        let features = Profile::from_cpuid(|leaf, subleaf| {
            let mut entries = cpuid.as_slice().iter();
            let found = entries.find(|entry| (entry.function, entry.index) == (leaf, subleaf))?;
            Some([found.eax, found.ebx, found.ecx, found.edx])
        })
        .features;
        let machine = Self { vcpu, cpuid, profile: None, sregs, features, vm, memory };
        machine.give(0, 0, 0, LOW_MEMORY_END)?;
        Ok(machine)
    }

    fn say(&mut self, case: &Case) -> Said {
        pages::check(case, &PagingMode::ALL)?;
        pages::check_pdptes(case)?;
        pages::check_tables(case)?;
        self.check_features(case)?;
        let high = high_frames(case);
        if high.len() > MAX_HIGH as usize {
            return Err("it has entries in too many places".into());
        }
        let place = |at: u64| {
            let frame = high.iter().position(|frame| *frame == at & !(FRAME_SIZE - 1));
            frame.map_or(at, |number| HIGH + FRAME_SIZE * number as u64 + at % FRAME_SIZE)
        };
        let slots = || (1..).zip(&high);
        slots().try_for_each(|(slot, frame)| self.give(slot, *frame, place(*frame), FRAME_SIZE))?;
        write(&self.memory, case, place)?;
        let said = self.translate(case);
        erase(&self.memory, case, place)?;
        slots().try_for_each(|(slot, frame)| self.give(slot, *frame, place(*frame), 0))?;
        said
    }

    fn translate(&mut self, case: &Case) -> Said {
        self.tell_profile(case.profile)?;
        self.tell_state(case)?;
        pages::answer(case, IGNORES, |address| {
            let found = self.vcpu.translate_gva(address);
            let found = found.map_err(|error| format!("KVM_TRANSLATE: {error}"))?;
            Ok(match found.valid {
                0 => FoundPage::Nothing,
                _ => FoundPage::Page { address: found.physical_address, rights: None },
            })
        })
    }

    /// Lets the machine have memory; no bytes take it away.
    fn give(&self, slot: u32, at: u64, place: u64, bytes: u64) -> Result<(), String> {
        let host = self.memory.get_host_address(GuestAddress(place));
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: at,
            memory_size: bytes,
            userspace_addr: host.map_err(|error| error.to_string())? as u64,
        };
        // SAFETY: the range is mapped by the memory that lives as long as the machine, and nobody
        // holds references to it.
        unsafe { self.vm.set_user_memory_region(region) }
            .map_err(|error| format!("KVM_SET_USER_MEMORY_REGION at {at:#x}: {error}"))
    }

    /// Refuses a walk that hangs on a page size that this KVM cannot give a guest.
    fn check_features(&self, case: &Case) -> Result<(), String> {
        let lacking = case.profile.features - self.features;
        if lacking.contains(Features::PAGE_1GB) && pages::meets_1_gib(case) {
            return Err("this KVM has no 1 GiB pages".into());
        }
        Ok(())
    }

    /// Makes the vCPU the case's processor, as far as walks go.
    fn tell_profile(&mut self, profile: Profile) -> Result<(), String> {
        if self.profile == Some(profile) {
            return Ok(());
        }
        let vendor = match profile.vendor {
            Vendor::Intel => Some(b"GenuineIntel"),
            Vendor::Amd => Some(b"AuthenticAMD"),
            Vendor::Unknown => None,
        };
        for entry in self.cpuid.as_mut_slice() {
            let word = |name: &[u8; 12], at: usize| {
                u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]])
            };
            match (entry.function, vendor) {
                (0 | 0x8000_0000, Some(name)) => {
                    (entry.ebx, entry.edx, entry.ecx) =
                        (word(name, 0), word(name, 4), word(name, 8));
                }
                (0x8000_0008, _) => {
                    entry.eax = entry.eax & !0xff | u32::from(profile.physical_address_bits);
                }
                _ => {}
            }
            for feature in Features::all().iter() {
                let Some(place) = feature.cpuid_bit() else { continue };
                if (place.leaf, place.subleaf) != (entry.function, entry.index) {
                    continue;
                }
                let register = match place.register {
                    "EAX" => &mut entry.eax,
                    "EBX" => &mut entry.ebx,
                    "ECX" => &mut entry.ecx,
                    _ => &mut entry.edx,
                };
                let has = (profile.features & self.features).contains(feature);
                *register = *register & !(1 << place.bit) | u32::from(has) << place.bit;
            }
        }
        self.profile = None;
        self.vcpu.set_cpuid2(&self.cpuid).map_err(|error| format!("KVM_SET_CPUID2: {error}"))?;
        self.profile = Some(profile);
        Ok(())
    }

    /// Loads the control state, as far as a system access hangs on it: without SMAP and protection
    /// keys, which would have it judge rights that are not the access's.
    fn tell_state(&mut self, case: &Case) -> Result<(), String> {
        let state = &case.state;
        let mut sregs = self.sregs;
        sregs.cr0 = (state.cr0 & (Cr0::PE | Cr0::ET | Cr0::WP | Cr0::PG)).bits();
        sregs.cr4 = (state.cr4 & (Cr4::PSE | Cr4::PAE | Cr4::PGE | Cr4::LA57)).bits();
        sregs.efer = (state.efer & (Efer::LME | Efer::LMA | Efer::NXE)).bits();
        sregs.cr3 = match case.mode() {
            PagingMode::Pae => state.cr3 & 0xffff_ffe0,
            PagingMode::Bits32 => state.cr3 & 0xffff_f000,
            _ => state.cr3 & mmu_core::x86::format::EntryBits::ADDRESS,
        };
        let set = self.vcpu.set_sregs(&sregs);
        set.map_err(|error| format!("KVM_SET_SREGS refuses the control state: {error}"))?;
        // One that has paging in long mode only takes the others without a word, and leaves PG 0.
        let kept = self.vcpu.get_sregs().map_err(|error| format!("KVM_GET_SREGS: {error}"))?;
        let registers = |sregs: &kvm_sregs| (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer);
        if registers(&kept) != registers(&sregs) {
            return Err("KVM_SET_SREGS takes the control state, but does not keep it".into());
        }
        Ok(())
    }
}

impl Candidate for KvmTranslate {
    fn answer(&mut self, case: &Case) -> Answer {
        self.say(case).unwrap_or_else(Answer::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::OUTSIDE;
    use crate::testing::{is_right, leaf, plain, silence, skip, with_tables_everywhere, write};

    /// The candidate, unless there is no KVM here.
    fn candidate() -> Option<KvmTranslate> {
        KvmTranslate::new().map_err(|why| skip("kvm", &why)).ok()
    }

    #[test]
    fn pages_that_are_there_and_pages_that_are_not() {
        let Some(mut candidate) = candidate() else { return };
        let mut case = write(PagingMode::FourLevel);
        assert!(is_right(&mut candidate, &case));
        for entry in 0..4 {
            let mut absent = case.clone();
            absent.entries[entry].value &= !1;
            assert!(is_right(&mut candidate, &absent), "entry {entry}");
        }
        // P, W, U, PS, and PAT at bit 12, which is no address.
        leaf(&mut case, 2, 0x4000_1087);
        assert!(is_right(&mut candidate, &case));
    }

    #[test]
    fn reserved_bits_are_seen() {
        let Some(mut candidate) = candidate() else { return };
        for entry in 0..4 {
            let mut case = plain(PagingMode::FourLevel);
            case.profile.physical_address_bits = 40;
            case.entries[entry].value |= 1 << 40;
            assert!(is_right(&mut candidate, &case), "entry {entry}");
        }
    }

    #[test]
    fn entries_may_lie_high() {
        let Some(mut candidate) = candidate() else { return };
        let mut case = write(PagingMode::FourLevel);
        case.entries[2].value = 0x12_3456_7007;
        case.entries[3].at = 0x12_3456_7000 + (case.entries[3].at & 0xfff);
        for _ in 0..2 {
            assert!(is_right(&mut candidate, &case));
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
                assert!(is_right(&mut candidate, &case), "{mode}");
            }
        }
    }

    #[test]
    fn tables_may_lie_anywhere() {
        let Some(mut candidate) = candidate() else { return };
        for mut case in with_tables_everywhere(PagingMode::FourLevel) {
            case.profile.physical_address_bits = 52;
            assert_eq!(silence(&mut candidate, &case), OUTSIDE);
        }
        assert!(is_right(&mut candidate, &plain(PagingMode::FourLevel)));
    }
}
