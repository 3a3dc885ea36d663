//! A guest that is stopped while it is read. It runs again when it is dropped, if it ran before.

use super::qmp::Qmp;
use crate::error::{AboutFile, MemoryImageError};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long QEMU may take to resume the guest: it may still be busy with the last command.
const RESUMING: Duration = Duration::from_secs(60);

/// A monitor that several parts use. One that panicked does not matter: every command has its own answer.
#[derive(Clone, Debug)]
pub(super) struct SharedMonitor(Arc<Mutex<Qmp>>);

impl SharedMonitor {
    pub(super) fn new(monitor: Qmp) -> Self {
        Self(Arc::new(Mutex::new(monitor)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Qmp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guest that does not run.
#[derive(Debug)]
pub(super) struct StoppedGuest {
    monitor: SharedMonitor,
    about: AboutFile,
    run_state: String,
    /// Whether it is to be resumed.
    ran: AtomicBool,
}

impl StoppedGuest {
    /// Stops the guest, if it runs.
    pub(super) fn stop(
        monitor: &SharedMonitor,
        about: &AboutFile,
    ) -> Result<Self, MemoryImageError> {
        let run_state = run_state(&mut monitor.lock(), about)?;
        if matches!(run_state.as_str(), "inmigrate" | "restore-vm") {
            let problem =
                format!("its memory is not complete yet: QEMU's run state is {run_state}");
            return Err(about.lacking(problem));
        }

        let ran = AtomicBool::new(run_state == "running");
        let guest = Self { monitor: monitor.clone(), about: about.clone(), run_state, ran };
        if guest.ran.load(Ordering::Relaxed) {
            let stopped = guest.stop_running();
            stopped.map_err(|error| guest.resume_after(error))?;
        }
        Ok(guest)
    }

    fn stop_running(&self) -> Result<(), MemoryImageError> {
        let mut monitor = self.monitor.lock();
        monitor.execute("stop", &json!({}))?;
        match run_state(&mut monitor, &self.about)?.as_str() {
            "running" => Err(self.about.malformed("stop", "expected that the guest is stopped")),
            _ => Ok(()),
        }
    }

    /// The run state that the guest had.
    pub(super) fn run_state(&self) -> &str {
        &self.run_state
    }

    /// Resumes the guest, if it ran before. Whatever else stopped it meanwhile has the last word.
    pub(super) fn resume(&self) -> Result<(), MemoryImageError> {
        if !self.ran.swap(false, Ordering::Relaxed) {
            return Ok(());
        }

        let mut monitor = self.monitor.lock();
        let resumed = match run_state(&mut monitor, &self.about) {
            Ok(state) if state != "paused" => return Ok(()),
            // It may be that only the question was not answered.
            _ => monitor.execute_within(RESUMING, "cont", &json!({})),
        };
        let state = resumed.and_then(|_| run_state(&mut monitor, &self.about));
        match state {
            Ok(state) if state == "paused" => {
                Err(self.about.not_resumed("it is still paused after `cont`"))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(self.about.not_resumed(error.to_string())),
        }
    }

    /// Resumes the guest after an error. A guest that stays stopped matters more.
    pub(super) fn resume_after(&self, error: MemoryImageError) -> MemoryImageError {
        match self.resume() {
            Ok(()) => error,
            Err(worse) => self.about.not_resumed(format!("{error}; then {worse}")),
        }
    }
}

impl Drop for StoppedGuest {
    /// What was not resumed until now is resumed at a panic, or behind an error of something else.
    fn drop(&mut self) {
        let _ = self.resume();
    }
}

fn run_state(monitor: &mut Qmp, about: &AboutFile) -> Result<String, MemoryImageError> {
    let answer = monitor.execute("query-status", &json!({}))?;
    let state = answer.get("status").and_then(Value::as_str);
    let state = state.ok_or_else(|| about.malformed("query-status", "expected a run state"))?;
    Ok(state.to_owned())
}
