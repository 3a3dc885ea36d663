//! An MMU with caches whose mode the control registers choose.

use super::invalidation::{Invalidation, RegisterWrite};
use super::mmu::CachedMmu;
use super::structures::StructureCaches;
use super::tlb::Tlb;
use crate::access::Access;
use crate::address::VirtAddr;
use crate::memory::{AtomicTableMemory, TableMemory};
use crate::outcome::{AccessError, AccessTranslation};
use crate::walk::in_any_mode;
use crate::x86::control::LoadError;
use crate::x86::fault::Fault;
use crate::x86::format::{Bits32, FiveLevel, FourLevel, Pae, Unpaged};
use crate::x86::profile::Profile;
use crate::x86::regime::Regime;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{Reference, Semantics};
use crate::x86::state::{ControlState, Cr0, Cr4, Efer, PagingMode};

/// The MMU of one processor of an emulator: all of its paging modes, its control registers and its
/// caches. It is a [`CachedMmu`] of the format of the mode; a write to a control register that changes
/// the mode drops everything that is cached, and goes on in the new mode.
///
/// An emulator calls [`Self::translate`] for every access, and a method for each instruction that
/// writes a register or invalidates. Where the instruction raises an exception, the method returns it,
/// and nothing has changed.
///
/// ```
/// use core::sync::atomic::AtomicU64;
/// use mmu_core::memory::AtomicWords;
/// use mmu_core::{Access, AnyCachedMmu, ControlState, PhysAddr, Profile, Ring, VirtAddr};
///
/// let memory = AtomicWords::new(PhysAddr::new(0), [const { AtomicU64::new(0) }; 0x600]);
/// memory.write(PhysAddr::new(0x1000), &0x2003_u32.to_le_bytes())?; // PDE 0
/// memory.write(PhysAddr::new(0x2004), &0x5003_u32.to_le_bytes())?; // PTE 1
///
/// let mut mmu = AnyCachedMmu::new(ControlState::unpaged(), Profile::default());
/// let read = Access::read(VirtAddr::new(0x1234), 4, Ring::Zero);
/// assert_eq!(mmu.translate(&memory, &read)?.address(), PhysAddr::new(0x1234));
///
/// mmu.write_cr3(&memory, 0x1000)?;
/// mmu.write_cr0(&memory, 0x8001_0011)?; // PG, WP, ET and PE
/// assert_eq!(mmu.translate(&memory, &read)?.address(), PhysAddr::new(0x5234));
///
/// // CR4.PCIDE outside long mode.
/// let fault = mmu.write_cr4(&memory, 1 << 17).unwrap_err();
/// assert_eq!(fault.to_string(), "#GP(0)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub enum AnyCachedMmu<
    R: Semantics = Reference,
    const SETS: usize = 64,
    const WAYS: usize = 4,
    const STRUCTURES: usize = 16,
> {
    /// CR0.PG is 0.
    Unpaged(CachedMmu<Unpaged, R, SETS, WAYS, STRUCTURES>),
    /// 32-bit paging.
    Bits32(CachedMmu<Bits32, R, SETS, WAYS, STRUCTURES>),
    /// PAE paging.
    Pae(CachedMmu<Pae, R, SETS, WAYS, STRUCTURES>),
    /// 4-level paging.
    FourLevel(CachedMmu<FourLevel, R, SETS, WAYS, STRUCTURES>),
    /// 5-level paging.
    FiveLevel(CachedMmu<FiveLevel, R, SETS, WAYS, STRUCTURES>),
}

impl AnyCachedMmu {
    /// The reference for a control state and a processor, with empty caches of the default sizes.
    pub fn new(state: ControlState, profile: Profile) -> Self {
        Self::with_semantics(Reference, state, profile)
    }
}

