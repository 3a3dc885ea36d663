//! The log of an image: any text, and any changes of a batch whose lines and checksums are right. It is read and
//! judged without a panic, errors have a line and nothing that a terminal obeys, and what is read never depends on
//! more than the log.
//!
//! Input: after a byte that chooses, a log; or what a batch is said to have changed.

use crosswalk::campaign;
use crosswalk::campaign::sampler::{ScheduleRunner, TrialSource};
use crosswalk::image::{CasesOfImage, HeadLine, ImagePlan};
use crosswalk::verdict;
use crosswalk_case::Case;
use crosswalk_case::observation::Provenance;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::tape::{Checksum, FIRST_CHARACTER, LINE_BYTES};
use crosswalk_machine::batch::{Batch, Encoded, arena_of};
use crosswalk_machine::image::Image;
use crosswalk_machine::log::{LogItem, LogMachine, LogParts, LogProcessor, LogReader};
use crosswalk_machine::memory::GuestMemory;
use crosswalk_machine::tape::TapeEncoder;
use crosswalk_machine::{Identity, LeftOut, Machine, MachineError};
use mmu_core::{PagingMode, Profile, Reference, Ring};
use std::collections::BTreeSet;
use std::io::{BufRead, Cursor};
use std::sync::LazyLock;

/// The most batches of a log that are judged. Its head may promise any number.
const MAX_BATCHES: usize = 4;

/// Reads a log.
///
/// # Panics
/// When it is not read as it must be.
pub fn log(input: &[u8]) {
    match input.split_first() {
        Some((choice, changes)) if choice & 1 == 1 => apply(*choice, changes),
        Some((_, log)) => {
            read_items(log);
            judge(log);
        }
        None => {}
    }
}

/// Reads every item. There are no more than lines.
fn read_items(log: &[u8]) {
    let mut reader = LogReader::new(log);
    for _ in 0..=log.len() {
        match reader.next_item() {
            Ok(LogItem::End(end)) => {
                assert!(matches!(reader.next_item(), Ok(LogItem::End(again)) if again == end));
                return;
            }
            Ok(_) => {}
            Err(error) => {
                let text = error.to_string();
                assert!(!text.contains(char::is_control) && error.line > 0, "{error:?}");
                return;
            }
        }
    }
    panic!("the log does not end");
}

/// Judges the first batches of a log, if its head can be read.
fn judge(log: &[u8]) {
    let mut reader = reader(log.to_vec());
    let Ok(text) = reader.head() else { return };
    let Ok(head) = HeadLine::read(&text) else { return };
    let Ok(plan) = head.plan() else { return };
    let Ok(processor) = LogProcessor::read(&mut reader) else { return };
    let _ = (processor.name(), processor.hypervisor(), processor.implicit_accesses());

    let mut machine = machine(&plan, processor.profile(), reader);
    if let CasesOfImage::Listed(cases) = &plan.cases {
        for case in cases.iter().take(MAX_BATCHES) {
            let _ = campaign::run_one(&mut machine, case);
        }
    } else if let Some(schedule) = plan.schedule() {
        let mut runner = ScheduleRunner::new(schedule);
        for _ in 0..MAX_BATCHES {
            let Ok(trials) = runner.run(&mut machine, u64::MAX) else { return };
            for trial in &trials {
                let _ = verdict::judge(&Reference, &trial.case, &trial.attempt);
            }
        }
    }
}

fn reader(log: Vec<u8>) -> LogReader<Box<dyn BufRead + Send>> {
    let source: Box<dyn BufRead + Send> = Box::new(Cursor::new(log));
    LogReader::new(source)
}

fn machine(
    plan: &ImagePlan,
    profile: Profile,
    reader: LogReader<Box<dyn BufRead + Send>>,
) -> LogMachine {
    let made_for = plan.capabilities();
    let mut ran_on = made_for.clone();
    ran_on.profile = profile;
    let parts = LogParts {
        identity: Identity {
            kind: "image".into(),
            flavour: "unknown".into(),
            beneath: "unknown".into(),
            cpu: String::new(),
            host_kernel: "unknown".into(),
            version: None,
        },
        made_for,
        ran_on,
        provenance: Provenance::Unknown,
        left_out: plan.skipped.clone(),
    };
    LogMachine::new(parts, reader).expect("the host has memory")
}

/// A batch of one plain case in each mode, with the digest of its tape.
struct KnownBatch {
    plan: ImagePlan,
    case: Case,
    digest: u32,
}

static BATCHES: LazyLock<Vec<KnownBatch>> = LazyLock::new(|| {
    let image = Image::built_in().expect("the image is built in");
    let memory = GuestMemory::new().expect("the host has memory");
    let profile = Profile { physical_address_bits: 40, ..Profile::default() };

    let batch = |mode: PagingMode| {
        let case = Case::plain_in(mode, Arena::ALL[1], 3, Ring::Three, profile);
        let plan = ImagePlan {
            profile,
            left_out: LeftOut::empty(),
            skipped: BTreeSet::new(),
            cases: CasesOfImage::Listed(vec![case.clone()]),
        };
        let arena = arena_of(&case).expect("a plain case fits");
        let batch = Batch { arena, cases: vec![case.clone()] };
        let encoded = Encoded::new(batch, &image, &plan.capabilities());
        let mut encoder = TapeEncoder::new(profile, &image);
        let digest = encoder.encode(&encoded.write(&memory), &memory).header.digest;
        KnownBatch { plan, case, digest }
    };
    PagingMode::ALL.map(batch).into()
});

/// Applies changes to a batch of one case, and judges it.
fn apply(choice: u8, changes: &[u8]) {
    let KnownBatch { plan, case, digest } = &BATCHES[usize::from(choice >> 1) % BATCHES.len()];
    let mut text = String::from("cw@00000001\n");
    for line in changes.chunks(LINE_BYTES) {
        text += "cw:";
        for three in line.chunks(3) {
            let mut group = [0; 4];
            group[1..=three.len()].copy_from_slice(three);
            let group = u32::from_be_bytes(group);
            let character =
                |shift: u32| char::from(FIRST_CHARACTER + (group >> shift & 0x3f) as u8);
            text.extend([18, 12, 6, 0].map(character));
        }
        text.push('\n');
    }
    let Checksum(sum) = Checksum::of(changes);
    let end = format!("cw=00000001{:08x}{sum:08x}{digest:08x}\n", changes.len());
    text.push_str(&end);

    let mut machine = machine(plan, plan.profile, reader(text.into_bytes()));
    match campaign::run_one(&mut machine, case) {
        Ok(attempt) => drop(verdict::judge(&Reference, case, &attempt)),
        Err(MachineError::Log { line, problem }) => {
            assert!(line == machine.line() && !problem.contains(char::is_control), "{problem}");
        }
        // What no guest of ours writes.
        Err(MachineError::GuestFailed { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    assert!(!machine.interrupter().is_interrupted(), "the log has the batch");
}
