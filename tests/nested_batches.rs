//! Nested batches on real machines: the guest as a hypervisor, on QEMU's TCG and on the KVM of this host.

use crosswalk_guest::contents;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::nested::LANES;
use crosswalk_machine::image::Image;
use crosswalk_machine::jail::Jail;
use crosswalk_machine::nested::{Lane, LaneExit, Root, Virtualization};
use crosswalk_machine::qemu::{QemuMachine, QemuProcessor};
use crosswalk_machine::{Capabilities, Machine};
use crosswalk_test_support as support;
use mmu_core::{ControlState, Cr0, Cr4, Efer, PagingMode, Ring};
use support::nested::{CODE_PAGE, CPUID, DATA_PAGE, Does, Nested, ROOT_PAGE, boot_on_qemu};
use support::single::{A, D, P, RW, US, memory_at, open_kvm, open_qemu, places};
use support::{require_kvm, require_qemu, require_second_qemu};

/// Exit codes of SVM (APM volume 2, "SVM Intercept Exit Codes").
const PAGE_FAULT: u64 = 0x4e;
const CPUID_EXIT: u64 = 0x72;
const NESTED_PAGE_FAULT: u64 = 0x400;

/// In EXITINFO1: the final access, and one to a table of L2.
const FINAL: u64 = 1 << 32;
const TABLE: u64 = 1 << 33;

/// XD of an entry.
const XD: u64 = 1 << 63;

/// L1 in each mode: its paging is the format of nested page tables. In 32-bit paging QEMU does not walk them
/// (`l1_in_32_bit_paging_comes_back`).
fn hosts() -> [ControlState; 3] {
    [ControlState::four_level(0), ControlState::five_level(0), ControlState::pae(0, [0; 4])]
}

const fn exit(code: u64, info1: u64, info2: u64) -> LaneExit {
    LaneExit::Svm { code, info1, info2 }
}

/// The data page of L2 is the first frame of lane 0.
fn frame() -> u64 {
    Arena::ALL[0].data_frames(0)
}

#[test]
fn qemu_has_svm_and_nested_paging() {
    require_qemu!();
    let machine = open_qemu();
    let found = machine.capabilities().virtualization.clone();
    assert!(matches!(found, Ok(Virtualization::Svm { nested_paging: true, .. })), "{found:?}");

    let offered = &machine.capabilities().nested_modes;
    for (mode, offer) in offered {
        assert!(offer.is_ok() || *mode == PagingMode::Bits32, "{mode}: {offer:?}");
    }
    assert_eq!(offered.len(), 4);
}

/// An access completes, and sets A and D in both dimensions: reading a table of L2 is a write for the
/// second level.
#[test]
fn accesses_go_through_both_dimensions() {
    require_qemu!();
    let mut machine = open_qemu();
    for host in hosts() {
        for (mode, ring) in PagingMode::ALL.map(|mode| Ring::ALL.map(|ring| (mode, ring))).concat()
        {
            let name = format!("{mode} in ring {} under {}", ring.cpl(), host.mode());
            let is_paged = mode != PagingMode::Unpaged;

            let read = Nested::npt(host, mode, ring, Does::Read, 0x108);
            let ran = read.run(&mut machine);
            let lane = ran.lane();
            assert!(
                matches!(lane.exit, LaneExit::Svm { code: CPUID_EXIT, .. }),
                "{name}: {lane:x?}"
            );
            assert_eq!(lane.rip, CPUID + 0x12, "{name}");
            assert_eq!(lane.rax, memory_at(&places(frame() + 0x108, 4)), "{name}");
            assert_eq!(ran.run.stored, [], "{name}");
            assert_eq!(ran.changed_in_second(DATA_PAGE), A, "{name}");
            assert_eq!(ran.changed_in_second(CODE_PAGE), A, "{name}");
            if is_paged {
                assert_eq!(ran.changed_in_guest(DATA_PAGE), A, "{name}");
                assert_eq!(ran.changed_in_second(ROOT_PAGE + 1), A | D, "{name}");
            }

            let write = Nested::npt(host, mode, ring, Does::Write, 0x108);
            let ran = write.run(&mut machine);
            let value = u64::from(0x9108_u32).to_le_bytes();
            let expected: Vec<_> = places(frame() + 0x108, 4)
                .into_iter()
                .zip(value)
                .filter(|(at, byte)| contents::byte(*at) != *byte)
                .collect();
            assert_eq!(ran.run.stored, expected, "{name}: {:x?}", ran.lane());
            assert_eq!(ran.changed_in_second(DATA_PAGE), A | D, "{name}");
            if is_paged {
                assert_eq!(ran.changed_in_guest(DATA_PAGE), A | D, "{name}");
            }

            let fetch = Nested::npt(host, mode, ring, Does::Fetch, 0x808);
            let ran = fetch.run(&mut machine);
            let lane = ran.lane();
            assert!(
                matches!(lane.exit, LaneExit::Svm { code: CPUID_EXIT, .. }),
                "{name}: {lane:x?}"
            );
            // 32-bit code increments ECX on its way back.
            let fetched = memory_at(&places(frame() + 0x809, 4));
            let on_the_way = u64::from(!mode.is_long_mode());
            assert_eq!(lane.rcx, (fetched + on_the_way) & 0xffff_ffff, "{name}");
            assert_eq!(lane.rip, CPUID, "{name}");
        }
    }
}

