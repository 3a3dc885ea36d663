//! `crosswalk judge`: judges what an image has printed.

use super::corpus_file::write_corpus;
use super::cpu_time::cpu_seconds;
use super::failure::{Failure, print_error};
use super::output::{check_replaceable, finish, print_beside_verdict};
use super::output_arguments::OutputArguments;
use super::profile::ProfileArgument;
use super::publish::{lock_report, publish_ending};
use crate::campaign::journal::{RunLine, RunOptions};
use crate::campaign::known::{KnownFindings, KnownSource};
use crate::campaign::predictor::Predictor;
use crate::campaign::sampler::ScheduleRunner;
use crate::campaign::{self, CampaignPlan, CampaignProgress, Fleet};
use crate::corpus::record::{RecordOptions, record_from};
use crate::file;
use crate::finding::{Finding, known};
use crate::generate::{Generator, SequenceUse, Shard};
use crate::image::{CasesOfImage, HeadLine, ImagePlan};
use crate::report::corpus::RecordedSection;
use crate::report::document::VerdictWord;
use crate::report::image::{CaseEnd, ShownCase};
use crate::report::run::conclusion::Conclusion;
use crate::report::{self, Resuming, RunFacts, image};
use crate::verdict::{self, Verdict};
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Provenance};
use crosswalk_machine::batch::cannot_run;
use crosswalk_machine::host;
use crosswalk_machine::log::{LogEnd, LogError, LogMachine, LogParts, LogProcessor, LogReader};
use crosswalk_machine::{Capabilities, Identity, LeftOut, Machine, MachineError, MachineLine};
use mmu_core::Profile;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct JudgeArguments {
    /// What an image has printed, with or without other text; - for standard input
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// The emulator or hypervisor that ran the image, such as bochs: known findings go by it [default: what CPUID
    /// says, or unknown]
    #[arg(long)]
    name: Option<String>,
    /// Its version, such as 2.7
    #[arg(long, value_name = "VERSION", requires = "name")]
    name_version: Option<String>,
    /// It was a real processor, not an emulator: the report says that this is your word
    #[arg(long, requires = "name")]
    hardware: bool,
    /// The processor, where CPUID does not tell the truth: a generation such as skylake, or a profile in JSON
    #[arg(long, value_name = "NAME|JSON")]
    profile: Option<ProfileArgument>,
    /// A file of known findings, or none to forgive nothing [default: the file for the machine]
    #[arg(long, value_name = "FILE|none")]
    known: Option<KnownSource>,
    /// Also record a corpus of what the machine did, as `record` does
    #[arg(long, value_name = "OUT")]
    record: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
    /// Write the report into this directory as JSON and HTML
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// The emulator that this program booted itself
    #[arg(skip)]
    booted: Option<BootedMachine>,
}

/// An emulator that this program booted.
#[derive(Clone, Debug)]
pub(super) struct BootedMachine {
    /// Its kind, which is its flavour, too.
    pub(super) kind: &'static str,
    /// Its name and version.
    pub(super) version: String,
    /// Why it was chosen.
    pub(super) why: String,
}

impl JudgeArguments {
    /// For the log of an emulator that this program booted.
    pub(super) fn of_booted(
        log: PathBuf,
        booted: BootedMachine,
        known: Option<KnownSource>,
        output: OutputArguments,
        report: Option<PathBuf>,
    ) -> Self {
        Self {
            log,
            name: Some(booted.kind.to_owned()),
            name_version: Some(booted.version.clone()),
            hardware: false,
            profile: None,
            known,
            record: None,
            output,
            report,
            booted: Some(booted),
        }
    }

    /// What printed a log, as a machine that ran its cases.
    pub(super) fn machine(&self, log: OpenedLog) -> Result<LogMachine, Failure> {
        Judge::new(self, &log).machine(log)
    }

    /// Judges the log.
    pub(super) fn judge(&self) -> Result<ExitCode, Failure> {
        run(self)
    }
}

pub(super) fn run(arguments: &JudgeArguments) -> Result<ExitCode, Failure> {
    if let Some(out) = &arguments.record {
        check_replaceable(out)?;
    }

    let log = open_log(&arguments.log)?;
    let judge = Judge::new(arguments, &log);
    if let CasesOfImage::Listed(cases) = &log.plan.cases {
        let cases = cases.clone();
        return judge.show_cases(log, &cases);
    }

    let code = judge.report(log)?;
    if arguments.record.is_some() {
        judge.record(open_log(&arguments.log)?)?;
    }
    Ok(code)
}

