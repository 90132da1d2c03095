//! How far two distributions over answers lie apart, in nats, and where along the answer.

use crate::policy::Policy;

/// Which divergence a policy is fitted to a demonstrator by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divergence {
    /// `KL(demonstrator ‖ policy)`: supervised fine-tuning; covers mass.
    ForwardKl,
    /// [`jensen_shannon`]: GAIL; between the two.
    JensenShannon,
    /// `KL(policy ‖ demonstrator)`: the logit of a discriminator as reward; seeks a mode.
    ReverseKl,
    /// `KL(policy ‖ demonstrator) − 2 JS`: `log D` as reward; seeks a mode. It is
    /// `2 KL(½(policy + demonstrator) ‖ demonstrator)`, so not negative.
    LogD,
}

impl Divergence {
    /// The divergence of `policy` from `demonstrator` in nats; not negative.
    pub fn of(self, demonstrator: &[f64], policy: &[f64]) -> f64 {
        match self {
            Divergence::ForwardKl => kl(demonstrator, policy),
            Divergence::JensenShannon => jensen_shannon(demonstrator, policy),
            Divergence::ReverseKl => kl(policy, demonstrator),
            Divergence::LogD => 2.0 * kl(&mixture(demonstrator, policy), demonstrator),
        }
    }

    /// What the literature calls it.
    pub fn name(self) -> &'static str {
        match self {
            Divergence::ForwardKl => "forward KL",
            Divergence::JensenShannon => "Jensen–Shannon",
            Divergence::ReverseKl => "reverse KL",
            Divergence::LogD => "reverse KL − 2 JS",
        }
    }
}

/// `KL(p ‖ q) = Σ p log(p/q)` in nats; infinite where `q` misses something of `p`.
///
/// # Panics
/// On different lengths.
pub fn kl(p: &[f64], q: &[f64]) -> f64 {
    expectation(p, &log_ratio(p, q))
}

/// `½ KL(p ‖ m) + ½ KL(q ‖ m)`, `m = ½(p + q)`, in nats: at most `log 2`.
///
/// # Panics
/// On different lengths.
pub fn jensen_shannon(p: &[f64], q: &[f64]) -> f64 {
    let m = mixture(p, q);
    0.5 * (kl(p, &m) + kl(q, &m))
}

/// `½(p + q)`.
fn mixture(p: &[f64], q: &[f64]) -> Vec<f64> {
    p.iter().zip(q).map(|(p, q)| 0.5 * (p + q)).collect()
}

/// `−Σ p log p` in nats.
pub fn entropy(p: &[f64]) -> f64 {
    let minus: Vec<f64> = p.iter().map(|p| -p.ln()).collect();
    expectation(p, &minus)
}

/// `Σ p f`, in which what never happens counts nothing, however large.
///
/// # Panics
/// On different lengths.
pub fn expectation(p: &[f64], f: &[f64]) -> f64 {
    assert_eq!(p.len(), f.len(), "a value for each probability");
    let terms = p.iter().zip(f).filter(|(p, _)| **p != 0.0);
    terms.map(|(p, f)| p * f).sum()
}

/// `log p − log q` in nats, pointwise.
///
/// # Panics
/// On different lengths.
pub fn log_ratio(p: &[f64], q: &[f64]) -> Vec<f64> {
    assert_eq!(p.len(), q.len(), "two distributions over the same");
    p.iter().zip(q).map(|(p, q)| p.ln() - q.ln()).collect()
}

/// `p / Σ p`.
pub fn normalised(p: &[f64]) -> Vec<f64> {
    let total: f64 = p.iter().sum();
    p.iter().map(|p| p / total).collect()
}

/// `KL(p(·|s) ‖ q(·|s))` of the next token in nats, by state.
///
/// Chain rule: weighted by `p`'s own [`Policy::occupancy`] it sums to [`kl`] of the answers.
pub fn token_kl(p: &Policy<'_>, q: &Policy<'_>) -> Vec<f64> {
    let (p, q, vocab) = (p.token_log_probs(), q.token_log_probs(), p.space().vocab());
    let states = p.chunks(vocab).zip(q.chunks(vocab));
    let of = |(p, q): (&[f64], &[f64])| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum();
    states.map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::close, space::Space};

    #[test]
    fn divergences_on_paper() {
        let (p, q) = ([0.5, 0.5], [0.25, 0.75]);
        // ½ ln 2 + ½ ln(2/3) = ½ ln(4/3).
        close(kl(&p, &q), 0.5 * (4.0f64 / 3.0).ln(), 1e-15);
        close(entropy(&p), 2f64.ln(), 1e-15);
        close(jensen_shannon(&[1.0, 0.0], &[0.0, 1.0]), 2f64.ln(), 1e-15);
        assert_eq!(kl(&[1.0, 0.0], &p), 2f64.ln());
        assert_eq!(kl(&p, &[1.0, 0.0]), f64::INFINITY);
    }

    #[test]
    fn divergences_vanish_on_equals_and_only_there() {
        let space = Space::new(3, 3);
        for seed in 0..50 {
            let p = Policy::random(&space, 2.0, seed).distribution();
            let q = Policy::random(&space, 2.0, 1000 + seed).distribution();
            for d in [
                Divergence::ForwardKl,
                Divergence::JensenShannon,
                Divergence::ReverseKl,
                Divergence::LogD,
            ] {
                close(d.of(&p, &p), 0.0, 1e-14);
                assert!(d.of(&p, &q) > 1e-3, "{}", d.name());
            }
            assert!(jensen_shannon(&p, &q) <= 2f64.ln());
            let log_d = kl(&q, &p) - 2.0 * jensen_shannon(&p, &q);
            close(Divergence::LogD.of(&p, &q), log_d, 1e-12);
            close(jensen_shannon(&p, &q), jensen_shannon(&q, &p), 1e-14);
        }
    }

    #[test]
    fn the_kl_of_answers_is_the_kl_of_tokens_where_the_policy_goes() {
        for seed in 0..50 {
            let space = Space::new(3, 4);
            let p = Policy::random(&space, 2.0, seed);
            let q = Policy::random(&space, 2.0, 1000 + seed);
            let whole = kl(&p.distribution(), &q.distribution());
            let tokens = token_kl(&p, &q);
            close(expectation(&p.occupancy(), &tokens), whole, 1e-10);
            // Weighted by where the other one goes it is something else.
            let elsewhere = expectation(&q.occupancy(), &tokens);
            assert!((elsewhere - whole).abs() > 1e-6);
        }
    }
}
