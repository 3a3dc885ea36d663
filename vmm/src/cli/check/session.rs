//! A run on a machine, from opening its journal to its report.

use super::CheckArguments;
use super::finished::FinishedRun;
use crate::campaign::journal::{
    Checkpoint, Journal, JournalError, RunLine, RunOptions, SmallestLine,
};
use crate::campaign::known::{KnownFindings, KnownSource};
use crate::campaign::predictor::Predictor;
use crate::campaign::series::Series;
use crate::campaign::{self, CampaignPlan, CampaignProgress, Fleet, Observer};
use crate::cli::cpu_time::cpu_seconds;
use crate::cli::failure::Failure;
use crate::cli::live_socket::LiveSocket;
use crate::cli::machine::OpenedMachine;
use crate::cli::modes::{offered, requested};
use crate::cli::output::print_beside_verdict;
use crate::cli::program::AskedProgram;
use crate::cli::progress::CampaignBar;
use crate::cli::stop_flag::{stop_flag, stop_flag_to_tidy_up};
use crate::cli::time::DEFAULT_TIME;
use crate::generate::{Generator, Schedule, SequenceUse, Shard};
use crate::report::{self, date};
use crate::verdict::Verdict;
use crate::walker::Walker;
use crosswalk_case::Case;
use crosswalk_guest::layout::MAX_LANES;
use crosswalk_machine::{Capabilities, Identity, Machine, ModeOffer};
use mmu_core::{PagingMode, Reference};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// What is wrong with a shard whose run nobody can repeat.
pub(super) const SHARD_WITHOUT_SEED: &str =
    "--shard needs --seed or --exhaustive: all shards must have the same cases";

/// A run on a machine.
pub(super) struct Session<'a> {
    arguments: &'a CheckArguments,
    /// By which others look at the guest of the machine, if the user lets them.
    live: Option<LiveSocket>,
    machine: Box<dyn Machine>,
    /// Why this machine was chosen.
    why: String,
    /// Number of machines that run, this one included.
    machines: usize,
    modes: Vec<ModeOffer>,
    plan: CampaignPlan,
    progress: CampaignProgress,
    /// How the run went so far.
    series: Series,
    is_complete: bool,
    /// The run, as the journal describes it.
    run: RunLine,
    journal: Option<Journal>,
    /// What the journal holds when the session opens.
    earlier: Option<Checkpoint>,
    /// CPU time in seconds before the run was resumed.
    cpu_before: f64,
    /// The user's program that is asked about every case, if there is one.
    program: Option<AskedProgram>,
}

impl<'a> Session<'a> {
    /// Prepares everything that the run needs. Nothing runs yet.
    pub(super) fn open(
        arguments: &'a CheckArguments,
        OpenedMachine { machine, why }: OpenedMachine,
    ) -> Result<Self, Failure> {
        if arguments.resume && matches!(arguments.walker, Predictor::Program(_)) {
            let problem = "--resume: the journal does not keep the answers of a program";
            return Err(Failure::Input(problem.into()));
        }

        let program = AskedProgram::start(&arguments.walker, arguments.options.jail)?;
        let journal = arguments.report.as_deref().map(Journal::in_directory).transpose()?;
        let earlier = read_journal(journal.as_ref(), arguments.resume)?;

        let identity = machine.identity();
        let capabilities = machine.capabilities();
        let generator = arguments.generator(earlier.as_ref())?;
        let known = arguments.known().load(arguments.walker.judge(), identity)?;
        let modes = requested(&arguments.mode, machine.as_ref())?;
        arguments.check_sequences(&modes)?;

        let run = arguments.run_line(generator, &modes, identity, capabilities);
        let plan = arguments.plan(generator, &modes, known, capabilities);
        let progress = CampaignProgress::start(&plan, capabilities);
        let machines = arguments.machines_for(plan.schedule.about_cases(), identity);
        let live = arguments.live.as_deref();
        let live = live.map(|path| LiveSocket::of_running(path, machine.as_ref())).transpose()?;

        Ok(Self {
            arguments,
            live,
            machine,
            why,
            machines,
            modes,
            plan,
            progress,
            series: Series::default(),
            is_complete: false,
            run,
            journal,
            earlier,
            cpu_before: 0.0,
            program,
        })
    }

