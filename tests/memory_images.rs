//! `walk` and `maps` on memory images: of a Linux guest beside what QEMU's monitor says of it, and of small
//! guests made by hand.

use assert_cmd::Command;
use crosswalk_test_support as support;
use serde_json::{Value, json};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use support::memory_image::{
    PageCompression, SmallMemory, avml, cpu_64, elf, flattened, kdump, lime, notes_of, small_guest,
    windows, windows_with_bitmap, write_dump, write_file, write_small_guests,
};
use support::{Sandbox, count, repository, run, skip};

/// Time limit for booting three guests, even on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// The exit code of `ci/memory-images` when something that it needs is missing.
const MISSING: i32 = 77;

/// The directory with the dumps of Linux guests, made once for all tests; or what is missing.
fn linux_guests() -> &'static Result<Sandbox, String> {
    static IMAGES: OnceLock<Result<Sandbox, String>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let sandbox = Sandbox::new();
        let mut command = Command::new(repository().join("ci/memory-images"));
        command.args(["--offline", "4level", "la57", "pti", "1gib", "--out"]).arg(sandbox.path());
        make(&mut command).map(|()| sandbox)
    })
}

/// Runs `ci/memory-images`. The error is what is missing.
fn make(command: &mut Command) -> Result<(), String> {
    let output = command.timeout(TIME_LIMIT).output().expect("ci/memory-images starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(MISSING) => Err(stderr),
        code => panic!("ci/memory-images: exit code {code:?}\n{stderr}"),
    }
}

/// The file of a Linux guest. `None`, aloud, where it cannot be made.
fn of_linux(name: &str) -> Option<PathBuf> {
    match linux_guests() {
        Ok(sandbox) => Some(sandbox.path().join(name)),
        Err(missing) => {
            skip("nested", missing.trim());
            None
        }
    }
}

fn maps(image: &Path, options: &[&str]) -> support::ProgramOutput {
    let image = image.display().to_string();
    run(&[&["maps", &image], options].concat())
}

#[test]
fn what_a_linux_guest_maps_is_what_the_monitor_lists() {
    for name in ["4level", "la57", "pti"] {
        let Some(image) = of_linux(&format!("{name}.elf")) else { return };
        let expected = std::fs::read_to_string(image.with_extension("tlb")).expect("its lines");
        // The tables of a program under page-table isolation have little of the kernel.
        assert!(expected.lines().count() > 300, "{name}");

        let printed = maps(&image, &["--style", "qemu-tlb"]);
        assert_eq!(printed.code, Some(0), "{}", printed.stderr);
        assert!(printed.stdout == expected, "{name}: the lines of `info tlb` differ");

        let answer = format!("info-tlb:{}", image.with_extension("tlb").display());
        let checked = maps(&image, &["--check", &answer, "--json"]);
        assert_eq!(checked.code, Some(0), "{}", checked.stdout);
        assert_eq!(checked.json()["agreed"], expected.lines().count());
    }
}

/// What QEMU's monitor listed is in each of these dumps of the guest with 4 levels.
fn assert_same_memory(directory: &Path, dumps: &[&str]) {
    let expected = std::fs::read_to_string(directory.join("4level.tlb")).expect("its lines");
    for dump in dumps {
        let image = directory.join(format!("4level.{dump}"));
        let printed = maps(&image, &["--style", "qemu-tlb"]);
        assert_eq!(printed.code, Some(0), "{dump}: {}", printed.stderr);
        assert!(printed.stdout == expected, "{dump}: the lines of `info tlb` differ");
        assert_eq!(maps(&image, &["--json"]).json()["image"]["format"], "kdump");
    }
}

/// The kernel maps all memory, and a GiB of it by one page. The image is a kdump, which is small.
#[test]
fn a_page_of_1_gib_is_listed_as_by_the_monitor() {
    let Some(image) = of_linux("1gib.kdump-zlib") else { return };
    for (style, answer) in [("qemu-tlb", "tlb"), ("qemu-mem", "mem")] {
        let expected = std::fs::read_to_string(image.with_extension(answer)).expect("its lines");
        assert!(maps(&image, &["--style", style]).stdout == expected, "{style}");
    }
    let pages = pages_of(&image, &["--filter", "huge"]);
    assert!(pages.iter().any(|page| page["page_bytes"] == 1_u64 << 30), "{} pages", pages.len());
}

#[test]
fn a_kdump_of_qemu_has_what_the_monitor_lists() {
    let Some(dump) = of_linux("4level.kdump-zlib") else { return };
    assert_same_memory(dump.parent().expect("a directory"), &["kdump-zlib"]);
}

