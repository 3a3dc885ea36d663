//! `crosswalk corpus`: cases taken out of a corpus, as a smaller one and as test vectors, and the readers of vectors
//! in docs/examples.

use assert_cmd::Command;
use crosswalk_test_support as support;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use support::report::{list, text};
use support::{ProgramOutput, Sandbox, count, repository, require_program, run};

/// The vectors that `corpus export` writes with these arguments.
#[track_caller]
fn vectors(arguments: &str) -> Vec<Value> {
    vectors_in(&Sandbox::new(), arguments)
}

#[track_caller]
fn vectors_in(sandbox: &Sandbox, arguments: &str) -> Vec<Value> {
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let output = sandbox.run(&[&["corpus", "export"][..], &arguments].concat()).expect_code(0);
    let lines = output.stdout.lines();
    lines.map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn error_code(vector: &Value) -> u32 {
    let code = text(&vector["observed"]["fault"]["error_code"]);
    u32::from_str_radix(code.trim_start_matches("0x"), 16).expect("a number")
}

fn actions(vector: &Value) -> usize {
    vector["case"].get("before").map_or(0, |before| list(before).len())
}

fn has(value: &Value, id: &str) -> bool {
    list(value).iter().any(|one| one == id)
}

/// Whether a vector fits an option.
type Fits<'f> = &'f dyn Fn(&Value) -> bool;

/// Each option keeps exactly the cases that a look at all of them finds.
#[test]
fn each_option_keeps_the_cases_that_fit() {
    // A part of the corpus, which is quick to judge.
    let sandbox = Sandbox::new();
    let some = ["corpus", "filter", "--limit", "2000", "--seed", "1", "-o", "some.jsonl"];
    sandbox.run(&some).expect_code(0);
    let all = vectors_in(&sandbox, "some.jsonl");
    let fault = |vector: &Value| vector["observed"]["fault"].is_object();
    let vector_is = |vector: &Value, number: u8| vector["observed"]["fault"]["vector"] == number;

    let options: [(&str, Fits<'_>); 15] = [
        ("--mode pae,32bit", &|v| v["mode"] == "pae" || v["mode"] == "32bit"),
        ("--rule CODE-4,CANON-1", &|v| has(&v["rules"], "CODE-4") || has(&v["rules"], "CANON-1")),
        ("--outcome completed", &|v| v["observed"].is_object() && !fault(v)),
        ("--outcome fault", &fault),
        ("--outcome PF", &|v| vector_is(v, 14)),
        ("--outcome gp,#SS", &|v| vector_is(v, 13) || vector_is(v, 12)),
        ("--outcome #PF(P|W)", &|v| vector_is(v, 14) && error_code(v) == 3),
        ("--outcome unsupported", &|v| v["unsupported"].is_string()),
        ("--error-code W,no-U", &|v| vector_is(v, 14) && error_code(v) & 6 == 2),
        ("--error-code 0x7", &|v| vector_is(v, 14) && error_code(v) == 7),
        ("--machine pvm,bochs", &|v| {
            v["machine"]["flavour"] == "pvm" || v["machine"]["kind"] == "bochs"
        }),
        ("--provenance kvm-walker", &|v| v["observed"]["provenance"] == "kvm-walker"),
        ("--actions 2-3", &|v| (2..=3).contains(&actions(v))),
        ("--without-findings", &|v| v["verdict"] == "agree"),
        ("--finding T1,T15", &|v| has(&v["findings"], "T1") || has(&v["findings"], "T15")),
    ];
    for (option, fits) in options {
        let expected: Vec<_> = all.iter().filter(|vector| fits(vector)).collect();
        let found = vectors_in(&sandbox, &format!("some.jsonl {option}"));
        assert!(!found.is_empty() && found.len() < all.len(), "{option}: {}", found.len());
        assert!(found.iter().eq(expected), "{option}: other cases than those that fit");
    }
}

#[test]
fn a_vector_says_all_that_a_test_needs() {
    let all = vectors("--mode 4level --actions 0 --outcome pf --limit 20");
    for vector in &all {
        assert_eq!(vector["vector"], 1);
        for (of, fields) in [
            ("case", &["state", "entries", "access", "profile"][..]),
            ("machine", &["kind", "flavour", "beneath", "cpu", "host_kernel", "emulator"]),
            ("allowed", &["access"]),
        ] {
            for field in fields {
                assert!(vector[of].get(field).is_some(), "{of} has no {field}: {vector}");
            }
        }
        // It can be asked again, as it is.
        run(&["explain", &vector["case"].to_string()]).expect_code(0);
    }
    assert_eq!(all.len(), 20);
}

/// Names are those of generators, which make another case of the same name on another machine.
#[test]
fn an_id_is_that_of_one_case() {
    let all = vectors("");
    let of = |field: fn(&Value) -> String| all.iter().map(field).collect::<BTreeSet<_>>().len();
    let cases = of(|vector| vector["case"].to_string());
    assert_eq!(of(|vector| vector["id"].to_string()), cases);
    assert_eq!(of(|vector| format!("{} {}", vector["id"], vector["case"])), cases);
    assert!(of(|vector| vector["name"].to_string()) < cases);
}

#[test]
fn a_filtered_corpus_is_replayed() {
    let sandbox = Sandbox::new();
    for out in ["some.jsonl", "some.jsonl.zst"] {
        let filter = ["corpus", "filter", "--mode", "5level", "--machine", "tcg", "-o", out];
        let output = sandbox.run(&filter).expect_code(0);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));

        let report = sandbox.run(&["replay", out, "--json"]).expect_code(0).json();
        let expected = vectors("--mode 5level --machine tcg").len() as u64;
        assert_eq!(count(&report["totals"], "cases"), expected, "{out}");
        let sources = list(&report["sources"]).iter();
        let kinds: BTreeSet<_> =
            sources.map(|source| text(&source["machine"]["flavour"])).collect();
        assert_eq!(kinds, BTreeSet::from(["tcg"]));
    }
    let plain = fs::read(sandbox.path().join("some.jsonl")).expect("a file");
    let packed = fs::read(sandbox.path().join("some.jsonl.zst")).expect("a file");
    assert!(packed.len() < plain.len() / 2 && packed.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));

    // A filter of everything keeps everything, and reads its own output.
    let all = sandbox.run(&["corpus", "filter"]).expect_code(0).stdout;
    let again = sandbox.command(&["corpus", "filter", "-"]).write_stdin(all.clone()).output();
    assert!(again.expect("it runs").stdout == all.as_bytes());
    let kept = sandbox.command(&["replay", "--json", "-"]).write_stdin(all).output();
    let kept: Value = serde_json::from_slice(&kept.expect("it runs").stdout).expect("JSON");
    assert_eq!(kept["totals"]["cases"], run(&["replay", "--json"]).json()["totals"]["cases"]);
}

