//! Running a process until it faults, with its registers in the format of its mode.

use crate::descriptors::{USER_CODE, USER_CODE_32, USER_DATA};
use crate::process_page::{ExceptionFrame, ExceptionFrame32, ProcessPage};
use crosswalk_guest::layout::{OWN_TABLES, PROGRAMS_PAGE};
use crosswalk_guest::mailbox::{Header, Switch};
use crosswalk_guest::system::Residence;
use crosswalk_guest::system::layout::PROGRAMS_IN_PROCESS;
use crosswalk_guest::system::program::GuestProgram;
use mmu_core::{Cr0, Cr4, Efer, PagingMode, PhysAddr, Vector, VirtAddr};

unsafe extern "C" {
    /// Enters the process whose registers and mode are in the process page, and returns when it
    /// faults (processes.s).
    fn run_process();
    /// Loads the kernel's CR0 and CR4, and this EFER (processes.s).
    fn own_control(efer: u64);
    /// INVLPG (processes.s).
    fn forget_translation(address: u64);
    /// MOV to CR3 (processes.s).
    fn load_cr3(root: u64);
    /// The offset of each program in its page, as 64-bit code (programs.s).
    static PROGRAMS_64: [u64; GuestProgram::ALL.len()];
    /// The same as 32-bit code.
    static PROGRAMS_32: [u64; GuestProgram::ALL.len()];
}

/// The instruction with which a process calls the kernel.
const HLT: u8 = 0xf4;
/// RFLAGS with nothing set but the bit that is always 1.
const PLAIN_RFLAGS: u32 = 0x2;

/// The registers of a process that is not running.
#[derive(Clone, Copy)]
pub(crate) enum ProcessRegisters {
    Bits64(ExceptionFrame),
    Bits32(ExceptionFrame32),
}

/// The exception that ended a process's turn.
pub(crate) struct Trap {
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    /// CR2 after the exception, whatever its vector.
    pub(crate) cr2: u64,
    /// The instruction pointer.
    pub(crate) at: u64,
}

/// How processes run: in which mode, and where the kernel is meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct ProcessorMode {
    pub(crate) mode: PagingMode,
    pub(crate) residence: Residence,
    pub(crate) execute_disable: bool,
}

impl ProcessorMode {
    /// Loads the kernel's control registers. A batch may have left others.
    pub(crate) fn take_over(&self) {
        let mut efer = Efer::LME | Efer::LMA;
        efer.set(Efer::NXE, self.execute_disable);

        // SAFETY: the kernel stays in its own 4-level paging, and no entry of its tables has XD
        // set, so its memory is mapped as before.
        unsafe { own_control(efer.bits()) };
    }

    /// The registers with which a program starts.
    pub(crate) fn start(&self, program: u64, arguments: [u64; 3]) -> ProcessRegisters {
        let number = (program as usize).min(GuestProgram::ALL.len() - 1);
        let is_long = self.mode.is_long_mode();
        // SAFETY: both statics are constant tables of this type in the image (programs.s).
        let offset = unsafe { if is_long { PROGRAMS_64[number] } else { PROGRAMS_32[number] } };
        let start = PROGRAMS_IN_PROCESS + offset;
        let [first, second, third] = arguments;

        if is_long {
            ProcessRegisters::Bits64(ExceptionFrame {
                rdi: first,
                rcx: second,
                rdx: third,
                rip: start,
                cs: USER_CODE.into(),
                ss: USER_DATA.into(),
                rflags: PLAIN_RFLAGS.into(),
                ..ExceptionFrame::default()
            })
        } else {
            ProcessRegisters::Bits32(ExceptionFrame32 {
                edi: first as u32,
                ecx: second as u32,
                edx: third as u32,
                eip: start as u32,
                cs: USER_CODE_32.into(),
                ss: USER_DATA.into(),
                eflags: PLAIN_RFLAGS,
                ..ExceptionFrame32::default()
            })
        }
    }

