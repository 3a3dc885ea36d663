//! How much a journal can say. A journal may come from anywhere: what is in bounds adds up, over as
//! many shards as there can be, without an overflow.

use crate::generate::Shard;

/// The most cases of a shard: at a million a second they take a hundred days.
const MAX_CASES: u64 = 1 << 43;

const _: () = assert!(MAX_CASES.checked_mul(Shard::MAX_COUNT).is_some(), "all shards add up");

/// The longest time of a shard, in seconds: some 30 years.
const MAX_SECONDS: f64 = 1e9;

/// Checks a number of cases, or of anything of which a case has at most one.
pub(super) fn check_count(count: u64) -> Result<(), String> {
    if count <= MAX_CASES {
        Ok(())
    } else {
        Err(format!("expected a count of at most {MAX_CASES}, found {count}"))
    }
}

/// Checks a time.
pub(super) fn check_seconds(seconds: f64) -> Result<(), String> {
    if (0.0..=MAX_SECONDS).contains(&seconds) {
        Ok(())
    } else {
        Err(format!("expected seconds from 0 to {MAX_SECONDS}, found {seconds}"))
    }
}
