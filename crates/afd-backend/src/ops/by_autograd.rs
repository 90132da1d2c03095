//! Gradients by libtorch's own automatic differentiation, where `tch` has an operation and not its backward pass.

use tch::{Kind, Tensor};

/// The gradients of `Σ gradient · f(inputs)` by each of `inputs`; `f` is computed once more for them.
pub(super) fn gradients<const N: usize>(
    inputs: [&Tensor; N],
    gradient: &Tensor,
    f: impl FnOnce(&[Tensor; N]) -> Tensor,
) -> [Tensor; N] {
    let leaves = inputs.map(|input| input.detach().set_requires_grad(true));
    let found = tch::with_grad(|| {
        let sum = (f(&leaves) * gradient).sum(None::<Kind>);
        Tensor::run_backward(&[sum], &leaves, false, false)
    });
    found
        .try_into()
        .unwrap_or_else(|_| unreachable!("a gradient of each leaf"))
}
