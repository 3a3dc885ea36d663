//! The MMU of a toy emulator. Every memory access of the emulated processor, whether it fetches an
//! instruction, loads or stores, goes through a caching MMU; a small kernel handles page faults.
//!
//! The processor executes made-up instructions of 8 bytes. Its page tables are real x86 tables with
//! 4-level paging, and so are its page faults.
//!
//! ```sh
//! cargo run -p mmu-core --example emulator_mmu
//! ```

use mmu_core::cache::CachedMmu;
use mmu_core::memory::AtomicWords;
use mmu_core::table::mapping::{FrameAllocator, MapError, Mapper};
use mmu_core::x86::format::{EntryBits, FourLevel};
use mmu_core::{
    Access, AccessError, AccessKind, AccessTranslation, ControlState, Fault, PageFaultCode,
    PageSize, PhysAddr, Profile, Ring, VirtAddr,
};
use std::fmt;
use std::sync::atomic::AtomicU64;

/// The program starts 20 bytes before the end of a page, so the processor fetches its third
/// instruction from two pages.
const PROGRAM: u64 = 0x40_0fec;
/// The page of the program's start.
const CODE: u64 = 0x40_0000;
/// The heap. Its pages are mapped when they are first used.
const HEAP: u64 = 0x60_0000;
const HEAP_BYTES: u64 = 0x4000;

/// The root table, and the first of the frames that the kernel gives out.
const ROOT: u64 = 0x1000;
const FIRST_FREE_FRAME: u64 = 0x2000;
const RAM_BYTES: usize = 0x4_0000;

/// The memory of the emulated machine.
type Memory = AtomicWords<Vec<AtomicU64>>;

/// One of the four registers.
type RegisterNumber = u8;

/// A made-up instruction. Addresses and numbers have 32 bits.
#[derive(Clone, Copy)]
enum Instruction {
    /// Puts a number into a register.
    Set(RegisterNumber, u32),
    /// Adds a number to a register.
    Add(RegisterNumber, u32),
    /// Loads 8 bytes from an address plus register 0.
    Load(RegisterNumber, u32),
    /// Stores 8 bytes at an address plus register 0.
    Store(RegisterNumber, u32),
    /// Jumps to an address if a register is less than register 3.
    JumpIfLess(RegisterNumber, u32),
    /// Ends the program.
    Halt,
}

impl Instruction {
    /// The 8 bytes of the instruction: opcode, register, two unused bytes, operand.
    fn encode(self) -> [u8; 8] {
        let (opcode, register, operand) = match self {
            Self::Set(register, number) => (1, register, number),
            Self::Add(register, number) => (2, register, number),
            Self::Load(register, address) => (3, register, address),
            Self::Store(register, address) => (4, register, address),
            Self::JumpIfLess(register, address) => (5, register, address),
            Self::Halt => (6, 0, 0),
        };

        let [a, b, c, d] = operand.to_le_bytes();
        [opcode, register, 0, 0, a, b, c, d]
    }

    /// `None` if the opcode or the register does not exist.
    fn decode(bytes: [u8; 8]) -> Option<Self> {
        let [opcode, register @ 0..=3, _, _, a, b, c, d] = bytes else { return None };
        let operand = u32::from_le_bytes([a, b, c, d]);

        match opcode {
            1 => Some(Self::Set(register, operand)),
            2 => Some(Self::Add(register, operand)),
            3 => Some(Self::Load(register, operand)),
            4 => Some(Self::Store(register, operand)),
            5 => Some(Self::JumpIfLess(register, operand)),
            6 => Some(Self::Halt),
            _ => None,
        }
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(register, number) => write!(f, "set r{register}, {number:#x}"),
            Self::Add(register, number) => write!(f, "add r{register}, {number:#x}"),
            Self::Load(register, address) => write!(f, "load r{register}, [{address:#x} + r0]"),
            Self::Store(register, address) => write!(f, "store [{address:#x} + r0], r{register}"),
            Self::JumpIfLess(register, address) => {
                write!(f, "jump to {address:#x} if r{register} < r3")
            }
            Self::Halt => f.write_str("halt"),
        }
    }
}

