//! Images that boot by themselves: what one carries, and the head of its log, from which the same batches are made
//! again.

mod head;

pub use head::{BadHead, HeadLine};

use crate::generate::{Generator, Schedule, SequenceUse, Shard};
use crosswalk_case::Case;
use crosswalk_machine::batch::{Batch, Encoded, arena_of};
use crosswalk_machine::image::Image;
use crosswalk_machine::memory::GuestMemory;
use crosswalk_machine::tape::{self, Payload, PayloadTooLong, TapeEncoder};
use crosswalk_machine::{Capabilities, ImageError, LeftOut};
use mmu_core::{PagingMode, Profile};
use std::collections::BTreeSet;
use std::io;

/// What an image carries. It decides every batch.
#[derive(Clone, Debug)]
pub struct ImagePlan {
    /// The processor that the cases are made for.
    pub profile: Profile,
    /// The kinds of cases that it leaves out.
    pub left_out: LeftOut,
    /// The batches that it leaves out, by their numbers from 1.
    pub skipped: BTreeSet<u32>,
    /// The cases.
    pub cases: CasesOfImage,
}

/// The cases of an image.
#[derive(Clone, Debug)]
pub enum CasesOfImage {
    /// Random cases.
    Random {
        /// Their seed.
        seed: u64,
        /// Their modes.
        modes: Vec<PagingMode>,
        /// Their number.
        count: u64,
        /// Whether there are sequences among them.
        sequences: SequenceUse,
    },
    /// These cases, each in a batch of its own.
    Listed(Vec<Case>),
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum NoImage {
    /// It has too many cases.
    #[error(transparent)]
    TooLong(#[from] PayloadTooLong),
    /// A case does not fit an image.
    #[error("case {number} cannot be in an image: {why}")]
    Case {
        /// Its place in the list, from 1.
        number: usize,
        /// Why it cannot.
        why: String,
    },
    /// There is no memory for the guest's.
    #[error("guest memory cannot be mapped: {0}")]
    Memory(#[from] io::Error),
    /// This program was not built properly.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// A finished image.
#[derive(Debug)]
pub struct BootableImage {
    /// What a loader puts into memory.
    pub payload: Payload,
    /// The head of its log.
    pub head: HeadLine,
    /// Number of bytes of the tape.
    pub tape_bytes: usize,
}

impl ImagePlan {
    /// What the image offers to the generators of its cases.
    pub fn capabilities(&self) -> Capabilities {
        let is_chosen = |mode: PagingMode| match &self.cases {
            CasesOfImage::Random { modes, .. } => modes.contains(&mode),
            CasesOfImage::Listed(_) => true,
        };
        let modes = PagingMode::ALL.into_iter().map(|mode| {
            let offer = is_chosen(mode).then_some(()).ok_or("the image was made without it");
            (mode, offer.map_err(str::to_owned))
        });
        tape::capabilities(self.profile, modes.collect(), self.left_out)
    }

    /// The order of random cases; `None` if the cases are listed.
    pub fn schedule(&self) -> Option<Schedule> {
        let CasesOfImage::Random { seed, modes, count, sequences } = &self.cases else {
            return None;
        };
        let generators = sequences.generators(Generator::Random(*seed));
        let machine = self.capabilities();
        Some(Schedule::new(&generators, modes, &machine, Shard::WHOLE, Some(*count)))
    }

    /// Makes the image.
    ///
    /// # Errors
    /// If it is too long, or a case does not fit.
    ///
    /// # Panics
    /// If this program was not built properly.
    pub fn build(&self) -> Result<BootableImage, NoImage> {
        let image = Image::built_in()?;
        let memory = GuestMemory::new()?;
        let mut writer = TapeWriter {
            plan: self,
            encoder: TapeEncoder::new(self.profile, &image),
            machine: self.capabilities(),
            image: &image,
            memory: &memory,
            tape: Vec::new(),
            blocks: 0,
        };

        if let CasesOfImage::Listed(cases) = &self.cases {
            for (number, case) in (1..).zip(cases) {
                writer.add_case(case).map_err(|why| NoImage::Case { number, why })?;
                writer.check_length()?;
            }
        } else if let Some(schedule) = self.schedule() {
            let mut next = schedule.turn(0);
            while let Some(turn) = next {
                let batch = schedule.batch(&turn);
                writer.add(&Encoded::new(batch, &image, &writer.machine));
                writer.check_length()?;
                next = schedule.turn(turn.number + 1);
            }
        }

        let TapeWriter { encoder, tape, blocks, .. } = writer;
        let head = HeadLine::new(self, encoder.blocks(), encoder.sha256());
        let payload = Payload::new(&image, &head.line(), &tape, blocks)?;
        Ok(BootableImage { payload, head, tape_bytes: tape.len() })
    }
}

/// Writes a tape.
struct TapeWriter<'w> {
    plan: &'w ImagePlan,
    encoder: TapeEncoder,
    machine: Capabilities,
    image: &'w Image,
    memory: &'w GuestMemory,
    tape: Vec<u8>,
    /// Number of blocks on the tape.
    blocks: u32,
}

impl TapeWriter<'_> {
    /// Adds a batch of one case, or says why it cannot run.
    fn add_case(&mut self, case: &Case) -> Result<(), String> {
        let batch = Batch { arena: arena_of(case)?, cases: vec![case.clone()] };
        let mut encoded = Encoded::new(batch, self.image, &self.machine);
        if let Some(why) = encoded.left_out.first_mut().and_then(Option::take) {
            return Err(why);
        }
        self.add(&encoded);
        Ok(())
    }

    /// Adds a batch, unless the image leaves it out.
    fn add(&mut self, encoded: &Encoded) {
        let command = encoded.write(self.memory);
        let block = self.encoder.encode(&command, self.memory);
        if !self.plan.skipped.contains(&block.header.number) {
            self.tape.extend(&block.bytes);
            self.blocks += 1;
        }
    }

    /// Stops early what cannot fit.
    fn check_length(&self) -> Result<(), PayloadTooLong> {
        Payload::check_tape(self.tape.len())
    }
}

#[cfg(test)]
mod tests;
