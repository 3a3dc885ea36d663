//! Loading the control registers: the checks of MOV to CR0, CR3 and CR4 and of WRMSR of EFER, one file
//! for each, and the PDPTE registers of PAE paging, which the MOVs load (SDM "MOV - Move to/from
//! Control Registers", "PDPTE Registers"; APM "MOV `CRn`", "Extended Feature Enable Register").
//!
//! The code that executes the instruction is at CPL 0. The state does not have CS.L: a MOV to CR0 that
//! changes PG is taken to be in compatibility or legacy mode, since in 64-bit mode it is always #GP.

mod cr0;
mod cr3;
mod cr4;
mod efer;
mod pdptes;
#[cfg(test)]
mod test_support;

use crate::memory::{OutsideMemory, TableMemory};
use crate::x86::fault::{Fault, Vector};
use crate::x86::profile::{Pin, Profile};
use crate::x86::regime::{Choices, Regime};
use crate::x86::rule::Rule;
use crate::x86::state::{ControlState, Cr0, Cr4, Efer, PagingMode};
use arrayvec::ArrayVec;
use core::fmt;

/// Bit 63 of the value moved to CR3: with CR4.PCIDE, nothing is invalidated (MODE-9).
pub const CR3_NO_FLUSH: u64 = 1 << 63;

/// The reason why a load of a control register does not complete. Nothing is loaded then. `E` is the
/// error of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError<E = OutsideMemory> {
    /// The exception it raises: #GP(0).
    Fault(Fault),
    /// The PDPTEs of PAE paging cannot be read, for instance because they are outside memory.
    Memory(E),
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Memory(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for LoadError<E> {}

impl<E> From<Fault> for LoadError<E> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Raises #GP(0) unless a condition holds.
fn require(condition: bool) -> Result<(), Fault> {
    let fault = Fault { vector: Vector::GeneralProtection, error_code: 0, cr2: None };
    if condition { Ok(()) } else { Err(fault) }
}

/// A MOV to a control register, or a WRMSR of EFER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mov {
    /// MOV to CR0. Turning paging on while EFER.LME=1 activates long mode; turning it off leaves
    /// long mode.
    Cr0(Cr0),
    /// MOV to CR3.
    Cr3(u64),
    /// MOV to CR4.
    Cr4(Cr4),
    /// WRMSR of EFER.
    Efer(Efer),
}

impl Mov {
    /// The value that it moves.
    pub const fn value(self) -> u64 {
        match self {
            Self::Cr0(value) => value.bits(),
            Self::Cr3(value) => value,
            Self::Cr4(value) => value.bits(),
            Self::Efer(value) => value.bits(),
        }
    }

    /// The same instruction with another value.
    #[must_use]
    pub const fn with_value(self, value: u64) -> Self {
        match self {
            Self::Cr0(_) => Self::Cr0(Cr0::from_bits_retain(value)),
            Self::Cr3(_) => Self::Cr3(value),
            Self::Cr4(_) => Self::Cr4(Cr4::from_bits_retain(value)),
            Self::Efer(_) => Self::Efer(Efer::from_bits_retain(value)),
        }
    }

    /// What its register holds in a state.
    ///
    /// ```
    /// use mmu_core::ControlState;
    /// use mmu_core::x86::control::Mov;
    /// let state = ControlState::four_level(0x5000);
    /// assert_eq!(Mov::Cr3(0x7000).register_in(&state), 0x5000);
    /// assert_eq!(Mov::Cr3(0x7000).register(), "CR3");
    /// ```
    pub const fn register_in(self, state: &ControlState) -> u64 {
        match self {
            Self::Cr0(_) => state.cr0.bits(),
            Self::Cr3(_) => state.cr3,
            Self::Cr4(_) => state.cr4.bits(),
            Self::Efer(_) => state.efer.bits(),
        }
    }

