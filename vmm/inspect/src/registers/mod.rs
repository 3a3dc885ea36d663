//! The control state of a processor: from the registers in a dump, from options, or from what the kernel
//! says about itself. Whatever was not read is said.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

mod cpu_note;
mod cpu_registers;
mod origin;
mod vmcoreinfo;

pub use cpu_note::CpuNote;
pub use cpu_registers::CpuRegisters;
pub use origin::{RegisterOrigin, RegisterOrigins};
pub use vmcoreinfo::VmcoreInfo;
pub(crate) use vmcoreinfo::{BEGINNING as VMCOREINFO_BEGINNING, MAX_BYTES as VMCOREINFO_BYTES};

use crate::error::{AboutFile, MemoryImageError};
use crate::physical_memory::PhysicalMemory;
use mmu_core::memory::TableMemory;
use mmu_core::x86::format::root;
use mmu_core::{ControlState, Cr0, Cr4, Efer, PagingMode, Profile, Regime};

/// Which registers to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateOptions {
    /// The number of the CPU.
    pub cpu: usize,
    /// CR0, instead of what the image says.
    pub cr0: Option<u64>,
    /// CR3, the same.
    pub cr3: Option<u64>,
    /// CR4, the same.
    pub cr4: Option<u64>,
    /// EFER, the same.
    pub efer: Option<u64>,
}

/// A control state, and what about it was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedState {
    /// The registers. The PDPTEs of PAE paging are not among them yet.
    pub state: ControlState,
    /// Where each of them is from.
    pub origins: RegisterOrigins,
    /// What was derived or assumed, a sentence each.
    pub derived: Vec<String>,
}

impl DerivedState {
    /// The registers of a CPU note. Whether the processor was in long mode is not in it.
    pub(crate) fn of_note(note: &CpuNote, is_64_bit: Option<bool>) -> Self {
        let mut derived = Vec::new();
        let (cr0, cr4) = (Cr0::from_bits_retain(note.cr0), Cr4::from_bits_retain(note.cr4));

        let is_long = note.cs_is_64_bit() || is_64_bit == Some(true);
        let is_paged = cr0.contains(Cr0::PG) && cr4.contains(Cr4::PAE);
        let mut efer = Efer::empty();
        if is_paged {
            efer |= Efer::NXE;
            efer.set(Efer::LME | Efer::LMA, is_long);
            let why = match (note.cs_is_64_bit(), is_long) {
                (true, _) => "EFER.LMA is 1, since CS is a 64-bit segment",
                (false, true) => "EFER.LMA is 1, since the dump is of a 64-bit processor",
                (false, false) => "EFER.LMA is 0, since the dump is of a 32-bit processor",
            };
            derived.push(why.to_owned());
            derived.push("EFER.NXE is taken to be 1: the dump does not have EFER".to_owned());
        }

        let state = ControlState { cr0, cr3: note.cr3, cr4, efer, ..ControlState::four_level(0) };
        let efer = RegisterOrigin::Derived;
        let origins = RegisterOrigins { efer, ..RegisterOrigins::all(RegisterOrigin::Image) };
        Self { state, origins, derived }
    }

    /// The registers of a CPU of a live guest, all from one place: none is missing.
    pub(crate) fn of_registers(registers: &CpuRegisters, origin: RegisterOrigin) -> Self {
        let state = ControlState {
            cr0: Cr0::from_bits_retain(registers.cr0),
            cr3: registers.cr3,
            cr4: Cr4::from_bits_retain(registers.cr4),
            efer: Efer::from_bits_retain(registers.efer),
            ..ControlState::four_level(0)
        };
        let mut derived = Vec::new();
        if registers.is_in_smm {
            derived.push(
                "the CPU is in system-management mode: memory is what it sees outside of it"
                    .to_owned(),
            );
        }
        Self { state, origins: RegisterOrigins::all(origin), derived }
    }

