//! The closest policy of a limited class: where divergences, equal on what a class can be, part.

use crate::{
    divergence::Divergence,
    minimise::{differences, minimise},
    policy::{Policy, log_softmax},
    space::Space,
};

/// The closest member of a class.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// Its parameters.
    pub parameters: Vec<f64>,
    /// Its distribution over answers.
    pub policy: Vec<f64>,
    /// How far it still is from the demonstrator, in nats.
    pub divergence: f64,
}

/// The member of `family` with the least divergence from `demonstrator`: the best of what the
/// minimiser finds from each of `starts`; `None` without starts.
///
/// A limited class makes divergences other than the forward KL have local minima: one start is not
/// enough.
pub fn project(
    divergence: Divergence,
    demonstrator: &[f64],
    family: impl Fn(&[f64]) -> Vec<f64>,
    starts: &[Vec<f64>],
) -> Option<Projection> {
    let value = |parameters: &[f64]| divergence.of(demonstrator, &family(parameters));
    let ends = starts.iter().map(|start| {
        let f = |at: &[f64]| (value(at), differences(value, at));
        minimise(f, start, 1e-9, 1000)
    });
    let best = ends.min_by(|a, b| a.value.total_cmp(&b.value))?;
    Some(Projection {
        policy: family(&best.at),
        divergence: best.value,
        parameters: best.at,
    })
}

/// A bell over `count` outcomes in order: `p(i) ∝ exp(−½((i − mean)/width)²)`, parameters `mean`
/// and `log width`.
///
/// # Panics
/// Unless there are two parameters.
pub fn bell(count: usize, parameters: &[f64]) -> Vec<f64> {
    let [mean, log_width] = parameters else {
        panic!("a bell has a mean and a log-width");
    };
    let width = log_width.clamp(-3.0, 6.0).exp();
    let log = |i: usize| -0.5 * ((i as f64 - mean) / width).powi(2);
    let logs: Vec<f64> = (0..count).map(log).collect();
    log_softmax(&logs).iter().map(|l| l.exp()).collect()
}

/// Policies that draw every token from one distribution, parameters its logits.
///
/// # Panics
/// Unless there is one parameter per token.
pub fn unigram(space: &Space, parameters: &[f64]) -> Vec<f64> {
    Policy::unigram(space, parameters).distribution()
}

/// A demonstrator with three habits over the answers of a one-word vocabulary, which are lengths:
/// two lengths about as often, not far from each other, and now and then a long answer.
pub fn three_habits(space: &Space) -> Vec<f64> {
    let count = space.answers().len();
    let habits = [(0.15, 0.46), (0.35, 0.38), (0.75, 0.16)].map(|(place, share)| {
        let log_width = (0.03 * count as f64).ln();
        (bell(count, &[place * count as f64, log_width]), share)
    });
    let of = |i: usize| habits.iter().map(|(habit, share)| share * habit[i]).sum();
    // A little of everything, so that no divergence is infinite.
    let all = (0..count).map(of);
    all.map(|p: f64| 0.999 * p + 0.001 / count as f64).collect()
}

