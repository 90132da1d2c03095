//! A policy beyond the fine-tuned one, made of weights alone: nothing is trained, nothing drawn.

use std::path::Path;

use afd_backend::device;
use afd_data::{DialogueForm, Tokenizer};
use afd_model::{CausalLm, Pretrained, SaveOptions, extrapolate_weights};
use afd_stage::StageContext;
use serde::{Deserialize, Serialize};

use crate::Error;

/// How far a policy goes on along the way it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtrapolateConfig {
    /// How many times the way from the initial policy is gone again: 0 is the policy itself, −1
    /// the initial one.
    pub strength: f64,
}

/// Leaves the policy of [`extrapolate_weights`] from `initial` beyond `policy`, two Hugging Face
/// directories, as a third in the stage's directory, with the tokenizer of `policy`.
///
/// It is computed in the machine's memory, which has room for two models in f32 where a device may
/// not; so the result does not depend on the device.
///
/// # Errors
/// When a directory cannot be read, and [`Error::TwoModels`] or [`Error::Tokenizers`] when the two are not
/// of one shape or do not have one vocabulary.
pub fn run(
    config: &ExtrapolateConfig,
    policy: &Path,
    initial: &Path,
    form: DialogueForm,
    save: SaveOptions,
    ctx: &StageContext,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::open(policy, form)?;
    same_tokens(
        (policy, &tokenizer),
        (initial, &Tokenizer::open(initial, form)?),
    )?;
    let host = device::open("flex").map_err(|error| afd_model::Error::Host(Box::new(error)))?;
    let load = |dir| CausalLm::load(dir, &host.clone().into());
    let (own, origin) = (load(policy)?, load(initial)?);
    own.config().check_vocabulary(tokenizer.vocab_size())?;
    let beyond = extrapolate_weights(own, origin, config.strength)
        .map_err(|source| two_models(policy, initial, source))?;
    beyond.save(ctx.dir(), save)?;
    Ok(tokenizer.save(ctx.dir())?)
}

/// Refuses two policies whose ids are not the same tokens.
///
/// # Errors
/// [`Error::Tokenizers`].
pub(crate) fn same_tokens(
    (policy, own): (&Path, &Tokenizer),
    (initial, other): (&Path, &Tokenizer),
) -> Result<(), Error> {
    match own.same_vocabulary(other) {
        true => Ok(()),
        false => Err(Error::Tokenizers {
            policy: policy.into(),
            initial: initial.into(),
        }),
    }
}

/// The error of setting two policies against each other, with the names of both.
pub(crate) fn two_models(policy: &Path, initial: &Path, source: afd_model::Error) -> Error {
    match source {
        afd_model::Error::Vocabularies { .. } | afd_model::Error::Shapes { .. } => {
            Error::TwoModels {
                policy: policy.into(),
                initial: initial.into(),
                source: Box::new(source),
            }
        }
        other => other.into(),
    }
}
