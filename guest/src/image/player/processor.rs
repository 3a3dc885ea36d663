//! What CPUID says that a player must know.

use core::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};
use crosswalk_guest::mailbox::Control;
use crosswalk_guest::tape::needs;

/// The registers of a leaf, if the processor has it.
fn leaf(number: u32) -> Option<[u32; 4]> {
    let highest = __cpuid(number & 0x8000_0000).eax;
    let CpuidResult { eax, ebx, ecx, edx } = __cpuid_count(number, 0);
    (number <= highest).then_some([eax, ebx, ecx, edx])
}

/// Which of the features that batches need the processor has.
pub(super) fn features(control: &Control) -> u32 {
    needs::has(leaf) | needs::has_ept(&control.vmx_msrs)
}

/// MAXPHYADDR. Every processor in long mode reports it.
pub(super) fn physical_address_bits() -> u32 {
    leaf(0x8000_0008).map_or(36, |[eax, ..]| eax & 0xff)
}

/// Whether a hypervisor or an emulator shows itself.
pub(super) fn is_virtual() -> bool {
    leaf(1).is_some_and(|[_, _, ecx, _]| ecx >> 31 != 0)
}
