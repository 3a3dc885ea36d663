//! The steps of a sequence: each action, how it may end, and what may be cached after it.
//!
//! What is cached is shown by the reference with caches that keep everything that may be kept. A machine
//! may have cached less.

use crate::words::{action_in_words, describe_expectation, ending_in_words, page_size};
use crosswalk_case::{Action, Case, Invpcid, TableEntry};
use crosswalk_guest::tables;
use crosswalk_walker::WalkerSpec;
use mmu_core::cache::{StructureEntry, TlbEntry};
use mmu_core::memory::{OutsideMemory, TableMemoryMut, Unshared};
use mmu_core::walk::Path;
use mmu_core::x86::control::{LoadError, Mov};
use mmu_core::x86::format::{Bits32, EntryBits, EntryKind, FiveLevel, FourLevel, Pae, levels};
use mmu_core::x86::semantics::Rights;
use mmu_core::{
    Access, Alternative, AnyCachedMmu, AnyMmu, PagingMode, PhysAddr, Prediction, Ring, Rule,
    VirtAddr,
};

/// A step of a sequence in words.
pub struct StepDrawing {
    /// What happens.
    pub action: String,
    /// How an access or a privileged instruction may end, the likeliest first; nothing for other actions.
    pub outcomes: Vec<String>,
    /// What the machine did, if it ran.
    pub observed: Option<String>,
    /// What is no longer cached, and by which rule.
    pub dropped: Vec<String>,
    /// Everything that is cached then.
    pub cached: Vec<CachedDrawing>,
}

/// Something that is cached, in words.
#[derive(Clone, PartialEq, Eq)]
pub struct CachedDrawing {
    /// What it is, and where it leads.
    pub words: String,
    /// What memory has there now, if that is something else.
    pub old: Option<String>,
}

/// The steps of a sequence, the access last, by a walker's predictions; `observed` says what a machine did in each.
pub fn steps(
    case: &Case,
    walker: WalkerSpec,
    observed: &dyn Fn(usize) -> Option<String>,
) -> Vec<StepDrawing> {
    let mut predictions = walker.walker().predict_accesses(case).into_iter();
    let mut privileged = walker.walker().predict_privileged(case).into_iter();
    let mut caches = Caches::new(case);

    let step = |(at, action): (usize, Action)| {
        let before = caches.contents();
        let rule = caches.act(action);
        let after = caches.contents();

        let outcomes = match action {
            Action::Access(_) => predictions.next().as_ref().map(outcomes),
            _ if action.is_privileged() => {
                privileged.next().map(|predicted| vec![ending_in_words(&predicted)])
            }
            _ => None,
        };
        StepDrawing {
            action: action_in_words(&action),
            outcomes: outcomes.unwrap_or_default(),
            observed: observed(at),
            dropped: caches.dropped(&before, &after, rule),
            cached: after.iter().map(|cached| caches.draw(cached)).collect(),
        }
    };
    case.script().enumerate().map(step).collect()
}

/// The access of a case as if it were alone, on the tables as the actions before it leave them: with what software
/// stores, and with the A and D that the reference sets.
pub fn last_access(case: &Case) -> Case {
    let last = case.accesses().pop().unwrap_or_else(|| case.clone());
    if case.is_sequence() { Case { entries: entries_before_last(case), ..last } } else { last }
}

/// The table entries of a sequence before its access, the last of its actions.
fn entries_before_last(case: &Case) -> Vec<TableEntry> {
    let mut caches = Caches::new(case);
    for action in &case.before {
        caches.act(*action);
    }
    caches.memory.into_inner().entries
}

fn outcomes(prediction: &Prediction) -> Vec<String> {
    let in_words = |way: &Alternative| {
        let choice =
            way.choice.map(|(rule, member)| format!(" (if {member}, {rule})")).unwrap_or_default();
        format!("{}{choice}", describe_expectation(way))
    };
    prediction.alternatives.iter().map(in_words).collect()
}

/// Something that is cached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cached {
    Structure(StructureEntry),
    Page(TlbEntry),
}

impl Cached {
    /// Whether it is for the same addresses: one may replace the other.
    fn has_place_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Structure(one), Self::Structure(two)) => {
                (one.prefix, one.shift, one.pcid) == (two.prefix, two.shift, two.pcid)
            }
            (Self::Page(one), Self::Page(two)) => {
                (one.page, one.shift, one.pcid) == (two.page, two.shift, two.pcid)
            }
            _ => false,
        }
    }

    /// The first linear address that uses it.
    const fn address(&self) -> VirtAddr {
        VirtAddr::new(match self {
            Self::Structure(entry) => entry.prefix << entry.shift,
            Self::Page(entry) => entry.page << entry.shift,
        })
    }

    const fn shift(&self) -> u8 {
        match self {
            Self::Structure(entry) => entry.shift,
            Self::Page(entry) => entry.shift,
        }
    }
}

/// The processor of a sequence, and its tables.
struct Caches {
    mmu: AnyCachedMmu,
    memory: Unshared<Case>,
}

impl Caches {
    fn new(case: &Case) -> Self {
        let tables = Case { before: Vec::new(), ..case.clone() };
        Self { mmu: AnyCachedMmu::new(case.state, case.profile), memory: Unshared::new(tables) }
    }

    /// Everything that is cached: what is used first comes first.
    fn contents(&self) -> Vec<Cached> {
        let mut structures: Vec<_> = self.mmu.structures().iter().collect();
        structures.sort_by_key(|entry| (std::cmp::Reverse(entry.shift), entry.prefix));
        let mut pages: Vec<_> = self.mmu.tlb().iter().collect();
        pages.sort_by_key(|entry| (entry.page << entry.shift, entry.shift));

        let structures = structures.into_iter().map(Cached::Structure);
        structures.chain(pages.into_iter().map(Cached::Page)).collect()
    }