/// In every form and compression; flattened; and with pages left out, which tables never are.
#[test]
fn a_kdump_of_makedumpfile_has_what_the_monitor_lists() {
    support::require_program!("makedumpfile");
    let Some(elf) = of_linux("4level.elf") else { return };
    let dumps = ["normal", "zlib", "lzo", "lzo-flattened", "filtered", "zstd", "snappy"]
        .map(|name| format!("makedumpfile-{name}"));
    assert_same_memory(elf.parent().expect("a directory"), &dumps.each_ref().map(String::as_str));
}

/// A newer QEMU does not name the processor, and writes kdumps that are not flattened, too.
#[test]
fn kdumps_of_a_second_qemu_have_what_its_monitor_lists() {
    let program = support::require_second_qemu!();
    let sandbox = Sandbox::new();
    let mut command = Command::new(repository().join("ci/memory-images"));
    command.args(["--offline", "4level", "--qemu"]).arg(program).arg("--out").arg(sandbox.path());
    match make(&mut command) {
        Ok(()) => assert_same_memory(sandbox.path(), &["kdump-zlib", "kdump-raw-zlib"]),
        Err(missing) => skip("nested", missing.trim()),
    }
}

/// Tables made by hand in four modes, about which the monitor of QEMU 7.2 is wrong. Other versions may be right:
/// then there are fewer differences, but never one without a reason.
#[test]
fn what_the_monitor_gets_wrong_is_named() {
    support::require_qemu!();
    support::require_program!("python3");
    let sandbox = Sandbox::new();
    let known = [
        ("crafted-4level", vec![("top-bits-dropped", 1), ("reserved-listed", 5)], 2),
        ("crafted-la57", vec![("top-bits-dropped", 1), ("reserved-listed", 1)], 1),
        ("crafted-pae", vec![("xd-in-address", 2)], 1),
        ("crafted-32bit", vec![("high-bits-ignored", 1)], 1),
    ];
    let mut command = Command::new(repository().join("ci/memory-images"));
    command.args(["--offline", "--out"]).arg(sandbox.path());
    command.args(known.iter().map(|(name, ..)| name));
    let made = command.timeout(TIME_LIMIT).output().expect("ci/memory-images starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    for (name, expected, agreed) in known {
        let image = sandbox.path().join(format!("{name}.elf"));
        let answer = format!("info-tlb:{}", image.with_extension("tlb").display());
        let document = maps(&image, &["--check", &answer, "--json"]).json();

        let differences = document["differences"].as_array().expect("a list");
        let found: Vec<_> = differences
            .iter()
            .map(|found| (found["difference"].as_str().expect("a name"), count(found, "count")))
            .collect();
        if is_qemu_7_2() {
            assert_eq!(found, expected, "{name}");
            assert_eq!(document["agreed"], agreed, "{name}");
        } else {
            assert!(found.iter().all(|difference| expected.contains(difference)), "{found:?}");
        }
    }
}

fn is_qemu_7_2() -> bool {
    let version = std::process::Command::new("qemu-system-x86_64").arg("--version").output();
    let version = version.expect("QEMU starts").stdout;
    String::from_utf8_lossy(&version).contains("version 7.2.")
}

#[test]
fn the_ranges_of_a_linux_guest_are_those_of_the_monitor() {
    for name in ["4level", "pti"] {
        let Some(image) = of_linux(&format!("{name}.elf")) else { return };
        let expected = std::fs::read_to_string(image.with_extension("mem")).expect("its lines");
        assert_eq!(maps(&image, &["--style", "qemu-mem"]).stdout, expected, "{name}");
    }
}

/// With page-table isolation there are two roots side by side. That of the kernel maps user memory through
/// PML4Es with XD: no user page is executable there, though many leaves look as if theirs were. `info tlb` does
/// not tell them apart. Through the program's root the same leaves map pages that are.
#[test]
fn user_pages_under_isolation_only_look_executable() {
    let Some(image) = of_linux("pti.elf") else { return };
    let stats = maps(&image, &["--json"]).json();
    let cr3 = stats["image"]["registers"]["cr3"].as_str().expect("hex").trim_start_matches("0x");
    let kernel = u64::from_str_radix(cr3, 16).expect("hex") & !0x1fff;
    let user_pages = |root: u64| pages_of(&image, &["--cr3", &root.to_string(), "--filter", "u"]);

    // Bit 63 of the leaf.
    let has_xd = |page: &&Value| {
        let entry = page["entry"].as_str().expect("hex").trim_start_matches("0x");
        u64::from_str_radix(entry, 16).expect("hex") >> 63 != 0
    };
    let is_executable = |page: &&Value| page["execute"] == true;
    let pages = user_pages(kernel);
    let looks_executable = pages.iter().filter(|page| !has_xd(page)).count();
    assert!(looks_executable > 100, "{looks_executable} of {} pages", pages.len());
    assert_eq!(pages.iter().filter(is_executable).count(), 0);

    let pages = user_pages(kernel + 0x1000);
    assert_eq!(pages.iter().filter(is_executable).count(), looks_executable);
}

