//! What is read, and what is wrong with what is not.

use crate::{SCENARIOS, Scenario, Setting};
use mmu_core::PagingMode::{Bits32, FourLevel};
use proptest::prelude::*;

/// A scenario that holds, whose lines the tests below change.
const TEXT: &str = r#"name = "mine"
shows = "what it shows"
pages = 16
processes = 2

[places]
heap = 0x8060_0000

[[step]]
start = "A"
regions = [{ kind = "heap", at = "heap", pages = 2, limit = 4 }]

[[step]]
run = "A"
does = "fills its heap"
program = [{ fill = "heap", pages = 2, by = 0xa }]
result = "filled"

[[step]]
claim = "two pages have frames: {frames(A)}"
that = ["filled == 1", "frames(A) == 2"]
"#;

/// The error of the text with something replaced, which must be in the text.
#[track_caller]
fn error(old: &str, new: &str) -> String {
    assert!(TEXT.contains(old), "{old}");
    let text = TEXT.replacen(old, new, 1);
    Scenario::from_toml("x.toml", &text).expect_err(new).to_string()
}

/// The same text with steps at its end.
fn with_steps(steps: &str) -> String {
    format!("{TEXT}\n{steps}")
}

#[track_caller]
fn error_of_steps(steps: &str) -> String {
    Scenario::from_toml("x.toml", &with_steps(steps)).expect_err(steps).to_string()
}

#[test]
fn a_file_is_run_and_its_claims_are_judged() {
    let scenario = Scenario::from_toml("x.toml", TEXT).unwrap();
    assert_eq!((&*scenario.name, &*scenario.shows), ("mine", "what it shows"));
    for mode in [Bits32, FourLevel] {
        let story = scenario.run(Setting::new(mode)).unwrap();
        assert!(story.passed(), "{:?} {:?}", story.claims, story.problems);
        assert_eq!(story.claims[0].claim, "two pages have frames: 2");
    }

    let wrong = TEXT.replace("frames(A) == 2\"", "frames(A) == 3\"");
    let story =
        Scenario::from_toml("x.toml", &wrong).unwrap().run(Setting::new(FourLevel)).unwrap();
    assert!(!story.passed() && !story.claims[0].holds && story.problems.is_empty());
}

