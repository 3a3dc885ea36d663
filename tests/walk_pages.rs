//! `explain --html` and `--svg`: a walk as a page that walks again in a browser, and as a picture.

use crosswalk::generate::FullCaseName;
use crosswalk::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_explain::View;
use crosswalk_test_support as support;
use serde_json::{Value, json};
use std::process::Command;
use support::browser::drive;
use support::{Sandbox, require_browser, require_kvm, require_program, run};

/// A supervisor's write to a large page that is read-only.
const WRITE: &str = r#"{"mode":"4level",
    "state":{"cr0":"0x80010011","cr3":"0x440000","cr4":"0x620","efer":"0xd00"},
    "entries":[{"address":"0x440018","value":"0x441007"},{"address":"0x441028","value":"0x443007"},
        {"address":"0x443038","value":"0x40000085"}],
    "access":{"kind":"write","address":"0x18140e44018","size":8,"ring":0}}"#;

/// A case that a generator makes on a processor of some generation; not every generator has all modes.
fn named(name: &str) -> Option<Case> {
    let name: FullCaseName = name.parse().ok()?;
    let origin = name.origin.clone()?;
    name.case(origin.capabilities())
}

/// What `explain --json` says of a case.
fn explained(case: &str) -> Value {
    let output = run(&["explain", "--json", case]).expect_code(0);
    let mut document: Value = serde_json::from_str(&output.stdout).expect("JSON");
    document["cases"][0].take()
}

/// The module in the tree gives the answers of the crate that it is built of: it is not an old one.
#[test]
fn the_module_in_the_tree_walks_as_the_program_does() {
    require_program!("node");
    let processors = ["skylake", "zen-4", "prescott", "granite-rapids"];
    let kinds = [("random", 40), ("sequence", 10)];
    let modes = ["unpaged", "32bit", "pae", "4level", "5level"];
    let mut questions = Vec::new();
    for processor in processors {
        for mode in modes {
            for (kind, count) in kinds {
                let names =
                    (0..count).map(|index| format!("{kind}:{mode}:1:{}@{processor}", 7 * index));
                questions.extend(names.filter_map(|name| Some(named(&name)?.to_json())));
            }
        }
    }
    assert!(questions.len() > 700, "{} cases", questions.len());
    questions.extend([
        "{}".to_owned(),
        "[1".to_owned(),
        WRITE.replace('\n', "").replace("0x80010011", "0x1"),
    ]);

    let sandbox = Sandbox::new();
    let file = sandbox.path().join("questions");
    std::fs::write(&file, questions.join("\n")).expect("a file");
    let output = Command::new("node")
        .arg(support::repository().join("tests/browser/module.mjs"))
        .arg(support::repository().join("vmm/templates/crosswalk.wasm.gz"))
        .arg(&file)
        .output()
        .expect("node");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = String::from_utf8(output.stdout).expect("text");
    assert_eq!(answers.lines().count(), questions.len());

    for (question, answer) in questions.iter().zip(answers.lines()) {
        let expected = match Case::from_json(question) {
            Ok(case) => {
                let view = View::<()>::new(&case, WalkerSpec::Reference, &|_| None, Vec::new());
                json!({ "view": view })
            }
            Err(error) => json!({ "error": error.to_string() }),
        };
        let answer: Value = serde_json::from_str(answer).expect("JSON");
        assert!(answer == expected, "ci/web --bless builds it again; {question}: {answer}");
    }
}

