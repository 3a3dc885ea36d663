//! What a case requires of a machine. A case that a user gives may be any machine's; one that does not fit would end the
//! guest, or mean something else there.

use crate::NestedCase;
use crate::generate::ept_capabilities;
use crosswalk_machine::Capabilities;
use crosswalk_machine::nested::{Virtualization, Vmx};
use mmu_core::nested::{Ept, EptCapabilities, SecondLevel};
use mmu_core::{ControlState, Cr0, Cr4, Efer, PagingMode, Profile};

/// The bits of CR0 that the hypervisor itself runs with.
const CR0_OF_HOST: Cr0 =
    Cr0::PE.union(Cr0::MP).union(Cr0::ET).union(Cr0::NE).union(Cr0::WP).union(Cr0::PG);
/// The same of CR4.
const CR4_OF_HOST: Cr4 = Cr4::PSE
    .union(Cr4::PAE)
    .union(Cr4::MCE)
    .union(Cr4::PGE)
    .union(Cr4::OSFXSR)
    .union(Cr4::OSXMMEXCPT)
    .union(Cr4::LA57)
    .union(Cr4::SMEP)
    .union(Cr4::SMAP);
/// The same of EFER.
const EFER_OF_HOST: Efer =
    Efer::SCE.union(Efer::LME).union(Efer::LMA).union(Efer::NXE).union(Efer::SVME);

/// Makes a case one of this machine's processor, by whose rules it is judged.
#[must_use]
pub fn adopt(case: NestedCase, machine: &Capabilities) -> NestedCase {
    let second = match (case.second, &machine.virtualization) {
        (SecondLevel::Ept(ept), Ok(Virtualization::Vmx(vmx))) => {
            SecondLevel::Ept(Ept { capabilities: ept_capabilities(vmx), ..ept })
        }
        (second, _) => second,
    };
    NestedCase { profile: machine.profile, second, ..case }
}

/// The reason why this machine cannot run a case; `None` if it can.
pub fn cannot_run(case: &NestedCase, machine: &Capabilities) -> Option<String> {
    if case.arena().is_none() {
        return Some("its tables are not in the memory of one batch".into());
    }

    let virtualization = match &machine.virtualization {
        Ok(virtualization) => virtualization,
        Err(why) => return Some(why.clone()),
    };
    let of_second = match (&case.second, virtualization) {
        (SecondLevel::Npt(_), Virtualization::Svm { nested_paging: false, .. })
            if machine.nested_modes.is_empty() =>
        {
            Some("CPUID 8000000Ah EDX[0] says that there is no nested paging".into())
        }
        (SecondLevel::Npt(host), Virtualization::Svm { .. }) => {
            lacks_host(host, machine).or_else(|| cannot_be_long(case, host))
        }
        (SecondLevel::Ept(ept), Virtualization::Vmx(vmx)) => lacks_ept(ept, vmx, machine.profile),
        (SecondLevel::Npt(_), Virtualization::Vmx(_)) => {
            Some("its second level is NPT, and this machine has EPT".into())
        }
        (SecondLevel::Ept(_), Virtualization::Svm { .. }) => {
            Some("its second level is EPT, and this machine has NPT".into())
        }
    };
    of_second.or_else(|| lacks_guest(&case.guest, machine.profile))
}

/// Why the hypervisor cannot be in this state.
fn lacks_host(host: &ControlState, machine: &Capabilities) -> Option<String> {
    let mode = host.mode();
    let of_mode = |offers: &[crosswalk_machine::ModeOffer]| {
        let offer = offers.iter().find(|(offered, _)| *offered == mode)?;
        offer.1.clone().err()
    };
    if matches!(mode, PagingMode::Unpaged | PagingMode::Linear) {
        return Some("the hypervisor has paging here, and npt is without".into());
    }
    if let Some(why) = of_mode(&machine.nested_modes).or_else(|| of_mode(&machine.modes)) {
        return Some(format!("this machine runs no hypervisor in {mode}: {why}"));
    }

    // nCR3 may be anything: whether it is legal is what some cases are about.
    let state = ControlState { cr3: 0, ..*host };
    if let Err(error) = state.check_on(machine.profile) {
        return Some(format!("the hypervisor cannot be in the state of npt: {error}"));
    }
    let others = [
        ("CR0", (host.cr0 - CR0_OF_HOST).bits()),
        ("CR4", (host.cr4 - CR4_OF_HOST).bits()),
        ("EFER", (host.efer - EFER_OF_HOST).bits()),
    ];
    let (register, bits) = others.into_iter().find(|(_, bits)| *bits != 0)?;
    Some(format!("the hypervisor does not run with bits {bits:#x} of {register}"))
}

