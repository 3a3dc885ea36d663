//! Images that boot by themselves, and their logs: they show what a host would have seen.

use crosswalk::campaign::known::KnownSource;
use crosswalk::campaign::{self, CampaignPlan, CampaignProgress, Fleet, Observer};
use crosswalk::finding::known::{self, Kind};
use crosswalk::image::{HeadLine, ImagePlan};
use crosswalk::verdict::Verdict;
use crosswalk::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::observation::Provenance;
use crosswalk_machine::image::Image;
use crosswalk_machine::jail::Jail;
use crosswalk_machine::log::{LogEnd, LogMachine, LogParts, LogProcessor, LogReader};
use crosswalk_machine::qemu::{QemuMachine, QemuProcessor};
use crosswalk_machine::{BatchCommand, Machine, MachineError, Parts, RunLog};
use crosswalk_test_support as support;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use support::boot::BootOptions;
use support::report::{list, text};
use support::{Sandbox, count, require_qemu};

/// Enough cases for every mode, compatibility mode, and sequences in all of them.
const CASES: &str = "24000";
/// The environment variable with another number.
const CASES_VARIABLE: &str = "CROSSWALK_IMAGE_CASES";

/// The log of an image made for QEMU's processor, with cases in all five modes.
fn boot_for_qemu(sandbox: &Sandbox, arguments: &[&str]) -> std::path::PathBuf {
    sandbox.image_and_boot("probe", &["--mode", "unpaged", "--cases", "1", "--seed", "1"]);
    sandbox.image_and_boot("full", &[&["--like", "probe.log", "--seed", "7"], arguments].concat())
}

/// QEMU as every other machine, but with the capabilities of an image.
struct Restricted {
    machine: QemuMachine,
    parts: Parts,
}

impl Restricted {
    fn open(plan: &ImagePlan) -> Self {
        let image = Image::built_in().expect("the image is built in");
        let machine = QemuMachine::open(image, &QemuProcessor::default(), &Jail::none());
        let machine = machine.expect("QEMU works");

        let Parts { identity, provenance, memory, image, interrupter, jail, .. } = machine.parts();
        let parts = Parts {
            identity: identity.clone(),
            capabilities: plan.capabilities(),
            provenance: *provenance,
            memory: memory.clone(),
            image: image.clone(),
            interrupter: interrupter.clone(),
            jail: jail.clone(),
        };
        Self { machine, parts }
    }
}

impl Machine for Restricted {
    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn start(&mut self, command: BatchCommand) {
        self.machine.start(command);
    }

    fn finish(&mut self) -> Result<RunLog, MachineError> {
        self.machine.finish()
    }

    fn serve_request(&mut self) -> Result<(), MachineError> {
        self.machine.serve_request()
    }
}

/// Every case in order with its verdict.
#[derive(Default)]
struct Verdicts(Vec<(Case, String)>);

impl Observer for Verdicts {
    fn follows_cases(&self) -> bool {
        true
    }

    fn judged(&mut self, case: &Case, verdict: &Verdict) {
        // Who decided is the one thing that a log does not tell.
        let verdict = format!("{verdict:?}").replace("provenance: Emulator", "provenance: Tcg");
        self.0.push((case.clone(), verdict));
    }

    fn batch_done(&mut self, _progress: &CampaignProgress) {}
}

/// The verdicts about a machine, and the findings with their counts.
fn campaign(machine: &mut dyn Machine, plan: &ImagePlan) -> (Verdicts, BTreeMap<String, u64>) {
    let mut identity = machine.identity().clone();
    identity.kind = "qemu".into();
    identity.flavour = "tcg".into();
    let known = KnownSource::Shipped.load(WalkerSpec::Reference, &identity).expect("it is shipped");
    let campaign_plan = CampaignPlan {
        schedule: plan.schedule().expect("random cases"),
        time: None,
        walker: WalkerSpec::Reference,
        known,
    };

    let mut progress = CampaignProgress::start(&campaign_plan, machine.capabilities());
    let mut verdicts = Verdicts::default();
    let stop = AtomicBool::new(false);
    campaign::run(&mut Fleet::alone(machine), &campaign_plan, &mut progress, &stop, &mut verdicts)
        .expect("every batch runs");

    let findings = progress.findings.finish().into_iter();
    (verdicts, findings.map(|finding| (finding.id, finding.count)).collect())
}

