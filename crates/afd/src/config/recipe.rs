//! The recipe of a base model, read like any configuration.

use std::path::Path;

use afd_sft::SftConfig;
use afd_train::TrainConfig;

use super::{ConfigError, Layers, Overrides, Root, sections::Sections};
use crate::commands::base_model::{Corpus, Shape};

/// A base model, ready to be made.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) seed: u64,
    pub(crate) device: String,
    pub(crate) corpus: Corpus,
    pub(crate) shape: Shape,
    pub(crate) sft: (SftConfig, TrainConfig),
}

impl Recipe {
    /// Reads `path` with everything laid over it.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems found.
    pub(crate) fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let layers = Layers::load(path, overrides)?;
        let mut sections = Sections::new(&layers);
        let root: Option<Root> = sections.read("");
        let corpus = sections.read("corpus");
        let shape = sections.read("model");
        let sft = sections.read("sft").zip(sections.read("sft"));
        sections.finish()?;
        let assembled = root.zip(corpus).zip(shape).zip(sft);
        let Some((((root, corpus), shape), sft)) = assembled else {
            return Err(ConfigError::new(path, Vec::new()));
        };
        let recipe = Self {
            seed: root.seed,
            device: root.device,
            corpus,
            shape,
            sft,
        };
        let problems = recipe.problems().into_iter();
        let problems: Vec<_> = problems.map(|(key, p)| layers.locate(&key, p)).collect();
        match problems.is_empty() {
            true => Ok(recipe),
            false => Err(ConfigError::new(path, problems)),
        }
    }
}
