//! Every behaviour of the hostile guest, on KVM and on QEMU: the right result, in time, with nothing left
//! behind and nothing that a terminal obeys.

#[path = "hostile/table.rs"]
mod table;

use crosswalk_test_support as support;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::hostile::HostileImage;
use support::{ProgramOutput, Sandbox, require_kvm, require_qemu};
use table::{ENDS, GROUPS, Hostile, Right};

/// Time limit for one run, on a busy machine. A guest that halts has 30 s.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// Number of runs at a time, more than there are processors: a guest that halts only waits.
const RUNS_AT_A_TIME: usize = 6;

/// Runs the hostile guest, and returns what is wrong with the result.
fn run(
    image: &HostileImage,
    machine: &str,
    behaviour: &Hostile,
    right: Right,
) -> Result<(), String> {
    let sandbox = Sandbox::new();
    sandbox.file("guest", image.with(behaviour.name));
    let options = ["--mode", "4level", "--cases", "700", "--seed", "1", "--guest-image", "guest"];
    let start = Instant::now();
    let output = sandbox.run(&[&["check", "--machine", machine], &options[..]].concat());
    let took = start.elapsed();

    check_result(&output, right)?;
    if took > TIME_LIMIT {
        return Err(format!("took {took:?}"));
    }
    let is_obeyed = |letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}';
    if output.stdout.contains(is_obeyed) || output.stderr.contains(is_obeyed) {
        return Err(format!("control characters in {output:?}"));
    }
    if let left @ [_, ..] = &sandbox.processes()[..] {
        return Err(format!("left behind {left:?}"));
    }
    let saved = |name: &String| name.starts_with("crosswalk-case-") && output.stderr.contains(name);
    match sandbox.files().iter().find(|name| *name != "guest" && !saved(name)) {
        Some(other) => Err(format!("wrote the file {other}")),
        None => Ok(()),
    }
}

fn check_result(output: &ProgramOutput, right: Right) -> Result<(), String> {
    const AGREES: &str = "The machine and the model agree";
    const DISAGREES: &str = "The machine and the model disagree";
    let says = output.words_of_stdout();
    let (code, is_right) = match right {
        Right::Agrees => (0, says.contains(AGREES)),
        Right::MayDisagree if output.code == Some(0) => (0, says.contains(AGREES)),
        Right::Disagrees | Right::MayDisagree => (1, says.contains(DISAGREES)),
        Right::ComparesNothing => (3, says.contains("Nothing was compared")),
        Right::Dies(phrases) => {
            let is_told = phrases.iter().any(|phrase| output.stderr.contains(phrase));
            (3, is_told && output.stderr.lines().count() == 1)
        }
        Right::Ends => (output.code.unwrap_or(-1), matches!(output.code, Some(1 | 3))),
    };

    let is_contradicted = code != 0 && says.contains(AGREES);
    if output.code == Some(code) && is_right && !is_contradicted {
        Ok(())
    } else {
        Err(format!("is to be {right:?}, and is {output:?}"))
    }
}

/// Runs every behaviour on a machine.
fn assert_every_result(machine: &str, right: impl Fn(&Hostile) -> Right + Sync) {
    let image = HostileImage::read();
    let all: Vec<&Hostile> = GROUPS.iter().flat_map(|(_, group)| group.iter()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some(behaviour) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(why) = run(&image, machine, behaviour, right(behaviour)) {
                wrong.push(format!("{} on {machine} {why}", behaviour.name));
            }
        }
        wrong
    };

    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..RUNS_AT_A_TIME).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_behaviour_on_kvm() {
    require_kvm!();
    assert_every_result("kvm", |behaviour| behaviour.on_kvm);
}

#[test]
fn every_behaviour_on_qemu() {
    require_qemu!();
    assert_every_result("qemu", |behaviour| behaviour.on_qemu);
}

/// The image has no behaviour without a right result.
#[test]
fn the_table_has_every_behaviour_of_the_image() {
    let image = HostileImage::read();
    let in_image: BTreeSet<&str> = image.behaviours().collect();
    let rows = GROUPS.iter().flat_map(|(_, group)| group.iter());
    let in_table: BTreeSet<&str> = rows.clone().map(|row| row.name).collect();
    assert_eq!(in_image, in_table);
    assert_eq!(rows.count(), in_table.len(), "a behaviour is there twice");
    assert!(in_table.len() >= 60, "{}", in_table.len());
}

/// A guest that makes its KVM give up on every access, after a while each, does not keep the run.
#[test]
fn a_guest_that_gives_up_slowly_does_not_outlast_the_run() {
    require_kvm!();
    let image = HostileImage::read();
    let sandbox = Sandbox::new();
    sandbox.file("guest", image.with("gives_up_slowly"));
    let start = Instant::now();
    let options = ["--machine", "kvm", "--mode", "4level", "--for", "3s", "--guest-image", "guest"];
    let output = sandbox.run(&[&["check"], &options[..]].concat());
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    assert!(matches!(output.code, Some(1 | 3)), "{output:?}");
    assert_eq!(sandbox.processes(), [""; 0], "processes are left behind");
}

/// The guide has this table.
#[test]
fn the_guide_has_the_table() {
    const BEGIN: &str = "<!-- hostile guests -->\n";
    const END: &str = "<!-- end -->\n";
    let path = support::repository().join("docs/guide/src/hostile.md");
    let page = fs::read_to_string(&path).expect("the page can be read");
    let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
    let (_, after) = rest.split_once(END).expect("where the table ends");
    let blessed = format!("{before}{BEGIN}{}\n{END}{after}", guide_table());

    if page != blessed && std::env::var_os("CROSSWALK_BLESS").is_some() {
        fs::write(&path, &blessed).expect("the page can be written");
    }
    assert!(page == blessed, "the table has changed: CROSSWALK_BLESS=1 writes it into hostile.md");
}

fn guide_table() -> String {
    let mut text = String::new();
    for (heading, group) in GROUPS {
        writeln!(text, "\n### {heading}\n\n| The guest | on KVM | on QEMU |\n|---|---|---|")
            .unwrap();
        for Hostile { does, on_kvm, on_qemu, .. } in group {
            writeln!(text, "| {does} | {} | {} |", words_of(*on_kvm), words_of(*on_qemu)).unwrap();
        }
    }
    text
}

fn words_of(right: Right) -> String {
    match right {
        Right::Agrees => "0: no effect".into(),
        Right::Disagrees => "1: found".into(),
        Right::MayDisagree => "0, or 1 and found".into(),
        Right::ComparesNothing => "3: \"Nothing was compared\"".into(),
        Right::Dies(phrases) if phrases == ENDS => "3: ends".into(),
        Right::Dies(phrases) => format!("3: \"{}\"", phrases.join("\" or \"")),
        Right::Ends => "1 or 3, in time".into(),
    }
}
