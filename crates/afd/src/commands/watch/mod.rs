//! `afd watch`: follows the run of another process: a dashboard on a terminal, lines elsewhere. `afd pipeline
//! --dashboard` has the same beside its own work.

mod dashboard;
mod lines;
mod scratch;

use std::{
    io::{IsTerminal, stdout},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use afd_backend::device::catch;
use afd_stage::RunDir;
use dashboard::Left;

use crate::error::Error;

/// What a shell says of a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Shows the run as long as a process is at it; then its results, or where it stopped.
pub(crate) fn run(run_dir: &Path) -> Result<(), Error> {
    if !run_dir.join("run.json").is_file() {
        return Err(Error::Usage(format!(
            "{} is no run: it holds no run.json; `afd pipeline --run-dir {}` makes one",
            run_dir.display(),
            run_dir.display()
        )));
    }
    let to_the_end = match stdout().is_terminal() {
        true => {
            let help = "q leaves; the run goes on";
            let is_at_it = || Ok(RunDir::is_open(run_dir)?);
            dashboard::follow(dashboard::open()?, run_dir, help, &is_at_it)? == Left::Ended
        }
        false => lines::follow(run_dir)?,
    };
    if !to_the_end {
        return Ok(());
    }
    let left = scratch::under_way(run_dir)
        .into_iter()
        .find(|stage| !scratch::is_behind(stage, run_dir));
    match left {
        Some(stage) => Err(Error::Usage(format!(
            "nobody is at {} any more, and {} is not finished: the command that made it goes on there",
            run_dir.display(),
            scratch::name(&stage)
        ))),
        None => super::report::run(&[run_dir.to_path_buf()]),
    }
}

/// Does `work`, which is at the run in `run_dir`, with the run's dashboard on the terminal until the work is done or the
/// user has seen enough; then `shown` becomes false. Ctrl-C ends the process: what is finished stays, and the same
/// command goes on.
///
/// # Errors
/// When the terminal cannot be drawn on; then there was no work.
pub(crate) fn beside<T>(
    run_dir: &Path,
    shown: &AtomicBool,
    work: impl FnOnce() -> T,
) -> Result<T, Error> {
    // Before the work begins: it asks for panics to be told, and that takes a moment in which none may come.
    let terminal = dashboard::open()?;
    let at_it = AtomicBool::new(true);
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            let _shown = Falls(shown);
            let help = "q: lines instead; Ctrl-C: stop, the same command goes on";
            let is_at_it = || Ok(at_it.load(Ordering::Relaxed));
            // A dashboard that breaks off is no reason to lose the work.
            let left = catch(|| dashboard::follow(terminal, run_dir, help, &is_at_it));
            match left {
                Ok(Ok(Left::Interrupted)) => std::process::exit(INTERRUPTED),
                Ok(Ok(Left::Ended | Left::Quit)) => {}
                Ok(Err(error)) => tracing::error!(%error, "the dashboard broke off"),
                Err(reason) => tracing::error!(reason, "the dashboard broke off"),
            }
        });
        // Also when the work panics.
        let _at_it = Falls(&at_it);
        work()
    });
    Ok(done)
}

/// Becomes false in the end, however that comes.
struct Falls<'a>(&'a AtomicBool);

impl Drop for Falls<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