/// The pages that `--json-lines` prints.
fn pages_of(image: &Path, options: &[&str]) -> Vec<Value> {
    let lines = maps(image, &[&["--json-lines"], options].concat()).stdout;
    let pages = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    pages.filter_map(|mut line| line.get_mut("page").map(Value::take)).collect()
}

#[test]
fn the_pages_of_a_linux_guest_are_in_the_json() {
    let Some(image) = of_linux("4level.elf") else { return };
    let document = maps(&image, &["--json"]).json();
    let lines = std::fs::read_to_string(image.with_extension("tlb")).expect("its lines");

    let mappings = document["mappings"].as_array().expect("a list");
    let pages: u64 = mappings.iter().map(|range| range["pages"].as_u64().expect("a number")).sum();
    assert_eq!(pages, lines.lines().count() as u64);
    assert_eq!(document["image"]["mode"], "4level");
    assert_eq!(document["totals"]["complete"], true);
    assert_eq!(document["problems"], json!([]));
}

/// Without registers the kernel's own tables are found by the VMCOREINFO in its memory. They map the kernel as
/// those of a process do.
#[test]
fn the_kernels_own_tables_are_found_in_raw_memory() {
    for name in ["4level", "la57"] {
        let Some(image) = of_linux(&format!("{name}.elf")) else { return };
        let contents = std::fs::File::open(&image).expect("the image");
        let word = |at| {
            let mut word = [0; 8];
            contents.read_exact_at(&mut word, at).expect("its headers");
            u64::from_le_bytes(word)
        };
        // e_phoff leads to the program headers, and p_offset of the second, the first with memory, to that.
        let headers = word(32);
        let ram = format!("0:0x8000000@{}", word(headers + 56 + 8));

        let text = ["--json", "--range", "0xffffffff80000000-0xffffffffffffffff"];
        let expected = maps(&image, &text).json();
        let found = maps(&image, &[&text[..], &["--ram", &ram]].concat()).json();
        assert_eq!(found["image"]["mode"], expected["image"]["mode"]);
        assert_ne!(found["image"]["registers"]["cr3"], expected["image"]["registers"]["cr3"]);
        assert!(expected["mappings"].as_array().is_some_and(|ranges| ranges.len() > 10));
        assert_eq!(found["mappings"], expected["mappings"], "{name}");
    }
}

#[test]
fn each_format_leads_to_the_same_mappings() {
    let sandbox = Sandbox::new();
    let memory = small_guest().0;
    let (low, high) = memory.split_at(0x5000);
    let pieces: [(u64, &[u8]); 2] = [(0, low), (0x5000, high)];
    let elf = write_file(sandbox.path(), "elf", &elf(true, &[cpu_64(0x1000)], &pieces));
    let lime = write_file(sandbox.path(), "lime", &lime(&pieces));
    let raw = write_file(sandbox.path(), "raw", &memory);

    let mappings = |image: &Path, options: &[&str]| {
        let document = maps(image, &[&["--json"], options].concat()).json();
        document["mappings"].clone()
    };
    let expected = mappings(&elf, &[]);
    assert_eq!(expected.as_array().map(Vec::len), Some(8));
    assert_eq!(mappings(&lime, &["--cr3", "0x1000"]), expected);
    let snappy = kdump(true, &notes_of(&[cpu_64(0x1000)]), &pieces, PageCompression::Snappy);
    for (name, contents, options) in [
        ("flattened", flattened(&snappy, 4000), &[][..]),
        ("kdump", snappy, &[]),
        ("avml", avml(&pieces), &["--cr3", "0x1000"]),
        ("windows", windows(0x1000, &pieces), &[]),
        ("bitmap", windows_with_bitmap(0x1000, &pieces), &[]),
    ] {
        let image = write_file(sandbox.path(), name, &contents);
        assert_eq!(mappings(&image, options), expected, "{name}");
    }
    assert_eq!(mappings(&raw, &["--cr3", "4096", "--format", "raw"]), expected);
    assert_eq!(mappings(&raw, &["--cr3", "4096", "--ram", "0:0x10000@0"]), expected);
}