    /// The name of its register.
    pub const fn register(self) -> &'static str {
        match self {
            Self::Cr0(_) => "CR0",
            Self::Cr3(_) => "CR3",
            Self::Cr4(_) => "CR4",
            Self::Efer(_) => "EFER",
        }
    }
}

/// The instruction in words: `MOV to CR3 of 0x1000`, `WRMSR of EFER of 0xd00`.
impl fmt::Display for Mov {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instruction = if matches!(self, Self::Efer(_)) { "WRMSR of" } else { "MOV to" };
        write!(f, "{instruction} {} of {:#x}", self.register(), self.value())
    }
}

/// One result that is allowed for a MOV to a control register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The state afterwards, or the reason why the MOV does not complete.
    pub result: Result<ControlState, LoadError>,
    /// If a rule leaves a choice: the rule, and the member of the choice that leads here.
    pub choice: Option<(Rule, &'static str)>,
}

/// Maximum number of results of a MOV: the likeliest, and one for each of the choices that PDPTE-2
/// and PDPTE-4 leave. A WRMSR of EFER has one choice (MODE-1).
pub const MAX_LOADS: usize = 3;

/// A choice that the manuals leave to processors when PDPTEs are loaded.
struct OpenChoice {
    rule: Rule,
    /// The likeliest member, and the other one.
    members: [&'static str; 2],
    /// The regime's choices with the other member.
    other: Choices,
}

/// The choices that are open on a processor.
fn open_choices(profile: Profile, choices: Choices) -> impl Iterator<Item = OpenChoice> {
    let absent_are_checked = OpenChoice {
        rule: Rule::Pdpte2,
        members: ["a PDPTE with P=0 is not checked", "a PDPTE with P=0 is checked too"],
        other: Choices { absent_pdptes_are_checked: true, ..choices },
    };
    let are_walked = OpenChoice {
        rule: Rule::Pdpte4,
        members: ["PDPTEs are checked when they are loaded", "PDPTEs are read during the walk"],
        other: Choices { pdptes_are_walked: true, ..choices },
    };

    let pins = [profile.absent_pdptes_are_checked(), profile.pdptes_are_walked()];
    let open = pins.into_iter().zip([absent_are_checked, are_walked]);
    open.filter(|(pin, _)| *pin == Pin::Open).map(|(_, choice)| choice)
}

impl ControlState {
    /// Every result that is allowed for a MOV, the likeliest first. There are several only where
    /// PAE paging loads a PDPTE with reserved bits, and for a write of EFER.LMA on a processor of an
    /// unknown vendor. The memory's error must be [`OutsideMemory`], as for
    /// [`Mmu::predict`](crate::Mmu::predict).
    ///
    /// ```
    /// use mmu_core::x86::control::Mov;
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::{ControlState, Efer, Profile};
    /// let pae = ControlState { efer: Efer::empty(), ..ControlState::four_level(0) };
    /// let absent_but_reserved = [(0x2000, 0x100)];
    /// let memory = SparseTables::new(&absent_but_reserved);
    /// let loads = pae.loads(Mov::Cr3(0x2000), Profile::default(), &memory);
    /// // It is loaded, or raises #GP on a processor that checks PDPTEs with P=0 too.
    /// assert!(loads[0].result.is_ok() && loads[1].result.is_err());
    /// assert_eq!(loads[1].choice.unwrap().0.id(), "PDPTE-2");
    /// ```
    pub fn loads<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        mov: Mov,
        profile: Profile,
        memory: &M,
    ) -> ArrayVec<Load, MAX_LOADS> {
        if let Mov::Efer(value) = mov {
            return self.efer_loads(value, profile);
        }

        let choices = Regime::new(*self, profile).choices;
        let mut loads = ArrayVec::new();
        loads.push(Load { result: self.after(mov, profile, memory, choices), choice: None });

        for OpenChoice { rule, members: [likeliest, other_member], other } in
            open_choices(profile, choices)
        {
            let result = self.after(mov, profile, memory, other);
            if loads.iter().all(|known| known.result != result) {
                loads[0].choice.get_or_insert((rule, likeliest));
                loads.push(Load { result, choice: Some((rule, other_member)) });
            }
        }
        loads
    }

