//! Reports for people: the HTML page in a browser, and text on a terminal and in a pipe.

use assert_cmd::Command;
use crosswalk_test_support as support;
use serde_json::Value;
use std::path::Path;
use support::{ProgramOutput, Sandbox, program, require_kvm, require_qemu, run, skip};

/// Runs `check` with unknown divergences and `--report r`, and returns the page.
fn page(sandbox: &Sandbox) -> String {
    let options = ["--machine", "kvm", "--seed", "2", "--cases", "4000", "--known", "none"];
    let output = sandbox.run(&[&["check", "--report", "r"], &options[..]].concat());
    assert!(matches!(output.code, Some(0 | 1)), "{}", output.stderr);
    read_page(sandbox)
}

fn read_page(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.path().join("r/index.html")).expect("a page")
}

/// The page as a browser shows it with these filters; `None` where there is no browser.
fn browse(sandbox: &Sandbox, filters: &str) -> Option<String> {
    support::browser::browse(&sandbox.path().join("r/index.html"), filters)
}

/// The visible rows of a table, by the text of their first cell.
fn visible_rows(page: &str, table: &str) -> Vec<String> {
    let (_, after_start) = page.split_once(&format!("<table id=\"{table}\"")).expect("the table");
    let table = after_start.split("</table>").next().expect("its end");
    let rows = table.split("<tr data-filter").skip(1);

    let visible = rows.filter(|row| !first_tag(row).contains("hidden"));
    let first_cell = |row: &str| {
        let (_, cell) = row.split_once("scope=\"row\">").expect("a first cell");
        let text = cell.split("</th>").next().expect("its end");
        text.replace("<code>", "").replace("</code>", "")
    };
    visible.map(first_cell).collect()
}

/// The number of hidden cells in a mode's column.
fn hidden_cells(page: &str, mode: &str) -> usize {
    let attribute = format!("data-mode=\"{mode}\" data-column");
    let cells = page.split("<t").filter(|cell| cell.contains(&attribute));
    cells.filter(|cell| first_tag(cell).contains("hidden")).count()
}

/// The attributes of the tag that a piece of HTML begins with.
fn first_tag(html: &str) -> &str {
    html.split('>').next().expect("a tag")
}

#[test]
fn the_page_works_in_a_browser() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let source = page(&sandbox);
    for outside in ["src=", "href=", "@import", "url(", "http://", "https://"] {
        assert!(!source.contains(outside), "the page must be self-contained, and has {outside}");
    }
    let Some(all) = browse(&sandbox, "") else {
        return skip("chromium", "no Chromium");
    };
    assert_eq!(visible_rows(&all, "rules").len(), mmu_core::Rule::ALL.len());
    assert_eq!(hidden_cells(&all, "4level"), 0);
    assert!(all.contains("class=\"walk\"") && all.contains("PML4E"), "no walk is drawn");

    let one_rule = browse(&sandbox, "words=canon-1").expect("a browser");
    assert_eq!(visible_rows(&one_rule, "rules"), ["CANON-1"]);
    assert!(visible_rows(&one_rule, "ends").is_empty());

    let one_mode = browse(&sandbox, "mode=pae").expect("a browser");
    assert_eq!(visible_rows(&one_mode, "modes"), ["pae"]);
    assert!(hidden_cells(&one_mode, "4level") > 0 && hidden_cells(&one_mode, "pae") == 0);

    let one_kind = browse(&sandbox, "kind=absent").expect("a browser");
    for tag in one_kind.split("<details class=\"finding").skip(1).map(first_tag) {
        assert_eq!(tag.contains("hidden"), !tag.contains("data-kind=\"absent\""), "{tag}");
    }
}

#[test]
fn html_in_a_title_is_escaped() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let known = "[[finding]]\nid = \"X\"\ntitle = \"<script>alert(1)</script>\"\n\
        kind = \"divergence\"\nrule = \"CODE-1\"\nmanual = \"\"\nsince = \"\"\n";
    let file = sandbox.file("known.toml", known);

    let options = ["--machine", "kvm", "--seed", "2", "--cases", "100", "--known", &file];
    sandbox.run(&[&["check", "--report", "r"], &options[..]].concat());
    let page = read_page(&sandbox);
    assert!(page.contains("alert(1)") && !page.contains("<script>alert"));
}