/// The machine of a log, and what its image carries.
fn open(log: &Path) -> (LogMachine, ImagePlan, HeadLine) {
    let file: Box<dyn BufRead + Send> = Box::new(BufReader::new(File::open(log).expect("a log")));
    let mut reader = LogReader::new(file);
    let head = HeadLine::read(&reader.head().expect("a head")).expect("a head of ours");
    let plan = head.plan().expect("a plan");
    let processor = LogProcessor::read(&mut reader).expect("a control page");
    assert_eq!(processor.hypervisor().as_deref(), Some("tcg"));

    let made_for = plan.capabilities();
    let profile = processor.profile().emulated_by_tcg();
    assert_eq!(profile, made_for.profile, "the image was made for this processor");
    let parts = LogParts {
        identity: crosswalk_machine::Identity {
            kind: "image".into(),
            flavour: "tcg".into(),
            beneath: "unknown".into(),
            cpu: processor.name(),
            host_kernel: "unknown".into(),
            version: None,
        },
        ran_on: made_for.clone(),
        made_for,
        provenance: Provenance::Emulator,
        left_out: plan.skipped.clone(),
    };
    (LogMachine::new(parts, reader).expect("a machine"), plan, head)
}

/// The verdicts on a log and on QEMU under this program, and the findings, each with its count.
fn compare_with_qemu(arguments: &[&str]) -> ([Verdicts; 2], [BTreeMap<String, u64>; 2]) {
    let cases = std::env::var(CASES_VARIABLE).unwrap_or_else(|_| CASES.into());
    let sandbox = Sandbox::new();
    let log = boot_for_qemu(&sandbox, &[&["--cases", &cases], arguments].concat());

    let (mut machine, plan, head) = open(&log);
    let (by_log, findings_by_log) = campaign(&mut machine, &plan);
    machine.finish_log(&head.tape).expect("the whole tape is the image's");
    assert_eq!(machine.end(), Some(LogEnd::Complete));
    assert_eq!(machine.batches(), head.batches);

    let (by_qemu, findings_by_qemu) = campaign(&mut Restricted::open(&plan), &plan);
    assert_eq!(by_log.0.len().to_string(), cases);
    assert_eq!(by_log.0.len(), by_qemu.0.len());
    ([by_log, by_qemu], [findings_by_log, findings_by_qemu])
}

/// Case by case: the same verdict as on QEMU under this program, with all differences and choices.
#[test]
fn an_image_on_qemu_shows_what_qemu_shows() {
    require_qemu!();
    let ([by_log, by_qemu], findings) = compare_with_qemu(&["--sequences", "off"]);
    for ((case, by_log), (same, by_qemu)) in by_log.0.iter().zip(&by_qemu.0) {
        assert_eq!(case, same);
        assert_eq!(by_log, by_qemu, "{case}");
    }

    // A log does not tell the version, so findings of other versions are looked for, too.
    let [findings_by_log, findings_by_qemu] = findings.map(|mut findings| {
        findings.retain(|_, count| *count > 0);
        findings
    });
    assert_eq!(findings_by_log, findings_by_qemu);
    for id in ["T1", "T2", "T5", "T6", "T8", "T11", "T15"] {
        assert!(findings_by_log.get(id).is_some_and(|count| *count > 0), "{id} does not occur");
    }
}

/// What QEMU has cached when a sequence goes on depends on the time, too: it makes its TLB larger and smaller. So a few
/// sequences differ from one run to the next, but not in whether the machine is right.
#[test]
fn sequences_of_an_image_on_qemu_agree_as_on_qemu() {
    require_qemu!();
    let ([by_log, by_qemu], findings) = compare_with_qemu(&["--sequences", "only"]);
    let mut others = 0;
    for ((case, by_log), (same, by_qemu)) in by_log.0.iter().zip(&by_qemu.0) {
        assert_eq!(case, same);
        others += usize::from(by_log != by_qemu);
    }
    assert!(others * 50 < by_log.0.len(), "{others} of {} sequences differ", by_log.0.len());

    let occur = findings.map(|findings| {
        let occurring = findings.into_iter().filter(|(_, count)| *count > 0);
        occurring.map(|(id, _)| id).collect::<Vec<_>>()
    });
    assert_eq!(occur[0], occur[1]);
}

