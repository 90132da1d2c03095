//! Activation memory: a piece of a model whose activations are computed again in backward.
//!
//! This is what trainers call gradient checkpointing. Burn's own switch of that name
//! recomputes single memory-bound operations; this recomputes a whole layer from its input,
//! so that a decoder keeps one hidden state per layer instead of every intermediate.

#![allow(
    deprecated,
    reason = "libtorch is the way to CUDA for those who cannot build CubeCL's"
)]

use std::{fmt, sync::Arc};

#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "libtorch")]
use burn::backend::LibTorch;
use burn::{
    Tensor,
    backend::{
        Autodiff, Backend, Dispatch, DispatchKindConversion, DispatchTensor,
        autodiff::{
            NodeId,
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, NodeGuard, Ops, OpsKind},
        },
        backend_extension,
        ops::FloatTensorOps,
        tensor::FloatTensor,
    },
    module::{Module, ModuleVisitor, Param},
};

/// `forward(module, x)`, of which only `x` `[B, T, D]` is kept for the backward pass.
///
/// Backward runs `forward` once more, with gradients, and goes on from there. Values and
/// gradients are those of calling `forward` directly, to the bit where the device computes the
/// same thing twice alike. `forward` must be a pure function of its arguments and of constants:
/// a draw inside it has to depend on an index, not on a generator.
///
/// Without automatic differentiation this is `forward(module, x)`.
///
/// Departure from PyTorch's `checkpoint`: gradients flow to `x` and to the parameters of
/// `module`, and to nothing else that `forward` captured.
pub fn recompute<M: Module + Sync + 'static>(
    module: &M,
    x: Tensor<3>,
    forward: impl Fn(&M, Tensor<3>) -> Tensor<3> + Send + Sync + 'static,
) -> Tensor<3> {
    let mut trained = Trained(Vec::new());
    module.visit(&mut trained);
    if trained.0.is_empty() && !x.is_autodiff() {
        return forward(module, x);
    }
    let plain = module.valid();
    // On the backend that differentiates, though nothing is tracked: where nobody could ask for a
    // gradient, a device may take another kernel, whose last bits are not those of the second run.
    let untracked = plain.clone().no_grad().train();
    let value = forward(&untracked, x.clone().inner().autodiff()).inner();
    let trains = !trained.0.is_empty();
    let rerun = move |x: Tensor<3>, gradient: Tensor<3>| {
        let (module, x) = match trains {
            true => (plain.clone().train(), x.autodiff().require_grad()),
            false => (plain.clone(), x.autodiff().require_grad()),
        };
        // The derivative of Σ gradient · value is what the chain rule wants.
        let gradients = (forward(&module, x.clone()) * gradient.autodiff())
            .sum()
            .backward();
        let mut collected = Collected {
            gradients: &gradients,
            of_parameters: Vec::new(),
        };
        module.visit(&mut collected);
        (x.grad(&gradients), collected.of_parameters)
    };
    Tensor::from_dispatch(<Dispatch as Recompute>::recompute_in_backward(
        x.autodiff().into_dispatch(),
        value.into_dispatch(),
        trained.0,
        Rerun(Arc::new(rerun)),
    ))
}

/// From an input and the gradient of the output to the gradients of the input and of the
/// trained parameters, in module order; all of them without automatic differentiation.
#[derive(Clone)]
struct Rerun(Arc<RerunFn>);

type RerunFn =
    dyn Fn(Tensor<3>, Tensor<3>) -> (Option<Tensor<3>>, Vec<Option<DispatchTensor>>) + Send + Sync;

impl fmt::Debug for Rerun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rerun")
    }
}

/// The parameters gradients are wanted for, in module order.
struct Trained(Vec<DispatchTensor>);

impl ModuleVisitor for Trained {
    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        let tensor = param.base();
        if tensor.is_autodiff() && tensor.is_require_grad() {
            self.0.push(tensor.into_dispatch());
        }
    }
}