/// Stores to the heap at a stride that is not a multiple of 8, so that some stores cross a page.
/// Then reads a page that was never written, and last of all tries to write to its own code.
fn program() -> Vec<Instruction> {
    let heap = HEAP as u32;
    let loop_start = PROGRAM as u32 + 3 * 8;
    vec![
        Instruction::Set(0, 0),
        Instruction::Set(1, 0x1234),
        // This instruction crosses a page.
        Instruction::Set(3, 0x2000),
        Instruction::Store(1, heap + 0xffc),
        Instruction::Add(0, 0x1004),
        Instruction::JumpIfLess(0, loop_start),
        Instruction::Set(0, 0),
        Instruction::Load(2, heap + 0x3100),
        Instruction::Store(2, CODE as u32),
        Instruction::Halt,
    ]
}

/// Why the processor stopped.
enum Halt {
    Halted,
    BadInstruction([u8; 8]),
    /// The kernel did not resolve this fault.
    Killed(Fault),
}

/// What one instruction led to.
enum Executed {
    Next,
    Stop(Halt),
}

/// The frames that the kernel gives out, lowest first.
struct FreeFrames {
    next: u64,
}

impl FrameAllocator for &mut FreeFrames {
    fn allocate(&mut self) -> Option<PhysAddr> {
        let frame = self.next;
        let end = frame + PageSize::Size4KiB.bytes();
        (end <= RAM_BYTES as u64).then(|| {
            self.next = end;
            PhysAddr::new(frame)
        })
    }
}

struct Emulator {
    state: ControlState,
    mmu: CachedMmu<FourLevel>,
    ram: Memory,
    frames: FreeFrames,
    registers: [u64; 4],
    instruction_pointer: u64,
}

impl Emulator {
    /// A processor with paging on, and the program in two read-only pages.
    fn new(program: &[Instruction]) -> Result<Self, MapError> {
        let state = ControlState::four_level(ROOT);
        let words = (0..RAM_BYTES / 8).map(|_| AtomicU64::new(0));
        let mut emulator = Self {
            state,
            mmu: CachedMmu::new(state, Profile::default()),
            ram: Memory::new(PhysAddr::new(0), words.collect()),
            frames: FreeFrames { next: FIRST_FREE_FRAME },
            registers: [0; 4],
            instruction_pointer: PROGRAM,
        };

        emulator.map_new_frame(CODE, EntryBits::US)?;
        emulator.map_new_frame(CODE + 0x1000, EntryBits::US)?;
        let bytes = program.iter().flat_map(|instruction| instruction.encode());
        for (address, byte) in (PROGRAM..).zip(bytes) {
            emulator.load_byte(VirtAddr::new(address), byte)?;
        }
        Ok(emulator)
    }

    /// Stores a byte of the program, as a loader does: without the program's rights.
    fn load_byte(&mut self, address: VirtAddr, byte: u8) -> Result<(), MapError> {
        let mapping = self.mapper().translate(address)?;
        let at = mapping.frame + address.offset(mapping.size.shift());
        Ok(self.ram.write(at, &[byte])?)
    }

    /// Executes instructions until one stops the processor. An instruction that faults has no
    /// effect, so once the kernel has resolved the fault it is executed again.
    fn run(&mut self) -> Halt {
        loop {
            match self.step() {
                Ok(Executed::Next) => {}
                Ok(Executed::Stop(stop)) => return stop,
                Err(fault) => {
                    if !self.handle(&fault) {
                        return Halt::Killed(fault);
                    }
                }
            }
        }
    }

    /// Fetches, decodes and executes one instruction.
    fn step(&mut self) -> Result<Executed, Fault> {
        let address = self.instruction_pointer;
        let bytes = self.read(AccessKind::Fetch, address)?.to_le_bytes();
        let Some(instruction) = Instruction::decode(bytes) else {
            return Ok(Executed::Stop(Halt::BadInstruction(bytes)));
        };
        println!("{address:#x}: {instruction}");

        let mut next = address + 8;
        match instruction {
            Instruction::Set(register, number) => {
                self.registers[usize::from(register)] = number.into();
            }
            Instruction::Add(register, number) => {
                self.registers[usize::from(register)] += u64::from(number);
            }
            Instruction::Load(register, base) => {
                let address = u64::from(base) + self.registers[0];
                self.registers[usize::from(register)] = self.read(AccessKind::Read, address)?;
            }
            Instruction::Store(register, base) => {
                let address = u64::from(base) + self.registers[0];
                self.write(address, self.registers[usize::from(register)])?;
            }
            Instruction::JumpIfLess(register, target) => {
                if self.registers[usize::from(register)] < self.registers[3] {
                    next = target.into();
                }
            }
            Instruction::Halt => return Ok(Executed::Stop(Halt::Halted)),
        }

        self.instruction_pointer = next;
        Ok(Executed::Next)
    }