#[test]
fn a_fault_of_l2_is_an_exit_with_its_error_code_and_address() {
    require_qemu!();
    let mut machine = open_qemu();
    for host in hosts() {
        for mode in [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel] {
            for (ring, user) in [(Ring::Zero, 0), (Ring::Three, 4)] {
                let mut absent = Nested::npt(host, mode, ring, Does::Write, 0x108);
                absent.set_guest(DATA_PAGE, 0);
                let lane = absent.run(&mut machine).lane();
                assert_eq!(lane.exit, exit(PAGE_FAULT, 2 | user, 0x9108), "{mode}: {lane:x?}");
                assert_eq!(lane.rip, CPUID + 0x20);

                let mut read_only = Nested::npt(host, mode, ring, Does::Write, 0x108);
                read_only.set_guest(DATA_PAGE, DATA_PAGE << 12 | P | US);
                let lane = read_only.run(&mut machine).lane();
                assert_eq!(lane.exit, exit(PAGE_FAULT, 3 | user, 0x9108), "{mode}: {lane:x?}");
            }
        }
    }
}

/// EXITINFO1 of every access is that of a user access (APM volume 2, "Nested Paging and VMEXIT").
#[test]
fn an_absent_page_of_the_second_level_is_a_nested_page_fault() {
    require_qemu!();
    let mut machine = open_qemu();
    for host in hosts() {
        for mode in PagingMode::ALL {
            for (does, code) in [(Does::Read, 4), (Does::Write, 6), (Does::Fetch, 0x14)] {
                let name = format!("{mode} under {}: {does:?}", host.mode());
                let mut absent = Nested::npt(host, mode, Ring::Zero, does, 0x808);
                absent.set_second(DATA_PAGE, 0);
                let ran = absent.run(&mut machine);
                let expected = exit(NESTED_PAGE_FAULT, FINAL | code, 0x9808);
                assert_eq!(ran.lane().exit, expected, "{name}: {:x?}", ran.lane());
                assert_eq!(ran.run.stored, [], "{name}");
            }
        }

        let mut table = Nested::npt(host, PagingMode::FourLevel, Ring::Zero, Does::Read, 0x108);
        table.set_second(ROOT_PAGE + 3, 0);
        let lane = table.run(&mut machine).lane();
        // The entry for the code is in the table, too, and is read first.
        assert_eq!(lane.exit, exit(NESTED_PAGE_FAULT, TABLE | 6, 0x4000 + 8 * CODE_PAGE));
    }
}

