//! All walks of `mmu-core` against an oracle: whatever the tables are, `walk`, `predict`, `probe`,
//! `translate` and the MMU with caches agree with a walker that shares no code with them about the
//! outcome, the error code, CR2, the physical address, the size of the page, and A and D.
//!
//! Input: registers and processor ([`StateAndProfile`]), 64 entries of four bytes, an access, and then steps: an
//! access each, or an edit of an entry with its invalidation.

mod input;
mod oracle;
mod ram;

use crate::reader::Reader;
use input::StateAndProfile;
use mmu_core::cache::Invalidation;
use mmu_core::walk::WalkError;
use mmu_core::x86::semantics::{Cause, EntryError};
use mmu_core::{
    Access, AccessError, AccessTranslation, AnyCachedMmu, AnyMmu, Fault, Outcome, PhysAddr,
    Reference, Translation, Vector, VirtAddr,
};
use oracle::{Attempted, Reached, Refused};
use ram::{Ram, SharedRam};

/// Caches so small that entries are evicted.
type SmallCaches = AnyCachedMmu<Reference, 2, 2, 2>;

/// Maximum number of steps after the first access.
const MAX_STEPS: usize = 12;

/// Compares every walk with the oracle.
///
/// # Panics
/// When they differ.
pub fn differential(input: &[u8]) {
    let mut input = Reader::new(input);
    let given = StateAndProfile::read(&mut input);
    let mut ram = input::ram(&mut input);

    let mmu = AnyMmu::new(given.state, given.profile);
    let mut cached = SmallCaches::with_semantics(Reference, given.state, given.profile);
    let mode = given.state.mode();

    for _ in 0..=MAX_STEPS {
        let access = input::access(&mut input, mode);
        ram = ComparedAccess { given: &given, mmu: &mmu, access: &access }.all(&ram, &mut cached);
        if input.is_at_end() {
            return;
        }

        let edits = input.u8();
        if edits & 1 != 0 {
            let number = usize::from(edits >> 1);
            ram.store(number, input::entry(&mut input));
            cached.invalidate(Invalidation::Everything);
        }
    }
}

/// An access, and who translates it.
struct ComparedAccess<'g> {
    given: &'g StateAndProfile,
    mmu: &'g AnyMmu,
    access: &'g Access,
}

