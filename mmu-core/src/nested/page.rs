//! The nested walk for one page of an access: the guest's tables are read through the second level, then
//! the page is translated by it.

use super::second::{SecondMmu, SecondWalk};
use super::semantics::{NestedAccess, NestedRights, NestedSemantics, Purpose, SecondFault};
use crate::access::{Access, AccessKind};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::outcome::Span;
use crate::walk::{Mmu, Path, Step, WalkError};
use crate::x86::fault::Fault;
use crate::x86::format::{EntryBits, EntryKind, Format, MAX_LEVELS};
use crate::x86::semantics::{Cause, Rights, Semantics};
use alloc::boxed::Box;
use arrayvec::ArrayVec;
use core::cell::RefCell;

/// An entry of a guest's table that was to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableRead {
    /// The translation of its address.
    pub(super) walk: SecondWalk,
    /// Number of its bytes.
    pub(super) bytes: u8,
}

/// The nested walk for one page of an access.
#[derive(Clone, Debug)]
pub(super) struct NestedPage {
    /// The linear address of the first byte in the page.
    pub(super) address: VirtAddr,
    /// Number of the access's bytes there.
    pub(super) len: u16,
    /// The guest's entries, by guest-physical address.
    pub(super) path: Path,
    /// The reads of those that are in memory.
    pub(super) reads: ArrayVec<TableRead, MAX_LEVELS>,
    /// The translation of the page, if the walk came so far.
    pub(super) page: Option<SecondWalk>,
    /// The rights of the guest's page, if its tables map it and allow the access.
    pub(super) guest_rights: Option<Rights>,
    pub(super) end: NestedPageEnd,
}

/// How the nested walk for a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NestedPageEnd {
    /// At this host-physical address.
    Translated(PhysAddr),
    /// With a page fault of the guest.
    Fault(Cause, Fault),
    /// With this walk of the second level.
    Refused(Box<SecondWalk>),
}

/// When the guest's A and D are set, as far as it shows (NEST-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlagOrder {
    /// When the whole path is known and allows the access.
    AtEnd,
    /// A of each entry before the next one is read.
    OnTheWay,
}

impl NestedPage {
    pub(super) const fn fails(&self) -> bool {
        self.translated().is_none()
    }

    /// Whether the translation of the page itself was refused.
    pub(super) fn fails_at_page(&self) -> bool {
        matches!(&self.end, NestedPageEnd::Refused(walk) if walk.access.purpose == Purpose::Page)
    }

    /// The bytes that the access reaches in the page.
    pub(super) const fn translated(&self) -> Option<Span> {
        match self.end {
            NestedPageEnd::Translated(address) => Some(Span { address, len: self.len }),
            NestedPageEnd::Fault(..) | NestedPageEnd::Refused(_) => None,
        }
    }

    /// The guest's entries on the path, each with the read that got it. PDPTEs in registers come first
    /// and have none.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&Step, Option<&TableRead>)> {
        let done = self.reads.iter().filter(|read| read.walk.end.is_ok()).count();
        let in_registers = self.path.steps.len().saturating_sub(done);
        let steps = self.path.steps.iter().enumerate();
        steps.map(move |(number, step)| {
            let read = number.checked_sub(in_registers).and_then(|number| self.reads.get(number));
            (step, read)
        })
    }

    /// The read of the guest's entry at this guest-physical address.
    pub(super) fn read_of(&self, at: PhysAddr) -> Option<&TableRead> {
        self.reads.iter().find(|read| read.walk.guest_physical == at)
    }
}

/// Both dimensions, as a walk sees them.
#[derive(Clone, Copy)]
pub(super) struct Dimensions<'l, N: NestedSemantics, F: Format> {
    pub(super) nested: N,
    pub(super) guest: &'l Mmu<F>,
    pub(super) second: &'l SecondMmu<N>,
}