#[test]
fn rights_of_the_second_level_are_enforced() {
    require_qemu!();
    let mut machine = open_qemu();
    let mut exit_of = |host, does, page, flags| {
        let mut nested = Nested::npt(host, PagingMode::FourLevel, Ring::Zero, does, 0x808);
        let entry = nested.second(page) & !(P | RW | US) | flags;
        nested.set_second(page, entry);
        nested.run(&mut machine).lane().exit
    };

    for host in hosts() {
        let read_only = exit_of(host, Does::Write, DATA_PAGE, P | US);
        assert_eq!(read_only, exit(NESTED_PAGE_FAULT, FINAL | 7, 0x9808));
        // Of a user access, though L2 is in ring 0.
        let supervisor = exit_of(host, Does::Read, DATA_PAGE, P | RW);
        assert_eq!(supervisor, exit(NESTED_PAGE_FAULT, FINAL | 5, 0x9808));

        // A table of L2 must be writable, whatever the access.
        let entry = 0x4000 + 8 * CODE_PAGE;
        let under_a_table = exit_of(host, Does::Read, ROOT_PAGE + 3, P | US);
        assert_eq!(under_a_table, exit(NESTED_PAGE_FAULT, TABLE | 7, entry));
        let supervisor_table = exit_of(host, Does::Read, ROOT_PAGE + 3, P | RW);
        assert_eq!(supervisor_table, exit(NESTED_PAGE_FAULT, TABLE | 7, entry));
    }
    for host in hosts() {
        let no_execute = exit_of(host, Does::Fetch, DATA_PAGE, P | RW | US | XD);
        assert_eq!(no_execute, exit(NESTED_PAGE_FAULT, FINAL | 0x15, 0x9808));
        let table = exit_of(host, Does::Read, ROOT_PAGE + 3, P | RW | US | XD);
        assert!(matches!(table, LaneExit::Svm { code: CPUID_EXIT, .. }), "{table:x?}");
    }
}

/// Each lane is a run of its own, whatever became of the one before it.
#[test]
fn lanes_do_not_depend_on_each_other() {
    require_qemu!();
    let mut machine = open_qemu();
    for host in hosts() {
        let mut nested = Nested::npt(host, PagingMode::FourLevel, Ring::Three, Does::Read, 0x108);
        let [right] = &nested.batch.lanes[..] else { panic!("one lane") };
        let faulting = Lane { rax: 0x5000_0000_0000, ..right.clone() };
        let no_root = Lane { root: Root::Npt { ncr3: 0 }, ..right.clone() };
        let lanes = [right, &faulting, &no_root, right].map(Clone::clone);
        nested.batch.lanes = lanes.into_iter().cycle().take(LANES).collect();

        let command = nested.write(&machine);
        let log = machine.run(command).expect("the guest survives");
        let run = nested.batch.read_back(&log, machine.memory()).expect("the guest is ours");
        assert_eq!(run.lanes.len(), LANES);
        for four in run.lanes.chunks(4) {
            let [first, faulted, without_root, last] = four else { panic!("four lanes") };
            assert_eq!(first, last);
            assert_eq!(first.rax, memory_at(&places(frame() + 0x108, 4)));
            assert_eq!(faulted.exit, exit(PAGE_FAULT, 4, 0x5000_0000_0000));
            let LaneExit::Svm { code, .. } = without_root.exit else { panic!("{without_root:?}") };
            assert_eq!(code, NESTED_PAGE_FAULT);
        }
    }
}

/// PKRU and `IA32_PKRS` are L1's, too, and are 0 whenever L1 runs.
#[test]
fn protection_keys_of_l2_are_loaded() {
    const KEY_1: u64 = 1 << 59;
    const NO_ACCESS_TO_KEY_1: u32 = 1 << 2;

    require_qemu!();
    let mut machine = open_qemu();
    for host in hosts() {
        for (ring, user, code) in [(Ring::Three, US, 0x25), (Ring::Zero, 0, 0x21)] {
            let mut keyed = Nested::npt(host, PagingMode::FourLevel, ring, Does::Read, 0x108);
            keyed.set_guest(DATA_PAGE, DATA_PAGE << 12 | KEY_1 | P | RW | user);
            let free = keyed.run(&mut machine).lane();
            assert_eq!(free.rax, memory_at(&places(frame() + 0x108, 4)), "{free:x?}");

            let [lane] = &mut keyed.batch.lanes[..] else { panic!("one lane") };
            lane.state.cr4 |= Cr4::PKE | Cr4::PKS;
            match ring {
                Ring::Three => lane.state.pkru = NO_ACCESS_TO_KEY_1,
                Ring::Zero => lane.state.pkrs = NO_ACCESS_TO_KEY_1,
            }
            let kept = keyed.run(&mut machine).lane();
            assert_eq!(kept.exit, exit(PAGE_FAULT, code, 0x9108), "{kept:x?}");
        }
    }
}

