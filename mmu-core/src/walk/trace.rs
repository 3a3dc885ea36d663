//! What a walk reports, and to whom.

use super::Mmu;
use crate::access::{Access, AccessKind};
use crate::address::PhysAddr;
use crate::x86::format::{EntryBits, EntryKind, Format, Level, MAX_LEVELS};
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{Denial, EntryError, Rights, Semantics};
use crate::x86::state::Cr4;
use arrayvec::ArrayVec;

/// One entry on the path of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The level of its table.
    pub level: &'static Level,
    /// What it is for.
    pub kind: EntryKind,
    /// Its physical address.
    pub at: PhysAddr,
    /// Its value when it was read.
    pub entry: u64,
    /// The physical address in it: of the next table, or of the page.
    pub target: PhysAddr,
    /// The rights of the path down to it, itself included unless it is bad.
    pub rights: Rights,
    /// What is wrong with it.
    pub error: Option<EntryError>,
}

impl Step {
    /// Whether this flag of the entry is set. Entries without flags count as if all were set.
    pub(crate) fn has(&self, flag: EntryBits) -> bool {
        !self.level.has_flags || EntryBits::from_bits_retain(self.entry).contains(flag)
    }
}

/// Receives what a walk reports.
pub trait Trace {
    /// Whether it receives anything at all. If not, a walk in which nothing goes wrong has a shorter way.
    const LISTENS: bool = true;

    /// Whether rules are wanted. If not, the walk does not work out which of them applied.
    const WANTED: bool;

    /// An entry was read.
    fn step(&mut self, step: Step);

    /// A rule decided something.
    fn rule(&mut self, rule: Rule);
}

/// Ignores every report.
impl Trace for () {
    const LISTENS: bool = false;
    const WANTED: bool = false;

    fn step(&mut self, _step: Step) {}

    fn rule(&mut self, _rule: Rule) {}
}

/// Keeps every report of one walk: the entries on the path, root first, and the rules that decided.
/// A second walk needs a path of its own: entries for which there is no room are not kept.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// The entries on the path.
    pub steps: ArrayVec<Step, MAX_LEVELS>,
    /// The rules that decided.
    pub rules: RuleSet,
}

impl Trace for Path {
    const WANTED: bool = true;

    fn step(&mut self, step: Step) {
        let _ = self.steps.try_push(step);
    }

    fn rule(&mut self, rule: Rule) {
        self.rules.insert(rule);
    }
}

/// Keeps the rules alone.
impl Trace for RuleSet {
    const WANTED: bool = true;

    fn step(&mut self, _step: Step) {}

    fn rule(&mut self, rule: Rule) {
        self.insert(rule);
    }
}

/// The reasons to deny an access that R/W, U/S and XD give.
const BY_FLAGS: Denial =
    Denial::SUPERVISOR_PAGE.union(Denial::READ_ONLY).union(Denial::EXECUTE_DISABLED);

/// Which rules applied at a step of a walk.
impl<F: Format, R: Semantics> Mmu<F, R> {
    /// The rule of the format that a good entry shows at work.
    #[inline]
    pub(super) fn trace_good_entry<T: Trace>(
        &self,
        level: &Level,
        kind: EntryKind,
        entry: u64,
        trace: &mut T,
    ) {
        if T::WANTED
            && let Some(rule) = F::rule_at_work(level, kind, entry, &self.regime)
        {
            trace.rule(rule);
        }
    }

    /// The rules that a bad entry brings into play.
    #[inline]
    pub(super) fn trace_entry_error<T: Trace>(
        &self,
        level: &Level,
        kind: EntryKind,
        error: EntryError,
        rights: Rights,
        access: &Access,
        trace: &mut T,
    ) {
        if !T::WANTED {
            return;
        }

        match error {
            EntryError::NotPresent => trace.rule(Rule::Code1),
            EntryError::Reserved(bits) => {
                for (group, rule) in F::reserved_bits(level, kind, &self.regime) {
                    if group & bits != 0 {
                        trace.rule(rule);
                    }
                }
            }
        }

        // A walker that judges rights on the way would have denied the access before it read this
        // entry. Only the flags count here: SMEP, SMAP and the key depend on the entries below, too.
        let denial = self.semantics.denial(rights, rights, 0, access, &self.regime);
        if denial.intersects(BY_FLAGS) {
            trace.rule(Rule::Code2);
        }
    }

    /// The rules that the leaf and the rights of the whole path bring into play.
    #[inline]
    pub(super) fn trace_leaf<T: Trace>(
        &self,
        level: &Level,
        leaf: u64,
        rights: Rights,
        denial: Denial,
        access: &Access,
        trace: &mut T,
    ) {
        if !T::WANTED {
            return;
        }

        for (applies, rule) in [
            (level.has_pat(leaf), Rule::Mode11),
            (denial.intersects(BY_FLAGS), Rule::Right1),
            (self.wp_decides(rights, access), Rule::Right2),
            (denial.contains(Denial::SMEP), Rule::Right3),
            (denial.contains(Denial::SMAP) || self.ac_excuses(rights, access), Rule::Right4),
            (self.keys_restrict(), Rule::Right5),
            (denial.contains(Denial::KEY), Rule::Right6),
            (access.shadow_stack, Rule::Right7),
            (access.kind == AccessKind::Clflush, Rule::Right8),
        ] {
            if applies {
                trace.rule(rule);
            }
        }
    }

    /// Whether CR0.WP decides about a write, one way or the other.
    fn wp_decides(&self, rights: Rights, access: &Access) -> bool {
        self.semantics.is_write(access) && !rights.contains(Rights::WRITE) && !access.is_user()
    }

    /// Whether SMAP would deny the access, were it not for EFLAGS.AC.
    fn ac_excuses(&self, rights: Rights, access: &Access) -> bool {
        let state = &self.regime.state;

        access.ac
            && state.cr4.contains(Cr4::SMAP)
            && rights.contains(Rights::USER)
            && !access.is_user()
            && !access.implicit
            && access.kind != AccessKind::Fetch
    }

    /// Whether protection keys are on and any of them restricts accesses.
    fn keys_restrict(&self) -> bool {
        let state = &self.regime.state;
        let user_keys = state.cr4.contains(Cr4::PKE) && state.pkru != 0;
        let supervisor_keys = state.cr4.contains(Cr4::PKS) && state.pkrs != 0;

        F::IS_LONG_MODE && (user_keys || supervisor_keys)
    }
}
