//! Random tests: a few actions of one or two processors on one or two pages.

use crate::test::Litmus;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fmt::Write;

/// The random test of a number.
///
/// ```
/// let test = crosswalk_litmus::random::test(7, 3);
/// assert_eq!(test.name, "random-7-3");
/// assert_eq!(test.columns, crosswalk_litmus::random::test(7, 3).columns);
/// ```
///
/// # Panics
/// Never: what is written here is what the text form reads.
pub fn test(seed: u64, number: u64) -> Litmus {
    text(seed, number).parse().expect("random tests have the text form")
}

/// The same as text.
pub fn text(seed: u64, number: u64) -> String {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ number.rotate_left(32));
    let rng = &mut rng;
    let mut text = format!("litmus random-{seed}-{number}\n");
    for page in ["x", "y"] {
        let _ = writeln!(text, "page {page} = {}", entry(rng));
        let _ = writeln!(text, "page {page} in T = {}", entry(rng));
    }
    if rng.random_bool(0.2) {
        text.push_str("cr4 pge\n");
    }
    if rng.random_bool(0.2) {
        text.push_str("vendor amd\n");
    }

    let processors = if rng.random_bool(0.2) { 1 } else { 2 };
    let columns: Vec<Vec<String>> = (0..processors)
        .map(|_| (0..rng.random_range(2..=4)).map(|_| action(rng)).collect())
        .collect();
    let heads: Vec<String> = (0..processors).map(|number| format!("P{number}")).collect();
    let _ = writeln!(text, "{}", heads.join(" | "));
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    for row in 0..rows {
        let cells = columns.iter().map(|column| column.get(row).map_or("", String::as_str));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join(" | "));
    }
    let _ = writeln!(text, "observe x: {}", ["d", "a d", "p"].choose(rng).unwrap_or(&"d"));
    text
}

fn page(rng: &mut Xoshiro256PlusPlus) -> &'static str {
    if rng.random_bool(0.75) { "x" } else { "y" }
}

/// An entry: mostly good.
fn entry(rng: &mut Xoshiro256PlusPlus) -> String {
    if rng.random_bool(0.15) {
        return "0".into();
    }
    let mut entry = String::from(*["A", "B", "C"].choose(rng).unwrap_or(&"A"));
    for (flag, probability) in
        [(" ro", 0.2), (" d=1", 0.4), (" a=0", 0.15), (" g", 0.15), (" nx", 0.05), (" super", 0.05)]
    {
        if rng.random_bool(probability) {
            entry.push_str(flag);
        }
    }
    entry
}

fn action(rng: &mut Xoshiro256PlusPlus) -> String {
    let page = page(rng);
    match rng.random_range(0..24) {
        0..6 => format!("read {page}"),
        6..9 => format!("write {page}"),
        9 => format!("fetch {page}"),
        10..13 => format!("pte {page} = {}", entry(rng)),
        13 => format!("pte {page} in T = {}", entry(rng)),
        14 => format!("pde = {}", ["T", "first", "0"].choose(rng).unwrap_or(&"T")),
        15 => format!("xchg {page} = {}", entry(rng)),
        16 => format!("clear {page} {}", ["rw", "d", "a", "p", "a d"].choose(rng).unwrap_or(&"rw")),
        17 => format!("set {page} {}", ["rw", "d", "a"].choose(rng).unwrap_or(&"rw")),
        18..21 => format!("invlpg {page}"),
        21 => "cr3 first".into(),
        22 => "fence".into(),
        _ => format!("load pte {page}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_tests_are_judged_with_few_states() {
        let mut outcomes = 0;
        let mut most = 0;
        for number in 0..300 {
            let test = test(1, number);
            let judgement = test.judge().unwrap_or_else(|error| panic!("{number}: {error}"));
            outcomes += judgement.outcomes.len();
            most = most.max(judgement.states);
        }
        assert!(outcomes > 600, "most leave several outcomes: {outcomes}");
        assert!(most < 20_000, "{most}");
    }
}
