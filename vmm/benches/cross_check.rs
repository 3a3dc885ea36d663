//! What judging costs: the cross-check, and a bare loop in which the guest makes the same edits and
//! accesses and nobody looks at them, in turn on each machine of this host.
//!
//!     cargo bench --package crosswalk-cli --bench cross_check [-- --rounds N --cases N --json]

#![allow(missing_docs, reason = "a program")]

use crosswalk::campaign::known::KnownSource;
use crosswalk::campaign::{self, CampaignPlan, CampaignProgress, Fleet};
use crosswalk::generate::{Generator, Schedule, Shard};
use crosswalk::walker::WalkerSpec;
use crosswalk_machine::batch::Encoded;
use crosswalk_machine::image::Image;
use crosswalk_machine::jail::Jail;
use crosswalk_machine::kvm::KvmMachine;
use crosswalk_machine::qemu::{QemuMachine, QemuProcessor};
use crosswalk_machine::{Machine, MachineError, Stopwatch};
use serde_json::json;
use std::error::Error;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const SEED: u64 = 1;

/// Opens a machine.
type Open = fn() -> Result<Box<dyn Machine>, MachineError>;

const MACHINES: [(&str, Open); 2] = [("kvm", open_kvm), ("qemu", open_qemu)];

fn open_kvm() -> Result<Box<dyn Machine>, MachineError> {
    Ok(Box::new(KvmMachine::open(Image::built_in()?, &Jail::none())?))
}

