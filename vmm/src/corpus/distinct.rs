//! Cases that are the same whatever processor they were made for.

use super::read::{CorpusError, CorpusItem, CorpusReader};
use crate::generate::CaseName;
use crosswalk_case::Case;
use mmu_core::Profile;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// What a case does, without the processor that it was made for: a digest, since there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaseKey([u8; 32]);

impl CaseKey {
    /// The key of a case.
    pub fn of(case: &Case) -> Self {
        let anywhere = Case { profile: Profile::default(), ..case.clone() };
        Self(Sha256::digest(anywhere.to_string()).into())
    }
}

/// The cases of a corpus. Of those that differ in nothing but the processor the first counts.
///
/// # Errors
/// When the corpus is damaged.
pub fn distinct_cases(reader: CorpusReader) -> Result<Vec<(CaseName, Case)>, CorpusError> {
    let mut known = BTreeSet::new();
    let mut cases = Vec::new();

    for item in reader {
        if let CorpusItem::Case(recorded) = item?
            && known.insert(CaseKey::of(&recorded.case))
        {
            cases.push((recorded.name, recorded.case));
        }
    }
    Ok(cases)
}