#[test]
fn judge_reports_as_check_does() {
    require_qemu!();
    let sandbox = Sandbox::new();
    boot_for_qemu(&sandbox, &["--cases", "6000"]);

    let report = sandbox.run(&["judge", "full.log", "--json"]).expect_code(0).json();
    assert_eq!(report["machine"]["kind"], "image");
    assert_eq!(report["machine"]["flavour"], "tcg");
    assert_eq!(report["complete"], true);
    assert_eq!(report["seed"], "7");
    assert_eq!(count(&report["totals"], "cases"), 6000);
    for mode in list(&report["modes"]) {
        let observed = count(mode, "cases") - count(mode, "unsupported");
        assert_eq!(count(&mode["provenance"], "emulator"), observed, "{mode}");
    }

    // What is not forgiven, and nothing known of a machine with another name.
    sandbox.run(&["judge", "full.log"]).expect_code(0).expect_80_columns();
    sandbox.run(&["judge", "full.log", "--known", "none"]).expect_code(1);
    let other =
        sandbox.run(&["judge", "full.log", "--name", "elsewhere", "--json"]).expect_code(1).json();
    assert_eq!(other["machine"]["flavour"], "elsewhere");
}

/// Only the user says so, and the report says that.
#[test]
fn hardware_is_the_word_of_the_user() {
    require_qemu!();
    let sandbox = Sandbox::new();
    sandbox.image_and_boot("a", &["--mode", "unpaged", "--cases", "480", "--seed", "1"]);

    let said = sandbox.run(&["judge", "a.log", "--name", "my-pc", "--hardware", "--json"]).json();
    assert_eq!(said["machine"]["beneath"], "bare (the user says so)");
    let unpaged = &list(&said["modes"])[0];
    assert_eq!(count(&unpaged["provenance"], "processor"), 480);
    let words = sandbox.run(&["judge", "a.log", "--name", "my-pc", "--hardware"]).words_of_stdout();
    assert!(words.contains("that it was hardware is the word of the user"), "{words}");

    sandbox.run(&["judge", "a.log", "--hardware"]).expect_code(2);
}

/// A corpus from a log replays like any other.
#[test]
fn a_log_becomes_a_corpus() {
    require_qemu!();
    let sandbox = Sandbox::new();
    boot_for_qemu(&sandbox, &["--cases", "4000", "--mode", "32bit,4level"]);
    sandbox.run(&["judge", "full.log", "--record", "out.corpus"]).expect_code(0);

    let replayed = sandbox.run(&["replay", "out.corpus", "--json"]).expect_code(0).json();
    let [source] = list(&replayed["sources"]) else { panic!("{}", replayed["sources"]) };
    assert_eq!(source["machine"]["kind"], "image");
    assert_eq!(source["tried"], 4000);
    assert!(count(&replayed["totals"], "cases") > 50);
}

/// An image for a processor with everything, on one with less: what it lacks is skipped in the same boot.
#[test]
fn what_a_machine_lacks_is_skipped() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let log = sandbox.image_and_boot("a", &["--mode", "4level", "--cases", "4800", "--seed", "3"]);
    let printed = std::fs::read_to_string(log).expect("a log is text");
    // Bit 9 is PCID, which TCG does not have.
    assert!(printed.contains("\ncw-") && printed.contains("00000200\n"), "nothing was skipped");

    let output = sandbox.run(&["judge", "a.log", "--json"]).expect_code(0);
    assert!(output.stderr.contains("since the machine lacks PCID"), "{}", output.stderr);
    let report = output.json();
    let four_level = support::four_level(&report);
    let [run, not_run] = ["agreed", "unsupported"].map(|field| count(four_level, field));
    assert!(run > 0 && not_run > 0, "{four_level}");
}

/// The cases of a list are run again, and shown as `explain` shows them.
#[test]
fn reported_cases_run_again() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let report =
        support::run(&["check", "--machine", "qemu", "--cases", "2000", "--seed", "1", "--json"]);
    let report = report.json();
    let t1 = support::finding(&report, "T1")["smallest_case"].to_string();
    sandbox.file("case.json", &t1);

    sandbox.image_and_boot("case", &["--case", "case.json"]);
    let shown = sandbox.run(&["judge", "case.log"]).expect_code(0).words_of_stdout();
    assert!(shown.contains("verdict DIVERGE"), "{shown}");
    sandbox.run(&["judge", "case.log", "--known", "none"]).expect_code(1);
    let shown = sandbox.run(&["judge", "case.log", "--json"]).json();
    assert_eq!(text(&list(&shown["cases"])[0]["verdict"]), "diverge");
}

