//! Two models side by side: at each token, what one has over the other is taken further.

use crate::{CausalLm, DecoderConfig, Error};

/// The model that answers are led away from, and how far.
///
/// Formula: the next token's logits are `log pi + a (log pi − log pi_0)`, normalised, with `pi` the
/// policy that writes, `pi_0` the one it is led away from, and `a` the strength. 0 is `pi` itself to
/// the bit, −1 is `pi_0`, between them one is blended into the other.
///
/// Source: Li et al., *Contrastive Decoding*, arXiv 2210.15097; Liu et al., *Tuning Language Models
/// by Proxy*, arXiv 2401.08565.
///
/// Departures: no token is masked out as implausible, so that the support stays that of `pi` and
/// log-ratios stay finite.
///
/// The policy is normalised token by token, without regard to what the rest of an answer can still
/// earn. So with `a = 1/β` it is the KL-regularised optimum of the log-ratio for answers of one
/// token only.
#[derive(Debug, Clone, Copy)]
pub struct Guide<'a> {
    /// `pi_0`: a model with the vocabulary of the one that writes.
    pub away_from: &'a CausalLm,
    /// `a`.
    pub strength: f64,
}

impl Guide<'_> {
    /// # Errors
    /// [`Error::Vocabularies`] when the two models do not write the same tokens,
    /// [`Error::Sampling`] on a strength that is no number.
    pub(crate) fn check(&self, policy: &DecoderConfig) -> Result<(), Error> {
        let (own, other) = (policy.vocab_size, self.away_from.config().vocab_size);
        if own != other {
            return Err(Error::Vocabularies { own, other });
        }
        if !self.strength.is_finite() {
            return Err(Error::Sampling {
                key: "strength",
                found: self.strength.to_string(),
                expected: "a finite number",
            });
        }
        Ok(())
    }

    /// The logits to draw from, from those of the policy and of the model it is led away from. What
    /// a softmax does not see of them, a constant, may be any.
    pub(crate) fn logits(&self, own: &[f32], other: &[f32]) -> Vec<f32> {
        let pairs = own.iter().zip(other);
        let further = |(own, other): (&f32, &f32)| {
            let (own, other) = (f64::from(*own), f64::from(*other));
            (own + self.strength * (own - other)) as f32
        };
        pairs.map(further).collect()
    }
}