/// Step by step with the keyboard; a bit of an entry, of registers and of the address, and every choice of the access
/// flipped; and each walk that the page makes is the program's.
#[test]
fn a_walk_goes_step_by_step_and_is_made_again_with_a_bit_flipped() {
    require_browser!();
    let sandbox = Sandbox::new();
    sandbox.run(&["explain", WRITE, "--html", "page.html"]).expect_code(0);

    let flips = [
        (
            "[data-id='entry-0x443038.1']",
            "PDE at 0x443038: R/W 0 → 1",
            "✓ completed: 8 bytes at 0x40044018",
        ),
        ("[data-id='entry-0x441028.0']", "PDPTE at 0x441028: P 1 → 0", "▲ #PF(W) at 0x18140e44018"),
        (
            "[data-id='entry-0x440018.7']",
            "PML4E at 0x440018: bit 7 (reserved) 0 → 1",
            "▲ #PF(P|W|RSVD) at 0x18140e44018",
        ),
        ("[data-id='CR0.16']", "CR0: WP 1 → 0", "✓ completed: 8 bytes at 0x40044018"),
        ("[data-id='CR4.20']", "CR4: SMEP 0 → 1", "▲ #PF(P|W) at 0x18140e44018"),
        ("[data-id='EFER.11']", "EFER: NXE 1 → 0", "▲ #PF(P|W) at 0x18140e44018"),
        ("[data-id='CR0.31']", "CR0: PG 1 → 0", "✓ completed: 8 bytes at 0x40e44018"),
        ("[data-id='CR3.12']", "CR3: bit 12 (address) 0 → 1", "▲ #PF(W) at 0x18140e44018"),
        ("[data-id='address.63']", "address: bit 63 (sign) 0 → 1", "▲ #GP(0)"),
        ("[data-id='address.21']", "address: bit 21 (PD) 1 → 0", "▲ #PF(W) at 0x18140c44018"),
        (
            "input[name=kind][value=read]",
            "access: kind write → read",
            "✓ completed: 8 bytes at 0x40044018",
        ),
        (
            "input[name=kind][value=fetch]",
            "access: kind write → fetch",
            "✓ completed: 8 bytes at 0x40044018",
        ),
        ("input[name=ring][value='3']", "access: ring 0 → 3", "▲ #PF(P|W|U) at 0x18140e44018"),
    ];
    let mut arguments = vec!["walk"];
    arguments.extend(flips.map(|(selector, ..)| selector));
    let saw = drive("walk.mjs", &sandbox.path().join("page.html"), &arguments);
    assert_eq!(saw["complaints"], json!([]));

    let sentences = [
        "The address 0x18140e44018 is split: sign 0x0000, PML4 3, PDPT 5, PD 7, offset 0x44018.",
        "PML4E 3 at 0x440018 leads to the table at 0x441000.",
        "PDPTE 5 at 0x441028 leads to the table at 0x443000.",
        "PDE 7 at 0x443038 leads to the page at 0x40000000. It takes away: write.",
        "The walk is complete, and the access is denied: a write to a read-only page (RIGHT-1, RIGHT-2).",
        "The outcome: #PF(P|W) at 0x18140e44018.",
    ];
    let steps = saw["steps"].as_array().expect("steps");
    let said: Vec<_> = steps.iter().map(|step| step["sentence"].as_str().expect("text")).collect();
    assert_eq!(said, sentences);
    let lit: Vec<_> = steps.iter().map(|step| step["lit"].as_u64().expect("a number")).collect();
    assert_eq!(lit, [0, 1, 2, 3, 3, 3], "one table more lights up with each step");
    let drawn: Vec<_> =
        steps.iter().map(|step| step["drawn"].as_u64().expect("a number")).collect();
    assert!(drawn.is_sorted_by(|one, next| one < next), "the picture, too: {drawn:?}");
    assert_eq!(saw["home"], steps[0]);

    for ((selector, change, outcome), flipped) in
        flips.iter().zip(saw["flipped"].as_array().expect("flips"))
    {
        assert_eq!(flipped["outcomes"][0], *outcome, "{selector}");
        assert_eq!(flipped["changes"], json!([change]));
        assert_eq!(flipped["refused"], "");
        // The command that the page offers says the same on the command line.
        let command = flipped["command"].as_str().expect("text");
        let case =
            command.strip_prefix("crosswalk explain '").and_then(|rest| rest.strip_suffix('\''));
        assert_eq!(flipped["explained"], explained(case.expect("a command")), "{selector}");
    }
    let marked = &saw["flipped"][3]["changed"];
    assert_eq!(*marked, json!(["CR0.16"]), "what was flipped is marked, and nothing else");
    assert_eq!(saw["flipped"][3]["was"], "• was: #PF(P|W) at 0x18140e44018");
    assert_eq!(saw["reset"]["changes"], json!([]));

    assert_eq!(saw["byKeyboard"]["changes"], json!(["address: bit 0 (offset) 0 → 1"]));
    assert_eq!(saw["byKeyboard"]["focus"], "address.0");
    assert_eq!(saw["undone"]["command"], saw["reset"]["command"]);
}