/// WP, SMEP and SMAP of L1 restrict no access of L2, and L1 itself runs with all of them.
#[test]
fn rights_of_l1_do_not_matter() {
    require_qemu!();
    let mut machine = open_qemu();
    for host in hosts() {
        let strict = ControlState { cr4: host.cr4 | Cr4::SMEP | Cr4::SMAP, ..host };
        let lenient = ControlState { cr0: host.cr0 - Cr0::WP, efer: host.efer - Efer::NXE, ..host };
        for host in [strict, lenient] {
            for does in [Does::Read, Does::Write, Does::Fetch] {
                let nested = Nested::npt(host, PagingMode::FourLevel, Ring::Zero, does, 0x808);
                let lane = nested.run(&mut machine).lane();
                let is_right = matches!(lane.exit, LaneExit::Svm { code: CPUID_EXIT, .. });
                assert!(is_right, "{host:?}: {does:?}: {lane:x?}");
            }
        }
    }
}

/// The other QEMU has SVM and nested paging, too, and tells the same.
#[test]
fn a_second_qemu_runs_them() {
    let program = require_second_qemu!();
    let processor = QemuProcessor { program: Some(program), ..QemuProcessor::default() };
    let image = Image::built_in().expect("the image was built with the program");
    let mut machine = QemuMachine::open(image, &processor, &Jail::strongest()).expect("it works");
    for host in hosts() {
        let mut nested = Nested::npt(host, PagingMode::Pae, Ring::Three, Does::Write, 0x108);
        assert_ne!(nested.run(&mut machine).run.stored, []);
        nested.set_second(DATA_PAGE, 0);
        let lane = nested.run(&mut machine).lane();
        assert_eq!(lane.exit, exit(NESTED_PAGE_FAULT, FINAL | 6, 0x9108));
    }
}

/// The capabilities of a QEMU whose processor lacks a feature.
fn capabilities_without(feature: &str) -> Capabilities {
    let processor = QemuProcessor { features: vec![feature.into()], ..QemuProcessor::default() };
    let image = Image::built_in().expect("the image was built with the program");
    let machine = QemuMachine::open(image, &processor, &Jail::strongest()).expect("it works");
    machine.capabilities().clone()
}

/// A processor without SVM says so, and nothing is tried.
#[test]
fn a_processor_without_it_says_so() {
    require_qemu!();
    for (mode, offer) in &capabilities_without("-svm").nested_modes {
        let found = offer.as_ref().expect_err("there is none");
        assert!(found.contains("neither SVM"), "{mode}: {found}");
    }
}

/// QEMU walks nested tables although its CPUID reports none (TN10), and where it does not, that is what is said.
#[test]
fn nested_paging_is_probed_whatever_cpuid_says() {
    require_qemu!();
    let capabilities = capabilities_without("-npt");
    let svm = capabilities.virtualization.expect("SVM");
    assert!(matches!(svm, Virtualization::Svm { nested_paging: false, .. }), "{svm:?}");
    for (mode, offer) in &capabilities.nested_modes {
        match (mode, offer) {
            (PagingMode::Bits32, Err(why)) => assert!(why.contains("no nested paging"), "{why}"),
            (_, offer) => assert!(offer.is_ok(), "{mode}: {offer:?}"),
        }
    }
}

/// Most KVMs have VMX or SVM for their guests, and those that shadow all page tables have neither.
#[test]
fn a_kvm_runs_them_or_says_why_not() {
    require_kvm!();
    let mut machine = open_kvm();
    let found = machine.capabilities().virtualization.clone();
    let offers = machine.capabilities().nested_modes.clone();
    assert_eq!(offers.len(), 4);
    for (mode, offer) in offers {
        if let Err(why) = offer {
            assert!(!why.is_empty());
            assert!(found.as_ref().err().is_none_or(|reason| *reason == why), "{mode}: {why}");
            continue;
        }

        let read = match found.as_ref().expect("a mode is offered") {
            Virtualization::Svm { .. } => {
                let host = match mode {
                    PagingMode::Bits32 => ControlState::bits32(0),
                    PagingMode::Pae => ControlState::pae(0, [0; 4]),
                    PagingMode::FiveLevel => ControlState::five_level(0),
                    _ => ControlState::four_level(0),
                };
                Nested::npt(host, PagingMode::FourLevel, Ring::Three, Does::Read, 0x108)
            }
            Virtualization::Vmx(_) => {
                Nested::ept(PagingMode::FourLevel, Ring::Three, Does::Read, 0x108, false)
            }
        };
        let lane = read.run(&mut machine).lane();
        assert_eq!(lane.rax, memory_at(&places(frame() + 0x108, 4)), "{mode}: {lane:x?}");
    }
}

