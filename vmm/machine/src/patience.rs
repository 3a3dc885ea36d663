//! How long to wait for a guest: counted in the time that the guest itself had. A program that was
//! stopped, a host that is busy or was suspended, says nothing about the guest.

use std::time::{Duration, Instant};

/// How long a guest may take that uses no processor time at all, as one that halts.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(30);
/// The most that counts between two looks at a clock. Those who wait look far more often, so whatever
/// is longer was spent stopped, or waiting for a processor. Both clocks need it: in a virtual machine
/// the processor time of a thread includes what the host gave to others.
const MAX_GAP: Duration = Duration::from_millis(250);

/// Decides when a guest has had its time.
#[derive(Debug)]
pub(crate) struct Patience {
    /// The processor time that the guest may use.
    limit: Duration,
    used: Duration,
    waited: Duration,
    last_look: (Duration, Instant),
}

impl Patience {
    /// Starts to wait for a guest that has used this much processor time so far.
    pub(crate) fn start(limit: Duration, used: Duration, now: Instant) -> Self {
        Self { limit, used: Duration::ZERO, waited: Duration::ZERO, last_look: (used, now) }
    }

    /// Looks at the clocks: whether the guest, which has used this much processor time by now, had
    /// enough.
    pub(crate) fn is_over(&mut self, used: Duration, now: Instant) -> bool {
        let (last_used, last_now) = std::mem::replace(&mut self.last_look, (used, now));
        self.used += used.saturating_sub(last_used).min(MAX_GAP);
        self.waited += now.saturating_duration_since(last_now).min(MAX_GAP);

        self.used >= self.limit || self.waited >= MAX_WAIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);
    const LOOK: Duration = Duration::from_millis(100);

    #[test]
    fn a_guest_that_computes_has_its_limit() {
        let (used, now) = (Duration::from_secs(7), Instant::now());
        let mut patience = Patience::start(LIMIT, used, now);

        for look in 1..40 {
            assert!(!patience.is_over(used + look * LOOK, now + look * LOOK), "look {look}");
        }
        assert!(patience.is_over(used + LIMIT, now + LIMIT));
    }

    #[test]
    fn a_guest_is_not_blamed_for_what_its_host_withheld() {
        let mut now = Instant::now();
        let mut used = Duration::ZERO;
        let mut patience = Patience::start(LIMIT, used, now);

        for look in 1..16 {
            used += Duration::from_secs(3);
            now += Duration::from_secs(3);
            assert!(!patience.is_over(used, now), "look {look}");
        }
        assert!(patience.is_over(used + LOOK * 3, now));
    }

    #[test]
    fn a_guest_that_halts_is_not_waited_for_for_ever() {
        let now = Instant::now();
        let mut patience = Patience::start(LIMIT, Duration::ZERO, now);
        let looks = (1..).take_while(|look| !patience.is_over(Duration::ZERO, now + *look * LOOK));
        assert_eq!(looks.count(), 299);
    }

    /// Nor does a busy host, where the vCPU has little of a processor.
    #[test]
    fn a_program_that_was_stopped_has_not_waited() {
        let mut now = Instant::now();
        let mut patience = Patience::start(LIMIT, Duration::ZERO, now);

        for hour in 1..=20 {
            now += Duration::from_secs(3600);
            assert!(!patience.is_over(hour * LOOK, now), "stopped {hour} times");
        }
    }
}