    /// Runs a process on the page tables of this root until it faults, and updates its registers.
    pub(crate) fn run(&self, root: PhysAddr, registers: &mut ProcessRegisters) -> Trap {
        let page = ProcessPage::pointer();
        let stays = self.residence == Residence::InProcess;

        // SAFETY: the page is mapped, writable and aligned, and no reference to it exists. Only
        // ring 0 and the processor change it, during the call. `run_process` keeps the C calling
        // convention and returns on the kernel's own control state; the frame holds the registers
        // in the format of the mode in the header.
        unsafe {
            (&raw mut (*page).header).write_volatile(self.header(root));
            (&raw mut (*page).stays).write_volatile(stays.into());
            match registers {
                ProcessRegisters::Bits64(frame) => (&raw mut (*page).frame).write_volatile(*frame),
                ProcessRegisters::Bits32(frame) => {
                    (&raw mut (*page).frame_32).write_volatile(*frame);
                }
            }

            run_process();

            let cr2 = (&raw const (*page).cr2).read_volatile();
            match registers {
                ProcessRegisters::Bits64(frame) => {
                    *frame = (&raw const (*page).frame).read_volatile();
                    let ExceptionFrame { vector, error_code, rip, .. } = *frame;
                    Trap { vector, error_code, cr2, at: rip }
                }
                ProcessRegisters::Bits32(frame) => {
                    *frame = (&raw const (*page).frame_32).read_volatile();
                    let ExceptionFrame32 { vector, error_code, eip, .. } = *frame;
                    Trap {
                        vector: vector.into(),
                        error_code: error_code.into(),
                        cr2: cr2 & 0xffff_ffff,
                        at: eip.into(),
                    }
                }
            }
        }
    }

    /// Drops the cached translation of a page of the current address space.
    pub(crate) fn flush_page(page: VirtAddr) {
        // SAFETY: INVLPG changes no memory, and the tables give every translation that it drops.
        unsafe { forget_translation(page.get()) };
    }

    /// Moves the kernel to its own page tables, which drops all cached translations.
    pub(crate) fn load_own_tables() {
        // SAFETY: the kernel's own tables always map it at the addresses that it uses.
        unsafe { load_cr3(OWN_TABLES) };
    }

    /// The control state of a process.
    fn header(&self, root: PhysAddr) -> Header {
        let cr0 = Cr0::PG | Cr0::WP | Cr0::ET | Cr0::PE;
        let pae = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT;
        let (switch, cr4) = match self.mode {
            PagingMode::FiveLevel => (Switch::FiveLevel, pae | Cr4::LA57),
            PagingMode::FourLevel => (Switch::Stay, pae),
            PagingMode::Pae => (Switch::Legacy, pae),
            _ => (Switch::Legacy, Cr4::empty()),
        };

        let mut efer = if switch == Switch::Legacy { Efer::empty() } else { Efer::LME };
        efer.set(Efer::NXE, self.execute_disable && self.mode != PagingMode::Bits32);

        Header {
            cr0: cr0.bits(),
            cr3: root.get(),
            cr4: cr4.bits(),
            efer: efer.bits(),
            switch: switch as u64,
            enters_process: 1,
            ..Header::default()
        }
    }
}

impl ProcessRegisters {
    /// The call that the process made, if this trap is a call of the kernel: EAX, and EDI, EBX,
    /// ECX.
    pub(crate) fn call(&self, trap: &Trap) -> Option<(u64, [u64; 3])> {
        let offset = trap.at.wrapping_sub(PROGRAMS_IN_PROCESS);
        let is_privilege_fault =
            trap.vector == Vector::GeneralProtection as u64 && trap.error_code == 0;
        if !is_privilege_fault || offset >= 0x1000 {
            return None;
        }

        // SAFETY: the kernel maps the page of the programs as well, and no one writes to it; the
        // offset is within the page.
        let instruction = unsafe { ((PROGRAMS_PAGE + offset) as *const u8).read() };
        if instruction != HLT {
            return None;
        }

        Some(match self {
            Self::Bits64(frame) => (frame.rax, [frame.rdi, frame.rbx, frame.rcx]),
            Self::Bits32(frame) => {
                (frame.eax.into(), [frame.edi, frame.ebx, frame.ecx].map(u64::from))
            }
        })
    }

    /// Moves the instruction pointer past the `hlt`.
    pub(crate) fn step_over_call(&mut self) {
        match self {
            Self::Bits64(frame) => frame.rip += 1,
            Self::Bits32(frame) => frame.eip += 1,
        }
    }
}
