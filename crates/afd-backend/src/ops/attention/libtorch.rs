//! The kernel on libtorch: its own fused attention, unless scores have a soft cap, which that has not.
//!
//! On the CPU by the kernel's name, with its backward pass. On GPUs libtorch chooses among kernels, of which
//! `tch` does not name every backward pass: there automatic differentiation finds it, for one more
//! forward pass.

use burn::backend::{LibTorch, libtorch::TchTensor};
use tch::{Device, Tensor};

use super::{Attended, Inputs, Kernel, composed};
use crate::ops::by_autograd;

impl Kernel for LibTorch {
    fn forward(inputs: &Inputs<Self>) -> Attended<Self> {
        let _no_grad = tch::no_grad_guard();
        let Some(fused) = Fused::of(inputs) else {
            return composed::forward(inputs);
        };
        if !fused.is_on_cpu() {
            return Attended {
                out: fused.together(&fused.attend(&[&fused.q, &fused.k, &fused.v])),
                log_sum_exp: None,
            };
        }
        // Never `is_causal`, which aligns queries and keys at their first, not at their last.
        let (out, log_sum_exp) = Tensor::internal_scaled_dot_product_flash_attention_for_cpu(
            &fused.q,
            &fused.k,
            &fused.v,
            0.0,
            false,
            fused.mask.as_ref(),
            fused.scale,
        );
        Attended {
            out: fused.together(&out),
            log_sum_exp: Some(TchTensor::new(log_sum_exp)),
        }
    }

    fn backward(
        inputs: &Inputs<Self>,
        attended: &Attended<Self>,
        gradient: TchTensor,
    ) -> [TchTensor; 3] {
        let _no_grad = tch::no_grad_guard();
        let Some(fused) = Fused::of(inputs) else {
            return composed::backward(inputs, gradient);
        };
        let heads_first = |x: &TchTensor| x.tensor.reshape(fused.shape).transpose(1, 2);
        let Some(log_sum_exp) = &attended.log_sum_exp else {
            return fused.apart(fused.back(&heads_first(&gradient)));
        };
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
                fused.scale,
            );
        fused.apart([of_q, of_k, of_v])
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
    scale: f64,
}

impl Fused {
    fn of(inputs: &Inputs<LibTorch>) -> Option<Self> {
        let (q, k, v) = (&inputs.q.tensor, &inputs.k.tensor, &inputs.v.tensor);
        if inputs.options.softcap.is_some() {
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
        let mask = match &inputs.context.mask {
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
            scale: inputs.options.scale,
        })
    }

    fn is_on_cpu(&self) -> bool {
        self.q.device() == Device::Cpu
    }

    /// By the kernel that libtorch chooses, `[B, H, Tq, d]`; never `is_causal`, as above.
    fn attend(&self, [q, k, v]: &[&Tensor; 3]) -> Tensor {
        let mask = self.mask.as_ref();
        Tensor::scaled_dot_product_attention(q, k, v, mask, 0.0, false, self.scale, false)
    }

    /// Gradients of what [`Self::attend`] took, from that of its result.
    fn back(&self, gradient: &Tensor) -> [Tensor; 3] {
        by_autograd::gradients([&self.q, &self.k, &self.v], gradient, |[q, k, v]| {
            self.attend(&[q, k, v])
        })
    }

    /// `[B, Tq, H·d]` from `[B, H, Tq, d]`.
    fn together(&self, out: &Tensor) -> TchTensor {
        let [b, tq, h, d] = self.shape;
        TchTensor::new(out.transpose(1, 2).reshape([b, tq, h * d]))
    }

    /// Gradients as the inputs were.
    fn apart(&self, [of_q, of_k, of_v]: [Tensor; 3]) -> [TchTensor; 3] {
        [
            of_q.transpose(1, 2),
            self.ungrouped(&of_k),
            self.ungrouped(&of_v),
        ]
        .map(TchTensor::new)
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

#[cfg(test)]
mod tests {
    use super::super::Context;
    use super::*;
    use crate::{
        device::open,
        ops::{ScoreOptions, causal_mask, packed_mask},
    };

    /// What GPUs run, on the CPU: libtorch's choice and its automatic differentiation, against the kernel with a
    /// backward pass of its own.
    #[test]
    fn what_libtorch_chooses_and_differentiates_is_the_kernel_on_the_cpu() {
        let device = open("libtorch").unwrap();
        tch::manual_seed(7);
        let (b, t, h, kv, d) = (2, 9, 4, 2, 8);
        let masks = [
            None,
            Some(causal_mask(0, 9, None, &device)),
            Some(causal_mask(0, 9, Some(3), &device)),
            Some(packed_mask(
                &[0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8],
                9,
                None,
                &device,
            )),
        ];
        let random = |shape: [i64; 4]| Tensor::randn(shape, (tch::Kind::Float, Device::Cpu));
        for mask in masks {
            let inputs = Inputs::<LibTorch> {
                q: TchTensor::new(random([b, t, h, d])),
                k: TchTensor::new(random([b, kv, t, d])),
                v: TchTensor::new(random([b, kv, t, d])),
                context: Context {
                    mask,
                    prefixes: None,
                },
                options: ScoreOptions::of_width(d as usize),
            };
            let gradient = random([b, t, h, d]);
            let attended = LibTorch::forward(&inputs);
            let theirs = LibTorch::backward(
                &inputs,
                &attended,
                TchTensor::new(gradient.reshape([b, t, h * d])),
            );

            let fused = Fused::of(&inputs).unwrap();
            let out = fused.together(&fused.attend(&[&fused.q, &fused.k, &fused.v]));
            let ours = fused.apart(fused.back(&gradient.transpose(1, 2)));
            let pairs = theirs.iter().zip(&ours);
            for (theirs, ours) in pairs.chain([(&attended.out, &out)]) {
                assert_eq!(theirs.tensor.size(), ours.tensor.size());
                assert!(theirs.tensor.allclose(&ours.tensor, 1e-4, 1e-5, false));
            }
        }
    }
}
