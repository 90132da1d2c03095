//! From one row of logits to one token, on the host.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::Error;

/// How the next token is chosen; names as in Hugging Face's generation config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingParams {
    /// Logits are divided by it; 0 takes the most likely token.
    pub temperature: f64,
    /// Keep the `top_k` most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of most likely tokens whose mass reaches it; 1 keeps all.
    pub top_p: f64,
    /// Drop tokens less likely than this share of the most likely one; 0 keeps all.
    pub min_p: f64,
    /// Logits of tokens already seen are divided (if positive) or multiplied by it; 1 is off.
    pub repetition_penalty: f64,
    /// Longest answer, in tokens.
    pub max_new_tokens: usize,
}

impl SamplingParams {
    /// The model's own distribution: temperature 1, nothing cut.
    pub fn unmodified(max_new_tokens: usize) -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            max_new_tokens,
        }
    }

    /// Whether samples are drawn from the model's own distribution, so that log-ratios of
    /// policies are finite and unbiased.
    pub fn is_unmodified(&self) -> bool {
        *self == Self::unmodified(self.max_new_tokens)
    }

    /// # Errors
    /// [`Error::Sampling`] naming the first key out of range.
    pub fn check(&self) -> Result<(), Error> {
        let rules: [(&'static str, f64, bool, &'static str); 5] = [
            (
                "temperature",
                self.temperature,
                self.temperature >= 0.0 && self.temperature.is_finite(),
                "0 or more",
            ),
            (
                "top_p",
                self.top_p,
                self.top_p > 0.0 && self.top_p <= 1.0,
                "above 0 and at most 1",
            ),
            (
                "min_p",
                self.min_p,
                (0.0..=1.0).contains(&self.min_p),
                "between 0 and 1",
            ),
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite(),
                "above 0",
            ),
            (
                "max_new_tokens",
                self.max_new_tokens as f64,
                self.max_new_tokens > 0,
                "1 or more",
            ),
        ];
        match rules.iter().find(|(_, _, fits, _)| !fits) {
            Some(&(key, found, _, expected)) => Err(Error::Sampling {
                key,
                found: found.to_string(),
                expected,
            }),
            None => Ok(()),
        }
    }
}

/// A drawn token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Draw {
    pub(crate) id: u32,
    /// Log-probability under the logits themselves: temperature 1, nothing cut, in nats.
    pub(crate) log_prob: f32,
    /// Log-probability of the draw, whatever the parameters made of the logits, in nats.
    pub(crate) sampler_log_prob: f32,
}

/// A row of logits as a distribution.
pub(crate) struct Softmax<'a> {
    logits: &'a [f32],
    max: f32,
    /// Not normalised: the most likely token has 1.
    weights: Vec<f64>,
    total: f64,
}

impl Softmax<'_> {
    /// In nats.
    pub(crate) fn log_prob(&self, id: usize) -> f32 {
        (f64::from(self.logits[id] - self.max) - self.total.ln()) as f32
    }
}

/// # Errors
/// [`Error::NonFinite`] where the logits are no distribution.
pub(crate) fn softmax(logits: &[f32]) -> Result<Softmax<'_>, Error> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !max.is_finite() || logits.iter().any(|l| l.is_nan()) {
        return Err(Error::NonFinite);
    }
    let weights: Vec<f64> = logits.iter().map(|l| f64::from((l - max).exp())).collect();
    Ok(Softmax {
        logits,
        max,
        total: weights.iter().sum(),
        weights,
    })
}

/// Draws the next token. Exactly one uniform number is taken from `rng`, whatever the
/// parameters, so that a stream of draws can be replayed.
pub(crate) fn draw(
    logits: &[f32],
    seen: &[u32],
    params: &SamplingParams,
    rng: &mut ChaCha8Rng,
) -> Result<Draw, Error> {
    let uniform: f64 = rng.random();
    let own = softmax(logits)?;
    let (id, sampler_log_prob) = if params.is_unmodified() {
        let id = invert(&own.weights, own.total * uniform);
        (id, own.log_prob(id))
    } else {
        choose(
            &penalised(logits, seen, params.repetition_penalty),
            params,
            uniform,
        )
    };
    Ok(Draw {
        id: id as u32,
        log_prob: own.log_prob(id),
        sampler_log_prob,
    })
}

/// The index at which the running sum of `weights` passes `target`.
fn invert(weights: &[f64], target: f64) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (index, weight) in weights.iter().enumerate() {
        if *weight > 0.0 {
            sum += weight;
            last = index;
            if sum > target {
                break;
            }
        }
    }
    last
}

fn penalised(logits: &[f32], seen: &[u32], penalty: f64) -> Vec<f64> {
    let mut logits: Vec<f64> = logits.iter().map(|l| f64::from(*l)).collect();
    if penalty != 1.0 {
        let mut seen = seen.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
    }
    logits
}

