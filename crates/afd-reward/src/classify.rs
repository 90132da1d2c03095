//! Reward models that read ids: a decoder with a `score` head.

use afd_backend::Placement;
use afd_data::{TokenRow, Tokenizer};
use afd_model::{Pretrained, SequenceClassifier};
use afd_stage::{StageContext, seed::derive};
use afd_train::TrainConfig;
use burn::Tensor;

use crate::{
    Error, RewardConfig,
    fit::{Files, Fitted, Member, PairLogits, fit},
    learn::RewardInputs,
    objective::{Pair, PairObjective},
};

impl PairLogits<SequenceClassifier> for PairObjective {
    fn logits(&self, model: &SequenceClassifier, pairs: &[usize]) -> (Tensor<1>, Tensor<1>) {
        self.logits(model, pairs)
    }

    fn lengths(&self) -> Option<Vec<usize>> {
        let longer = |pair: &Pair| pair.chosen.ids.len().max(pair.rejected.ids.len());
        Some(self.pairs.iter().map(longer).collect())
    }

    fn len(&self) -> usize {
        self.pairs.len()
    }
}

/// Prompt, answer and end token as ids; none if that is too long.
///
/// # Errors
/// When the tokenizer does not know a character.
pub(crate) fn tokenise(
    config: &RewardConfig,
    tokenizer: &Tokenizer,
    prompt: &str,
    answer: &str,
) -> Result<Option<TokenRow>, Error> {
    Ok(TokenRow::joined(
        tokenizer,
        prompt,
        answer,
        config.max_length,
    )?)
}

/// The initial policy's decoder with a fresh `score` head, and fresh adapters if there are to be any.
///
/// # Errors
/// When its files cannot be read, or pairs may be longer than its context.
pub(crate) fn start(
    config: &RewardConfig,
    train: &TrainConfig,
    inputs: &RewardInputs<'_>,
    tokenizer: &Tokenizer,
    seed: u64,
    placement: &Placement,
) -> Result<SequenceClassifier, Error> {
    let score = derive(seed, "score", 0);
    let mut classifier = match &config.lora {
        None => SequenceClassifier::load(inputs.model, score, &placement.for_training())?,
        Some(lora) => SequenceClassifier::load(inputs.model, score, placement)?.with_lora(
            lora,
            inputs.model_name,
            derive(seed, "lora", 0),
        )?,
    };
    // Who reads scores from padded batches has to know what the padding is; checkpoints of
    // adapters do not hold it, so it is said before the frozen model is taken.
    classifier = classifier.with_pad_token(tokenizer.pad_id());
    let checkpointing = train.gradient_checkpointing;
    classifier.model.set_gradient_checkpointing(checkpointing);
    let shape = classifier.model.config();
    shape.check_vocabulary(tokenizer.vocab_size())?;
    if config.max_length > shape.context() {
        return Err(Error::MaxLength {
            max_length: config.max_length,
            context: shape.context(),
        });
    }
    Ok(classifier)
}

/// Trains what [`start`] gave on the pairs of a member.
///
/// # Errors
/// Those of [`fit`].
pub(crate) fn train_member(
    train: &TrainConfig,
    classifier: SequenceClassifier,
    pairs: (&PairObjective, &PairObjective),
    member: &Member,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(SequenceClassifier, Fitted), Error> {
    let (frozen, master) = (classifier.frozen(), placement.for_training());
    let files = Files {
        save: &|model: &SequenceClassifier, dir| model.save_checkpoint(dir),
        load: &|dir| {
            let mut model = SequenceClassifier::load_checkpoint(frozen.as_ref(), dir, &master)?;
            let checkpointing = train.gradient_checkpointing;
            model.model.set_gradient_checkpointing(checkpointing);
            Ok(model)
        },
    };
    let (training, held_out) = pairs;
    fit(classifier, training, held_out, member, train, &files, ctx)
}