/// Sequences, accesses to two pages, every paging mode, and a state that no processor can be in.
#[test]
fn what_a_flip_means_depends_on_the_case() {
    require_browser!();
    let sequence = support::repository().join("tests/cases/B18-invlpg-large-rights.json");
    let sequence = std::fs::read_to_string(sequence).expect("a case");
    let crossing = WRITE.replace("0x18140e44018", "0x18140fffffc");
    let unpaged = r#"{"mode":"unpaged","state":{"cr0":"0x11","cr3":"0x0","cr4":"0x0","efer":"0x0"},
        "entries":[],"access":{"kind":"read","address":"0x1234","size":1,"ring":0}}"#;
    let large = r#"{"mode":"32bit","state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x10","efer":"0x0"},
        "entries":[{"address":"0x1004","value":"0xe7"}],
        "access":{"kind":"write","address":"0x400123","size":1,"ring":3}}"#;
    let pae = r#"{"mode":"pae","state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x20","efer":"0x0",
        "pdptes":["0x2001","0x0","0x0","0x0"]},"entries":[{"address":"0x2000","value":"0xe7"}],
        "access":{"kind":"read","address":"0x123","size":1,"ring":3}}"#;
    let keys = r#"{"mode":"5level","state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x401620","efer":"0xd00",
        "pkru":"0x8"},"entries":[{"address":"0x1000","value":"0x2007"},{"address":"0x2000","value":"0x3007"},
        {"address":"0x3000","value":"0x4007"},{"address":"0x4000","value":"0x5007"},
        {"address":"0x5000","value":"0x800000000012307"}],
        "access":{"kind":"read","address":"0x10","size":8,"ring":3}}"#;

    let movs = r#"{"mode":"4level","state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x620","efer":"0xd00"},
        "entries":[{"address":"0x1000","value":"0x2007"},{"address":"0x2000","value":"0x3007"},
        {"address":"0x3000","value":"0x4007"},{"address":"0x4000","value":"0x40000007"},
        {"address":"0x4008","value":"0x40001007"}],
        "access":{"kind":"write","address":"0x1010","size":8,"ring":3,"instruction":"movs","source":"0x20"}}"#;
    let protected = r#"{"mode":"4level","state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x620","efer":"0xd00"},
        "entries":[{"address":"0x1000","value":"0x2007"},{"address":"0x2000","value":"0x3007"},
        {"address":"0x3000","value":"0x4007"},{"address":"0x4000","value":"0x40000005"}],
        "before":[{"write_protect":false},{"mov_cr0":"0x80010011"}],
        "access":{"kind":"write","address":"0x10","size":8,"ring":0}}"#;

    // Each with what is flipped, and whether the page is looked at.
    let [write, user] = ["[data-id='CR0.16']", "[name=ring][value='0']"];
    for (name, case, flips) in [
        ("sequence", sequence.as_str(), vec![write, user, "[data-id='entry-0x443038.1']"]),
        ("", &crossing, vec!["[data-id='entry-0x440018.0']", "[data-id='CR4.12']"]),
        (
            "",
            unpaged,
            vec!["[data-id='address.2']", "[name=kind][value=write]", "[data-id='CR3.12']"],
        ),
        ("", large, vec!["[data-id='entry-0x1004.1']", "[data-id='CR4.4']", "[data-id='CR3.12']"]),
        ("", pae, vec!["[data-id='entry-0x1000.0']", "[data-id='CR4.5']", "[data-id='EFER.10']"]),
        // Its last walk is that of the destination.
        ("", movs, vec!["[data-id='address.3']", "[data-id='entry-0x4008.1']"]),
        // The bit of CR0 is that of the last action that stores it.
        ("", protected, vec!["[data-id='CR0.16']"]),
        (
            "",
            keys,
            vec![
                "[data-id='PKRU.2']",
                "[data-id='CR4.22']",
                "[data-id='entry-0x5000.60']",
                "[name=ac]",
            ],
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.run(&["explain", case, "--html", "page.html"]).expect_code(0);
        let arguments: Vec<_> = std::iter::once(name).chain(flips).collect();
        let saw = drive("walk.mjs", &sandbox.path().join("page.html"), &arguments);
        assert_eq!(saw["complaints"], json!([]), "{case}");

        for (flip, flipped) in arguments[1..].iter().zip(saw["flipped"].as_array().expect("flips"))
        {
            if *flip == "[data-id='EFER.10']" {
                let refused = flipped["refused"].as_str().expect("text");
                assert!(
                    refused.starts_with("Refused: state.efer: expected a state that a"),
                    "{refused}"
                );
                continue;
            }
            let changed = &flipped["explained"]["case"];
            assert_ne!(*changed, case_as_it_was(&saw), "{case}: {flip}");
            let expected = explained(&changed.to_string());
            assert_eq!(flipped["explained"], expected, "{case}: {flip}");
        }
    }
}