    /// The likeliest result of MOV to CR3.
    ///
    /// # Errors
    /// #GP in long mode for a bit above MAXPHYADDR, except the LAM bits where there is LAM and bit
    /// 63 while PCIDE=1 (MODE-8); #GP for a bad PDPTE (PDPTE-2). Outside long mode the operand has
    /// 32 bits, and what is above them is not loaded.
    pub fn load_cr3<M: TableMemory + ?Sized>(
        &self,
        value: u64,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError<M::Error>> {
        self.likeliest(Mov::Cr3(value), profile, memory)
    }

    /// The likeliest result of MOV to CR4.
    ///
    /// # Errors
    /// #GP for a reserved bit and for one whose feature the processor lacks ([`Cr4::available`]);
    /// for changing LA57 or PAE in long mode (MODE-2); for setting PCIDE outside long mode or while
    /// CR3\[11:0\] is not 0 (MODE-8); for setting CET while CR0.WP=0; and for a bad PDPTE (PDPTE-2).
    pub fn load_cr4<M: TableMemory + ?Sized>(
        &self,
        value: Cr4,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError<M::Error>> {
        self.likeliest(Mov::Cr4(value), profile, memory)
    }

    /// The likeliest result of MOV to CR0.
    ///
    /// # Errors
    /// #GP for one of bits 63:32, for PG without PE, for NW without CD, for clearing WP while
    /// CR4.CET=1, for setting PG with LME and without PAE, for clearing PG while PCIDE=1, and for a
    /// bad PDPTE (PDPTE-2). Other reserved bits stay clear, and ET stays set.
    pub fn load_cr0<M: TableMemory + ?Sized>(
        &self,
        value: Cr0,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError<M::Error>> {
        self.likeliest(Mov::Cr0(value), profile, memory)
    }

    /// The likeliest result of WRMSR of EFER.
    ///
    /// ```
    /// use mmu_core::{ControlState, Efer, Profile};
    /// let state = ControlState::four_level(0x1000);
    /// let zen_3 = Profile::generation("zen-3").unwrap();
    /// let tce = state.load_efer(state.efer | Efer::TCE, zen_3)?;
    /// assert!(tce.efer.contains(Efer::TCE));
    /// assert!(state.load_efer(state.efer | Efer::UAIE, zen_3).is_err());
    /// # Ok::<(), mmu_core::Fault>(())
    /// ```
    ///
    /// # Errors
    /// #GP for a reserved bit and for one whose feature the processor lacks ([`Efer::available`]); for
    /// changing LME while CR0.PG=1; and on AMD for a value of LMA that differs from the current one,
    /// which others ignore (MODE-1).
    pub fn load_efer(&self, value: Efer, profile: Profile) -> Result<Self, Fault> {
        self.with_efer(value, profile, profile.checks_written_lma() == Pin::Yes)
    }

    /// The state after a MOV, with the likeliest member of each choice.
    fn likeliest<M: TableMemory + ?Sized>(
        &self,
        mov: Mov,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError<M::Error>> {
        self.after(mov, profile, memory, Regime::new(*self, profile).choices)
    }

    /// The state after a MOV, with these choices.
    fn after<M: TableMemory + ?Sized>(
        &self,
        mov: Mov,
        profile: Profile,
        memory: &M,
        choices: Choices,
    ) -> Result<Self, LoadError<M::Error>> {
        let (new, loads_pdptes) = match mov {
            Mov::Cr0(value) => self.with_cr0(value)?,
            Mov::Cr3(value) => (self.with_cr3(value, profile)?, true),
            Mov::Cr4(value) => self.with_cr4(value, profile)?,
            Mov::Efer(value) => (self.load_efer(value, profile)?, false),
        };

        if loads_pdptes && new.mode() == PagingMode::Pae {
            return new.with_pdptes(profile, memory, choices);
        }
        Ok(new)
    }
}