/// A log that ends in the batch of a case is the finding that says so, of the machine that has it.
#[test]
fn a_case_that_is_known_to_be_fatal_is_judged() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let shipped = known::all_shipped().expect("the files can be read");
    let (_, of_v86) = shipped.into_iter().find(|(name, _)| *name == "v86").expect("a file");
    let fatal = of_v86.into_iter().find(|known| known.kind == Kind::Fatal).expect("V6");
    sandbox.file("case.json", fatal.case.expect("a case"));
    let log = sandbox.image_and_boot("case", &["--case", "case.json"]);
    let whole = std::fs::read_to_string(log).expect("a log is text");
    let v86 = ["judge", "case.log", "--name", "v86", "--name-version", "0.5.462"];
    let agrees = sandbox.run(&v86).expect_code(0).words_of_stdout();
    assert!(agrees.contains("verdict agree"), "QEMU comes back: {agrees}");

    let batch = whole.find("cw@00000001").expect("a batch");
    sandbox.file("case.log", &whole[..batch + 12]);
    let shown = sandbox.run(&v86).expect_code(0).words_of_stdout();
    assert!(
        shown.contains("did not come back from it (V6") && shown.contains("DIVERGE"),
        "{shown}"
    );
    let document = sandbox.run(&[&v86[..], &["--json"]].concat()).expect_code(0).json();
    assert_eq!(text(&list(&document["cases"])[0]["verdict"]), "diverge");

    for others in [&[&v86[..], &["--known", "none"]].concat()[..], &["judge", "case.log"]] {
        let error = sandbox.run(others).expect_code(3).stderr;
        assert!(error.contains("the log ends during batch 1 of 1"), "{others:?}: {error}");
    }
}

/// Each is told in one sentence with the line, and none is judged.
#[test]
fn damaged_logs_are_told_apart() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let log =
        sandbox.image_and_boot("a", &["--mode", "unpaged,32bit", "--cases", "3000", "--seed", "5"]);
    let whole = std::fs::read_to_string(log).expect("a log is text");
    let judge = |text: &str| {
        sandbox.file("b.log", text);
        sandbox.run(&["judge", "b.log", "--known", "none"])
    };

    // Among other text, with other line ends.
    let mixed = format!("SeaBIOS\n{}", whole.replace('\n', "\r\n").replacen("cw@", "iPXE cw@", 3));
    assert_eq!(judge(&mixed).code, judge(&whole).code);

    let fifth = whole.find("cw@00000005").expect("a fifth batch");
    let cut = judge(&whole[..fifth + 500]);
    assert_eq!(cut.code, Some(1), "what is there is judged: {}", cut.stderr);
    let words = cut.only_line_of_stderr();
    assert!(words.contains("the log ends during batch 5 of"), "{words}");
    assert!(words.contains("--skip 5"), "{words}");

    let third = whole.find("cw@00000003").expect("a third batch");
    let started_again = judge(&format!("{}{whole}", &whole[..third + 12]));
    let words = started_again.only_line_of_stderr();
    assert!(words.contains("the machine started again during batch 3"), "{words}");

    let line = whole[..third].lines().count() + 2;
    let (before, after) = whole.split_at(third + 12);
    let altered = format!("{before}cw:0{}", &after[4..]);
    let (head, rest) = whole.split_once('\n').expect("lines");
    let second = rest.find("cw@00000001").expect("batch 1");
    let without_one = format!(
        "{head}\n{}{}",
        &rest[..second],
        &rest[rest.find("cw@00000002").expect("batch 2")..]
    );
    let bad_digest = {
        let end = whole.find("cw=00000001").expect("an end") + 11 + 16;
        format!("{}00000000{}", &whole[..end], &whole[end + 8..])
    };
    for (text, problem) in [
        (altered.as_str(), "batch 3 is damaged: expected the checksum"),
        (&without_one, "expected batch 1, found batch 2: lines are missing"),
        (&whole.replacen("\"seed\":\"5\"", "\"seed\":\"6\"", 1), "line 1: the head is damaged"),
        (&bad_digest, "the log is of another image or version"),
        (rest, "line 1: the start of the log is missing"),
        ("nothing\n", "this is not a log of an image"),
        ("", "this is not a log of an image"),
    ] {
        let output = judge(text).expect_code(2);
        let words = output.only_line_of_stderr();
        assert!(words.starts_with("crosswalk: b.log, line ") && words.contains(problem), "{words}");
    }
    assert!(judge(&altered).stderr.contains(&format!("line {}", after_end(&altered, line))));
}

