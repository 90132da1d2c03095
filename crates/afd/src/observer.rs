//! What a run looks like on the terminal: bars where there is one, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::Mutex,
    time::{Duration, Instant},
};

use afd_stage::{Cost, Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};

/// Seconds between two plain lines about one stage.
const QUIET: Duration = Duration::from_secs(10);

/// Draws a bar per running stage.
#[derive(Default)]
struct Bars {
    bar: Mutex<Option<ProgressBar>>,
}

/// Writes a line now and then.
struct Lines {
    last: Mutex<Instant>,
}

/// The observer that fits where standard error goes.
pub(crate) fn for_terminal() -> std::sync::Arc<dyn Observer> {
    if stderr().is_terminal() {
        std::sync::Arc::new(Bars::default())
    } else {
        std::sync::Arc::new(Lines {
            last: Mutex::new(Instant::now()),
        })
    }
}

fn finished(stage: &str, cost: &Cost) -> String {
    let mut text = format!("{stage:<22} done  {:>6.1} s", cost.seconds);
    if cost.tokens > 0 {
        text += &format!("  {:>10} tokens", cost.tokens);
    }
    if let Some(bytes) = cost.peak_memory_bytes {
        text += &format!("  peak {:>5} MiB", bytes >> 20);
    }
    text
}

fn line(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(stderr(), "{text}");
}

impl Observer for Bars {
    fn event(&self, event: &Event<'_>) {
        let Ok(mut bar) = self.bar.lock() else { return };
        match event {
            Event::Skipped { stage } => line(&format!("{stage:<22} skipped, nothing changed")),
            Event::Started { stage, resumed } => {
                let new = ProgressBar::new(0);
                let template = "{prefix:<22} {bar:30.cyan/blue} {pos}/{len} {wide_msg} {eta}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    new.set_style(style);
                }
                new.set_prefix((*stage).to_owned());
                if *resumed {
                    new.set_message("resumed");
                }
                new.enable_steady_tick(Duration::from_millis(200));
                *bar = Some(new);
            }
            Event::Progress {
                done,
                total,
                unit,
                note,
                ..
            } => {
                if let Some(bar) = bar.as_ref() {
                    bar.set_length(*total);
                    bar.set_position(*done);
                    bar.set_message(format!("{unit}s {note}"));
                }
            }
            Event::Finished { stage, cost } => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
                line(&finished(stage, cost));
            }
            Event::Failed { stage } => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
                line(&format!("{stage:<22} failed"));
            }
        }
    }
}

impl Observer for Lines {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Skipped { stage } => line(&format!("{stage:<22} skipped, nothing changed")),
            Event::Started { stage, resumed } => {
                if let Ok(mut last) = self.last.lock() {
                    *last = Instant::now();
                }
                if *resumed {
                    line(&format!("{stage:<22} resumed"));
                }
            }
            Event::Progress {
                stage,
                done,
                total,
                unit,
                note,
            } => {
                let Ok(mut last) = self.last.lock() else {
                    return;
                };
                if last.elapsed() >= QUIET {
                    *last = Instant::now();
                    line(&format!("{stage:<22} {unit} {done}/{total} {note}"));
                }
            }
            Event::Finished { stage, cost } => line(&finished(stage, cost)),
            Event::Failed { stage } => line(&format!("{stage:<22} failed")),
        }
    }
}
