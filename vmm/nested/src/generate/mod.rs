//! Where cases come from. A batch has one control state of the hypervisor; its lanes are independent, each with a guest
//! state and tables of its own. A case is its seed and index: the same machine makes the same case of them.

mod builder;
mod exhaustive;
mod state;
mod variation;

use crate::NestedCase;
use crate::places::{self, Places};
use crate::quirks::{Quirked, Quirks};
use crate::stubs;
use crate::walker::{REFERENCE, ends_within};
use builder::{Builder, Setting, Shape};
use crosswalk_guest::contents::CODE_OFFSETS;
use crosswalk_guest::layout::Arena;
use crosswalk_machine::Capabilities;
use mmu_core::x86::format::levels;
use mmu_core::{Access, AccessKind, PagingMode, Ring, VirtAddr};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
pub(crate) use state::ept_capabilities;
pub use state::{SecondLevels, Unoffered, second_levels, settings};
use std::fmt;
use std::str::FromStr;

/// Cases that share a batch, and the arena in which they run.
#[derive(Clone, Debug)]
pub struct CaseBatch {
    /// The arena.
    pub arena: Arena,
    /// The index of the first case.
    pub first: u64,
    /// One case for each lane.
    pub cases: Vec<NestedCase>,
}

impl CaseBatch {
    /// A batch with one case, in the arena that has its tables: the first, if none has.
    pub fn alone(case: &NestedCase) -> Self {
        let [first, _] = Arena::ALL;
        Self { arena: case.arena().unwrap_or(first), first: 0, cases: vec![case.clone()] }
    }
}

/// How cases are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// A plain mapping in both dimensions with no, one or a few unusual bits.
    Random,
    /// Two unusual bits, both on the way of the access, of those that decide.
    Guided,
    /// Every combination of the bits of one entry of each dimension.
    Exhaustive,
}

impl Generator {
    /// Every generator.
    pub const ALL: [Self; 3] = [Self::Random, Self::Guided, Self::Exhaustive];

    /// The name used in the names of cases.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Guided => "guided",
            Self::Exhaustive => "exhaustive",
        }
    }
}

/// The name of a case, such as `nested:random:7:12345`: with the machine's capabilities it gives the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NestedName {
    /// The generator.
    pub generator: Generator,
    /// The seed of the run.
    pub seed: u64,
    /// The index of the case.
    pub index: u64,
}

impl fmt::Display for NestedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nested:{}:{}:{}", self.generator.name(), self.seed, self.index)
    }
}

impl FromStr for NestedName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a name such as nested:random:7:12345, found {text:?}");
        let mut parts = text.split(':');
        let (Some("nested"), Some(generator), Some(seed), Some(index), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let generator = Generator::ALL.into_iter().find(|known| known.name() == generator);
        Ok(Self {
            generator: generator.ok_or_else(wrong)?,
            seed: seed.parse().map_err(|_| wrong())?,
            index: index.parse().map_err(|_| wrong())?,
        })
    }
}

/// The indices between the first cases of two batches: no batch has more cases.
pub const STRIDE: u64 = 64;

/// A stream of cases for a machine.
#[derive(Clone, Debug)]
pub struct Stream {
    generator: Generator,
    seed: u64,
    settings: Vec<state::HostSetting>,
}

impl Stream {
    /// The cases of a generator for a machine.
    ///
    /// # Errors
    /// If the machine runs no guests in its guest, and why.
    pub fn new(generator: Generator, seed: u64, machine: &Capabilities) -> Result<Self, Unoffered> {
        Ok(Self { generator, seed, settings: settings(machine)? })
    }

    /// The name of a case by its index.
    pub const fn name(&self, index: u64) -> NestedName {
        NestedName { generator: self.generator, seed: self.seed, index }
    }

    /// Number of batches; `None` if there is no end.
    pub fn batches(&self) -> Option<u64> {
        match self.generator {
            Generator::Exhaustive => Some(exhaustive::batches(&self.settings)),
            Generator::Random | Generator::Guided => None,
        }
    }

    /// Number of second levels, which take turns.
    pub const fn second_levels(&self) -> u64 {
        self.settings.len() as u64
    }

    /// Number of cases in a batch.
    pub fn cases_of(&self, number: u64) -> u64 {
        lanes_of(&self.setting(number).1) as u64
    }

    /// What the cases of a batch share, and where their chances come from.
    fn setting(&self, number: u64) -> (Xoshiro256PlusPlus, Setting) {
        let host = &self.settings[(number % self.second_levels()) as usize];
        let seed = self.seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let setting = host.draw(&mut rng);
        (rng, setting)
    }

    /// A batch.
    pub fn batch(&self, number: u64) -> CaseBatch {
        let arena = Arena::for_batch(number);
        let kinds = self.second_levels();
        let (mut rng, setting) = self.setting(number);

        let levels = levels(setting.second.mode()).len();
        let lanes = lanes_of(&setting);
        let lane = |lane| {
            let places = Places::new(arena, lane, levels);
            let index = number / kinds * lanes as u64 + lane as u64;
            self.lane(&mut rng, setting, places, index)
        };
        let cases = (0..lanes).map(lane).collect();
        CaseBatch { arena, first: number * STRIDE, cases }
    }

