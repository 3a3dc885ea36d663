//! Who predicts a case: the reference of mmu-core, or one with a mistake.

use crate::case::{CaseMemory, NestedCase, Step};
use crate::entry;
use crate::observation::Loss;
use crosswalk_guest::contents;
use crosswalk_guest::layout::Arena;
use mmu_core::AccessKind;
use mmu_core::nested::{
    AnyRule, NestedAlternative, NestedEnd, NestedError, NestedMmu, NestedPrediction,
    NestedReference, NestedSemantics, NestedUpdate, NestedWalk,
};
use std::collections::BTreeSet;
use std::fmt;

/// What predicts the outcomes of a case.
pub trait NestedWalker: Sync {
    /// The outcomes of one step, with tables that are as `memory` says. `None` if it leads to what is not known.
    fn predict_step(
        &self,
        case: &NestedCase,
        memory: &CaseMemory<'_>,
        step: &Step,
    ) -> Option<NestedPrediction>;

    /// The walk of one step on the tables of the case, reference by reference: by default that of the reference.
    ///
    /// # Errors
    /// If the step leads to what is not known, and why.
    fn walk_step(&self, case: &NestedCase, step: &Step) -> Result<NestedWalk, NestedError> {
        REFERENCE.walk_step(case, step)
    }

    /// EXITCODE if the processor refuses to enter L2.
    fn refusal(&self, case: &NestedCase) -> Option<u64> {
        (!entry::is_legal(case)).then_some(entry::INVALID)
    }

    /// Whether the machine never comes back from a step that should end like this.
    fn loses(
        &self,
        _case: &NestedCase,
        _memory: &CaseMemory<'_>,
        _step: &Step,
        _end: &NestedEnd,
    ) -> Option<Loss> {
        None
    }
}

/// A walker that decides as these semantics do.
#[derive(Clone, Copy, Debug)]
pub struct Deciding<S>(pub S);

impl<S: NestedSemantics + Sync> NestedWalker for Deciding<S> {
    fn predict_step(
        &self,
        case: &NestedCase,
        memory: &CaseMemory<'_>,
        step: &Step,
    ) -> Option<NestedPrediction> {
        self.mmu(case).predict(memory, step.access()).ok()
    }

    fn walk_step(&self, case: &NestedCase, step: &Step) -> Result<NestedWalk, NestedError> {
        self.mmu(case).walk(&case.memory(), step.access())
    }
}

impl<S: NestedSemantics> Deciding<S> {
    fn mmu(&self, case: &NestedCase) -> NestedMmu<S> {
        NestedMmu::with_semantics(self.0, case.guest, case.second, case.profile)
    }
}

/// What the manuals say.
pub const REFERENCE: Deciding<NestedReference> = Deciding(NestedReference);

/// How a case ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseEnd {
    /// The processor refuses to enter L2: its state is illegal (APM volume 2, "Canonicalization and Consistency
    /// Checks").
    NotEntered {
        /// EXITCODE.
        code: u64,
    },
    /// L2 runs to this end.
    Of(NestedEnd),
    /// The hypervisor never runs again.
    Lost(Loss),
}

impl fmt::Display for CaseEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEntered { .. } => {
                f.write_str("the guest is not entered: its state is illegal")
            }
            Self::Of(end) => end.fmt(f),
            Self::Lost(how) => write!(f, "the hypervisor is lost: {how}"),
        }
    }
}

/// One way in which a case may end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseAlternative {
    /// The number of the step that ended it: 0 or 1.
    pub step: usize,
    /// How that step ended.
    pub end: CaseEnd,
    /// How the access itself ended, if it completed.
    pub access: Option<NestedEnd>,
    /// What becomes of the entries.
    pub updates: Vec<NestedUpdate>,
    /// If a rule leaves a choice: the rule, and its member.
    pub choice: Option<(AnyRule, &'static str)>,
}

/// Every outcome of a case that is allowed.
#[derive(Clone, Debug, Default)]
pub struct CasePrediction {
    /// The outcomes, the likeliest first.
    pub alternatives: Vec<CaseAlternative>,
    /// The rules that decided.
    pub rules: BTreeSet<AnyRule>,
}

/// Predicts a whole case; nothing if it leads to memory of which nothing is known.
pub fn predict(walker: &dyn NestedWalker, case: &NestedCase) -> CasePrediction {
    predict_on(walker, case, &case.memory())
}

