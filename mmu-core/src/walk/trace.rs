//! What a walk tells about itself, to those who ask.

use crate::address::PhysAddr;
use crate::x86::format::{EntryKind, Level, MAX_LEVELS};
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{EntryError, Rights};
use arrayvec::ArrayVec;

/// One entry met by a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The level of its table.
    pub level: &'static Level,
    /// What it is for.
    pub kind: EntryKind,
    /// Where it lies.
    pub at: PhysAddr,
    /// Its value when it was read.
    pub entry: u64,
    /// The physical address in it: of the next table, or of the page.
    pub target: PhysAddr,
    /// The rights of the path down to it; without it, if it is bad.
    pub rights: Rights,
    /// What is wrong with it.
    pub error: Option<EntryError>,
}

/// Receives what a walk reports.
pub trait Trace {
    /// Whether anything is to be reported; reports that cost something are left out otherwise.
    const WANTED: bool;
    /// An entry was read.
    fn step(&mut self, step: Step);
    /// A rule decided something.
    fn rule(&mut self, rule: Rule);
}

/// Reports nothing.
impl Trace for () {
    const WANTED: bool = false;
    fn step(&mut self, _step: Step) {}
    fn rule(&mut self, _rule: Rule) {}
}

/// Keeps everything: the entries met, root first, and the rules that decided.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// The entries met.
    pub steps: ArrayVec<Step, MAX_LEVELS>,
    /// The rules that decided.
    pub rules: RuleSet,
}

impl Trace for Path {
    const WANTED: bool = true;
    fn step(&mut self, step: Step) {
        self.steps.push(step);
    }
    fn rule(&mut self, rule: Rule) {
        self.rules.insert(rule);
    }
}
