//! What is refused, with a sentence that names the line.

use crate::Litmus;

fn problem(text: &str) -> String {
    text.parse::<Litmus>().expect_err("it is not a test").to_string()
}

#[test]
fn what_is_not_a_test_is_refused_with_its_line() {
    let refused = [
        ("", "line 1: expected `litmus NAME`"),
        ("page x = A", "line 1: expected `litmus NAME` first; found \"page x = A\""),
        ("litmus a b", "line 1: expected a name of letters, digits, - and _; found \"a b\""),
        ("litmus a\npage q = A", "line 2: expected a page (x, y, z, w); found \"q\""),
        ("litmus a\npage x = Q", "line 2: expected a frame (A to H); found \"Q\""),
        ("litmus a\npage x = A key=16", "line 2: a protection key is below 16"),
        ("litmus a\nP0 | P2", "line 2: expected P1 at the head of the column; found \"P2\""),
        ("litmus a\nP0\nread x | read y", "line 3: 2 columns, but the test has 1"),
        ("litmus a\nP0\nfly x", "line 3: `fly x`: there is no action \"fly\""),
        ("litmus a\nP0\nread x y", "line 3: `read x y`: unexpected \"y\""),
        ("litmus a\nP0\nwait f", "line 3: `wait f`: expected \"=\" at the end"),
        ("litmus a\nP0\nread x\nobserve x: q", "line 4: expected a, d or p; found \"q\""),
        (
            "litmus a\nP0\nread x\nhandler P1: invlpg x",
            "line 4: expected a processor of the test; found \"P1\"",
        ),
        (
            "litmus a\nP0\nread x\nhandler P0: read x",
            "line 4: the results of a handler are not observed: read x",
        ),
    ];
    for (text, expected) in refused {
        assert_eq!(problem(text), expected, "{text}");
    }
}

#[test]
fn a_test_has_limits() {
    let long = format!("litmus a\nP0\n{}", "read x\n".repeat(33));
    assert_eq!(problem(&long), "line 35: a processor has at most 32 actions");
    let wide = "litmus a\nP0 | P1 | P2 | P3 | P4";
    assert_eq!(problem(wide), "line 2: a test has at most 4 processors");
    assert_eq!(problem(&"#".repeat(70_000)), "line 1: a test has at most 65536 bytes");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    assert!(!problem("litmus a\nP0\n\u{1b}[31m x").contains('\u{1b}'));
}

#[test]
fn comments_and_blanks_are_ignored() {
    let test: Litmus =
        "# a comment\nlitmus a # the name\n\npage x = A\nP0\nread x # reads\nallowed:  a"
            .parse()
            .unwrap();
    assert_eq!(test.columns, [["read x"]]);
    assert!(test.judge().unwrap().outcomes.contains_key("a"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(litmus a\n)?(page x = A\n)?(P0( \\| P1)?\n)?([a-z0-9=|: \\-]{0,40}\n){0,6}") {
        if let Ok(test) = text.parse::<Litmus>() {
            let _ = test.judge();
        }
    }
}
