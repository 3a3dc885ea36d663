//! The process page: the one page of supervisor data that every process maps. The processor pushes
//! the frame of a fault there, so that the registers of a process need no copying, and the header
//! describes the mode of the process.

use core::mem::offset_of;
use crosswalk_guest::layout::PROCESS_PAGES;
use crosswalk_guest::mailbox::Header;

/// The registers of a process in 64-bit code, in the order in which processes.s pushes and pops
/// them. The last five words are the frame that the processor pushes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
pub(crate) struct ExceptionFrame {
    pub(crate) r15_to_r9: [u64; 7],
    pub(crate) r8: u64,
    pub(crate) rbp: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rbx: u64,
    pub(crate) rax: u64,
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// The registers of a process in 32-bit code, in the order of PUSHA.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct ExceptionFrame32 {
    pub(crate) edi: u32,
    pub(crate) esi: u32,
    pub(crate) ebp: u32,
    pub(crate) esp_of_pusha: u32,
    pub(crate) ebx: u32,
    pub(crate) edx: u32,
    pub(crate) ecx: u32,
    pub(crate) eax: u32,
    pub(crate) vector: u32,
    pub(crate) error_code: u32,
    pub(crate) eip: u32,
    pub(crate) cs: u32,
    pub(crate) eflags: u32,
    pub(crate) esp: u32,
    pub(crate) ss: u32,
}

/// The contents of the process page.
#[repr(C, align(4096))]
pub(crate) struct ProcessPage {
    /// The control state of the process.
    pub(crate) header: Header,
    /// CR2 at the last fault.
    pub(crate) cr2: u64,
    /// 1 if the kernel stays in the space of the process.
    pub(crate) stays: u64,
    /// A stack below the frame, for what is pushed on the way in and out.
    stack: [u64; 32],
    /// The registers of a process in 64-bit code.
    pub(crate) frame: ExceptionFrame,
    stack_32: [u64; 16],
    /// The registers of a process in 32-bit code.
    pub(crate) frame_32: ExceptionFrame32,
}

/// The physical address of the page, at which link.ld places it.
const PAGE: u64 = PROCESS_PAGES.end - 0x1000;

macro_rules! place {
    ($name:ident, $field:ident $(. $inner:ident)?) => {
        pub(crate) const $name: u64 = PAGE + offset_of!(ProcessPage, $field $(. $inner)?) as u64;
    };
}

place!(HEADER, header);
place!(CR2, cr2);
place!(STAYS, stays);
place!(FRAME, frame);
place!(FRAME_32, frame_32);
/// The address from which the processor pushes downwards when a process faults in 64-bit code.
pub(crate) const FRAME_END: u64 = FRAME + size_of::<ExceptionFrame>() as u64;
/// The same in 32-bit code.
pub(crate) const FRAME_END_32: u64 = FRAME_32 + size_of::<ExceptionFrame32>() as u64;

const _: () = assert!(FRAME_END.is_multiple_of(16) && size_of::<ProcessPage>() == 0x1000);

// SAFETY: link.ld reserves the section for this page. Compiled code accesses it through
// `ProcessPage::pointer` only.
#[unsafe(link_section = ".process_data")]
#[used]
static mut PROCESS_PAGE: ProcessPage = ProcessPage::EMPTY;

impl ProcessPage {
    // SAFETY: every field consists of integers, for which zero is a valid value.
    const EMPTY: Self = unsafe { core::mem::zeroed() };

    /// A pointer to the page at its user address, since the kernel runs in ring 3.
    pub(crate) const fn pointer() -> *mut Self {
        &raw mut PROCESS_PAGE
    }
}