#[test]
fn an_access_ends_as_the_whole_path_says() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let image = sandbox.path().join("guest.elf").display().to_string();
    let walk = |options: &[&str]| run(&[&["walk", &image], options, &["--json"]].concat()).json();

    // Executable by its PTE, not by its PML4E.
    let found = walk(&["0x8000420123"]);
    assert_eq!(found["physical"], "0xe123");
    assert_eq!(found["rights"], "urw-");
    let outcomes = found["accesses"].as_array().expect("a list");
    let outcomes: Vec<_> = outcomes.iter().map(|access| access["outcome"].clone()).collect();
    let completes = json!("completes at 0xe123");
    let user_fetch = json!("#PF(P|U|I) at 0x8000420123");
    let supervisor_fetch = json!("#PF(P|I) at 0x8000420123");
    assert_eq!(outcomes[..3], [completes.clone(), completes.clone(), supervisor_fetch]);
    assert_eq!(outcomes[3..], [completes.clone(), completes, user_fetch]);

    let one = walk(&["0x400000", "--access", "write", "--user"]);
    let fault = json!([{ "access": "write", "user": true, "outcome": "#PF(P|W|U) at 0x400000" }]);
    assert_eq!(one["accesses"], fault);
    let reserved = walk(&["0xffffffff00000000"]);
    assert_eq!(reserved["path"][1]["error"], "reserved bits 0x2000");
    assert_eq!(reserved["physical"], Value::Null);
    let not_canonical = walk(&["0x800000000000"]);
    assert_eq!(not_canonical["path"], json!([]));
}

#[test]
fn ranges_and_filters_leave_out_the_rest() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let image = sandbox.path().join("guest.elf");
    let first_of = |options: &[&str]| {
        let document = maps(&image, &[options, &["--json"]].concat()).json();
        let mappings = document["mappings"].as_array().expect("a list").clone();
        mappings.iter().map(|range| range["first"].clone()).collect::<Vec<_>>()
    };

    assert_eq!(first_of(&["--filter", "w,x"]), ["0x420000"]);
    assert_eq!(first_of(&["--filter", "s,huge"]), ["0xffffffff81000000"]);
    assert_eq!(first_of(&["--range", "0x411000-0x420000"]), ["0x411000", "0x420000"]);
    assert_eq!(first_of(&["--has", "0x411fff"]), ["0x410000"]);
}

#[test]
fn a_shared_page_has_all_its_addresses() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let image = sandbox.path().join("guest.elf").display().to_string();
    let document = run(&["rmap", &image, "0xa123", "--json"]).json();

    let leading = document["led_by"].as_array().expect("a list");
    let addresses: Vec<_> = leading.iter().map(|entry| entry["address"].clone()).collect();
    assert_eq!(addresses, ["0x400123", "0x8000400123", "0xffffffff81201123"]);
    // The root is a page of nobody, and a table of nobody.
    let root = run(&["rmap", &image, "0x1000", "--json"]).json();
    assert_eq!((&root["mappings"], &root["in_image"]), (&json!(0), &json!(true)));
}

#[test]
fn two_moments_and_two_address_spaces_are_compared() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let [guest, later] = ["guest.elf", "later.elf"].map(|name| sandbox.path().join(name));
    let [guest, later] = [guest, later].map(|image| image.display().to_string());

    let same = run(&["diff", &guest, &guest, "--flags"]);
    assert_eq!(same.code, Some(0), "{}", same.stdout);
    let moments = run(&["diff", &guest, &later, "--json"]);
    assert_eq!(moments.code, Some(1));
    assert_eq!(moments.json()["count"], 6);
    // With another root, what the PML4E at 0x1008 points to is mapped from address 0 on.
    let spaces = run(&["diff", &guest, &guest, "--cr3-b", "0x8000", "--json"]);
    assert_eq!(spaces.code, Some(1));
}

#[test]
fn what_was_planted_is_found_and_linux_is_clean() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let image = sandbox.path().join("guest.elf").display().to_string();
    let planted = run(&["audit", &image, "--json"]);
    assert_eq!(planted.code, Some(1));
    let document = planted.json();
    let checks = document["checks"].as_array().expect("a list").iter();
    let found: Vec<_> = checks.filter(|check| check["count"] != 0).collect();
    let names: Vec<_> = found.iter().map(|check| check["check"].clone()).collect();
    assert_eq!(names, ["wx", "reserved-bit", "table-outside-image"]);

    for name in ["4level", "la57", "pti"] {
        let Some(image) = of_linux(&format!("{name}.elf")) else { return };
        let output = run(&["audit", &image.display().to_string()]);
        assert_eq!(output.code, Some(0), "{name}: {}", output.stdout);
    }
}

