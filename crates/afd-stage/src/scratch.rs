//! Where a stage works until it is finished, and how its result gets into place.
//!
//! A result is complete once its scratch directory has a manifest. From there to its place are two
//! renames: the old result goes to the trash, the new one takes its place. [`heal`] finishes what
//! a kill left between any two of these steps.

use std::path::{Path, PathBuf};

use crate::environment::ENVIRONMENT;
use crate::manifest::{MANIFEST, Manifest};
use crate::{Error, fs, name};

/// Names the file in a scratch directory that holds the stage's key.
pub(crate) const KEY: &str = "key";
/// Names the file in a scratch directory that holds the cost of interrupted attempts.
pub(crate) const COST: &str = "cost.json";

/// In a run's directory; no stage's name begins with a dot.
const SCRATCH: &str = ".scratch";
/// In [`SCRATCH`], next to the stages' directories.
const TRASH: &str = ".trash";

/// A stage's scratch directory.
pub(crate) struct Scratch {
    pub(crate) dir: PathBuf,
    /// Whether it was there before, with the same key.
    pub(crate) resumed: bool,
}

impl Scratch {
    /// Finds the stage's scratch directory again if it has this `key`, else makes an empty one;
    /// always an empty one if `fresh`.
    pub(crate) fn prepare(root: &Path, stage: &str, key: &str, fresh: bool) -> Result<Self, Error> {
        let dir = dir(root, stage);
        let old_key = std::fs::read_to_string(dir.join(KEY)).ok();
        let resumed = !fresh && old_key.as_deref() == Some(key);
        if resumed {
            fs::remove_leftovers(&dir)?;
            fs::remove_file(&dir.join(MANIFEST))?;
        } else {
            fs::remove_dir_all(&dir)?;
            fs::create_dir_all(&dir)?;
            fs::write_atomic(&dir.join(KEY), key.as_bytes())?;
        }
        Ok(Self { dir, resumed })
    }
}