#[test]
fn a_sample_is_the_same_for_a_seed() {
    let all = vectors("");
    let sample = vectors("--limit 50 --seed 7");
    assert_eq!(sample.len(), 50);
    assert_eq!(sample, vectors("--limit 50 --seed 7"));
    assert_ne!(sample, vectors("--limit 50 --seed 8"));

    // It comes from the whole corpus, in its order.
    let places = sample.iter().map(|vector| all.iter().position(|one| one == vector));
    let places: Vec<_> = places.map(|place| place.expect("it is of the corpus")).collect();
    assert!(places.is_sorted() && places[0] < all.len() / 4 && places[49] > all.len() * 3 / 4);

    assert_eq!(vectors("--limit 50"), all[..50]);
    let larger = vectors("--limit 200 --seed 7");
    assert!(sample.iter().all(|vector| larger.contains(vector)));
}

#[test]
fn distinct_cases_differ_in_more_than_the_processor() {
    let key = |vector: &Value| {
        let mut case = vector["case"].clone();
        case.as_object_mut().expect("an object").remove("profile");
        case.to_string()
    };
    let all: BTreeSet<_> = vectors("").iter().map(key).collect();
    let distinct = vectors("--distinct");
    assert_eq!(distinct.len(), all.len());
    assert_eq!(distinct.iter().map(key).collect::<BTreeSet<_>>(), all);
}