    /// Goes back to the state that the journal holds, if it holds one.
    pub(super) fn resume(&mut self) -> Result<(), Failure> {
        let (Some(earlier), Some(journal)) = (self.earlier.take(), &self.journal) else {
            return Ok(());
        };

        let difference = self
            .run
            .difference(&earlier.run)
            .or_else(|| self.run.shard.difference(&earlier.run.shard));
        if let Some(difference) = difference {
            return Err(journal.error(Some(1), format!("another run: {difference}")).into());
        }

        self.progress.turn = earlier.progress.turn;
        self.progress.elapsed = Duration::try_from_secs_f64(earlier.progress.seconds)
            .map_err(|error| journal.error(Some(2), error.to_string()))?;
        self.progress.tally = earlier.tally;
        for saved in earlier.findings {
            let added = self.progress.findings.add_saved(saved);
            added.map_err(|problem| journal.error(None, problem))?;
        }

        self.series = earlier.series;
        self.cpu_before = earlier.progress.cpu_seconds;
        Ok(())
    }

    /// Leaves out the CPU time that this process has used so far, for other runs.
    pub(super) fn forget_cpu_time(&mut self) {
        self.cpu_before -= cpu_seconds();
    }

    /// Runs the cases until the limit, or until the user stops the run.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        self.print_heading();

        let stop = match &self.live {
            Some(_) => stop_flag_to_tidy_up()?,
            None => stop_flag()?,
        };
        let shard = self.run.shard.parts.first().copied().unwrap_or(0);
        self.series.begin(shard, date::now());
        self.series.record(self.progress.point(self.cpu_before + cpu_seconds()));
        let left = self.plan.time.map(|time| time.saturating_sub(self.progress.elapsed));
        let mut observer = RunObserver {
            bar: CampaignBar::start(self.plan.schedule.about_cases(), self.plan.time),
            program: self.program.as_mut(),
            journal: self.journal.as_mut(),
            series: &mut self.series,
            run: &self.run,
            cpu_before: self.cpu_before,
            fail_fast: self.arguments.fail_fast,
            stop: &stop,
            end: left.and_then(|left| Instant::now().checked_add(left)),
            failed: None,
        };
        let options = &self.arguments.options;
        let jail = options.jail.jail()?;
        let identity = self.machine.identity().clone();
        let open = |interrupter| options.open_like(&identity, &jail, interrupter);
        let mut fleet =
            Fleet { first: self.machine.as_mut(), machines: self.machines, open: &open };
        campaign::run(&mut fleet, &self.plan, &mut self.progress, &stop, &mut observer)?;

        let RunObserver { bar, failed, .. } = observer;
        bar.end();
        if let Some(error) = failed {
            return Err(error.into());
        }

