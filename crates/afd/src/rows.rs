//! The synthetic world as a source of rows and as a golden scorer.

use std::path::Path;

use afd_data::{
    records::{Example, JsonlReader},
    world::{World, golden_reward},
};
use afd_model::Scorer;
use afd_stage::seed::derive;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::WorldConfig;

/// Rows of the world: a demonstration and a preference between two base answers each.
///
/// The preference is a Bradley–Terry labeller's: the first answer is chosen with
/// probability `σ(golden₁ − golden₂)`, so its labels are as noisy as people's are.
/// Row `k` depends on `seed` and `k` alone.
pub(crate) fn world(config: &WorldConfig, seed: u64) -> impl Iterator<Item = Example> {
    let world = World::new(config.quality, config.heterogeneity);
    let rows = if world.is_some() { config.rows } else { 0 };
    (0..rows).filter_map(move |index| {
        let mut rng = ChaCha8Rng::seed_from_u64(derive(seed, "world", index));
        let situation = World::situation(&mut rng);
        let demonstration = world?.demonstration(&situation, &mut rng);
        let (first, second) = (
            World::base_answer(&situation, &mut rng),
            World::base_answer(&situation, &mut rng),
        );
        let prompt = situation.prompt();
        let golden = |answer: &str| golden_reward(prompt, answer).map(|golden| golden.total);
        let difference = golden(&first)? - golden(&second)?;
        let is_first = rng.random::<f64>() < 1.0 / (1.0 + (-difference).exp());
        let (chosen, rejected) = if is_first {
            (first, second)
        } else {
            (second, first)
        };
        Some(Example {
            prompt: prompt.to_owned(),
            completion: Some(demonstration),
            chosen: Some(chosen),
            rejected: Some(rejected),
            messages: Vec::new(),
            source: format!("world:{index}"),
        })
    })
}

/// Whether any row of a file of [`Example`]s prefers one answer to another.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn hold_preferences(path: &Path) -> Result<bool, afd_data::Error> {
    for row in JsonlReader::<Example>::open(path)? {
        let row = row?;
        if row.chosen.is_some() && row.rejected.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The world's exact reward, which nothing is trained on.
pub(crate) struct WorldScorer;

/// A prompt the world did not ask.
#[derive(Debug, thiserror::Error)]
#[error(
    "the world's golden reward does not know the prompt {0:?}; take eval.golden = \"judge\" or \"classifier\" for other data"
)]
struct UnknownPrompt(String);

impl Scorer for WorldScorer {
    fn score(
        &self,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
        let score = |(prompt, answer): &(&str, &str)| match golden_reward(prompt, answer) {
            Some(golden) => Ok(golden.total),
            None => Err(UnknownPrompt((*prompt).to_owned()).into()),
        };
        pairs.iter().map(score).collect()
    }
}
