//! From walks to a prediction: everything that the manuals allow for one access.
//!
//! An access touches one page or several, and each is walked. The results of the walks decide the
//! outcome and the updates of the entries. Where processors legally differ, the walks are repeated for
//! each member of the choice.

use super::alternatives::{BYTES_FOLLOW, CHECKED_16_BYTES, CHECKED_FIRST, updates_without_access};
use super::{Mmu, Path, WalkError};
use crate::access::{Access, AccessKind, MAX_PAGES, SizeError};
use crate::address::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::{Alternative, Outcome, Prediction, Span};
use crate::table::limits;
use crate::x86::fault::Fault;
use crate::x86::format::Format;
use crate::x86::profile::Pin;
use crate::x86::regime::{Choices, Regime};
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{AlignmentCheck, Cause, Denial, Semantics};
use crate::x86::state::{Cr4, Efer, PagingMode};
use arrayvec::ArrayVec;

/// A rule that leaves something open, and the member of the choice that is taken.
type OpenMember = (Rule, &'static str);

/// Whether a choice is open, how to take its other member, and that member.
type PossibleChoice = (bool, fn(&mut Choices), OpenMember);

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

    /// The same into a prediction of the caller's, whose contents are replaced. A prediction has room
    /// for all that can be allowed, some 22 KiB, so a loop over many accesses should not move it.
    ///
    /// # Errors
    /// As [`Mmu::predict`]. The prediction has no alternatives then.
    pub fn predict_into<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        found: &mut Prediction,
    ) -> Result<(), SizeError> {
        found.alternatives.clear();
        found.rules = RuleSet::default();
        Self::check_size(access)?;

        self.predict_in_regime(memory, access, None, found);
        for (choices, rule, member) in self.other_choices(access) {
            let other = Self::with_regime(self.semantics, Regime { choices, ..self.regime });
            other.predict_in_regime(memory, access, Some((rule, member)), found);
        }

        found.name_first_member();
        Ok(())
    }

    /// Predicts with the regime's choices.
    fn predict_in_regime<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) {
        match self.canonical_access(access, &mut found.rules) {
            Some(canonical) => self.predict_with(memory, &canonical, choice, found),
            None => self.refuse(access, choice, found),
        }
    }

    /// Adds what becomes of an access that violates LASS or is not canonical.
    pub(crate) fn refuse(
        &self,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) {
        let outcome = Outcome::Fault(self.semantics.non_canonical_fault(access));
        found.add(Alternative { outcome, updates: ArrayVec::new(), choice });

        if self.semantics.alignment_check(access, &self.regime) != AlignmentCheck::Passes {
            let outcome = Outcome::Fault(Fault::ALIGNMENT_CHECK);
            let choice = Some((Rule::Align1, CHECKED_FIRST));
            found.add(Alternative { outcome, updates: ArrayVec::new(), choice });
        }
    }

    /// The access with the linear address that is translated: masked in 64-bit mode, cut to 32 bits
    /// elsewhere. `None` when it violates LASS, is not canonical, or exceeds the limit of its segment.
    pub(crate) fn canonical_access(&self, access: &Access, rules: &mut RuleSet) -> Option<Access> {
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
    fn has_64_bit_address(&self, access: &Access) -> bool {
        F::IS_LONG_MODE && self.semantics.has_64_bit_address(access)
    }

    /// The combinations of open choices that the regime does not take and that may matter to this
    /// access.
    pub(crate) fn other_choices(
        &self,
        access: &Access,
    ) -> ArrayVec<(Choices, Rule, &'static str), 7> {
        let Regime { state, profile, choices } = self.regime;
        let is_fetch = access.kind == AccessKind::Fetch;
        let nx_is_on = state.cr4.contains(Cr4::PAE) && state.efer.contains(Efer::NXE);
        let smep_alone = state.cr4.contains(Cr4::SMEP) && !nx_is_on;
        let is_processor = F::MODE != PagingMode::Linear;
        let is_wide = self.has_64_bit_address(access);
        let is_tagged = is_wide && state.efer.contains(Efer::UAIE);

        // At most three of these are open for one access: the first two belong to different modes, and
        // each of the last three excludes the other two.
        let open: [PossibleChoice; 6] = [
            (
                F::IS_LONG_MODE && profile.global_in_pml4e_is_reserved() == Pin::Open,
                |choices| choices.global_in_pml4e_is_reserved = true,
                (Rule::Code7, "G in a PML4E is reserved"),
            ),
            (
                F::MODE == PagingMode::Pae && profile.pdptes_are_walked() == Pin::Open,
                |choices| choices.pdptes_are_walked = true,
                (Rule::Pdpte4, "PDPTEs are read during the walk"),
            ),
            (
                is_fetch && smep_alone && profile.smep_alone_reports_fetch() == Pin::Open,
                |choices| choices.smep_alone_reports_fetch = false,
                (Rule::Code8, "I/D is 0 with SMEP alone"),
            ),
            (
                is_tagged && !is_fetch,
                |choices| choices.cr2_holds_the_tag = true,
                (Rule::Canon4, "CR2 holds the tag"),
            ),
            (
                is_wide && !is_tagged && self.masking_decides(access),
                |choices| choices.bytes_follow_the_masked_first = true,
                (Rule::Canon2, BYTES_FOLLOW),
            ),
            (
                // Descriptor tables have limits of their own.
                !is_wide && is_processor && !access.implicit && passes_4_gib(access),
                |choices| choices.limit_ends_at_4_gib = true,
                (Rule::Canon2, "the segment's limit is exceeded"),
            ),
        ];

        let mut combined = ArrayVec::<(Choices, Option<OpenMember>), 8>::new();
        combined.push((choices, None));
        for (_, take, member) in open.into_iter().filter(|(is_open, ..)| *is_open) {
            for number in 0..combined.len() {
                let (mut choices, first) = combined[number];
                take(&mut choices);
                combined.push((choices, first.or(Some(member))));
            }
        }

        let others = combined.into_iter();
        others
            .filter_map(|(choices, member)| member.map(|(rule, name)| (choices, rule, name)))
            .collect()
    }

    /// Whether it matters to an access how LAM masks the bytes after the first (CANON-2).
    fn masking_decides(&self, access: &Access) -> bool {
        let follow = Choices { bytes_follow_the_masked_first: true, ..self.regime.choices };
        let is_canonical = |choices| {
            let regime = Regime { choices, ..self.regime };
            self.semantics.is_canonical(access, F::ADDRESS_BITS, &regime)
        };

        access.crosses_page() && is_canonical(follow) != is_canonical(self.regime.choices)
    }

    /// Predicts with the regime's choices. If a table is outside memory, both contents are tried that
    /// machines give it (OUT-1).
    fn predict_with<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) {
        if self.predict_in(memory, access, choice, found).is_ok() {
            return;
        }

        found.rules.insert(Rule::Out1);
        for (value, member) in [(0, "reads as zeros"), (u64::MAX, "reads as ones")] {
            let filled = OutsideReads { memory, value };
            let choice = Some((Rule::Out1, member));
            // No read fails in such memory.
            let _ = self.predict_in(&filled, access, choice, found);
        }
    }

    fn predict_in<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) -> Result<(), OutsideMemory> {
        let mut pages = ArrayVec::<WalkedPage, MAX_PAGES>::new();
        for (address, len) in self.pages(access) {
            pages.push(self.walk_page(memory, address, len, access, found)?);
        }

        self.conclude(&pages, access, choice, found);
        Ok(())
    }

    /// The number of address bits inside a page. A page larger than 4 KiB counts as several: each
    /// 4 KiB of it is walked.
    fn page_shift() -> u8 {
        F::LEVELS.last().map_or(PAGE_SHIFT, |level| level.shift.min(PAGE_SHIFT))
    }

    /// Whether an instruction can make an access of this size: it has at least one byte, and touches
    /// at most [`MAX_PAGES`] pages.
    #[inline]
    pub(crate) fn check_size(access: &Access) -> Result<(), SizeError> {
        access.check_size(Self::page_shift())
    }

    /// The pages of an access, in the order of its bytes: the first address that it touches in each,
    /// as it is walked with the regime's choices, and the number of its bytes there.
    #[inline]
    pub(crate) fn pages(&self, access: &Access) -> impl Iterator<Item = (VirtAddr, u16)> {
        let pieces = access.cut_at(Self::page_shift());
        pieces.map(|piece| (self.walked_address(piece.address, &piece), piece.size))
    }

    /// Walks for one of the access's pages.
    pub(crate) fn walk_page<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        address: VirtAddr,
        len: u16,
        access: &Access,
        found: &mut Prediction,
    ) -> Result<WalkedPage, OutsideMemory> {
        let mut path = Path::default();
        let walked = self.walk(memory, address, access, &mut path);
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

/// Whether an access with an address of 32 bits has bytes at 4 GiB and above.
const fn passes_4_gib(access: &Access) -> bool {
    let first = Access { address: access.address.truncated(32), ..*access };
    first.last_byte().get() >> 32 != 0
}

/// The rules that shape the error code of a page fault.
fn rules_of_fault(cause: Cause, access: &Access) -> RuleSet {
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
    pub(super) end: PageEnd,
}

/// How the walk for a page ended.
pub(super) enum PageEnd {
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
