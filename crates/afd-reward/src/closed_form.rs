//! The reward that needs no training: the log-ratio of the fine-tuned and the initial policy.

use std::path::Path;

use afd_backend::Placement;
use afd_data::{
    DialogueForm, TokenRow, Tokenizer,
    records::{Sample, read_jsonl},
};
use afd_model::CausalLm;
use afd_stage::StageContext;

use crate::{Error, objective::sequence, score::write_scores};

/// Scores every stored answer of the fine-tuned policy with `log π_SFT(y|x) − log π_0(y|x)`.
///
/// This is the optimum of binary cross-entropy between the two policies' answers (balanced
/// classes, matched prompts): summed over the answer's tokens as they were sampled, end
/// token included, at temperature 1. The first term is the log-probability stored with the
/// sample, so only `initial` runs here. Its mean over answers estimates KL(π_SFT ‖ π_0).
///
/// # Errors
/// On unreadable inputs, an answer longer than the model's context, NaN.
pub fn run(
    initial: &Path,
    samples: &Path,
    batch_size: usize,
    form: DialogueForm,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::open(initial, form)?;
    let model = CausalLm::load(initial, placement)?;
    let samples: Vec<Sample> = read_jsonl(samples)?;
    write_scores(&samples, ctx, |answers| {
        let rows = answers
            .iter()
            .map(|answer| {
                let prompt = tokenizer.encode_prompt(&answer.prompt)?;
                Ok(TokenRow::from_sample(&prompt, &answer.completion_ids))
            })
            .collect::<Result<Vec<TokenRow>, Error>>()?;
        let sequences: Vec<_> = rows.iter().map(sequence).collect();
        let initial = model.score_log_probs(&sequences, batch_size)?;
        let sum = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>();
        let scores = answers
            .iter()
            .zip(&initial)
            .map(|(answer, initial)| (sum(&answer.logprobs) - sum(initial)) as f32)
            .collect();
        let tokens = rows.iter().map(|row| row.ids.len() as u64).sum();
        Ok((scores, tokens))
    })
}
