//! Nested batches of an image on Bochs: SVM with nested page tables of every format but that of 5-level paging, which
//! Bochs 2.7 lacks, and VMX with EPT.

use crosswalk_machine::nested::{LaneExit, NestedRun, Root, Virtualization};
use crosswalk_test_support as support;
use mmu_core::{ControlState, PagingMode, Ring};
use support::nested::{CODE_PAGE, CPUID, DATA_PAGE, Does, Nested, ROOT_PAGE, boot_on_bochs};
use support::require_program;
use support::single::{A, D, P, RW, US, memory_at, places};

/// The modes that Bochs has.
const MODES: [PagingMode; 4] =
    [PagingMode::Unpaged, PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel];

/// The entry of L2's page table for its code, as a guest-physical address.
const CODE_ENTRY: u64 = ((ROOT_PAGE + 3) << 12) + 8 * CODE_PAGE;

fn frame_of(nested: &Nested) -> u64 {
    nested.batch.arena.data_frames(0)
}

/// What a batch must show.
type Check = Box<dyn Fn(&Nested, &NestedRun)>;

/// Batches that run in one image, and what each of them must show.
#[derive(Default)]
struct Expected {
    batches: Vec<Nested>,
    checks: Vec<Check>,
}

impl Expected {
    fn add(&mut self, nested: Nested, check: impl Fn(&Nested, &NestedRun) + 'static) {
        self.batches.push(nested);
        self.checks.push(Box::new(check));
    }

    /// Expects an exit, and that nothing was stored.
    fn exit(&mut self, name: &str, nested: Nested, expected: LaneExit) {
        let name = name.to_owned();
        self.add(nested, move |_, run| {
            assert_eq!(run.lanes[0].exit, expected, "{name}");
            assert_eq!(run.stored, [], "{name}");
        });
    }

    fn run_on(self, model: &str) -> Result<Virtualization, String> {
        let (processor, runs) = boot_on_bochs(model, &self.batches);
        assert_eq!(runs.len(), self.batches.len());
        for ((nested, check), run) in self.batches.iter().zip(&self.checks).zip(&runs) {
            check(nested, run);
        }
        processor.virtualization()
    }
}

#[test]
fn svm_in_every_format_of_nested_tables() {
    const PAGE_FAULT: u64 = 0x4e;
    const CPUID_EXIT: u64 = 0x72;
    const NESTED_PAGE_FAULT: u64 = 0x400;
    const FINAL: u64 = 1 << 32;
    const TABLE: u64 = 1 << 33;

    require_program!("bochs-bin");
    let exit = |code, info1, info2| LaneExit::Svm { code, info1, info2 };
    let hosts =
        [ControlState::four_level(0), ControlState::pae(0, [0; 4]), ControlState::bits32(0)];
    let mut expected = Expected::default();
    for host in hosts {
        let of = |mode, does| Nested::npt(host, mode, Ring::Three, does, 0x808);
        for mode in MODES {
            expected.add(of(mode, Does::Read), move |nested, run| {
                let [lane] = run.lanes[..] else { panic!("one lane") };
                assert!(matches!(lane.exit, LaneExit::Svm { code: CPUID_EXIT, .. }), "{lane:x?}");
                assert_eq!(lane.rax, memory_at(&places(frame_of(nested) + 0x808, 4)));
            });
        }
        expected.add(of(PagingMode::FourLevel, Does::Fetch), |nested, run| {
            let [lane] = run.lanes[..] else { panic!("one lane") };
            assert_eq!(
                (lane.rcx, lane.rip),
                (memory_at(&places(frame_of(nested) + 0x809, 4)), CPUID)
            );
        });

        for (does, code) in [(Does::Read, 4), (Does::Write, 6)] {
            let mut absent = of(PagingMode::FourLevel, does);
            absent.set_second(DATA_PAGE, 0);
            expected.exit("absent", absent, exit(NESTED_PAGE_FAULT, FINAL | code, 0x9808));
        }
        let mut table = of(PagingMode::FourLevel, Does::Read);
        table.set_second(ROOT_PAGE + 3, 0);
        expected.exit("absent table", table, exit(NESTED_PAGE_FAULT, TABLE | 6, CODE_ENTRY));

        let mut read_only = of(PagingMode::FourLevel, Does::Read);
        let entry = read_only.second(ROOT_PAGE + 3);
        read_only.set_second(ROOT_PAGE + 3, entry & !RW);
        expected.exit("read-only table", read_only, exit(NESTED_PAGE_FAULT, TABLE | 7, CODE_ENTRY));

        let mut guest = of(PagingMode::Bits32, Does::Write);
        guest.set_guest(DATA_PAGE, DATA_PAGE << 12 | P | US);
        expected.exit("fault of L2", guest, exit(PAGE_FAULT, 7, 0x9808));
    }

    let found = expected.run_on("ryzen");
    assert!(matches!(found, Ok(Virtualization::Svm { nested_paging: true, .. })), "{found:?}");
}