#[test]
fn statistics_count_what_is_there() {
    let all = vectors("--machine svm-npt");
    let document =
        run(&["corpus", "stats", "--machine", "svm-npt", "--json"]).expect_code(0).json();

    let totals = &document["totals"];
    let number =
        |fits: &dyn Fn(&Value) -> bool| all.iter().filter(|vector| fits(vector)).count() as u64;
    assert_eq!(count(totals, "cases"), all.len() as u64);
    assert_eq!(count(totals, "diverged"), number(&|vector| vector["verdict"] == "diverge"));
    assert_eq!(count(totals, "unsupported"), number(&|vector| vector["unsupported"].is_string()));
    assert_eq!(count(totals, "faulted"), number(&|vector| vector["observed"]["fault"].is_object()));

    for (table, fits) in [
        ("modes", &(|v: &Value, name: &str| v["mode"] == name) as &dyn Fn(&Value, &str) -> bool),
        ("rules", &|v, name| has(&v["rules"], name)),
        ("provenances", &|v, name| v["observed"]["provenance"] == name),
        ("actions", &|v, name| actions(v).to_string() == name),
        ("findings", &|v, name| has(&v["findings"], name.trim_end_matches(" of svm-npt"))),
    ] {
        let rows = list(&document[table]);
        assert!(rows.len() > 1, "{table}: {rows:?}");
        for row in rows {
            let name = text(&row["name"]);
            assert_eq!(count(row, "cases"), number(&|vector| fits(vector, name)), "{table} {name}");
        }
    }

    let shown = run(&["corpus", "stats"]).expect_code(0).expect_80_columns().stdout;
    let place = |words: &str| shown.find(words).unwrap_or_else(|| panic!("no {words} in {shown}"));
    assert!(place("T9 of tcg") < place("T12 of tcg"), "findings come in their order");
}

#[test]
fn what_cannot_be_done_is_told() {
    let sandbox = Sandbox::new();
    let corpus = sandbox.run(&["corpus", "filter", "--limit", "5"]).expect_code(0).stdout;
    sandbox.file("cut.jsonl", &corpus[..corpus.len() - 100]);
    sandbox.file("kept", "as it was");

    for (arguments, words) in [
        ("stats --mode unpaged --rule CODE-1", "no case fits"),
        ("export --machine nothing", "no case fits"),
        ("export --rule CODE-99", "CODE-99"),
        ("export --outcome page", "expected completed, fault"),
        ("export --error-code W,X", "of P, W, U, RSVD, I, PK, SS"),
        ("export --error-code W,no-W", "comes twice"),
        ("export --actions 3-1", "or a range"),
        ("export --seed 1", "--limit"),
        ("export --limit 0", "0 is not in"),
        ("export --finding T1 --without-findings", "cannot be used with"),
        ("stats cut.jsonl", "cut.jsonl, line 6: expected the end"),
        ("filter cut.jsonl -o kept", "cut.jsonl, line 6: expected the end"),
        ("filter missing", "missing: cannot be read"),
    ] {
        let arguments: Vec<_> = ["corpus"].into_iter().chain(arguments.split(' ')).collect();
        let output = sandbox.run(&arguments).expect_code(2);
        assert!(output.stderr.contains(words), "{arguments:?}: {}", output.stderr);
    }
    let kept = fs::read_to_string(sandbox.path().join("kept")).expect("a file");
    assert_eq!(kept, "as it was", "a corpus that is damaged replaces nothing");
}

/// A corpus of others may hold anything in its words.
#[test]
fn a_terminal_has_nothing_to_obey() {
    let sandbox = Sandbox::new();
    let hostile = "Bochs\u{9b}31m\u{202e}7.2";
    let corpus = sandbox.run(&["corpus", "filter", "--machine", "bochs", "--limit", "1"]);
    let corpus = corpus.expect_code(0).stdout.replace("Bochs 2.7", hostile);
    // The section is as its end says, or it is refused.
    let (section, _) = corpus.split_once("{\"end\"").expect("an end");
    let digest = sha256(section);
    sandbox.file("hostile", format!("{section}{{\"end\":1,\"sha256\":\"{digest}\"}}\n"));

    for command in ["filter", "export", "stats"] {
        let output = sandbox.run(&["corpus", command, "hostile"]).expect_code(0).stdout;
        assert!(output.contains(r"Bochs\u009b31m\u202e7.2"), "{command}: {output}");
    }
    let filtered = sandbox.run(&["corpus", "filter", "hostile"]).expect_code(0).stdout;
    sandbox.file("filtered", filtered);
    sandbox.run(&["replay", "filtered"]).expect_code(0);
}

