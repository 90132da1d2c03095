//! A moving average of the weights over the steps of a training.

use std::collections::HashMap;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
};

/// `average ← decay · average + (1 − decay) · model`, parameter by parameter. What is not trained stays
/// as it is. `average` has no gradients, and comes back so.
pub(crate) fn follow<M: Module>(average: M, model: &M, decay: f64) -> M {
    let mut trained = Trained(HashMap::new());
    model.visit(&mut trained);
    average.map(&mut Towards {
        model: trained.0,
        decay,
    })
}

/// The parameters that are trained, flat.
struct Trained(HashMap<ParamId, Tensor<1>>);

impl ModuleVisitor for Trained {
    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if param.is_require_grad() {
            let flat = param.base().inner();
            let count = flat.dims().iter().product::<usize>();
            self.0.insert(param.id, flat.reshape([count]));
        }
    }
}

/// Takes each parameter a step of `1 − decay` towards the model's.
struct Towards {
    model: HashMap<ParamId, Tensor<1>>,
    decay: f64,
}

impl ModuleMapper for Towards {
    fn map_float<const R: usize>(&mut self, param: Param<Tensor<R>>) -> Param<Tensor<R>> {
        let Some(now) = self.model.remove(&param.id) else {
            return param;
        };
        let decay = self.decay;
        param.map(|tensor| {
            let now = now.reshape(tensor.dims());
            tensor.mul_scalar(decay) + now.mul_scalar(1.0 - decay)
        })
    }
}