    /// Translates an access of 8 bytes by the program. This is the only place where the emulator uses
    /// the MMU. It sets A and D in the page tables.
    fn translate(&mut self, kind: AccessKind, address: u64) -> Result<AccessTranslation, Fault> {
        let access = Access::new(kind, VirtAddr::new(address), 8, Ring::Three);

        let translated = match self.mmu.translate(&self.ram, &access) {
            Ok(translated) => translated,
            Err(AccessError::Fault(fault)) => return Err(fault),
            Err(error) => panic!("all tables are in memory: {error}"),
        };
        // One page, or two if the access crosses a boundary: their frames need not be adjacent.
        if let [first, second] = translated.translations() {
            println!("    {address:#x} crosses a page: {} and {}", first.address, second.address);
        }
        Ok(translated)
    }

    fn read(&mut self, kind: AccessKind, address: u64) -> Result<u64, Fault> {
        let translated = self.translate(kind, address)?;

        let mut value = [0; 8];
        for (at, bytes) in translated.split_mut(&mut value) {
            self.ram.read(at, bytes).expect("frames are in memory");
        }
        Ok(u64::from_le_bytes(value))
    }

    fn write(&mut self, address: u64, value: u64) -> Result<(), Fault> {
        let translated = self.translate(AccessKind::Write, address)?;

        for (at, bytes) in translated.split(&value.to_le_bytes()) {
            self.ram.write(at, bytes).expect("frames are in memory");
        }
        Ok(())
    }

    /// The kernel's page-fault handler: the first use of a heap page maps a frame of zeros. Returns
    /// whether the program can go on.
    fn handle(&mut self, fault: &Fault) -> bool {
        println!("    {fault}");

        let Some(address) = fault.cr2.map(VirtAddr::get) else { return false };
        let code = PageFaultCode::from_bits_retain(fault.error_code);
        let is_heap = (HEAP..HEAP + HEAP_BYTES).contains(&address);
        if !is_heap || code.contains(PageFaultCode::P) {
            return false;
        }

        let page = address & !0xfff;
        match self.map_new_frame(page, EntryBits::US | EntryBits::RW | EntryBits::XD) {
            // The page was not present before, so no cache has it: nothing to invalidate (TLB-1).
            Ok(frame) => println!("    the kernel maps {page:#x} to the frame at {frame}"),
            Err(error) => {
                println!("    the kernel cannot map {page:#x}: {error}");
                return false;
            }
        }
        true
    }

    /// Maps a page to a new frame. Frames are zero when they are first used.
    fn map_new_frame(&mut self, page: u64, flags: EntryBits) -> Result<PhysAddr, MapError> {
        let frame = (&mut self.frames).allocate().ok_or(MapError::OutOfFrames)?;
        self.mapper().map(VirtAddr::new(page), frame, PageSize::Size4KiB, flags)?;
        Ok(frame)
    }

    fn mapper(&mut self) -> Mapper<'_, FourLevel, Memory, &mut FreeFrames> {
        Mapper::new(self.state, Profile::default(), &mut self.ram, &mut self.frames)
    }
}

fn main() -> Result<(), MapError> {
    let mut emulator = Emulator::new(&program())?;

    match emulator.run() {
        Halt::Halted => println!("\nThe program ended."),
        Halt::BadInstruction(bytes) => println!("\nThere is no instruction {bytes:x?}."),
        Halt::Killed(fault) => println!("\nThe kernel ended the program: {fault}"),
    }

    println!("\nThe pages, with the A and D bits that the MMU set:");
    for page in emulator.mapper().pages() {
        let page = page?;
        let names: Vec<_> = page.flags.iter_names().map(|(name, _)| name).collect();
        println!("  {} -> {}: {}", page.page, page.frame, names.join(" "));
    }
    Ok(())
}
