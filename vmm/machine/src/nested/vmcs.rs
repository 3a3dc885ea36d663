//! The fields of a VMCS for a lane (SDM "Virtual Machine Control Structures"; encodings in "Field Encoding in
//! VMCS"), as two lists in its control block.

use super::run::LaneExit;
use super::segments::{self, Segment};
use super::{Lane, Root};
use crate::virtualization::{
    AllowedControls, ENABLE_EPT, LOAD_GUEST_EFER, LOAD_HOST_EFER, MODE_BASED_EXECUTE,
    UNRESTRICTED_GUEST, Vmx,
};
use crosswalk_guest::nested::VmcsField;
use mmu_core::{Cr0, Cr4, Efer};

// Controls.
const PIN_BASED: u64 = 0x4000;
const PROCESSOR_BASED: u64 = 0x4002;
const EXCEPTIONS: u64 = 0x4004;
const PAGE_FAULT_MASK: u64 = 0x4006;
const PAGE_FAULT_MATCH: u64 = 0x4008;
const CR3_TARGETS: u64 = 0x400a;
const EXIT: u64 = 0x400c;
const EXIT_MSR_STORES: u64 = 0x400e;
const EXIT_MSR_LOADS: u64 = 0x4010;
const ENTRY: u64 = 0x4012;
const ENTRY_MSR_LOADS: u64 = 0x4014;
const ENTRY_EVENT: u64 = 0x4016;
const SECONDARY: u64 = 0x401e;
const EPT_POINTER: u64 = 0x201a;
const CR0_MASK: u64 = 0x6000;
const CR4_MASK: u64 = 0x6002;
const CR0_SHADOW: u64 = 0x6004;
const CR4_SHADOW: u64 = 0x6006;

// The guest's state. Selectors, limits, rights and bases are in the order ES, CS, SS, DS, FS, GS, LDTR, TR.
const SELECTORS: u64 = 0x800;
const LIMITS: u64 = 0x4800;
const RIGHTS: u64 = 0x4814;
const BASES: u64 = 0x6806;
const GDTR_LIMIT: u64 = 0x4810;
const IDTR_LIMIT: u64 = 0x4812;
const GDTR_BASE: u64 = 0x6816;
const IDTR_BASE: u64 = 0x6818;
const LINK_POINTER: u64 = 0x2800;
const DEBUG_CONTROL: u64 = 0x2802;
const GUEST_EFER: u64 = 0x2806;
const PDPTES: u64 = 0x280a;
const INTERRUPTIBILITY: u64 = 0x4824;
const ACTIVITY: u64 = 0x4826;
const SYSENTER_CS: u64 = 0x482a;
const GUEST_CR0: u64 = 0x6800;
const GUEST_CR3: u64 = 0x6802;
const GUEST_CR4: u64 = 0x6804;
const GUEST_DR7: u64 = 0x681a;
const GUEST_RSP: u64 = 0x681c;
const GUEST_RIP: u64 = 0x681e;
const GUEST_RFLAGS: u64 = 0x6820;
const PENDING_DEBUG_EXCEPTIONS: u64 = 0x6822;
const SYSENTER_ESP: u64 = 0x6824;
const SYSENTER_EIP: u64 = 0x6826;

// What an exit says.
const EXIT_REASON: u64 = 0x4402;
const INTERRUPTION: u64 = 0x4404;
const INTERRUPTION_ERROR: u64 = 0x4406;
const QUALIFICATION: u64 = 0x6400;
const GUEST_LINEAR: u64 = 0x640a;
const GUEST_PHYSICAL: u64 = 0x2400;

/// The fields to read after an exit.
const READ: [u64; 7] = [
    EXIT_REASON,
    QUALIFICATION,
    GUEST_PHYSICAL,
    GUEST_LINEAR,
    INTERRUPTION,
    INTERRUPTION_ERROR,
    GUEST_RIP,
];

/// Number of fields for which a control block has room.
const FIELDS: usize = 0x1000 / size_of::<VmcsField>();

/// External interrupts and NMIs.
const ALL_EVENTS: u32 = 1 << 0 | 1 << 3;
/// HLT, INVLPG, MWAIT, RDPMC, RDTSC, loads and stores of CR8, MOV to and from DR, ports, MONITOR, PAUSE; and the
/// secondary controls.
const ALL_INSTRUCTIONS: u32 = 0xe198_1e80;
const LONG_MODE_HOST: u32 = 1 << 9;
const LONG_MODE_GUEST: u32 = 1 << 9;

/// The controls of a processor that is not known yet: those that must be 1 on every processor without other news
/// (SDM "Reserved Controls and Default Settings"), and any others.
mod by_default {
    use super::AllowedControls;

