//! Orders and answers.

use super::codec::{KINDS, MODES, WordReader, WordWriter, backing_words, place_in, read_backing};
use super::layout::{FRAMES, MAX_FRAMES, MAX_SLOTS};
use super::supervisor::Residence;
use mmu_core::space::{Backing, Protection, Region, Safeguards, Settings, SpaceId};

use mmu_core::{PagingMode, VirtAddr};

/// Words of an order.
const WORDS: usize = 24;

/// The most processes of one [`Request::ProgramRun`].
pub const MAX_RUNS: usize = 4;

/// What the kernel is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Forget everything, and start a system.
    Begin {
        /// The paging mode of its processes.
        mode: PagingMode,
        /// Its frames, at most [`MAX_FRAMES`].
        frames: u64,
        /// Its slots, at most [`MAX_SLOTS`].
        slots: u64,
        /// How many of them hold images.
        images: u64,
        /// Whether the processor has execute-disable.
        execute_disable: bool,
        /// What it does not forget.
        duties: Safeguards,
        /// Where the kernel is while processes run.
        residence: Residence,
    },
    /// Make an address space, with the supervisor's regions.
    Create,
    /// End one.
    Destroy(SpaceId),
    /// Add a region.
    Map(SpaceId, Region),
    /// Remove the region that holds an address.
    Unmap(SpaceId, VirtAddr),
    /// Change what may be done in the region that holds an address.
    Protect(SpaceId, VirtAddr, Protection),
    /// Give a heap so many more pages.
    Grow(SpaceId, VirtAddr, u64),
    /// Copy an address space.
    Fork(SpaceId),
    /// Make a shared object of so many pages.
    Share(u64, Backing),
    /// Let the clock take one frame.
    Reclaim,
    /// Run processes in turn, each to the end of its program.
    Run([Option<ProgramRun>; MAX_RUNS]),
}

/// A program to run in a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRun {
    /// Where.
    pub space: SpaceId,
    /// A [`GuestProgram`](super::program::Program).
    pub program: u64,
    /// Its arguments.
    pub arguments: [u64; 3],
}

impl Request {
    /// As words.
    pub fn to_words(&self) -> [u64; WORDS] {
        let writer = WordWriter::default();
        match *self {
            Self::Begin { mode, frames, slots, images, execute_disable, duties, residence } => {
                writer
                    .word(1)
                    .word(place_in(&MODES, &mode))
                    .word(frames)
                    .word(slots)
                    .word(images)
                    .word(execute_disable.into())
                    .word(duties.bits().into())
                    .word(residence as u64)
            }
            Self::Create => writer.word(2),
            Self::Destroy(space) => writer.word(3).word(space.0.into()),
            Self::Map(space, region) => {
                let (backing, detail) = backing_words(region.backing);
                writer
                    .word(4)
                    .word(space.0.into())
                    .word(place_in(&KINDS, &region.kind))
                    .word(region.start.get())
                    .word(region.pages)
                    .word(region.limit)
                    .word(region.protection.bits().into())
                    .word(backing)
                    .word(detail)
            }
            Self::Unmap(space, address) => writer.word(5).word(space.0.into()).word(address.get()),
            Self::Protect(space, address, protection) => writer
                .word(6)
                .word(space.0.into())
                .word(address.get())
                .word(protection.bits().into()),
            Self::Grow(space, address, pages) => {
                writer.word(7).word(space.0.into()).word(address.get()).word(pages)
            }
            Self::Fork(space) => writer.word(8).word(space.0.into()),
            Self::Share(pages, backing) => {
                let (backing, detail) = backing_words(backing);
                writer.word(9).word(pages).word(backing).word(detail)
            }
            Self::Reclaim => writer.word(10),
            Self::Run(runs) => {
                let mut writer = writer.word(11);
                for run in runs.into_iter().flatten() {
                    let [first, second, third] = run.arguments;
                    writer = writer.word(u64::from(run.space.0) + 1).word(run.program);
                    writer = writer.word(first).word(second).word(third);
                }
                writer
            }
        }
        .end()
    }

