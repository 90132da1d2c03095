//! `cargo xtask ci`: everything expected before a pull request, cheapest first.

use std::env;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;

use crate::backend::{Backend, Backends};
use crate::environment::{Environment, tuned};
use crate::error::Error;
use crate::{Cli, browser, product, setup, shell};

/// The tests that compute on a device, without the documentation's and those that start `afd`,
/// which does so on Flex. Selecting targets and not packages leaves every feature as it is, so that
/// nothing is compiled again.
const ON_A_DEVICE: &[&str] = &[
    "--lib",
    "--test",
    "conformance",
    "--test",
    "devices",
    "--test",
    "training",
];

/// Leaves out the tests that go through some twenty families of models: they differ in how they put operations
/// together, which other devices see to, and SwiftShader compiles every kernel of theirs.
const NO_FAMILIES: &[&str] = &["--", "--skip", "family"];

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
    if tally.failed > 0 && env::var_os("CARGO_TARGET_DIR").is_some() {
        let dirs = ["CARGO_TARGET_DIR", setup::DIR_VARIABLE];
        let set = dirs.map(|name| env::var_os(name).map(|dir| (name, dir)));
        let set = set.into_iter().flatten();
        let words: Vec<String> = set
            .map(|(name, dir)| format!("{name}={}", shell::quoted(&dir)))
            .collect();
        println!("to repeat a step: export {}", words.join(" "));
    }
    println!("{}", tally.last_line(count));
    if tally.failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn steps() -> Vec<Step> {
    // Nearly every step compiles with both backends, so that Burn is compiled once for all of them.
    let union: Backends = [Backend::Libtorch, Backend::Vulkan].into_iter().collect();
    let mut doc = workspace("doc", &union, &["--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    let flex = Backends::default();
    let wgpu = [Backend::Wgpu].into_iter().collect();
    // What a real GPU gets besides is compiled with it. As on docs.rs, the download of LLVM is left
    // out, and types can be checked without it.
    let gpu: Backends = [Backend::Cuda, Backend::Vulkan].into_iter().collect();
    let mut check_gpu = shell::cargo(&["check", "--workspace"]);
    check_gpu.args(gpu.of_workspace(true)).env("DOCS_RS", "1");
    vec![
        Step::command(shell::cargo(&["fmt", "--all", "--check"])),
        Step::xtask("setup libtorch"),
        Step::xtask("setup vulkan"),
        Step::on(
            &union,
            workspace("clippy", &union, &["--all-targets", "--", "-D", "warnings"]),
        ),
        Step::on(&union, doc),
        Step {
            repeat: "cargo deny check".to_owned(),
            run: Box::new(deny),
        },
        Step::command(workspace(
            "clippy",
            &flex,
            &["--all-targets", "--", "-D", "warnings"],
        )),
        Step::command(workspace("check", &wgpu, &[])),
        Step::command(check_gpu),
        Step::on(&union, test("flex", &union, &[])),
        Step::on(&union, test("libtorch", &union, ON_A_DEVICE)),
        Step::on(
            &union,
            test("vulkan", &union, &[ON_A_DEVICE, NO_FAMILIES].concat()),
        ),
        Step::xtask("quickstart --device flex --dev --features libtorch,vulkan"),
        Step {
            repeat:
                "cargo xtask browser \"${CARGO_TARGET_DIR:-target}/ci/quickstart/eval/report.html\""
                    .to_owned(),
            run: Box::new(report_in_a_browser),
        },
        Step::xtask("study reward --quick --dev --features libtorch,vulkan"),
        Step::xtask("study policy --quick --dev --features libtorch,vulkan"),
        Step::xtask("agreement --dev libtorch vulkan"),
        Step::command(shell::cargo(&["build", "--release", "-p", "afd"])),
        Step {
            repeat: "env -i \"${CARGO_TARGET_DIR:-target}/release/afd\" doctor".to_owned(),
            run: Box::new(flex_needs_nothing),
        },
    ]
}

/// `cargo VERB` on the workspace with these backends.
fn workspace(verb: &str, backends: &Backends, args: &[&str]) -> Command {
    let mut command = shell::cargo(&[verb, "--workspace"]);
    command
        .args(backends.of_workspace(tuned(backends)))
        .args(args);
    command
}

fn test(device: &str, backends: &Backends, args: &[&str]) -> Command {
    let mut command = workspace("test", backends, args);
    command.env("AFD_DEVICE", device);
    command
}

impl Step {
    fn command(mut command: Command) -> Step {
        Step {
            repeat: shell::line(&command),
            run: Box::new(move || shell::run(&mut command).map(|()| Outcome::Passed)),
        }
    }

    /// A command in the environment of these backends, which an earlier step sets up.
    fn on(backends: &Backends, mut command: Command) -> Step {
        let backends = backends.clone();
        Step {
            repeat: shell::evaluated_environment() + &shell::line(&command),
            run: Box::new(move || {
                Environment::of(&backends)?.apply(&mut command)?;
                shell::run(&mut command).map(|()| Outcome::Passed)
            }),
        }
    }

    /// A task of `cargo xtask`, called and not started.
    fn xtask(line: &'static str) -> Step {
        Step {
            repeat: format!("cargo xtask {line}"),
            run: Box::new(move || crate::run(xtask(line)).map(|_| Outcome::Passed)),
        }
    }
}

fn xtask(line: &str) -> Cli {
    Cli::parse_from(std::iter::once("xtask").chain(line.split(' ')))
}

/// Starts the build for Flex alone in an empty environment, where no library can be found.
fn flex_needs_nothing() -> Result<Outcome, Error> {
    let mut doctor = Command::new(product::path("release")?);
    shell::run(doctor.arg("doctor").env_clear()).map(|()| Outcome::Passed)
}

/// Opens the report that the step of the quickstart has written.
fn report_in_a_browser() -> Result<Outcome, Error> {
    match browser::run(&browser::Args::of_ci()?) {
        Ok(()) => Ok(Outcome::Passed),
        Err(Error::NoBrowser { .. }) => Ok(Outcome::Skipped(
            "Chromium or its driver is not installed: apt-get install chromium chromium-driver",
        )),
        Err(error) => Err(error),
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
    fn what_needs_backends_says_so_and_never_changes_their_features() {
        let lines: Vec<String> = steps().into_iter().map(|step| step.repeat).collect();
        let tests = lines.iter().filter(|line| line.contains("cargo test"));
        let both = "cargo test --workspace --features afd-backend/libtorch,afd-backend/vulkan";
        let devices: Vec<&str> = tests
            .map(|line| {
                assert!(line.starts_with("eval \"$("), "{line}");
                let (before, _) = line.split_once(both).unwrap();
                before.trim_end().rsplit_once("AFD_DEVICE=").unwrap().1
            })
            .collect();
        assert_eq!(devices, ["flex", "libtorch", "vulkan"]);
    }

    #[test]
    fn a_browser_opens_the_report_right_after_the_quickstart_that_writes_it() {
        let lines: Vec<String> = steps().into_iter().map(|step| step.repeat).collect();
        let starts = |prefix| lines.iter().position(|line| line.starts_with(prefix));
        let quickstart = starts("cargo xtask quickstart").unwrap();
        assert_eq!(starts("cargo xtask browser"), Some(quickstart + 1));
    }

    #[test]
    fn the_tasks_among_the_steps_exist() {
        for step in steps() {
            if let Some(line) = step.repeat.strip_prefix("cargo xtask ") {
                let words = std::iter::once("xtask").chain(line.split(' '));
                assert!(Cli::try_parse_from(words).is_ok(), "{line}");
            }
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