/// Starts for [`bell`]: narrow and wide ones all over `count` outcomes.
pub fn bell_starts(count: usize) -> Vec<Vec<f64>> {
    let widths = [0.05, 0.2].map(|share| (share * count as f64).ln());
    let means = (0..10).map(|k| (f64::from(k) + 0.5) / 10.0 * count as f64);
    means
        .flat_map(|mean| widths.map(|width| vec![mean, width]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{close, close_all},
        divergence::entropy,
    };

    const ALL: [Divergence; 4] = [
        Divergence::ForwardKl,
        Divergence::JensenShannon,
        Divergence::ReverseKl,
        Divergence::LogD,
    ];

    fn bells(demonstrator: &[f64]) -> [Projection; 4] {
        let count = demonstrator.len();
        let family = |at: &[f64]| bell(count, at);
        ALL.map(|d| project(d, demonstrator, family, &bell_starts(count)).unwrap())
    }

    #[test]
    fn what_is_in_the_class_is_found_by_all_divergences() {
        for seed in 0..10 {
            let truth = [6.0 + seed as f64, 0.7 + 0.05 * seed as f64];
            let demonstrator = bell(24, &truth);
            for found in bells(&demonstrator) {
                close_all(&found.parameters, &truth, 1e-3);
                close(found.divergence, 0.0, 1e-7);
            }
            let space = Space::new(3, 3);
            let demonstrator = unigram(&space, &[0.1 * seed as f64, -0.3, 0.5]);
            for d in ALL {
                let family = |at: &[f64]| unigram(&space, at);
                let found = project(d, &demonstrator, family, &[vec![0.0; 3]]).unwrap();
                close_all(&found.policy, &demonstrator, 1e-4);
            }
        }
    }

    #[test]
    fn the_closest_in_forward_kl_matches_moments() {
        // An exponential family keeps its sufficient statistics: the bell its mean and variance.
        let demonstrator = three_habits(&Space::new(2, 31));
        let moments = |p: &[f64]| {
            let mean: f64 = p.iter().enumerate().map(|(i, p)| p * i as f64).sum();
            let square: f64 = p.iter().enumerate().map(|(i, p)| p * (i * i) as f64).sum();
            [mean, square - mean * mean]
        };
        let [forward, ..] = bells(&demonstrator);
        close_all(&moments(&forward.policy), &moments(&demonstrator), 1e-3);
    }

    #[test]
    fn forward_kl_covers_all_habits_jensen_shannon_two_and_reverse_kl_one() {
        for horizon in [31, 39, 47] {
            let demonstrator = three_habits(&Space::new(2, horizon));
            let found = bells(&demonstrator);
            let [forward, between, reverse, log_d] = found.each_ref().map(|p| entropy(&p.policy));
            assert!(forward > between + 0.4, "{forward} {between}");
            assert!(between > reverse + 0.4, "{between} {reverse}");
            assert!(forward > entropy(&demonstrator) && entropy(&demonstrator) > reverse);
            // The reward log D seeks a mode as the logit does.
            assert!(log_d < reverse + 0.1, "{log_d} {reverse}");
            // How much of the demonstrator each could have written: answers it gives at least a
            // tenth of his probability.
            let covered = found.each_ref().map(|found| {
                let pairs = demonstrator.iter().zip(&found.policy);
                let kept = pairs.filter(|(d, p)| **p >= 0.1 * **d);
                kept.map(|(d, _)| d).sum::<f64>()
            });
            assert!(covered[0] > 0.95, "{covered:?}");
            assert!((0.8..0.9).contains(&covered[1]), "{covered:?}");
            assert!(covered[2] < 0.55, "{covered:?}");
            // Each is the best of them by its own measure.
            for (i, d) in ALL.into_iter().enumerate() {
                for other in &found {
                    let least = d.of(&demonstrator, &found[i].policy);
                    let others = d.of(&demonstrator, &other.policy);
                    assert!(least <= others + 1e-9, "{d:?} {found:?}");
                }
            }
        }
    }

    #[test]
    fn a_policy_that_forgets_what_came_before_is_projected_differently_by_each() {
        // The demonstrator says one word again and again, either one: no unigram can.
        let space = Space::new(3, 3);
        let mut demonstrator = vec![0.02 / 13.0; 15];
        for tokens in [[1, 1, 1], [2, 2, 2]] {
            demonstrator[space.index(&tokens).unwrap()] = 0.49;
        }
        let family = |at: &[f64]| unigram(&space, at);
        let starts = [
            vec![0.0, 0.0, 0.0],
            vec![0.0, 2.0, -2.0],
            vec![0.0, -2.0, 2.0],
        ];
        let found = ALL.map(|d| {
            project(d, &demonstrator, family, &starts)
                .unwrap()
                .parameters
        });
        let lean = |at: &[f64]| (at[1] - at[2]).abs();
        assert!(lean(&found[0]) < 1e-4, "both words alike: {found:?}");
        assert!(lean(&found[2]) > 1.0, "one of the two: {found:?}");
    }

    #[test]
    fn without_a_start_nothing_is_found() {
        let family = |at: &[f64]| bell(3, at);
        assert_eq!(
            project(Divergence::ForwardKl, &[1.0 / 3.0; 3], family, &[]),
            None
        );
    }
}