    const fn any(required: u32) -> AllowedControls {
        AllowedControls { required, allowed: u32::MAX }
    }

    pub(super) const PIN_BASED: AllowedControls = any(0x16);
    pub(super) const PROCESSOR_BASED: AllowedControls = any(0x0401_e172);
    pub(super) const EXIT: AllowedControls = any(0x0003_6dff);
    pub(super) const ENTRY: AllowedControls = any(0x0000_11ff);
}

/// The lists of fields of a lane: those to write, and those to read, and zeros up to the end of the control block.
pub(super) fn fields(lane: &Lane, machine: Option<Vmx>) -> Vec<VmcsField> {
    let mut fields = Vec::new();
    let mut put = |field, value| fields.push(VmcsField { field, value });

    put_controls(lane, machine, &mut put);
    put_segments(lane, &mut put);
    put_registers(lane, &mut put);

    fields.push(VmcsField::END);
    fields.extend(READ.map(|field| VmcsField { field, value: 0 }));
    fields.push(VmcsField::END);
    fields.resize(FIELDS, VmcsField::default());
    fields
}

fn put_controls(lane: &Lane, machine: Option<Vmx>, put: &mut impl FnMut(u64, u64)) {
    let Root::Ept { eptp, mode_based_execute } = lane.root else { panic!("a lane of VMX") };
    let mut secondary = ENABLE_EPT | UNRESTRICTED_GUEST;
    if mode_based_execute {
        secondary |= MODE_BASED_EXECUTE;
    }
    let mut entry = LOAD_GUEST_EFER;
    if efer(lane).contains(Efer::LMA) {
        entry |= LONG_MODE_GUEST;
    }

    let controls = [
        (PIN_BASED, ALL_EVENTS, machine.map_or(by_default::PIN_BASED, |vmx| vmx.pin_based())),
        (
            PROCESSOR_BASED,
            ALL_INSTRUCTIONS,
            machine.map_or(by_default::PROCESSOR_BASED, |vmx| vmx.processor_based()),
        ),
        (EXIT, LONG_MODE_HOST | LOAD_HOST_EFER, machine.map_or(by_default::EXIT, |vmx| vmx.exit())),
        (ENTRY, entry, machine.map_or(by_default::ENTRY, |vmx| vmx.entry())),
    ];
    for (field, wanted, AllowedControls { required, allowed }) in controls {
        put(field, u64::from(wanted & allowed | required));
    }
    // What a machine lacks of these makes another guest of it, so VMX must refuse it.
    put(SECONDARY, secondary.into());
    put(EPT_POINTER, eptp);

    put(EXCEPTIONS, u32::MAX.into());
    for none in [
        PAGE_FAULT_MASK,
        PAGE_FAULT_MATCH,
        CR3_TARGETS,
        EXIT_MSR_STORES,
        EXIT_MSR_LOADS,
        ENTRY_MSR_LOADS,
        ENTRY_EVENT,
    ] {
        put(none, 0);
    }
}

fn put_segments(lane: &Lane, put: &mut impl FnMut(u64, u64)) {
    let (code, data) = (segments::code(lane), segments::data(lane));
    let registers = [data, code, data, data, data, data, segments::local_table(), segments::task()];

    for (number, Segment { selector, rights, limit }) in (0..).zip(registers) {
        put(SELECTORS + 2 * number, selector.into());
        put(LIMITS + 2 * number, limit.into());
        put(RIGHTS + 2 * number, rights.into());
        put(BASES + 2 * number, 0);
    }
    for table in [GDTR_LIMIT, IDTR_LIMIT, GDTR_BASE, IDTR_BASE] {
        put(table, 0);
    }
}

fn put_registers(lane: &Lane, put: &mut impl FnMut(u64, u64)) {
    // VMX wants these bits in every guest, and shows it the others.
    let cr0 = lane.state.cr0 | Cr0::NE;
    let cr4 = lane.state.cr4 | Cr4::VMXE;
    put(CR0_MASK, u64::MAX);
    put(CR4_MASK, u64::MAX);
    put(CR0_SHADOW, lane.state.cr0.bits());
    put(CR4_SHADOW, lane.state.cr4.bits());
    put(GUEST_CR0, cr0.bits());
    put(GUEST_CR3, lane.state.cr3);
    put(GUEST_CR4, cr4.bits());
    put(GUEST_EFER, efer(lane).bits());
    for (number, pdpte) in (0..).zip(lane.state.pdptes) {
        put(PDPTES + 2 * number, pdpte);
    }

    put(GUEST_RIP, lane.rip);
    put(GUEST_RSP, 0);
    put(GUEST_RFLAGS, segments::rflags(lane));
    put(GUEST_DR7, 0x400);
    put(LINK_POINTER, u64::MAX);
    for none in [
        DEBUG_CONTROL,
        INTERRUPTIBILITY,
        ACTIVITY,
        PENDING_DEBUG_EXCEPTIONS,
        SYSENTER_CS,
        SYSENTER_ESP,
        SYSENTER_EIP,
    ] {
        put(none, 0);
    }
}

