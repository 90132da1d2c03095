//! A small world where the right answer is known exactly.
//!
//! A language model is a distribution over answers, and over few enough answers everything the
//! method says can be summed instead of sampled, and solved instead of trained. Each file is one
//! concept, in f64, with the identities it stands for as tests over random instances:
//!
//! * [`space`], [`policy`]: answers that can be enumerated, and softmax tables over them.
//! * [`divergence`], [`sft`], [`projection`]: KL both ways and Jensen–Shannon, in nats; what
//!   fine-tuning is; what a limited class makes of each.
//! * [`loss`], [`discriminator`], [`reward`]: the losses of reward models, their population optima,
//!   and the rewards two policies imply, per answer and per token.
//! * [`adversarial`], [`iq`]: rewards of a discriminator trained against the policy; inverse
//!   learning without one.
//! * [`optimum`], [`best_of_n`]: what optimising a reward comes to.
//! * [`estimator`], [`credit`], [`placement`], [`update`]: what sampled gradients expect, of
//!   answers and of tokens, and where following them ends.
//! * [`preference`]: DPO and SPIN.
//! * [`minimise`]: what closed forms are held against.
//! * [`theory`]: all of it as tables and a figure.
//!
//! A [`Policy`] answers one prompt; several prompts are several policies. Distributions over
//! answers are plain slices in the order of [`Space::answers`]. Nobody's data come in here, so
//! functions panic on misuse instead of returning errors, and say so.
//!
//! ```
//! use afd_exact::{Policy, Space, discriminator, loss, optimum};
//!
//! let space = Space::new(3, 3);
//! let init = Policy::random(&space, 1.0, 1).distribution();
//! let sft = Policy::random(&space, 1.0, 2).distribution();
//!
//! // A reward model trained to tell the two apart …
//! let cross_entropy = loss::Loss::plain(loss::Kind::BinaryCrossEntropy);
//! let reward = discriminator::fitted(&cross_entropy, &sft, &init).at;
//! // … takes the initial policy to the fine-tuned one, at a KL coefficient of 1.
//! let best = optimum::kl_optimum(&init, &reward, 1.0);
//! assert!(best.iter().zip(&sft).all(|(a, b)| (a - b).abs() < 1e-6));
//! ```

pub mod adversarial;
pub mod best_of_n;
#[cfg(test)]
mod check;
pub mod credit;
pub mod discriminator;
pub mod divergence;
pub mod estimator;
pub mod iq;
pub mod loss;
pub mod minimise;
pub mod optimum;
pub mod placement;
pub mod policy;
pub mod preference;
pub mod projection;
pub mod reward;
pub mod sft;
pub mod space;
pub mod theory;
pub mod update;

pub use crate::{policy::Policy, space::Space};
