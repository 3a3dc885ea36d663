//! What `maps --tree` and its neighbours print: the tree, colours, and sentences about what was left out or
//! cannot be.

use assert_cmd::Command;
use crosswalk_test_support as support;
use serde_json::{Value, json};
use std::path::Path;
use support::memory_image::{
    CpuNote, SmallMemory, cpu_64, elf, small_guest, write_dump, write_small_guests,
};
use support::{ProgramOutput, Sandbox, program, skip};

fn small_guests() -> Sandbox {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    sandbox
}

/// The same after a change of the small guest.
fn changed(change: impl FnOnce(&mut SmallMemory)) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut memory = small_guest();
    change(&mut memory);
    write_dump(&sandbox.path().join("guest.elf"), &memory);
    sandbox
}

#[test]
fn the_tree_has_each_table_once() {
    let output = small_guests().run(&["maps", "guest.elf", "--tree"]).expect_code(0);
    let text = output.expect_80_columns().stdout;
    let (_, tree) = text.split_once("\n\n").expect("what was read comes first");
    let (tree, after) = tree.split_once("\n\n").expect("the legend comes last");
    assert_eq!(
        tree,
        "\
0x0000000000000000 PML4 0x1000, 4 present
0x0000000000000000 ├─ 0: PDPT 0x2000, 1 present
0x0000000000000000 │  └─ 0: PD 0x3000, 1 present, 2 lead here
0x0000000000400000 │     └─ 2: PT 0x4000, 5 present
0x0000000000400000 │        ├─ 0-1 -w: ur-x A-- 4K 8 KiB 0xa000
0x0000000000410000 │        ├─ 16-17 -x: urw- aD- 4K 8 KiB 0xc000
0x0000000000420000 │        └─ 32: urwx AD- 4K 4 KiB 0xe000
0x0000008000000000 ├─ 1 -x: PDPT 0x8000, 1 present
0x0000008000000000 │  └─ 0: PD 0x3000, shown once
0xfffff80000000000 ├─ 496 -u: table 0x900000000: not in the image
0xffffff8000000000 └─ 511 -u: PDPT 0x5000, 2 present
0xffffffff00000000    ├─ 508: reserved bits 0x2000
0xffffffff80000000    └─ 510: PD 0x6000, 2 present
0xffffffff81000000       ├─ 8 -w: sr-x ADG 2M 2 MiB 0x200000
0xffffffff81200000       └─ 9: PT 0x7000, 2 present
0xffffffff81200000          └─ 0-1 -x: srw- ADG 4K 8 KiB scattered"
    );
    assert!(after.ends_with("8 tables.\n"), "{after}");
}

#[test]
fn the_tree_is_json_too() {
    let document = small_guests().run(&["maps", "guest.elf", "--tree", "--json"]).json();
    let tables = document["tree"]["tables"].as_array().expect("a list");
    assert_eq!(tables.len(), 8);
    assert_eq!(tables[2]["led_by"], 2);
    let shared = &tables[4]["entries"][0];
    assert_eq!((&shared["leads_to"], &shared["table"]), (&json!("shared"), &json!(2)));
    assert_eq!(tables[5]["entries"][0]["reserved_bits"], "0x2000");
    assert_eq!(document["tree"]["complete"], true);
}

/// All 512 entries of the root point to it.
#[test]
fn a_table_that_points_to_itself_is_one_line() {
    let sandbox = Sandbox::new();
    let mut memory = SmallMemory::new(0x2000);
    for index in 0..512 {
        memory.entry(0x1000 + 8 * index, 0x1067);
    }
    write_dump(&sandbox.path().join("bomb.elf"), &memory);
    let text = sandbox.run(&["maps", "bomb.elf", "--tree"]).expect_code(0).stdout;
    let lines: Vec<_> = text.lines().filter(|line| line.contains("PML4")).collect();
    assert_eq!(
        lines,
        [
            "0x0000000000000000 PML4 0x1000, 512 present, 512 lead here",
            "0x0000000000000000 └─ 0-511: PML4 0x1000, shown once",
        ]
    );
}

