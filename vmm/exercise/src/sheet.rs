//! Sheets: as many exercises as wanted, for a seed.

use crate::chance::Chance;
use crate::exercise::Exercise;
use crate::topic::{Difficulty, Topic};
use crate::topics;

/// How often another exercise is drawn if one has just been on the sheet.
const MOST_DRAWS: u64 = 1000;

/// `count` exercises of each topic. Without a difficulty they take turns: basic, moderate, hard. The same seed gives the same
/// exercises, and more of them begin with those.
///
/// No two neighbours of a topic are equal, however small the range is that an exercise draws from.
///
/// ```
/// use crosswalk_exercise::{Topic, sheet};
///
/// let three = sheet(7, &[Topic::Clock], None, 3);
/// assert_eq!(three, sheet(7, &[Topic::Clock], None, 4)[..3]);
/// assert_ne!(three, sheet(8, &[Topic::Clock], None, 3));
/// ```
pub fn sheet(
    seed: u64,
    topics: &[Topic],
    difficulty: Option<Difficulty>,
    count: usize,
) -> Vec<Exercise> {
    let mut sheet = Vec::new();
    for topic in topics {
        let start = sheet.len();
        for number in 0..count {
            let difficulty = difficulty.unwrap_or(Difficulty::ALL[number % 3]);
            sheet.push(draw(seed, *topic, difficulty, number as u64, &sheet[start..]));
        }
    }
    sheet
}

/// The exercise with a number, other than the last ones.
fn draw(
    seed: u64,
    topic: Topic,
    difficulty: Difficulty,
    number: u64,
    before: &[Exercise],
) -> Exercise {
    /// Of so many exercises before this none is repeated, if there is another one.
    const RECENT: usize = 9;

    let recent = &before[before.len().saturating_sub(RECENT)..];
    let drawn = |draw: u64| {
        let place = (topic as u64) << 56 ^ (difficulty as u64) << 48 ^ number << 16 ^ draw;
        topics::make(topic, difficulty, &mut Chance::new(seed ^ mixed(place)))
    };

    let mut exercise = drawn(0);
    for draw in 1..MOST_DRAWS {
        let is_last = recent.last() == Some(&exercise);
        // A small range is used up: its exercises come again, and never twice in a row.
        let is_recent = draw < MOST_DRAWS / 2 && recent.contains(&exercise);
        if !is_last && !is_recent {
            break;
        }
        exercise = drawn(draw);
    }
    exercise
}

/// Neighbouring numbers far apart: the finalizer of `SplitMix64`.
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
