//! Tests of streams and schedules: every case has one index, and shards partition a run.

use super::*;
use crate::walker::Walker;
use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;
use crosswalk_machine::Capabilities;
use mmu_core::{AccessKind, Profile, Reference, Ring};
use proptest::prelude::*;
use std::collections::HashMap;

/// A machine with everything, MAXPHYADDR 40.
pub(crate) fn capabilities(sees_outside: bool) -> Capabilities {
    let profile = Profile { physical_address_bits: 40, ..Profile::default() };
    Capabilities { sees_outside, ..Capabilities::of_everything(profile) }
}

const GENERATORS: [Generator; 7] = [
    Generator::Random(7),
    Generator::Exhaustive,
    Generator::Guided(7),
    Generator::Single(7),
    Generator::Sequences(7),
    Generator::EverySequence,
    Generator::GuidedSequences(7),
];

/// The modes in which a generator has cases.
fn modes_of(generator: Generator) -> impl Iterator<Item = PagingMode> {
    PagingMode::ALL.into_iter().filter(move |mode| generator.runs_in(*mode))
}

fn schedule(
    generator: Generator,
    modes: &[PagingMode],
    shard: Shard,
    cases: Option<u64>,
) -> Schedule {
    Schedule::new(&[generator], modes, &capabilities(true), shard, cases)
}

/// The names of a shard's cases, in order.
fn names(schedule: &Schedule) -> Vec<CaseName> {
    let mut names = Vec::new();
    let mut next = 0;
    while let Some(turn) = schedule.turn(next) {
        let first = turn.first.index;
        let cases = schedule.batch(&turn).cases.len() as u64;
        names.extend((first..first + cases).map(|index| CaseName { index, ..turn.first }));
        next = turn.number + 1;
    }
    names
}

#[test]
fn batches_are_as_long_as_the_stream_says() {
    for generator in GENERATORS {
        for mode in modes_of(generator) {
            let stream = generator.stream(mode, &capabilities(true));

            for number in 0..18.min(stream.batches()) {
                let batch = stream.batch(number, usize::MAX);
                let size = stream.cases_before(number + 1) - stream.cases_before(number);
                assert_eq!(batch.cases.len() as u64, size, "{generator:?} {mode} {number}");
                assert_eq!(batch.arena, Arena::for_batch(number));
            }
        }
    }
}

#[test]
fn random_batches_of_one_case_come_in_both_arenas() {
    let alone: Vec<u64> = (0..32).filter(|batch| is_alone(PagingMode::Pae, *batch)).collect();
    assert_eq!(alone, [7, 8, 23, 24]);

    // 7 batches of 480 cases, then two of one case.
    let before = [7, 8, 9, 16].map(|batch| random_cases_before(PagingMode::Pae, batch));
    assert_eq!(before, [3360, 3361, 3362, 6722]);
}

#[test]
fn a_name_gives_the_very_case_of_the_run() {
    let machine = capabilities(true);
    for generator in GENERATORS {
        let modes = [PagingMode::FiveLevel, PagingMode::FourLevel];
        let schedule = schedule(generator, &modes, Shard { index: 1, count: 2 }, Some(9000));
        let turn = schedule.turn(3).expect("a turn");
        let cases = schedule.batch(&turn).cases;

        for lane in [0, cases.len() - 1] {
            let name = CaseName { index: turn.first.index + lane as u64, ..turn.first };
            let again: CaseName = name.to_string().parse().expect("a name");
            assert_eq!(again, name);
            assert_eq!(again.case(&machine).as_ref(), Some(&cases[lane]), "{name}");
        }
    }
}

#[test]
fn names_are_read_and_written() {
    for text in [
        "random:4level:7:12345",
        "guided:pae:18446744073709551615:0",
        "sequence:5level:7:1",
        "exhaustive:32bit:9",
    ] {
        assert_eq!(text.parse::<CaseName>().expect("a name").to_string(), text);
        assert!(CaseName::is_meant(text));
    }

    for (text, problem) in [
        ("random:4level:7", "not the name of a case"),
        ("random:7level:7:1", "no such paging mode"),
        ("random:4level:seven:1", "not a number"),
        ("exhaustive:4level:-1", "not a number"),
        ("exhaustive:4level:1:2", "not the name of a case"),
    ] {
        let error = text.parse::<CaseName>().expect_err("not a name");
        assert!(error.starts_with(problem) && error.contains(text), "{error}");
    }
}