/// EFER of a lane, with LMA as the other bits make it.
fn efer(lane: &Lane) -> Efer {
    let mut efer = lane.state.efer - Efer::SVME;
    let in_long_mode = efer.contains(Efer::LME) && lane.state.cr0.contains(Cr0::PG);
    efer.set(Efer::LMA, in_long_mode);
    efer
}

/// What the lists of a lane say after an exit, and RIP; `None` if they have other fields than those that were
/// written.
pub(super) fn exit(lane: &Lane, after: &[VmcsField]) -> Option<(LaneExit, u64)> {
    let before = fields(lane, None);
    let encodings =
        |fields: &[VmcsField]| fields.iter().map(|field| field.field).collect::<Vec<_>>();
    if encodings(&before) != encodings(after) {
        return None;
    }

    let value = |wanted: u64| {
        let found = after.iter().rfind(|field| field.field == wanted);
        found.map_or(0, |field| field.value)
    };
    let exit = LaneExit::Vmx {
        reason: value(EXIT_REASON) as u32,
        qualification: value(QUALIFICATION),
        guest_physical: value(GUEST_PHYSICAL),
        guest_linear: value(GUEST_LINEAR),
        interruption: value(INTERRUPTION) as u32,
        interruption_error: value(INTERRUPTION_ERROR) as u32,
    };
    Some((exit, value(GUEST_RIP)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::{ControlState, Ring};

    fn lane() -> Lane {
        Lane {
            state: ControlState::four_level(0x1000),
            is_64_bit: true,
            ring: Ring::Three,
            rip: 0x8010,
            rax: 0x9000,
            back: 0,
            ac: false,
            root: Root::Ept { eptp: 0x54_001e, mode_based_execute: true },
        }
    }

    fn value(fields: &[VmcsField], wanted: u64) -> u64 {
        let mut found = fields.iter().filter(|field| field.field == wanted);
        found.next().expect("the field is written").value
    }

    /// The encodings are those of SDM appendix "Field Encoding in VMCS".
    #[test]
    fn a_lane_becomes_fields() {
        let fields = fields(&lane(), None);
        assert_eq!(value(&fields, 0x201a), 0x54_001e);
        assert_eq!(value(&fields, 0x401e), 1 << 22 | 1 << 7 | 1 << 1);
        // The guest is in long mode, and EFER is loaded.
        assert_eq!(value(&fields, 0x4012), 0x11ff | 1 << 9 | 1 << 15);
        assert_eq!(value(&fields, 0x400c), 0x3_6dff | 1 << 9 | 1 << 21);
        assert_eq!(value(&fields, 0x4000), 0x1f);
        // CS, its rights, those of SS, TR and LDTR.
        assert_eq!(value(&fields, 0x802), 0x0b);
        assert_eq!(value(&fields, 0x4816), 0xa0fb);
        assert_eq!(value(&fields, 0x4818), 0xc0f3);
        assert_eq!(value(&fields, 0x4822), 0x8b);
        assert_eq!(value(&fields, 0x4820), 0x1_0002);
        assert_eq!(value(&fields, 0x681e), 0x8010);
        assert_eq!(value(&fields, 0x2806), 0xd00);
        let ends = fields.iter().filter(|field| **field == VmcsField::END).count();
        assert_eq!((ends, size_of_val(fields.as_slice())), (2, 0x1000), "both lists have room");
    }

    #[test]
    fn only_lists_of_ours_are_read() {
        let written = fields(&lane(), None);
        let mut after = written.clone();
        let place = |wanted: u64| written.iter().rposition(|field| field.field == wanted).unwrap();
        after[place(0x4402)].value = 48;
        after[place(0x6400)].value = 0x181;
        after[place(0x681e)].value = 0x8012;
        let (seen, rip) = exit(&lane(), &after).expect("the guest is ours");
        let LaneExit::Vmx { reason, qualification, .. } = seen else { panic!("{seen:?}") };
        assert_eq!((reason, qualification, rip), (48, 0x181, 0x8012));

        assert_eq!(exit(&lane(), &after[1..]), None);
        after[place(0x4402)].field = 0;
        assert_eq!(exit(&lane(), &after), None);
    }
}