fn predict_on(
    walker: &dyn NestedWalker,
    case: &NestedCase,
    before: &CaseMemory<'_>,
) -> CasePrediction {
    let steps = case.steps();
    let mut prediction = CasePrediction::default();
    if let Some(code) = walker.refusal(case) {
        prediction.alternatives.push(CaseAlternative::at_once(0, CaseEnd::NotEntered { code }));
        return prediction;
    }
    let memory = before.clone();
    let Some(first) = walker.predict_step(case, &memory, &steps[0]) else { return prediction };
    if memory.is_unknown() {
        return prediction;
    }
    add_rules(&mut prediction, &first);

    for alternative in &first.alternatives {
        if let Some(how) = walker.loses(case, &memory, &steps[0], &alternative.end) {
            prediction.alternatives.push(CaseAlternative::at_once(0, CaseEnd::Lost(how)));
            continue;
        }
        if !matches!(alternative.end, NestedEnd::Translated(_)) {
            prediction.alternatives.push(whole(0, &steps, alternative, Vec::new()));
            continue;
        }

        // The second step finds what the first one has set.
        let mut memory = before.clone();
        let updates: Vec<NestedUpdate> = alternative.updates.clone();
        for update in &updates {
            memory.set(update.at, update.must_set);
        }
        let Some(second) = walker.predict_step(case, &memory, &steps[1]) else { continue };
        if memory.is_unknown() || runs_elsewhere(case, &steps, (alternative, &second.alternatives))
        {
            return CasePrediction::default();
        }
        add_rules(&mut prediction, &second);
        for next in &second.alternatives {
            if let Some(how) = walker.loses(case, &memory, &steps[1], &next.end) {
                prediction.alternatives.push(CaseAlternative::at_once(1, CaseEnd::Lost(how)));
                continue;
            }
            let mut together = whole(1, &steps, next, updates.clone());
            if let Step::Access(_) = steps[0] {
                together.access = Some(alternative.end.clone());
            }
            together.choice = together.choice.or(alternative.choice);
            prediction.alternatives.push(together);
        }
    }
    prediction
}

/// Whether L2 would execute what is not its code: nothing is known of what it does then.
fn runs_elsewhere(
    case: &NestedCase,
    steps: &[Step; 2],
    (first, second): (&NestedAlternative, &[NestedAlternative]),
) -> bool {
    let code = case.arena().map(Arena::nested_code);
    let is_elsewhere = |end: &NestedEnd| {
        let page = end.physical_address().map(|at| at.get() & !0xfff);
        page.is_some() && page != code
    };
    match steps {
        [Step::Instruction(_), _] => is_elsewhere(&first.end),
        [_, Step::Return(_)] => second.iter().any(|way| is_elsewhere(&way.end)),
        _ => false,
    }
}

fn whole(
    step: usize,
    steps: &[Step; 2],
    alternative: &NestedAlternative,
    mut updates: Vec<NestedUpdate>,
) -> CaseAlternative {
    for update in &alternative.updates {
        match updates.iter_mut().find(|known| known.at == update.at) {
            Some(known) => {
                known.must_set |= update.must_set;
                known.may_set |= update.may_set;
            }
            None => updates.push(*update),
        }
    }
    let is_access = matches!(steps[step], Step::Access(_));
    CaseAlternative {
        step,
        end: CaseEnd::Of(alternative.end.clone()),
        access: is_access.then(|| alternative.end.clone()),
        updates,
        choice: alternative.choice,
    }
}

fn add_rules(prediction: &mut CasePrediction, step: &NestedPrediction) {
    prediction.rules.extend(step.rules.iter().map(AnyRule::Paging));
    prediction.rules.extend(step.nested_rules.iter().map(AnyRule::Nested));
}

/// Whether a walker knows of everything that the case leads to, and every access that may complete is to the two frames
/// from `first` on.
pub(crate) fn ends_within(walker: &dyn NestedWalker, case: &NestedCase, first: u64) -> bool {
    const FRAMES: u64 = 0x2000;

    let prediction = predict_on(walker, case, &case.shared_memory());
    let is_fetch = case.access.kind == AccessKind::Fetch;
    let is_good = |at: u64, len: u16| {
        let is_inside = (first..first + FRAMES).contains(&at);
        is_inside && (!is_fetch || contents::is_code(at & 0xfff, len, case.kind_of_code()))
    };
    let stays = |way: &CaseAlternative| match &way.access {
        Some(NestedEnd::Translated(spans)) => {
            spans.iter().all(|span| is_good(span.address.get(), span.len))
        }
        _ => true,
    };
    !prediction.alternatives.is_empty() && prediction.alternatives.iter().all(stays)
}

impl CaseAlternative {
    /// An end of which nothing but itself is known.
    const fn at_once(step: usize, end: CaseEnd) -> Self {
        Self { step, end, access: None, updates: Vec::new(), choice: None }
    }
}

impl fmt::Display for CaseAlternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.end.fmt(f)
    }
}