/// A line each: what is changed, into what, the number of the line, and words of the error.
#[test]
fn an_error_names_the_line_and_what_was_expected() {
    for (old, new, line, words) in [
        ("name = \"mine\"\n", "", 1, "a scenario needs `name`, which is missing"),
        ("name = \"mine\"", "name = \"My own\"", 1, "small letters, digits and hyphens"),
        ("name = \"mine\"", "name = 3", 1, "expected a text in quotes, found integer"),
        ("name = \"mine\"", "name = ", 1, "string values must be quoted"),
        ("\"what it shows\"", "\"\"", 2, "expected a text of 1 to 200 characters"),
        ("\"what it shows\"", "\"a\\u001b[31m\"", 2, "without control characters"),
        ("\"what it shows\"", "\"a\\u202eb\"", 2, "and marks of direction"),
        ("pages = 16", "pages = 0", 3, "expected a number from 1 to 128"),
        ("processes = 2\n", "", 1, "needs `frames`, or `pages` and `processes`"),
        ("pages = 16", "frames = 300", 3, "expected a number from 8 to 256"),
        ("pages = 16", "colour = 1\npages = 16", 3, "a scenario of this kind has no `colour`"),
        ("heap = 0x8060_0000", "heap = -1", 7, "expected a number from 0x0 to 0xffffffff"),
        ("heap = 0x8060_0000", "major = 4096", 7, "the name `major` is taken"),
        ("heap = 0x8060_0000", "Heap = 4096", 7, "expected a name of small letters"),
        ("start = \"A\"", "start = \"B\"", 10, "the next process is A, found `B`"),
        ("start = \"A\"", "begin = \"A\"", 9, "expected a step with one of start, fork"),
        ("kind = \"heap\"", "kind = \"pile\"", 11, "expected \"code\", \"data\""),
        ("pages = 2, limit = 4", "pages = 2, limit = 1", 11, "expected a number from 2 to 128"),
        ("pages = 2, limit = 4", "pages = 129", 11, "expected a number from 1 to 128"),
        (
            "at = \"heap\", pages = 2, l",
            "at = \"heap + 8\", pages = 2, l",
            11,
            "a multiple of 0x1000",
        ),
        (
            "at = \"heap\", pages = 2, l",
            "at = \"hep\", pages = 2, l",
            11,
            "`hep` is not known here",
        ),
        (
            "at = \"heap\", pages = 2, l",
            "at = \"major\", pages = 2, l",
            11,
            "places and numbers only",
        ),
        (
            "at = \"heap\", pages = 2, l",
            "at = 0, pages = 2, l",
            11,
            "between 0x1000 and 0xffffffff",
        ),
        ("at = \"heap\", pages = 2, l", "at = 0xffff_f000, pages = 2, l", 11, "between 0x1000"),
        (
            "at = \"heap\", pages = 2, l",
            "at = 0x804e_e000, pages = 2, l",
            11,
            "is the supervisor's",
        ),
        ("limit = 4", "rights = \"rw\"", 11, "a region of this kind has no `rights`"),
        ("run = \"A\"", "run = \"B\"", 14, "the letter of a process that an earlier step starts"),
        ("does = \"fills its heap\"\n", "", 13, "a step needs `does`"),
        ("fill = \"heap\", pages = 2", "fill = \"heap\", pages = 0", 16, "from 1 to 128"),
        ("fill = \"heap\"", "full = \"heap\"", 16, "expected a part with one of fill, check"),
        ("by = 0xa", "by = 0x1000", 16, "expected a number from 0 to 4095"),
        ("by = 0xa }", "by = 0xa, stride = 1 }", 16, "has no `stride`: expected fill, pages, by"),
        ("[{ fill = \"heap\", pages = 2, by = 0xa }]", "[]", 16, "at least one part"),
        ("result = \"filled\"", "result = \"heap\"", 17, "the name `heap` is taken"),
        ("that = [", "than = [", 19, "a step needs `that`"),
        ("frames(A) == 2", "frames(A) = 2", 21, "expected ==, !=, <"),
        ("frames(A) == 2", "frames(A) == ", 21, "expected a number or a name, found the end"),
        ("frames(A) == 2", "frames(B) == 2", 21, "the letter of a process that was started"),
        ("frames(A) == 2", "frame(A, heap) == 2", 21, "a frame cannot be compared with a number"),
        ("frames(A) == 2", "frame(A, heap) < nowhere", 21, "compared by == or != only"),
        ("frames(A) == 2", "frame(A, heap) + 1 == 2", 21, "only numbers can be added"),
        ("frames(A) == 2", "size(A) == 2", 21, "there is no function `size`"),
        ("frames(A) == 2", "frames(A == 2", 21, "expected `)`, found `== 2`"),
        ("frames(A) == 2", "pages(A, pile) == 2", 21, "expected the kind of a region: code"),
        ("frames(A) == 2", "9999999999999999999 == 2", 21, "expected a number, such as 4"),
        ("frames(A) == 2", "frames(A) == 2 == 2", 21, "expected the end, found `== 2`"),
        ("{frames(A)}", "{frames(A)", 20, "a brace is open"),
        ("{frames(A)}", "{frame(A, heap)}", 20, "expected a number in the braces"),
    ] {
        let error = error(old, new);
        assert!(error.starts_with(&format!("x.toml: line {line}: ")), "{new}: {error}");
        assert!(error.contains(words), "{new}: {error}");
    }
}

