//! A test on a machine, and what was seen compared with what is allowed.

use crate::judgement::Judgement;
use crate::test::Litmus;
use crosswalk_machine::MachineError;
use crosswalk_machine::jail::Jail;
use crosswalk_machine::litmus::{
    LitmusKvm, LitmusPlan, MAX_LITMUS_ITERATIONS, OutcomeCounts, run_on_qemu, why_not,
};
use mmu_core::Features;
use mmu_core::litmus::LitmusTest;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The longest delay, in turns of a loop: several times as long as any test takes without one.
const LONGEST_DELAY_BITS: u32 = 15;

/// How long a processor may take for a part of an iteration.
const PATIENCE: Duration = Duration::from_secs(10);

/// A machine that runs tests.
pub trait LitmusMachine {
    /// Why it cannot run a test, if it cannot.
    fn why_not(&self, test: &LitmusTest) -> Option<String>;

    /// Runs a test once for each delay of the plan.
    ///
    /// # Errors
    /// If a processor hangs or ends, or the host fails.
    fn run(&self, test: &LitmusTest, plan: &LitmusPlan) -> Result<OutcomeCounts, MachineError>;
}

/// The KVM of this host.
#[derive(Debug)]
pub struct OnKvm {
    /// It, opened.
    pub kvm: LitmusKvm,
    /// What its processors have.
    pub features: Features,
    /// The jail of its vCPUs.
    pub jail: Jail,
}

/// Why a test cannot be run by this host, if it cannot: its processors must run at once.
fn needs_processors(test: &LitmusTest) -> Option<String> {
    let here = std::thread::available_parallelism().map_or(1, usize::from);
    let needed = test.programs.len();
    (needed > here)
        .then(|| format!("it needs {needed} processors at once, and this host offers {here}"))
}

impl LitmusMachine for OnKvm {
    fn why_not(&self, test: &LitmusTest) -> Option<String> {
        needs_processors(test).or_else(|| why_not(test, self.features))
    }

    fn run(&self, test: &LitmusTest, plan: &LitmusPlan) -> Result<OutcomeCounts, MachineError> {
        self.kvm.run(test, plan, &self.jail)
    }
}

/// A QEMU, with its most capable processor.
#[derive(Debug)]
pub struct OnQemu {
    /// Its name or path.
    pub program: PathBuf,
    /// What its processors have.
    pub features: Features,
    /// Its jail.
    pub jail: Jail,
}

impl LitmusMachine for OnQemu {
    fn why_not(&self, test: &LitmusTest) -> Option<String> {
        needs_processors(test).or_else(|| why_not(test, self.features))
    }

    fn run(&self, test: &LitmusTest, plan: &LitmusPlan) -> Result<OutcomeCounts, MachineError> {
        run_on_qemu(test, plan, &self.program, &self.jail)
    }
}

/// What a machine showed of a test.
#[derive(Clone, Debug, Default)]
pub struct SeenOutcomes {
    /// How often the test was run.
    pub runs: u64,
    /// The outcomes in words.
    pub outcomes: BTreeMap<String, Seen>,
}

/// How often an outcome was seen, and how it is seen again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How often.
    pub count: u64,
    /// The seed of the run in which it was seen first,
    pub seed: u64,
    /// and the processors' delays then, in turns of a loop.
    pub delays: Vec<u32>,
}

impl Litmus {
    /// Runs the test on a machine, each time with other delays, which the seed decides, and adds what is seen to what was found before. At most
    /// [`MAX_LITMUS_ITERATIONS`] times.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn run(
        &self,
        machine: &dyn LitmusMachine,
        seed: u64,
        runs: u32,
        found: &mut SeenOutcomes,
    ) -> Result<(), MachineError> {
        let plan = plan(self.model.programs.len(), seed, runs);
        let counts = machine.run(&self.model, &plan)?;

        for (outcome, counted) in counts {
            found.runs += counted.count;
            let known = found.outcomes.entry(self.observation.written(&outcome));
            let delays = plan.delays.iter().map(|delays| delays[counted.first as usize]);
            let first = || Seen { count: 0, seed, delays: delays.collect() };
            known.or_insert_with(first).count += counted.count;
        }
        Ok(())
    }
}

/// Delays of all lengths: as many between 16 and 31 turns as between 1,024 and 2,047.
fn plan(processors: usize, seed: u64, runs: u32) -> LitmusPlan {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut delay = || {
        let bits = rng.random_range(0..=LONGEST_DELAY_BITS);
        rng.random_range(0..1_u32 << bits)
    };
    let runs = runs.min(MAX_LITMUS_ITERATIONS);
    let delays = (0..processors).map(|_| (0..runs).map(|_| delay()).collect());
    LitmusPlan { delays: delays.collect(), patience: PATIENCE }
}

impl Judgement {
    /// The outcomes that were seen though no execution leads to them.
    pub fn forbidden<'s>(
        &'s self,
        seen: &'s SeenOutcomes,
    ) -> impl Iterator<Item = (&'s str, &'s Seen)> {
        let seen = seen.outcomes.iter();
        let forbidden = seen.filter(|(outcome, _)| !self.outcomes.contains_key(*outcome));
        forbidden.map(|(outcome, seen)| (outcome.as_str(), seen))
    }
}