impl ComparedAccess<'_> {
    /// Compares all walks for an access. Returns memory with A and D set.
    fn all(&self, ram: &Ram, cached: &mut SmallCaches) -> Ram {
        let Self { given, mmu, access } = self;
        let attempted = input::attempted(access);
        let oracle =
            |ram: &mut Ram, sets_flags| given.processor.access(ram, &attempted, sets_flags);

        let expected = oracle(&mut ram.clone(), false);
        let untouched = SharedRam::new(ram);
        self.same("probe", mmu.probe(&untouched, access), &expected);
        self.same("probe with caches", cached.probe(&untouched, access), &expected);
        self.walk(&untouched, &attempted, ram);
        self.predict(&untouched, ram, &expected);

        let mut after = ram.clone();
        let expected = oracle(&mut after, true);
        for name in ["translate", "translate with caches"] {
            let memory = SharedRam::new(ram);
            let translated = match name {
                "translate" => mmu.translate(&memory, access),
                _ => cached.translate(&memory, access),
            };
            self.same(name, translated, &expected);
            assert_eq!(memory.0.into_inner(), after, "{name}: memory afterwards, {access:?}");
        }
        after
    }

    /// Compares the answer to an access.
    fn same(
        &self,
        name: &str,
        found: Result<AccessTranslation, AccessError>,
        expected: &Result<Vec<Reached>, Refused>,
    ) {
        let found = match found {
            Ok(translation) => Ok(reached(&translation)),
            Err(AccessError::Fault(fault)) => Err(refused(fault)),
            Err(AccessError::Memory(outside)) => Err(Refused::NoMemory(outside.0.get())),
            Err(other) => panic!("{name}: {other} for {:?}", self.access),
        };
        assert_eq!(&found, expected, "{name}: {:?}", self.access);
    }

    /// The walk for the first page.
    fn walk(&self, memory: &SharedRam, attempted: &Attempted, ram: &Ram) {
        let in_page = 0x1000 - attempted.address % 0x1000;
        let first = Attempted { size: attempted.size.min(in_page), ..*attempted };
        let expected = self.given.processor.access(&mut ram.clone(), &first, false);
        if matches!(expected, Err(Refused::General { .. })) {
            return;
        }

        let linear = self.given.processor.linear(attempted.address, attempted);
        let linear = VirtAddr::new(linear);
        let walked = self.mmu.walk(memory, linear, self.access, &mut ());
        self.others(memory, linear, walked);
        let is_same = match (walked, &expected) {
            (Ok(translation), Ok(pages)) => translation.address.get() == pages[0].physical,
            (Err(WalkError::Fault(cause)), Err(Refused::PageFault { code, .. })) => {
                let [present, reserved] = [code & 1 != 0, code >> 3 & 1 != 0];
                match cause {
                    Cause::Entry(EntryError::NotPresent) => !present,
                    Cause::Entry(EntryError::Reserved(_)) => reserved,
                    Cause::Denied(_) => present && !reserved,
                }
            }
            (Err(WalkError::Memory(outside)), Err(Refused::NoMemory(at))) => outside.0.get() == *at,
            _ => false,
        };
        assert!(is_same, "walk: {walked:?} instead of {expected:?} for {:?}", self.access);
    }

    /// The walk for many addresses finds the same for each, and what is located is what is walked.
    fn others(&self, memory: &SharedRam, linear: VirtAddr, walked: Result<Translation, WalkError>) {
        /// More than go down together, and some that are left.
        const MANY: usize = 8 + 1;

        let mut found = 0;
        self.mmu.walk_batch(memory, &[linear; MANY], self.access, |address, in_batch| {
            assert_eq!((address, in_batch), (linear, walked), "batch: {:?}", self.access);
            found += 1;
        });
        assert_eq!(found, MANY);

        let located = self.mmu.locate(memory, linear);
        match walked {
            Ok(translation) => assert_eq!(located, Ok(translation.address), "{linear}"),
            Err(WalkError::Fault(Cause::Denied(_))) => assert!(located.is_ok(), "{linear}"),
            Err(error) => assert_eq!(located, Err(error), "{linear}"),
        }
    }

    /// The likeliest outcome of a prediction is the oracle's, and its updates are those of memory. Where
    /// a table is outside memory, both of its contents are predicted (OUT-1).
    fn predict(&self, memory: &SharedRam, ram: &Ram, expected: &Result<Vec<Reached>, Refused>) {
        let prediction = self.mmu.predict(memory, self.access).expect("sizes are possible");
        let outcomes: Vec<_> =
            prediction.alternatives.iter().map(|one| outcome(&one.outcome)).collect();

        if matches!(expected, Err(Refused::NoMemory(_))) {
            for value in [0, u64::MAX] {
                let mut filled = Ram { outside: Some(value), ..ram.clone() };
                let attempted = input::attempted(self.access);
                let expected = self.given.processor.access(&mut filled, &attempted, false);
                let expected = expected.map(|pages| without_page_sizes(&pages));
                assert!(outcomes.contains(&expected), "predict: no {expected:?} in {outcomes:?}");
            }
            return;
        }

        let expected = expected.clone().map(|pages| without_page_sizes(&pages));
        assert_eq!(outcomes[0], expected, "predict: {:?}", self.access);
        self.updates(&prediction.alternatives[0].updates, ram, expected.is_ok());
    }

    /// What an access that completes must set is set afterwards, and nothing else; and one that faults sets
    /// nothing that it may not.
    fn updates(&self, updates: &[mmu_core::EntryUpdate], ram: &Ram, completes: bool) {
        let entry_bytes = if self.given.processor.cr4 >> 5 & 1 == 0 { 4 } else { 8 };
        let mut after = ram.clone();
        let attempted = input::attempted(self.access);
        let _ = self.given.processor.access(&mut after, &attempted, true);

        let mut predicted = ram.clone();
        for update in updates {
            let open = if completes { 0 } else { update.may_set };
            predicted.set(update.at.get(), entry_bytes, update.must_set | open);
        }

        if completes {
            assert_eq!(predicted, after, "predict: entries after {:?}", self.access);
        }
        let bytes = after.bytes.iter().zip(&predicted.bytes);
        let are_allowed = bytes.into_iter().all(|(after, predicted)| after & !predicted == 0);
        assert!(are_allowed, "predict: {after:?} is not allowed after {:?}", self.access);
    }
}

fn reached(translation: &AccessTranslation) -> Vec<Reached> {
    let pages = translation.spans().zip(translation.translations());
    pages
        .map(|(span, page)| Reached {
            physical: span.address.get(),
            len: span.len.into(),
            page_shift: page.page_size().map(|size| size.shift().into()),
        })
        .collect()
}

fn refused(fault: Fault) -> Refused {
    match fault.vector {
        Vector::PageFault => Refused::PageFault {
            code: fault.error_code,
            cr2: fault.cr2.expect("a page fault has an address").get(),
        },
        vector => Refused::General { vector: vector as u8 },
    }
}

fn outcome(outcome: &Outcome) -> Result<Vec<(PhysAddr, u64)>, Refused> {
    match outcome {
        Outcome::Translated(spans) => {
            Ok(spans.iter().map(|span| (span.address, span.len.into())).collect())
        }
        Outcome::Fault(fault) => Err(refused(*fault)),
    }
}

fn without_page_sizes(pages: &[Reached]) -> Vec<(PhysAddr, u64)> {
    pages.iter().map(|page| (PhysAddr::new(page.physical), page.len)).collect()
}