#[test]
fn steps_depend_on_what_was_before_them() {
    for (steps, words) in [
        ("[[step]]\nfork = \"A\"", "a step needs `child`"),
        ("[[step]]\nfork = \"A\"\nchild = \"C\"", "the next process is B"),
        (
            "[[step]]\nfork = \"A\"\nchild = \"B\"\nwhen = \"copies == 0\"",
            "nothing can depend on it",
        ),
        ("[[step]]\nreclaim = 1\nwhen = \"copies == 0\"\nresult = \"n\"", "no `result`"),
        ("[[step]]\nreclaim = 257", "from 1 to 256"),
        ("[[step]]\nobject = \"o\"\npages = 17", "from 1 to 16"),
        ("[[step]]\nobject = \"o\"\npages = 2\nimage = 7", "there are 8 pages of images"),
        (
            "[[step]]\nmap = \"A\"\nregion = { kind = \"shared\", at = 4096, object = \"o\" }",
            "an earlier step made",
        ),
        ("[[step]]\nprotect = \"A\"\nat = \"heap\"\nrights = \"w\"", "expected \"r\", \"rw\""),
        ("[[step]]\ntry = \"A\"\naccess = \"jump\"\nat = \"heap\"", "expected \"read\", \"write\""),
        (
            "[[step]]\ntry = \"A\"\naccess = \"read\"\nat = \"heap + 0xff9\"",
            "reach into the next page",
        ),
        ("[[step]]\ntogether = []", "expected 1 to 4 programs"),
        (
            "[[step]]\nremember = { filled = \"frame(A, heap)\" }",
            "`filled` is something else already",
        ),
        ("[[step]]\nremember = { a = 1 }", "expected an expression in quotes"),
        (
            "[[step]]\nrun = \"A\"\ndoes = \"x\"\nprogram = [{ fill = \"heap\", pages = 128, by = 1 }, { check = \"heap\", pages = 128, by = 1 }]",
            "at most 400 accesses",
        ),
        ("[[step]]\nrun = \"A\"\nfork = \"A\"", "expected a step with one of"),
        ("[[step]]\nclaim = \"x\"\nthat = []", "expected 1 to 16 conditions"),
    ] {
        let error = error_of_steps(steps);
        assert!(error.contains(words), "{steps}: {error}");
    }

    let step = "[[step]]\nhalfway = true\n";
    let error = error_of_steps(&step.repeat(400));
    assert!(error.contains("expected 1 to 400 steps, found 403"), "{error}");
    let error = error_of_steps(&"[[step]]\nreclaim = 256\n".repeat(40));
    assert!(error.contains("at most 10000 accesses and reclaimed frames in all"), "{error}");
    let places: Vec<_> = (0..200).map(|number| format!("a{number} = 4096\n")).collect();
    let error = self::error("[places]\n", &format!("[places]\n{}", places.concat()));
    assert!(error.contains("expected at most 200 places and results"), "{error}");
    let without_claim = TEXT.split("[[step]]\nclaim").next().unwrap();
    let error = Scenario::from_toml("x.toml", without_claim).unwrap_err().to_string();
    assert!(error.contains("a scenario claims something"), "{error}");
    let error = Scenario::from_toml("x.toml", &"#".repeat(300_000)).unwrap_err().to_string();
    assert!(error.contains("expected at most 262144 bytes"), "{error}");
}

/// What a file cannot know before it runs is a problem of the story, with the line.
#[test]
fn what_stops_a_scenario_is_told_with_its_line() {
    for (steps, words) in [
        ("[[step]]\nend = \"A\"\n[[step]]\nend = \"A\"", "line 25: A has ended"),
        ("[[step]]\ngrow = \"A\"\nat = \"heap\"\npages = 3", "line 23: "),
        (
            "[[step]]\nmap = \"A\"\nregion = { kind = \"data\", at = \"heap\", pages = 1 }",
            "line 23: ",
        ),
        (
            "[[step]]\nrun = \"A\"\ndoes = \"x\"\nprogram = [{ read = 0x1000, value = 0 }]",
            "line 23: ",
        ),
    ] {
        let scenario = Scenario::from_toml("x.toml", &with_steps(steps)).expect(steps);
        let story = scenario.run(Setting::new(FourLevel)).unwrap();
        assert!(!story.passed());
        assert!(
            story.problems.iter().any(|problem| problem.contains(words)),
            "{:?}",
            story.problems
        );
    }
}