fn open_qemu() -> Result<Box<dyn Machine>, MachineError> {
    let processor = QemuProcessor::default();
    Ok(Box::new(QemuMachine::open(Image::built_in()?, &processor, &Jail::none())?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = option("--rounds").unwrap_or(7);
    let cases = option("--cases").unwrap_or(50_000);

    let mut documents = Vec::new();
    for (name, open) in MACHINES {
        let machine = match open() {
            Ok(machine) => machine,
            Err(error) => {
                eprintln!("skipped: {name}: {error}");
                continue;
            }
        };
        let measured = measure(machine, rounds, cases)?;
        eprintln!("{name}: {}", measured.sentence());
        documents.push(measured.document(name));
    }

    if std::env::args().any(|argument| argument == "--json") {
        println!("{}", serde_json::to_string_pretty(&documents)?);
    }
    Ok(())
}

/// The number after an option.
fn option<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::args().skip_while(|argument| argument != name).nth(1)?.parse().ok()
}

/// The phases of a run by name, each in microseconds a case.
type Phases = Vec<(&'static str, f64)>;

/// What a case takes, in microseconds: on the clock on the wall, and of processors.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

impl Cost {
    fn of(cases: u64, wall: Duration, cpu: Duration) -> Self {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / cases as f64;
        Self { wall: each(wall), cpu: each(cpu) }
    }
}

/// The medians of all rounds.
struct Measured {
    bare: Cost,
    checked: Cost,
    /// The phases of the cross-check, in microseconds a case.
    phases: Phases,
}

impl Measured {
    fn sentence(&self) -> String {
        let Self { bare, checked, phases } = self;
        let phases: Vec<String> =
            phases.iter().map(|(name, time)| format!("{name} {time:.2}")).collect();
        format!(
            "a case takes {:.2} us bare, {:.2} us cross-checked, {:.2} of the speed; CPU time {:.2} \
             and {:.2} us: {}",
            bare.wall,
            checked.wall,
            bare.wall / checked.wall,
            bare.cpu,
            checked.cpu,
            phases.join(", ")
        )
    }

    fn document(&self, machine: &str) -> serde_json::Value {
        let cost = |cost: Cost| json!({ "wall_us": cost.wall, "cpu_us": cost.cpu });
        json!({
            "machine": machine,
            "bare": cost(self.bare),
            "cross_check": cost(self.checked),
            "ratio": self.bare.wall / self.checked.wall,
            "cpu_ratio": self.bare.cpu / self.checked.cpu,
            "phases_us": self.phases.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }
}

/// Runs both in each of the rounds.
fn measure(
    mut machine: Box<dyn Machine>,
    rounds: usize,
    cases: u64,
) -> Result<Measured, Box<dyn Error>> {
    let machine = machine.as_mut();
    let plan = plan(machine, cases)?;
    let batches = encode_all(machine, &plan.schedule);

    let mut bare = Vec::new();
    let mut checked = Vec::new();
    let mut phases: Vec<(&str, Vec<f64>)> = Vec::new();
    for round in 0..=rounds {
        let cost_bare = run_bare(machine, &batches)?;
        let (cost_checked, times) = run_checked(machine, &plan)?;
        // The first round warms up.
        if round == 0 {
            phases = times.into_iter().map(|(name, _)| (name, Vec::new())).collect();
            continue;
        }

        bare.push(cost_bare);
        checked.push(cost_checked);
        for ((_, all), (_, time)) in phases.iter_mut().zip(times) {
            all.push(time);
        }
    }

    Ok(Measured {
        bare: median_cost(&bare),
        checked: median_cost(&checked),
        phases: phases.into_iter().map(|(name, times)| (name, median(times))).collect(),
    })
}

/// A run of random cases in all modes that the machine offers.
fn plan(machine: &dyn Machine, cases: u64) -> Result<CampaignPlan, Box<dyn Error>> {
    let capabilities = machine.capabilities();
    let offered = capabilities.modes.iter().filter(|(_, offer)| offer.is_ok());
    let modes: Vec<_> = offered.map(|(mode, _)| *mode).collect();
    let generator = Generator::Random(SEED);

    Ok(CampaignPlan {
        schedule: Schedule::new(&[generator], &modes, capabilities, Shard::WHOLE, Some(cases)),
        time: None,
        walker: WalkerSpec::Reference,
        known: KnownSource::default().load(WalkerSpec::Reference, machine.identity())?,
    })
}

/// All batches of a run, ready to be written.
fn encode_all(machine: &dyn Machine, schedule: &Schedule) -> Vec<Encoded> {
    let turns = std::iter::successors(schedule.turn(0), |turn| schedule.turn(turn.number + 1));
    let encode = |batch| Encoded::new(batch, machine.image(), machine.capabilities());
    turns.map(|turn| encode(schedule.batch(&turn))).collect()
}

/// Runs the batches one after another. Where the machine gives up, a batch ends: it has a single case.
/// Between two batches the data frames are restored, since they hold code, but that does not count.
fn run_bare(machine: &mut dyn Machine, batches: &[Encoded]) -> Result<Cost, MachineError> {
    let memory = machine.memory().clone();
    let mut wall = Duration::ZERO;
    let mut cpu = Duration::ZERO;
    let mut cases = 0;

    for encoded in batches {
        let start = Instant::now();
        let mut stopwatch = Stopwatch::start();
        let command = encoded.write(&memory);
        cpu += stopwatch.lap();
        let time = machine.run(command)?.time;
        cpu += time.guest + time.exit;
        wall += start.elapsed();

        encoded.restore(&memory);
        cases += encoded.batch.cases.len() as u64;
    }

    Ok(Cost::of(cases, wall, cpu))
}

/// Runs the same cases as a campaign. Returns what each phase took as well.
fn run_checked(
    machine: &mut dyn Machine,
    plan: &CampaignPlan,
) -> Result<(Cost, Phases), MachineError> {
    let mut progress = CampaignProgress::start(plan, machine.capabilities());
    let stop = AtomicBool::new(false);

    let start = Instant::now();
    let mut fleet = Fleet::alone(machine);
    campaign::run(&mut fleet, plan, &mut progress, &stop, &mut |_: &CampaignProgress| {})?;
    let wall = start.elapsed();

    let cases = progress.tally.cases();
    let phases = progress.breakdown.named();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / cases as f64;
    let cpu = phases.iter().map(|(_, time)| *time).sum();
    let phases = phases.map(|(name, time)| (name, each(time)));
    Ok((Cost::of(cases, wall, cpu), phases.to_vec()))
}

fn median_cost(costs: &[Cost]) -> Cost {
    Cost {
        wall: median(costs.iter().map(|cost| cost.wall).collect()),
        cpu: median(costs.iter().map(|cost| cost.cpu).collect()),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
