//! The assembly files, and the constants that they share with compiled code.

use crate::{descriptors, process_page};
use core::mem::offset_of;
use crosswalk_guest::layout::{self, SUPERVISOR_WINDOW};
use crosswalk_guest::mailbox::{Control, DOORBELL_PORT, Doorbell, FAULT_TAG, Header, Switch};
use crosswalk_guest::stub::IMAGE_MAGIC;
use crosswalk_guest::system::layout::PROGRAMS_IN_PROCESS;
use crosswalk_guest::system::program::{Call, StepKind};

core::arch::global_asm!(
    include_str!("boot.s"),
    include_str!("traps.s"),
    include_str!("stubs.s"),
    include_str!("operands.s"),
    include_str!("switch.s"),
    include_str!("traps32.s"),
    include_str!("stubs32.s"),
    include_str!("operands32.s"),
    include_str!("compatibility.s"),
    include_str!("processes.s"),
    include_str!("programs.s"),
    include_str!("serial.s"),
    // Layout.
    MAGIC = const IMAGE_MAGIC,
    WINDOW = const SUPERVISOR_WINDOW,
    USER_STACK_TOP = const layout::USER_STACK_TOP,
    FAULT_STACK = const layout::FAULT_STACK_TOP + SUPERVISOR_WINDOW,
    OWN_TABLES = const layout::OWN_TABLES,
    CONTROL = const layout::CONTROL,
    // Mailbox.
    CONTROL_PANIC = const offset_of!(Control, panic),
    CONTROL_FLAT_RETURN = const offset_of!(Control, flat_return),
    CONTROL_LACKS_EFER = const offset_of!(Control, lacks_efer),
    DOORBELL_PORT = const DOORBELL_PORT,
    PANIC = const Doorbell::Panic as u8,
    FAULT_TAG = const FAULT_TAG,
    STAY = const Switch::Stay as u64,
    FIVE_LEVEL = const Switch::FiveLevel as u64,
    HEADER_CR0 = const offset_of!(Header, cr0),
    HEADER_CR2 = const offset_of!(Header, cr2),
    HEADER_CR3 = const offset_of!(Header, cr3),
    HEADER_CR4 = const offset_of!(Header, cr4),
    HEADER_EFER = const offset_of!(Header, efer),
    HEADER_KEEP_CONTROL = const offset_of!(Header, keep_control),
    HEADER_USER_RECORDS = const offset_of!(Header, user_records),
    HEADER_SUPERVISOR_RECORDS = const offset_of!(Header, supervisor_records),
    HEADER_SWITCH = const offset_of!(Header, switch),
    HEADER_LOADS_PKRS = const offset_of!(Header, loads_pkrs),
    HEADER_PKRS = const offset_of!(Header, pkrs),
    HEADER_LOAD_FAULT = const offset_of!(Header, load_fault),
    HEADER_EDITS_PDPTES = const offset_of!(Header, edits_pdptes),
    HEADER_PDPTES = const offset_of!(Header, pdptes),
    HEADER_COMPATIBILITY = const offset_of!(Header, compatibility),
    HEADER_ENTERS_PROCESS = const offset_of!(Header, enters_process),
    HEADER_KEEPS_FRAMES = const offset_of!(Header, keeps_frames),
    CALL_OFFSET = const layout::CALL_TARGET & 0xfff,
    FRAME_DISTANCE = const layout::FRAME_DISTANCE,
    REGISTERS_DISTANCE = const layout::REGISTERS_DISTANCE,
    // Descriptors.
    GDT = const descriptors::GDT,
    SUPERVISOR_CODE = const descriptors::SUPERVISOR_CODE,
    SUPERVISOR_DATA = const descriptors::SUPERVISOR_DATA,
    USER_CODE = const descriptors::USER_CODE,
    USER_DATA = const descriptors::USER_DATA,
    TASK_STATE = const descriptors::TASK_STATE,
    FLAT_CODE_32 = const descriptors::FLAT_CODE_32,
    WINDOW_DATA_32 = const descriptors::WINDOW_DATA_32,
    WINDOW_CODE_32 = const descriptors::WINDOW_CODE_32,
    USER_CODE_32 = const descriptors::USER_CODE_32,
    FLAT_TASK_STATE_32 = const descriptors::FLAT_TASK_STATE_32,
    WINDOW_TASK_STATE_32 = const descriptors::WINDOW_TASK_STATE_32,
    PROCESS_TASK_STATE_32 = const descriptors::PROCESS_TASK_STATE_32,
    LOCAL_TABLE = const descriptors::LOCAL_TABLE,
    // The process page.
    HEADER = const process_page::HEADER + SUPERVISOR_WINDOW,
    CR2 = const process_page::CR2 + SUPERVISOR_WINDOW,
    STAYS = const process_page::STAYS + SUPERVISOR_WINDOW,
    FRAME = const process_page::FRAME + SUPERVISOR_WINDOW,
    FRAME_32 = const process_page::FRAME_32 + SUPERVISOR_WINDOW,
    // What is pushed on the way into 5-level paging must not overwrite the frame, so it goes below
    // it.
    SWITCH_STACK = const process_page::FRAME + SUPERVISOR_WINDOW,
    // Programs.
    PROGRAMS = const PROGRAMS_IN_PROCESS,
    CALL_EXIT = const Call::Exit as u64,
    CALL_YIELD = const Call::Yield as u64,
    CALL_MISMATCH = const Call::Mismatch as u64,
    STEP_READ = const StepKind::Read as u64,
    STEP_WRITE = const StepKind::Write as u64,
    STEP_FETCH = const StepKind::Fetch as u64,
    STEP_YIELD = const StepKind::Yield as u64,
);
