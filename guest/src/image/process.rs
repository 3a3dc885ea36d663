//! Running a process until it faults: its registers, in the code of its mode.

use crate::process_page::{ExceptionFrame, ExceptionFrame32, ProcessPage};
use crosswalk_guest::layout::PROGRAMS_PAGE;
use crosswalk_guest::mailbox::{Header, Switch};
use crosswalk_guest::system::Residence;
use crosswalk_guest::system::layout::PROGRAMS_IN_PROCESS;
use crosswalk_guest::system::program::GuestProgram;
use mmu_core::{Cr4, Efer, PagingMode, PhysAddr, VirtAddr};

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
    static PROGRAMS_64: [u64; GuestProgram::ALL.len()];
    static PROGRAMS_32: [u64; GuestProgram::ALL.len()];
}

/// The instruction with which a process calls the kernel.
const HLT: u8 = 0xf4;
const GENERAL_PROTECTION: u64 = 13;
/// The bit that is always 1.
const PLAIN_RFLAGS: u32 = 0x2;

/// The registers of a process that does not run.
#[derive(Clone, Copy)]
pub(crate) enum ProcessRegisters {
    Bits64(ExceptionFrame),
    Bits32(ExceptionFrame32),
}

/// Why a process came back.
pub(crate) struct Trap {
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    pub(crate) cr2: u64,
    pub(crate) at: u64,
}

/// How processes are run: in which mode, and where the kernel is meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct ProcessorMode {
    pub(crate) mode: PagingMode,
    pub(crate) residence: Residence,
    pub(crate) execute_disable: bool,
}

impl ProcessorMode {
    /// The control registers of the kernel: a batch may have left others.
    pub(crate) fn take_over(&self) {
        let mut efer = Efer::LME | Efer::LMA;
        efer.set(Efer::NXE, self.execute_disable);
        // SAFETY: the kernel's own 4-level paging goes on, and no entry of its tables has XD.
        unsafe { own_control(efer.bits()) };
    }

    /// The registers with which a program starts.
    pub(crate) fn start(&self, program: u64, arguments: [u64; 3]) -> ProcessRegisters {
        let [first, second, third] = arguments;
        let number = (program as usize).min(GuestProgram::ALL.len() - 1);
        let is_long = matches!(self.mode, PagingMode::FourLevel | PagingMode::FiveLevel);
        // SAFETY: the tables are constants (programs.s).
        let offset = unsafe { if is_long { PROGRAMS_64[number] } else { PROGRAMS_32[number] } };
        let start = PROGRAMS_IN_PROCESS + offset;
        if is_long {
            ProcessRegisters::Bits64(ExceptionFrame {
                rdi: first,
                rcx: second,
                rdx: third,
                rip: start,
                cs: crate::descriptors::USER_CODE.into(),
                ss: crate::descriptors::USER_DATA.into(),
                rflags: PLAIN_RFLAGS.into(),
                ..ExceptionFrame::default()
            })
        } else {
            ProcessRegisters::Bits32(ExceptionFrame32 {
                edi: first as u32,
                ecx: second as u32,
                edx: third as u32,
                eip: start as u32,
                cs: crate::descriptors::USER_CODE_32.into(),
                ss: crate::descriptors::USER_DATA.into(),
                eflags: PLAIN_RFLAGS,
                ..ExceptionFrame32::default()
            })
        }
    }

    /// Lets a process run on the tables of this root until it faults.
    pub(crate) fn run(&self, root: PhysAddr, registers: &mut ProcessRegisters) -> Trap {
        let page = ProcessPage::at();
        // SAFETY: the page is the kernel's while no process runs, and run_process keeps the C calling
        // convention. Ring 0 and the processor change the page during the call alone.
        unsafe {
            (&raw mut (*page).header).write_volatile(self.header(root));
            let stays = self.residence == Residence::InProcess;
            (&raw mut (*page).stays).write_volatile(stays.into());
            match registers {
                ProcessRegisters::Bits64(frame) => (&raw mut (*page).frame).write_volatile(*frame),
                ProcessRegisters::Bits32(frame) => {
                    (&raw mut (*page).frame_32).write_volatile(*frame)
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
                    let (vector, error_code) = (vector.into(), error_code.into());
                    Trap { vector, error_code, cr2: cr2 & 0xffff_ffff, at: eip.into() }
                }
            }
        }
    }

    /// Forgets the translation of a page of the space that runs.
    pub(crate) fn forget(page: VirtAddr) {
        // SAFETY: INVLPG changes no memory and no translation that the tables do not give.
        unsafe { forget_translation(page.get()) };
    }

    /// Makes the kernel run on these tables, which map it.
    pub(crate) fn move_to(root: PhysAddr) {
        // SAFETY: the caller's root maps the kernel where it is.
        unsafe { load_cr3(root.get()) };
    }

    /// The control state of a process.
    fn header(&self, root: PhysAddr) -> Header {
        const CR0: u64 = 0x8001_0011; // PG WP ET PE
        let pae = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT;
        let mut efer = Efer::LME;
        let (switch, cr4) = match self.mode {
            PagingMode::FiveLevel => (Switch::FiveLevel, pae | Cr4::LA57),
            PagingMode::FourLevel => (Switch::Stay, pae),
            PagingMode::Pae => (Switch::Legacy, pae),
            _ => (Switch::Legacy, Cr4::empty()),
        };
        if switch == Switch::Legacy {
            efer = Efer::empty();
        }
        efer.set(Efer::NXE, self.execute_disable && self.mode != PagingMode::Bits32);
        Header {
            cr0: CR0,
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
    /// What a process asks for, if this trap is a call of the kernel: EAX, and EDI, EBX, ECX.
    pub(crate) fn call(&self, trap: &Trap) -> Option<(u64, [u64; 3])> {
        let offset = trap.at.wrapping_sub(PROGRAMS_IN_PROCESS);
        if trap.vector != GENERAL_PROTECTION || trap.error_code != 0 || offset >= 0x1000 {
            return None;
        }
        // SAFETY: the page of the programs is mapped for the kernel, too, and never written.
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

    /// Goes on behind the `hlt`.
    pub(crate) fn step_over(&mut self) {
        match self {
            Self::Bits64(frame) => frame.rip += 1,
            Self::Bits32(frame) => frame.eip += 1,
        }
    }
}
