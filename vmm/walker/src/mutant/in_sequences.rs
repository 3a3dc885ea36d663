//! Walkers whose mistake shows in sequences alone.

use crate::Walker;
use crosswalk_case::Case;
use mmu_core::walk::{Path, WalkError};
use mmu_core::{Prediction, Reference, Translation, VirtAddr};

/// A mistake about what accesses leave to those behind them.
pub(super) trait SequenceMistake: Send + Sync {
    /// The prediction for every access of a sequence.
    fn predict_all(&self, case: &Case) -> Vec<Prediction>;
}

/// The walker that makes such a mistake, and is right about single accesses.
pub(super) struct InSequences<M>(pub(super) M);

impl<M: SequenceMistake> Walker for InSequences<M> {
    fn predict(&self, case: &Case) -> Prediction {
        self.predict_accesses(case).pop().expect("a case has an access")
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        let mut predictions = self.predict_accesses(case);
        predictions.pop();
        predictions
    }

    fn predict_accesses(&self, case: &Case) -> Vec<Prediction> {
        if case.is_sequence() { self.0.predict_all(case) } else { vec![Reference.predict(case)] }
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(case, address)
    }
}
