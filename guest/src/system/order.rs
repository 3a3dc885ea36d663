//! Orders and answers.

use super::codec::{Reader, Writer};
use super::history::{decision, decision_words};
use super::layout::{FRAMES, MAX_FRAMES, MAX_SLOTS};
use super::supervisor::{Residence, link_kernel, regions};
use mmu_core::space::{
    Backing, Decision, Duties, Environment, Invalid, ObjectId, Protection, Region, RegionKind,
    Settings, SlotNumber, SpaceError, SpaceId, System,
};
use mmu_core::x86::format::Format;
use mmu_core::{PagingMode, PhysAddr, VirtAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words of an order.
const WORDS: usize = 24;
/// The most processes of one [`Order::Run`].
pub const MAX_RUNS: usize = 4;
/// The most loads told of one order that did not find what they should.
pub const MAX_WRONGS: usize = 64;

/// What the kernel is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
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
        duties: Duties,
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
    Run([Option<Run>; MAX_RUNS]),
}

/// A program to run in a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where.
    pub space: SpaceId,
    /// A [`Program`](super::program::Program).
    pub program: u64,
    /// Its arguments.
    pub arguments: [u64; 3],
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Exited,
    /// By an access that is not allowed.
    Invalid(Invalid),
    /// The system could not serve a fault.
    Refused(SpaceError),
    /// An exception that is no fault of an address.
    Exception(u8),
    /// It faulted again and again at one place.
    Endless,
}

/// What came of an order, besides its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// It was done.
    Done,
    /// It gave a space.
    Space(SpaceId),
    /// It gave a shared object.
    Object(ObjectId),
    /// The clock took this frame, or none.
    Taken(Option<PhysAddr>),
}

/// A load that did not find what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Wrong {
    /// Whose.
    pub space: u64,
    /// Where.
    pub address: u64,
    /// What it found.
    pub found: u64,
}

/// What the kernel answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Answer {
    /// What came of the order ([`Answer::words_of`]).
    pub carried: [u64; 3],
    /// How each program of [`Order::Run`] ended ([`Ending::words`]).
    pub endings: [[u64; 3]; MAX_RUNS],
    /// How many loads did not find what they should. The first of them follow.
    pub wrong_count: u64,
    /// Which.
    pub wrongs: [Wrong; MAX_WRONGS],
    /// How many events there were. They lie at their [`place`](super::layout::HISTORY).
    pub event_count: u64,
}

impl Answer {
    /// An answer without events.
    pub const EMPTY: Self = Self {
        carried: [0; 3],
        endings: [[0; 3]; MAX_RUNS],
        wrong_count: 0,
        wrongs: [Wrong { space: 0, address: 0, found: 0 }; MAX_WRONGS],
        event_count: 0,
    };

    /// What came of an order, as words.
    pub fn words_of(carried: &Result<Carried, SpaceError>) -> [u64; 3] {
        let writer = Writer::default();
        match carried {
            Ok(Carried::Done) => writer.word(1),
            Ok(Carried::Space(space)) => writer.word(2).word(space.0.into()),
            Ok(Carried::Object(object)) => writer.word(3).word(object.0.into()),
            Ok(Carried::Taken(frame)) => writer.word(4).option(frame.map(PhysAddr::get)),
            Err(error) => {
                let (number, detail) = error_words(error);
                writer.word(5).word(number).word(detail)
            }
        }
        .end()
    }
}

impl Ending {
    /// As words; 0 stands for no program.
    pub fn words(self) -> [u64; 3] {
        let writer = Writer::default();
        match self {
            Self::Exited => writer.word(1),
            Self::Invalid(invalid) => {
                writer.word(2).word(decision_words(Decision::Invalid(invalid)).1)
            }
            Self::Refused(error) => {
                let (number, detail) = error_words(&error);
                writer.word(3).word(number).word(detail)
            }
            Self::Exception(vector) => writer.word(4).word(vector.into()),
            Self::Endless => writer.word(5),
        }
        .end()
    }

    /// In words for people; `None` if there is no such ending.
    pub fn of_words(words: [u64; 3]) -> Option<&'static str> {
        Some(match words[0] {
            0 => "was not run",
            1 => "ended by itself",
            2 => match decision(decision_words(Decision::Invalid(Invalid::Guard)).0, words[1])? {
                Decision::Invalid(_) => "was ended for an access that is not allowed",
                _ => return None,
            },
            3 => "was refused memory",
            4 => "met an exception that no access causes",
            5 => "faulted again and again",
            _ => return None,
        })
    }
}

/// An error as two words.
fn error_words(error: &SpaceError) -> (u64, u64) {
    match *error {
        SpaceError::OutOfFrames(address) => (1, address.get()),
        SpaceError::NoSuchSpace(space) => (2, space.0.into()),
        SpaceError::TooManySpaces => (3, 0),
        SpaceError::TooManyRegions(start) => (4, start.get()),
        SpaceError::Misaligned(address) => (5, address.get()),
        SpaceError::BadRange(start) => (6, start.get()),
        SpaceError::Overlap(start) => (7, start.get()),
        SpaceError::NoRegion(start) => (8, start.get()),
        SpaceError::CannotGrow(start) => (9, start.get()),
        SpaceError::BadObject(start) => (10, start.get()),
        SpaceError::TooManyObjects => (11, 0),
        SpaceError::BadSlots(start) => (12, start.get()),
        SpaceError::FrameTooHigh(frame) => (13, frame.get()),
        SpaceError::OwnFrame(frame) => (14, frame.get()),
        SpaceError::Outside(outside) => (15, outside.0.get()),
    }
}

