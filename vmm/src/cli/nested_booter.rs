//! Nested cases on an emulator that boots an image by itself: some thousand of them are on each image.

use super::booter::Booter;
use super::failure::{Failure, print_error};
use super::image::no_image;
use crate::image::NoImage;
use crosswalk_case::observation::Provenance;
use crosswalk_guest::tape::{Checksum, Token, digits};
use crosswalk_machine::host;
use crosswalk_machine::image::Image;
use crosswalk_machine::log::{LogMachine, LogParts, LogProcessor, LogReader};
use crosswalk_machine::memory::GuestMemory;
use crosswalk_machine::tape::{Payload, TapeEncoder};
use crosswalk_machine::{Capabilities, Identity, LeftOut};
use crosswalk_nested::NestedCase;
use crosswalk_nested::batch::encode;
use crosswalk_nested::generate::CaseBatch;
use crosswalk_nested::requirements::cannot_run;
use std::collections::BTreeSet;
use std::io::{BufRead, Cursor};

/// What the head of such an image says: it is read by the program that has made it, at once.
const HEAD: &str = "nested cases";

/// Number of batches on an image.
pub(super) const BATCHES_OF_IMAGE: u64 = 200;

impl Booter {
    /// What the emulator offers nested cases, by an image with next to nothing on it.
    pub(super) fn probe_nested(&self) -> Result<Capabilities, Failure> {
        let probe = self.probe()?;
        let profile = probe.profile();
        let modes = crosswalk_machine::tape::capabilities(profile, Vec::new(), LeftOut::empty());
        let offer = |mode| {
            (
                mode,
                probe
                    .processor
                    .has_mode(mode)
                    .then_some(())
                    .ok_or_else(|| "the processor does not have it".to_owned()),
            )
        };
        Ok(Capabilities {
            modes: mmu_core::PagingMode::ALL.into_iter().map(offer).collect(),
            virtualization: probe.processor.virtualization(),
            ..modes
        })
    }

    /// Boots an image with these batches, and returns what it did as a machine that can run each of them once, in
    /// their order.
    pub(super) fn run_nested(
        &self,
        batches: &[CaseBatch],
        offered: &Capabilities,
    ) -> Result<LogMachine, Failure> {
        let payload = payload(batches, offered).map_err(|error| no_image(&error))?;
        let log = self.boot_payload(&payload)?;
        if let Some(why) = &log.cut_off {
            print_error(why);
        }

        let machine = self.machine();
        let in_log = |problem: String| {
            Failure::machine(format!("the log of {}, {problem}", machine.version))
        };
        let source = Box::new(Cursor::new(log.bytes)) as Box<dyn BufRead + Send>;
        let mut reader = LogReader::new(source);
        let head = reader.head().map_err(|error| in_log(error.to_string()))?;
        if head != HEAD {
            return Err(in_log(format!("line 1: expected {HEAD:?}, found another head")));
        }
        let processor =
            LogProcessor::read(&mut reader).map_err(|error| in_log(error.to_string()))?;

        let parts = LogParts {
            identity: Identity {
                kind: machine.kind.into(),
                flavour: machine.kind.into(),
                beneath: host::beneath(),
                cpu: processor.name(),
                host_kernel: host::kernel(),
                version: Some(machine.version),
            },
            made_for: offered.clone(),
            ran_on: offered.clone(),
            provenance: Provenance::Emulator,
            left_out: BTreeSet::new(),
        };
        Ok(LogMachine::new(parts, reader)?)
    }

    /// The same with those of these cases that can run, each in a batch of its own.
    pub(super) fn run_nested_alone<'c>(
        &self,
        cases: impl IntoIterator<Item = &'c NestedCase>,
        offered: &Capabilities,
    ) -> Result<LogMachine, Failure> {
        let run = cases.into_iter().filter(|case| cannot_run(case, offered).is_none());
        let batches: Vec<CaseBatch> = run.map(CaseBatch::alone).collect();
        self.run_nested(&batches, offered)
    }
}

/// An image with these batches.
fn payload(batches: &[CaseBatch], offered: &Capabilities) -> Result<Payload, NoImage> {
    let image = Image::built_in()?;
    let memory = GuestMemory::new()?;
    let mut encoder = TapeEncoder::new(offered.profile, &image);

    let mut tape = Vec::new();
    for batch in batches {
        let command = encode(batch).write(&memory, offered);
        tape.extend(encoder.encode(&command, &memory).bytes);
        Payload::check_tape(tape.len())?;
    }

    let sum = digits(Checksum::of(HEAD.as_bytes()).0);
    let ascii = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let head = format!("{}{} {HEAD}\n", ascii(&Token::Head.text()), ascii(&sum));
    Ok(Payload::new(&image, &head, &tape, encoder.blocks())?)
}