/// A log up to what it says about its processor.
pub(super) struct OpenedLog {
    name: String,
    reader: LogReader<Box<dyn BufRead + Send>>,
    head: HeadLine,
    plan: ImagePlan,
    pub(super) processor: LogProcessor,
}

/// Opens a log.
pub(super) fn open_log(path: &Path) -> Result<OpenedLog, Failure> {
    let name = file::input_name(path);
    let file = file::open_input(path)
        .map_err(|error| Failure::of_io(format!("{name}: cannot be read: {error}"), &error))?;
    read_log(name, Box::new(BufReader::new(file)))
}

/// Reads a log up to what it says about its processor; errors call it `name`.
pub(super) fn read_log(
    name: String,
    source: Box<dyn BufRead + Send>,
) -> Result<OpenedLog, Failure> {
    let mut reader = LogReader::new(source);
    let in_log = |error: LogError| Failure::Input(format!("{name}, {error}"));

    let text = reader.head().map_err(in_log)?;
    let line = reader.line();
    let bad_head = |problem: String| Failure::Input(format!("{name}, line {line}: {problem}"));
    let head = HeadLine::read(&text).map_err(|error| bad_head(error.to_string()))?;
    let plan = head.plan().map_err(|error| bad_head(error.to_string()))?;
    let processor = LogProcessor::read(&mut reader).map_err(in_log)?;
    Ok(OpenedLog { name, reader, head, plan, processor })
}

impl OpenedLog {
    /// The kinds of cases that the processor cannot run.
    pub(super) fn lacks(&self) -> LeftOut {
        let mut lacks = LeftOut::empty();
        lacks.set(LeftOut::IMPLICIT, self.processor.implicit_accesses().is_err());
        lacks.set(LeftOut::CLFLUSH, !self.processor.has_clflush());
        lacks
    }

    /// The processor that CPUID describes.
    pub(super) fn profile(&self) -> Profile {
        let profile = self.processor.profile();
        let is_tcg = self.processor.hypervisor().is_some_and(|name| name == TCG);
        if is_tcg { profile.emulated_by_tcg() } else { profile }
    }
}

/// QEMU's emulation of a processor.
const TCG: &str = "tcg";

/// What is known of a machine besides its log.
struct Judge<'a> {
    arguments: &'a JudgeArguments,
    identity: Identity,
    provenance: Provenance,
    ran_on: Capabilities,
}

impl<'a> Judge<'a> {
    fn new(arguments: &'a JudgeArguments, log: &OpenedLog) -> Self {
        let shown = log.processor.hypervisor();
        let flavour = arguments.name.clone().or_else(|| shown.clone());
        let provenance = match (arguments.hardware, &flavour) {
            (true, _) => Provenance::Processor,
            (false, Some(_)) => Provenance::Emulator,
            (false, None) => Provenance::Unknown,
        };
        let version = arguments.name.as_ref().zip(arguments.name_version.as_ref());
        let version = version.map(|(name, version)| format!("{name} {version}"));
        let beneath = if arguments.hardware { "bare (the user says so)" } else { "unknown" };

        let mut profile = log.profile();
        if flavour.as_deref() == Some(TCG) {
            profile = profile.emulated_by_tcg();
        }
        if let Some(ProfileArgument(given)) = arguments.profile {
            profile = given;
        }
        let made_for = log.plan.capabilities();
        let ran_on = Capabilities {
            profile,
            implicit_accesses: log.processor.implicit_accesses(),
            virtualization: log.processor.virtualization(),
            left_out: LeftOut::ALWAYS,
            ..made_for
        };

        Self {
            arguments,
            identity: match &arguments.booted {
                Some(booted) => Identity {
                    kind: booted.kind.into(),
                    flavour: booted.kind.into(),
                    beneath: host::beneath(),
                    cpu: log.processor.name(),
                    host_kernel: host::kernel(),
                    version: Some(booted.version.clone()),
                },
                None => Identity {
                    kind: "image".into(),
                    flavour: flavour.unwrap_or_else(|| "unknown".into()),
                    beneath: beneath.into(),
                    cpu: log.processor.name(),
                    host_kernel: "unknown".into(),
                    version,
                },
            },
            provenance,
            ran_on,
        }
    }

    fn machine(&self, log: OpenedLog) -> Result<LogMachine, Failure> {
        let parts = LogParts {
            identity: self.identity.clone(),
            made_for: log.plan.capabilities(),
            ran_on: self.ran_on.clone(),
            provenance: self.provenance,
            left_out: log.plan.skipped.clone(),
        };
        Ok(LogMachine::new(parts, log.reader)?)
    }