/// Thousands of divergences are one line, with what explains them and the smallest case.
#[test]
fn a_finding_has_one_line_a_cause_and_a_smallest_case() {
    require_qemu!();
    let options = ["--machine", "qemu", "--seed", "2", "--cases", "20000", "--known", "none"];
    let text = run(&[&["check"], &options[..]].concat()).expect_code(1).stdout;

    let row = text.lines().find(|line| line.starts_with(" T1 ")).expect("a line for T1");
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words[1], "DIVERGES");
    let cases = words[3];
    assert!(cases.replace(',', "").parse::<u64>().expect("a count") > 1000, "{row}");

    let explanation =
        format!("T1: {cases} cases, explained by mutant:M13b; the smallest has one unusual bit\n");
    let (_, after) = text.split_once(&explanation).unwrap_or_else(|| panic!("{text}"));
    let command = after.lines().find(|line| line.contains("explain")).expect("a command");
    let case = command.split('\'').nth(1).expect("a case in quotes");

    let access = &serde_json::from_str::<Value>(case).expect("a case is JSON")["access"];
    assert_eq!(access["kind"], "read");
    assert_eq!(access["size"], 1);
}

/// Runs `check` on a terminal of 80 columns, and returns what the terminal received.
fn on_a_terminal(sandbox: &Sandbox, columns: u16, environment: &[(&str, &str)]) -> String {
    let command = format!(
        "stty cols {columns} rows 24; \
         '{}' check --machine kvm --seed 2 --cases 60000; echo code $?",
        program().display()
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command", &command, "typescript"]);
    script.current_dir(sandbox.path()).env("TERM", "xterm-256color").env_remove("NO_COLOR");
    script.envs(environment.iter().copied());

    let received = ProgramOutput::of(&mut script).expect_code(0).stdout;
    assert!(received.contains("code 0"), "{received}");
    received
}

/// The lines that stay on the screen, without what the progress bar drew and erased again.
fn lines_that_stay(received: &str) -> Vec<String> {
    let last_drawn = |line: &str| {
        let last = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
        without_escapes(last)
    };
    received.split('\n').map(last_drawn).collect()
}

/// A text without escape sequences (ESC [ ... and a letter).
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
fn every_line_fits_a_terminal_of_80_columns() {
    require_kvm!();
    if !Path::new("/usr/bin/script").exists() {
        return skip("script", "no script, which runs a program on a terminal");
    }
    let sandbox = Sandbox::new();
    let plain = on_a_terminal(&sandbox, 80, &[]);
    assert!(plain.contains('%'), "no progress bar is drawn: {plain}");

    for (received, is_coloured) in
        [(plain, true), (on_a_terminal(&sandbox, 80, &[("NO_COLOR", "1")]), false)]
    {
        let lines = lines_that_stay(&received);
        let too_wide = lines.iter().find(|line| line.chars().count() > 80);
        assert_eq!(too_wide, None);
        assert!(lines.iter().any(|line| line.contains("The machine and the model agree")));

        // The cursor moves, lines are erased, and colours are set (ESC [ ... m) unless NO_COLOR is.
        let escapes = received.split("\u{1b}[").skip(1);
        let ends = escapes.filter_map(|escape| escape.chars().find(char::is_ascii_alphabetic));
        assert_eq!(ends.filter(|end| *end == 'm').count() > 0, is_coloured, "{received:?}");
    }
}

#[test]
fn a_pipe_gets_text_and_nothing_else() {
    require_kvm!();
    let output = run(&["check", "--machine", "kvm", "--seed", "2", "--cases", "3000"])
        .expect_code(0)
        .expect_80_columns();
    assert_eq!(output.stderr, "");
    assert!(!output.stdout.contains(['\u{1b}', '\r']), "{}", output.stdout);
}

/// What 80 columns have no room for.
#[test]
fn a_wide_terminal_shows_the_manuals() {
    require_kvm!();
    if !Path::new("/usr/bin/script").exists() {
        return skip("script", "no script, which runs a program on a terminal");
    }
    let sandbox = Sandbox::new();
    for (columns, is_wide) in [(80, false), (200, true)] {
        let received = on_a_terminal(&sandbox, columns, &[("NO_COLOR", "1")]);
        let lines = lines_that_stay(&received);
        assert!(lines.iter().all(|line| line.chars().count() <= usize::from(columns)));
        let header = lines.iter().find(|line| line.starts_with(" finding ")).expect("findings");
        assert_eq!(header.contains("manual"), is_wide, "{header}");
    }
}

/// T9 comes before T10.
#[test]
fn findings_are_in_the_order_of_their_numbers() {
    require_qemu!();
    let text = run(&["check", "--machine", "qemu", "--cases", "500", "--seed", "1", "-v"]).stdout;
    let numbers: Vec<u32> = text
        .lines()
        .filter_map(|line| line.strip_prefix(" T")?.split(' ').next()?.parse().ok())
        .collect();
    assert!(numbers.len() > 10 && numbers.is_sorted(), "{numbers:?}");
}
