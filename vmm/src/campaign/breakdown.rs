//! Where the time of a campaign goes.

use crosswalk_machine::RunTime;
use std::ops::AddAssign;
use std::time::Duration;

/// The processor time of each phase of the cases so far. The guest has a processor of its own, so its
/// time passes beside that of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breakdown {
    /// Making cases.
    pub generating: Duration,
    /// Encoding batches, and writing them into guest memory.
    pub encoding: Duration,
    /// Running batches: in the guest, and in what runs it.
    pub guest: Duration,
    /// Handing batches to the machine and taking them back.
    pub exit: Duration,
    /// Reading back what the guest left, and comparing its memory with what was there before.
    pub reading_back: Duration,
    /// Predicting cases, comparing the predictions with what was observed, and counting.
    pub judging: Duration,
}

impl Breakdown {
    /// Every phase with its name, in the order of a case.
    pub const fn named(&self) -> [(&'static str, Duration); 6] {
        [
            ("generating", self.generating),
            ("encoding", self.encoding),
            ("guest", self.guest),
            ("exit", self.exit),
            ("reading_back", self.reading_back),
            ("judging", self.judging),
        ]
    }
}

impl AddAssign for Breakdown {
    fn add_assign(&mut self, other: Self) {
        self.generating += other.generating;
        self.encoding += other.encoding;
        self.guest += other.guest;
        self.exit += other.exit;
        self.reading_back += other.reading_back;
        self.judging += other.judging;
    }
}

/// Adds the time of a run.
impl AddAssign<RunTime> for Breakdown {
    fn add_assign(&mut self, RunTime { guest, exit }: RunTime) {
        self.guest += guest;
        self.exit += exit;
    }
}