/// Memory stays as it is where a flip gives the tables another format: two entries of 4 bytes are one of 8, and PAE's
/// PDPTEs are what a MOV to CR3 finds there.
#[test]
fn a_flip_that_changes_the_size_of_entries_reads_the_same_memory() {
    require_browser!();
    let bits32 = r#"{"mode":"32bit","state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x10","efer":"0x0"},
        "entries":[{"address":"0x1000","value":"0x2001"},{"address":"0x2000","value":"0xe7"},
        {"address":"0x2004","value":"0x1"}],
        "access":{"kind":"read","address":"0x123","size":1,"ring":0}}"#;
    let pae = r#"{"mode":"pae","state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x30","efer":"0x0",
        "pdptes":["0x2001","0x0","0x0","0x0"]},"entries":[{"address":"0x2000","value":"0x1000000e7"}],
        "access":{"kind":"read","address":"0x123","size":1,"ring":0}}"#;
    let stored = bits32.replace(r#","value":"0x1"}"#, r#","value":"0x0"}"#).replace(
        r#""access""#,
        r#""before":[{"write":{"address":"0x2004","value":"0x1"}}],"access""#,
    );
    let unpaged = r#"{"mode":"unpaged","state":{"cr0":"0x10011","cr3":"0x1000","cr4":"0x30","efer":"0x0"},
        "entries":[{"address":"0x1000","value":"0x2001"},{"address":"0x2000","value":"0x1000000e7"}],
        "access":{"kind":"read","address":"0x123","size":1,"ring":0}}"#;

    let [pae_bit, pg, cr3_bit] = ["[data-id='CR4.5']", "[data-id='CR0.31']", "[data-id='CR3.12']"];
    let both = json!([["0x1000", "0x2001"], ["0x2000", "0x1000000e7"]]);
    for (case, flip, mode, entries, outcome) in [
        (bits32, pae_bit, "pae", both.clone(), "✓ completed: 1 byte at 0x100000123"),
        (bits32, pg, "unpaged", both, "✓ completed: 1 byte at 0x123"),
        (
            &stored,
            pae_bit,
            "pae",
            json!([["0x1000", "0x2001"], ["0x2000", "0xe7"]]),
            "✓ completed: 1 byte at 0x100000123",
        ),
        (
            pae,
            pae_bit,
            "32bit",
            json!([["0x2000", "0xe7"], ["0x2004", "0x1"], ["0x1000", "0x2001"]]),
            "✓ completed: 1 byte at 0x123",
        ),
        (
            unpaged,
            pg,
            "pae",
            json!([["0x1000", "0x2001"], ["0x2000", "0x1000000e7"]]),
            "✓ completed: 1 byte at 0x100000123",
        ),
        (
            pae,
            cr3_bit,
            "pae",
            json!([["0x2000", "0x1000000e7"], ["0x1000", "0x2001"]]),
            "▲ #PF(0) at 0x123",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.run(&["explain", case, "--html", "page.html"]).expect_code(0);
        let saw = drive("walk.mjs", &sandbox.path().join("page.html"), &["", flip]);
        assert_eq!(saw["complaints"], json!([]), "{case}");
        let flipped = &saw["flipped"][0];
        let changed = &flipped["explained"]["case"];
        let now = changed["entries"].as_array().expect("entries").iter();
        let now: Vec<_> = now.map(|entry| json!([entry["address"], entry["value"]])).collect();

        assert_eq!(flipped["refused"], "", "{case}: {flip}");
        assert_eq!((&changed["mode"], &json!(now)), (&json!(mode), &entries), "{case}: {flip}");
        assert_eq!(flipped["outcomes"][0], outcome, "{case}: {flip}");
        assert_eq!(flipped["explained"], explained(&changed.to_string()), "{case}: {flip}");
    }
}

/// The case as it was, which the page offers once nothing is changed.
fn case_as_it_was(saw: &Value) -> Value {
    let command = saw["reset"]["command"].as_str().expect("text");
    let case = command.trim_start_matches("crosswalk explain '").trim_end_matches('\'');
    serde_json::from_str(case).expect("JSON")
}