    /// The tables of the kernel itself, where VMCOREINFO says that they are.
    pub(crate) fn of_kernel(info: &VmcoreInfo) -> Option<Self> {
        let root = info.root()?;
        let state = match (root.is_64_bit, info.has_five_levels(), info.has_pae()) {
            (true, true, _) => ControlState::five_level(root.address),
            (true, false, _) => ControlState::four_level(root.address),
            (false, _, true) => ControlState::pae(root.address, [0; 4]),
            (false, _, false) => {
                let plain = ControlState::bits32(root.address);
                ControlState { cr4: plain.cr4 | Cr4::PSE, ..plain }
            }
        };

        let derived = vec![
            format!("CR3 is {}, from VMCOREINFO: the kernel's own tables", root.derivation),
            "the other registers are taken to be as Linux sets them".to_owned(),
        ];
        let cr3 = RegisterOrigin::Vmcoreinfo;
        let origins = RegisterOrigins { cr3, ..RegisterOrigins::all(RegisterOrigin::Assumed) };
        Some(Self { state, origins, derived })
    }

    /// The tables that the header of a Windows dump names.
    pub(crate) fn of_windows(cr3: u64) -> Self {
        let derived = [
            "CR3 is the directory table base in the header of the dump",
            "the other registers are taken to be those of Windows with 4-level paging",
        ];
        let assumed = RegisterOrigins::all(RegisterOrigin::Assumed);
        Self {
            state: ControlState::four_level(cr3),
            origins: RegisterOrigins { cr3: RegisterOrigin::Image, ..assumed },
            derived: derived.map(str::to_owned).to_vec(),
        }
    }

    /// Long mode with these registers, as options give them.
    pub(crate) fn of_options(cr3: u64) -> Self {
        let assumed = "the registers without an option are taken to be those of 4-level paging";
        Self {
            state: ControlState::four_level(cr3),
            origins: RegisterOrigins::all(RegisterOrigin::Assumed),
            derived: vec![assumed.to_owned()],
        }
    }

    /// The same with what options give instead, and with the PDPTEs of PAE paging.
    pub(crate) fn complete(
        mut self,
        options: &StateOptions,
        memory: &PhysicalMemory,
        about: &AboutFile,
    ) -> Result<Self, MemoryImageError> {
        self.override_by(options);
        self.load_pdptes(memory, about)?;
        Ok(self)
    }

    /// The same with the PDPTEs that a processor has loaded, if they are known. With another value of a register it
    /// would have loaded others.
    pub(crate) fn complete_with(
        mut self,
        loaded: Option<[u64; 4]>,
        options: &StateOptions,
        memory: &PhysicalMemory,
        about: &AboutFile,
    ) -> Result<Self, MemoryImageError> {
        let StateOptions { cpu: _, cr0, cr3, cr4, efer } = options;
        match loaded {
            Some(pdptes) if [cr0, cr3, cr4, efer].iter().all(|option| option.is_none()) => {
                self.state.pdptes = pdptes;
                Ok(self)
            }
            _ => self.complete(options, memory, about),
        }
    }

    /// Reads the PDPTEs of PAE paging, which neither a dump nor a monitor has.
    fn load_pdptes(
        &mut self,
        memory: &PhysicalMemory,
        about: &AboutFile,
    ) -> Result<(), MemoryImageError> {
        if self.state.mode() != PagingMode::Pae {
            return Ok(());
        }

        let table = root(&Regime::new(self.state, Profile::default()));
        let read = memory.read_entries(table, 8, &mut self.state.pdptes);
        read.map_err(|error| {
            about.lacking(format!("the PDPTEs at {table} cannot be read: {error}"))
        })?;
        self.derived.push(
            "the PDPTEs are those in memory: a processor keeps what MOV to CR3 has loaded (PDPTE-1)"
                .to_owned(),
        );
        Ok(())
    }

    /// Replaces what options give. They have the last word, and explain themselves.
    fn override_by(&mut self, options: &StateOptions) {
        let StateOptions { cpu: _, cr0, cr3, cr4, efer } = *options;
        let state = &mut self.state;

        state.cr0 = cr0.map_or(state.cr0, Cr0::from_bits_retain);
        state.cr3 = cr3.unwrap_or(state.cr3);
        state.cr4 = cr4.map_or(state.cr4, Cr4::from_bits_retain);
        state.efer = efer.map_or(state.efer, Efer::from_bits_retain);
        self.origins.override_by(options);

        if efer.is_some() {
            self.derived.retain(|sentence| !sentence.starts_with("EFER"));
        }
        if cr3.is_some() {
            self.derived.retain(|sentence| !sentence.starts_with("CR3"));
        }
        if cr0.is_some() && cr3.is_some() && cr4.is_some() && efer.is_some() {
            self.derived.clear();
        }
    }
}
