//! Random tests: a few actions of one or two processors on one or two pages.

use crate::test::Litmus;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fmt::Write;

/// What random tests may have besides what every processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extra {
    /// Half of them are of ring 0, and turn CR0.WP on and off.
    Supervisor,
    /// PCIDs and INVPCID.
    Pcid,
}

impl Extra {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Supervisor, Self::Pcid];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Pcid => "pcid",
        }
    }
}

/// The random test of a number, which may have these extras.
///
/// ```
/// use crosswalk_litmus::random::{Extra, test};
/// let plain = test(7, 3, &[]);
/// assert_eq!(plain.name, "random-7-3");
/// assert_eq!(plain.columns, test(7, 3, &[]).columns);
/// assert_eq!(test(7, 3, &[Extra::Pcid]).name, "random-7-3-pcid");
/// ```
///
/// # Panics
/// Never: what is written here is what the text form reads.
pub fn test(seed: u64, number: u64, extras: &[Extra]) -> Litmus {
    text(seed, number, extras).parse().expect("random tests have the text form")
}

/// The same as text.
pub fn text(seed: u64, number: u64, extras: &[Extra]) -> String {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ number.rotate_left(32));
    let rng = &mut rng;
    let mut text = format!("litmus random-{seed}-{number}");
    for extra in extras {
        let _ = write!(text, "-{}", extra.name());
    }
    text.push('\n');

    for page in ["x", "y"] {
        let _ = writeln!(text, "page {page} = {}", entry(rng));
        let _ = writeln!(text, "page {page} in T = {}", entry(rng));
    }
    let has_globals = rng.random_bool(0.2);
    if rng.random_bool(0.2) {
        text.push_str("vendor amd\n");
    }
    let has_pcids = extras.contains(&Extra::Pcid);
    if has_globals || has_pcids {
        let registers = [("pge", has_globals), ("pcide", has_pcids)];
        let set = registers.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name);
        let _ = writeln!(text, "cr4 {}", set.collect::<Vec<_>>().join(" "));
    }
    let is_supervisor = extras.contains(&Extra::Supervisor) && rng.random_bool(0.5);
    if is_supervisor {
        text.push_str("supervisor\n");
        if rng.random_bool(0.3) {
            text.push_str("cr0 -wp\n");
        }
    }

    let processors = if rng.random_bool(0.2) { 1 } else { 2 };
    let columns: Vec<Vec<String>> = (0..processors)
        .map(|_| {
            let actions = rng.random_range(2..=4);
            (0..actions).map(|_| any_action(rng, is_supervisor, has_pcids)).collect()
        })
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

/// An action, now and then one that only a test with extras may have.
fn any_action(rng: &mut Xoshiro256PlusPlus, is_supervisor: bool, has_pcids: bool) -> String {
    if is_supervisor && rng.random_bool(0.15) {
        return if rng.random_bool(0.5) { "cr0 -wp".into() } else { "cr0 +wp".into() };
    }
    if has_pcids && rng.random_bool(0.3) {
        return pcid_action(rng);
    }
    action(rng)
}

/// A change of the PCID or an INVPCID.
fn pcid_action(rng: &mut Xoshiro256PlusPlus) -> String {
    let pcid = if rng.random_bool(0.5) { "" } else { " pcid=1" };
    match rng.random_range(0..8) {
        0..5 => {
            let root = if rng.random_bool(0.5) { "first" } else { "T" };
            let keep = if rng.random_bool(0.6) { " keep" } else { "" };
            format!("cr3 {root}{pcid}{keep}")
        }
        5 => format!("invpcid 0{pcid} {}", page(rng)),
        6 => format!("invpcid 1{pcid}"),
        _ => format!("invpcid {}", rng.random_range(2..4)),
    }
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
            let test = test(1, number, &[]);
            let judgement = test.judge().unwrap_or_else(|error| panic!("{number}: {error}"));
            outcomes += judgement.outcomes.len();
            most = most.max(judgement.states);
        }
        assert!(outcomes > 600, "most leave several outcomes: {outcomes}");
        assert!(most < 20_000, "{most}");
    }

    #[test]
    fn extras_are_read_and_judged() {
        let mut written = String::new();
        for number in 0..100 {
            let test = test(1, number, &Extra::ALL);
            test.judge().unwrap_or_else(|error| panic!("{number}: {error}"));
            written += &text(1, number, &Extra::ALL);
        }
        let all =
            ["supervisor", "cr0 -wp", "cr0 +wp", "cr3 T pcid=1 keep", "invpcid 0", "invpcid 3"];
        for part in all {
            assert!(written.contains(part), "no test has {part:?}");
        }
    }
}
