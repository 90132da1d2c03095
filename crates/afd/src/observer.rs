//! What a run looks like on the terminal: bars where there is one, plain lines elsewhere.

use std::{
    cell::RefCell,
    io::{IsTerminal, Write, stderr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
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
pub(crate) fn for_terminal() -> Arc<dyn Observer> {
    if stderr().is_terminal() {
        Arc::new(Bars::default())
    } else {
        Arc::new(Lines {
            last: Mutex::new(Instant::now()),
        })
    }
}

/// Says nothing while something else is `shown` on the terminal.
struct Behind {
    shown: Arc<AtomicBool>,
    observer: Arc<dyn Observer>,
}

/// The same, which leaves the terminal alone while something else is `shown` on it.
pub(crate) fn behind(shown: Arc<AtomicBool>) -> Arc<dyn Observer> {
    let observer = for_terminal();
    match stderr().is_terminal() {
        true => Arc::new(Behind { shown, observer }),
        false => observer,
    }
}

impl Observer for Behind {
    fn event(&self, event: &Event<'_>) {
        if !self.shown.load(Ordering::Relaxed) {
            self.observer.event(event);
        }
    }
}

/// Tells of downloads, as stages are told of: a bar on a terminal, a line now and then elsewhere.
#[derive(Default)]
pub(crate) struct Downloads {
    current: RefCell<Option<Download>>,
}

/// The file that is being fetched.
struct Download {
    file: String,
    bar: Option<ProgressBar>,
    last: Instant,
}

impl Downloads {
    /// `done` of `total` bytes of `file` are here.
    pub(crate) fn tell(&self, file: &str, done: u64, total: u64) {
        let mut current = self.current.borrow_mut();
        let download = match current.take() {
            Some(download) if download.file == file => download,
            _ => Download::new(file, total),
        };
        if done >= total {
            if let Some(bar) = &download.bar {
                bar.finish_and_clear();
            }
            line(&format!("{file:<22} fetched, {}", mebibytes(total)));
            return;
        }
        *current = Some(download.tell(done, total));
    }
}

impl Download {
    fn new(file: &str, total: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let template = "{prefix:<22} {bar:30.cyan/blue} {bytes}/{total_bytes} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(file.to_owned());
            bar
        });
        Self {
            file: file.to_owned(),
            bar,
            last: Instant::now(),
        }
    }

    fn tell(mut self, done: u64, total: u64) -> Self {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.last.elapsed() >= QUIET => {
                self.last = Instant::now();
                let file = &self.file;
                line(&format!(
                    "{file:<22} {} of {}",
                    mebibytes(done),
                    mebibytes(total)
                ));
            }
            None => {}
        }
        self
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
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

fn of_stage(stage: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{prefix:<22} {bar:30.cyan/blue} {pos}/{len} {wide_msg} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(stage.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

impl Observer for Bars {
    fn event(&self, event: &Event<'_>) {
        let Ok(mut bar) = self.bar.lock() else { return };
        match event {
            Event::Skipped { stage } => line(&format!("{stage:<22} skipped, nothing changed")),
            Event::Started { stage, resumed } => {
                let new = of_stage(stage);
                if *resumed {
                    new.set_message("resumed");
                }
                *bar = Some(new);
            }
            Event::Progress {
                stage,
                done,
                total,
                unit,
                note,
            } => {
                // Whoever begins to listen in the middle of a stage did not hear of its start.
                let bar = bar.get_or_insert_with(|| of_stage(stage));
                bar.set_length(*total);
                bar.set_position(*done);
                bar.set_message(format!("{unit}s {note}"));
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl Observer for Counts {
        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_behind_something_hears_when_that_is_gone() {
        let (shown, counts) = (Arc::new(AtomicBool::new(true)), Arc::new(Counts::default()));
        let behind = Behind {
            shown: shown.clone(),
            observer: counts.clone(),
        };
        let progress = Event::Progress {
            stage: "sft",
            done: 1,
            total: 2,
            unit: "step",
            note: "",
        };
        behind.event(&progress);
        assert_eq!(counts.0.load(Ordering::Relaxed), 0);
        shown.store(false, Ordering::Relaxed);
        behind.event(&progress);
        assert_eq!(counts.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_stage_heard_of_in_its_middle_has_a_bar() {
        let bars = Bars::default();
        bars.event(&Event::Progress {
            stage: "sft",
            done: 3,
            total: 7,
            unit: "step",
            note: "loss 1",
        });
        let bar = bars.bar.lock().unwrap().take().unwrap();
        assert_eq!((bar.prefix(), bar.position()), ("sft".to_owned(), 3));
    }
}