impl<N: NestedSemantics, F: Format> Dimensions<'_, N, F> {
    /// Walks for one page of an access.
    ///
    /// # Errors
    /// The error of the host's memory.
    pub(super) fn walk_page<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        (address, len): (VirtAddr, u16),
        access: &Access,
        order: FlagOrder,
    ) -> Result<NestedPage, M::Error> {
        let through = GuestMemory {
            nested: self.nested,
            second: self.second,
            memory,
            access: self.access_to_table(access),
            reads: RefCell::new(ArrayVec::new()),
        };
        let mut path = Path::default();
        let walked = self.guest.walk(&through, address, access, &mut path);
        let reads = through.reads.into_inner();
        let end = NestedPageEnd::Translated(PhysAddr::new(0));
        let mut page =
            NestedPage { address, len, path, reads, page: None, guest_rights: None, end };

        // 1. A may be set before the next entry is read (NEST-9).
        if order == FlagOrder::OnTheWay
            && let Some(refused) = refused_on_the_way(&mut page)
        {
            page.end = NestedPageEnd::Refused(Box::new(refused));
            return Ok(page);
        }

        // 2. A table that is not translated outranks what it holds, and the guest's rights are judged
        // before its page is translated (NEST-5).
        let translation = match walked {
            Ok(translation) => translation,
            Err(WalkError::Memory(TableError::Memory(error))) => return Err(error),
            Err(WalkError::Memory(TableError::Refused(walk))) => {
                page.end = NestedPageEnd::Refused(walk);
                return Ok(page);
            }
            Err(WalkError::Fault(cause)) => {
                self.end_in_guest(memory, &mut page, cause, access)?;
                return Ok(page);
            }
        };
        page.guest_rights = Some(translation.rights);

        // 3. The guest's A and D are set (NEST-6),
        if let Some(refused) = self.refused_flag(&page, translation.rights, access) {
            page.end = NestedPageEnd::Refused(Box::new(refused));
            return Ok(page);
        }

        // 4. and its page is translated.
        let walk = self.translate_page(memory, translation.address, translation.rights, access)?;
        page.end = match walk.end {
            Ok(address) => NestedPageEnd::Translated(address),
            Err(_) => NestedPageEnd::Refused(Box::new(walk.clone())),
        };
        page.page = Some(walk);
        Ok(page)
    }

    /// The access to a guest's table that an access makes.
    fn access_to_table(&self, access: &Access) -> NestedAccess {
        NestedAccess {
            purpose: Purpose::Table,
            kind: self.nested.access_to_table(self.second.level(), access),
            user: self.is_user(Purpose::Table, access),
            user_address: false,
        }
    }

    fn is_user(&self, purpose: Purpose, access: &Access) -> bool {
        self.second.is_npt() && self.nested.is_user(purpose, access)
    }

    fn translate_page<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        address: PhysAddr,
        guest: Rights,
        access: &Access,
    ) -> Result<SecondWalk, M::Error> {
        let nested_access = NestedAccess {
            purpose: Purpose::Page,
            kind: access.kind,
            user: self.is_user(Purpose::Page, access),
            user_address: guest.contains(Rights::USER),
        };
        if F::LEVELS.is_empty() && !self.nested.translates_unpaged() {
            return Ok(SecondMmu::<N>::pass(address, nested_access));
        }
        self.second.translate(memory, address, nested_access)
    }

    /// Ends the walk with a page fault of the guest; or first with what the second level says of the page,
    /// for a walker that asks it before it judges the guest's rights.
    fn end_in_guest<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        page: &mut NestedPage,
        cause: Cause,
        access: &Access,
    ) -> Result<(), M::Error> {
        let leaf = page.path.steps.last().filter(|step| step.kind == EntryKind::Leaf);
        if let (Cause::Denied(_), Some(leaf)) = (cause, leaf)
            && !self.nested.judges_guest_first()
        {
            let target = leaf.target + page.address.offset(leaf.level.shift);
            let walk = self.translate_page(memory, target, leaf.rights, access)?;
            if walk.end.is_err() {
                page.end = NestedPageEnd::Refused(Box::new(walk.clone()));
                page.page = Some(walk);
                return Ok(());
            }
        }

        let regime = self.guest.regime();
        let code = self.guest.semantics().page_fault_code(cause, access, regime);
        page.end = NestedPageEnd::Fault(cause, Fault::page_fault(code, page.address));
        Ok(())
    }

    /// Whether a change of A or D is an access of its own to the guest's table.
    pub(super) fn flags_are_written_apart(&self, access: &Access) -> bool {
        let read = self.nested.access_to_table(self.second.level(), access);
        !read.writes() && self.nested.checks_flag_writes()
    }

    /// The first change of A or D at the end of the guest's walk that the second level refuses.
    fn refused_flag(
        &self,
        page: &NestedPage,
        rights: Rights,
        access: &Access,
    ) -> Option<SecondWalk> {
        if !self.flags_are_written_apart(access) {
            return None;
        }
        page.path.steps.iter().find_map(|step| {
            let flags = self.guest.flags_to_set(step.level, step.kind, rights, access);
            let is_changed = step.level.has_flags && flags.bits() & !step.entry != 0;
            if is_changed { refused_write(page, step) } else { None }
        })
    }
}

