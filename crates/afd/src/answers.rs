//! The stages `samples/NAME`, drawn here, or in shards elsewhere and put together here.
//!
//! A shard is a stage of its own, `shards/samples/NAME/2-of-4`, so it is resumed, has a manifest, and
//! can be copied as a directory. Its answers are those that the whole stage would have drawn.

use std::path::{Path, PathBuf};

use afd_policy::{
    SampleInputs,
    sample::{self, Part},
};
use afd_stage::{Artifact, StageContext};
use serde::Serialize;

use crate::{
    error::Error,
    stages::Stages,
    steps::{FORMAT, Stopped},
};

impl Stages<'_> {
    /// `count` answers of `policy` to each of `prompts`, a file of `data`; or the shard of them
    /// that is asked for.
    pub(crate) fn answers(
        &self,
        name: &str,
        policy: &Artifact,
        data: &Artifact,
        prompts: &Path,
        count: usize,
    ) -> Result<Artifact, Stopped> {
        let sample = &self.config.sample;
        let which = prompts.file_name().map(|name| name.to_string_lossy());
        let key = (sample, count, which, self.config.precision, self.form());
        let inputs = SampleInputs {
            model: policy.path(),
            away_from: None,
            prompts,
            num_generations: count,
            form: self.form(),
        };
        self.drawn(name, &key, &[policy, data], |part, ctx| {
            sample::run(sample, &inputs, part, self.placement, ctx).map_err(Error::from)
        })
    }

    /// The answers that `draw` draws, or the part of them that is asked for; `key` and `from` are all they
    /// depend on.
    pub(crate) fn drawn<K: Serialize>(
        &self,
        name: &str,
        key: &K,
        from: &[&Artifact],
        draw: impl FnOnce(Part<'_>, &StageContext) -> Result<(), Error>,
    ) -> Result<Artifact, Stopped> {
        let run = self.run;
        let wanted = self.steps.reach(name)?;
        if let Some(shard) = self.shard.filter(|_| wanted) {
            let part = Part::Shard(shard, run.stage_seed(name));
            let name = format!("shards/{name}/{shard}");
            return self
                .steps
                .make(run, &name, key, from, |ctx| draw(part, ctx));
        }
        self.steps.make(run, name, key, from, |ctx| {
            let mut shards = Vec::new();
            for shard in shards_of(name, run.path())? {
                match run.find(&shard, FORMAT, key, from)? {
                    Some(drawn) => shards.push(drawn.file(sample::BATCHES)),
                    None if run.is_forced(name) || run.is_forced(&shard) => (),
                    None => return Err(other(&shard, run.path())),
                }
            }
            draw(Part::Whole(&shards), ctx)
        })
    }
}

/// The names of the shards of `stage` that are there.
fn shards_of(stage: &str, root: &Path) -> Result<Vec<String>, Error> {
    let group = PathBuf::from("shards").join(stage);
    let dir = root.join(&group);
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let io = |source| Error::Io {
        action: "read",
        path: dir.clone(),
        source,
    };
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        // What file managers leave is nobody's.
        if !name.to_string_lossy().starts_with('.') {
            shards.push(group.join(name).to_string_lossy().into_owned());
        }
    }
    shards.sort();
    Ok(shards)
}

fn other(shard: &str, root: &Path) -> Error {
    let path = root.join(shard).display().to_string();
    Error::Usage(format!(
        "{path} was drawn by another policy, configuration or seed, or is not finished: shards \
         belong together if each machine starts from a copy of one run; remove the directory to \
         draw its part here"
    ))
}