    /// The first cases of a batch, at most this number.
    pub fn first_of_batch(&self, number: u64, most: u64) -> CaseBatch {
        let mut batch = self.batch(number);
        batch.cases.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        batch
    }

    /// The case with an index, if there is one.
    pub fn case(&self, index: u64) -> Option<NestedCase> {
        let number = index / STRIDE;
        if self.batches().is_some_and(|batches| number >= batches) {
            return None;
        }
        self.batch(number).cases.into_iter().nth((index % STRIDE) as usize)
    }

    fn lane(
        &self,
        rng: &mut Xoshiro256PlusPlus,
        setting: Setting,
        places: Places,
        index: u64,
    ) -> NestedCase {
        /// Variations that lead out of the lane are drawn again so often, and then left out.
        const TRIES: usize = 8;

        for number in 0..TRIES {
            let is_last = number + 1 == TRIES;
            let case = match self.generator {
                Generator::Exhaustive => exhaustive::lane(setting, places, index, is_last),
                _ if is_last => plain(rng, setting, places).0,
                Generator::Random => {
                    let (mut case, mut builder) = plain(rng, setting, places);
                    variation::vary(&mut builder);
                    builder.fill(&mut case);
                    variation::vary_registers(rng, &mut case);
                    case
                }
                Generator::Guided => {
                    let (mut case, mut builder) = plain(rng, setting, places);
                    variation::decide(&mut builder);
                    builder.fill(&mut case);
                    case
                }
            };
            if is_last || stays_in_its_lane(&case, places) {
                return case;
            }
        }
        unreachable!("the last try returns")
    }
}

/// Number of cases in a batch with this second level.
fn lanes_of(setting: &Setting) -> usize {
    let levels = levels(setting.second.mode()).len();
    places::lanes(levels).min(STRIDE as usize)
}

/// A plain case: every right in both dimensions, any state of the guest, any access.
fn plain<R: Rng>(rng: &mut R, setting: Setting, places: Places) -> (NestedCase, Builder<'_, R>) {
    let guest = state::guest(rng, &setting);
    let mode = guest.mode();
    let shape = shape(rng, &setting, &guest);
    let access = access(rng, mode);
    let offset = match access.kind {
        AccessKind::Fetch => rng.random_range(CODE_OFFSETS.start / 8..CODE_OFFSETS.end / 8) * 8,
        _ => rng.random_range(0x10..0x7f) * 16,
    };

    let mut builder = Builder::new(rng, setting, places, guest);
    let mut case = builder.build(Shape { offset, ..shape }, access);
    builder.fill(&mut case);
    (case, builder)
}

fn shape(rng: &mut impl Rng, setting: &Setting, guest: &mmu_core::ControlState) -> Shape {
    let small_or = |rng: &mut dyn Rng, large: Vec<u8>| {
        if rng.random_ratio(2, 3) { 1 } else { large.choose(rng).copied().unwrap_or(1) }
    };
    Shape {
        guest_leaf: small_or(rng, state::guest_leaves(setting, guest)),
        nested_leaf: small_or(rng, state::nested_leaves(setting)),
        table_leaf: small_or(rng, state::nested_leaves(setting)),
        frame: rng.random_range(0..2),
        offset: 0,
    }
}

fn access(rng: &mut impl Rng, mode: PagingMode) -> Access {
    const KINDS: [AccessKind; 4] =
        [AccessKind::Read, AccessKind::Write, AccessKind::ReadModifyWrite, AccessKind::Fetch];

    let kind = KINDS.choose(rng).copied().unwrap_or(AccessKind::Read);
    let privilege = if rng.random() { Ring::Zero } else { Ring::Three };
    let size = match kind {
        AccessKind::Fetch => stubs::FETCHED_FRAME,
        _ if mode.is_long_mode() => *stubs::SIZES.choose(rng).unwrap_or(&4),
        _ => *stubs::SIZES[..2].choose(rng).unwrap_or(&4),
    };
    let ac = privilege == Ring::Zero && rng.random_ratio(1, 4);
    Access { ac, ..Access::new(kind, VirtAddr::new(0), size, privilege) }
}

/// Whether every end leaves the memory of other lanes, and of the hypervisor, alone, also on machines with known
/// deviations: an access that completes is one of the lane's data frames.
fn stays_in_its_lane(case: &NestedCase, places: Places) -> bool {
    let frames = places.arena().data_frames(places.lane());
    ends_within(&REFERENCE, case, frames)
        && ends_within(&Quirked(Quirks::FAR_REACHING), case, frames)
}

#[cfg(test)]
pub(crate) use tests::machine_with_npt;

#[cfg(test)]
mod tests;