/// The commands with a human text that has rights.
const COMMANDS: [&[&str]; 6] = [
    &["maps", "guest.elf"],
    &["maps", "guest.elf", "--tree"],
    &["walk", "guest.elf", "0x420000"],
    &["rmap", "guest.elf", "0xa123"],
    &["diff", "guest.elf", "later.elf"],
    &["audit", "guest.elf"],
];

#[test]
fn rights_are_coloured_when_asked_for() {
    let sandbox = small_guests();
    for command in COMMANDS {
        let plain = sandbox.run(command).stdout;
        assert!(!plain.contains('\u{1b}'), "{command:?}: {plain}");
        let coloured = sandbox.run(&[command, &["--color", "always"]].concat()).stdout;
        assert!(coloured.contains("\u{1b}["), "{command:?}: {coloured}");
        assert_eq!(without_colours(&coloured), plain, "{command:?}");
    }
    let json = sandbox.run(&["maps", "guest.elf", "--json", "--color", "always"]);
    json.json();
    let tlb = sandbox.run(&["maps", "guest.elf", "--style", "qemu-mem", "--color", "always"]);
    assert!(!tlb.stdout.contains('\u{1b}'), "{}", tlb.stdout);
}

/// A text without ESC [ ... m.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').expect("its end").1)
}

