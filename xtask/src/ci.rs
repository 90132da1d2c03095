//! `cargo xtask ci`: everything expected before a pull request, cheapest first.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::error::Error;
use crate::{quickstart, shell};

/// One check. `repeat` is what a person types to run it alone.
struct Step {
    repeat: String,
    run: Box<dyn FnOnce() -> Result<Outcome, Error>>,
}

enum Outcome {
    Passed,
    /// Why, and what to do about it.
    Skipped(&'static str),
}

/// What became of the steps, in words for the end of the output.
#[derive(Default)]
struct Tally {
    lines: Vec<String>,
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Runs the steps and stops at the first that fails. The last line of the output counts them.
pub(crate) fn run() -> ExitCode {
    let steps = steps();
    let count = steps.len();
    let tally = run_all(steps);
    println!("\n{}", tally.lines.join("\n"));
    println!("{}", tally.last_line(count));
    if tally.failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn steps() -> Vec<Step> {
    let mut doc = shell::cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    vec![
        Step::command(shell::cargo(&["fmt", "--all", "--check"])),
        Step::command(shell::cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])),
        Step::command(doc),
        Step::command(shell::cargo(&["test", "--workspace"])),
        Step {
            repeat: "cargo deny check".to_owned(),
            run: Box::new(deny),
        },
        Step {
            repeat: "cargo xtask quickstart".to_owned(),
            run: Box::new(|| quickstart::run().map(|()| Outcome::Passed)),
        },
    ]
}

impl Step {
    fn command(mut command: Command) -> Step {
        Step {
            repeat: shell::line(&command),
            run: Box::new(move || shell::run(&mut command).map(|()| Outcome::Passed)),
        }
    }
}

fn deny() -> Result<Outcome, Error> {
    let installed = shell::cargo(&["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !installed {
        return Ok(Outcome::Skipped(
            "cargo-deny is not installed: cargo install --locked cargo-deny",
        ));
    }
    shell::run(&mut shell::cargo(&["deny", "check"])).map(|()| Outcome::Passed)
}

fn run_all(steps: Vec<Step>) -> Tally {
    let count = steps.len();
    let mut tally = Tally::default();
    for (index, step) in steps.into_iter().enumerate() {
        if tally.failed > 0 {
            tally
                .lines
                .push(format!("not run            {}", step.repeat));
            continue;
        }
        println!("\n[{}/{count}] {}", index + 1, step.repeat);
        let start = Instant::now();
        let result = (step.run)();
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(Outcome::Passed) => {
                tally.passed += 1;
                tally
                    .lines
                    .push(format!("passed  {seconds:7.1} s  {}", step.repeat));
            }
            Ok(Outcome::Skipped(why)) => {
                tally.skipped += 1;
                println!("skipped: {why}");
                tally
                    .lines
                    .push(format!("skipped            {} ({why})", step.repeat));
            }
            Err(error) => {
                tally.failed += 1;
                eprintln!("error: {error}");
                tally.lines.push(format!(
                    "FAILED  {seconds:7.1} s  {}   <- repeat this",
                    step.repeat
                ));
            }
        }
    }
    tally
}

impl Tally {
    fn last_line(&self, steps: usize) -> String {
        let not_run = steps - self.passed - self.failed - self.skipped;
        format!(
            "{} passed, {} failed, {} skipped, {not_run} not run ({steps} steps)",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(repeat: &str, run: impl FnOnce() -> Result<Outcome, Error> + 'static) -> Step {
        Step {
            repeat: repeat.into(),
            run: Box::new(run),
        }
    }

    #[test]
    fn the_first_failure_stops_the_rest_and_says_how_to_repeat_it() {
        let tally = run_all(vec![
            step("one", || Ok(Outcome::Passed)),
            step("two", || Ok(Outcome::Skipped("no tool"))),
            step("three", || Err(Error::NoTargetDirectory)),
            step("four", || panic!("must not run")),
        ]);
        assert_eq!(
            tally.last_line(4),
            "1 passed, 1 failed, 1 skipped, 1 not run (4 steps)"
        );
        assert!(tally.lines[1].ends_with("two (no tool)"));
        assert!(tally.lines[2].starts_with("FAILED"));
        assert!(tally.lines[2].contains("three   <- repeat this"));
        assert!(tally.lines[3].starts_with("not run"));
    }
}