/// 2 batches of 480 cases of each of five modes, where a sequence has its turn twice in each of two
/// modes, so that 4 * 2 * 192 of 6,336 cases are sequences. With one mode they are 2 * 192 of 1,344.
#[test]
fn generators_take_turns_and_sequences_are_a_fifth_at_least() {
    let generators = SequenceUse::On.generators(Generator::Random(7));
    assert_eq!(generators, [Generator::Random(7), Generator::Sequences(7)]);
    let guided = [Generator::Guided(7), Generator::GuidedSequences(7)];
    assert_eq!(SequenceUse::On.generators(Generator::Guided(7)), guided);
    let every = [Generator::Exhaustive, Generator::EverySequence];
    assert_eq!(SequenceUse::On.generators(Generator::Exhaustive), every);
    assert_eq!(SequenceUse::Off.generators(Generator::Exhaustive), every[..1]);
    assert_eq!(SequenceUse::Only.generators(Generator::Exhaustive), every[1..]);

    let all: Vec<_> =
        PagingMode::ALL.into_iter().filter(|mode| *mode != PagingMode::Linear).collect();
    for (modes, expected) in [(&all[..], [4800, 1536]), (&[PagingMode::FourLevel], [960, 384])] {
        let cases = Some(expected.iter().sum());
        let schedule = Schedule::new(&generators, modes, &capabilities(true), Shard::WHOLE, cases);
        let names = names(&schedule);
        let count =
            |generator| names.iter().filter(|name| name.generator == generator).count() as u64;
        assert_eq!(generators.clone().into_iter().map(count).collect::<Vec<_>>(), expected);
    }
}

/// Cases that names have meant so far.
#[test]
fn the_digests_of_the_first_cases_stay() {
    let digest = |name: &str| {
        let name: CaseName = name.parse().expect("a name");
        let case = name.case(&capabilities(true)).expect("a case");
        case.to_json().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    let names = ["random:4level:7:12345", "guided:pae:7:99", "exhaustive:4level:4711"];
    let digests =
        [13_708_062_678_071_759_193, 13_999_996_475_846_467_917, 9_379_779_815_545_812_589];
    assert_eq!(names.map(digest), digests);
}

#[test]
fn shards_are_read_and_checked() {
    assert_eq!("2/3".parse(), Ok(Shard { index: 2, count: 3 }));
    for wrong in ["3/3", "1", "a/b", "-1/3", "0/0", "1/2/3", "0/99999999"] {
        assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
    }
}

/// How a case ends, by the reference.
fn end(case: &Case) -> (Ring, AccessKind, Option<(u8, u32)>) {
    let ways = Reference.predict(case).alternatives;
    let fault = ways[0].outcome.fault().map(|fault| (fault.vector as u8, fault.error_code));
    (case.access.ring, case.access.kind, fault)
}

#[test]
fn guided_cases_end_more_often_in_rare_ways() {
    let cases = |generator: Generator| {
        let stream = generator.stream(PagingMode::FourLevel, &capabilities(true));
        (0..7).flat_map(|number| stream.batch(number, usize::MAX).cases).collect::<Vec<_>>()
    };

    let mut ends: HashMap<_, u32> = HashMap::new();
    for case in cases(Generator::Random(99)) {
        *ends.entry(end(&case)).or_default() += 1;
    }
    // Fewer than one case in 300.
    let is_rare = |case: &&Case| ends.get(&end(case)).is_none_or(|count| *count < 11);
    let rare = |generator| cases(generator).iter().filter(is_rare).count();

    let random = rare(Generator::Random(3));
    let guided = rare(Generator::Guided(3));
    assert!(guided > 2 * random, "{guided} rare ends, and {random} by chance");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// No case comes twice and none is missing, with a limit and with an endless stream.
    #[test]
    fn shards_partition_a_run(
        which in 0_usize..3,
        modes in prop::sample::subsequence(PagingMode::ALL.to_vec(), 1..=3),
        count in 1_u64..7,
        cases in 1_u64..4000,
    ) {
        let generator = GENERATORS[which];
        let mut whole = names(&schedule(generator, &modes, Shard::WHOLE, Some(cases)));
        let expected = match generator {
            // Without paging there are few combinations.
            Generator::Exhaustive => schedule(generator, &modes, Shard::WHOLE, None).combinations().min(cases),
            _ => cases,
        };
        prop_assert_eq!(whole.len() as u64, expected);

        let mut parts: Vec<_> = (0..count)
            .flat_map(|index| {
                names(&schedule(generator, &modes, Shard { index, count }, Some(cases)))
            })
            .collect();
        parts.sort_unstable();
        whole.sort_unstable();
        prop_assert_eq!(&parts, &whole);

        whole.dedup();
        prop_assert_eq!(parts.len(), whole.len());
    }

    /// The index of a case leads back to its batch and lane.
    #[test]
    fn an_index_is_found_again(batch in 0_u64..ENDLESS - 1, which in 0_usize..3, lane in 0_u64..480) {
        let stream = GENERATORS[which].stream(PagingMode::FourLevel, &capabilities(true));
        let batch = batch % (stream.batches() - 1);

        let size = stream.cases_before(batch + 1) - stream.cases_before(batch);
        let index = stream.cases_before(batch) + lane % size;
        prop_assert_eq!(stream.locate(index), Some((batch, (lane % size) as usize)));
    }
}
