//! What studies with a list of cases of their own have in common: options, folders, and running the
//! cases that are open.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::device::DeviceArgs;
use crate::error::Error;
use crate::{product, run_dir, shell};

/// The options of such a study.
#[derive(clap::Args)]
pub(super) struct Options {
    /// One seed and little data: whether it works, not what it finds
    #[arg(long)]
    pub(super) quick: bool,
    /// Run no more than this many cases
    #[arg(long, value_name = "COUNT")]
    most: Option<usize>,
    /// Run the binary that the tests build: quicker to build, slower to run
    #[arg(long)]
    dev: bool,
    /// Folder of the results [default: docs/studies/STUDY, or for `--quick` that of the runs]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of the runs [default: runs/study/STUDY, or for `--quick` a fresh one]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A call of the pipeline.
pub(super) trait Run: Display {
    /// Below the folder of the runs.
    fn folder(&self) -> String;
    /// What `--set` is given.
    fn assignments(&self) -> Vec<String>;
}

impl Options {
    /// The folders of the runs and of the results of the study `name`.
    pub(super) fn folders(&self, name: &str) -> Result<(PathBuf, PathBuf), Error> {
        let runs = match (&self.runs, self.quick) {
            (Some(runs), _) => runs.clone(),
            (None, true) => run_dir::fresh(&format!("{name}-quick"))?,
            (None, false) => Path::new("runs/study").join(name),
        };
        let out = self.out.clone().unwrap_or_else(|| match self.quick {
            true => runs.clone(),
            false => Path::new("docs/studies").join(name),
        });
        Ok((runs, out))
    }

    /// Runs the `open` cases, as many as asked for, and tells of each that it has ended, and in which
    /// folder. Returns how many are left.
    pub(super) fn run<C: Run>(
        &self,
        config: &str,
        runs: &Path,
        open: &[&C],
        mut ended: impl FnMut(&C, &Path) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let count = self.most.unwrap_or(usize::MAX).min(open.len());
        if count > 0 {
            let afd = product::build_for_check(self.dev, &self.device.backends()?)?;
            let device = self.device.named().unwrap_or_else(|| "flex".to_owned());
            for (number, case) in open.iter().take(count).enumerate() {
                let run_dir = runs.join(case.folder());
                println!("\n[{}/{count}] {case}: {}", number + 1, run_dir.display());
                let mut command = afd.pipeline(config, &device, &run_dir)?;
                for assignment in case.assignments() {
                    command.arg("--set").arg(assignment);
                }
                shell::run(&mut command)?;
                ended(case, &run_dir)?;
            }
        }
        Ok(open.len() - count)
    }
}

/// Says where the results stand, and whether there is more to do.
pub(super) fn tell(out: &Path, open: usize, of: usize) {
    println!("\nwritten: {}", out.join("README.md").display());
    if open > 0 {
        println!("{open} of {of} cases are left; repeat the command");
    }
}