    fn known(&self) -> Result<KnownFindings, Failure> {
        let source = self.arguments.known.clone().unwrap_or_default();
        Ok(source.load(WalkerSpec::Reference, &self.identity)?)
    }

    fn note(&self) -> String {
        if let Some(booted) = &self.arguments.booted {
            return booted.why.clone();
        }
        let log = self.arguments.log.display();
        match (self.arguments.hardware, &self.arguments.name) {
            (true, _) => format!("{log}; that it was hardware is the word of the user"),
            (false, Some(_)) => format!("{log}, named by the user"),
            (false, None) => format!("{log}, named by its CPUID"),
        }
    }

    /// Judges the whole log. Returns the exit code.
    fn report(&self, log: OpenedLog) -> Result<ExitCode, Failure> {
        let name = log.name.clone();
        let HeadLine { batches, tape, .. } = log.head.clone();
        let plan = log.plan.clone();
        let schedule = plan.schedule().expect("an image has random cases or listed ones");
        let run = self.run_line(&plan);
        if self.arguments.output.has_heading() {
            self.print_heading(&run);
        }

        let mut machine = self.machine(log)?;
        let campaign = CampaignPlan {
            schedule,
            time: None,
            walker: WalkerSpec::Reference,
            known: self.known()?,
        };
        let mut progress = CampaignProgress::start(&campaign, &self.ran_on);
        let stop = AtomicBool::new(false);
        let in_log = |error: MachineError| in_log(&name, error);
        campaign::run(
            &mut Fleet::alone(&mut machine),
            &campaign,
            &mut progress,
            &stop,
            &mut |_: &CampaignProgress| {},
        )
        .map_err(in_log)?;

        if machine.end().is_none() {
            machine.finish_log(&tape).map_err(in_log)?;
        }
        let is_complete = machine.end() == Some(LogEnd::Complete) && machine.batches() == batches;
        // Nothing can be tried again.
        machine.interrupter().interrupt();
        let mut summary = campaign::finish(&mut machine, &campaign, progress).map_err(in_log)?;
        let of_images = known::of_images()?;
        let concerns_all = |finding: &Finding| of_images.iter().any(|all| all.id == finding.id);
        summary.findings.retain(|finding| finding.count > 0 || !concerns_all(finding));

        let modes = self.ran_on.modes.clone();
        let facts = RunFacts {
            identity: &self.identity,
            capabilities: &self.ran_on,
            modes: &modes,
            run: &run,
            sources: &[],
            covered: &[],
            candidate: None,
            complete: is_complete,
            resuming: Resuming::Never,
            jobs: None,
            jail: None,
            cpu_seconds: cpu_seconds(),
        };
        let _lock = self.arguments.report.as_deref().map(lock_report).transpose()?;
        let cut_off = machine.end().filter(|_| !is_complete);
        let JudgeArguments { output, report, .. } = self.arguments;
        let ending = match cut_off {
            Some(_) if !summary.has_unknown_finding() => VerdictWord::CutOff.into(),
            _ => Conclusion::of(&facts, &summary).ending(output.allow_incomplete),
        };
        let code = publish_ending(&facts, &summary, "", ending, *output, report.as_deref())?;

        let (skipped, lacking) = machine.skipped();
        if skipped > 0 {
            print_error(&format!(
                "{name}: {}",
                image::describe_skipped(skipped, batches, &lacking)
            ));
        }
        if let Some(end) = cut_off {
            let problem = image::describe_end(end, batches);
            print_error(&format!("{name}, line {}: {problem}", machine.line()));
        }
        Ok(code)
    }

    fn run_line(&self, plan: &ImagePlan) -> RunLine {
        let (seed, count, sequences) = match &plan.cases {
            CasesOfImage::Random { seed, count, sequences, .. } => (*seed, *count, *sequences),
            CasesOfImage::Listed(cases) => (0, cases.len() as u64, SequenceUse::On),
        };
        let known = self.arguments.known.clone().unwrap_or_default();
        let options = RunOptions {
            modes: &self.ran_on.modes,
            modes_by_name: false,
            cases: Some(count),
            walker: &Predictor::BuiltIn(WalkerSpec::Reference),
            known: &known,
        };
        let source = (Generator::Random(seed), sequences);
        RunLine::generated(source, Shard::WHOLE, options, &self.identity, &self.ran_on)
    }

