//! `maps --html`: the page of an address space, as a file and in a browser.

use crosswalk_test_support as support;
use std::collections::BTreeSet;
use std::path::Path;
use support::browser::browse;
use support::memory_image::{SmallMemory, small_guest, write_dump, write_small_guests};
use support::{Sandbox, skip};

/// Writes the page of an image in a sandbox, and returns it.
fn page(sandbox: &Sandbox, image: &str) -> String {
    sandbox.run(&["maps", image, "--html", "page.html"]).expect_code(0);
    std::fs::read_to_string(sandbox.path().join("page.html")).expect("a page")
}

/// The values of an attribute.
fn attributes<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    let parts = page.split(&format!(" {name}=\"")).skip(1).collect::<Vec<_>>();
    parts.into_iter().map(|part| part.split('"').next().expect("its end")).collect()
}

/// Asserts that every element is closed, and in the right order.
fn check_elements(page: &str) {
    const VOID: [&str; 4] = ["meta", "input", "br", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, behind) = after.split_once('>').expect("a tag ends");
        let name = tag.split_whitespace().next().expect("a name");
        rest = behind;
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "at {}", &behind[..behind.len().min(80)]);
        } else if !VOID.contains(&name) {
            open.push(name);
        }
        // What is in them is not HTML.
        if ["style", "script"].contains(&name) {
            let (_, behind) = rest.split_once(&format!("</{name}>")).expect("its end");
            open.pop();
            rest = behind;
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn the_page_has_everything_and_needs_nothing_else() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let output = sandbox.run(&["maps", "guest.elf", "--html", "page.html"]).expect_code(0);
    assert_eq!(output.stdout, "page.html: 10 ranges, 8 tables, 3 findings of audit.\n");

    let page = page(&sandbox, "guest.elf");
    for outside in ["src=", "@import", "url(", "http://", "https://", "<link"] {
        assert!(!page.contains(outside), "the page must be self-contained, and has {outside}");
    }
    check_elements(&page);

    // Eight ranges of pages and two places that lead nowhere, each with its line in a table.
    assert_eq!(attributes(&page, "data-block").len(), 10);
    for words in [
        "0x420000-0x420fff: urwx, 4 KiB, 1 page of 4K, AD-, to 0xe000; found: wx",
        "EFER.NXE is taken to be 1: the dump does not have EFER",
        "PDPTE at 0x5fe0: reserved bits 0x2000",
        "PDPTEs at 0x900000000: not in the image",
        "<strong>PML4 0x1000</strong>",
        "elsewhere here: <a href=\"#t3000\">PD 0x3000</a>",
        "user, writable, executable",
        "0x80050033",
    ] {
        assert!(page.contains(words), "the page lacks {words}");
    }

    // Every link leads somewhere, and every place has one name.
    let ids = attributes(&page, "id");
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
    for link in attributes(&page, "href") {
        let target = link.strip_prefix('#').expect("a place in the page");
        assert!(ids.contains(&target), "{link} leads nowhere");
    }
    assert!(page.contains("<a href=\"#b2\"><code>0x420000-0x420fff</code></a>"));
    assert!(page.contains("<a href=\"#t4000-32\">in the tables</a>"));
}

#[test]
fn a_hostile_name_is_text() {
    let sandbox = Sandbox::new();
    let name = "a\"><script>alert(1)<b>'&.elf";
    write_dump(&sandbox.path().join(name), &small_guest());
    let page = page(&sandbox, name);
    check_elements(&page);
    assert!(!page.contains("<script>alert") && page.contains("script&#62;alert(1)"), "{page}");
}

/// 32,768 pages, each with other rights than its neighbours, in 64 tables with as many runs of entries.
#[test]
fn a_page_has_bounded_size_and_says_what_it_leaves_out() {
    let mut memory = SmallMemory::new(0x5_0000);
    memory.entry(0x1000, 0x2067).entry(0x2000, 0x3067);
    for table in 0..64 {
        let at = 0x1_0000 + 0x1000 * table;
        memory.entry(0x3000 + 8 * table, at as u64 | 0x67);
        for index in 0..512 {
            memory.entry(at + 8 * index, if index % 2 == 0 { 0x5067 } else { 0x5065 });
        }
    }
    let sandbox = Sandbox::new();
    write_dump(&sandbox.path().join("many.elf"), &memory);

    let page = page(&sandbox, "many.elf");
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    check_elements(&page);
    assert_eq!(attributes(&page, "data-block").len(), 64);
    assert!(page.contains("neighbours in the same 2 MiB are one, 32,768 ranges in 64 blocks"));
    // The root, the two below it, and eight page tables, with which there are 4,000 runs or more.
    assert_eq!(page.matches("<details class=\"table\"").count(), 11);
    assert!(page.contains("56 entries lead to others."));
    // Ten thousand findings are kept, and pages that are both are marked without.
    assert_eq!(page.matches(" found\" style").count(), 64);
    assert!(page.contains("and 16,284 more, which <code>crosswalk audit --json</code> lists"));
}