/// A page has everything in it: without scripts a picture and the text.
#[test]
fn a_page_is_one_small_file_that_says_what_was_printed() {
    let sandbox = Sandbox::new();
    for mode in ["unpaged", "32bit", "pae", "4level", "5level"] {
        let name = format!("random:{mode}:7:5@skylake");
        let output = sandbox.run(&["explain", &name, "--html", "page.html", "--svg", "walk.svg"]);
        let printed = output.expect_code(0).stdout;
        let page = std::fs::read_to_string(sandbox.path().join("page.html")).expect("a page");
        let svg = std::fs::read_to_string(sandbox.path().join("walk.svg")).expect("a picture");

        assert!(page.len() < 1_000_000, "{mode}: {} bytes", page.len());
        assert!(page.contains(&svg), "{mode}: the picture is in the page");
        let drawn = printed.split("\n\n").nth(1).expect("a walk").lines().next().expect("a line");
        assert!(page.contains(drawn), "{mode}: {drawn}");
        assert!(printed.ends_with("page      page.html\npicture   walk.svg\n"), "{printed}");
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{svg}");
    }
}

/// Beside the outcome, and in full below; once something is changed, as what was before.
#[test]
fn a_page_has_what_machines_did() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let output = sandbox.run(&["explain", WRITE, "--machine", "kvm", "--html", "page.html"]);
    output.expect_code(0);
    let page = std::fs::read_to_string(sandbox.path().join("page.html")).expect("a page");
    assert!(page.contains("What machines did") && page.contains("&#10003; agree"), "{page}");

    require_browser!();
    let saw = drive("walk.mjs", &sandbox.path().join("page.html"), &["", "[data-id='CR0.16']"]);
    let beside = |moment: &Value| moment["beside"][0].as_str().expect("a line").to_owned();
    let [first, flipped] = [beside(&saw["home"]), beside(&saw["flipped"][0])];
    assert!(
        first.starts_with("✓ kvm ") && first.ends_with(": #PF(P|W) at 0x18140e44018"),
        "{first}"
    );
    assert_eq!(flipped, format!("{first}, before the change"));
}

#[test]
fn what_has_no_picture_is_refused_before_anything_is_written() {
    let sandbox = Sandbox::new();
    let two = format!("[{WRITE},{WRITE}]");
    sandbox.file("case.json", WRITE);
    let refusals: [(&[&str], &str); 8] = [
        (&["nested:random:5:1", "--html", "p"], "--html is not for a case of nested paging"),
        (&[&two, "--html", "p"], "--html takes one case, not 2"),
        (
            &[WRITE, "--html", "p", "--walker", "mutant:M41"],
            "--html: the page walks again by the reference, not by mutant:M41",
        ),
        (&[WRITE, "--html", "p", "--svg", "p"], "--svg: expected another file than that of --html"),
        (
            &[WRITE, "--html", "p", "--svg", "./p"],
            "--svg: expected another file than that of --html",
        ),
        (&["case.json", "--html", "./case.json"], "--html: ./case.json is the case that is read"),
        (&[WRITE, "--svg", "-"], "-: expected the name of a file"),
        (&[WRITE, "--svg", "p", "--json"], "cannot be used with"),
    ];
    for (arguments, problem) in refusals {
        let output = sandbox.run(&[&["explain"], arguments].concat()).expect_code(2);
        assert!(output.stderr.contains(problem), "{arguments:?}: {}", output.stderr);
    }
    assert!(!sandbox.path().join("p").exists());

    // A mutant's walk can be drawn: it is not made again.
    sandbox.run(&["explain", WRITE, "--walker", "mutant:M41", "--svg", "p"]).expect_code(0);
    let drawn = std::fs::read_to_string(sandbox.path().join("p")).expect("a picture");
    assert!(drawn.contains("completed: 8 bytes at 0x40044018"), "{drawn}");
}

/// The guide shows the picture of its first case.
#[test]
fn the_picture_in_the_guide_is_what_the_program_draws() {
    let sandbox = Sandbox::new();
    sandbox.run(&["explain", WRITE, "--svg", "write.svg"]).expect_code(0);
    let drawn = std::fs::read_to_string(sandbox.path().join("write.svg")).expect("a picture");

    let file = support::repository().join("docs/guide/src/write.svg");
    if std::env::var_os("CROSSWALK_BLESS").is_some() {
        std::fs::write(&file, &drawn).expect("the picture can be written");
    }
    let shown = std::fs::read_to_string(file).expect("a picture");
    assert!(shown == drawn, "CROSSWALK_BLESS=1 writes it into the guide");
}
