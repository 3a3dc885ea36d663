//! Reports for people: the page of HTML in a browser, and text on a terminal and elsewhere.

mod common;

use assert_cmd::Command;
use common::{Ran, Sandbox, require_kvm, require_qemu, run, skip};
use std::path::Path;

/// The page of a small run, with divergences that are not known.
fn page(sandbox: &Sandbox) -> String {
    let arguments =
        ["check", "--machine", "kvm", "--seed", "2", "--cases", "4000", "--known", "none"];
    let ran = sandbox.run(&[&arguments[..], &["--report", "r"]].concat());
    assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.stderr);
    std::fs::read_to_string(sandbox.path().join("r/index.html")).expect("a page")
}

/// Opens the page in a browser, with filters set; `None` where there is no browser.
fn browse(sandbox: &Sandbox, filters: &str) -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let browser = names
        .into_iter()
        .find(|name| std::process::Command::new(name).arg("--version").output().is_ok())?;
    let page = sandbox.path().join("r/index.html");
    let ran = Ran::of(
        Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
            .arg(format!("--user-data-dir={}", sandbox.path().join("browser").display()))
            .arg("--dump-dom")
            .arg(format!("file://{}#{filters}", page.display())),
    );
    let ran = ran.expect_code(0);
    assert!(!ran.stderr.contains("Uncaught"), "{}", ran.stderr);
    Some(ran.stdout)
}

/// The rows of a table that are to be seen, by the text of their first cell.
fn visible_rows(page: &str, table: &str) -> Vec<String> {
    let table = page.split(&format!("<table id=\"{table}\"")).nth(1).expect("the table");
    let table = table.split("</table>").next().expect("its end");
    let rows = table.split("<tr data-filter").skip(1);
    let seen = rows.filter(|row| !row.split('>').next().expect("a tag").contains("hidden"));
    seen.map(|row| {
        let first = row.split("scope=\"row\">").nth(1).expect("a first cell");
        first.split("</th>").next().expect("its end").replace("<code>", "").replace("</code>", "")
    })
    .collect()
}

fn hidden_cells(page: &str, mode: &str) -> usize {
    let cells =
        page.split("<t").filter(|cell| cell.contains(&format!("data-mode=\"{mode}\" data-column")));
    cells.filter(|cell| cell.split('>').next().expect("a tag").contains("hidden")).count()
}

#[test]
fn the_page_works_in_a_browser() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let source = page(&sandbox);
    for outside in ["src=", "href=", "@import", "url(", "http://", "https://"] {
        assert!(!source.contains(outside), "the page needs nothing else, and has {outside}");
    }
    let Some(all) = browse(&sandbox, "") else {
        return skip("chromium", "no Chromium");
    };
    assert_eq!(visible_rows(&all, "rules").len(), mmu_core::Rule::ALL.len());
    assert_eq!(hidden_cells(&all, "4level"), 0);
    assert!(all.contains("class=\"walk\"") && all.contains("PML4E"), "a walk is drawn");

    let one = browse(&sandbox, "words=canon-1").expect("a browser");
    assert_eq!(visible_rows(&one, "rules"), ["CANON-1"]);
    assert!(visible_rows(&one, "ends").is_empty());

    let mode = browse(&sandbox, "mode=pae").expect("a browser");
    assert_eq!(visible_rows(&mode, "modes"), ["pae"]);
    assert!(hidden_cells(&mode, "4level") > 0 && hidden_cells(&mode, "pae") == 0);

    let kind = browse(&sandbox, "kind=absent").expect("a browser");
    let findings = kind.split("<details").skip(1);
    for tag in findings.map(|finding| finding.split('>').next().expect("a tag")) {
        assert_eq!(tag.contains("hidden"), !tag.contains("data-kind=\"absent\""), "{tag}");
    }
}

#[test]
fn what_a_case_holds_cannot_break_the_page() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let known = "[[finding]]\nid = \"X\"\ntitle = \"<script>alert(1)</script>\"\nkind = \"divergence\"\n\
        rule = \"CODE-1\"\nmanual = \"\"\nsince = \"\"\n";
    let file = sandbox.file("known.toml", known);
    let arguments = ["check", "--machine", "kvm", "--seed", "2", "--cases", "100", "--report", "r"];
    sandbox.run(&[&arguments[..], &["--known", &file]].concat());
    let page = std::fs::read_to_string(sandbox.path().join("r/index.html")).expect("a page");
    assert!(page.contains("alert(1)") && !page.contains("<script>alert"), "it is escaped");
}

