//! The stage that scores stored answers with a reward model.

use std::path::Path;

use afd_backend::Placement;
use afd_data::{
    DialogueForm, TokenRow, Tokenizer,
    records::{JsonlWriter, Sample, Scores, read_jsonl},
};
use afd_model::{DecoderConfig, Head, Scorer, SequenceClassifier};
use afd_stage::StageContext;

use crate::{Error, objective::sequence};

/// The file of [`Scores`] rows in a scoring stage's directory.
pub const SCORES: &str = "scores.jsonl";

/// Prompts scored between two progress reports.
const PROMPTS_AT_A_TIME: usize = 16;

/// A reward model that reads text: tokenises, scores, one logit per pair.
pub struct ClassifierScorer {
    model: SequenceClassifier,
    tokenizer: Tokenizer,
    batch_size: usize,
}

impl ClassifierScorer {
    /// Loads a Hugging Face sequence classifier with its tokenizer, for dialogues in `form`.
    ///
    /// # Errors
    /// [`Error::NoRewardModel`] for a language model; when a file is missing or damaged, or the
    /// tokenizer does not fit the model.
    pub fn load(
        dir: &Path,
        batch_size: usize,
        form: DialogueForm,
        placement: &Placement,
    ) -> Result<Self, Error> {
        if let (_, Head::LanguageModel) = DecoderConfig::load(dir)? {
            // It would load, with a score head drawn at random.
            return Err(Error::NoRewardModel { path: dir.into() });
        }
        let tokenizer = Tokenizer::open(dir, form)?;
        let model = SequenceClassifier::load(dir, 0, placement)?;
        model
            .model
            .config()
            .check_vocabulary(tokenizer.vocab_size())?;
        Ok(Self {
            model,
            tokenizer,
            batch_size,
        })
    }

    /// One logit per `(prompt, completion)`, and the number of tokens read.
    ///
    /// The end token is appended to every completion.
    ///
    /// # Errors
    /// When a text cannot be tokenised or exceeds the model's context, or the model answers
    /// NaN.
    pub fn logits(&self, pairs: &[(&str, &str)]) -> Result<(Vec<f32>, u64), Error> {
        let context = self.model.model.config().context();
        let rows = pairs
            .iter()
            .enumerate()
            .map(|(index, (prompt, completion))| {
                let row = TokenRow::example(&self.tokenizer, prompt, completion, context)?;
                row.ok_or(Error::TooLong {
                    number: index + 1,
                    context,
                })
            })
            .collect::<Result<Vec<TokenRow>, Error>>()?;
        let sequences: Vec<_> = rows.iter().map(sequence).collect();
        let tokens = rows.iter().map(|row| row.ids.len() as u64).sum();
        Ok((self.model.score_all(&sequences, self.batch_size)?, tokens))
    }
}

impl Scorer for ClassifierScorer {
    fn score(
        &self,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
        let (logits, _) = self.logits(pairs)?;
        Ok(logits.into_iter().map(f64::from).collect())
    }
}

/// Scores every stored answer of `samples` with the reward model in `reward_model`.
///
/// # Errors
/// Those of [`ClassifierScorer`].
pub fn run(
    reward_model: &Path,
    samples: &Path,
    batch_size: usize,
    form: DialogueForm,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let scorer = ClassifierScorer::load(reward_model, batch_size, form, placement)?;
    let samples: Vec<Sample> = read_jsonl(samples)?;
    write_scores(&samples, ctx, |answers| {
        let pairs: Vec<(&str, &str)> = answers
            .iter()
            .map(|a| (a.prompt.as_str(), a.completion.as_str()))
            .collect();
        scorer.logits(&pairs)
    })
}

/// Writes one [`Scores`] row per prompt; `score` gives the scores of some answers and the
/// tokens it read.
pub(crate) fn write_scores(
    samples: &[Sample],
    ctx: &StageContext,
    score: impl Fn(&[Sample]) -> Result<(Vec<f32>, u64), Error>,
) -> Result<(), Error> {
    let prompts: Vec<&[Sample]> = samples.chunk_by(|a, b| a.prompt == b.prompt).collect();
    let mut writer = JsonlWriter::create(&ctx.dir().join(SCORES))?;
    let mut start = 0;
    for (index, chunk) in prompts.chunks(PROMPTS_AT_A_TIME).enumerate() {
        let count: usize = chunk.iter().map(|answers| answers.len()).sum();
        let (scores, tokens) = score(&samples[start..start + count])?;
        start += count;
        let mut scores = scores.into_iter();
        for answers in chunk {
            writer.write(&Scores {
                prompt: answers[0].prompt.clone(),
                scores: scores.by_ref().take(answers.len()).collect(),
            })?;
        }
        ctx.add_tokens(tokens);
        let done = (index * PROMPTS_AT_A_TIME + chunk.len()) as u64;
        ctx.progress(done, prompts.len() as u64, "prompt", "");
    }
    writer.finish()?;
    Ok(())
}
