//! The kernel on libtorch: in place where a chunk's numbers are nobody else's.

use burn::backend::{LibTorch, libtorch::TchTensor};
use tch::{Kind, Tensor};

use super::{Inputs, Kernel, Weighted, chunks};

impl Kernel for LibTorch {
    fn forward(inputs: &Inputs<Self>) -> (TchTensor, TchTensor) {
        let _no_grad = tch::no_grad_guard();
        let parts = parts(inputs).map(|(start, rows)| {
            let logits = logits(inputs, start, rows);
            let sum = logits.logsumexp([1i64].as_slice(), true);
            let targets = narrow(&inputs.targets.tensor, start, rows).unsqueeze(1);
            (logits.gather(1, &targets, false) - &sum, sum)
        });
        let (log_probs, sums): (Vec<_>, Vec<_>) = parts.unzip();
        let joined = |parts: Vec<Tensor>| TchTensor::new(Tensor::cat(&parts, 0).squeeze_dim(1));
        (joined(log_probs), joined(sums))
    }

    fn backward(
        inputs: &Inputs<Self>,
        log_sum_exp: TchTensor,
        gradient: TchTensor,
        wants: [bool; 2],
    ) -> [Option<TchTensor>; 2] {
        let _no_grad = tch::no_grad_guard();
        let mut gradients = Gradients::new(wants);
        for (start, rows) in parts(inputs) {
            let logits = logits(inputs, start, rows);
            let column = |of: &TchTensor| narrow(&of.tensor, start, rows).unsqueeze(1);
            let (sum, gradient) = (column(&log_sum_exp), column(&gradient));
            gradients.add(inputs, start, logits, &sum, &gradient);
        }
        gradients.finish(inputs)
    }

    fn weighted(inputs: &Inputs<Self>, factors: TchTensor, wants: [bool; 2]) -> Weighted<Self> {
        let _no_grad = tch::no_grad_guard();
        let mut gradients = Gradients::new(wants);
        let parts = parts(inputs).map(|(start, rows)| {
            let logits = logits(inputs, start, rows);
            let sum = logits.logsumexp([1i64].as_slice(), true);
            let targets = narrow(&inputs.targets.tensor, start, rows).unsqueeze(1);
            let factors = narrow(&factors.tensor, start, rows).unsqueeze(1);
            let log_probs = logits.gather(1, &targets, false) - &sum;
            let part = (log_probs * &factors).sum(Kind::Float);
            if wants.contains(&true) {
                gradients.add(inputs, start, logits, &sum, &factors);
            }
            part
        });
        let sum = Tensor::stack(&parts.collect::<Vec<_>>(), 0).sum_dim_intlist(
            [0i64].as_slice(),
            true,
            Kind::Float,
        );
        Weighted {
            sum: TchTensor::new(sum),
            gradients: match wants {
                [false, false] => [None, None],
                _ => gradients.finish(inputs),
            },
        }
    }

    fn scale(gradient: TchTensor, factor: &TchTensor) -> TchTensor {
        let _no_grad = tch::no_grad_guard();
        let mut gradient = gradient.tensor;
        TchTensor::new(gradient.g_mul_(&factor.tensor))
    }
}

/// Gradients of hidden states and head, as they come together.
struct Gradients {
    wants: [bool; 2],
    of_hidden: Vec<Tensor>,
    of_weight: Option<Tensor>,
}

impl Gradients {
    fn new(wants: [bool; 2]) -> Self {
        Self {
            wants,
            of_hidden: Vec::new(),
            of_weight: None,
        }
    }

    /// Adds those of a part that begins at row `start`, of its logits, which are used up, the logarithms of the
    /// denominators and the gradient of the log-probabilities, `[rows, 1]` both.
    fn add(
        &mut self,
        inputs: &Inputs<LibTorch>,
        start: i64,
        mut logits: Tensor,
        log_sum_exp: &Tensor,
        gradient: &Tensor,
    ) {
        let (rows, weight) = (logits.size()[0], &inputs.weight.tensor);
        let slope = inputs.softcap.map(|c| 1.0 - (&logits / c).square());
        let targets = narrow(&inputs.targets.tensor, start, rows).unsqueeze(1);
        // ∂ log p(target) / ∂ logit = [target] − p.
        logits -= log_sum_exp;
        let mut of_logits = logits.exp_();
        of_logits *= -gradient;
        let _ = of_logits.scatter_add_(1, &targets, gradient);
        if let Some(slope) = slope {
            of_logits *= slope;
        }
        let of_logits = of_logits.to_kind(weight.kind());
        if self.wants[0] {
            self.of_hidden.push(of_logits.matmul(&weight.tr()));
        }
        if self.wants[1] {
            // As the head lies: where it is the embedding, its gradient is laid out like that too.
            let hidden = narrow(&inputs.hidden.tensor, start, rows);
            let part = match weight.is_contiguous() {
                true => hidden.tr().matmul(&of_logits),
                false => of_logits.tr().matmul(&hidden),
            };
            // Added up in f32, whatever the products are computed in.
            let part = part.to_kind(Kind::Float);
            self.of_weight = Some(match self.of_weight.take() {
                Some(mut sum) => sum.g_add_(&part),
                None => part,
            });
        }
    }

    /// Both, in the type of the head.
    fn finish(self, inputs: &Inputs<LibTorch>) -> [Option<TchTensor>; 2] {
        let weight = &inputs.weight.tensor;
        let of_weight = self.of_weight.map(|sum| {
            let sum = sum.to_kind(weight.kind());
            match weight.is_contiguous() {
                true => sum,
                false => sum.tr(),
            }
        });
        let of_hidden = self.wants[0].then(|| Tensor::cat(&self.of_hidden, 0));
        [of_hidden.map(TchTensor::new), of_weight.map(TchTensor::new)]
    }
}

fn parts(inputs: &Inputs<LibTorch>) -> impl Iterator<Item = (i64, i64)> + use<> {
    let rows = inputs.hidden.tensor.size()[0] as usize;
    let vocab = inputs.weight.tensor.size()[1] as usize;
    chunks(rows, vocab).map(|(start, rows)| (start as i64, rows as i64))
}

fn narrow(tensor: &Tensor, start: i64, rows: i64) -> Tensor {
    tensor.narrow(0, start, rows)
}

/// Capped, in f32, and new.
fn logits(inputs: &Inputs<LibTorch>, start: i64, rows: i64) -> Tensor {
    let hidden = narrow(&inputs.hidden.tensor, start, rows);
    let logits = hidden.matmul(&inputs.weight.tensor).to_kind(Kind::Float);
    match inputs.softcap {
        Some(c) => (logits / c).tanh() * c,
        None => logits,
    }
}