        self.is_complete = !stop.load(Ordering::Relaxed);
        self.series.record(self.progress.point(self.cpu_before + cpu_seconds()));
        self.checkpoint()
    }

    fn print_heading(&self) {
        if !self.arguments.output.has_heading() {
            return;
        }

        let cases = report::run::text::describe_cases(&self.run);
        let machine = &self.machine;
        print_beside_verdict(&report::run::text::heading(
            machine.identity(),
            machine.capabilities(),
            Some(machine.jail()),
            &self.why,
            &cases,
        ));
        if let Some(live) = &self.live {
            print_beside_verdict(&live.invitation());
        }
    }

    /// Writes the current state into the journal, if there is one.
    fn checkpoint(&mut self) -> Result<(), Failure> {
        let state = self.state();
        if let Some(journal) = &mut self.journal {
            journal.write(&state)?;
        }
        Ok(())
    }

    fn state(&self) -> Checkpoint {
        let cpu_seconds = self.cpu_before + cpu_seconds();
        Checkpoint::new(&self.run, &self.progress, &self.series, cpu_seconds, self.is_complete)
    }

    /// Reduces the findings, and closes the machine.
    pub(super) fn finish(mut self) -> Result<FinishedRun, Failure> {
        let mut last = self.state();
        let mut summary = campaign::finish(self.machine.as_mut(), &self.plan, self.progress)?;
        summary.series = self.series;
        drop(self.live.take());
        if let Some(program) = &mut self.program {
            program.end();
        }
        last.smallest = SmallestLine::of(&summary.findings);
        last.progress.cpu_seconds = self.cpu_before + cpu_seconds();
        if let Some(journal) = &mut self.journal {
            journal.write(&last)?;
        }

        Ok(FinishedRun {
            identity: self.machine.identity().clone(),
            capabilities: self.machine.capabilities().clone(),
            modes: self.modes,
            run: self.run,
            program: self.program,
            is_complete: self.is_complete,
            has_journal: self.journal.is_some(),
            machines: self.machines,
            jail: self.machine.jail().clone(),
            cpu_seconds: last.progress.cpu_seconds,
            summary,
        })
    }
}

impl CheckArguments {
    /// What generates the cases. A resumed run goes on with the seed in its journal.
    fn generator(&self, earlier: Option<&Checkpoint>) -> Result<Generator, Failure> {
        if self.exhaustive {
            return Ok(Generator::Exhaustive);
        }

        let seed = self.seed.or(earlier.map(|checkpoint| checkpoint.run.seed.0));
        if seed.is_none() && self.shard.is_some() {
            return Err(Failure::Input(SHARD_WITHOUT_SEED.into()));
        }

        let seed = seed.unwrap_or_else(rand::random);
        Ok(if self.guided { Generator::Guided(seed) } else { Generator::Random(seed) })
    }

    fn sequences(&self) -> SequenceUse {
        self.sequences.unwrap_or(SequenceUse::On)
    }

    /// Checks that there are sequences in one of the modes, if nothing else is to run.
    fn check_sequences(&self, modes: &[ModeOffer]) -> Result<(), Failure> {
        let runs_in = |mode: PagingMode| Generator::Sequences(0).runs_in(mode);
        if self.sequences() == SequenceUse::Only && !offered(modes).into_iter().any(runs_in) {
            let problem = "--sequences only: there are no sequences without paging";
            return Err(Failure::Input(problem.into()));
        }
        Ok(())
    }

    fn run_line(
        &self,
        generator: Generator,
        modes: &[ModeOffer],
        identity: &Identity,
        capabilities: &Capabilities,
    ) -> RunLine {
        let options = RunOptions {
            modes,
            modes_by_name: !self.mode.is_empty(),
            cases: self.cases,
            walker: &self.walker,
            known: &self.known(),
        };
        let source = (generator, self.sequences());
        RunLine::generated(source, self.whole_or_shard(), options, identity, capabilities)
    }

    fn plan(
        &self,
        generator: Generator,
        modes: &[ModeOffer],
        known: KnownFindings,
        capabilities: &Capabilities,
    ) -> CampaignPlan {
        let shard = self.whole_or_shard();
        let ends_by_itself = self.cases.is_some() || self.exhaustive;
        let generators = self.sequences().generators(generator);

        CampaignPlan {
            schedule: Schedule::new(&generators, &offered(modes), capabilities, shard, self.cases),
            time: self.time.or((!ends_by_itself).then_some(DEFAULT_TIME)),
            walker: self.walker.judge(),
            known,
        }
    }

