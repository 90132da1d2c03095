//! The stage that scores stored answers with a reward model.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use afd_backend::Placement;
use afd_data::records::{JsonlReader, JsonlWriter, Sample, Scores};
use afd_stage::StageContext;

use crate::{
    Error,
    model::{LoadOptions, RewardModel},
};

/// The file of [`Scores`] rows in a scoring stage's directory.
pub const SCORES: &str = "scores.jsonl";

/// Prompts scored between two progress reports.
const PROMPTS_AT_A_TIME: usize = 16;

/// Scores every stored answer of `samples` with the reward model in `reward_model`.
///
/// # Errors
/// Those of [`RewardModel`]; [`Error::AllEqual`] when it scores every answer to each prompt alike.
pub fn run(
    reward_model: &Path,
    samples: &Path,
    options: &LoadOptions<'_>,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let model = RewardModel::load(reward_model, options, placement)?;
    let mut varies = Varies::default();
    write_scores(samples, ctx, |answers| {
        let pairs: Vec<(&str, &str)> = answers
            .iter()
            .map(|a| (a.prompt.as_str(), a.completion.as_str()))
            .collect();
        let scored = model.score(&pairs).map_err(|error| match error {
            Error::TooLong { number, context } => Error::TooLong {
                number: varies.answers + number,
                context,
            },
            error => error,
        })?;
        varies.see(answers, &scored.logits);
        Ok(Rewards {
            scores: scored.logits,
            spread: scored.spread,
            token_rewards: scored.token_rewards,
            tokens: scored.tokens,
        })
    })?;
    varies.check(reward_model)
}

/// What some answers are worth.
pub(crate) struct Rewards {
    pub(crate) scores: Vec<f32>,
    /// Empty, or one for each score.
    pub(crate) spread: Vec<f32>,
    /// Empty, or the rewards of each answer's tokens.
    pub(crate) token_rewards: Vec<Vec<f32>>,
    /// Tokens read.
    pub(crate) tokens: u64,
}

/// Writes one [`Scores`] row per prompt of a file of [`Sample`] rows, which is read a few prompts at
/// a time: memory does not grow with it.
///
/// # Errors
/// Those of `score`; when the samples cannot be read or the scores not be written.
pub(crate) fn write_scores(
    samples: &Path,
    ctx: &StageContext,
    mut score: impl FnMut(&[Sample]) -> Result<Rewards, Error>,
) -> Result<(), Error> {
    let total = count_prompts(samples)?;
    let mut samples = JsonlReader::<Sample>::open(samples)?.peekable();
    let mut writer = JsonlWriter::create(&ctx.dir().join(SCORES))?;
    let mut done = 0;
    while samples.peek().is_some() {
        let mut answers: Vec<Sample> = Vec::new();
        let mut counts: Vec<usize> = Vec::new();
        while let Some(next) = samples.peek() {
            // Index 0 begins a prompt, even should it be the same text again.
            let begins = next.as_ref().is_ok_and(|sample| {
                let last = answers.last();
                sample.index == 0 || last.is_none_or(|last| last.prompt != sample.prompt)
            });
            if begins && counts.len() == PROMPTS_AT_A_TIME {
                break;
            }
            if begins {
                counts.push(0);
            }
            if let (Some(sample), Some(count)) = (samples.next().transpose()?, counts.last_mut()) {
                answers.push(sample);
                *count += 1;
            }
        }
        let rewards = score(&answers)?;
        let mut from = 0;
        for &count in &counts {
            let range = from..from + count;
            let part = |values: &[f32]| values.get(range.clone()).unwrap_or_default().to_vec();
            let tokens = rewards.token_rewards.get(range.clone());
            writer.write(&Scores {
                prompt: answers[from].prompt.clone(),
                scores: part(&rewards.scores),
                spread: part(&rewards.spread),
                tokens: tokens.unwrap_or_default().to_vec(),
            })?;
            from += count;
        }
        ctx.add_tokens(rewards.tokens);
        done += counts.len() as u64;
        ctx.progress(done, total, "prompt", "");
    }
    writer.finish()?;
    Ok(())
}

/// How many prompts a file of samples has answers to, for the progress alone.
fn count_prompts(samples: &Path) -> Result<u64, Error> {
    let file = File::open(samples).map_err(afd_data::Error::io("open", samples))?;
    let mut lines = 0;
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(afd_data::Error::io("read", samples))?;
        let first = b"\"index\":0,";
        lines += u64::from(line.windows(first.len()).any(|part| part == first));
    }
    Ok(lines)
}

/// Whether any two answers to a prompt were scored differently.
#[derive(Default)]
struct Varies {
    answers: usize,
    /// The score of the first answer to the prompt at hand.
    first: f32,
    compared: bool,
    differ: bool,
}

impl Varies {
    fn see(&mut self, answers: &[Sample], scores: &[f32]) {
        for (answer, &score) in answers.iter().zip(scores) {
            self.answers += 1;
            if answer.index == 0 {
                self.first = score;
            } else {
                self.compared = true;
                self.differ |= score != self.first;
            }
        }
    }

    fn check(&self, reward_model: &Path) -> Result<(), Error> {
        match self.compared && !self.differ {
            true => Err(Error::AllEqual {
                reward_model: reward_model.into(),
                answers: self.answers,
                score: self.first,
            }),
            false => Ok(()),
        }
    }
}
