//! From walks to a prediction: everything that the manuals allow for one access.
//!
//! An access touches one page or several, and each is walked. The results of the walks decide the
//! outcome and the updates of the entries. Where processors legally differ, the walks are repeated for
//! each member of the choice, unless the first walks show that no choice matters here. An access that
//! completes and leaves nothing open takes the way of `ordinary`, which does all of this in one go.

use super::alternatives::{CHECKED_16_BYTES, CHECKED_FIRST, updates_without_access};
use super::choices::{OpenMember, passes_4_gib};
use super::{Mmu, Path, WalkError};
use crate::access::{Access, AccessKind, MAX_PAGES, SizeError};
use crate::address::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::{Alternative, EntryUpdates, Outcome, Prediction, Span};
use crate::table::limits;
use crate::x86::fault::Fault;
use crate::x86::format::Format;
use crate::x86::regime::Regime;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{AlignmentCheck, Cause, Denial, Semantics};
use crate::x86::state::{CR3_LAM_U48, CR3_LAM_U57, Cr4, Efer};
use arrayvec::ArrayVec;

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// Every way in which the access may go, and what it does to the entries on its path.
    ///
    /// Memory is only read: the prediction says what the tables must look like afterwards. Its error
    /// must be [`OutsideMemory`]: what a machine does where there is no memory is a choice (OUT-1),
    /// and about other errors the manuals say nothing. [`Self::walk`] and [`Self::translate`] return
    /// them.
    ///
    /// ```
    /// use mmu_core::access::SizeError;
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::x86::format::Bits32;
    /// use mmu_core::{Access, ControlState, Mmu, Outcome, Profile, Ring, VirtAddr};
    ///
    /// let entries = [(0, 0x1007), (0x1004, 0x5007), (0x1008, 0x9007), (0x100c, 0x3007)];
    /// let mmu = Mmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
    ///
    /// // XRSTOR from an area in three pages.
    /// let read = Access::read(VirtAddr::new(0x1f00), 0x1200, Ring::Three);
    /// let prediction = mmu.predict(&SparseTables::new(&entries), &read)?;
    /// let Outcome::Translated(spans) = &prediction.alternatives[0].outcome else {
    ///     panic!("the pages are mapped");
    /// };
    /// let spans = spans.iter().map(|span| (span.address.get(), span.len));
    /// assert_eq!(spans.collect::<Vec<_>>(), [(0x5f00, 0x100), (0x9000, 0x1000), (0x3000, 0x100)]);
    ///
    /// let nothing = Access { size: 0, ..read };
    /// assert_eq!(mmu.predict(&SparseTables::new(&entries), &nothing), Err(SizeError::Empty));
    /// # Ok::<(), SizeError>(())
    /// ```
    ///
    /// # Errors
    /// When no instruction makes an access of this size.
    #[inline]
    pub fn predict<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<Prediction, SizeError> {
        let mut found = Prediction::default();
        self.predict_into(memory, access, &mut found)?;
        Ok(found)
    }

    /// The same into a prediction of the caller's, whose contents are replaced. A loop over many
    /// accesses then moves nothing, and allocates for the largest prediction only.
    ///
    /// # Errors
    /// As [`Mmu::predict`]. The prediction has no alternatives then.
    pub fn predict_into<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        found: &mut Prediction,
    ) -> Result<(), SizeError> {
        if let Err(error) = Self::check_size(access) {
            found.clear();
            return Err(error);
        }

        if self.predict_ordinary(memory, access, found).is_none() {
            found.clear();
            self.predict_in_detail(memory, access, found);
        }
        Ok(())
    }

    /// Predicts with the regime's choices, and with the others where they can make a difference.
    pub(super) fn predict_in_detail<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        found: &mut Prediction,
    ) {
        let settled = self.predict_in_regime(memory, access, None, found);
        if !settled || !R::IS_REFERENCE || self.bytes_are_open(access) {
            self.predict_other_choices(memory, access, found);
        }
        found.name_first_member();
    }

    /// Adds what becomes of an access if the processor chooses otherwise.
    pub(super) fn predict_other_choices<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        found: &mut Prediction,
    ) {
        for (choices, rule, member) in self.other_choices(access) {
            let other = Self::with_regime(self.semantics, Regime { choices, ..self.regime });
            other.predict_in_regime(memory, access, Some((rule, member)), found);
        }
    }

    /// Predicts with the regime's choices. Returns whether it is settled that no choice of the walk
    /// makes a difference.
    pub(super) fn predict_in_regime<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) -> bool {
        let Some(canonical) = self.canonical_access(access, &mut found.rules) else {
            self.refuse(access, choice, found);
            return true;
        };
        self.predict_with(memory, &canonical, choice, found)
    }

    /// Adds what becomes of an access that violates LASS or is not canonical.
    pub(crate) fn refuse(
        &self,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) {
        let outcome = Outcome::Fault(self.semantics.non_canonical_fault(access));
        found.add(Alternative { outcome, updates: EntryUpdates::new(), choice });

        if self.semantics.alignment_check(access, &self.regime) != AlignmentCheck::Passes {
            let outcome = Outcome::Fault(Fault::ALIGNMENT_CHECK);
            let choice = Some((Rule::Align1, CHECKED_FIRST));
            found.add(Alternative { outcome, updates: EntryUpdates::new(), choice });
        }
    }

    /// The access with the linear address that is translated: masked in 64-bit mode, cut to 32 bits
    /// elsewhere. `None` when it violates LASS, is not canonical, or exceeds the limit of its segment.
    #[inline]
    pub(crate) fn canonical_access(&self, access: &Access, rules: &mut RuleSet) -> Option<Access> {
        if R::IS_REFERENCE && self.is_plainly_canonical(access) {
            return Some(*access);
        }
        self.canonical_access_in_detail(access, rules)
    }

    /// Whether nothing masks or separates addresses, and those of the access are canonical.
    #[inline]
    fn is_plainly_canonical(&self, access: &Access) -> bool {
        const SPECIAL: Cr4 = Cr4::LASS.union(Cr4::LAM_SUP);
        let state = &self.regime.state;
        let is_plain = !state.cr4.intersects(SPECIAL)
            && state.cr3 & (CR3_LAM_U48 | CR3_LAM_U57) == 0
            && !state.efer.contains(Efer::UAIE);

        F::IS_LONG_MODE
            && is_plain
            && !access.compatibility
            && access.address.is_canonical(F::ADDRESS_BITS)
            && access.last_byte().is_canonical(F::ADDRESS_BITS)
    }

    fn canonical_access_in_detail(&self, access: &Access, rules: &mut RuleSet) -> Option<Access> {
        let translated = Access { address: self.walked_address(access.address, access), ..*access };

        if F::IS_LONG_MODE && access.compatibility {
            rules.insert(Rule::Mode1);
        }
        // Compatibility mode is separated as well, by linear addresses whose bit 63 is 0.
        let is_wide = self.has_64_bit_address(access);
        let linear = if is_wide { access } else { &translated };
        if F::IS_LONG_MODE && self.semantics.violates_lass(linear, &self.regime) {
            rules.insert(Rule::Canon5);
            return None;
        }

        if !is_wide {
            let exceeds_limit = self.regime.choices.limit_ends_at_4_gib && passes_4_gib(access);
            return (!exceeds_limit).then_some(translated);
        }

        let masked = self.semantics.masked_address(access, &self.regime);
        if masked != Some(access.address) {
            rules.insert(Rule::Canon4);
        }

        if masked.is_some() && self.semantics.is_canonical(access, F::ADDRESS_BITS, &self.regime) {
            return Some(translated);
        }

        rules.insert(Rule::Canon1);
        if translated.crosses_page() {
            rules.insert(Rule::Canon2);
        }
        None
    }

    /// The linear address at which the tables are walked for an address of an access, and which CR2
    /// reports. No index depends on the bits of a tag that CR2 holds.
    fn walked_address(&self, address: VirtAddr, access: &Access) -> VirtAddr {
        if F::IS_LONG_MODE && !self.has_64_bit_address(access) {
            return address.truncated(32);
        }
        if !F::IS_LONG_MODE || self.regime.choices.cr2_holds_the_tag {
            return limits::wrapped::<F>(address);
        }

        let masked = self.semantics.masked_address(&Access { address, ..*access }, &self.regime);
        masked.unwrap_or(address)
    }

    /// Whether the linear address of an access has 64 bits and must be canonical.
    pub(super) fn has_64_bit_address(&self, access: &Access) -> bool {
        F::IS_LONG_MODE && self.semantics.has_64_bit_address(access)
    }

    /// Predicts with the regime's choices. If a table is outside memory, both contents are tried that
    /// machines give it (OUT-1).
    fn predict_with<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) -> bool {
        if let Ok(settled) = self.predict_in(memory, access, choice, found) {
            return settled;
        }

        found.rules.insert(Rule::Out1);
        for (value, member) in [(0, "reads as zeros"), (u64::MAX, "reads as ones")] {
            let filled = OutsideReads { memory, value };
            let choice = Some((Rule::Out1, member));
            // No read fails in such memory.
            let _ = self.predict_in(&filled, access, choice, found);
        }
        false
    }

    fn predict_in<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) -> Result<bool, OutsideMemory> {
        let mut pages = ArrayVec::<WalkedPage, MAX_PAGES>::new();
        for (address, len) in self.pages(access) {
            pages.push(self.walk_page(self, memory, address, len, access, found)?);
        }

        self.conclude(&pages, access, choice, found);
        let mut pages = pages.iter();
        let is_open =
            |page: &WalkedPage| self.is_open(memory, &page.path.steps, page.faults(), access);
        Ok(!pages.any(is_open))
    }

    /// The number of address bits inside a page. A page larger than 4 KiB counts as several: each
    /// 4 KiB of it is walked.
    pub(super) fn page_shift() -> u8 {
        F::LEVELS.last().map_or(PAGE_SHIFT, |level| level.shift.min(PAGE_SHIFT))
    }

    /// Whether an instruction can make an access of this size: it has at least one byte, and touches
    /// at most [`MAX_PAGES`] pages.
    #[inline]
    pub(crate) fn check_size(access: &Access) -> Result<(), SizeError> {
        access.check_size(Self::page_shift())
    }

    /// The pages of an access, in the order of its bytes: the first address that it touches in each,
    /// as it is walked with the regime's choices, and the number of its bytes there. The address of the
    /// access itself is one that is walked.
    #[inline]
    pub(crate) fn pages(&self, access: &Access) -> impl Iterator<Item = (VirtAddr, u16)> {
        let mut is_first = true;
        access.cut_at(Self::page_shift()).map(move |(address, len)| {
            let walked = if is_first { address } else { self.walked_address(address, access) };
            is_first = false;
            (walked, len)
        })
    }

    /// Walks for one of the access's pages. `reader` reads and judges the entries, and this MMU reports
    /// what comes of it.
    pub(crate) fn walk_page<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        reader: &Self,
        memory: &M,
        address: VirtAddr,
        len: u16,
        access: &Access,
        found: &mut Prediction,
    ) -> Result<WalkedPage, OutsideMemory> {
        let mut path = Path::default();
        let walked = reader.walk(memory, address, access, &mut path);
        found.rules.extend(path.rules);

        let end = match walked {
            Ok(translation) => PageEnd::Translated(Span { address: translation.address, len }),
            Err(WalkError::Fault(cause)) => {
                let code = self.semantics.page_fault_code(cause, access, &self.regime);
                found.rules.extend(rules_of_fault(cause, access));
                PageEnd::Fault(cause, Fault::page_fault(code, address))
            }
            Err(WalkError::Memory(outside)) => return Err(outside),
        };
        Ok(WalkedPage { path, end })
    }

    /// Adds what follows from the walks for the access's pages.
    pub(crate) fn conclude(
        &self,
        pages: &[WalkedPage],
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) {
        let mut faults = pages.iter().filter_map(WalkedPage::fault);
        let lowest = faults.next();
        if lowest.is_some() && pages.len() > 1 {
            found.rules.insert(Rule::Code12);
        }

        let outcome = match lowest {
            Some(fault) => Outcome::Fault(fault),
            None => Outcome::Translated(pages.iter().filter_map(WalkedPage::span).collect()),
        };
        let check = self.semantics.alignment_check(access, &self.regime);
        let mut rules = RuleSet::default();
        let updates = self.updates(pages, access, &mut rules);
        let updates_of_check = updates_without_access(&updates);

        if check == AlignmentCheck::Fails && lowest.is_none() {
            found.rules.insert(Rule::Align1);
            let outcome = Outcome::Fault(Fault::ALIGNMENT_CHECK);
            found.add(Alternative { outcome, updates: updates_of_check, choice });
            return;
        }

        found.rules.extend(rules);
        found.add(Alternative { outcome, updates: updates.clone(), choice });

        // Where several pages fault, a processor may report any of them (CODE-12).
        let others = ["the upper page is reported", "a page further up is reported"];
        for (number, fault) in faults.enumerate() {
            let choice = Some((Rule::Code12, others[number.min(1)]));
            let outcome = Outcome::Fault(fault);
            found.add(Alternative { outcome, updates: updates.clone(), choice });
        }

        // "Exceptions within each class are implementation-dependent" (SDM "Priority Among Concurrent
        // Events", where page faults and #AC are in one class).
        if check != AlignmentCheck::Passes {
            let member = if lowest.is_some() { CHECKED_FIRST } else { CHECKED_16_BYTES };
            let choice = Some((Rule::Align1, member));
            let outcome = Outcome::Fault(Fault::ALIGNMENT_CHECK);
            found.add(Alternative { outcome, updates: updates_of_check, choice });
        }
    }
}

