//! The norm of all gradients together, and clipping to it.

use afd_backend::ops::sum_of_squares;
use burn::optim::GradientsParams;
use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
};

/// Scales `grads` so that their joint Euclidean norm is at most `max_norm` (0 = leave
/// them) and returns them with the norm they had.
///
/// The factor is `max_norm / (norm + 1e-6)` when that is below 1, as in PyTorch. Norms are
/// added in module order, so the result does not depend on hashing.
pub(crate) fn clip<M: Module>(
    model: &M,
    grads: GradientsParams,
    max_norm: f64,
) -> (GradientsParams, f64) {
    let mut squares = Squares {
        grads: &grads,
        sums: Vec::new(),
    };
    model.visit(&mut squares);
    let norm = match squares.sums.is_empty() {
        true => 0.0,
        false => f64::from(Tensor::cat(squares.sums, 0).sum().into_scalar::<f32>()).sqrt(),
    };
    let factor = max_norm / (norm + 1e-6);
    if max_norm == 0.0 || !norm.is_finite() || factor >= 1.0 {
        return (grads, norm);
    }
    let mut scale = Scale { grads, factor };
    model.visit(&mut scale);
    (scale.grads, norm)
}

struct Squares<'a> {
    grads: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if let Some(grad) = self.grads.get::<R>(param.id) {
            self.sums.push(sum_of_squares(grad));
        }
    }
}

struct Scale {
    grads: GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale {
    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if let Some(grad) = self.grads.remove::<R>(param.id) {
            self.grads.register(param.id, grad.mul_scalar(self.factor));
        }
    }
}

/// The ids of the parameters that weight decay leaves alone: vectors, that is, norms.
pub(crate) fn undecayed<M: Module>(model: &M) -> Vec<burn::module::ParamId> {
    let mut vectors = Vectors(Vec::new());
    model.visit(&mut vectors);
    vectors.0
}

struct Vectors(Vec<burn::module::ParamId>);

impl ModuleVisitor for Vectors {
    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if R < 2 {
            self.0.push(param.id);
        }
    }
}
