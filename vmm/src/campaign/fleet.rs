//! The machines of a campaign: one that is open, and others like it.

use super::pipeline::RunLimit;
use crosswalk_machine::{Interrupter, Machine, MachineError, MachineLine};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Opens another machine like the first. The interrupter is that of the machine, and ends the opening, too.
pub type OpenAnother<'f> =
    dyn Fn(Interrupter) -> Result<Box<dyn Machine>, MachineError> + Sync + 'f;

/// The machines that share the cases of a campaign. Each has a guest of its own.
pub struct Fleet<'f> {
    /// The first, which also reduces the examples of findings.
    pub first: &'f mut dyn Machine,
    /// Number of machines, the first included. Each of the others is opened by the thread that uses it,
    /// while the first runs cases already.
    pub machines: usize,
    /// Opens one of the others.
    pub open: &'f OpenAnother<'f>,
}

impl<'f> Fleet<'f> {
    /// One machine alone.
    pub fn alone(machine: &'f mut dyn Machine) -> Self {
        Self { first: machine, machines: 1, open: &|_| Err(MachineError::Interrupted) }
    }
}

/// Opens machines that must be like the first.
#[derive(Clone, Copy)]
pub(super) struct Opener<'f> {
    open: &'f OpenAnother<'f>,
    first: &'f MachineLine,
}

impl<'f> Opener<'f> {
    pub(super) const fn new(open: &'f OpenAnother<'f>, first: &'f MachineLine) -> Self {
        Self { open, first }
    }

    /// Opens a machine, unless the campaign is over before the machine runs.
    pub(super) fn open(self, limit: &RunLimit<'_>) -> Result<Box<dyn Machine>, MachineError> {
        /// The time between two looks at the limit.
        const LOOK: Duration = Duration::from_millis(50);

        let interrupter = Interrupter::default();
        let of_machine = interrupter.clone();
        let (send, opened) = channel();

        thread::scope(|scope| {
            scope.spawn(move || send.send(self.open_alike(of_machine)));
            loop {
                match opened.recv_timeout(LOOK) {
                    Ok(opened) => return opened,
                    Err(RecvTimeoutError::Timeout) if limit.is_over() => interrupter.interrupt(),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Err(MachineError::Interrupted),
                }
            }
        })
    }

    /// Opens a machine. If it offered something else than the first, some cases would be different on it.
    fn open_alike(self, interrupter: Interrupter) -> Result<Box<dyn Machine>, MachineError> {
        let machine = (self.open)(interrupter)?;

        check_alike(machine.as_ref(), self.first)?;
        Ok(machine)
    }
}

/// Checks that a machine offers what the first one of a run does.
///
/// # Errors
/// If it does not, and what it offers.
pub fn check_alike(machine: &dyn Machine, first: &MachineLine) -> Result<(), MachineError> {
    let line = line_of(machine);
    if line == *first {
        return Ok(());
    }
    let problem = format!(
        "another machine of this run offers something else than the first: expected {}, found \
         {}; --jobs 1 runs one machine only",
        first.describe(),
        line.describe()
    );
    Err(MachineError::Unavailable(problem))
}

/// What a machine is and offers, to compare it with another.
pub(super) fn line_of(machine: &dyn Machine) -> MachineLine {
    MachineLine::new(machine.identity(), machine.capabilities())
}