/// What a terminal of 80 columns receives; `None` where there is no program for it.
fn on_a_terminal(sandbox: &Sandbox, arguments: &str, no_color: bool) -> Option<String> {
    if !Path::new("/usr/bin/script").exists() {
        skip("script", "no script, which runs a program on a terminal");
        return None;
    }
    let command = format!("stty cols 80 rows 24; '{}' {arguments}; true", program().display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command", &command, "typescript"]);
    script.current_dir(sandbox.path()).env("TERM", "xterm-256color").env_remove("NO_COLOR");
    if no_color {
        script.env("NO_COLOR", "1");
    }
    Some(ProgramOutput::of(&mut script).expect_code(0).stdout)
}

#[test]
fn a_terminal_gets_colours_unless_it_is_told_otherwise() {
    let sandbox = small_guests();
    let has_colours = |arguments, no_color| {
        let received = on_a_terminal(&sandbox, arguments, no_color)?;
        assert!(received.contains("0x0000000000420000"), "{received}");
        Some(received.contains("\u{1b}["))
    };
    let Some(by_default) = has_colours("maps guest.elf", false) else { return };
    assert!(by_default);
    assert_eq!(has_colours("maps guest.elf", true), Some(false));
    assert_eq!(has_colours("maps guest.elf --color never", false), Some(false));
}

#[test]
fn errors_fit_a_terminal_and_are_one_line_in_a_pipe() {
    let sandbox = small_guests();
    let arguments = "maps guest.elf --cr4 0x400000000";
    let Some(received) = on_a_terminal(&sandbox, arguments, false) else { return };
    let lines: Vec<_> = received.lines().map(str::trim_end).collect();
    assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
    let in_a_pipe = sandbox.run(&arguments.split(' ').collect::<Vec<_>>()).expect_code(2);
    let joined: Vec<_> = lines.iter().map(|line| line.trim()).collect();
    assert_eq!(joined.join(" "), in_a_pipe.only_line_of_stderr());
}

/// SDM "IA-32e Mode Operation" and "Control Registers": states that MOV and WRMSR refuse.
#[test]
fn registers_that_no_processor_has_are_refused() {
    let sandbox = small_guests();
    for (options, words) in [
        ("--cr0 0", "efer: LMA=1 exactly if LME=1 and CR0.PG=1"),
        ("--cr0 0x80000010", "cr0: PG=1 needs PE=1"),
        ("--cr3 0x10000000001000 --efer 0xd01", "cr3: bits above MAXPHYADDR are 0"),
        ("--cr4 0x4000006f0", "cr4: reserved bits are 0; bits 0x400000000 are wrong"),
        ("--cr4 0x16f0 --profile skylake", "cr4: the processor lacks the feature; bits 0x1000"),
        ("--cr4 0", "cr4: EFER.LMA=1 needs PAE=1"),
        ("--efer 0x400", "efer: LMA=1 exactly if LME=1"),
    ] {
        let options: Vec<_> = options.split(' ').collect();
        for command in [&["maps", "guest.elf"][..], &["walk", "guest.elf", "0x420000"]] {
            let output = sandbox.run(&[command, &options[..]].concat()).expect_code(2);
            let line = output.only_line_of_stderr();
            assert!(line.contains("no processor can be in this state: "), "{line}");
            assert!(line.contains(words), "{options:?}: {line}");
        }
    }
    let assumed = sandbox.run(&["maps", "guest.elf", "--cr4", "0"]);
    assert!(assumed.stderr.contains("EFER.LMA is taken to be 1 unless --efer says otherwise"));
    // Long mode as it is, and 32-bit paging with all that it needs.
    sandbox.run(&["maps", "guest.elf", "--efer", "0x500"]).expect_code(0);
    sandbox
        .run(&["maps", "guest.elf", "--cr0", "0x80000001", "--cr4", "0", "--efer", "0"])
        .expect_code(0);
    sandbox.run(&["maps", "guest.elf", "--profile", "skylake"]).expect_code(0);
}

/// A dump of a processor that is newer than this program: CR4 has a bit that is reserved so far.
#[test]
fn what_an_image_says_is_taken_as_it_is() {
    let sandbox = Sandbox::new();
    let newer = CpuNote { cr4: cpu_64(0).cr4 | 1 << 34, ..cpu_64(0x1000) };
    sandbox.file("newer.elf", elf(true, &[newer], &[(0, &small_guest().0)]));
    for options in [&[][..], &["--cr3", "0x8000"], &["--efer", "0xd01"]] {
        sandbox.run(&[&["maps", "newer.elf"], options].concat()).expect_code(0);
    }
    sandbox.run(&["maps", "newer.elf", "--profile", "skylake"]).expect_code(2);
}

/// 5-level paging with the longest of everything: indices, rights that are lost, sizes and addresses.
#[test]
fn the_tree_fits_80_columns_in_five_levels() {
    let mut memory = SmallMemory::new(0x6000);
    let last = 8 * 511;
    memory
        .entry(0x1000 + last, 0x2067)
        .entry(0x2000 + last, 0x3067)
        .entry(0x3000 + last, 0x4067)
        .entry(0x4000 + last, 0x5067);
    for index in 100..450 {
        let frame = 0xf_fff0_0000_0000 + 0x1000 * index as u64;
        memory.entry(0x5000 + 8 * index, 1 << 63 | frame | 0x161);
    }
    let la57 = CpuNote { cr4: cpu_64(0).cr4 | 1 << 12, ..cpu_64(0x1000) };
    let sandbox = Sandbox::new();
    sandbox.file("la57.elf", elf(true, &[la57], &[(0, &memory.0)]));
    let output = sandbox.run(&["maps", "la57.elf", "--tree"]).expect_code(0).expect_80_columns();
    let words = "100-449 -uwx: sr-- ADG 4K 1.367 MiB 0xffff000064000";
    assert!(output.words_of_stdout().contains(words), "{}", output.stdout);
}

#[test]
fn missing_tables_side_by_side_are_two_lines() {
    let sandbox = changed(|memory| {
        memory.entry(0x1f88, 0x9_0001_0063);
    });
    let text = sandbox.run(&["maps", "guest.elf"]).expect_code(0).stdout;
    let lines: Vec<_> = text.lines().filter(|line| line.contains("not in the image")).collect();
    assert_eq!(
        lines,
        [
            "0xfffff80000000000-0xfffff87fffffffff PDPTEs at 0x900000000: not in the image",
            "0xfffff88000000000-0xfffff8ffffffffff PDPTEs at 0x900010000: not in the image",
        ]
    );
    let document = sandbox.run(&["maps", "guest.elf", "--json"]).json();
    assert_eq!(document["totals"]["unreadable"], 2);
    assert_eq!(document["problems"].as_array().map(Vec::len), Some(3));
}

/// The directory of the program has two entries that lead to it, and its one entry is met on two paths.
#[test]
fn entries_that_use_a_frame_are_counted_once() {
    let sandbox = small_guests();
    let text = sandbox.run(&["rmap", "guest.elf", "0x4000"]).expect_code(0).stdout;
    assert!(text.contains("0x4000: 0 mappings; 1 entry uses its frame as a table, on 2 paths."));
    let text = sandbox.run(&["rmap", "guest.elf", "0x3000"]).expect_code(0).stdout;
    assert!(text.contains("0x3000: 0 mappings; 2 entries use its frame as a table."), "{text}");

    let document = sandbox.run(&["rmap", "guest.elf", "0x4000", "--json"]).json();
    assert_eq!((&document["table_entries"], &document["table_paths"]), (&json!(1), &json!(2)));
    assert_eq!(document["led_by"].as_array().map(Vec::len), Some(2));
}

/// So many tables that the threads of `rmap` share them: 512 page tables that are one, and 16 directories of bad entries.
/// For `maps` their pages are one range, their problems one problem, and all is counted once.
#[test]
fn what_many_tables_have_is_put_together() {
    let sandbox = Sandbox::new();
    let mut memory = SmallMemory::new(0x7000);
    memory.entry(0x1000, 0x2003).entry(0x2000, 0x3003);
    for index in 0..512 {
        memory.entry(0x3000 + 8 * index, 0x4003).entry(0x4000 + 8 * index, 0x5003);
        // Bit 13 of a large page is reserved (CODE-6).
        memory.entry(0x6000 + 8 * index, 0x2083);
    }
    for index in 1..=16 {
        memory.entry(0x2000 + 8 * index, 0x6003);
    }
    write_dump(&sandbox.path().join("guest.elf"), &memory);

    let maps = sandbox.run(&["maps", "guest.elf", "--json"]).expect_code(0).json();
    let [range] = &maps["mappings"].as_array().expect("a list")[..] else { panic!("{maps}") };
    assert_eq!((&range["first"], &range["last"]), (&json!("0x0"), &json!("0x3fffffff")));
    assert_eq!((&range["pages"], &range["contiguous"]), (&json!(512 * 512), &json!(false)));
    let [problem] = &maps["problems"].as_array().expect("a list")[..] else { panic!("{maps}") };
    assert_eq!(
        (&problem["first"], &problem["last"]),
        (&json!("0x40000000"), &json!("0x43fffffff"))
    );
    assert_eq!((&problem["entries"], &problem["at"]), (&json!(16 * 512), &json!("0x6000")));
    let totals = &maps["totals"];
    // The PDPT, a directory, its page tables, and 16 directories.
    assert_eq!((&totals["tables"], &totals["reserved"]), (&json!(530), &json!(16 * 512)));
    assert_eq!((&totals["bytes"], &totals["complete"]), (&json!("1073741824"), &json!(true)));
    let stats = sandbox.run(&["maps", "guest.elf", "--stats"]).expect_code(0).stdout;
    assert!(stats.contains("\nsrwx      1 GiB\n\n"), "{stats}");

    let rmap = sandbox.run(&["rmap", "guest.elf", "0x5123", "--json"]).expect_code(0).json();
    assert_eq!((&rmap["mappings"], &rmap["complete"]), (&json!(512 * 512), &json!(true)));
    let led_by = rmap["led_by"].as_array().expect("a list").iter();
    let addresses = led_by.map(|leads| leads["address"].as_str().expect("an address").to_owned());
    assert!(addresses.eq((0..10_000).map(|page| format!("{:#x}", 0x123 + 0x1000 * page))));
    for (table, paths) in [("0x4000", 512), ("0x6000", 16)] {
        let rmap = sandbox.run(&["rmap", "guest.elf", table, "--json"]).json();
        assert_eq!((&rmap["table_entries"], &rmap["table_paths"]), (&json!(paths), &json!(paths)));
    }
}

/// Without repeats the directory below the PML4E with XD is left out.
#[test]
fn every_command_says_what_it_left_out() {
    let sandbox = small_guests();
    let sentence = "Tables met again, and not looked through (--repeats): ";
    for (command, count) in [
        (&["rmap", "guest.elf", "0xa123"][..], 1),
        (&["audit", "guest.elf"], 1),
        // One in each image.
        (&["diff", "guest.elf", "later.elf"], 2),
    ] {
        let all = sandbox.run(command);
        assert!(!all.stdout.contains(sentence), "{}", all.stdout);
        let few = sandbox.run(&[command, &["--repeats", "0"]].concat());
        assert!(few.stdout.contains(&format!("{sentence}{count}.")), "{}", few.stdout);
        assert_eq!(few.code, all.code);

        let json = |repeats| {
            let options = ["--repeats", repeats, "--json"];
            sandbox.run(&[command, &options[..]].concat()).json()["repeated"].clone()
        };
        assert_eq!((json("8192"), json("0")), (json!(0), json!(count)), "{command:?}");
    }
}

/// The small guest has a PML4E that leads out of memory: nobody knows what is mapped there.
#[test]
fn what_cannot_be_read_is_not_called_the_same() {
    let guests = small_guests();
    let output = guests.run(&["diff", "guest.elf", "guest.elf"]).expect_code(0);
    let text = output.expect_80_columns().words_of_stdout();
    assert!(text.contains("What was looked at maps the same"), "{text}");
    assert!(text.contains("that cannot be read: 2"), "{text}");
    let document = guests.run(&["diff", "guest.elf", "guest.elf", "--json"]).json();
    assert_eq!(document["unreadable"], 2);

    let output = guests.run(&["rmap", "guest.elf", "0xffff"]).expect_code(0);
    let text = output.expect_80_columns().words_of_stdout();
    assert!(text.contains("that cannot be read: 1"), "{text}");
    let whole = changed(|memory| _ = memory.entry(0x1f80, 0));
    let text = whole.run(&["diff", "guest.elf", "guest.elf"]).expect_code(0).words_of_stdout();
    assert!(text.contains("Both map the same."), "{text}");
}

/// A table that was not read again may be writable and executable on that path.
#[test]
fn an_audit_that_left_tables_out_calls_nothing_clean() {
    let clean = changed(|memory| _ = memory.entry(0x4100, 0).entry(0x1f80, 0));
    let checks = ["audit", "guest.elf", "--checks", "wx", "--repeats"];
    let text = |repeats| clean.run(&[&checks[..], &[repeats]].concat()).words_of_stdout();
    assert!(text("8").contains("wx: none") && !text("8").contains("looked at"), "{}", text("8"));
    assert!(text("0").contains("wx: none in what was looked at"), "{}", text("0"));
}

#[test]
fn a_page_does_not_replace_the_image() {
    let guests = small_guests();
    let image = guests.path().join("guest.elf");
    std::os::unix::fs::symlink(&image, guests.path().join("link")).expect("a link");
    let before = std::fs::read(&image).expect("the image");
    for (page, image) in [("guest.elf", "guest.elf"), ("./guest.elf", "link")] {
        let output = guests.run(&["maps", image, "--html", page]).expect_code(2);
        let error = output.only_line_of_stderr();
        assert!(error.contains("is the image that is read"), "{error}");
    }
    assert!(std::fs::read(&image).expect("the image") == before);
}

#[test]
fn an_endless_answer_of_a_monitor_is_refused() {
    let output = small_guests().run(&["maps", "guest.elf", "--check", "info-tlb:/dev/zero"]);
    let error = output.expect_code(2).only_line_of_stderr().to_owned();
    assert!(error.contains("expected at most"), "{error}");
}

/// Without its root table an image has nothing to look at, which is neither clean nor the same.
#[test]
fn a_root_outside_the_image_is_the_reason() {
    let sandbox = small_guests();
    let words = "guest.elf: the root table at 0x7777000 is not in its memory (CR3=0x7777000): there is nothing to \
                 look at; --cr3 names another root";
    for command in [
        &["audit", "guest.elf"][..],
        &["maps", "guest.elf"],
        &["maps", "guest.elf", "--tree"],
        &["maps", "guest.elf", "--html", "page.html"],
        &["rmap", "guest.elf", "0xa000"],
        &["diff", "guest.elf", "guest.elf"],
    ] {
        let output = sandbox.run(&[command, &["--cr3", "0x7777000"]].concat()).expect_code(2);
        assert!(output.only_line_of_stderr().ends_with(words), "{command:?}: {}", output.stderr);
    }

    // A walk shows where it stops, too.
    for (form, shown) in
        [(&[][..], "the image has no memory at physical address"), (&["--json"], r#""path": []"#)]
    {
        let command = [&["walk", "guest.elf", "0x400000", "--cr3", "0x7777000"], form].concat();
        let walk = sandbox.run(&command).expect_code(2);
        assert!(walk.only_line_of_stderr().ends_with(words), "{}", walk.stderr);
        assert!(walk.stdout.contains(shown), "{}", walk.stdout);
    }
}

/// A directory whose 512 entries lead to tables, on six paths.
#[test]
fn large_numbers_have_separators() {
    let mut memory = SmallMemory::new(0x20_4000);
    memory.entry(0x1000, 0x2067).entry(0x1008, 0x2067).entry(0x2000, 0x3067);
    for index in 0..512 {
        memory.entry(0x3000 + 8 * index, 0x4000 + 0x1000 * index as u64 + 0x67);
    }
    memory.entry(0x2008, 0x3067).entry(0x2010, 0x3067);
    let sandbox = Sandbox::new();
    write_dump(&sandbox.path().join("wide.elf"), &memory);
    let text = sandbox.run(&["maps", "wide.elf"]).expect_code(0).words_of_stdout();
    // On each of two paths a PDPT, and three times a directory with its 512 tables.
    assert!(text.contains("No page is mapped; 3,080 tables below the root."), "{text}");
}

#[test]
fn no_paging_has_words() {
    let output = small_guests().run(&["maps", "guest.elf", "--cr0", "0x11", "--efer", "0"]);
    let text = output.expect_code(0).expect_80_columns().words_of_stdout();
    assert!(text.contains("CPU 0: no paging, linear addresses are physical, CR0=0x11"), "{text}");
    assert!(!text.contains("unpaged"), "{text}");
}

#[test]
fn the_way_back_knows_the_root() {
    let sandbox = small_guests();
    let sentence = "The root table (CR3) is in its frame.";
    let root = sandbox.run(&["rmap", "guest.elf", "0x1ff8"]).expect_code(0).stdout;
    assert!(root.contains(sentence), "{root}");
    let other = sandbox.run(&["rmap", "guest.elf", "0x2000"]).expect_code(0).stdout;
    assert!(!other.contains(sentence), "{other}");
    let json = |at| sandbox.run(&["rmap", "guest.elf", at, "--json"]).json()["is_root"].clone();
    assert_eq!((json("0x1000"), json("0x2000")), (json!(true), json!(false)));

    // In PAE paging the four entries are anywhere in the frame, and CR3 has 32 bits.
    let pae = ["--cr4", "0x20", "--efer", "0", "--cr3", "0xf00001020", "--cr0", "0x80000011"];
    let root = sandbox.run(&[&["rmap", "guest.elf", "0x1000"], &pae[..]].concat());
    assert!(root.stdout.contains(sentence), "{}{}", root.stdout, root.stderr);
}

/// Every page once, and those that `--filter` lets through: 4 KiB at 0x420000.
#[test]
fn the_totals_of_a_filter_are_told_apart() {
    let sandbox = small_guests();
    let text = sandbox.run(&["maps", "guest.elf", "--filter", "w,x"]).expect_code(0);
    let text = text.expect_80_columns().words_of_stdout();
    assert!(text.contains("4 KiB pass --filter: 1 small. All pages: 2.047 MiB are"), "{text}");
    let none = sandbox.run(&["maps", "guest.elf", "--filter", "w,x,g"]).expect_code(0);
    let none = none.words_of_stdout();
    assert!(none.contains("No page passes --filter. All pages: 2.047 MiB are"), "{none}");
    let all = sandbox.run(&["maps", "guest.elf"]).expect_code(0).words_of_stdout();
    assert!(!all.contains("--filter"), "{all}");

    let totals = |options: &[&str]| {
        let document = sandbox.run(&[&["maps", "guest.elf", "--json"], options].concat()).json();
        (document["totals"]["passed_pages"].clone(), document["totals"]["passed_bytes"].clone())
    };
    assert_eq!(totals(&["--filter", "w,x"]), (json!(1), json!("4096")));
    assert_eq!(totals(&[]), (Value::Null, Value::Null));
}

#[test]
fn an_address_that_is_not_mapped_is_said_to_be() {
    let sandbox = small_guests();
    let maps = |options: &str| {
        let options: Vec<_> = ["maps", "guest.elf"].into_iter().chain(options.split(' ')).collect();
        sandbox.run(&options).expect_code(0).expect_80_columns().stdout.clone()
    };
    let sentence = "0x12345678: nothing is mapped.";
    for more in ["", " --pages", " --stats"] {
        assert!(maps(&format!("--has 0x12345678{more}")).contains(sentence), "{more}");
    }
    // A page that the filter leaves out, one that is there, and a table that is not in the image.
    let filtered = maps("--has 0x400000 --filter w");
    assert!(filtered.contains("0x400000: no page passes --filter."), "{filtered}");
    for shown in ["0x401234", "0xfffff80000000123"] {
        let text = maps(&format!("--has {shown}"));
        assert!(!text.contains("nothing is mapped") && text.contains("Rights are"), "{text}");
    }
    // Only the page, and not its range.
    let page = maps("--has 0x401234 --pages");
    let lines: Vec<_> = page.lines().filter(|line| line.contains(" 4K ")).collect();
    assert_eq!(lines, ["0x0000000000401000-0x0000000000401fff     4 KiB 4K ur-x A-- 0xb000"]);
}

#[test]
fn an_address_that_cannot_be_shown_is_refused() {
    let sandbox = small_guests();
    for (options, words) in [
        ("--has 0x1000000000000", "--has: 0x1000000000000 is not canonical in 4level paging"),
        (
            "--has 0x500000 --range 0x400000-0x401fff",
            "--has: 0x500000 is not one of the addresses of --range",
        ),
        ("--range 0x0-0x800000000000", "--range: 0x800000000000 is not canonical"),
        ("--cpu 1", "it has the registers of 1 CPU, counted from 0, and not those of CPU 1"),
    ] {
        let options: Vec<_> = ["maps", "guest.elf"].into_iter().chain(options.split(' ')).collect();
        let output = sandbox.run(&options).expect_code(2);
        assert!(output.only_line_of_stderr().contains(words), "{options:?}: {}", output.stderr);
    }
}

/// Without repeats the pages below the PML4E with XD are not looked at. The monitor lists them.
#[test]
fn a_check_leaves_out_what_was_not_looked_at() {
    let sandbox = small_guests();
    let lines = sandbox.run(&["maps", "guest.elf", "--style", "qemu-tlb"]).expect_code(0).stdout;
    sandbox.file("tlb", &lines);
    let check = ["maps", "guest.elf", "--check", "info-tlb:tlb", "--repeats", "0"];
    let text = sandbox.run(&check).expect_code(0).expect_80_columns().words_of_stdout();
    assert!(text.contains("8 pages: both say the same."), "{text}");
    assert!(text.contains("5 pages of the monitor: not compared"), "{text}");
    let json = sandbox.run(&[&check[..], &["--json"]].concat()).json();
    assert_eq!((&json["agreed"], &json["unseen"]), (&json!(8), &json!(5)));
}
