//! `cargo xtask browser`: a report as a browser shows it.
//!
//! `xtask/browser/check.py` drives Debian's Chromium through Selenium: without network it reads the
//! report, uses all that can be used in it, looks at it on desk, phone and paper, and does the same
//! to copies whose answers are attacks.

use std::env;
use std::ffi::OsStr;
use std::path::{self, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::{run_dir, setup, shell};

const PACKAGES: [&str; 1] = ["selenium==4.51.0"];

const SCRIPT: &str = "xtask/browser/check.py";

/// What is to be on the path.
const CHROMIUM: &str = "chromium";
const CHROMEDRIVER: &str = "chromedriver";

const EXAMPLES: &str = "\
Needs Chromium and its driver (Debian: apt-get install chromium chromium-driver). The first time, a
virtual environment with Selenium is made from PyPI.

Examples:
  cargo xtask browser                        the report of the quickstart
  cargo xtask browser runs/first/eval/report.html --screenshots /tmp/first
  cargo xtask browser --chromium /opt/chrome/chrome --chromedriver /opt/chrome/chromedriver";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The report
    #[arg(
        value_name = "REPORT.html",
        default_value = "runs/quickstart/eval/report.html"
    )]
    report: PathBuf,
    /// Where to put pictures of what was seen, and what a printer would get
    #[arg(long, value_name = "DIR")]
    screenshots: Option<PathBuf>,
    /// Chromium or Chrome, in place of `chromium` on the path
    #[arg(long, value_name = "PATH")]
    chromium: Option<PathBuf>,
    /// Its driver, in place of `chromedriver` on the path
    #[arg(long, value_name = "PATH")]
    chromedriver: Option<PathBuf>,
}

impl Args {
    /// The report of the quickstart that `cargo xtask ci` has run, and pictures beside the run.
    pub(crate) fn of_ci() -> Result<Args, Error> {
        let run = run_dir::of_check("quickstart")?;
        Ok(Args {
            report: run.join("eval").join("report.html"),
            screenshots: Some(run_dir::of_check("browser")?),
            chromium: None,
            chromedriver: None,
        })
    }
}

/// Checks a report and prints what was checked.
///
/// # Errors
/// [`Error::NoBrowser`] where Chromium or its driver is missing, and when a check fails.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let (chromium, chromedriver) = programs(args, &path)?;
    let report = path::absolute(&args.report).map_err(Error::io(&args.report))?;
    if !report.is_file() {
        return Err(Error::NoReport { path: report });
    }
    let python = setup::python("browser", &PACKAGES)?;
    // Chromium's driver is given, so Selenium has nothing to fetch; nor is it to say that it ran.
    let mut command = Command::new(python);
    command
        .current_dir(shell::root())
        .env("SE_OFFLINE", "true")
        .env("SE_AVOID_STATS", "true")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(SCRIPT).arg(report);
    command.arg("--chromium").arg(chromium);
    command.arg("--chromedriver").arg(chromedriver);
    if let Some(folder) = &args.screenshots {
        let folder = path::absolute(folder).map_err(Error::io(folder))?;
        command.arg("--screenshots").arg(&folder);
    }
    shell::run(&mut command)
}

/// Chromium and its driver: those given, or those on the path. All that is missing is told at once.
fn programs(args: &Args, path: &OsStr) -> Result<(PathBuf, PathBuf), Error> {
    let find = |given: &Option<PathBuf>, name| match given {
        Some(given) => path::absolute(given).ok().filter(|file| file.is_file()),
        None => on_path(name, path),
    };
    let chromium = find(&args.chromium, CHROMIUM);
    let chromedriver = find(&args.chromedriver, CHROMEDRIVER);
    match (chromium, chromedriver) {
        (Some(chromium), Some(chromedriver)) => Ok((chromium, chromedriver)),
        (chromium, chromedriver) => {
            let found = [
                (CHROMIUM, chromium.is_some()),
                (CHROMEDRIVER, chromedriver.is_some()),
            ];
            let missing = found.into_iter().filter(|(_, found)| !found);
            Err(Error::NoBrowser {
                missing: missing.map(|(name, _)| name).collect(),
            })
        }
    }
}

fn on_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    env::split_paths(path)
        .map(|folder| folder.join(&file))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn args(chromium: Option<&Path>, chromedriver: Option<&Path>) -> Args {
        Args {
            report: "report.html".into(),
            screenshots: None,
            chromium: chromium.map(Path::to_owned),
            chromedriver: chromedriver.map(Path::to_owned),
        }
    }

    /// An empty file with the name of a program.
    fn program(folder: &Path, name: &str) -> PathBuf {
        let file = folder.join(format!("{name}{}", env::consts::EXE_SUFFIX));
        fs::write(&file, "").unwrap();
        file
    }

    #[test]
    fn what_is_missing_is_told_at_once_and_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().as_os_str();
        let error = programs(&args(None, None), path).unwrap_err().to_string();
        assert!(
            error.starts_with("not installed: chromium, chromedriver."),
            "{error}"
        );
        assert!(
            error.contains("apt-get install chromium chromium-driver"),
            "{error}"
        );

        program(folder.path(), CHROMIUM);
        let error = programs(&args(None, None), path).unwrap_err();
        assert!(
            matches!(&error, Error::NoBrowser { missing } if missing == &[CHROMEDRIVER]),
            "{error}"
        );
    }

    #[test]
    fn the_first_on_the_path_is_taken_and_what_is_given_comes_before_it() {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let chromium = program(first.path(), CHROMIUM);
        program(second.path(), CHROMIUM);
        let driver = program(second.path(), CHROMEDRIVER);
        let path = env::join_paths([first.path(), second.path()]).unwrap();
        let found = programs(&args(None, None), &path).unwrap();
        assert_eq!(found, (chromium.clone(), driver.clone()));

        let other = program(second.path(), "other");
        let found = programs(&args(Some(&other), None), &path).unwrap();
        assert_eq!(found, (other, driver));
        // One that is given and not there is not replaced by another.
        let gone = second.path().join("gone");
        assert!(programs(&args(None, Some(&gone)), &path).is_err());
    }

    #[test]
    fn a_report_that_is_not_there_is_told_before_anything_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let [chromium, driver] = [CHROMIUM, CHROMEDRIVER].map(|name| program(folder.path(), name));
        let mut args = args(Some(&chromium), Some(&driver));
        args.report = folder.path().join("none.html");
        let error = run(&args).unwrap_err().to_string();
        assert!(error.contains("none.html"), "{error}");
        assert!(error.contains("cargo xtask pipeline"), "{error}");
    }

    #[test]
    fn ci_opens_the_report_of_its_own_quickstart() {
        let args = Args::of_ci().unwrap();
        assert!(args.report.ends_with("ci/quickstart/eval/report.html"));
    }
}