const MODES: [PagingMode; 4] =
    [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel];

const KINDS: [RegionKind; 7] = [
    RegionKind::Code,
    RegionKind::Data,
    RegionKind::Heap,
    RegionKind::Stack,
    RegionKind::Shared,
    RegionKind::Guard,
    RegionKind::Kernel,
];

fn place_in<T: PartialEq>(list: &[T], wanted: &T) -> u64 {
    list.iter().position(|known| known == wanted).map_or(u64::MAX, |place| place as u64)
}

fn backing_words(backing: Backing) -> (u64, u64) {
    match backing {
        Backing::Zero => (0, 0),
        Backing::Image(slot) => (1, slot.0.into()),
        Backing::Object(object) => (2, object.0.into()),
        Backing::Fixed(frame) => (3, frame.get()),
    }
}

/// Fixed memory is the supervisor's: no order asks for it.
fn read_backing(reader: &mut Reader<'_>) -> Option<Backing> {
    Some(match (reader.word()?, reader.word()?) {
        (0, _) => Backing::Zero,
        (1, slot) => Backing::Image(SlotNumber(slot.try_into().ok()?)),
        (2, object) => Backing::Object(ObjectId(object.try_into().ok()?)),
        _ => return None,
    })
}

impl Order {
    /// As words.
    pub fn to_words(&self) -> [u64; WORDS] {
        let writer = Writer::default();
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
        let mut reader = Reader::new(words);
        let number = reader.word()?;
        let space = |reader: &mut Reader<'_>| Some(SpaceId(reader.small()?));
        let protection =
            |reader: &mut Reader<'_>| Some(Protection::from_bits_truncate(reader.small()?));
        Some(match number {
            1 => Self::Begin {
                mode: *MODES.get(reader.small::<usize>()?)?,
                frames: reader.word()?,
                slots: reader.word()?,
                images: reader.word()?,
                execute_disable: reader.word()? != 0,
                duties: Duties::from_bits_truncate(reader.small()?),
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
                    *run = Some(Run {
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

    /// The settings of a system that [`Order::Begin`] asks for; `None` for other orders.
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
            duties,
        })
    }
}

/// Carries out an order that neither begins a system nor runs a process.
///
/// # Errors
/// What the system says.
pub fn carry_out<F: Format, E: Environment, const FRAMES: usize, const SLOTS: usize>(
    system: &mut System<F, FRAMES, SLOTS>,
    env: &mut E,
    residence: Residence,
    order: &Order,
) -> Result<Carried, SpaceError> {
    let done = |()| Carried::Done;
    match *order {
        Order::Create => {
            let space = system.create(env)?;
            for region in regions(F::MODE, residence) {
                if let Err(error) = system.map(env, space, region) {
                    system.destroy(env, space)?;
                    return Err(error);
                }
            }
            move_in(system, env, residence, space)
        }
        Order::Destroy(space) => system.destroy(env, space).map(done),
        Order::Map(space, region) => system.map(env, space, region).map(done),
        Order::Unmap(space, address) => system.unmap(env, space, address).map(|_| Carried::Done),
        Order::Protect(space, address, protection) => {
            system.protect(env, space, address, protection).map(done)
        }
        Order::Grow(space, address, pages) => {
            system.grow(space, address, pages).map(|_| Carried::Done)
        }
        Order::Fork(space) => {
            let child = system.fork(env, space)?;
            move_in(system, env, residence, child)
        }
        Order::Share(pages, backing) => system.create_object(pages, backing).map(Carried::Object),
        Order::Reclaim => system.reclaim(env).map(Carried::Taken),
        Order::Begin { .. } | Order::Run(_) => Ok(Carried::Done),
    }
}

/// The kernel moves into a new space, if that is where it lives.
fn move_in<F: Format, E: Environment, const FRAMES: usize, const SLOTS: usize>(
    system: &System<F, FRAMES, SLOTS>,
    env: &mut E,
    residence: Residence,
    space: SpaceId,
) -> Result<Carried, SpaceError> {
    if residence == Residence::InProcess {
        link_kernel(env, system.root(space)?)?;
    }
    Ok(Carried::Space(space))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_outlives_its_words() {
        let space = SpaceId(3);
        let at = VirtAddr::new(0x8060_0000);
        let stack = Region::stack(at, 1, 4);
        let image = Region::new(RegionKind::Code, at, 2, Protection::CODE)
            .from_backing(Backing::Image(SlotNumber(1)));
        let run = |program| Some(Run { space, program, arguments: [1, 2, 3] });
        let begin = |mode| Order::Begin {
            mode,
            frames: 48,
            slots: 32,
            images: 8,
            execute_disable: true,
            duties: Duties::all() - Duties::WIPE,
            residence: Residence::Separate,
        };
        for order in [
            begin(PagingMode::Bits32),
            begin(PagingMode::FiveLevel),
            Order::Create,
            Order::Destroy(space),
            Order::Map(space, stack),
            Order::Map(space, image),
            Order::Unmap(space, at),
            Order::Protect(space, at, Protection::CONSTANTS),
            Order::Grow(space, at, 2),
            Order::Fork(space),
            Order::Share(2, Backing::Zero),
            Order::Share(1, Backing::Object(ObjectId(1))),
            Order::Reclaim,
            Order::Run([run(0), run(4), None, None]),
            Order::Run([run(0), run(1), run(2), run(3)]),
        ] {
            assert_eq!(Order::from_words(&order.to_words()), Some(order));
        }
        assert_eq!(Order::from_words(&[99; WORDS]), None);
    }
}