/// Thousands of divergences are one line, with what explains them and the smallest case.
#[test]
fn a_finding_is_one_line_a_cause_and_a_smallest_case() {
    require_qemu!();
    let arguments = ["check", "--machine", "qemu", "--seed", "2", "--cases", "20000"];
    let text = run(&[&arguments[..], &["--known", "none"]].concat()).expect_code(1).stdout;
    let row = text.lines().find(|line| line.starts_with(" T1 ")).expect("a line for it");
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words[1], "DIVERGES");
    let cases = words[2];
    assert!(cases.replace(',', "").parse::<u64>().expect("a count") > 1000, "{row}");
    let told =
        format!("T1: {cases} cases, explained by mutant:M13b; the smallest has one unusual bit\n");
    assert!(text.contains(&told), "{text}");
    let case =
        text.split(&told).nth(1).expect("more").lines().find(|line| line.contains("explain"));
    let case = case.and_then(|line| line.split('\'').nth(1)).expect("a case in quotes");
    let access = &serde_json::from_str::<serde_json::Value>(case).expect("JSON")["access"];
    assert_eq!((&access["kind"], &access["size"]), (&"read".into(), &1.into()), "{access}");
}

/// Runs on a terminal of 80 columns, and returns what the terminal was sent.
fn on_a_terminal(sandbox: &Sandbox, environment: &[(&str, &str)]) -> String {
    let program = common::PROGRAM;
    let command = format!(
        "stty cols 80 rows 24; '{program}' check --machine kvm --seed 2 --cases 60000; echo code $?"
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command", &command, "typescript"]);
    script.current_dir(sandbox.path()).env("TERM", "xterm-256color").env_remove("NO_COLOR");
    script.envs(environment.iter().copied());
    let sent = Ran::of(&mut script).expect_code(0).stdout;
    assert!(sent.contains("code 0"), "{sent}");
    sent
}

/// The lines as they stay on the screen: without what the progress bar drew and took away again.
fn lines_that_stay(sent: &str) -> Vec<String> {
    let lines = sent.split('\n').map(|line| {
        let last = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
        without_escapes(last)
    });
    lines.collect()
}

fn without_escapes(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        if next != '\u{1b}' {
            plain.push(next);
        } else if rest.next() == Some('[') {
            let _ = rest.find(char::is_ascii_alphabetic);
        }
    }
    plain
}

#[test]
fn a_terminal_of_80_columns_holds_every_line() {
    require_kvm!();
    if !Path::new("/usr/bin/script").exists() {
        return skip("script", "no script, which runs a program on a terminal");
    }
    let sandbox = Sandbox::new();
    let plain = on_a_terminal(&sandbox, &[]);
    assert!(plain.contains('%'), "a bar is drawn: {plain}");
    for sent in [plain, on_a_terminal(&sandbox, &[("NO_COLOR", "1")])] {
        let lines = lines_that_stay(&sent);
        let too_wide = lines.iter().find(|line| line.chars().count() > 80);
        assert_eq!(too_wide, None);
        assert!(lines.iter().any(|line| line.starts_with("The machine and the model agree")));
        // The cursor moves and lines are erased, and nothing is coloured (ESC [ ... m).
        let escapes = sent.split("\u{1b}[").skip(1);
        let ends = escapes.filter_map(|escape| escape.chars().find(char::is_ascii_alphabetic));
        assert_eq!(ends.filter(|end| *end == 'm').count(), 0, "{sent:?}");
    }
}

#[test]
fn a_pipe_gets_text_and_nothing_else() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["check", "--machine", "kvm", "--seed", "2", "--cases", "3000"]);
    let ran = ran.expect_code(0);
    assert_eq!(ran.stderr, "");
    assert!(!ran.stdout.contains(['\u{1b}', '\r']), "{}", ran.stdout);
    let too_wide = ran.stdout.lines().find(|line| line.chars().count() > 80);
    assert_eq!(too_wide, None);
}