    fn print_heading(&self, run: &RunLine) {
        let cases = report::run::text::describe_cases(run);
        let heading = report::run::text::heading;
        print_beside_verdict(&heading(&self.identity, &self.ran_on, None, &self.note(), &cases));
    }

    /// Shows what the machine did with each case of a list. The exit code is 1 if one of them diverges in a way
    /// that is not known.
    fn show_cases(&self, log: OpenedLog, cases: &[Case]) -> Result<ExitCode, Failure> {
        self.arguments.output.check_text_or_json("the log of single cases")?;
        let name = log.name.clone();
        let known = self.known()?;
        let are_forgiven = known.are_forgiven;
        let findings = known.clone().collector(WalkerSpec::Reference, &self.ran_on);
        let mut machine = self.machine(log)?;
        let mut shown = Vec::new();
        let mut is_known = true;

        for case in cases {
            let attempt = match campaign::run_one(&mut machine, case) {
                Err(MachineError::Interrupted) => {
                    let is_forgiven = are_forgiven && machine.ends_in_batch();
                    if let Some(known) = known.fatal(case).filter(|_| is_forgiven) {
                        let case = Case { profile: self.ran_on.profile, ..case.clone() };
                        let (id, title) = (known.id.clone(), known.title.clone());
                        shown.push(ShownCase { case, end: CaseEnd::Fatal { id, title } });
                    }
                    break;
                }
                attempt => attempt.map_err(|error| in_log(&name, error))?,
            };
            let case = Case { profile: self.ran_on.profile, ..case.clone() };
            let attempt = cannot_run(&case, &self.ran_on).map_or(attempt, Attempt::Unsupported);

            let verdict = verdict::judge(WalkerSpec::Reference.walker(), &case, &attempt);
            let is_divergence = matches!(verdict, Verdict::Diverge { .. });
            let is_forgiven = are_forgiven && findings.shown(&case, &attempt, &verdict).is_some();
            is_known &= !is_divergence || is_forgiven;
            shown.push(ShownCase { case, end: CaseEnd::Tried(attempt) });
        }

        let cut_off = machine.end().filter(|_| shown.len() < cases.len());
        let verdict = match cut_off {
            Some(_) => VerdictWord::CutOff,
            None if is_known => VerdictWord::Agree,
            None => VerdictWord::Diverge,
        };
        let code = finish(
            !self.arguments.output.is_text(),
            verdict.into(),
            || image::cases_document(&self.identity, &self.ran_on, &shown),
            || image::cases_text(&shown),
        );
        if let Some(end) = cut_off {
            let problem = image::describe_end(end, cases.len() as u32);
            print_error(&format!("{name}, line {}: {problem}", machine.line()));
        }
        Ok(code)
    }

    /// Records a corpus from the log.
    fn record(&self, log: OpenedLog) -> Result<(), Failure> {
        let Some(out) = &self.arguments.record else { return Ok(()) };
        let name = log.name.clone();
        let plan = log.plan.clone();
        let CasesOfImage::Random { seed, modes, count, .. } = plan.cases.clone() else {
            return Ok(());
        };
        let schedule = plan.schedule().expect("random cases have one");
        let findings = self.known()?.collector(WalkerSpec::Reference, &self.ran_on);
        let mut machine = self.machine(log)?;

        let options = RecordOptions { seed, modes, cases: count, all: false };
        let mut source = ScheduleRunner::new(schedule);
        let mut recording = record_from(&mut source, &mut machine, &options, &findings, |_, _| {
            ControlFlow::Continue(())
        })
        .map_err(|error| in_log(&name, error))?;
        recording.source.machine = MachineLine::new(&self.identity, &self.ran_on);
        // An image may have run anywhere.
        recording.source.microcode = None;

        let section = RecordedSection {
            identity: self.identity.clone(),
            capabilities: self.ran_on.clone(),
            recording,
        };
        let sections = [section];
        let bytes = write_corpus(out, &sections)?;
        if self.arguments.output.is_text() {
            print_beside_verdict(&report::corpus::recorded_text(out, &sections, bytes));
        }
        Ok(())
    }
}

/// An error of a machine, most likely about a line of its log.
fn in_log(name: &str, error: MachineError) -> Failure {
    match error {
        MachineError::Log { line, problem } => {
            Failure::Input(format!("{name}, line {line}: {problem}"))
        }
        // What a guest of ours does not write.
        MachineError::GuestFailed { .. } => Failure::Input(format!("{name}: {error}")),
        other => other.into(),
    }
}
