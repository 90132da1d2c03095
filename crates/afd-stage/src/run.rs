//! A run's directory, and the one way to put something into it.

use std::error;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::manifest::{MANIFEST, Manifest, Recipe};
use crate::scratch::{self, Scratch};
use crate::{Artifact, Error, Event, Observer, StageContext, StageError, fs, name, seed};

/// A run's directory, locked against other processes while this lives.
pub struct RunDir {
    root: PathBuf,
    seed: u64,
    observer: Arc<dyn Observer>,
    forced: Vec<String>,
    environment: Option<String>,
    lock: File,
}

impl RunDir {
    /// Opens the run in the directory `root`, which is created if need be, and puts into place
    /// what a kill kept from getting there. All stages' seeds derive from `seed`.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another `RunDir`, in this process or another, has it open;
    /// [`Error::Io`] when it cannot be created or written.
    pub fn open(root: &Path, seed: u64, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        fs::create_dir_all(root)?;
        let lock = lock(root)?;
        scratch::heal(root)?;
        Ok(Self {
            root: root.to_path_buf(),
            seed,
            observer,
            forced: Vec::new(),
            environment: None,
            lock,
        })
    }

    /// Whether a `RunDir`, in any process, has the run in `root` open now. For who only looks on.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when that cannot be found out.
    pub fn is_open(root: &Path) -> Result<bool, Error> {
        let path = root.join(".lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        match file.try_lock_shared() {
            // Let go of again as the file is closed.
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
        }
    }

    /// Makes [`stage`](Self::stage) run `stage` from its start, whatever is finished or begun.
    /// A leading part of a name means all stages below: `reward` forces `reward/init-sft`.
    pub fn force(&mut self, stage: &str) {
        self.forced.push(stage.to_owned());
    }

    /// Has every stage that runs from now on say in its manifest where it was computed: one line
    /// on device, driver and precision. It is no part of the key, so a stage that is skipped keeps
    /// the line of the run that computed it.
    pub fn record_environment(&mut self, environment: &str) {
        self.environment = Some(environment.to_owned());
    }

    /// Returns the result of the stage `name`, calling `body` to make it only if it is not there.
    ///
    /// It is there if a stage of this name finished with the same `format`, `config`, seed and
    /// `inputs`. `format` is a number that the stage's author raises when the code changes what
    /// the stage writes. `config` is compared by its JSON form, in which NaN and infinities are
    /// `null`: validate them away. `inputs` are compared by content, in their order.
    ///
    /// `body` fills [`StageContext::dir`]. When it returns an error or panics, what it wrote stays
    /// for the next attempt, and an older finished result stays in place.
    ///
    /// `name` may have parts, as in `reward/init-sft`; no stage may lie within another.
    ///
    /// # Errors
    ///
    /// [`StageError::Body`] with `body`'s error; [`StageError::Run`] when the name cannot be used,
    /// a finished result is damaged, or the result cannot be written.
    pub fn stage<C, E>(
        &self,
        name: &str,
        format: u32,
        config: &C,
        inputs: &[&Artifact],
        body: impl FnOnce(&StageContext) -> Result<(), E>,
    ) -> Result<Artifact, StageError<E>>
    where
        C: Serialize,
        E: error::Error + Send + Sync + 'static,
    {
        let _span = tracing::info_span!("stage", name).entered();
        name::check(name)?;
        let recipe = Recipe::new(name, format, config, inputs, self.seed)?;
        let key = recipe.key();
        let forced = self.is_forced(name);
        if !forced && let Some(artifact) = self.finished(name, &key)? {
            self.observer.event(&Event::Skipped { stage: name });
            return Ok(artifact);
        }

        // Better now than after hours of work.
        scratch::refuse_obstacles(&self.root, name)?;
        let scratch = Scratch::prepare(&self.root, name, &key, forced)?;
        let environment = self.environment.as_deref();
        let observer = self.observer.clone();
        let context = StageContext::new(name, scratch, environment, self.seed, observer)?;
        self.observer.event(&Event::Started {
            stage: name,
            resumed: context.resumed(),
        });
        let attempt = Attempt {
            run: self,
            stage: name,
            context: &context,
            finished: false,
        };
        body(&context).map_err(|source| StageError::Body {
            stage: name.to_owned(),
            source,
        })?;
        Ok(attempt.finish(recipe)?)
    }

