//! Policies that were made from SFT's and have answers of their own to the same prompts.

use std::path::PathBuf;

use super::{
    Answers, Asked, EvalInputs, Look, RESERVED, SampleFile, answers,
    scores::{all_finite, scores},
};
use crate::Error;

/// A policy made from SFT's, by training or by another way to draw its answers.
#[derive(Debug, Clone)]
pub struct PolicyInput {
    /// What to call it; no other policy and no ranker is called so.
    pub name: String,
    /// [`Sample`](afd_data::records::Sample) rows of its answers, the same number for each prompt, however many.
    pub samples: PathBuf,
    /// Whose log-probabilities stand in `samples`.
    pub log_probs: LogProbs,
    /// [`Scores`](afd_data::records::Scores) of these answers: `log pi − log pi_sft` of each in
    /// nats, with `pi` what they were drawn from. The mean estimates `KL(pi ‖ sft)`.
    pub log_ratio: Option<PathBuf>,
    /// Name of the reward it was trained on, and [`Scores`](afd_data::records::Scores) of these
    /// answers by it.
    pub proxy: Option<(String, PathBuf)>,
}

/// Whose log-probabilities are stored with a policy's answers.
///
/// A decoder stores those of the model it runs, at temperature 1 and with nothing cut, whatever it
/// draws by. So answers drawn by another rule have those of the model under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogProbs {
    /// Of the policy itself: a model whose answers are drawn at temperature 1, nothing cut.
    Own,
    /// Of SFT's, from which a sampler made the policy (sharpened, extrapolated). Those of the
    /// policy are the sum of these and the log-ratio.
    Sft,
}

/// What is read of a [`PolicyInput`]; scores are `[prompt][answer]`.
pub(crate) struct TrainedPolicy {
    pub(crate) name: String,
    pub(crate) answers: Answers,
    pub(crate) log_probs: LogProbs,
    pub(crate) log_ratio: Option<Vec<Vec<f64>>>,
    pub(crate) proxy: Option<(String, Vec<Vec<f64>>)>,
}

/// The names of the policies that are there anyway.
const POLICIES: [&str; 4] = ["init", "sft", "demonstrator", "best-of-n"];

/// Checks that no name is taken.
pub(super) fn check_names(inputs: &EvalInputs<'_>) -> Result<(), Error> {
    let rankers = inputs.rankers.iter().map(|(name, _)| name.as_str());
    let mut taken: Vec<&str> = POLICIES
        .into_iter()
        .chain(RESERVED)
        .chain(rankers)
        .collect();
    for policy in inputs.policies {
        if policy.name.is_empty() || taken.contains(&policy.name.as_str()) {
            return Err(Error::PolicyName {
                policy: policy.name.clone(),
            });
        }
        taken.push(&policy.name);
    }
    Ok(())
}

/// Reads a policy's files, the answers being those in `file`.
pub(super) fn read(
    input: &PolicyInput,
    file: &SampleFile<'_>,
    asked: &Asked<'_>,
    look: &Look<'_>,
) -> Result<TrainedPolicy, Error> {
    let name = input.name.as_str();
    let mut log_ratio = None;
    if let Some(path) = &input.log_ratio {
        let read = scores(path, file, asked)?;
        all_finite(&read, |prompt, index, log_ratio| Error::LogRatioNotFinite {
            policy: name.to_owned(),
            path: path.clone(),
            prompt,
            index,
            log_ratio,
        })?;
        log_ratio = Some(read);
    }
    let mut proxy = None;
    if let Some((reward, path)) = &input.proxy {
        let read = scores(path, file, asked)?;
        all_finite(&read, |prompt, index, score| Error::ScoreNotFinite {
            ranker: reward.clone(),
            path: path.clone(),
            prompt,
            index,
            score,
        })?;
        proxy = Some((reward.clone(), read));
    }
    Ok(TrainedPolicy {
        name: name.to_owned(),
        answers: answers::read(file, look, 1)?,
        log_probs: input.log_probs,
        log_ratio,
        proxy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_score_that_is_no_number_is_named() {
        let error = |prompt, index, log_ratio| Error::LogRatioNotFinite {
            policy: "rloo".to_owned(),
            path: "ratio.jsonl".into(),
            prompt,
            index,
            log_ratio,
        };
        assert!(all_finite(&[vec![0.0], vec![1.0, -2.0]], error).is_ok());
        let scores = [vec![0.0], vec![1.0, f64::NEG_INFINITY], vec![f64::NAN]];
        let message = all_finite(&scores, error).unwrap_err().to_string();
        assert!(
            message.contains(
                "ratio.jsonl: the log-ratio of rloo to SFT is -inf for answer 1 to prompt 2"
            ),
            "{message}"
        );
    }
}
