//! The kernel on libtorch: its own fused attention where there is one for what is asked, which is on
//! the CPU and without a soft cap.

use burn::backend::{LibTorch, libtorch::TchTensor};
use tch::{Device, Tensor};

use super::{Attended, Inputs, Kernel, composed};

impl Kernel for LibTorch {
    fn forward(inputs: &Inputs<Self>) -> Attended<Self> {
        let _no_grad = tch::no_grad_guard();
        let Some(fused) = Fused::of(inputs) else {
            return composed::forward(inputs);
        };
        // Never `is_causal`, which aligns queries and keys at their first, not at their last.
        let (out, log_sum_exp) = Tensor::internal_scaled_dot_product_flash_attention_for_cpu(
            &fused.q,
            &fused.k,
            &fused.v,
            0.0,
            false,
            fused.mask.as_ref(),
            inputs.options.scale,
        );
        let [b, tq, h, d] = fused.shape;
        Attended {
            out: TchTensor::new(out.transpose(1, 2).reshape([b, tq, h * d])),
            log_sum_exp: Some(TchTensor::new(log_sum_exp)),
        }
    }

    fn backward(
        inputs: &Inputs<Self>,
        attended: &Attended<Self>,
        gradient: TchTensor,
    ) -> [TchTensor; 3] {
        let _no_grad = tch::no_grad_guard();
        let (Some(fused), Some(log_sum_exp)) = (Fused::of(inputs), &attended.log_sum_exp) else {
            return composed::backward(inputs, gradient);
        };
        let heads_first = |x: &TchTensor| x.tensor.reshape(fused.shape).transpose(1, 2);
        let (of_q, of_k, of_v) =
            Tensor::internal_scaled_dot_product_flash_attention_for_cpu_backward(
                &heads_first(&gradient),
                &fused.q,
                &fused.k,
                &fused.v,
                &heads_first(&attended.out),
                &log_sum_exp.tensor,
                0.0,
                false,
                fused.mask.as_ref(),
                inputs.options.scale,
            );
        [
            TchTensor::new(of_q.transpose(1, 2)),
            TchTensor::new(fused.ungrouped(&of_k)),
            TchTensor::new(fused.ungrouped(&of_v)),
        ]
    }
}

/// Inputs as the kernel takes them: `[B, H, T, d]`, a key/value head for each query head.
struct Fused {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    /// Of the type of `q`.
    mask: Option<Tensor>,
    /// `[B, Tq, H, d]`.
    shape: [i64; 4],
    /// Query heads that read one key/value head.
    group: i64,
}

impl Fused {
    fn of(inputs: &Inputs<LibTorch>) -> Option<Self> {
        let (q, k, v) = (&inputs.q.tensor, &inputs.k.tensor, &inputs.v.tensor);
        if q.device() != Device::Cpu || inputs.options.softcap.is_some() {
            return None;
        }
        let (b, tq, h, d) = q.size4().ok()?;
        let (_, kv, tk, _) = k.size4().ok()?;
        let group = h / kv;
        let per_head = |x: &Tensor| match group {
            1 => x.shallow_clone(),
            _ => {
                let each = x.unsqueeze(2).expand([b, kv, group, tk, d], false);
                each.reshape([b, h, tk, d])
            }
        };
        let mask = match &inputs.mask {
            None => None,
            Some(mask) => {
                let mask = mask.clone().try_into_primitive::<LibTorch>().ok()?;
                Some(mask.tensor.to_kind(q.kind()))
            }
        };
        Some(Self {
            q: q.transpose(1, 2),
            k: per_head(k),
            v: per_head(v),
            mask,
            shape: [b, tq, h, d],
            group,
        })
    }

    /// The gradient of a key/value head is the sum over the heads that read it.
    fn ungrouped(&self, x: &Tensor) -> Tensor {
        let [b, _, h, d] = self.shape;
        match self.group {
            1 => x.shallow_clone(),
            group => {
                let grouped = x.reshape([b, h / group, group, -1, d]);
                grouped.sum_dim_intlist([2i64].as_slice(), false, x.kind())
            }
        }
    }
}