/// The gradients of the same parameters.
struct Collected<'a> {
    gradients: &'a burn::tensor::Gradients,
    of_parameters: Vec<Option<DispatchTensor>>,
}

impl ModuleVisitor for Collected<'_> {
    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        let tensor = param.base();
        if tensor.is_autodiff() && tensor.is_require_grad() {
            let gradient = tensor.grad(self.gradients);
            self.of_parameters.push(gradient.map(Tensor::into_dispatch));
        }
    }
}

/// What [`recompute`] needs of a backend: an output whose backward pass is ours.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(feature = "cube"),
    Autodiff
)]
trait Recompute: Backend {
    /// `value`, the output for `x` computed without gradients. `parameters` get theirs from
    /// `rerun` in backward, as `x` does.
    fn recompute_in_backward(
        x: FloatTensor<Self>,
        value: FloatTensor<Self>,
        parameters: Vec<DispatchTensor>,
        rerun: Rerun,
    ) -> FloatTensor<Self> {
        let _ = (x, parameters, rerun);
        value
    }
}

#[cfg(feature = "flex")]
impl Recompute for Flex {}

#[cfg(feature = "libtorch")]
impl Recompute for LibTorch {}

#[cfg(feature = "cube")]
impl Recompute for Cube {}

impl<B: Backend, C: CheckpointStrategy> Recompute for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Self>,
{
    fn recompute_in_backward(
        x: FloatTensor<Self>,
        value: FloatTensor<Self>,
        parameters: Vec<DispatchTensor>,
        rerun: Rerun,
    ) -> FloatTensor<Self> {
        let ids = parameters.into_iter().map(primitive::<Self>);
        let parameters: Vec<NodeId> = ids.map(|parameter| parameter.id()).collect();
        // A step is visited only if it has a tracked parent. Where the weights below are frozen
        // and these are not, the input becomes one.
        let x = match prepare::<B, C>(x.node()) {
            OpsKind::UnTracked(_) if !parameters.is_empty() => {
                Self::float_set_require_grad(Self::float_detach(x), true)
            }
            _ => x,
        };
        let (x, node) = x.into_parts();
        let value = value.into_primitive();
        match prepare::<B, C>(node) {
            OpsKind::Tracked(step) => {
                let state = State {
                    x,
                    parameters,
                    rerun,
                };
                step.finish(state, value)
            }
            OpsKind::UnTracked(step) => step.finish(value),
        }
    }
}

fn prepare<B: Backend, C: CheckpointStrategy>(
    input: NodeGuard,
) -> OpsKind<Recomputed, B, State<B>, C, 1>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let step = <Recomputed as Backward<B, 1>>::prepare::<C>(Recomputed, [input]);
    step.compute_bound().stateful()
}

/// The float primitive of a tensor that is known to live on `B`.
fn primitive<B: Backend>(tensor: DispatchTensor) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    match <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(tensor) {
        Ok(tensor) => tensor.float(),
        Err(error) => panic!("a layer's input and parameters live on one device: {error}"),
    }
}

#[derive(Debug)]
struct Recomputed;

#[derive(Debug, Clone)]
struct State<B: Backend> {
    x: FloatTensor<B>,
    parameters: Vec<NodeId>,
    rerun: Rerun,
}

impl<B: Backend> Backward<B, 1> for Recomputed
where
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = Tensor::<3>::from_primitive::<B>(grads.consume::<B>(&ops.node));
        let x = Tensor::<3>::from_primitive::<B>(ops.state.x);
        let (of_x, of_parameters) = ops.state.rerun.0(x, gradient);
        let mut register = |node: NodeId, gradient: Option<DispatchTensor>| {
            if let Some(gradient) = gradient {
                grads.register::<B>(node, primitive(gradient));
            }
        };
        if let [Some(parent)] = ops.parents {
            register(parent.id, of_x.map(Tensor::into_dispatch));
        }
        for (node, gradient) in ops.state.parameters.into_iter().zip(of_parameters) {
            register(node, gradient);
        }
    }
}
