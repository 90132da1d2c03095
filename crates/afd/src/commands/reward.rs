//! `afd reward`: a reward model of pairs, without the rest of the pipeline.

use afd_reward::Architecture;

use super::pairs::{in_run, make};
use crate::{args::PairsArgs, error::Error};

pub(crate) fn run(args: &PairsArgs) -> Result<(), Error> {
    in_run(args, |stages, initial| {
        let pairs = make(args, stages, initial)?;
        let embeddings = match stages.config.reward.0.architecture {
            Architecture::EmbeddingMlp => {
                let read = [(args.name.clone(), pairs.clone())];
                Some(stages.embeddings(initial, &read)?)
            }
            Architecture::Classifier | Architecture::Linear => None,
        };
        let model = stages.reward(&args.name, initial, &pairs, embeddings.as_ref())?;
        stages.diagnostics(&args.name, (&pairs, &model), None, None)?;
        Ok(model)
    })
}