/// The qualifications are those of SDM "Exit Qualification for EPT Violations".
#[test]
fn vmx_with_ept() {
    const VIOLATION: u32 = 48;
    const MISCONFIGURATION: u32 = 49;
    const CPUID_EXIT: u32 = 10;
    /// R, W and X of an EPT entry, and its A and D.
    const R: u64 = 1;
    const W: u64 = 2;
    const X: u64 = 4;
    const EPT_A: u64 = 1 << 8;
    const EPT_D: u64 = 1 << 9;

    require_program!("bochs-bin");
    let of = |mode, does, sets_flags| Nested::ept(mode, Ring::Three, does, 0x808, sets_flags);
    let violation = |qualification, guest_physical, guest_linear| LaneExit::Vmx {
        reason: VIOLATION,
        qualification,
        guest_physical,
        guest_linear,
        interruption: 0,
        interruption_error: 0,
    };
    let mut expected = Expected::default();

    for sets_flags in [false, true] {
        for mode in MODES {
            let mut write = of(mode, Does::Write, sets_flags);
            // What a guest stores without flags for the second level shows in its own.
            write.batch.lanes[0].ac = true;
            expected.add(write, move |nested, run| {
                let [lane] = run.lanes[..] else { panic!("one lane") };
                assert!(matches!(lane.exit, LaneExit::Vmx { reason: CPUID_EXIT, .. }), "{lane:x?}");
                let stored: Vec<_> = run.stored.iter().map(|(at, _)| *at).collect();
                assert_eq!(stored, places(frame_of(nested) + 0x808, 4));

                let ran = nested.ran(run);
                let flags = if sets_flags { EPT_A | EPT_D } else { 0 };
                assert_eq!(ran.changed_in_second(DATA_PAGE), flags, "{mode}");
                if mode != PagingMode::Unpaged {
                    assert_eq!(ran.changed_in_guest(DATA_PAGE), A | D, "{mode}");
                }
            });
        }

        let mut with = |name: &str, does, rights, expects| {
            let mut nested = of(PagingMode::FourLevel, does, sets_flags);
            let entry = nested.second(DATA_PAGE) & !(R | W | X) | rights;
            nested.set_second(DATA_PAGE, entry);
            expected.exit(name, nested, expects);
        };
        with("read of nothing", Does::Read, 0, violation(0x181, 0x9808, 0x9808));
        with("write to R--", Does::Write, R, violation(0x18a, 0x9808, 0x9808));
        with("fetch of RW-", Does::Fetch, R | W, violation(0x19c, 0x9808, 0x9808));
        with("read of --X", Does::Read, X, violation(0x1a1, 0x9808, 0x9808));

        // The manual says 0x83 if A and D are set. BX2: Bochs says 0x82.
        let mut table = of(PagingMode::FourLevel, Does::Read, sets_flags);
        table.set_second(ROOT_PAGE + 3, 0);
        let qualification = if sets_flags { 0x82 } else { 0x81 };
        expected.exit("no table", table, violation(qualification, CODE_ENTRY, CPUID + 0x10));

        let mut misconfigured = of(PagingMode::FourLevel, Does::Read, sets_flags);
        let entry = misconfigured.second(DATA_PAGE) & !(R | W | X) | W;
        misconfigured.set_second(DATA_PAGE, entry);
        expected.add(misconfigured, |_, run| {
            let LaneExit::Vmx { reason, guest_physical, .. } = run.lanes[0].exit else {
                panic!("{run:?}")
            };
            assert_eq!((reason, guest_physical), (MISCONFIGURATION, 0x9808));
        });
    }

    let mut guest = of(PagingMode::FourLevel, Does::Write, true);
    guest.set_guest(DATA_PAGE, 0);
    expected.add(guest, |_, run| {
        let LaneExit::Vmx { reason, qualification, interruption, interruption_error, .. } =
            run.lanes[0].exit
        else {
            panic!("{run:?}")
        };
        assert_eq!((reason, qualification), (0, 0x9808));
        assert_eq!((interruption, interruption_error), (0x8000_0b0e, 6));
    });

    // Memory type 1 does not exist.
    let mut pointer = of(PagingMode::FourLevel, Does::Read, true);
    if let Root::Ept { eptp, .. } = &mut pointer.batch.lanes[0].root {
        *eptp = *eptp & !7 | 1;
    }
    expected.exit("bad EPT pointer", pointer, LaneExit::VmxFailed { error: 7 });

    // R/W is reserved in a PDPTE.
    let mut pdpte = of(PagingMode::Pae, Does::Read, true);
    pdpte.batch.lanes[0].state.pdptes[0] |= RW;
    expected.add(pdpte, |_, run| {
        let LaneExit::Vmx { reason, qualification, .. } = run.lanes[0].exit else {
            panic!("{run:?}")
        };
        assert_eq!((reason, qualification), (0x8000_0021, 2));
    });

    let found = expected.run_on("corei7_skylake_x");
    let Ok(Virtualization::Vmx(vmx)) = found else { panic!("{found:?}") };
    // 4 levels, write-back tables, A and D, and --X.
    let expected = 1 << 6 | 1 << 14 | 1 << 21 | 1;
    assert_eq!(vmx.ept_capabilities() & expected, expected);
    assert!(vmx.has_unrestricted_guests() && !vmx.has_mode_based_execute());
}
