//! Faults that the tables or the registers really deny: they end the process, and are never answered
//! with "try again" forever.

use super::*;
use crate::x86::fault::{Fault, PageFaultCode};

const P: PageFaultCode = PageFaultCode::P;
const W: PageFaultCode = PageFaultCode::W;
const U: PageFaultCode = PageFaultCode::U;
const I: PageFaultCode = PageFaultCode::I;
const PK: PageFaultCode = PageFaultCode::PK;
const SS: PageFaultCode = PageFaultCode::SS;

const SPURIOUS: Decision = Decision::Minor(Minor::Spurious);
const PROCESSOR: Decision = Decision::Invalid(Invalid::Processor);

impl<F: Format> SpaceBench<F> {
    /// The decision on a page fault of the heap's first page.
    fn page_fault(&mut self, space: SpaceId, code: PageFaultCode) -> Decision {
        let fault = Fault::page_fault(code, VirtAddr::new(HEAP));
        self.system.fault(&mut self.computer, space, &fault).unwrap()
    }

    fn protect_heap(&mut self, space: SpaceId, protection: Protection) {
        let heap = VirtAddr::new(HEAP);
        self.system.protect(&mut self.computer, space, heap, protection).unwrap();
    }
}

/// A space whose heap of one page is in memory and writable.
fn with_written_heap() -> (SpaceBench<FourLevel>, SpaceId) {
    let mut bench = SpaceBench::new(32);
    let space = bench.with_heap(1);
    bench.write(space, HEAP, 1);
    (bench, space)
}

/// SDM "Page-Fault Exceptions": PK is set if PKRU or PKRS denies the access. The system writes key 0
/// into every entry and never changes it, so the cause is no old translation.
#[test]
fn code_11_what_a_protection_key_denies_is_invalid() {
    let denied = Decision::Invalid(Invalid::ProtectionKey);
    let (mut bench, space) = with_written_heap();
    for code in [P | U | PK, P | W | U | PK, P | PK] {
        assert_eq!(bench.page_fault(space, code), denied, "{code:?}");
    }

    // PK is set when R/W denies the write, too (CODE-11). A copy would not help.
    bench.fork(space);
    let frame = bench.frame(space, HEAP);
    assert_eq!(bench.page_fault(space, P | W | U | PK), denied);
    assert_eq!(bench.frame(space, HEAP), frame);
    bench.audit();
}

/// SDM "Access Rights": shadow-stack accesses need a shadow-stack address, and no region has one.
#[test]
fn right_7_a_shadow_stack_access_is_invalid() {
    let denied = Decision::Invalid(Invalid::ShadowStack);
    let (mut bench, space) = with_written_heap();
    for code in [P | U | SS, P | W | U | SS, P | W | SS, U | SS] {
        assert_eq!(bench.page_fault(space, code), denied, "{code:?}");
    }
}

/// SDM "Page-Fault Exceptions": with SGX (bit 15) the exception is unrelated to paging, and HLAT is bit
/// 7. APM "#PF, Page-Fault Exception": RMP is bit 31.
#[test]
fn a_cause_outside_the_tables_is_invalid() {
    let (mut bench, space) = with_written_heap();
    for bit in [7, 15, 31] {
        let code = P | U | PageFaultCode::from_bits_retain(1 << bit);
        assert_eq!(bench.page_fault(space, code), PROCESSOR, "bit {bit}");
    }
}

/// SDM "Access Rights": SMAP denies the supervisor data accesses to user pages, SMEP denies it fetches
/// from them. Their faults look like those of an old translation, of which there is at most one
/// (TLB-2), and none after the shoot-down.
#[test]
fn right_3_and_4_what_smep_and_smap_deny_is_invalid_at_the_second_fault() {
    let (mut bench, space) = with_written_heap();
    bench.protect_heap(space, Protection::DATA | Protection::EXECUTE);
    for code in [P, P | W, P | I] {
        assert_eq!(bench.page_fault(space, code), SPURIOUS, "{code:?}");
        assert_eq!(bench.page_fault(space, code), PROCESSOR, "{code:?}");
    }
    assert_eq!(bench.system.statistics().invalid, 3);
}

/// Two processes that fault in turn cannot keep each other alive.
#[test]
fn a_denied_process_ends_whatever_other_processes_do() {
    let (mut bench, first) = with_written_heap();
    let second = bench.with_heap(1);
    bench.write(second, HEAP, 2);

    assert_eq!(bench.page_fault(first, P), SPURIOUS);
    assert_eq!(bench.page_fault(second, P), SPURIOUS);
    bench.protect_heap(second, Protection::CONSTANTS);
    assert_eq!(bench.page_fault(first, P), PROCESSOR);
    assert_eq!(bench.page_fault(second, P), SPURIOUS);
    assert_eq!(bench.page_fault(second, P), PROCESSOR);
}

/// A supervisor's write to a page that is shared after a fork is served as a write first, since the
/// error code does not say that SMAP denies it.
#[test]
fn a_denied_write_to_a_shared_page_ends_after_the_copy() {
    let (mut bench, space) = with_written_heap();
    bench.fork(space);
    let decisions = [(); 3].map(|()| bench.page_fault(space, P | W));
    assert_eq!(decisions, [Decision::Minor(Minor::Copy), SPURIOUS, PROCESSOR]);
}

/// TLB-2: after each change of the tables there may be an old translation again.
#[test]
fn tlb_2_an_old_translation_after_each_change_is_not_held_against_a_process() {
    let (mut bench, space) = with_written_heap();
    for _ in 0..3 {
        assert_eq!(bench.page_fault(space, P | W | U), SPURIOUS);
        bench.protect_heap(space, Protection::CONSTANTS);
        bench.protect_heap(space, Protection::DATA);
    }

    // A fault of another kind in between changes nothing.
    assert_eq!(bench.page_fault(space, P | W | U), SPURIOUS);
    assert_eq!(bench.page_fault(space, P | U), SPURIOUS);
    assert_eq!(bench.page_fault(space, P | W | U), PROCESSOR);
}

/// CODE-12: of an access to two pages that both deny it, a processor may report either.
#[test]
fn code_12_a_denied_access_to_two_pages_ends_whichever_page_is_reported() {
    let mut bench = SpaceBench::<FourLevel>::new(32);
    let space = bench.with_heap(2);
    for page in [HEAP, HEAP + 0x1000] {
        bench.write(space, page, 1);
    }

    let decisions = [0xffc, 0x1000, 0xffc].map(|offset| {
        let fault = Fault::page_fault(P, VirtAddr::new(HEAP + offset));
        bench.system.fault(&mut bench.computer, space, &fault).unwrap()
    });
    assert_eq!(decisions, [SPURIOUS, SPURIOUS, PROCESSOR]);
}
