//! From one row of logits to one token, on the host.

use afd_backend::host::{exp, map_sum, max, wide};
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

/// Weights whose sum is known together, so that a draw looks into one block alone.
const BLOCK: usize = 256;

/// A row of logits as a distribution.
pub(crate) struct Softmax<'a> {
    logits: &'a [f32],
    max: f32,
    /// Not normalised: the most likely token has 1.
    weights: Vec<f32>,
    /// Sums of each [`BLOCK`] of them, and of all.
    sums: Vec<f64>,
    total: f64,
}

impl Softmax<'_> {
    /// In nats.
    pub(crate) fn log_prob(&self, id: usize) -> f32 {
        (f64::from(self.logits[id] - self.max) - self.total.ln()) as f32
    }

    /// The index at which the running sum of the weights passes `share` of their total.
    fn invert(&self, share: f64) -> usize {
        let mut left = share * self.total;
        let mut blocks = self.weights.chunks(BLOCK).zip(&self.sums).enumerate();
        let found = blocks.find(|(_, (_, sum))| {
            let here = left < **sum;
            left -= if here { 0.0 } else { **sum };
            here
        });
        match found {
            Some((block, (weights, _))) => block * BLOCK + invert(weights, left),
            // What rounding leaves of a share next to 1.
            None => invert(&self.weights, f64::INFINITY),
        }
    }
}

/// # Errors
/// [`Error::NonFinite`] where the logits are no distribution.
pub(crate) fn softmax(logits: &[f32]) -> Result<Softmax<'_>, Error> {
    let mut weights = logits.to_vec();
    let (max, sums) = wide(
        #[inline(always)]
        || {
            let max = max(&weights);
            let blocks = weights.chunks_mut(BLOCK);
            let sum = |block: &mut [f32]| f64::from(map_sum(block, |logit| exp(logit - max)));
            (max, blocks.map(sum).collect::<Vec<f64>>())
        },
    );
    let total: f64 = sums.iter().sum();
    // A NaN among them is one of the total.
    if !max.is_finite() || !total.is_finite() {
        return Err(Error::NonFinite);
    }
    Ok(Softmax {
        logits,
        max,
        weights,
        sums,
        total,
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
        let id = own.invert(uniform);
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

/// The index at which the running sum of `weights` passes `target`; the last that has one if it never does.
fn invert<W: Copy + Into<f64>>(weights: &[W], target: f64) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (index, weight) in weights.iter().enumerate() {
        let weight: f64 = (*weight).into();
        if weight > 0.0 {
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
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    if params.temperature == 0.0 {
        sort_first(&mut ids, 1, logits);
        return (ids[0], 0.0);
    }
    if params.top_k > 0 {
        sort_first(&mut ids, params.top_k, logits);
        ids.truncate(params.top_k);
    }
    let max = ids
        .iter()
        .map(|&id| logits[id])
        .fold(f64::NEG_INFINITY, f64::max);
    let weight = |id: usize| ((logits[id] - max) / params.temperature).exp();
    if params.top_p < 1.0 {
        keep_mass(&mut ids, params.top_p, logits, weight);
    }
    if params.min_p > 0.0 {
        // The most likely token has weight 1.
        ids.retain(|&id| weight(id) >= params.min_p);
    }
    let weights: Vec<f64> = ids.iter().map(|&id| weight(id)).collect();
    let total: f64 = weights.iter().sum();
    let place = invert(&weights, total * uniform);
    (ids[place], (weights[place] / total).ln() as f32)
}

/// Puts the `count` most likely ids first, in their order; the others follow in any. Ties fall to the
/// lower id.
fn sort_first(ids: &mut [usize], count: usize, logits: &[f64]) {
    let by_logit = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    if count < ids.len() {
        ids.select_nth_unstable_by(count, by_logit);
    }
    let first = count.min(ids.len());
    ids[..first].sort_unstable_by(by_logit);
}

/// Keeps the smallest set of most likely ids with this share of the mass, sorting no more than it must:
/// the set is small where it cuts anything.
fn keep_mass(ids: &mut Vec<usize>, share: f64, logits: &[f64], weight: impl Fn(usize) -> f64) {
    let wanted = share * ids.iter().map(|&id| weight(id)).sum::<f64>();
    let mut sorted = 64;
    loop {
        sort_first(ids, sorted, logits);
        let mut sum = 0.0;
        let last = ids.iter().take(sorted).position(|&id| {
            sum += weight(id);
            sum >= wanted
        });
        if let Some(last) = last {
            return ids.truncate(last + 1);
        }
        if sorted >= ids.len() {
            return;
        }
        sorted *= 8;
    }
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
    fn a_draw_falls_where_the_running_sum_passes_it_whatever_the_block() {
        // Weights 1 and 0 in turn over three blocks and a piece.
        let logits: Vec<f32> = (0..BLOCK * 3 + 10)
            .map(|i| if i % 2 == 0 { 0.0 } else { f32::NEG_INFINITY })
            .collect();
        let row = softmax(&logits).unwrap();
        let count = logits.len() / 2;
        for wanted in [0, 1, 127, 128, 129, 383, 384, count - 1] {
            let share = (wanted as f64 + 0.5) / count as f64;
            assert_eq!(row.invert(share), 2 * wanted, "{wanted}");
        }
        assert_eq!(row.invert(1.0), 2 * (count - 1));
        assert!((row.log_prob(0) + (count as f32).ln()).abs() < 1e-6);
    }

    #[test]
    fn only_what_is_kept_is_sorted_and_it_is_what_a_whole_sort_keeps() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        // Few levels, so that many are equal.
        let logits: Vec<f64> = (0..2000)
            .map(|_| f64::from(rng.random_range(0..40)) / 4.0)
            .collect();
        let mut whole: Vec<usize> = (0..logits.len()).collect();
        whole.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let weight = |id: usize| logits[id].exp();
        let total: f64 = whole.iter().map(|&id| weight(id)).sum();
        for count in [1, 7, 1999, 2000, 3000] {
            let mut ids: Vec<usize> = (0..logits.len()).collect();
            sort_first(&mut ids, count, &logits);
            let count = count.min(ids.len());
            assert_eq!(ids[..count], whole[..count]);
        }
        for share in [0.01, 0.3, 0.9, 0.9999] {
            let mut ids: Vec<usize> = (0..logits.len()).collect();
            keep_mass(&mut ids, share, &logits, weight);
            assert_eq!(ids, whole[..ids.len()]);
            let mass = |ids: &[usize]| ids.iter().map(|&id| weight(id)).sum::<f64>();
            assert!(mass(&ids) >= share * total * (1.0 - 1e-12));
            assert!(mass(&ids[..ids.len() - 1]) < share * total);
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