/// Puts the stage's complete scratch directory into place and returns that place.
pub(crate) fn publish(root: &Path, stage: &str) -> Result<PathBuf, Error> {
    refuse_obstacles(root, stage)?;
    let scratch = dir(root, stage);
    let place = root.join(stage);
    let trash = root.join(SCRATCH).join(TRASH).join(name::flat(stage));

    // With its manifest the result is complete and needs these no more.
    for bookkeeping in [KEY, COST, ENVIRONMENT] {
        fs::remove_file(&scratch.join(bookkeeping))?;
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    if place.exists() {
        fs::remove_dir_all(&trash)?;
        fs::create_dir_all(&root.join(SCRATCH).join(TRASH))?;
        fs::rename_dir(&place, &trash)?;
    }
    fs::rename_dir(&scratch, &place)?;
    empty_trash(root);
    Ok(place)
}

/// Puts into place what was complete when its process was killed.
pub(crate) fn heal(root: &Path) -> Result<(), Error> {
    empty_trash(root);
    let scratches = root.join(SCRATCH);
    if !scratches.exists() {
        return Ok(());
    }
    for scratch in fs::entries(&scratches)? {
        if let Some(manifest) = complete(&scratch)
            && dir(root, &manifest.stage) == scratch
        {
            publish(root, &manifest.stage)?;
            tracing::info!(
                stage = manifest.stage,
                "put an interrupted result into place"
            );
        }
    }
    Ok(())
}

/// The key of the stage's complete scratch directory, if it has one.
pub(crate) fn complete_key(root: &Path, stage: &str) -> Option<String> {
    complete(&dir(root, stage)).map(|manifest| manifest.key)
}

/// Refuses to replace what no stage wrote, and to put one stage into another.
pub(crate) fn refuse_obstacles(root: &Path, stage: &str) -> Result<(), Error> {
    let in_the_way = |path: &Path| Error::InTheWay {
        stage: stage.to_owned(),
        path: path.to_path_buf(),
    };
    let place = root.join(stage);
    for parent in place.ancestors().skip(1).take_while(|path| *path != root) {
        if parent.is_file() || parent.join(MANIFEST).exists() {
            return Err(in_the_way(parent));
        }
    }
    if place.exists() && !place.join(MANIFEST).is_file() {
        let is_empty_dir = place.is_dir() && fs::entries(&place)?.is_empty();
        if !is_empty_dir {
            return Err(in_the_way(&place));
        }
    }
    Ok(())
}

fn dir(root: &Path, stage: &str) -> PathBuf {
    root.join(SCRATCH).join(name::flat(stage))
}

/// The manifest of a complete scratch directory. A broken one is none: the stage runs again.
fn complete(scratch: &Path) -> Option<Manifest> {
    let manifest = Manifest::read(scratch).ok()?;
    manifest.verify(scratch).ok()?;
    Some(manifest)
}

/// Best effort: what stays is in nobody's way and goes the next time.
fn empty_trash(root: &Path) {
    if let Err(error) = fs::remove_dir_all(&root.join(SCRATCH).join(TRASH)) {
        tracing::warn!(%error, "the trash was not emptied");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Quiet, RunDir, StageError};

    fn open(root: &Path) -> RunDir {
        RunDir::open(root, 1, Arc::new(Quiet)).unwrap()
    }

    fn write(run: &RunDir, name: &str, text: &str) -> Result<(), StageError<Error>> {
        run.stage(name, 1, &text, &[], |ctx| ctx.write("out", text.as_bytes()))
            .map(|_| ())
    }

    /// A call that must be skipped, and what it returns.
    fn skipped(run: &RunDir, name: &str, text: &str) -> String {
        let never = |_: &crate::StageContext| -> Result<(), Error> { panic!("it ran again") };
        let artifact = run.stage(name, 1, &text, &[], never).unwrap();
        fs::read_to_string(&artifact.file("out")).unwrap()
    }

    const STAGE: &str = "reward/init-sft";

    /// A run in which `new` of [`STAGE`] was just renamed over `old`, and where the two are, so
    /// that a test can turn back time.
    fn published() -> (tempfile::TempDir, [PathBuf; 3]) {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join(STAGE);
        let scratch = dir(root.path(), STAGE);
        let trash = root
            .path()
            .join(SCRATCH)
            .join(TRASH)
            .join(name::flat(STAGE));
        let aside = root.path().join("aside");
        write(&open(root.path()), STAGE, "old").unwrap();
        std::fs::rename(&place, &aside).unwrap();
        write(&open(root.path()), STAGE, "new").unwrap();
        std::fs::create_dir_all(trash.parent().unwrap()).unwrap();
        std::fs::rename(&aside, &trash).unwrap();
        (root, [scratch, place, trash])
    }

    #[test]
    fn a_kill_before_the_first_rename_is_healed() {
        let (root, [scratch, place, trash]) = published();
        std::fs::rename(&place, &scratch).unwrap();
        std::fs::rename(&trash, &place).unwrap();
        for bookkeeping in [KEY, COST, ENVIRONMENT] {
            std::fs::write(scratch.join(bookkeeping), "{}").unwrap();
        }
        assert_eq!(skipped(&open(root.path()), STAGE, "new"), "new");
        assert_eq!(fs::entries(&place).unwrap().len(), 2);
        assert!(!scratch.exists() && !trash.exists());
    }

    #[test]
    fn a_kill_between_the_renames_is_healed() {
        let (root, [scratch, place, trash]) = published();
        std::fs::rename(&place, &scratch).unwrap();
        let run = open(root.path());
        assert!(run.read(STAGE).is_ok());
        assert_eq!(skipped(&run, STAGE, "new"), "new");
        assert!(!scratch.exists() && !trash.exists());
    }

    #[test]
    fn a_kill_after_the_second_rename_leaves_trash_that_goes() {
        let (root, [_, _, trash]) = published();
        assert!(trash.exists());
        assert_eq!(skipped(&open(root.path()), STAGE, "new"), "new");
        assert!(!trash.exists());
    }

    #[test]
    fn a_rename_that_failed_is_made_up_for_by_the_next_call() {
        let (root, [scratch, place, _]) = published();
        let run = open(root.path());
        std::fs::rename(&place, &scratch).unwrap();
        assert_eq!(skipped(&run, STAGE, "new"), "new");
    }

    #[test]
    fn a_result_that_lost_a_file_is_not_put_into_place() {
        let (root, [scratch, place, _]) = published();
        std::fs::rename(&place, &scratch).unwrap();
        std::fs::remove_file(scratch.join("out")).unwrap();
        let run = open(root.path());
        assert!(matches!(run.read(STAGE), Err(Error::NotFinished { .. })));
        write(&run, STAGE, "new").unwrap();
        assert_eq!(skipped(&run, STAGE, "new"), "new");
    }

    #[test]
    fn a_scratch_directory_without_key_is_not_resumed() {
        let root = tempfile::tempdir().unwrap();
        let scratch = dir(root.path(), "a");
        std::fs::create_dir_all(&scratch).unwrap();
        std::fs::write(scratch.join("half"), "").unwrap();
        let made = Scratch::prepare(root.path(), "a", "k", false).unwrap();
        assert!(!made.resumed);
        assert!(!scratch.join("half").exists());
        assert!(
            Scratch::prepare(root.path(), "a", "k", false)
                .unwrap()
                .resumed
        );
        assert!(
            !Scratch::prepare(root.path(), "a", "k", true)
                .unwrap()
                .resumed
        );
    }
}