/// Temperature, then top-k, top-p and min-p in the order transformers applies them: a token, and
/// the logarithm of its share of what is left.
fn choose(logits: &[f64], params: &SamplingParams, uniform: f64) -> (usize, f32) {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Ties fall to the lower id, so the result does not depend on the sort.
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    if params.temperature == 0.0 {
        return (order[0], 0.0);
    }
    if params.top_k > 0 {
        order.truncate(params.top_k);
    }
    let max = logits[order[0]];
    let weight = |id: usize| ((logits[id] - max) / params.temperature).exp();
    if params.top_p < 1.0 {
        let total: f64 = order.iter().map(|&id| weight(id)).sum();
        let mut sum = 0.0;
        let kept = order.iter().position(|&id| {
            sum += weight(id);
            sum >= params.top_p * total
        });
        order.truncate(kept.map_or(order.len(), |last| last + 1));
    }
    if params.min_p > 0.0 {
        // The most likely token has weight 1.
        order.retain(|&id| weight(id) >= params.min_p);
    }
    let weights: Vec<f64> = order.iter().map(|&id| weight(id)).collect();
    let total: f64 = weights.iter().sum();
    let place = invert(&weights, total * uniform);
    (order[place], (weights[place] / total).ln() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const LOGITS: [f32; 4] = [2.0, 0.5, -1.0, 1.0];

    fn frequencies(params: &SamplingParams, seen: &[u32]) -> [f64; 4] {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut counts = [0.0; 4];
        for _ in 0..100_000 {
            counts[draw(&LOGITS, seen, params, &mut rng).unwrap().id as usize] += 1e-5;
        }
        counts
    }

    fn shares(logits: [f64; 4]) -> [f64; 4] {
        let total: f64 = logits.iter().map(|l| l.exp()).sum();
        logits.map(|l| l.exp() / total)
    }

    /// Standard error at most √(0.25/100 000) = 0.0016; five of them.
    fn assert_close(found: [f64; 4], expected: [f64; 4]) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 0.008, "{found:?} against {expected:?}");
        }
    }

    #[test]
    fn frequencies_are_softmax() {
        let params = SamplingParams::unmodified(1);
        assert_close(frequencies(&params, &[]), shares([2.0, 0.5, -1.0, 1.0]));
    }

    #[test]
    fn temperature_divides_logits() {
        let params = SamplingParams {
            temperature: 2.0,
            ..SamplingParams::unmodified(1)
        };
        assert_close(frequencies(&params, &[]), shares([1.0, 0.25, -0.5, 0.5]));
    }

    #[test]
    fn top_k_top_p_and_min_p_cut_the_tail() {
        let cut = shares([2.0, f64::NEG_INFINITY, f64::NEG_INFINITY, 1.0]);
        let base = SamplingParams::unmodified(1);
        for params in [
            SamplingParams {
                top_k: 2,
                ..base.clone()
            },
            // The two most likely tokens hold 0.61 and 0.22 of the mass.
            SamplingParams {
                top_p: 0.7,
                ..base.clone()
            },
            // e^(1−2) = 0.37 of the most likely one, e^(0.5−2) = 0.22.
            SamplingParams {
                min_p: 0.3,
                ..base.clone()
            },
        ] {
            assert_close(frequencies(&params, &[]), cut);
        }
    }

    #[test]
    fn repetition_penalty_lowers_seen_tokens() {
        let params = SamplingParams {
            repetition_penalty: 2.0,
            ..SamplingParams::unmodified(1)
        };
        let expected = shares([1.0, 0.5, -2.0, 1.0]);
        assert_close(frequencies(&params, &[0, 2, 2]), expected);
    }

    #[test]
    fn zero_temperature_and_top_1_take_the_best_and_report_the_models_log_prob() {
        let base = SamplingParams::unmodified(1);
        let log_prob = shares([2.0, 0.5, -1.0, 1.0])[0].ln() as f32;
        for params in [
            SamplingParams {
                temperature: 0.0,
                ..base.clone()
            },
            SamplingParams {
                top_k: 1,
                ..base.clone()
            },
        ] {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let drawn = draw(&LOGITS, &[], &params, &mut rng).unwrap();
            assert_eq!(drawn.id, 0);
            assert!((drawn.log_prob - log_prob).abs() < 1e-6);
        }
    }

    #[test]
    fn the_log_prob_of_a_draw_is_that_of_its_sampler() {
        let base = SamplingParams::unmodified(1);
        let sharp = SamplingParams {
            temperature: 0.5,
            ..base.clone()
        };
        let cut = SamplingParams {
            top_k: 2,
            ..base.clone()
        };
        let best = SamplingParams {
            temperature: 0.0,
            ..base.clone()
        };
        let none = f64::NEG_INFINITY;
        for (params, logits) in [
            (base, [2.0, 0.5, -1.0, 1.0]),
            (sharp, [4.0, 1.0, -2.0, 2.0]),
            (cut, [2.0, none, none, 1.0]),
            (best, [0.0, none, none, none]),
        ] {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            for _ in 0..50 {
                let drawn = draw(&LOGITS, &[], &params, &mut rng).unwrap();
                let expected = shares(logits)[drawn.id as usize].ln();
                let found = f64::from(drawn.sampler_log_prob);
                assert!((found - expected).abs() < 1e-6, "{found}, {expected}");
                let same = drawn.sampler_log_prob == drawn.log_prob;
                assert_eq!(same, params.is_unmodified());
            }
        }
    }

    #[test]
    fn nan_is_refused() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let params = SamplingParams::unmodified(1);
        assert!(draw(&[0.0, f32::NAN], &[], &params, &mut rng).is_err());
    }

    #[test]
    fn ranges_are_checked() {
        let params = SamplingParams {
            top_p: 0.0,
            ..SamplingParams::unmodified(1)
        };
        let message = params.check().unwrap_err().to_string();
        assert_eq!(
            message,
            "sampling key `top_p` is 0; it must be above 0 and at most 1"
        );
    }
}
