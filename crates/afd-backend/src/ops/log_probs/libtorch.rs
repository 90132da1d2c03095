//! The kernel on libtorch: in place where a chunk's numbers are nobody else's.

use burn::backend::{LibTorch, libtorch::TchTensor};
use tch::{Kind, Tensor};

use super::{Inputs, Kernel, chunks};

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
        [wants_hidden, wants_weight]: [bool; 2],
    ) -> [Option<TchTensor>; 2] {
        let _no_grad = tch::no_grad_guard();
        let (hidden, weight) = (&inputs.hidden.tensor, &inputs.weight.tensor);
        let kind = weight.kind();
        let column = |of: &TchTensor, start, rows| narrow(&of.tensor, start, rows).unsqueeze(1);
        let mut of_hidden = Vec::new();
        let mut of_weight: Option<Tensor> = None;
        for (start, rows) in parts(inputs) {
            let mut logits = logits(inputs, start, rows);
            let slope = inputs.softcap.map(|c| 1.0 - (&logits / c).square());
            let gradient = column(&gradient, start, rows);
            let targets = narrow(&inputs.targets.tensor, start, rows).unsqueeze(1);
            // ∂ log p(target) / ∂ logit = [target] − p.
            logits -= column(&log_sum_exp, start, rows);
            let mut of_logits = logits.exp_();
            of_logits *= -&gradient;
            let _ = of_logits.scatter_add_(1, &targets, &gradient);
            if let Some(slope) = slope {
                of_logits *= slope;
            }
            let of_logits = of_logits.to_kind(kind);
            if wants_hidden {
                of_hidden.push(of_logits.matmul(&weight.tr()));
            }
            if wants_weight {
                // As the head lies: where it is the embedding, its gradient is laid out like that too.
                let hidden = narrow(hidden, start, rows);
                let part = match weight.is_contiguous() {
                    true => hidden.tr().matmul(&of_logits),
                    false => of_logits.tr().matmul(&hidden),
                };
                // Added up in f32, whatever the products are computed in.
                let part = part.to_kind(Kind::Float);
                of_weight = Some(match of_weight {
                    Some(mut sum) => sum.g_add_(&part),
                    None => part,
                });
            }
        }
        let of_weight = of_weight.map(|sum| {
            let sum = sum.to_kind(kind);
            if weight.is_contiguous() {
                sum
            } else {
                sum.tr()
            }
        });
        let of_hidden = wants_hidden.then(|| Tensor::cat(&of_hidden, 0));
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
