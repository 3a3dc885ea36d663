//! The requests that the host makes of the guest's system, as words.

use super::codec::{WordReader, WordWriter};
use super::layout::{FRAMES, MAX_FRAMES, MAX_SLOTS};
use super::supervisor::Residence;
use mmu_core::space::{
    Backing, ObjectId, Protection, Region, RegionKind, Safeguards, Settings, SlotNumber, SpaceId,
};
use mmu_core::{PagingMode, VirtAddr};

/// Maximum number of programs of one [`Request::Run`].
pub const MAX_RUNS: usize = 4;

/// A request to the guest's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Discard everything, and start a system.
    Begin {
        /// The paging mode of its processes.
        mode: PagingMode,
        /// Number of frames, at most [`MAX_FRAMES`].
        frames: u64,
        /// Number of slots of the backing store, at most [`MAX_SLOTS`].
        slots: u64,
        /// Number of these slots, from the first on, that hold images.
        images: u64,
        /// Whether the processor has execute-disable.
        execute_disable: bool,
        /// The safeguards that the system applies. A correct system applies all of them.
        safeguards: Safeguards,
        /// The address space in which the kernel is while processes run.
        residence: Residence,
    },
    /// Create an address space with the supervisor's regions.
    Create,
    /// Destroy an address space.
    Destroy(SpaceId),
    /// Add a region.
    Map(SpaceId, Region),
    /// Remove the region that contains an address.
    Unmap(SpaceId, VirtAddr),
    /// Change the protection of the region that contains an address.
    Protect(SpaceId, VirtAddr, Protection),
    /// Grow the heap that contains an address by a number of pages.
    Grow(SpaceId, VirtAddr, u64),
    /// Copy an address space.
    Fork(SpaceId),
    /// Create a shared object of a number of pages.
    Share(u64, Backing),
    /// Let the clock reclaim one frame.
    Reclaim,
    /// Run programs in turn, each to its end.
    Run([Option<ProgramRun>; MAX_RUNS]),
}

/// A program to run in an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRun {
    /// The address space.
    pub space: SpaceId,
    /// The number of a [`GuestProgram`](super::program::GuestProgram).
    pub program: u64,
    /// The program's arguments.
    pub arguments: [u64; 3],
}

// The first word: the kind of request.
const BEGIN: u64 = 1;
const CREATE: u64 = 2;
const DESTROY: u64 = 3;
const MAP: u64 = 4;
const UNMAP: u64 = 5;
const PROTECT: u64 = 6;
const GROW: u64 = 7;
const FORK: u64 = 8;
const SHARE: u64 = 9;
const RECLAIM: u64 = 10;
const RUN: u64 = 11;

// The first word of a backing: its kind.
const ZERO: u64 = 0;
const IMAGE: u64 = 1;
const OBJECT: u64 = 2;
const FIXED: u64 = 3;

/// The paging modes that have page tables.
const MODES: [PagingMode; 4] =
    [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel];

const REGION_KINDS: [RegionKind; 7] = [
    RegionKind::Code,
    RegionKind::Data,
    RegionKind::Heap,
    RegionKind::Stack,
    RegionKind::Shared,
    RegionKind::Guard,
    RegionKind::Kernel,
];

impl Request {
    /// Number of words of a request.
    pub const WORDS: usize = 24;

    /// The request as words.
    pub fn to_words(&self) -> [u64; Self::WORDS] {
        let writer = WordWriter::default();

        match *self {
            Self::Begin { mode, frames, slots, images, execute_disable, safeguards, residence } => {
                writer
                    .word(BEGIN)
                    .index_of(&MODES, &mode)
                    .word(frames)
                    .word(slots)
                    .word(images)
                    .word(execute_disable.into())
                    .word(safeguards.bits().into())
                    .word(residence as u64)
            }
            Self::Create => writer.word(CREATE),
            Self::Destroy(space) => writer.word(DESTROY).word(space.0.into()),
            Self::Map(space, region) => {
                write_region(writer.word(MAP).word(space.0.into()), &region)
            }
            Self::Unmap(space, address) => {
                writer.word(UNMAP).word(space.0.into()).word(address.get())
            }
            Self::Protect(space, address, protection) => writer
                .word(PROTECT)
                .word(space.0.into())
                .word(address.get())
                .word(protection.bits().into()),
            Self::Grow(space, address, pages) => {
                writer.word(GROW).word(space.0.into()).word(address.get()).word(pages)
            }
            Self::Fork(space) => writer.word(FORK).word(space.0.into()),
            Self::Share(pages, backing) => write_backing(writer.word(SHARE).word(pages), backing),
            Self::Reclaim => writer.word(RECLAIM),
            Self::Run(runs) => runs.into_iter().flatten().fold(writer.word(RUN), write_run),
        }
        .end()
    }