    /// The order of these words; `None` if there is no such order.
    pub fn from_words(words: &[u64; WORDS]) -> Option<Self> {
        let mut reader = WordReader::new(words);
        let number = reader.word()?;
        let space = |reader: &mut WordReader<'_>| Some(SpaceId(reader.small()?));
        let protection =
            |reader: &mut WordReader<'_>| Some(Protection::from_bits_truncate(reader.small()?));
        Some(match number {
            1 => Self::Begin {
                mode: *MODES.get(reader.small::<usize>()?)?,
                frames: reader.word()?,
                slots: reader.word()?,
                images: reader.word()?,
                execute_disable: reader.word()? != 0,
                duties: Safeguards::from_bits_truncate(reader.small()?),
                residence: match reader.word()? {
                    0 => Residence::Separate,
                    _ => Residence::InProcess,
                },
            },
            2 => Self::Create,
            3 => Self::Destroy(space(&mut reader)?),
            4 => Self::Map(
                space(&mut reader)?,
                Region {
                    kind: *KINDS.get(reader.small::<usize>()?)?,
                    start: VirtAddr::new(reader.word()?),
                    pages: reader.word()?,
                    limit: reader.word()?,
                    protection: protection(&mut reader)?,
                    backing: read_backing(&mut reader)?,
                },
            ),
            5 => Self::Unmap(space(&mut reader)?, VirtAddr::new(reader.word()?)),
            6 => Self::Protect(
                space(&mut reader)?,
                VirtAddr::new(reader.word()?),
                protection(&mut reader)?,
            ),
            7 => Self::Grow(space(&mut reader)?, VirtAddr::new(reader.word()?), reader.word()?),
            8 => Self::Fork(space(&mut reader)?),
            9 => Self::Share(reader.word()?, read_backing(&mut reader)?),
            10 => Self::Reclaim,
            11 => {
                let mut runs = [None; MAX_RUNS];
                for run in &mut runs {
                    let Some(space) = reader.word()?.checked_sub(1) else { break };
                    *run = Some(ProgramRun {
                        space: SpaceId(space.try_into().ok()?),
                        program: reader.word()?,
                        arguments: [reader.word()?, reader.word()?, reader.word()?],
                    });
                }
                Self::Run(runs)
            }
            _ => return None,
        })
    }

    /// The settings of a system that [`Request::Begin`] asks for; `None` for other orders.
    pub fn settings(&self) -> Option<Settings> {
        let Self::Begin { frames, slots, images, execute_disable, duties, .. } = *self else {
            return None;
        };
        Some(Settings {
            first_frame: FRAMES,
            frames: frames.min(MAX_FRAMES as u64) as usize,
            slots: slots.min(MAX_SLOTS as u64) as u32,
            images: images.min(slots) as u32,
            execute_disable,
            safeguards: duties,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::space::{ObjectId, RegionKind, SlotNumber};

    #[test]
    fn every_order_outlives_its_words() {
        let space = SpaceId(3);
        let at = VirtAddr::new(0x8060_0000);
        let stack = Region::stack(at, 1, 4);
        let image = Region::new(RegionKind::Code, at, 2, Protection::CODE)
            .from_backing(Backing::Image(SlotNumber(1)));
        let run = |program| Some(ProgramRun { space, program, arguments: [1, 2, 3] });
        let begin = |mode| Request::Begin {
            mode,
            frames: 48,
            slots: 32,
            images: 8,
            execute_disable: true,
            duties: Safeguards::all() - Safeguards::WIPE,
            residence: Residence::Separate,
        };
        for order in [
            begin(PagingMode::Bits32),
            begin(PagingMode::FiveLevel),
            Request::Create,
            Request::Destroy(space),
            Request::Map(space, stack),
            Request::Map(space, image),
            Request::Unmap(space, at),
            Request::Protect(space, at, Protection::CONSTANTS),
            Request::Grow(space, at, 2),
            Request::Fork(space),
            Request::Share(2, Backing::Zero),
            Request::Share(1, Backing::Object(ObjectId(1))),
            Request::Reclaim,
            Request::Run([run(0), run(4), None, None]),
            Request::Run([run(0), run(1), run(2), run(3)]),
        ] {
            assert_eq!(Request::from_words(&order.to_words()), Some(order));
        }
        assert_eq!(Request::from_words(&[99; WORDS]), None);
    }
}