impl<R: Semantics, const SETS: usize, const WAYS: usize, const STRUCTURES: usize>
    AnyCachedMmu<R, SETS, WAYS, STRUCTURES>
{
    /// An MMU that decides as `semantics` does, with empty caches of any size.
    pub fn with_semantics(semantics: R, state: ControlState, profile: Profile) -> Self {
        match state.mode() {
            PagingMode::Unpaged | PagingMode::Linear => {
                Self::Unpaged(CachedMmu::with_semantics(semantics, state, profile))
            }
            PagingMode::Bits32 => {
                Self::Bits32(CachedMmu::with_semantics(semantics, state, profile))
            }
            PagingMode::Pae => Self::Pae(CachedMmu::with_semantics(semantics, state, profile)),
            PagingMode::FourLevel => {
                Self::FourLevel(CachedMmu::with_semantics(semantics, state, profile))
            }
            PagingMode::FiveLevel => {
                Self::FiveLevel(CachedMmu::with_semantics(semantics, state, profile))
            }
        }
    }

    /// The control state, processor and choices.
    pub fn regime(&self) -> &Regime {
        in_any_mode!(self, mmu => mmu.mmu().regime())
    }

    /// The cached translations.
    pub fn tlb(&self) -> &Tlb<SETS, WAYS> {
        in_any_mode!(self, mmu => mmu.tlb())
    }

    /// The cached entries above the leaf.
    pub fn structures(&self) -> &StructureCaches<STRUCTURES> {
        in_any_mode!(self, mmu => mmu.structures())
    }

    /// The rules of caching that have decided something so far.
    pub fn rules(&self) -> RuleSet {
        in_any_mode!(self, mmu => mmu.rules())
    }

    /// Translates an access through the caches: [`CachedMmu::translate`].
    ///
    /// # Errors
    /// The fault, the error of the memory, or why there is neither; see [`AccessError`].
    #[inline]
    pub fn translate<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        access: &Access,
    ) -> Result<AccessTranslation, AccessError<M::Error>> {
        in_any_mode!(self, mmu => mmu.translate(memory, access))
    }

    /// The same without any effect: [`CachedMmu::probe`].
    ///
    /// # Errors
    /// As [`Self::translate`].
    pub fn probe<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<AccessTranslation, AccessError<M::Error>> {
        in_any_mode!(self, mmu => mmu.probe(memory, access))
    }

    /// MOV to CR0.
    ///
    /// # Errors
    /// #GP(0), or that the PDPTEs cannot be read; see [`ControlState::load_cr0`].
    pub fn write_cr0<M: TableMemory + ?Sized>(
        &mut self,
        memory: &M,
        value: u64,
    ) -> Result<(), LoadError<M::Error>> {
        let Regime { state, profile, .. } = *self.regime();
        let new = state.load_cr0(Cr0::from_bits_retain(value), profile, memory)?;
        self.set_state(RegisterWrite::Other, new);
        Ok(())
    }

    /// MOV to CR3. With CR4.PCIDE, bit 63 of the value keeps what is cached.
    ///
    /// # Errors
    /// #GP(0), or that the PDPTEs cannot be read; see [`ControlState::load_cr3`].
    pub fn write_cr3<M: TableMemory + ?Sized>(
        &mut self,
        memory: &M,
        value: u64,
    ) -> Result<(), LoadError<M::Error>> {
        let Regime { state, profile, .. } = *self.regime();
        let new = state.load_cr3(value, profile, memory)?;
        self.set_state(RegisterWrite::Cr3(value), new);
        Ok(())
    }

    /// MOV to CR4.
    ///
    /// # Errors
    /// #GP(0), or that the PDPTEs cannot be read; see [`ControlState::load_cr4`].
    pub fn write_cr4<M: TableMemory + ?Sized>(
        &mut self,
        memory: &M,
        value: u64,
    ) -> Result<(), LoadError<M::Error>> {
        let Regime { state, profile, .. } = *self.regime();
        let new = state.load_cr4(Cr4::from_bits_retain(value), profile, memory)?;
        self.set_state(RegisterWrite::Other, new);
        Ok(())
    }

    /// WRMSR of EFER.
    ///
    /// # Errors
    /// #GP(0); see [`ControlState::load_efer`].
    pub fn write_efer(&mut self, value: u64) -> Result<(), Fault> {
        let Regime { state, profile, .. } = *self.regime();
        let new = state.load_efer(Efer::from_bits_retain(value), profile)?;
        self.set_state(RegisterWrite::Other, new);
        Ok(())
    }

    /// WRPKRU, with CR4.PKE set.
    pub fn write_pkru(&mut self, pkru: u32) {
        let state = self.regime().state;
        self.set_state(RegisterWrite::Other, ControlState { pkru, ..state });
    }

    /// WRMSR of `IA32_PKRS`, of which the upper half is 0.
    pub fn write_pkrs(&mut self, pkrs: u32) {
        let state = self.regime().state;
        self.set_state(RegisterWrite::Other, ControlState { pkrs, ..state });
    }

    /// INVLPG: [`CachedMmu::invlpg`].
    pub fn invlpg(&mut self, address: VirtAddr) {
        in_any_mode!(self, mmu => mmu.invlpg(address));
    }

    /// INVPCID of a type, with its descriptor as the low and the high 64 bits.
    ///
    /// # Errors
    /// #GP(0), and nothing is dropped; see [`Invalidation::invpcid`].
    pub fn invpcid(&mut self, kind: u64, descriptor: [u64; 2]) -> Result<(), Fault> {
        in_any_mode!(self, mmu => mmu.invpcid(kind, descriptor))
    }

    /// Drops a part of the caches.
    pub fn invalidate(&mut self, invalidation: Invalidation) {
        in_any_mode!(self, mmu => mmu.invalidate(invalidation));
    }

    /// Enters any control state: after a reset, or from a snapshot. It drops what the write that led
    /// to it drops ([`invalidated_by`](super::invalidated_by)), and everything if the mode changes.
    pub fn set_state(&mut self, write: RegisterWrite, new: ControlState) {
        let Regime { state, profile, .. } = *self.regime();
        if state.mode() == new.mode() {
            return in_any_mode!(self, mmu => mmu.set_state(write, new));
        }

        let mut decided = self.rules();
        decided.insert(Rule::Tlb4);
        let semantics = in_any_mode!(self, mmu => *mmu.mmu().semantics());

        *self = Self::with_semantics(semantics, new, profile);
        in_any_mode!(self, mmu => mmu.decided = decided);
    }
}
