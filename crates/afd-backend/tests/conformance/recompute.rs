//! Recomputing activations in backward against keeping them.

use afd_backend::{
    device::{repeats_bits, test_device},
    ops::rms_norm,
    recompute,
};
use burn::{
    Tensor,
    module::{LoraAdapter, Module, Param, ParamId, Reparameterizer},
    tensor::{
        Device,
        activation::{silu, softmax},
    },
};

use crate::reference::{draw, generator, host, tensor};

const SHAPE: [usize; 3] = [2, 3, 6];

/// A residual layer, in which every gradient depends on an activation, and with a softmax, which
/// devices compute otherwise where no gradient can be asked for.
#[derive(Module, Debug)]
struct Layer {
    weight: Param<Tensor<2>>,
    norm: Param<Tensor<1>>,
}

impl Layer {
    fn new(index: u64, device: &Device) -> Self {
        let mut rng = generator(index);
        let mut numbers = |count| tensor(&draw(&mut rng, count, 1.0), device);
        let (weight, norm) = (numbers(36).reshape([6, 6]), numbers(6));
        let id = |parameter| ParamId::from(2 * index + parameter);
        Self {
            weight: Param::initialized(id(0), weight).set_require_grad(true),
            norm: Param::initialized(id(1), norm).set_require_grad(true),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = rms_norm(x.clone(), self.norm.base(), 1e-6).reshape([6, 6]);
        let projected = normed.clone().matmul(self.weight.base());
        let projected = match self.weight.adapter() {
            Some(lora) => projected + normed.matmul(lora.a.val()).matmul(lora.b.val()) * lora.scale,
            None => projected,
        };
        x + (softmax(projected.clone(), 1) * silu(projected)).reshape(SHAPE)
    }
}

/// Attaches an adapter with drawn factors, neither of them zero, to a layer's weight, and freezes
/// the rest of it.
struct Adapters(u64);

impl Reparameterizer for Adapters {
    type Reparam = LoraAdapter;

    fn reparameterize<const R: usize>(
        &mut self,
        _: &str,
        base: Param<Tensor<R>>,
    ) -> (Param<Tensor<R>>, Option<LoraAdapter>) {
        let base = base.set_require_grad(false);
        if R != 2 {
            return (base, None);
        }
        let (device, mut rng) = (base.base().device(), generator(self.0));
        let mut factor = |id: u64, shape: [usize; 2]| {
            let values = tensor(&draw(&mut rng, 12, 1.0), &device).reshape(shape);
            Param::initialized(ParamId::from(id), values).set_require_grad(true)
        };
        let adapter = LoraAdapter {
            a: factor(100 + 2 * self.0, [6, 2]),
            b: factor(101 + 2 * self.0, [2, 6]),
            scale: 0.5,
        };
        (base, Some(adapter))
    }
}

/// What is trained: the input, and layers one after the other.
#[derive(Debug, Clone, Copy)]
struct Trained {
    input: bool,
    layers: [bool; 3],
}

/// The result, and the gradients of the input and of every parameter that has one.
fn run(trained: Trained, recomputed: bool) -> Vec<Option<Vec<f64>>> {
    let device = test_device();
    let input = tensor(&draw(&mut generator(9), 36, 2.0), &device).reshape(SHAPE);
    let input = input.autodiff().set_require_grad(trained.input);
    let layers = [0, 1, 2].map(|index| {
        let layer = Layer::new(index, &device).train();
        match trained.layers[index as usize] {
            true => layer,
            false => layer.no_grad(),
        }
    });
    let mut x = input.clone();
    for layer in &layers {
        x = match recomputed {
            true => recompute(layer, x, Layer::forward),
            false => layer.forward(x),
        };
    }
    let gradients = x.clone().powi_scalar(2).sum().backward();
    let mut out = vec![Some(host(x.inner())), input.grad(&gradients).map(host)];
    for layer in layers {
        out.push(layer.weight.base().grad(&gradients).map(host));
        out.push(layer.norm.base().grad(&gradients).map(host));
    }
    out
}

#[test]
fn gradients_are_those_of_kept_activations() {
    // Everything; frozen weights under a tracked input; adapters on frozen embeddings, in the
    // first layer, in the last, and around a layer that trains nothing.
    let cases = [
        (true, [true, true, true]),
        (true, [false, false, false]),
        (false, [true, true, true]),
        (false, [false, false, true]),
        (false, [true, false, true]),
    ];
    for (input, layers) in cases {
        let trained = Trained { input, layers };
        let (kept, recomputed) = (run(trained, false), run(trained, true));
        let wanted: Vec<bool> = [true, input]
            .into_iter()
            .chain(layers.into_iter().flat_map(|layer| [layer; 2]))
            .collect();
        let present = |run: &[Option<Vec<f64>>]| run.iter().map(Option::is_some).collect();
        let found: [Vec<bool>; 2] = [present(&kept), present(&recomputed)];
        assert_eq!(found, [wanted.clone(), wanted], "{trained:?}");
        assert_same(&recomputed, &kept, &format!("{trained:?}"));
    }
}

/// Equal to the bit where the device promises that, and close elsewhere.
fn assert_same(recomputed: &[Option<Vec<f64>>], kept: &[Option<Vec<f64>>], what: &str) {
    if repeats_bits(&test_device()) {
        assert_eq!(recomputed, kept, "{what}");
    }
    for (a, b) in recomputed.iter().flatten().zip(kept.iter().flatten()) {
        let size = b.iter().fold(1.0, |size: f64, b| size.max(b.abs()));
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 1e-5 * size, "{what}: {a}, kept {b}");
        }
    }
}

/// Embeddings and weights frozen, nothing trained but LoRA's factors: the layers' input carries no
/// gradient at all.
#[test]
fn adapters_on_frozen_weights_get_their_gradients() {
    let device = test_device();
    let run = |recomputed: bool| {
        let mut x = tensor(&draw(&mut generator(9), 36, 2.0), &device).reshape(SHAPE);
        let layers = [0, 1, 2].map(|index| {
            let layer = Layer::new(index, &device).apply_reparameterization(Adapters(index));
            layer.train()
        });
        for layer in &layers {
            x = match recomputed {
                true => recompute(layer, x, Layer::forward),
                false => layer.forward(x),
            };
        }
        let gradients = x.clone().powi_scalar(2).sum().backward();
        let mut out = vec![Some(host(x.inner()))];
        for layer in &layers {
            let lora = layer.weight.adapter().unwrap();
            let factors = [&lora.a, &lora.b].map(|factor| factor.val().grad(&gradients).map(host));
            out.extend(factors);
            assert!(layer.weight.base().grad(&gradients).is_none());
        }
        out
    };
    let (kept, recomputed) = (run(false), run(true));
    for run in [&kept, &recomputed] {
        let moves = |g: &Option<Vec<f64>>| g.as_ref().is_some_and(|g| g.iter().any(|g| *g != 0.0));
        assert!(run.iter().all(moves), "{run:?}");
    }
    assert_same(&recomputed, &kept, "adapters");
}

#[test]
fn without_gradients_it_is_the_function_itself() {
    let device = test_device();
    let layer = Layer::new(0, &device);
    let x = tensor(&draw(&mut generator(9), 36, 2.0), &device).reshape(SHAPE);
    let plain = host(layer.forward(x.clone()));
    let found = recompute(&layer, x, Layer::forward);
    assert!(!found.is_autodiff());
    for (found, plain) in host(found).iter().zip(plain) {
        assert!((found - plain).abs() <= 1e-5, "{found}, directly {plain}");
    }
}
