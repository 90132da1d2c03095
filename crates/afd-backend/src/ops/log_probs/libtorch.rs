//! The kernel on libtorch: rows of logits by our own on the CPU, elsewhere in place where numbers are nobody else's.

use burn::backend::{LibTorch, libtorch::TchTensor};
use tch::{Kind, Tensor};

use super::{Inputs, Kernel, Weighted, chunks, on_host};
use crate::host::Threads::OpenMp;
use crate::ops::libtorch::{numbers, numbers_mut};

impl Kernel for LibTorch {
    fn forward(inputs: &Inputs<Self>) -> (TchTensor, TchTensor) {
        let _no_grad = tch::no_grad_guard();
        let parts = parts(inputs).map(|(start, rows)| {
            let logits = logits(inputs, start, rows);
            log_probs(&logits, &column(&inputs.targets, start, rows))
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
            let [sum, gradient] = [&log_sum_exp, &gradient].map(|of| column(of, start, rows));
            gradients.add(inputs, start, logits, &sum, &gradient);
        }
        gradients.finish(inputs)
    }

    fn weighted(inputs: &Inputs<Self>, factors: TchTensor, wants: [bool; 2]) -> Weighted<Self> {
        let _no_grad = tch::no_grad_guard();
        let mut gradients = Gradients::new(wants);
        let parts = parts(inputs).map(|(start, rows)| {
            let logits = logits(inputs, start, rows);
            let (log_probs, sum) = log_probs(&logits, &column(&inputs.targets, start, rows));
            let factors = column(&factors, start, rows);
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
        let targets = column(&inputs.targets, start, rows);
        differentiate(&mut logits, &targets, log_sum_exp, gradient, inputs.softcap);
        let of_logits = logits.to_kind(weight.kind());
        if self.wants[0] {
            self.of_hidden.push(of_logits.matmul(&weight.tr()));
        }
        if self.wants[1] {
            // As the head lies: where it is the embedding, its gradient is laid out like that too.
            let hidden = narrow(&inputs.hidden.tensor, start, rows);
            let (a, b) = match weight.is_contiguous() {
                true => (hidden.tr(), of_logits),
                false => (of_logits.tr(), hidden),
            };
            // Added up in f32, whatever the products are computed in.
            self.of_weight = Some(match self.of_weight.take() {
                Some(mut sum) if a.kind() == Kind::Float => sum.addmm_(&a, &b),
                Some(mut sum) => sum.g_add_(&a.matmul(&b)),
                None => a.matmul(&b).to_kind(Kind::Float),
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
    let head = [0, 1].map(|side| inputs.weight.tensor.size()[side] as usize);
    chunks(rows, head).map(|(start, rows)| (start as i64, rows as i64))
}

fn narrow(tensor: &Tensor, start: i64, rows: i64) -> Tensor {
    tensor.narrow(0, start, rows)
}

/// A number of each row, `[rows, 1]`.
fn column(of: &TchTensor, start: i64, rows: i64) -> Tensor {
    narrow(&of.tensor, start, rows).unsqueeze(1)
}

/// Log-probabilities of the targets `[rows, 1]`, and the logarithms of the softmax's denominators.
fn log_probs(logits: &Tensor, targets: &Tensor) -> (Tensor, Tensor) {
    let found = numbers(logits).map(|numbers| {
        let mut pairs = vec![0.0; 2 * targets.numel()];
        let vocab = numbers.len() / targets.numel();
        on_host::sums_and_targets(OpenMp, numbers, vocab, &indices(targets), &mut pairs);
        let pairs = Tensor::from_slice(&pairs).view([-1, 2]);
        let [sum, target] = [0, 1].map(|place| pairs.narrow(1, place, 1));
        (target - &sum, sum)
    });
    found.unwrap_or_else(|| {
        let sum = logits.logsumexp([1i64].as_slice(), true);
        (logits.gather(1, targets, false) - &sum, sum)
    })
}

/// Makes logits, which are capped already, the gradients of logits; the others are `[rows, 1]`.
fn differentiate(
    logits: &mut Tensor,
    targets: &Tensor,
    log_sum_exp: &Tensor,
    gradient: &Tensor,
    softcap: Option<f64>,
) {
    let [sums, gradients] = [log_sum_exp, gradient].map(Tensor::contiguous);
    #[allow(unsafe_code, reason = "logits become their gradients in place")]
    // SAFETY: logits were computed for this call, and nobody else has them.
    let numbers_of_logits = unsafe { numbers_mut(logits) };
    let of_rows = (numbers(&sums), numbers(&gradients), numbers_of_logits);
    if let (Some(sums), Some(gradients), Some(logits)) = of_rows {
        let (targets, vocab) = (indices(targets), logits.len() / sums.len());
        let of_row = |i: usize| (targets[i], gradients[i], sums[i]);
        return on_host::differentiate(OpenMp, logits, vocab, softcap, of_row);
    }
    let slope = softcap.map(|c| 1.0 - (&*logits / c).square());
    // ∂ log p(target) / ∂ logit = [target] − p.
    *logits -= log_sum_exp;
    let _ = logits.exp_();
    *logits *= -gradient;
    let _ = logits.scatter_add_(1, targets, gradient);
    if let Some(slope) = slope {
        *logits *= slope;
    }
}

/// Those of a tensor on the CPU.
fn indices(tensor: &Tensor) -> Vec<usize> {
    let indices = tensor.to_kind(Kind::Int64).contiguous().view([-1]);
    match Vec::<i64>::try_from(indices) {
        Ok(indices) => indices.into_iter().map(|index| index as usize).collect(),
        Err(error) => panic!("targets are numbers of tokens: {error}"),
    }
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
