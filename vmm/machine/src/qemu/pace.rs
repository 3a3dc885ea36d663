//! How fast the guest has run batches so far: when it pays to look for the result of the next one.

use std::time::Duration;

/// The time that a batch takes, by its number of records.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds for a record, at best.
    record: Option<f64>,
}

impl Pace {
    /// Number of records from which on the time of a batch is that of its records.
    const MIN_RECORDS: usize = 100;
    /// A result that comes late counts for more than one that is looked for early.
    const CAUTION: f64 = 0.75;
    /// A thread that waits sees no interruption meanwhile, and a hostile guest may have been slow on purpose.
    const MAX_EXPECTED: Duration = Duration::from_millis(50);

    /// How long a batch with this many records will take at least.
    pub(super) fn expected(&self, records: usize) -> Duration {
        if records < Self::MIN_RECORDS {
            return Duration::ZERO;
        }
        let expected = self.record.unwrap_or(0.0) * records as f64 * Self::CAUTION;
        Duration::from_secs_f64(expected).min(Self::MAX_EXPECTED)
    }

    /// Notes how long a batch took. Only the fastest counts: the others may have shared their processor, and
    /// one whose result was looked for too late may have been faster.
    pub(super) fn note(&mut self, records: usize, took: Duration) {
        if records < Self::MIN_RECORDS {
            return;
        }
        let record = took.as_secs_f64() / records as f64;
        self.record = Some(self.record.map_or(record, |known| record.min(known)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_guest_does_not_keep_its_host_from_an_interruption() {
        let mut pace = Pace::default();
        pace.note(100, Duration::from_secs(3));
        assert_eq!(pace.expected(1000), Duration::from_millis(50));
    }

    #[test]
    fn only_the_fastest_batch_counts() {
        let mut pace = Pace::default();
        assert_eq!(pace.expected(1000), Duration::ZERO);

        pace.note(1000, Duration::from_millis(4));
        assert_eq!(pace.expected(1000), Duration::from_millis(3));
        assert_eq!(pace.expected(500), Duration::from_micros(1500));

        pace.note(1000, Duration::from_secs(1));
        assert_eq!(pace.expected(1000), Duration::from_millis(3));
        pace.note(3, Duration::from_nanos(3));
        assert_eq!(pace.expected(1000), Duration::from_millis(3));
        pace.note(2000, Duration::from_millis(2));
        assert_eq!(pace.expected(1000), Duration::from_micros(750));
    }
}
