//! The temperature that calibrates logits best.

use serde::{Deserialize, Serialize};

use crate::calibration::{log_loss, sigmoid};

/// What dividing logits by one temperature does for their log loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Temperature {
    /// The loss has its minimum at a finite temperature.
    Fitted {
        /// Above 1 the logits were too bold, below 1 too shy.
        temperature: f64,
        /// Log loss at temperature 1, in nats.
        before: f64,
        /// Log loss at `temperature`, in nats.
        after: f64,
    },
    /// No answer is on the wrong side of 0: the loss falls towards temperature 0 without end, and
    /// the answers say nothing about the logits' scale.
    Separable,
    /// Without their scale the logits are no better than none: the loss falls towards infinite
    /// temperature. They are constantly 0, point the wrong way, or need another intercept.
    Uninformative,
}

/// Steps after which the search ends in any case; bisection alone would need about 60.
const STEPS: usize = 200;

/// The temperature `T` above 0 at which `logits / T` have the least log loss; `None` of nothing.
///
/// By Newton's method in `log T` for the root of the loss's derivative in `1/T`, which rises with
/// `1/T` because the loss is convex there; a step out of the bracket is replaced by bisection. Fit
/// it on answers that the classifier was not trained on.
///
/// # Panics
///
/// If lengths differ or a logit is not finite.
pub fn fit_temperature(logits: &[f64], labels: &[bool]) -> Option<Temperature> {
    assert_eq!(logits.len(), labels.len(), "one label for each logit");
    let finite = logits.iter().all(|logit| logit.is_finite());
    assert!(finite, "a logit is not finite");
    let largest = logits
        .iter()
        .fold(0.0_f64, |most, logit| most.max(logit.abs()));
    if logits.is_empty() {
        return None;
    }
    // `evidence` is the logit towards the true class, scaled into -1 to 1.
    let towards = |(&logit, &label): (&f64, &bool)| if label { logit } else { -logit } / largest;
    let evidence: Vec<f64> = logits.iter().zip(labels).map(towards).collect();
    if largest == 0.0 || evidence.iter().sum::<f64>() <= 0.0 {
        return Some(Temperature::Uninformative);
    }
    if evidence.iter().all(|&value| value >= 0.0) {
        return Some(Temperature::Separable);
    }
    let temperature = root(&evidence).exp() * largest;
    let cooled: Vec<f64> = logits.iter().map(|logit| logit / temperature).collect();
    Some(Temperature::Fitted {
        temperature,
        before: log_loss(logits, labels),
        after: log_loss(&cooled, labels),
    })
}

/// The log-temperature at which the loss of `evidence` is flat.
fn root(evidence: &[f64]) -> f64 {
    let (mut low, mut high) = (-1.0, 1.0);
    // Downhill is towards lower temperatures at `high`, towards higher ones at `low`; both ends
    // exist, since some evidence is negative and its sum is positive.
    for _ in 0..STEPS {
        if slope(evidence, high).0 > 0.0 {
            break;
        }
        high *= 2.0;
    }
    for _ in 0..STEPS {
        if slope(evidence, low).0 < 0.0 {
            break;
        }
        low *= 2.0;
    }
    let mut at = 0.5 * (low + high);
    for _ in 0..STEPS {
        let (value, derivative) = slope(evidence, at);
        if value > 0.0 {
            high = at;
        } else {
            low = at;
        }
        let newton = at - value / derivative;
        // NaN and infinity, where the curvature has vanished, are outside as well.
        let next = if newton > low && newton < high {
            newton
        } else {
            0.5 * (low + high)
        };
        let moved = (next - at).abs();
        at = next;
        if moved <= 1e-14 * (1.0 + at.abs()) {
            break;
        }
    }
    at
}

/// Minus the loss's derivative in `1/T` (positive where cooling helps), and its own in `log T`.
fn slope(evidence: &[f64], log_temperature: f64) -> (f64, f64) {
    let inverse = (-log_temperature).exp();
    evidence.iter().fold((0.0, 0.0), |(value, derivative), e| {
        let doubt = sigmoid(-e * inverse);
        (
            value + e * doubt,
            derivative + inverse * e * e * doubt * (1.0 - doubt),
        )
    })
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::testing::{close, generator, normal};

    fn fitted(logits: &[f64], labels: &[bool]) -> (f64, f64, f64) {
        match fit_temperature(logits, labels) {
            Some(Temperature::Fitted {
                temperature,
                before,
                after,
            }) => (temperature, before, after),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn on_paper() {
        // Three of four answers on the side that the logit 2 says: the best logit is ln 3.
        let (temperature, before, after) = fitted(&[2.0; 4], &[true, true, true, false]);
        assert!(close(temperature, 2.0 / 3.0_f64.ln(), 1e-12));
        assert!(close(after, 4.0_f64.ln() - 0.75 * 3.0_f64.ln(), 1e-12));
        assert!(close(before, (-2.0_f64).exp().ln_1p() + 0.5, 1e-12));
        // The scale of the logits is the scale of the temperature, however large or small.
        for scale in [1e-100, 1e-8, 1e8, 1e100] {
            let (scaled, _, _) = fitted(&[2.0 * scale; 4], &[true, true, true, false]);
            assert!(close(scaled / scale, temperature, 1e-10), "{scale}");
        }
    }

    #[test]
    fn recovers_the_temperature_that_labels_were_drawn_with() {
        // 20 000 labels from logits N(0, 1) that were then multiplied by 3. The slope's standard
        // error is about 0.02, so a range of 0.1 is five of them.
        let mut rng = generator(2);
        let truth: Vec<f64> = (0..20_000).map(|_| normal(&mut rng)).collect();
        let labels: Vec<bool> = truth
            .iter()
            .map(|&logit| rng.random_bool(sigmoid(logit)))
            .collect();
        let bold: Vec<f64> = truth.iter().map(|logit| 3.0 * logit).collect();
        let (temperature, before, after) = fitted(&bold, &labels);
        assert!(close(temperature / 3.0, 1.0, 0.1), "{temperature}");
        assert!(after < before);
        // It is the minimum: the loss is higher on both sides.
        for other in [0.99 * temperature, 1.01 * temperature] {
            let scaled: Vec<f64> = bold.iter().map(|logit| logit / other).collect();
            assert!(log_loss(&scaled, &labels) > after);
        }
        // Fitted again, nothing is left to do.
        let cooled: Vec<f64> = bold.iter().map(|logit| logit / temperature).collect();
        assert!(close(fitted(&cooled, &labels).0, 1.0, 1e-10));
    }

    #[test]
    fn hardly_wrong_logits_still_have_a_temperature() {
        // One small error among large logits: far from the start, flat on the way.
        let (temperature, _, after) = fitted(&[50.0, 50.0, -0.1], &[true, true, true]);
        assert!(temperature > 0.0 && temperature < 50.0 && after < 0.5);
    }

    #[test]
    fn says_where_there_is_none() {
        let separable = fit_temperature(&[3.0, -0.5, 0.0], &[true, false, true]);
        assert_eq!(separable, Some(Temperature::Separable));
        for logits in [[0.0, 0.0], [-1.0, 1.0], [2.0, 2.0]] {
            let result = fit_temperature(&logits, &[true, false]);
            assert_eq!(result, Some(Temperature::Uninformative), "{logits:?}");
        }
        assert_eq!(fit_temperature(&[], &[]), None);
        assert_eq!(
            serde_json::to_string(&Temperature::Separable).unwrap(),
            r#"{"result":"separable"}"#
        );
    }
}