    /// Follows an action. Returns the rule by which it may drop something.
    fn act(&mut self, action: Action) -> Rule {
        let state = self.mmu.regime().state;
        match action {
            Action::Access(step) => {
                // The first access that faults ends the instruction.
                let parts = step.parts();
                let mut made = parts.iter().map(|part| self.mmu.translate(&self.memory, part));
                let _ = made.find(Result::is_err);
                Rule::Tlb3
            }
            Action::Write(entry) => {
                let bytes = tables::entry_bytes(state.mode()) as u8;
                let _ = self.memory.write_entry(PhysAddr::new(entry.at), bytes, entry.value);
                Rule::Tlb2
            }
            Action::Invpcid(Invpcid { kind, descriptor }) => {
                // One that faults drops nothing.
                let _ = self.mmu.invpcid(kind, descriptor);
                Rule::Tlb4
            }
            Action::Invlpg(address) => {
                self.mmu.invlpg(address);
                Rule::Tlb4
            }
            Action::Pkru(pkru) => {
                self.mmu.write_pkru(pkru);
                Rule::Tlb4
            }
            Action::Mov(_) | Action::ReloadCr3 | Action::WriteProtect(_) => {
                // One that faults drops nothing.
                let _ = action.mov(&state).map(|mov| self.mov(mov));
                Rule::Tlb4
            }
        }
    }

    fn mov(&mut self, mov: Mov) -> Result<(), LoadError<OutsideMemory>> {
        let value = mov.value();
        match mov {
            Mov::Cr0(_) => self.mmu.write_cr0(&self.memory, value),
            Mov::Cr3(_) => self.mmu.write_cr3(&self.memory, value),
            Mov::Cr4(_) => self.mmu.write_cr4(&self.memory, value),
            Mov::Efer(_) => self.mmu.write_efer(value).map_err(LoadError::Fault),
        }
    }

    /// What was cached and has no successor.
    fn dropped(&self, before: &[Cached], after: &[Cached], rule: Rule) -> Vec<String> {
        let is_gone = |old: &&Cached| !after.iter().any(|new| new.has_place_of(old));
        let gone = before.iter().filter(is_gone);
        gone.map(|cached| format!("{} ({rule})", self.name(cached))).collect()
    }

    /// What it is: the size of the page, or the name of the entry, and the first address that uses it.
    fn name(&self, cached: &Cached) -> String {
        let address = cached.address();
        match cached {
            Cached::Structure(_) => {
                let mode = self.mmu.regime().state.mode();
                let level = levels(mode).iter().find(|level| level.shift == cached.shift());
                format!("{} for {address}", level.map_or("entry", |level| level.entry_name))
            }
            Cached::Page(entry) => format!("{} page {address}", page_size(entry.shift)),
        }
    }

    fn draw(&self, cached: &Cached) -> CachedDrawing {
        let leads = match cached {
            Cached::Structure(entry) => {
                format!("table {}, {}", entry.table, rights_in_words(entry.rights))
            }
            Cached::Page(entry) => {
                let frame = address_of_page(self.mmu.regime().state.mode(), entry);
                let frame = frame.map_or_else(String::new, |frame| frame.to_string());
                let global = if entry.global { ", global" } else { "" };
                let dirty = if entry.dirty { ", D" } else { "" };
                format!("{frame}, {}{dirty}{global}", rights_in_words(entry.rights))
            }
        };
        CachedDrawing {
            words: format!("{} -> {leads}", self.name(cached)),
            old: self.now_in_memory(cached),
        }
    }

    /// What memory has now instead of what is cached; `None` if that is the same.
    fn now_in_memory(&self, cached: &Cached) -> Option<String> {
        let regime = self.mmu.regime();
        let mut path = Path::default();
        let read = Access::read(cached.address(), 1, Ring::Zero);
        let memory = AnyMmu::new(regime.state, regime.profile);
        let _ = memory.walk(&self.memory, cached.address(), &read, &mut path);

        let Some(step) = path.steps.iter().find(|step| step.level.shift == cached.shift()) else {
            return Some("old: in memory its tables are gone".into());
        };
        let flags = (EntryBits::A | EntryBits::D).bits();
        let is_same = step.error.is_none()
            && match cached {
                Cached::Structure(entry) => {
                    step.kind == EntryKind::Table
                        && (step.target, step.rights) == (entry.table, entry.rights)
                }
                Cached::Page(entry) => {
                    step.kind == EntryKind::Leaf
                        && (step.entry ^ entry.leaf) & !flags == 0
                        && step.rights == entry.rights
                }
            };
        (!is_same).then(|| format!("old: in memory now {:#x}", step.entry))
    }
}

/// Rights in a few words.
fn rights_in_words(rights: Rights) -> String {
    let has = |right, yes, no| if rights.contains(right) { yes } else { no };
    let words = [
        has(Rights::USER, "user", "supervisor"),
        has(Rights::WRITE, "writable", "read-only"),
        has(Rights::EXECUTE, "", "not executable"),
    ];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Where a cached translation leads.
fn address_of_page(mode: PagingMode, cached: &TlbEntry) -> Option<PhysAddr> {
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => None,
        PagingMode::Bits32 => cached.frame::<Bits32>(),
        PagingMode::Pae => cached.frame::<Pae>(),
        PagingMode::FourLevel => cached.frame::<FourLevel>(),
        PagingMode::FiveLevel => cached.frame::<FiveLevel>(),
    }
}
