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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use afd_data::records::read_jsonl;
    use afd_stage::{Quiet, RunDir};

    use super::*;

    /// Scores answers by their number in the file, and gives the rows and how many prompts were scored
    /// at a time.
    fn scored(samples: &[(&str, u32)]) -> (Vec<Scores>, Vec<usize>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        let line = |(prompt, index): &(&str, u32)| {
            let row = serde_json::json!({
                "prompt": prompt, "index": index, "completion": " a", "completion_ids": [3, 1],
                "logprobs": [-1.0, -0.5], "finish_reason": "stop",
            });
            format!("{row}\n\n")
        };
        std::fs::write(&path, samples.iter().map(line).collect::<String>()).unwrap();
        let run = RunDir::open(&dir.path().join("run"), 0, Arc::new(Quiet)).unwrap();
        let (mut number, mut calls) = (0.0, Vec::new());
        let stage = run.stage("scores/test", 1, &(), &[], |ctx| {
            write_scores(&path, ctx, |answers| {
                calls.push(answers.len());
                let scores = answers.iter().map(|_| {
                    number += 1.0;
                    number
                });
                Ok(Rewards {
                    scores: scores.collect(),
                    spread: Vec::new(),
                    token_rewards: vec![vec![0.5, 0.25]; answers.len()],
                    tokens: 0,
                })
            })
        });
        (read_jsonl(&stage.unwrap().file(SCORES)).unwrap(), calls)
    }

    #[test]
    fn a_row_for_each_prompt_whatever_its_first_index_or_its_text() {
        let (rows, _) = scored(&[("p", 0), ("p", 1), ("p", 0), ("q", 1), ("q", 2)]);
        let rows: Vec<(&str, &[f32])> = rows
            .iter()
            .map(|row| (&row.prompt[..], &row.scores[..]))
            .collect();
        assert_eq!(
            rows,
            [("p", &[1.0, 2.0][..]), ("p", &[3.0]), ("q", &[4.0, 5.0])]
        );
    }

    #[test]
    fn sixteen_prompts_are_scored_at_a_time_and_the_rest_after() {
        let prompts: Vec<String> = (0..17).map(|i| format!("p{i}")).collect();
        let samples: Vec<(&str, u32)> = prompts
            .iter()
            .flat_map(|prompt| [(&prompt[..], 0), (&prompt[..], 1)])
            .collect();
        let (rows, calls) = scored(&samples);
        assert_eq!(calls, [32, 2]);
        assert_eq!(rows[16].scores, [33.0, 34.0]);
        assert_eq!(rows[16].tokens, [[0.5, 0.25], [0.5, 0.25]]);
        assert_eq!(scored(&samples[..32]).1, [32]);
    }

    #[test]
    fn scores_that_never_differ_within_a_prompt_are_told() {
        let answers = |prompt: &str, count: u32| -> Vec<Sample> {
            let sample = |index| Sample {
                prompt: prompt.to_owned(),
                index,
                completion: " a".to_owned(),
                completion_ids: vec![1],
                logprobs: vec![-1.0],
                sampler_logprobs: None,
                finish_reason: "stop".to_owned(),
            };
            (0..count).map(sample).collect()
        };
        let mut varies = Varies::default();
        varies.see(&answers("p", 2), &[1.0, 1.0]);
        varies.see(&answers("q", 2), &[2.0, 2.0]);
        let error = varies.check(Path::new("reward/x")).unwrap_err().to_string();
        assert!(error.contains("all 4 answers alike"), "{error}");
        varies.see(&answers("r", 2), &[2.0, 2.5]);
        assert!(varies.check(Path::new("reward/x")).is_ok());
        // One answer to each prompt says nothing.
        let mut single = Varies::default();
        single.see(&answers("p", 1), &[1.0]);
        assert!(single.check(Path::new("reward/x")).is_ok());
    }
}
