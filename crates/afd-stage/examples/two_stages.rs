//! A run of two stages: `cargo run -p afd-stage --example two_stages [DIRECTORY] [N]`.
//!
//! Call it again and both stages are skipped; with another N and both run; stop it in between and
//! the first resumes where it was.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use afd_stage::{Event, Observer, RunDir, StageContext, fs};

/// The first stage's configuration.
#[derive(serde::Serialize)]
struct Squares {
    count: u64,
}

/// Prints what happens.
struct Terminal;

impl Observer for Terminal {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Skipped { stage } => println!("{stage}: already there"),
            Event::Started { stage, resumed } => println!("{stage}: resumed = {resumed}"),
            Event::Progress {
                stage,
                done,
                total,
                unit,
                note,
            } => println!("{stage}: {done} of {total} {unit}, {note}"),
            Event::Finished { stage, cost } => println!("{stage}: done in {:.2} s", cost.seconds),
            Event::Failed { stage } => println!("{stage}: failed"),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().map_or_else(
        || std::env::temp_dir().join("afd-two-stages"),
        PathBuf::from,
    );
    let count = arguments.next().map_or(Ok(20), |n| n.parse())?;

    let run = RunDir::open(&root, 42, Arc::new(Terminal))?;
    let config = Squares { count };
    let squares = run.stage("squares", 1, &config, &[], |ctx| squares(&config, ctx))?;
    let sum = run.stage("sum", 1, &(), &[&squares], |ctx| {
        let text = fs::read_to_string(&squares.file("squares.txt"))?;
        let sum: u64 = text
            .lines()
            .filter_map(|line| line.parse::<u64>().ok())
            .sum();
        ctx.write("sum.txt", sum.to_string().as_bytes())
    })?;
    println!("{}", fs::read_to_string(&sum.file("sum.txt"))?);
    Ok(())
}

/// Writes one square per line, slowly, so that there is time to stop and resume it.
fn squares(config: &Squares, ctx: &StageContext) -> Result<(), afd_stage::Error> {
    // The file is replaced at each step, so whatever a kill leaves is a valid beginning.
    let mut text = if ctx.resumed() && ctx.dir().join("squares.txt").exists() {
        fs::read_to_string(&ctx.dir().join("squares.txt"))?
    } else {
        String::new()
    };
    let done = text.lines().count() as u64;
    ctx.metrics().truncate_after(done)?;
    for step in done + 1..=config.count {
        sleep(Duration::from_millis(50));
        text.push_str(&format!("{}\n", step * step));
        ctx.write("squares.txt", text.as_bytes())?;
        ctx.metrics()
            .log(step, &[("square", (step * step) as f64)])?;
        ctx.progress(step, config.count, "squares", "so far so good");
    }
    Ok(())
}