fn sha256(text: &str) -> String {
    let output = Command::new("sha256sum").write_stdin(text).output().expect("coreutils are there");
    let output = String::from_utf8(output.stdout).expect("hexadecimal digits");
    output.split(' ').next().expect("a digest").to_owned()
}

/// A reader of vectors: the command that runs it, the file in docs/examples, and a mistake in it, which is that of
/// walkers that ignore reserved bits.
struct Reader {
    command: &'static [&'static str],
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
}

impl Reader {
    /// Runs it on all vectors, and once more with its mistake.
    #[track_caller]
    fn check(&self) {
        let vectors = run(&["corpus", "export"]).expect_code(0).stdout;
        let sandbox = Sandbox::new();
        for file in ["walker.py", self.file] {
            let source = fs::read_to_string(repository().join("docs/examples").join(file));
            sandbox.file(file, source.expect("an example"));
        }

        let counts = self.run(&sandbox, &vectors, 0);
        assert!(counts[0] > 4000 && counts[1] == 0, "{counts:?}");
        let all = vectors.lines().count() as u64;
        assert_eq!(counts.iter().sum::<u64>(), all);

        let file = if self.file == "vectors.py" { "walker.py" } else { self.file };
        let source = fs::read_to_string(sandbox.path().join(file)).expect("an example");
        assert!(source.contains(self.right), "{file} has no {}", self.right);
        sandbox.file(file, source.replace(self.right, self.wrong));
        assert!(self.run(&sandbox, &vectors, 1)[1] > 100);
    }

    /// The numbers of its last line: agree, differ, skipped.
    #[track_caller]
    fn run(&self, sandbox: &Sandbox, vectors: &str, code: i32) -> Vec<u64> {
        let mut command = Command::new(self.command[0]);
        command.args(&self.command[1..]).arg(self.file).current_dir(sandbox.path());
        // What it compiles stays in the sandbox.
        command.env("GOCACHE", sandbox.path().join("cache"));
        let output = ProgramOutput::of(command.write_stdin(vectors)).expect_code(code);
        let last = output.stdout.lines().last().expect("a line").to_owned();
        last.split(' ').filter_map(|word| word.parse().ok()).collect()
    }
}

#[test]
fn the_reader_in_javascript_is_right_and_finds_mistakes() {
    require_program!("node");
    let (right, wrong) = ("if (entry & reserved) return", "if (false) return");
    Reader { command: &["node"], file: "vectors.mjs", right, wrong }.check();
}

#[test]
fn the_reader_in_python_is_right_and_finds_mistakes() {
    require_program!("python3");
    let (right, wrong) = ("if entry & reserved:", "if False:");
    Reader { command: &["python3"], file: "vectors.py", right, wrong }.check();
}

#[test]
fn the_reader_in_go_is_right_and_finds_mistakes() {
    require_program!("go");
    let (right, wrong) = ("if entry&reserved != 0 {", "if reserved == 1 {");
    Reader { command: &["go", "run"], file: "vectors.go", right, wrong }.check();
}

/// The line protocol's examples read the case of a vector, too.
#[test]
fn the_walker_in_c_answers_vectors() {
    require_program!("cc");
    let sandbox = Sandbox::new();
    let source = repository().join("docs/examples/walker.c");
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(sandbox.path().join("walker")).arg(source);
    ProgramOutput::of(&mut compiler).expect_code(0);

    let vectors = vectors("--mode 4level --actions 0 --rule CODE-5");
    let cases: Vec<_> = vectors.iter().map(|vector| format!("{}\n", vector["case"])).collect();
    let mut walker = Command::new(sandbox.path().join("walker"));
    let answers = ProgramOutput::of(walker.write_stdin(cases.concat())).expect_code(0).stdout;
    assert_eq!(answers.lines().count(), vectors.len());
    assert!(answers.contains("\"vector\":14"), "{answers}");
}