/// Every step that there is, in one file; by hand: what each leaves behind.
#[test]
fn every_step_does_what_it_says() {
    let steps = r#"
[[step]]
object = "buffer"
pages = 2

[[step]]
map = "A"
region = { kind = "shared", at = 0x8070_0000, object = "buffer" }

[[step]]
run = "A"
does = "writes, and reads it again"
program = [{ write = 0x8070_1008, value = 7 }, { yield = true }, { read = 0x8070_1008, value = 7 }]
result = "found"

[[step]]
fork = "A"
child = "B"

[[step]]
together = [
    { run = "A", does = "reads", program = [{ read = 0x8070_1008, value = 7 }] },
    { run = "B", does = "writes", program = [{ write = "heap", value = 1 }, { read = 0x8070_1008, value = 7 }], turns = 1 },
]

[[step]]
remember = { shared-by = "sharers(A, 0x8070_1000)", old = "frame(A, heap)" }

[[step]]
claim = "one frame for both, and one each"
that = ["found == 1", "shared-by == 2", "has(B, old) == 0", "copies == 1", "frame(A, heap) != frame(B, heap)"]

[[step]]
grow = "B"
at = "heap"
pages = 9
result = "grown"

[[step]]
protect = "B"
at = "heap"
rights = "r"

[[step]]
try = "B"
access = "write"
at = "heap"
result = "ended"

[[step]]
unmap = "A"
at = 0x8070_0000

[[step]]
reclaim = 9
result = "taken"

[[step]]
claim = "the heap of A is in the store"
that = ["grown == 0", "ended == read-only", "taken > 1", "taken < 9", "frames(A) == 0", "frame(A, heap) == nowhere", "pages(A, heap) == 2", "written >= 2"]

[[step]]
end = "A"
when = "execute-disable == 0"

[[step]]
claim = "A is alive"
that = "tables(A) > 0"
when = "total-frames >= 8"
"#;
    let scenario = Scenario::from_toml("x.toml", &with_steps(steps)).unwrap();
    let story = scenario.run(Setting::new(FourLevel)).unwrap();
    assert!(story.passed(), "{:#?} {:#?}", story.claims, story.problems);
    assert_eq!(story.claims.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A shipped file with something replaced, cut, or doubled is read or refused, and if it is read, it runs.
    #[test]
    fn no_text_panics(
        file in 0_usize..9,
        at in any::<prop::sample::Index>(),
        length in 0_usize..30,
        with in prop_oneof![
            Just(String::new()), "\\PC{0,12}", "[-0-9a-fx\"{}=,.#\\[\\]]{1,6}", Just("0x7fff_ffff_ffff_ffff".into()),
            Just("frame(A, heap)".into()), Just("[[step]]\nfork = \"A\"\nchild = \"B\"\n".into()),
            Just("[[step]]\nend = \"A\"\n".into()), Just("[[step]]\nreclaim = 99\n".into()),
        ],
    ) {
        let text: Vec<char> = shipped(file).chars().collect();
        let at = at.index(text.len());
        let until = (at + length).min(text.len());
        let changed: String =
            text[..at].iter().copied().chain(with.chars()).chain(text[until..].iter().copied()).collect();
        run_if_read(&changed);
    }

    /// The same for text that is nothing like it.
    #[test]
    fn no_other_text_panics(text in "\\PC{0,200}|([a-z]+ = ([0-9]+|\"[a-zA(]*\"|\\[\\[?)\n)*") {
        run_if_read(&text);
    }
}

/// The text of a shipped file.
fn shipped(number: usize) -> &'static str {
    crate::catalogue::FILES[number].1
}

fn run_if_read(text: &str) {
    if let Ok(scenario) = Scenario::from_toml("x.toml", text) {
        let story = scenario.run(Setting::new(FourLevel)).expect("a mode with tables");
        assert!(story.claims.len() <= 400);
    }
}

#[test]
fn all_shipped_scenarios_are_files_but_one() {
    assert_eq!(SCENARIOS.len(), crate::catalogue::FILES.len() + 1);
}

/// What a process could read of the system, and regions that the system itself has in a process.
#[test]
fn the_systems_own_pages_are_no_part_of_a_scenario() {
    for steps in [
        "[[step]]\nunmap = \"A\"\nat = 0x4010_1000",
        "[[step]]\nprotect = \"A\"\nat = 0x804f_0000\nrights = \"r\"",
        "[[step]]\ntry = \"A\"\naccess = \"read\"\nat = 0x8058_0000",
    ] {
        let error = error_of_steps(steps);
        assert!(error.contains("is the supervisor's in every process"), "{error}");
    }
    // An address of the supervisor alone can be tried, and the fault is the point of it.
    let tried =
        with_steps("[[step]]\ntry = \"A\"\naccess = \"read\"\nat = 0x4010_1000\nresult = \"r\"");
    assert!(Scenario::from_toml("x.toml", &tried).is_ok());
    let far = error_of_steps("[[step]]\ntry = \"A\"\naccess = \"read\"\nat = 0x1_0000_0000");
    assert!(far.contains("expected an address from 0 to 0xffffffff"), "{far}");
}
