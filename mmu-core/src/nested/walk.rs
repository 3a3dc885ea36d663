//! One answer: where an access of a guest goes, with every reference to memory on the way.

use super::exit::Refusal;
use super::outcome::{Dimension, NestedEnd};
use super::page::{Dimensions, FlagOrder, NestedPage, NestedPageEnd};
use super::rule::NestedRuleSet;
use super::second::SecondWalk;
use super::semantics::{NestedRights, NestedSemantics, SecondFault};
use super::{NestedMmu, in_guest_mode};
use crate::access::{Access, SizeError};
use crate::address::PhysAddr;
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::Span;
use crate::walk::{AnyMmu, Mmu};
use crate::x86::fault::Fault;
use crate::x86::format::{EntryKind, Format, Level};
use crate::x86::rule::RuleSet;
use crate::x86::semantics::{AlignmentCheck, EntryError, Rights, Semantics};
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::fmt;

/// An entry that a nested walk reads. A walk for one page reads up to 24 of them, and up to 35 where both
/// dimensions have 5 both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryReference {
    /// Whose table it is in.
    pub dimension: Dimension,
    /// The page of the access that it is read for, 0 for the first.
    pub page: u8,
    /// The level of its table.
    pub level: &'static Level,
    /// What it is for.
    pub kind: EntryKind,
    /// Its own guest-physical address, if it is the guest's; otherwise the guest-physical address that is
    /// translated.
    pub guest_physical: PhysAddr,
    /// Its host-physical address. A PDPTE that is held in a register has none.
    pub at: Option<PhysAddr>,
    /// Its value.
    pub entry: u64,
    /// The address in it: guest-physical in the guest's dimension, host-physical in the other.
    pub target: PhysAddr,
    /// What the path down to it grants, itself included unless it is bad.
    pub rights: ReferenceRights,
    /// What is wrong with it. Bits that make an entry of EPT a misconfiguration are reported as reserved.
    pub error: Option<EntryError>,
    /// At the last entry of a path in the second level: the rights that are missing.
    pub missing: NestedRights,
}

/// The rights of a path in either dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceRights {
    /// In the guest's dimension.
    Guest(Rights),
    /// In the second level.
    Second(NestedRights),
}

/// A nested walk: its end, and every reference on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedWalk {
    /// How it ends: the likeliest of the alternatives that [`NestedMmu::predict`] returns.
    pub end: NestedEnd,
    /// The entries that were read, in order. In a PAE guest under EPT a PDPTE is a register, and is listed,
    /// too.
    pub references: Vec<EntryReference>,
}

/// Why there is no answer. `E` is the error of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NestedError<E = OutsideMemory> {
    /// An entry could not be read.
    Memory(E),
    /// No instruction makes an access of this size.
    Size(SizeError),
}