/// All 512 entries of the root point to it.
#[test]
fn a_bomb_of_tables_ends_quickly() {
    let sandbox = Sandbox::new();
    let mut memory = SmallMemory::new(0x2000);
    for index in 0..512 {
        memory.entry(0x1000 + 8 * index, 0x1067);
    }
    let image = sandbox.path().join("bomb.elf");
    write_dump(&image, &memory);

    let document = maps(&image, &["--json"]).json();
    let totals = &document["totals"];
    assert_eq!(totals["tables"], 8192 + 3);
    assert!(totals["repeated"].as_u64() > Some(1000), "{totals}");
    let few = maps(&image, &["--repeats", "0"]);
    assert!(few.stdout.contains("tables that were read before"), "{}", few.stdout);
}

#[test]
fn what_cannot_be_read_is_one_line_with_the_file_and_the_place() {
    let sandbox = Sandbox::new();
    let dump = elf(true, &[cpu_64(0x1000)], &[(0, &[0; 0x2000])]);
    let cut = write_file(sandbox.path(), "cut.elf", &dump[..dump.len() - 1]);
    let good = write_file(sandbox.path(), "good.elf", &dump);
    let text = write_file(sandbox.path(), "text", b"no image");
    let zlib = kdump(true, &[], &[(0, &small_guest().0)], PageCompression::Zlib);
    let short = write_file(sandbox.path(), "short.kdump", &zlib[..zlib.len() - 1]);
    let stream = write_file(sandbox.path(), "stream", b"QEVM\0\0\0\x03");
    let bits32 = ["--cr0", "0x80000011", "--cr4", "0", "--efer", "0"];

    let path = |file: &Path| file.display().to_string();
    for (arguments, words) in [
        (vec!["maps", "missing.elf"], "missing.elf: opening it: No such file"),
        (vec!["maps", &path(&cut)], "program header 1: its 0x2000 bytes at 0x27c end beyond"),
        (vec!["maps", &path(&text)], "its first bytes are of no format that is known here"),
        (
            vec!["maps", &path(&short)],
            "the page descriptor at 0x40c0: the file ends before the bytes",
        ),
        (vec!["maps", &path(&stream)], "load it into QEMU, and use `dump-guest-memory`"),
        (
            vec!["maps", &path(&text), "--format", "avml"],
            "its blocks: the file ends before it does",
        ),
        (vec!["maps", &path(&text), "--format", "raw"], "say where the root table is (--cr3)"),
        (
            vec!["maps", &path(&good), "--check", &format!("info-tlb:{}", path(&text))],
            "text: line 1: expected a line of `info tlb`",
        ),
        (vec!["maps", &path(&text), "--ram", "0:9@0"], "ends beyond the 0x8 bytes of the file"),
        (
            vec!["walk", &path(&text), "0x100000000", "--format", "raw", "--cr3", "0"],
            "expected an address of 32 bits",
        ),
    ] {
        let arguments = match arguments[0] {
            "walk" => [&arguments[..], &bits32].concat(),
            _ => arguments,
        };
        let output = run(&arguments);
        assert_eq!(output.code, Some(2), "{arguments:?}: {}", output.stderr);
        assert!(output.only_line_of_stderr().contains(words), "{arguments:?}: {}", output.stderr);
        assert_eq!(output.stdout, "");
    }
}

/// Two entries of the root lead to one table. It and the two below it are read again only if they may be.
#[test]
fn rmap_says_which_tables_it_left_out() {
    let mut memory = vec![0; 0x5000];
    for (at, value) in [
        (0x1000, 0x2007_u64),
        (0x1008, 0x2007),
        (0x2000, 0x3007),
        (0x3000, 0x4007),
        (0x4000, 0x6007),
    ] {
        memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path().join("two.raw"), memory).expect("the sandbox has room");

    let rmap = |repeats| {
        let image = ["rmap", "two.raw", "0x6000", "--ram", "0:0x5000@0", "--cr3", "0x1000"];
        sandbox.run(&[&image[..], &["--repeats", repeats]].concat()).expect_code(0).stdout
    };
    let (left_out, whole) = (rmap("0"), rmap("3"));
    assert!(left_out.contains("1 mapping;"), "{left_out}");
    assert!(left_out.contains("Tables met again, and not looked through (--repeats): 1."));
    assert!(whole.contains("2 mappings;") && !whole.contains("met again"), "{whole}");
}