/// A hypervisor outside long mode has no guests in it.
fn cannot_be_long(case: &NestedCase, host: &ControlState) -> Option<String> {
    let is_possible = host.mode().is_long_mode() || !case.mode().is_long_mode();
    (!is_possible).then(|| {
        format!("a hypervisor in {} has no guest in {}", host.mode().name(), case.mode().name())
    })
}

/// Why the processor has no such extended page tables.
fn lacks_ept(ept: &Ept, vmx: &Vmx, profile: Profile) -> Option<String> {
    /// Memory type, length of a walk, and bits that are reserved, or of shadow stacks.
    const LOW_BITS: u64 = 0xfff;
    const FLAGS: u64 = 1 << 6;
    const WRITE_BACK: u64 = 6;

    let Ept { eptp, mode_based_execute, .. } = *ept;
    let length = u64::from(ept.levels() - 1) << 3;
    let is_legal = eptp & LOW_BITS & !FLAGS == WRITE_BACK | length
        && eptp & profile.bits_above_physical() == 0;
    if !is_legal {
        return Some(format!("VMX refuses an EPT pointer such as {eptp:#x}"));
    }

    let has = ept_capabilities(vmx);
    let needs = [
        (ept.levels() == 5, EptCapabilities::FIVE_LEVELS, "EPT of five levels"),
        (ept.has_flags(), EptCapabilities::FLAGS, "A and D in EPT"),
        (mode_based_execute, EptCapabilities::MODE_BASED_EXECUTE, "mode-based execute control"),
    ];
    let (.., name) = needs.into_iter().find(|(needs, what, _)| *needs && !has.contains(*what))?;
    Some(format!("this machine has no {name}"))
}

