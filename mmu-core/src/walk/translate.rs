//! Translating accesses one by one, as an emulator does: where processors legally differ, the regime's
//! choices decide.

use super::{Mmu, Start, Step, Trace, WalkError};
use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{AtomicTableMemory, TableMemory};
use crate::outcome::{AccessError, AccessTranslation, Translation};
use crate::x86::fault::Fault;
use crate::x86::format::{EntryBits, EntryKind, Format, MAX_LEVELS};
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{AlignmentCheck, Semantics};
use arrayvec::ArrayVec;

/// How often a walk is repeated because another processor or a device changed an entry (AD-4). A real
/// processor would hold its lock, so nobody loses this often.
const MAX_RETRIES: usize = 100;

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// Translates an access as a processor without caches performs it: checks size and canonical form,
    /// masks, walks for each page, checks the rights, and sets A and D in memory.
    ///
    /// An access that faults on a page leaves A and D set for those before it (AD-7).
    ///
    /// ```
    /// use core::sync::atomic::AtomicU64;
    /// use mmu_core::memory::{AtomicWords, TableMemory};
    /// use mmu_core::x86::format::Bits32;
    /// use mmu_core::{
    ///     Access, AccessError, ControlState, Mmu, PageSize, PhysAddr, Profile, Ring, VirtAddr,
    /// };
    ///
    /// let memory = AtomicWords::new(PhysAddr::new(0), [const { AtomicU64::new(0) }; 0x400]);
    /// memory.write(PhysAddr::new(0), &0x1007_u32.to_le_bytes())?; // PDE 0
    /// memory.write(PhysAddr::new(0x1004), &0x500f_u32.to_le_bytes())?; // PTE 1, write-through
    /// let mmu = Mmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
    ///
    /// let write = Access::write(VirtAddr::new(0x1234), 4, Ring::Three);
    /// let translated = mmu.translate(&memory, &write)?;
    /// assert_eq!(translated.address(), PhysAddr::new(0x5234));
    /// let page = translated.translations()[0];
    /// assert_eq!((page.page_size(), page.pat_index()), (Some(PageSize::Size4KiB), 1));
    /// // A and D are bits 5 and 6.
    /// assert_eq!(memory.read_entry(PhysAddr::new(0x1004), 4), Ok(0x506f));
    ///
    /// // Four bytes across the end of the page: the second page is not mapped.
    /// let crossing = Access::write(VirtAddr::new(0x1ffe), 4, Ring::Three);
    /// let Err(AccessError::Fault(fault)) = mmu.translate(&memory, &crossing) else { panic!() };
    /// assert_eq!(fault.to_string(), "#PF(W|U) at 0x2000");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The fault, the error of the memory, or why there is neither; see [`AccessError`].
    pub fn translate<M: AtomicTableMemory + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<AccessTranslation, AccessError<M::Error>> {
        let mut rules = RuleSet::default();
        let access = self.access_to_walk(access, &mut rules)?;

        let mut translated = AccessTranslation::new();
        for (address, len) in self.pages(&access) {
            let translation = self.walk_and_set_flags(
                self.root(),
                memory,
                address,
                &access,
                &mut Entries::default(),
                &mut rules,
            )?;
            translated.push(translation, len);
        }
        Ok(translated)
    }

    /// The same without setting A and D: where the access would go, or how it would fault, as a
    /// debugger wants to know.
    ///
    /// # Errors
    /// As [`Mmu::translate`].
    pub fn probe<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<AccessTranslation, AccessError<M::Error>> {
        let access = self.access_to_walk(access, &mut RuleSet::default())?;

        let mut translated = AccessTranslation::new();
        for (address, len) in self.pages(&access) {
            translated.push(self.probe_from(self.root(), memory, address, &access)?, len);
        }
        Ok(translated)
    }

    /// Checks an access before its walks: the access with the address that is translated.
    #[inline]
    pub(crate) fn access_to_walk<E>(
        &self,
        access: &Access,
        rules: &mut RuleSet,
    ) -> Result<Access, AccessError<E>> {
        Self::check_size(access)?;

        let Some(canonical) = self.canonical_access(access, rules) else {
            return Err(self.semantics.non_canonical_fault(access).into());
        };
        // Before the walk, which would set D (ALIGN-1).
        if self.semantics.alignment_check(access, &self.regime) == AlignmentCheck::Fails {
            rules.insert(Rule::Align1);
            return Err(Fault::ALIGNMENT_CHECK.into());
        }

        Ok(canonical)
    }

    /// Walks for one page, and changes nothing.
    pub(crate) fn probe_from<M: TableMemory + ?Sized>(
        &self,
        start: Start<F>,
        memory: &M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Translation, AccessError<M::Error>> {
        let walked = self.walk_from(start, memory, address, access, &mut ());
        walked.map_err(|error| self.access_error(error, address, access))
    }

    /// Walks for one page, and sets A and D. Starts again when it loses a race for an entry (AD-4).
    /// `path` is the path that was walked last.
    pub(crate) fn walk_and_set_flags<M: AtomicTableMemory + ?Sized>(
        &self,
        start: Start<F>,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        path: &mut Entries,
        rules: &mut RuleSet,
    ) -> Result<Translation, AccessError<M::Error>> {
        let mut lost_at = PhysAddr::default();

        for _ in 0..MAX_RETRIES {
            path.0.clear();
            let walked = self.walk_from(start, memory, address, access, path);
            let translation = walked.map_err(|error| self.access_error(error, address, access))?;

            match self.set_flags(memory, access, path).map_err(AccessError::Memory)? {
                FlagUpdate::Done => {
                    let leaf = path.0.last().map_or(0, |leaf| leaf.entry);
                    return Ok(Translation { leaf, ..translation });
                }
                FlagUpdate::LostRace(at) => {
                    rules.insert(Rule::Ad4);
                    lost_at = at;
                }
            }
        }

        Err(AccessError::Contended(lost_at))
    }

    /// Sets A in every entry of a path, and D in the leaf for a write (AD-1).
    fn set_flags<M: AtomicTableMemory + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        path: &mut Entries,
    ) -> Result<FlagUpdate, M::Error> {
        for step in path.0.iter_mut().filter(|step| step.level.has_flags) {
            let is_leaf = step.kind == EntryKind::Leaf;
            let mut flags = EntryBits::empty();
            flags.set(EntryBits::A, self.semantics.sets_accessed(step.level));
            flags.set(EntryBits::D, is_leaf && self.semantics.sets_dirty(step.rights, access));

            let new = step.entry | flags.bits();
            let changes = new != step.entry;
            if changes && !memory.compare_exchange(step.at, F::ENTRY_BYTES, step.entry, new)? {
                return Ok(FlagUpdate::LostRace(step.at));
            }
            step.entry = new;
        }

        Ok(FlagUpdate::Done)
    }

    /// What a failed walk for a page means for the access.
    fn access_error<E>(
        &self,
        error: WalkError<E>,
        address: VirtAddr,
        access: &Access,
    ) -> AccessError<E> {
        match error {
            WalkError::Fault(cause) => {
                let code = self.semantics.page_fault_code(cause, access, &self.regime);
                AccessError::Fault(Fault::page_fault(code, address))
            }
            WalkError::Memory(error) => AccessError::Memory(error),
        }
    }
}

/// The result of setting A and D along a path.
enum FlagUpdate {
    Done,
    /// The entry at this address changed since the walk read it. This walk itself may have changed
    /// it, where one entry serves two levels (AD-6).
    LostRace(PhysAddr),
}

/// The entries on the path of a walk, without the rules.
#[derive(Default)]
pub(crate) struct Entries(pub(crate) ArrayVec<Step, MAX_LEVELS>);

impl Trace for Entries {
    const WANTED: bool = false;

    fn step(&mut self, step: Step) {
        self.0.push(step);
    }

    fn rule(&mut self, _rule: Rule) {}
}
