//! What a stage's function works with: its scratch directory, seed, metrics and cost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cost::Meter;
use crate::environment::{self, ENVIRONMENT};
use crate::manifest::MANIFEST;
use crate::scratch::{COST, KEY, Scratch};
use crate::{Cost, Error, Event, Metrics, Observer, fs, seed};

/// Handed to a stage's function by [`RunDir::stage`](crate::RunDir::stage).
pub struct StageContext {
    stage: String,
    dir: PathBuf,
    resumed: bool,
    environment: Option<String>,
    seed: u64,
    metrics: Metrics,
    meter: Meter,
    observer: Arc<dyn Observer>,
}

impl StageContext {
    pub(crate) fn new(
        stage: &str,
        scratch: Scratch,
        environment: Option<&str>,
        run_seed: u64,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, Error> {
        Ok(Self {
            stage: stage.to_owned(),
            environment: environment::note(&scratch.dir, environment)?,
            metrics: Metrics::open(&scratch.dir.join("metrics.jsonl"))?,
            meter: Meter::start(scratch.dir.join(COST)),
            dir: scratch.dir,
            resumed: scratch.resumed,
            seed: seed::derive(run_seed, stage, 0),
            observer,
        })
    }

    /// The directory to write to. What is in it when the function returns is the stage's result;
    /// what is in it after a kill is there again when the stage resumes. Files called
    /// `checkpoint-…`, `tb` or `metrics.jsonl` at its top are kept but are no part of the result.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether an earlier attempt at the very same stage left something in [`dir`](Self::dir):
    /// possibly a checkpoint, possibly nothing of use.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Where the stage is computed: what its manifest will say in
    /// [`environment`](crate::Manifest::environment).
    pub fn environment(&self) -> Option<&str> {
        self.environment.as_deref()
    }

    /// The stage's own seed, the same in each attempt. To be split further by
    /// [`seed::derive`](crate::seed::derive).
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The stage's curves. A resumed stage cuts them back to its checkpoint with
    /// [`Metrics::truncate_after`] before it logs.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Says that `done` of `total` `unit`s are done, with a few words on how it goes. Cheap enough
    /// to be called at every step.
    pub fn progress(&self, done: u64, total: u64, unit: &str, note: &str) {
        self.meter.save_now_and_then();
        self.observer.event(&Event::Progress {
            stage: &self.stage,
            done,
            total,
            unit,
            note,
        });
    }

    /// Counts `n` more tokens read or written.
    pub fn add_tokens(&self, n: u64) {
        self.meter.add_tokens(n);
    }

    /// Counts `n` more questions put to a judge's server, and what they cost.
    pub fn add_requests(&self, n: u64, price: f64) {
        self.meter.add_requests(n, price);
    }

    /// Writes a file of the result atomically; directories in `file` are created.
    ///
    /// # Errors
    ///
    /// [`Error::FileName`] when `file` leads out of [`dir`](Self::dir) or is one that this crate
    /// keeps there, [`Error::Io`] when it cannot be written.
    pub fn write(&self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        if !fs::stays_below(file) || [MANIFEST, KEY, COST, ENVIRONMENT].contains(&file) {
            return Err(Error::FileName {
                name: file.to_owned(),
                reserved: "`manifest.json`, `key`, `cost.json` and `environment`",
            });
        }
        let path = self.dir.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write_atomic(&path, bytes)
    }

    /// The end of the function: no more metrics, and what it took.
    pub(crate) fn close(&self) -> Cost {
        self.metrics.close();
        self.meter.cost()
    }

    /// The end of an attempt that failed: its cost goes to the next.
    pub(crate) fn abandon(&self) {
        self.metrics.close();
        self.meter.save();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;

    fn context(dir: &Path) -> StageContext {
        let scratch = Scratch {
            dir: dir.to_path_buf(),
            resumed: false,
        };
        StageContext::new("reward/init-sft", scratch, None, 42, Arc::new(Quiet)).unwrap()
    }

    #[test]
    fn the_seed_is_derived_from_the_stage_name() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            context(dir.path()).seed(),
            seed::derive(42, "reward/init-sft", 0)
        );
    }

    #[test]
    fn writes_stay_in_the_directory_and_off_the_bookkeeping() {
        let dir = tempfile::tempdir().unwrap();
        let context = context(dir.path());
        context.write("shards/0.jsonl", b"x").unwrap();
        context.write("sub/key", b"y").unwrap();
        assert!(dir.path().join("shards/0.jsonl").is_file());

        for name in [
            "manifest.json",
            "key",
            "cost.json",
            "environment",
            "../x",
            "/x",
            "",
        ] {
            let error = context.write(name, b"").unwrap_err();
            assert!(matches!(error, Error::FileName { .. }), "{name}: {error}");
        }
    }
}
