//! README and the guide are right: their sample runs are what the program prints, their links lead
//! somewhere, and what they list is complete.

#[path = "sample/mod.rs"]
mod sample;

use crosswalk_nested::known::KnownNested;
use crosswalk_test_support as support;
use mmu_core::Rule;
use mmu_core::nested::{AnyRule, NestedRule};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[test]
fn the_samples_are_what_the_program_prints() {
    let root = root();
    let problems: Vec<_> =
        samples().iter().flat_map(|page| sample::problems(page, &root)).collect();
    assert!(
        problems.is_empty(),
        "{}\nCROSSWALK_BLESS=1 writes the new output into the pages",
        problems.join("\n")
    );
}

/// In a book, a link that leaves its directory leads nowhere.
#[test]
fn every_link_leads_to_a_page_and_a_heading() {
    let mut problems = Vec::new();
    for page in pages() {
        let text = with_included(&page);
        let is_in_book = page.starts_with(book());
        for link in links(&text) {
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.parent().expect("a directory").join(path)
            };
            let Ok(target) = target.canonicalize() else {
                problems.push(format!("{}: {link}: there is no such file", page.display()));
                continue;
            };
            if is_in_book && !target.starts_with(book()) {
                problems.push(format!("{}: {link}: not in the book", page.display()));
            } else if !heading.is_empty() && !anchors(&with_included(&target)).contains(heading) {
                problems.push(format!("{}: {link}: there is no such heading", page.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// README and the guide list the same exit codes.
#[test]
fn every_table_of_exit_codes_has_all_of_them() {
    for page in
        [root().join("README.md"), book().join("getting-started.md"), book().join("json.md")]
    {
        let text = read(&page);
        let (_, table) = text.split_once("| exit code | meaning |\n|---|---|\n").expect("a table");
        let rows = table.lines().take_while(|line| line.starts_with('|'));
        let codes = rows.filter_map(|row| row.split(' ').nth(1)).collect::<Vec<_>>();
        assert_eq!(codes, ["0", "1", "2", "3", "4", "130"], "{}", page.display());
    }
}

#[test]
fn the_summary_lists_every_page_once() {
    let summary = book().join("SUMMARY.md");
    let mut listed = links(&read(&summary));
    listed.sort();
    let pages = files(&book()).into_iter().filter(|page| *page != summary);
    let name = |page: PathBuf| page.strip_prefix(book()).expect("a page").display().to_string();
    let mut all: Vec<_> = pages.map(name).collect();
    all.sort();
    assert_eq!(listed, all);
}

/// Each rule has a heading, its meaning as a quotation, and a section of a manual.
#[test]
fn the_page_of_rules_has_every_rule_and_its_meaning() {
    let text = read(&book().join("rules.md"));
    let sections: Vec<_> = text.split("\n### ").skip(1).collect();
    let ids = sections.iter().map(|section| section.lines().next().expect("a heading"));
    let paging = Rule::ALL.iter().copied().map(AnyRule::Paging);
    let nested = NestedRule::ALL.iter().copied().map(AnyRule::Nested);
    let rules: Vec<_> = paging.chain(nested).collect();
    assert_eq!(ids.collect::<Vec<_>>(), rules.iter().map(|rule| rule.id()).collect::<Vec<_>>());

    let mut blessed = text.clone();
    for (rule, section) in rules.iter().zip(&sections) {
        let meaning = section.lines().find_map(|line| line.strip_prefix("> "));
        let meaning = meaning.unwrap_or_else(|| panic!("{rule} has no meaning"));
        blessed =
            blessed.replacen(&format!("> {meaning}\n"), &format!("> {}\n", rule.meaning()), 1);
        let cites = |line: &str| line.starts_with("*SDM \"") || line.starts_with("*APM \"");
        let has_manual = section.lines().any(cites);
        assert!(has_manual || *rule == AnyRule::Paging(Rule::Out1), "{rule} cites no manual");
    }
    assert!(
        bless("rules.md", &text, &blessed),
        "the meanings of rules have changed: CROSSWALK_BLESS=1 writes them into rules.md"
    );
}

#[test]
fn the_page_on_nested_paging_lists_every_known_finding() {
    let page = read(&book().join("nested.md"));
    for machine in ["tcg", "bochs", "kvm-on-tcg", "kvm-on-bochs"] {
        for finding in KnownNested::of(machine).findings() {
            let row = format!("\n| {} | ", finding.id);
            assert!(page.contains(&row), "nested.md has no row about {}", finding.id);
        }
    }
}

/// Every field of the documents that need no machine; those of runs on a machine are the same.
#[test]
fn the_page_on_json_has_every_field() {
    // Cases and recorded machines have pages of their own.
    let pages = ["json.md", "walker-protocol.md", "corpus-format.md", "nested.md"];
    let pages = pages.map(|name| read(&book().join(name)));

    let walker = root().join("docs/examples/walker.py");
    let walker = format!("cmd:{}", walker.display());
    let mut commands = vec![
        vec!["replay"],
        vec!["geometry", "--bits", "20"],
        vec!["findings"],
        vec!["compare"],
        vec!["corpus", "stats"],
        vec!["scenario"],
        vec!["exercise"],
        vec!["exercise", "all", "--seed", "7"],
        vec!["scenario", "all", "--machine", "none"],
        vec!["scenario", "random", "--machine", "none", "--seed", "7", "--operations", "100"],
        vec!["conformance", "--no-adapters", "--walker", "mutant:M41"],
    ];
    if support::requirement::can_be_started("python3") {
        commands.push(vec!["replay", "--walker", &walker]);
    }
    if support::requirement::has_qemu() {
        commands.push(vec!["machines"]);
        commands.push(vec!["mutants", "--machine", "qemu", "--cases", "200", "--seed", "1"]);
        commands.push(vec!["record", "out", "--machine", "qemu", "--cases", "50", "--seed", "1"]);
        let nested = ["check", "--nested", "--machine", "qemu", "--cases", "1000", "--seed", "1"];
        commands.push([&nested[..], &["--known", "none"]].concat());
    }
    let images = support::Sandbox::new();
    support::memory_image::write_small_guests(images.path());
    let guest = images.path().join("guest.elf").display().to_string();
    commands.push(vec!["maps", &guest]);
    commands.push(vec!["maps", &guest, "--tree"]);
    commands.push(vec!["walk", &guest, "0x8000420123"]);
    let monitor = images.file("monitor.txt", "0000000000400000: 000000000000b000 ----A--U-\n");
    let monitor = format!("info-tlb:{}", images.path().join(monitor).display());
    commands.push(vec!["maps", &guest, "--check", &monitor]);
    commands.push(vec!["rmap", &guest, "0xa123"]);
    commands.push(vec!["audit", &guest, "--checks", "all"]);
    let later = images.path().join("later.elf").display().to_string();
    commands.push(vec!["diff", &guest, &later]);

    let mut missing = BTreeSet::new();
    for mut command in commands {
        command.push("--json");
        let mut names = BTreeSet::new();
        collect(&support::run(&command).json(), &mut names);
        let is_missing = |name: &String| {
            let word = format!("`{name}`");
            !pages.iter().any(|page| page.contains(&word))
        };
        missing.extend(names.into_iter().filter(is_missing));
    }
    assert!(missing.is_empty(), "json.md does not have the fields {missing:?}");
}

/// Adds the names of all fields. Where the names are data, such as modes and the ids of rules, they do not count.
fn collect(value: &Value, names: &mut BTreeSet<String>) {
    const COUNTS: [&str; 7] =
        ["accesses", "outcomes", "provenance", "silences", "known_findings", "members", "ends"];
    let is_id = |name: &String| name.contains(char::is_uppercase);
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields.iter().filter(|(name, _)| !is_id(name)) {
                names.insert(name.clone());
                let is_counts =
                    COUNTS.contains(&name.as_str()) || name == "modes" && inner.is_object();
                if !is_counts {
                    collect(inner, names);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

/// A Rust example in the guide is the first one of the file named above it, where it is tested.
#[test]
fn examples_in_rust_are_those_of_the_documentation() {
    let page = "library.md";
    let text = read(&book().join(page));
    let mut blessed = text.clone();
    let mut count = 0;
    for part in text.split("<!-- from: ").skip(1) {
        let (source, rest) = part.split_once(" -->\n```rust\n").expect("a source above an example");
        let (old, _) = rest.split_once("```").expect("every example ends");
        let new = first_example(&read(&root().join(source)));
        blessed = blessed.replacen(
            &format!("{source} -->\n```rust\n{old}```"),
            &format!("{source} -->\n```rust\n{new}```"),
            1,
        );
        count += 1;
    }
    assert_eq!(count, text.matches("```rust").count(), "an example in Rust has no source");
    assert!(
        bless(page, &text, &blessed),
        "an example has changed: CROSSWALK_BLESS=1 writes it into {page}"
    );
}

/// The first example in the comments of a Rust file, without the lines that rustdoc hides.
fn first_example(source: &str) -> String {
    let comments = source.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("//!").or_else(|| line.strip_prefix("///"))
    });
    let comments = comments.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let example = comments.skip_while(|line| *line != "```").skip(1);
    let example = example.take_while(|line| *line != "```").filter(|line| !line.starts_with("# "));
    example.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn no_line_of_code_is_wider_than_80_columns() {
    let mut problems = Vec::new();
    for page in samples() {
        let mut is_code = false;
        for (number, line) in (1..).zip(read(&page).lines()) {
            is_code ^= line.starts_with("```");
            if is_code && line.chars().count() > 80 {
                problems.push(format!("{}:{number}: {line}", page.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Whether a page is as it should be. It is made so, if that is wanted.
fn bless(name: &str, text: &str, blessed: &str) -> bool {
    if text != blessed && std::env::var_os("CROSSWALK_BLESS").is_some() {
        std::fs::write(book().join(name), blessed).expect("the page can be written");
    }
    text == blessed
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the checkout")
}

fn book() -> PathBuf {
    root().join("docs/guide/src")
}

/// README and the pages of the guide.
fn samples() -> Vec<PathBuf> {
    [vec![root().join("README.md")], files(&book())].concat()
}

/// These, and the other pages for people.
fn pages() -> Vec<PathBuf> {
    let others = ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/conformance.md"];
    samples().into_iter().chain(others.map(|name| root().join(name))).collect()
}

/// The Markdown files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the directory can be read");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A page, with what mdbook includes in it.
fn with_included(page: &Path) -> String {
    let text = read(page);
    let include = |line: &str| {
        let path = line.strip_prefix("{{#include ")?.strip_suffix("}}")?;
        Some(read(&page.parent()?.join(path)))
    };
    text.lines().map(|line| include(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

/// The lines of a page that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Where the links of a page lead, without those to other hosts.
fn links(text: &str) -> Vec<String> {
    let text: String = prose(text).flat_map(|line| [line, "\n"]).collect();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// What a link can name in a page: its headings, as GitHub and mdbook spell them, and anchors.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let spelled = headings.map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let words = words.replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    });
    let named = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    spelled.chain(named.map(str::to_owned)).collect()
}