    /// The number of machines that run: no more than there are pairs of batches and, unless the user
    /// asked for them, than are worth starting.
    pub(super) fn machines_for(&self, cases: Option<u64>, identity: &Identity) -> usize {
        /// A QEMU takes about as much CPU time to start as a quarter of these cases.
        const CASES_WORTH_A_START: u64 = 50_000;
        const CASES_OF_A_PAIR: u64 = 2 * MAX_LANES as u64;

        let (wanted, cases_of_each) = match (self.jobs, &self.walker) {
            (Some(jobs), _) => (u64::from(jobs), CASES_OF_A_PAIR),
            // It answers one case after another, and more slowly than a machine runs them.
            (None, Predictor::Program(_)) => (1, CASES_WORTH_A_START),
            (None, _) => {
                let processors = available_parallelism().map_or(1, NonZero::get);
                // QEMU and the host's half of its work keep a processor busy each.
                let machines = match identity.kind.as_ref() {
                    "qemu" => processors.div_ceil(2),
                    _ => processors,
                };
                (machines as u64, CASES_WORTH_A_START)
            }
        };

        let cases = cases.unwrap_or(u64::MAX);
        wanted.min(cases.div_ceil(cases_of_each)).max(1) as usize
    }

    pub(super) fn known(&self) -> KnownSource {
        match &self.update_known {
            Some(path) if path.exists() => KnownSource::File(path.display().to_string()),
            _ => self.known.clone().unwrap_or_default(),
        }
    }

    pub(super) fn whole_or_shard(&self) -> Shard {
        self.shard.unwrap_or(Shard::WHOLE)
    }
}

/// What the journal holds of an earlier part of the run. Without `--resume` it must hold nothing.
fn read_journal(journal: Option<&Journal>, resume: bool) -> Result<Option<Checkpoint>, Failure> {
    let Some(journal) = journal else { return Ok(None) };

    let earlier = journal.read()?;
    if earlier.is_some() && !resume {
        let problem = "the directory has a run already: expected --resume to continue it, or \
                       another directory";
        return Err(journal.error(None, problem.into()).into());
    }
    Ok(earlier)
}

/// Follows a run: shows its progress, writes checkpoints, and asks the user's program.
struct RunObserver<'r> {
    bar: CampaignBar,
    program: Option<&'r mut AskedProgram>,
    journal: Option<&'r mut Journal>,
    series: &'r mut Series,
    run: &'r RunLine,
    cpu_before: f64,
    /// Whether the run ends with the first divergence that is not forgiven.
    fail_fast: bool,
    stop: &'r AtomicBool,
    /// When the run's time is up.
    end: Option<Instant>,
    /// Why a checkpoint could not be written. The run stops then.
    failed: Option<JournalError>,
}

impl RunObserver<'_> {
    /// Whether the run is over. The cases that ran until then are still judged, but a program may take
    /// its time with each, so it is not asked any more.
    fn is_over(&self) -> bool {
        let is_late = self.end.is_some_and(|end| Instant::now() >= end);
        is_late || self.stop.load(Ordering::Relaxed)
    }
}

impl RunObserver<'_> {
    /// Whether the machine, a mutant or the user's program is wrong already.
    fn has_failed(&self, progress: &CampaignProgress) -> bool {
        let is_program_wrong =
            self.program.as_ref().is_some_and(|program| !program.score().is_clean());
        is_program_wrong || progress.findings.has_unknown()
    }
}

impl Observer for RunObserver<'_> {
    fn follows_cases(&self) -> bool {
        self.program.is_some()
    }

    fn judged(&mut self, case: &Case, verdict: &Verdict) {
        let is_over = self.is_over();
        if let Some(program) = &mut self.program {
            if is_over {
                program.leave_out();
            } else {
                program.ask(case, &Reference.predict(case), verdict);
            }
        }
    }

    fn batch_done(&mut self, progress: &CampaignProgress) {
        self.bar.show(progress);
        if self.fail_fast && self.has_failed(progress) {
            self.stop.store(true, Ordering::Relaxed);
        }

        let due = self.journal.as_mut().filter(|journal| journal.is_due());
        if let Some(journal) = due {
            let cpu_seconds = self.cpu_before + cpu_seconds();
            self.series.record(progress.point(cpu_seconds));
            let checkpoint = Checkpoint::new(self.run, progress, self.series, cpu_seconds, false);
            if let Err(error) = journal.write(&checkpoint) {
                self.failed = Some(error);
                self.stop.store(true, Ordering::Relaxed);
            }
        }
    }
}