impl<E: fmt::Display> fmt::Display for NestedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => error.fmt(f),
            Self::Size(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for NestedError<E> {}

impl<N: NestedSemantics> NestedMmu<N> {
    /// Walks for each page of an access, up to the first that fails.
    ///
    /// ```
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::nested::{Dimension, Ept, NestedMmu, SecondLevel};
    /// use mmu_core::{Access, ControlState, Profile, Ring, VirtAddr};
    ///
    /// // EPT maps the first 2 MiB of the guest at 4 MiB; there the guest has tables of 32-bit paging.
    /// let memory = SparseTables::new(&[
    ///     (0x1000, 0x2007), // EPT PML4E
    ///     (0x2000, 0x3007), // EPT PDPTE
    ///     (0x3000, 0x40_00b7), // EPT PDE: 2 MiB, write-back
    ///     (0x40_4000, 0x5007), // PDE
    ///     (0x40_5004, 0x6007), // PTE
    /// ]);
    /// let second = SecondLevel::Ept(Ept::four_level(0x1000));
    /// let mmu = NestedMmu::new(ControlState::bits32(0x4000), second, Profile::default());
    ///
    /// let read = Access::read(VirtAddr::new(0x1234), 4, Ring::Three);
    /// let walk = mmu.walk(&memory, &read)?;
    /// assert_eq!(walk.end.physical_address().unwrap().get(), 0x40_6234);
    ///
    /// // Three references for the PDE, the PDE, three for the PTE, the PTE, and three for the page.
    /// assert_eq!(walk.references.len(), 11);
    /// let pde = &walk.references[3];
    /// assert_eq!((pde.dimension, pde.guest_physical.get()), (Dimension::Guest, 0x4000));
    /// assert_eq!(pde.at.unwrap().get(), 0x40_4000);
    /// # Ok::<(), mmu_core::nested::NestedError>(())
    /// ```
    ///
    /// # Errors
    /// The error of the memory, or that no instruction makes an access of this size.
    pub fn walk<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<NestedWalk, NestedError<M::Error>> {
        in_guest_mode!(self, guest => {
            let both = Dimensions { nested: self.nested, guest, second: &self.second };
            both.walk_access(memory, access)
        })
    }
}

impl<N: NestedSemantics, F: Format> Dimensions<'_, N, F> {
    fn walk_access<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<NestedWalk, NestedError<M::Error>> {
        Mmu::<F>::check_size(access).map_err(NestedError::Size)?;
        let mut references = Vec::new();

        let semantics = self.guest.semantics();
        let canonical = self.guest.canonical_access(access, &mut RuleSet::default());
        let Some(canonical) = canonical else {
            let end = NestedEnd::Fault(semantics.non_canonical_fault(access));
            return Ok(NestedWalk { end, references });
        };

        let mut spans = ArrayVec::new();
        for (number, page) in self.guest.pages(&canonical).enumerate() {
            let walked = self
                .walk_page(memory, page, &canonical, FlagOrder::AtEnd)
                .map_err(NestedError::Memory)?;
            add_references(&walked, number as u8, &mut references);
            match self.end_of(&walked) {
                Ok(span) => spans.push(span),
                Err(end) => return Ok(NestedWalk { end, references }),
            }
        }

        let check = semantics.alignment_check(&canonical, self.guest.regime());
        let end = if check == AlignmentCheck::Fails {
            NestedEnd::Fault(Fault::ALIGNMENT_CHECK)
        } else {
            NestedEnd::Translated(spans)
        };
        Ok(NestedWalk { end, references })
    }

    /// The bytes of a page, or how the access ends there.
    fn end_of(&self, page: &NestedPage) -> Result<Span, NestedEnd> {
        match &page.end {
            NestedPageEnd::Translated(address) => Ok(Span { address: *address, len: page.len }),
            NestedPageEnd::Fault(_, fault) => Err(NestedEnd::Fault(*fault)),
            NestedPageEnd::Refused(walk) => {
                let fault = walk.end.err().unwrap_or(SecondFault::NotPresent);
                let guest_rights = page.guest_rights.unwrap_or(Rights::all());
                let refusal = Refusal { walk, fault, linear: page.address, guest_rights };
                let level = self.second.level();
                let exits = refusal.exits(&self.nested, level, &mut NestedRuleSet::default());
                Err(NestedEnd::Exit(exits[0].0))
            }
        }
    }
}

/// Adds the references for a page, in order: the second level's for each entry of the guest, that entry,
/// and the second level's for the page.
fn add_references(page: &NestedPage, number: u8, references: &mut Vec<EntryReference>) {
    for (step, read) in page.steps() {
        if let Some(read) = read {
            add_second(&read.walk, number, references);
        }
        references.push(EntryReference {
            dimension: Dimension::Guest,
            page: number,
            level: step.level,
            kind: step.kind,
            guest_physical: step.at,
            at: read.and_then(|read| read.walk.end.ok()),
            entry: step.entry,
            target: step.target,
            rights: ReferenceRights::Guest(step.rights),
            error: step.error,
            missing: NestedRights::empty(),
        });
    }

    // A table that is not translated has no entry on the path.
    let refused = page.reads.last().filter(|read| read.walk.end.is_err());
    if let Some(read) = refused {
        add_second(&read.walk, number, references);
    }
    if let Some(walk) = &page.page {
        add_second(walk, number, references);
    }
}

fn add_second(walk: &SecondWalk, number: u8, references: &mut Vec<EntryReference>) {
    let last = walk.steps.len().saturating_sub(1);
    for (index, second) in walk.steps.iter().enumerate() {
        let missing = match walk.end {
            Err(SecondFault::Denied(missing)) if index == last => missing,
            _ => NestedRights::empty(),
        };
        references.push(EntryReference {
            dimension: Dimension::Second,
            page: number,
            level: second.step.level,
            kind: second.step.kind,
            guest_physical: walk.guest_physical,
            at: Some(second.step.at),
            entry: second.step.entry,
            target: second.step.target,
            rights: ReferenceRights::Second(second.rights),
            error: second.step.error,
            missing,
        });
    }
}
