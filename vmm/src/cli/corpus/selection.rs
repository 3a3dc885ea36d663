//! Which cases of which corpus.

use crate::campaign::known::KnownSource;
use crate::cli::failure::Failure;
use crate::corpus::filter::{
    ActionCount, ErrorCodePattern, Filter, FoundCase, OutcomePattern, visit_cases,
};
use crate::corpus::read::{CorpusError, CorpusReader};
use crosswalk_case::observation::Provenance;
use mmu_core::{PagingMode, Rule};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// A corpus, and what its cases must have. Several options must all fit; of a list, one.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SelectionArguments {
    /// A corpus that `record` wrote, or - for standard input [default: the corpus that comes with the program]
    #[arg(value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Paging modes, separated by commas: unpaged, 32bit, pae, 4level, 5level
    #[arg(long, value_delimiter = ',')]
    mode: Vec<PagingMode>,
    /// Ids of rules, separated by commas, one of which decides the case
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    rule: Vec<Rule>,
    /// How the access ended on the machine: completed, fault, pf, gp, ss, ac, '#PF(P|W)' or unsupported, separated by
    /// commas
    #[arg(long, value_delimiter = ',')]
    outcome: Vec<OutcomePattern>,
    /// The error code of its page fault: bits of P, W, U, RSVD, I, PK, SS that are set, such as P,W, or clear, such as
    /// no-U; or all of it, such as 0x7
    #[arg(long, value_name = "BITS")]
    error_code: Option<ErrorCodePattern>,
    /// Machines that did it, by kind or flavour, separated by commas: kvm, pvm, qemu, bochs
    #[arg(long, value_delimiter = ',')]
    machine: Vec<String>,
    /// Who decided, separated by commas: processor, kvm-walker, kvm-emulator, tcg, emulator
    #[arg(long, value_delimiter = ',')]
    provenance: Vec<Provenance>,
    /// The number of actions before the access: 0 for single accesses, 1- for sequences, 1-3
    #[arg(long, value_name = "RANGE")]
    actions: Option<ActionCount>,
    /// Ids of known findings, separated by commas, one of which the case shows
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    finding: Vec<String>,
    /// Leave out cases in which the machine did something that the manuals do not allow, or that it could not run
    #[arg(long, conflicts_with = "finding")]
    without_findings: bool,
    /// A file of known findings [default: the file for each machine]
    #[arg(long, value_name = "FILE")]
    known: Option<KnownSource>,
}

impl SelectionArguments {
    /// Opens the corpus.
    pub(super) fn open(&self) -> Result<CorpusReader, Failure> {
        Ok(CorpusReader::open_or_bundled(self.corpus.as_deref())?)
    }

    /// Visits the cases, until a visit breaks it off. Fails if there is none.
    pub(super) fn visit<E: From<CorpusError> + From<Failure>>(
        &self,
        reader: &mut CorpusReader,
        mut visit: impl FnMut(FoundCase<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let known = self.known.clone().unwrap_or_default();
        let mut is_any = false;
        visit_cases(reader, &self.filter(), &known, |found| {
            is_any = true;
            visit(found)
        })?;

        if is_any {
            Ok(())
        } else {
            let name = reader.name();
            let problem =
                format!("{name}: no case fits; `crosswalk corpus stats` shows what there is");
            Err(Failure::Input(problem).into())
        }
    }

    fn filter(&self) -> Filter {
        Filter {
            modes: self.mode.clone(),
            rules: self.rule.clone(),
            outcomes: self.outcome.clone(),
            error_code: self.error_code,
            machines: self.machine.clone(),
            provenances: self.provenance.clone(),
            actions: self.actions,
            findings: self.finding.clone(),
            without_findings: self.without_findings,
        }
    }
}