/// The ids of the tables that are open, in the document of a browser.
fn open_tables(document: &str) -> Vec<&str> {
    let tables = document.split("<details class=\"table\"").skip(1);
    let tags = tables.map(|table| table.split('>').next().expect("its end"));
    let open = tags.filter(|tag| tag.contains(" open"));
    open.map(|tag| tag.split('"').nth(1).expect("an id")).collect()
}

#[test]
fn links_open_what_they_lead_to_in_a_browser() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    page(&sandbox, "guest.elf");
    let path = sandbox.path().join("page.html");
    let browse = |fragment| browse(Path::new(&path), fragment);
    let Some(plain) = browse("") else {
        return skip("chromium", "no Chromium");
    };
    let panel = |document: &str| {
        let (_, panel) = document.split_once("<aside").expect("a panel");
        panel.split("</aside>").next().expect("its end").to_owned()
    };
    assert!(panel(&plain).starts_with(" id=\"panel\" aria-live=\"polite\" hidden"));
    assert_eq!(open_tables(&plain), ["t1000"]);
    // One stop of the Tab key for each of the five regions, beside those of tables that may be too wide.
    let blocks = plain.replace("class=\"wide\" tabindex=\"0\"", "");
    let strips = blocks.split("class=\"strip\"").skip(1);
    let stops: Vec<_> = strips.map(|strip| strip.matches("tabindex=\"0\"").count()).collect();
    assert_eq!(stops, [1; 5]);

    let chosen = browse("b2").expect("a browser");
    let panel = panel(&chosen);
    assert!(!panel.split('>').next().expect("its tag").contains("hidden"), "{panel}");
    for words in ["0x420000", "urwx", "1 page of 4K", "▲ wx"] {
        assert!(panel.contains(words), "{panel}");
    }

    let entry = browse("t4000-32").expect("a browser");
    assert_eq!(open_tables(&entry), ["t1000", "t2000", "t3000", "t4000"]);
}

#[test]
fn a_file_that_cannot_be_replaced_is_named() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let output = sandbox.run(&["maps", "guest.elf", "--html", "."]).expect_code(3);
    assert!(output.only_line_of_stderr().contains("cannot be written"), "{}", output.stderr);
}

/// Two PML4Es lead to one table, which is read once: something is mapped by the other one, too.
#[test]
fn tables_that_are_not_read_again_do_not_lead_nowhere() {
    let sandbox = Sandbox::new();
    let mut memory = small_guest();
    memory.entry(0x1800, 0x2067);
    write_dump(&sandbox.path().join("shared.elf"), &memory);
    let page = |repeats: &str| {
        let command = ["maps", "shared.elf", "--html", "page.html", "--repeats", repeats];
        sandbox.run(&command).expect_code(0);
        std::fs::read_to_string(sandbox.path().join("page.html")).expect("a page")
    };
    let drawn = |page: &str| {
        let strips: Vec<_> = page.split("<a class=\"").skip(1).collect();
        let of = |class: &str| strips.iter().filter(|strip| strip.starts_with(class)).count();
        (of("again "), of("no "))
    };
    let (again, nowhere) = (page("0"), page("8192"));
    // The table of 256 PML4E, and the directory below the one with XD; a missing table and a reserved bit.
    assert_eq!(drawn(&again), (2, 2));
    assert_eq!(drawn(&nowhere), (0, 2));
    assert!(again.contains("tables that were read before and not again"));
    // What was not looked at is not clean.
    let tick = r#"<span class="good">&#10003;</span> none: <span"#;
    assert!(nowhere.contains(tick) && !again.contains("&#10003;"), "{again}");
    assert!(again.contains("none in what was looked at: <span"), "{again}");
    assert!(again.contains("Tables met again, and not looked through"), "{again}");
    check_elements(&again);
}
