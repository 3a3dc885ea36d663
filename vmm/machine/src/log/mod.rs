//! A machine that has run already: what an image printed is read instead of running anything.
//!
//! The caller makes the same batches as the maker of the image did, from what the head of the log says. Each
//! is encoded as on any machine. Instead of running it, [`LogMachine`] changes the guest's memory as the log says that
//! the batch did.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

mod control_page;
mod reader;
mod replay;

pub use control_page::LogProcessor;
pub use reader::{LogEnd, LogError, LogItem, LogReader};

use crate::image::Image;
use crate::jail::Jail;
use crate::memory::GuestMemory;
use crate::tape::{TapeBlock, TapeEncoder};
use crate::{
    BatchCommand, Capabilities, Identity, Interrupter, Machine, MachineError, Parts, ProvenanceMap,
    RunLog,
};
use crosswalk_case::observation::Provenance;
use crosswalk_guest::tape::needs;
use std::collections::BTreeSet;
use std::io::BufRead;
use std::sync::Arc;

/// A machine that has run already.
pub struct LogMachine {
    parts: Parts,
    reader: LogReader<Box<dyn BufRead + Send>>,
    encoder: TapeEncoder,
    /// The batches that the image does not have.
    left_out: BTreeSet<u32>,
    /// What the machine offers that has run the batches.
    ran_on: Arc<Capabilities>,
    /// The batch that was started.
    started: Option<StartedBatch>,
    end: Option<LogEnd>,
    /// Number of batches that were skipped, with all that was lacking.
    skipped: u64,
    lacking: u32,
}

struct StartedBatch {
    command: BatchCommand,
    block: TapeBlock,
}

/// What a log's machine is made of.
pub struct LogParts {
    /// What the machine is that has run the batches, and what it offers.
    pub identity: Identity,
    /// What the image was made for.
    pub made_for: Capabilities,
    /// What the machine offers.
    pub ran_on: Capabilities,
    /// Who decides all results.
    pub provenance: Provenance,
    /// The numbers of the batches that the image does not have.
    pub left_out: BTreeSet<u32>,
}

impl LogMachine {
    /// The machine whose log is read, after its control page.
    ///
    /// # Errors
    /// If there is no memory for the guest's.
    pub fn new(
        parts: LogParts,
        reader: LogReader<Box<dyn BufRead + Send>>,
    ) -> Result<Self, MachineError> {
        let LogParts { identity, made_for, ran_on, provenance, left_out } = parts;
        let image = Image::built_in()?;
        let encoder = TapeEncoder::new(made_for.profile, &image);
        let parts = Parts {
            identity,
            capabilities: made_for,
            provenance: ProvenanceMap::all(provenance),
            memory: GuestMemory::new().map_err(MachineError::host("mapping guest memory"))?,
            image,
            interrupter: Interrupter::default(),
            jail: Jail::none().report_vcpu(),
        };

        Ok(Self {
            parts,
            reader,
            encoder,
            left_out,
            ran_on: Arc::new(ran_on),
            started: None,
            end: None,
            skipped: 0,
            lacking: 0,
        })
    }

    /// How the log ends, once it has.
    pub const fn end(&self) -> Option<LogEnd> {
        self.end
    }

    /// Whether the log ends in a batch: the machine did not come back from it, or the log was cut off.
    pub const fn ends_in_batch(&self) -> bool {
        match self.end {
            Some(LogEnd::CutOff { during } | LogEnd::Restart { during }) => {
                matches!(during, Some(number) if number > 0)
            }
            _ => false,
        }
    }

    /// The number of the last line that was read.
    pub const fn line(&self) -> u64 {
        self.reader.line()
    }

    /// Number of batches that were read or left out.
    pub const fn batches(&self) -> u32 {
        self.encoder.blocks()
    }

    /// Number of batches that the machine has skipped, and the names of what it lacks for one of them.
    pub fn skipped(&self) -> (u64, Vec<String>) {
        (self.skipped, names(self.lacking))
    }

    /// Reads on to the end of a log whose batches have all been read, and compares the whole tape.
    ///
    /// # Errors
    /// If there is more, or the image had another tape.
    pub fn finish_log(&mut self, sha256: &str) -> Result<(), MachineError> {
        match self.reader.next_item()? {
            LogItem::End(end) => self.end = Some(end),
            _ => return Err(self.reader.error("expected the end of the log").into()),
        }
        if self.encoder.sha256() != sha256 {
            let problem = "the image had another tape than its head says";
            return Err(self.reader.error(problem).into());
        }
        Ok(())
    }

    /// Reads what a batch did.
    fn read(&mut self, batch: &StartedBatch) -> Result<RunLog, MachineError> {
        let expected = batch.block.header.number;
        let ran_on = Some(Arc::clone(&self.ran_on));
        if self.left_out.contains(&expected) {
            let why = format!("batch {expected} was left out of the image");
            return Ok(RunLog { skipped: Some(why), ran_on, ..RunLog::default() });
        }

        match self.reader.next_item()? {
            LogItem::Changes { number, digest, bytes } => {
                self.check_number(expected, number)?;
                if digest != batch.block.header.digest {
                    let problem = format!(
                        "batch {number} is not the one that this program makes: the log is of \
                         another image or version"
                    );
                    return Err(self.reader.error(problem).into());
                }
                replay::apply(&bytes, &batch.command, &batch.block.frames, &self.parts.memory)
                    .map_err(|problem| self.reader.error(problem))?;
                Ok(RunLog { ran_on, ..RunLog::default() })
            }
            LogItem::Skipped { number, lacking } => {
                self.check_number(expected, number)?;
                self.skipped = self.skipped.saturating_add(1);
                self.lacking |= lacking;
                let why = format!("this machine lacks {}", names(lacking).join(", "));
                Ok(RunLog { skipped: Some(why), ran_on, ..RunLog::default() })
            }
            LogItem::End(end) => {
                self.end = Some(end);
                // Nothing after it has run, and no case can be tried again.
                self.parts.interrupter.interrupt();
                Err(MachineError::Interrupted)
            }
        }
    }

    fn check_number(&self, expected: u32, number: u32) -> Result<(), LogError> {
        if number == expected {
            return Ok(());
        }
        let problem = format!("expected batch {expected}, found batch {number}: lines are missing");
        Err(self.reader.error(problem))
    }
}

/// The names of what a machine lacks.
fn names(lacking: u32) -> Vec<String> {
    let bits = needs::NAMES.iter().enumerate();
    let mut names: Vec<String> = bits
        .filter(|(bit, _)| lacking >> bit & 1 != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    if lacking & needs::EPT != 0 {
        names.push("EPT with unrestricted guests".into());
    }
    if lacking & needs::TOO_WIDE != 0 {
        names.push("reserved address bits (its MAXPHYADDR is greater than the image's)".into());
    }
    names
}

impl Machine for LogMachine {
    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn start(&mut self, command: BatchCommand) {
        let block = self.encoder.encode(&command, &self.parts.memory);
        self.started = Some(StartedBatch { command, block });
    }

    fn finish(&mut self) -> Result<RunLog, MachineError> {
        if self.parts.interrupter.is_interrupted() {
            return Err(MachineError::Interrupted);
        }
        match self.started.take() {
            Some(batch) => self.read(&batch),
            None => Ok(RunLog::default()),
        }
    }

    fn serve_request(&mut self) -> Result<(), MachineError> {
        Err(MachineError::Unavailable("a log has no virtual memory system".into()))
    }
}
