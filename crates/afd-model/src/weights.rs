//! The parameters of a model, by name: drawn from a seed, or read from a checkpoint.

use afd_backend::{Placement, host::Threads};
use burn::{
    Tensor,
    module::{Param, ParamId},
    tensor::{DType, FloatDType, TensorData},
};
use half::{bf16, f16};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{DecoderConfig, Error, checkpoint::Checkpoint, families, gaussian, number::Number};

/// How a parameter looks when nobody has trained it yet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Init {
    /// Gaussian with mean 0 and this standard deviation.
    Normal(f64),
    /// All ones.
    Ones,
    /// All zeros.
    Zeros,
}

/// Where a model's parameters come from.
pub(crate) enum Source {
    /// Drawn afresh, each from `seed` and its own name.
    Seed(u64),
    /// Read from a checkpoint; a parameter it lacks is drawn if `fallback` names it.
    Checkpoint {
        checkpoint: Box<Checkpoint>,
        fallback: Option<(&'static str, u64)>,
    },
}

/// Builds parameters one at a time, straight into the buffer that becomes the tensor.
pub(crate) struct Weights<'a> {
    pub(crate) source: Source,
    /// Of which the parameters are.
    pub(crate) config: &'a DecoderConfig,
    pub(crate) placement: &'a Placement,
}

impl Weights<'_> {
    /// The matrix of a linear layer, `[in, out]`; names are Llama's, whatever the family calls it.
    pub(crate) fn matrix(
        &self,
        name: &str,
        shape: [usize; 2],
        init: Init,
    ) -> Result<Param<Tensor<2>>, Error> {
        self.held_in(self.placement.linear_weights(), name, shape, init)
    }

    /// The matrix of a reward model's head, like [`Self::matrix`] but always in f32: in 16 bits
    /// close scores are ties.
    pub(crate) fn score_head(
        &self,
        name: &str,
        shape: [usize; 2],
        init: Init,
    ) -> Result<Param<Tensor<2>>, Error> {
        self.held_in(FloatDType::F32, name, shape, init)
    }

    /// Any other parameter called `name`.
    pub(crate) fn param<const R: usize>(
        &self,
        name: &str,
        shape: [usize; R],
        init: Init,
    ) -> Result<Param<Tensor<R>>, Error> {
        self.held_in(self.placement.weights(), name, shape, init)
    }

    fn held_in<const R: usize>(
        &self,
        dtype: FloatDType,
        name: &str,
        shape: [usize; R],
        init: Init,
    ) -> Result<Param<Tensor<R>>, Error> {
        let data = match dtype {
            FloatDType::BF16 => TensorData::new(self.values::<bf16>(name, &shape, init)?, shape),
            FloatDType::F16 => TensorData::new(self.values::<f16>(name, &shape, init)?, shape),
            _ => TensorData::new(self.values::<f32>(name, &shape, init)?, shape),
        };
        let options = (&self.placement.device, DType::from(dtype));
        let tensor = Tensor::<R>::from_data(data, options);
        Ok(Param::initialized(param_id(name), tensor).set_require_grad(true))
    }

    /// The numbers of a parameter in the type they are held in, so that no second copy of them is
    /// made on the way to the device.
    fn values<E: Number>(&self, name: &str, shape: &[usize], init: Init) -> Result<Vec<E>, Error> {
        let drawn = |seed: u64| {
            let threads = Threads::of(&self.placement.device);
            let values = draw(threads, seed, name, shape.iter().product(), init);
            values.into_iter().map(E::of).collect()
        };
        match &self.source {
            Source::Seed(seed) => Ok(drawn(*seed)),
            Source::Checkpoint {
                checkpoint,
                fallback,
            } => match fallback {
                Some((fresh, seed)) if *fresh == name && !checkpoint.has(name) => Ok(drawn(*seed)),
                _ => checkpoint.read(&families::place(self.config, name, shape.len()), shape),
            },
        }
    }
}

impl Weights<'_> {
    /// Refuses an output head that is said to be the embedding, and stands beside it as another.
    pub(crate) fn check_tied_head(&self) -> Result<(), Error> {
        let Source::Checkpoint { checkpoint, .. } = &self.source else {
            return Ok(());
        };
        let place = |name| families::place(self.config, name, 2).name;
        let (head, table) = (place("lm_head.weight"), place("model.embed_tokens.weight"));
        match checkpoint.has(&head) && !checkpoint.same(&head, &table)? {
            true => Err(checkpoint.unexpected(head)),
            false => Ok(()),
        }
    }

    /// To be called when all parameters are built: a checkpoint with more of them than
    /// `config.json` asks for would load, and write nonsense.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        match &self.source {
            Source::Seed(_) => Ok(()),
            Source::Checkpoint { checkpoint, .. } => checkpoint.finish(),
        }
    }
}

/// The identity of a parameter: a hash of its name, so that an optimiser's record finds
/// it again in another process.
pub(crate) fn param_id(name: &str) -> ParamId {
    ParamId::from(name_hash(name))
}

pub(crate) fn name_hash(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// Weights that are drawn in one go: an even number.
const DRAWN: usize = 1 << 14;

/// `count` numbers, the same whoever draws them.
pub(crate) fn draw(threads: Threads, seed: u64, name: &str, count: usize, init: Init) -> Vec<f32> {
    let std = match init {
        Init::Normal(std) => std,
        Init::Ones => return vec![1.0; count],
        Init::Zeros => return vec![0.0; count],
    };
    let rng = ChaCha8Rng::seed_from_u64(seed ^ name_hash(name));
    let mut values = vec![0.0; count];
    threads.for_each(values.chunks_mut(DRAWN), |index, part| {
        let mut rng = rng.clone();
        // A pair takes two numbers of 64 bits, and so a value as many words of 32.
        rng.set_word_pos(2 * (index * DRAWN) as u128);
        gaussian::fill(&mut rng, std, part);
    });
    values
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn weights_are_drawn_one_after_the_other_however_many_do_it() {
        let drawn = draw(Threads::Rayon, 3, "a", 3 * DRAWN + 5, Init::Normal(1.0));
        let mut rng = ChaCha8Rng::seed_from_u64(3 ^ name_hash("a"));
        for pair in drawn.chunks(2) {
            let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
            let expected = [(radius * cos) as f32, (radius * sin) as f32];
            assert_eq!(pair, &expected[..pair.len()]);
        }
    }

    #[test]
    fn drawn_weights_depend_on_seed_and_name_and_have_the_asked_spread() {
        let of = |seed, name| draw(Threads::Rayon, seed, name, 20_001, Init::Normal(0.5));
        let a = of(1, "a");
        assert_eq!(a, of(1, "a"));
        assert_ne!(a, of(2, "a"));
        assert_ne!(a, of(1, "b"));
        let n = a.len() as f64;
        let mean = a.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let var = a.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
        // Standard errors: 0.5/√n = 0.0035 and 0.25·√(2/n) = 0.0025; bounds are five of each.
        assert!(mean.abs() < 0.018, "{mean}");
        assert!((var - 0.25).abs() < 0.0125, "{var}");
    }
}