/// The line on which the block ends that a line is part of.
fn after_end(text: &str, line: usize) -> usize {
    let end = text.lines().skip(line - 1).position(|line| line.starts_with("cw="));
    line + end.expect("the block ends")
}

/// A batch that a machine does not survive is left out, and so are kinds of cases.
#[test]
fn batches_and_kinds_are_left_out() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let arguments = [
        "--mode",
        "32bit",
        "--cases",
        "2400",
        "--seed",
        "5",
        "--skip",
        "2",
        "--leave-out",
        "fetch,cr3-bits",
    ];
    let log = sandbox.image_and_boot("a", &arguments);
    let printed = std::fs::read_to_string(log).expect("a log is text");
    assert!(printed.contains("cw@00000001") && !printed.contains("cw@00000002"));

    let report = sandbox.run(&["judge", "a.log", "--json"]).expect_code(0).json();
    let bits32 = support::mode(&report, "32bit");
    assert!(count(bits32, "unsupported") >= 480, "{bits32}");
    let accesses = &bits32["accesses"];
    assert!(count(accesses, "read") > 0);
    let reasons: Vec<_> =
        list(&report["findings"]).iter().map(|finding| text(&finding["title"])).collect();
    assert!(reasons.contains(&"the image leaves it out"), "{reasons:?}");
}

/// Processors without long mode: the player in 32-bit code shows what the one in 64-bit code shows on a processor that
/// is the same but for that.
#[test]
fn an_image_plays_without_long_mode() {
    require_qemu!();
    let sandbox = Sandbox::new();
    sandbox.image_and_boot_on(
        "pentium3",
        "probe",
        &["--mode", "unpaged", "--cases", "1", "--seed", "1"],
    );
    let arguments =
        ["--like", "probe.log", "--mode", "unpaged,32bit,pae", "--cases", "12000", "--seed", "7"];
    let log = sandbox.image_and_boot_on("pentium3", "a", &arguments);
    let printed = std::fs::read_to_string(log).expect("a log is text");
    assert!(!printed.contains("\ncw-"), "nothing is skipped");
    let by_32 = sandbox.run(&["judge", "a.log", "--json"]).expect_code(0).json();

    // With as many address bits, so that as much is reserved.
    let same = ["-kernel", "a.elf"];
    let options =
        BootOptions { cpu: "pentium3,+lm,+nx,+syscall,phys-bits=36", ..BootOptions::kernel(&same) };
    sandbox.boot(&options, "b.log");
    let by_64 = sandbox.run(&["judge", "b.log", "--json"]).expect_code(0).json();
    for mode in ["unpaged", "32bit", "pae"] {
        let [by_32, by_64] = [&by_32, &by_64].map(|report| support::mode(report, mode));
        assert!(count(by_32, "sequences") > 0 || mode == "unpaged");
        for field in ["cases", "unsupported"] {
            assert_eq!(count(by_32, field), count(by_64, field), "{mode} {field}");
        }
        // What QEMU has cached in a sequence depends on the time, too.
        let distance = count(by_32, "agreed").abs_diff(count(by_64, "agreed"));
        assert!(distance * 100 < count(by_32, "cases"), "{mode}: {by_32} {by_64}");
    }
}

/// An image uses memory up to 0x7c000000: the frames of the last lane are in the 2 MiB before it.
#[test]
fn a_machine_with_too_little_memory_says_where() {
    require_qemu!();
    let sandbox = Sandbox::new();
    sandbox.run(&["image", "a.elf", "--cases", "100", "--seed", "1"]).expect_code(0);
    let image = ["-kernel", "a.elf"];
    for cpu in ["max", "pentium3"] {
        let options = BootOptions { cpu, memory: "1536", ..BootOptions::kernel(&image) };
        sandbox.boot(&options, "a.log");

        let output = sandbox.run(&["judge", "a.log"]).expect_code(3);
        let words = output.only_line_of_stderr();
        // 1.5 GiB; the first lane there is number 256.
        assert!(words.contains("the machine has no memory at 0x60"), "{words}");
        assert!(words.contains("images need 1,984 MiB"), "{words}");
    }
}