/// An image plays batches as the guest of a host runs them: both arenas, L1 in each mode, two lanes, and exits of all kinds.
#[test]
fn an_image_shows_what_the_host_sees() {
    require_qemu!();
    let mut batches = Vec::new();
    for (number, host) in hosts().into_iter().enumerate() {
        for does in [Does::Read, Does::Write, Does::Fetch] {
            let plain = Nested::npt(host, PagingMode::FourLevel, Ring::Three, does, 0x808);
            let mut two_lanes = plain.in_arena(Arena::ALL[number % 2]);
            let [lane] = &two_lanes.batch.lanes[..] else { panic!("one lane") };
            let other = Lane { rax: 0x5000_0000_0000, ..lane.clone() };
            two_lanes.batch.lanes.push(other);
            let mut absent = two_lanes.clone();
            absent.set_second(DATA_PAGE, 0);
            batches.extend([two_lanes, absent]);
        }
    }

    let (processor, by_log) = boot_on_qemu(&batches);
    assert!(matches!(processor.virtualization(), Ok(Virtualization::Svm { .. })));
    let mut machine = open_qemu();
    for (nested, by_log) in batches.iter().zip(by_log) {
        assert_eq!(nested.run(&mut machine).run, by_log);
    }
}

/// QEMU's processor has no VMX, and so the image skips the batch and goes on.
#[test]
fn an_image_skips_what_its_machine_lacks() {
    require_qemu!();
    let [four_level, ..] = hosts();
    let (mode, ring) = (PagingMode::FourLevel, Ring::Three);
    let skipped = Nested::ept(mode, ring, Does::Read, 0x108, false);
    let ran = Nested::npt(four_level, mode, ring, Does::Read, 0x108);
    let (_, runs) = boot_on_qemu(&[skipped, ran]);
    let [skipped, ran] = &runs[..] else { panic!("two batches") };
    assert_eq!(skipped.lanes[0].exit, LaneExit::NotRun);
    assert_eq!(ran.lanes[0].rax, memory_at(&places(frame() + 0x108, 4)));
}

/// QEMU 7.2.22 and 10.0 take guest-physical addresses for physical ones if L1 is in 32-bit paging: the patch that
/// introduced `PG_MODE_PG` left that bit out of `PG_MODE_SVM_MASK`. So L2 reads zeros in place of its tables.
#[test]
fn l1_in_32_bit_paging_comes_back() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in [PagingMode::Bits32, PagingMode::FourLevel] {
        let nested = Nested::npt(ControlState::bits32(0), mode, Ring::Three, Does::Read, 0x108);
        let lane = nested.run(&mut machine).lane();
        let is_right = matches!(lane.exit, LaneExit::Svm { code: CPUID_EXIT, .. });
        let fetch = if mode == PagingMode::Bits32 { 0 } else { 0x10 };
        let is_known = lane.exit == exit(PAGE_FAULT, 4 | fetch, CPUID + 0x10);
        assert!(is_right || is_known, "{mode}: {lane:x?}");

        let [four_level, ..] = hosts();
        let next = Nested::npt(four_level, mode, Ring::Three, Does::Read, 0x108);
        let lane = next.run(&mut machine).lane();
        assert_eq!(lane.rax, memory_at(&places(frame() + 0x108, 4)));
    }
}

/// Both are under way at once, in their arenas, and then ordinary batches go on.
#[test]
fn nested_batches_run_one_after_the_other() {
    require_qemu!();
    let mut machine = open_qemu();
    let memory = machine.memory().clone();
    for host in hosts() {
        let batches = Arena::ALL.map(|arena| {
            let read = Nested::npt(host, PagingMode::FourLevel, Ring::Three, Does::Read, 0x108);
            read.in_arena(arena)
        });
        for nested in &batches {
            let command = nested.write(&machine);
            machine.start(command);
        }
        for nested in &batches {
            let log = machine.finish().expect("the guest survives");
            let run = nested.batch.read_back(&log, &memory).expect("the guest is ours");
            let frame = nested.batch.arena.data_frames(0);
            assert_eq!(run.lanes[0].rax, memory_at(&places(frame + 0x108, 4)));
        }
    }
}