    /// The result of [`stage`](Self::stage) if it is there and is not to be made anew, without
    /// making it.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), but for a stage that is not finished.
    pub fn find<C: Serialize>(
        &self,
        name: &str,
        format: u32,
        config: &C,
        inputs: &[&Artifact],
    ) -> Result<Option<Artifact>, Error> {
        name::check(name)?;
        if self.is_forced(name) {
            return Ok(None);
        }
        let key = Recipe::new(name, format, config, inputs, self.seed)?.key();
        self.finished(name, &key)
    }

    /// The result of a stage that is finished, with whatever configuration.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinished`], or [`Error::Damaged`] or [`Error::Manifest`] when it is not what
    /// the stage wrote.
    pub fn read(&self, name: &str) -> Result<Artifact, Error> {
        name::check(name)?;
        let (place, manifest) = self.manifest(name)?.ok_or_else(|| Error::NotFinished {
            stage: name.to_owned(),
            root: self.root.clone(),
        })?;
        manifest.verify(&place)?;
        Ok(Artifact::finished(place, manifest))
    }

    /// Writes a file such as `config.toml` at the top of the run's directory, atomically.
    ///
    /// # Errors
    ///
    /// [`Error::FileName`] when `name` is not a plain file name or begins with a dot, [`Error::Io`]
    /// when it cannot be written.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        if !fs::stays_below(name) || name.contains('/') || name.starts_with('.') {
            return Err(Error::FileName {
                name: name.to_owned(),
                reserved: "directories and names that begin with a dot",
            });
        }
        fs::write_atomic(&self.root.join(name), bytes)
    }

    /// The run's directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The seed that [`StageContext::seed`] has in the stage `name`: what computes a part of that
    /// stage under another name draws from it.
    pub fn stage_seed(&self, name: &str) -> u64 {
        seed::derive(self.seed, name, 0)
    }

    /// Whether [`force`](Self::force) was called for this stage.
    pub fn is_forced(&self, stage: &str) -> bool {
        let mut patterns = self.forced.iter();
        patterns.any(|pattern| name::matches(stage, pattern))
    }

    /// The stage's result if it has this key; an error if it has but is damaged.
    fn finished(&self, stage: &str, key: &str) -> Result<Option<Artifact>, Error> {
        // Opening the run healed it; this is for a rename that failed since.
        if scratch::complete_key(&self.root, stage).as_deref() == Some(key) {
            scratch::publish(&self.root, stage)?;
        }
        let Some((place, manifest)) = self.manifest(stage)? else {
            return Ok(None);
        };
        if manifest.key != key {
            return Ok(None);
        }
        manifest.verify(&place)?;
        Ok(Some(Artifact::finished(place, manifest)))
    }

    fn manifest(&self, stage: &str) -> Result<Option<(PathBuf, Manifest)>, Error> {
        let place = self.root.join(stage);
        if !place.join(MANIFEST).exists() {
            return Ok(None);
        }
        let manifest = Manifest::read(&place)?;
        Ok(Some((place, manifest)))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // Closing the file would do, but for a child process that was forked and still holds it.
        // However this process ends, the system unlocks it.
        let _ = self.lock.unlock();
    }
}

/// A call of a stage's function. Failed, by error or panic, unless it gets to the end of
/// [`finish`](Attempt::finish).
struct Attempt<'a> {
    run: &'a RunDir,
    stage: &'a str,
    context: &'a StageContext,
    finished: bool,
}

impl Attempt<'_> {
    fn finish(mut self, recipe: Recipe<'_>) -> Result<Artifact, Error> {
        let cost = self.context.close();
        let environment = self.context.environment();
        let manifest = recipe.manifest(self.context.dir(), environment, cost)?;
        manifest.write(self.context.dir())?;
        let place = scratch::publish(&self.run.root, self.stage)?;
        self.finished = true;
        self.run.observer.event(&Event::Finished {
            stage: self.stage,
            cost: &cost,
        });
        Ok(Artifact::finished(place, manifest))
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.context.abandon();
            self.run
                .observer
                .event(&Event::Failed { stage: self.stage });
        }
    }
}

fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            root: root.to_path_buf(),
        }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
    }
}

#[cfg(test)]
mod tests;