/// The first change of A on the way that the second level refuses. The path ends there.
fn refused_on_the_way(page: &mut NestedPage) -> Option<SecondWalk> {
    let good = page.path.steps.iter().enumerate().filter(|(_, step)| step.error.is_none());
    let refused = good
        .filter(|(_, step)| !step.has(EntryBits::A))
        .find_map(|(number, step)| Some((number, refused_write(page, step)?)));

    let (number, walk) = refused?;
    page.path.steps.truncate(number + 1);
    let of_entry =
        page.reads.iter().position(|read| read.walk.guest_physical == walk.guest_physical);
    page.reads.truncate(of_entry? + 1);
    Some(walk)
}

/// The refusal of a write to a guest's entry, if it may not be written.
fn refused_write(page: &NestedPage, step: &Step) -> Option<SecondWalk> {
    let read = page.read_of(step.at)?;
    let missing = NestedRights::WRITE - read.walk.rights();
    if missing.is_empty() {
        return None;
    }

    // A and D are set by a locked read-modify-write (AD-4).
    let access = NestedAccess { kind: AccessKind::ReadModifyWrite, ..read.walk.access };
    let end = Err(SecondFault::Denied(missing));
    Some(SecondWalk { access, end, ..read.walk.clone() })
}

/// The memory of a guest: the host's, through the second level.
struct GuestMemory<'m, N: NestedSemantics, M: ?Sized> {
    nested: N,
    second: &'m SecondMmu<N>,
    memory: &'m M,
    access: NestedAccess,
    reads: RefCell<ArrayVec<TableRead, MAX_LEVELS>>,
}

/// Why a guest's entry is not read.
enum TableError<E> {
    /// The second level refuses the access to it.
    Refused(Box<SecondWalk>),
    /// The host's memory has an error of its own.
    Memory(E),
}

impl<N: NestedSemantics, M: TableMemory + ?Sized> TableMemory for GuestMemory<'_, N, M> {
    type Error = TableError<M::Error>;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, Self::Error> {
        let walk = if self.nested.translates_tables() {
            self.second.translate(self.memory, at, self.access).map_err(TableError::Memory)?
        } else {
            SecondMmu::<N>::pass(at, self.access)
        };
        let end = walk.end;
        let read = TableRead { walk, bytes };
        // A walk reads no more entries than there are both.
        let _ = self.reads.borrow_mut().try_push(read.clone());

        match end {
            Ok(host) => self.memory.read_entry(host, bytes).map_err(TableError::Memory),
            Err(_) => Err(TableError::Refused(Box::new(read.walk))),
        }
    }
}