    /// The request that these words describe; `None` if they describe none.
    pub fn from_words(words: &[u64; Self::WORDS]) -> Option<Self> {
        let mut reader = WordReader::new(words);

        Some(match reader.word()? {
            BEGIN => Self::Begin {
                mode: reader.value_of(&MODES)?,
                frames: reader.word()?,
                slots: reader.word()?,
                images: reader.word()?,
                execute_disable: reader.word()? != 0,
                safeguards: Safeguards::from_bits_truncate(reader.small()?),
                residence: match reader.word()? {
                    0 => Residence::Separate,
                    _ => Residence::InProcess,
                },
            },
            CREATE => Self::Create,
            DESTROY => Self::Destroy(read_space(&mut reader)?),
            MAP => Self::Map(read_space(&mut reader)?, read_region(&mut reader)?),
            UNMAP => Self::Unmap(read_space(&mut reader)?, read_address(&mut reader)?),
            PROTECT => Self::Protect(
                read_space(&mut reader)?,
                read_address(&mut reader)?,
                read_protection(&mut reader)?,
            ),
            GROW => {
                Self::Grow(read_space(&mut reader)?, read_address(&mut reader)?, reader.word()?)
            }
            FORK => Self::Fork(read_space(&mut reader)?),
            SHARE => Self::Share(reader.word()?, read_backing(&mut reader)?),
            RECLAIM => Self::Reclaim,
            RUN => Self::Run(read_runs(&mut reader)?),
            _ => return None,
        })
    }

    /// The settings of the system that [`Request::Begin`] starts, within the limits of the guest's
    /// memory; `None` for other requests.
    pub fn settings(&self) -> Option<Settings> {
        let Self::Begin { frames, slots, images, execute_disable, safeguards, .. } = *self else {
            return None;
        };

        Some(Settings {
            first_frame: FRAMES,
            frames: frames.min(MAX_FRAMES as u64) as usize,
            slots: slots.min(MAX_SLOTS as u64) as u32,
            images: images.min(slots) as u32,
            execute_disable,
            safeguards,
        })
    }
}

fn read_space(reader: &mut WordReader<'_>) -> Option<SpaceId> {
    Some(SpaceId(reader.small()?))
}

fn read_address(reader: &mut WordReader<'_>) -> Option<VirtAddr> {
    Some(VirtAddr::new(reader.word()?))
}

fn read_protection(reader: &mut WordReader<'_>) -> Option<Protection> {
    Some(Protection::from_bits_truncate(reader.small()?))
}

fn write_region<const N: usize>(writer: WordWriter<N>, region: &Region) -> WordWriter<N> {
    let writer = writer
        .index_of(&REGION_KINDS, &region.kind)
        .word(region.start.get())
        .word(region.pages)
        .word(region.limit)
        .word(region.protection.bits().into());

    write_backing(writer, region.backing)
}

fn read_region(reader: &mut WordReader<'_>) -> Option<Region> {
    Some(Region {
        kind: reader.value_of(&REGION_KINDS)?,
        start: read_address(reader)?,
        pages: reader.word()?,
        limit: reader.word()?,
        protection: read_protection(reader)?,
        backing: read_backing(reader)?,
    })
}

fn write_backing<const N: usize>(writer: WordWriter<N>, backing: Backing) -> WordWriter<N> {
    match backing {
        Backing::Zero => writer.word(ZERO).word(0),
        Backing::Image(slot) => writer.word(IMAGE).word(slot.0.into()),
        Backing::Object(object) => writer.word(OBJECT).word(object.0.into()),
        Backing::Fixed(frame) => writer.word(FIXED).word(frame.get()),
    }
}

/// Rejects [`Backing::Fixed`]: fixed memory belongs to the supervisor, and no request may map it.
fn read_backing(reader: &mut WordReader<'_>) -> Option<Backing> {
    let kind = reader.word()?;
    let detail = reader.word()?;

    Some(match kind {
        ZERO => Backing::Zero,
        IMAGE => Backing::Image(SlotNumber(detail.try_into().ok()?)),
        OBJECT => Backing::Object(ObjectId(detail.try_into().ok()?)),
        _ => return None,
    })
}

/// The space's number is written plus one: 0 ends the list of runs.
fn write_run<const N: usize>(writer: WordWriter<N>, run: ProgramRun) -> WordWriter<N> {
    let writer = writer.word(u64::from(run.space.0) + 1).word(run.program);
    run.arguments.into_iter().fold(writer, WordWriter::word)
}

fn read_runs(reader: &mut WordReader<'_>) -> Option<[Option<ProgramRun>; MAX_RUNS]> {
    let mut runs = [None; MAX_RUNS];

    for run in &mut runs {
        let Some(space) = reader.word()?.checked_sub(1) else { break };

        *run = Some(ProgramRun {
            space: SpaceId(space.try_into().ok()?),
            program: reader.word()?,
            arguments: [reader.word()?, reader.word()?, reader.word()?],
        });
    }

    Some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::PhysAddr;

    #[test]
    fn every_request_survives_encoding() {
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
            safeguards: Safeguards::all() - Safeguards::WIPE,
            residence: Residence::Separate,
        };

        for request in [
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
            assert_eq!(Request::from_words(&request.to_words()), Some(request));
        }
    }

    #[test]
    fn words_of_no_request_are_rejected() {
        assert_eq!(Request::from_words(&[99; Request::WORDS]), None);
    }

    #[test]
    fn fixed_memory_cannot_be_requested() {
        let fixed = Backing::Fixed(PhysAddr::new(0x20_0000));
        assert_eq!(Request::from_words(&Request::Share(1, fixed).to_words()), None);
    }
}