/// Why no guest can be in this state.
fn lacks_guest(guest: &ControlState, profile: Profile) -> Option<String> {
    // CR3 may be anything, and the PDPTEs are those of the entry.
    let state = ControlState { cr3: 0, pdptes: [0; 4], ..*guest };
    let error = state.check_on(profile).err()?;
    Some(format!("no guest of this processor is in the state of guest: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_machine::Capabilities;
    use mmu_core::Features;

    fn machine(virtualization: Virtualization) -> Capabilities {
        Capabilities {
            virtualization: Ok(virtualization),
            ..Capabilities::of_everything(Profile::default())
        }
    }

    fn with_npt() -> Capabilities {
        machine(Virtualization::Svm { nested_paging: true, asids: 16 })
    }

    fn with_ept(capabilities: u64) -> Capabilities {
        let mut msrs = [0; crosswalk_guest::vmx_msrs::VMX_MSRS];
        msrs[3] = 1 << (21 + 32);
        msrs[4] = 1 << (15 + 32);
        msrs[11] = 0x82 << 32;
        msrs[12] = capabilities;
        let leaf = |leaf, _| (leaf == 1).then_some([0, 0, 0x20, 0]);
        machine(Virtualization::detect(leaf, &msrs).unwrap())
    }

    /// A case with its tables in place, under a second level.
    fn case(second: &str) -> NestedCase {
        NestedCase::from_json(&format!(
            r#"{{"guest":{{"mode":"32bit","cr0":"0x80010011","cr3":"0x1000","cr4":"0x10","efer":"0x0"}},
                {second},"guest_entries":[],"nested_entries":[{{"address":"0x4f6000","value":"0x4f7007"}}],
                "code":"0x2000","access":{{"kind":"read","address":"0x3170","size":4,"ring":3}}}}"#
        ))
        .unwrap()
    }

    fn npt(mode: &str, cr0: u64, cr4: u64, efer: u64) -> NestedCase {
        case(&format!(
            r#""npt":{{"mode":"{mode}","cr0":"{cr0:#x}","cr3":"0x4f6000","cr4":"{cr4:#x}","efer":"{efer:#x}"}}"#
        ))
    }

    fn ept(pointer: u64, mode_based_execute: bool) -> NestedCase {
        case(&format!(
            r#""ept":{{"eptp":"{pointer:#x}","mode_based_execute":{mode_based_execute},"capabilities":[]}}"#
        ))
    }

    #[track_caller]
    fn assert_refused(case: &NestedCase, machine: &Capabilities, why: &str) {
        let found = cannot_run(case, machine);
        assert!(found.as_ref().is_some_and(|found| found.contains(why)), "{found:?}");
    }

    /// Bit 6 of the MSR is the walk of 4 levels, 7 that of 5, 14 write-back memory, 21 A and D.
    const PLAIN_EPT: u64 = 1 << 6 | 1 << 14 | 1 << 21;

    #[test]
    fn a_second_level_of_the_other_kind_is_refused() {
        let (of_amd, of_intel) = (npt("4level", 0x8001_0011, 0x20, 0x1d00), ept(0x4f_605e, false));
        assert_eq!(cannot_run(&of_amd, &with_npt()), None);
        assert_eq!(cannot_run(&of_intel, &with_ept(PLAIN_EPT)), None);
        assert_refused(&of_amd, &with_ept(PLAIN_EPT), "this machine has EPT");
        assert_refused(&of_intel, &with_npt(), "this machine has NPT");

        let without = machine(Virtualization::Svm { nested_paging: false, asids: 16 });
        assert_refused(&of_amd, &without, "no nested paging");
        let runs_it_all_the_same =
            Capabilities { nested_modes: vec![(PagingMode::FourLevel, Ok(()))], ..without };
        assert_eq!(cannot_run(&of_amd, &runs_it_all_the_same), None);

        let none = Capabilities { virtualization: Err("there is neither".into()), ..with_npt() };
        assert_refused(&of_amd, &none, "there is neither");
    }

    #[test]
    fn what_ept_of_the_machine_lacks_is_refused() {
        let machine = with_ept(PLAIN_EPT);
        assert_refused(&ept(0x4f_6066, false), &machine, "EPT of five levels");
        assert_eq!(cannot_run(&ept(0x4f_6066, false), &with_ept(PLAIN_EPT | 1 << 7)), None);
        assert_refused(&ept(0x4f_605e, true), &machine, "mode-based execute control");
        assert_refused(&ept(0x4f_605e, false), &with_ept(1 << 6 | 1 << 14), "A and D in EPT");
        assert_eq!(cannot_run(&ept(0x4f_601e, false), &with_ept(1 << 6 | 1 << 14)), None);

        // Memory type 1, a walk of 2 levels, and bit 7.
        for pointer in [0x4f_6059, 0x4f_604e, 0x4f_60de] {
            assert_refused(&ept(pointer, false), &machine, "VMX refuses");
        }
    }

    #[test]
    fn a_state_that_the_hypervisor_cannot_have_is_refused() {
        let five_levels = npt("5level", 0x8001_0011, 0x1020, 0x1d00);
        assert_eq!(cannot_run(&five_levels, &with_npt()), None);
        let mut without = with_npt();
        without.profile.features.remove(Features::LA57);
        assert_refused(&five_levels, &without, "cr4");

        let probed = Capabilities {
            nested_modes: vec![(PagingMode::Bits32, Err("it walks nothing".into()))],
            ..with_npt()
        };
        assert_refused(&npt("32bit", 0x8001_0011, 0x10, 0x1000), &probed, "it walks nothing");

        assert_refused(&npt("unpaged", 0x11, 0x20, 0x1000), &with_npt(), "without");
        // NX of a processor without it, EM, UINTR, and LMSLE.
        without.profile.features.remove(Features::NX);
        assert_refused(&npt("pae", 0x8001_0011, 0x20, 0x1800), &without, "efer");
        assert_refused(&npt("pae", 0x8001_0015, 0x20, 0x1000), &with_npt(), "0x4 of CR0");
        assert_refused(&npt("pae", 0x8001_0011, 0x200_0020, 0x1000), &with_npt(), "of CR4");
        assert_refused(&npt("pae", 0x8001_0011, 0x20, 0x3000), &with_npt(), "of EFER");
    }

    #[test]
    fn a_guest_that_cannot_be_is_refused() {
        let mut long = npt("pae", 0x8001_0011, 0x20, 0x1000);
        long.guest = ControlState::four_level(0);
        assert_refused(&long, &with_npt(), "no guest in 4level");

        let mut keys = npt("4level", 0x8001_0011, 0x20, 0x1d00);
        keys.guest.cr4 |= Cr4::PKE;
        assert_eq!(cannot_run(&keys, &with_npt()), None);
        let mut without = with_npt();
        without.profile.features.remove(Features::PKU);
        assert_refused(&keys, &without, "cr4");
    }

    #[test]
    fn tables_outside_the_memory_of_a_batch_are_refused() {
        let mut outside = npt("4level", 0x8001_0011, 0x20, 0x1d00);
        outside.guest_entries.push(crosswalk_case::TableEntry { at: 0x1000, value: 7 });
        assert_refused(&outside, &with_npt(), "memory of one batch");
    }

    #[test]
    fn a_case_is_judged_by_the_processor_that_it_runs_on() {
        let machine = with_ept(PLAIN_EPT | 1);
        let adopted = adopt(ept(0x4f_605e, false), &machine);
        let SecondLevel::Ept(Ept { capabilities, .. }) = adopted.second else { panic!("EPT") };
        assert_eq!(capabilities, EptCapabilities::FLAGS | EptCapabilities::EXECUTE_ONLY);
        assert_eq!(adopted.profile, machine.profile);
    }
}
