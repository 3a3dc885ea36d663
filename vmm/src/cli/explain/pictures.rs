//! `--html` and `--svg`: the walk in files, for a browser and for slides.

use crate::cli::failure::Failure;
use crate::cli::output::{check_replaceable, is_same_file, print_beside_verdict, replace_file};
use crate::report::walk::json::{self, RunOfCase};
use crate::report::walk::page;
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct PictureArguments {
    /// Write the walk as a page that goes step by step, and walks again where a bit is flipped
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the walk as one picture, in SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl PictureArguments {
    /// The first option that is given, if one is.
    pub(super) const fn first_option(&self) -> Option<&'static str> {
        match (&self.html, &self.svg) {
            (Some(_), _) => Some("--html"),
            (None, Some(_)) => Some("--svg"),
            (None, None) => None,
        }
    }

    /// Checks that the files can be written, before the work that fills them.
    pub(super) fn check(&self, case: &str, walker: WalkerSpec) -> Result<(), Failure> {
        if self.html.is_some() && !walker.is_reference() {
            let problem = format!(
                "--html: the page walks again by the reference, not by {walker}: expected --svg, or no --walker"
            );
            return Err(Failure::Input(problem));
        }
        if let (Some(page), Some(picture)) = (&self.html, &self.svg)
            && is_same_file(page, picture)
        {
            return Err(Failure::Input("--svg: expected another file than that of --html".into()));
        }
        let mut files = self.html.iter().chain(&self.svg);
        if let Some(path) = files.find(|path| is_same_file(path, Path::new(case))) {
            let option = if self.html.as_ref() == Some(path) { "--html" } else { "--svg" };
            let problem = format!("{option}: {} is the case that is read", path.display());
            return Err(Failure::Input(problem));
        }
        self.html.iter().chain(&self.svg).try_for_each(|path| check_replaceable(path))
    }

    /// Writes what is wanted of a case with what machines did; `text` is what was printed of it.
    pub(super) fn write(
        &self,
        case: &Case,
        walker: WalkerSpec,
        first: Option<&Attempt>,
        runs: Vec<RunOfCase<'_>>,
        text: &str,
    ) -> Result<(), Failure> {
        if self.first_option().is_none() {
            return Ok(());
        }

        let view = json::view(case, walker, first, runs);
        if let Some(path) = &self.html {
            replace_file(path, page(&view, text))?;
            print_beside_verdict(&format!("page      {}\n", path.display()));
        }
        if let Some(path) = &self.svg {
            replace_file(path, &view.svg)?;
            print_beside_verdict(&format!("picture   {}\n", path.display()));
        }
        Ok(())
    }
}