/// The rules that shape the error code of a page fault.
pub(crate) fn rules_of_fault(cause: Cause, access: &Access) -> RuleSet {
    let by_key = matches!(cause, Cause::Denied(denial) if denial.contains(Denial::KEY));

    let mut rules = RuleSet::default();
    rules.insert(Rule::Code9);
    for (applies, rule) in [
        (access.kind == AccessKind::Fetch, Rule::Code8),
        (access.kind == AccessKind::ReadModifyWrite, Rule::Code10),
        (by_key, Rule::Code11),
    ] {
        if applies {
            rules.insert(rule);
        }
    }
    rules
}

/// The walk for one page of an access.
pub(crate) struct WalkedPage {
    pub(crate) path: Path,
    pub(crate) end: PageEnd,
}

/// How the walk for a page ended.
pub(crate) enum PageEnd {
    /// At the page, of which the access touches these bytes.
    Translated(Span),
    Fault(Cause, Fault),
}

impl WalkedPage {
    pub(crate) const fn faults(&self) -> bool {
        matches!(self.end, PageEnd::Fault(..))
    }

    const fn fault(&self) -> Option<Fault> {
        match self.end {
            PageEnd::Translated(_) => None,
            PageEnd::Fault(_, fault) => Some(fault),
        }
    }

    /// The bytes that the access reaches in the page.
    const fn span(&self) -> Option<Span> {
        match self.end {
            PageEnd::Translated(span) => Some(span),
            PageEnd::Fault(..) => None,
        }
    }
}

/// Memory in which everything outside reads as one value.
struct OutsideReads<'a, M: ?Sized> {
    memory: &'a M,
    value: u64,
}

impl<M: TableMemory<Error = OutsideMemory> + ?Sized> TableMemory for OutsideReads<'_, M> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let outside = self.value & limits::all_ones(bytes);
        Ok(self.memory.read_entry(at, bytes).unwrap_or(outside))
    }
}
