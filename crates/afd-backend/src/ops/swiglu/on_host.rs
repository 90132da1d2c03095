//! The kernel on numbers in the host's memory: one pass, on all cores.

use crate::host::{Number, Threads, exp, for_rows, wide};

/// Numbers that a thread takes at a time.
const PART: usize = 4096;

/// Writes `gate · sigmoid(gate) · up` into `out`.
pub(super) fn forward<T: Number>(threads: Threads, gate: &[T], up: &[T], out: &mut [T]) {
    for_rows(threads, out, PART, |i, out| {
        let both = gate[i * PART..].iter().zip(&up[i * PART..]);
        wide(
            #[inline(always)]
            || {
                for (out, (gate, up)) in out.iter_mut().zip(both) {
                    let (gate, up) = (gate.to_f32(), up.to_f32());
                    *out = T::nearest(gate * sigmoid(gate) * up);
                }
            },
        );
    });
}

/// Writes the gradients of both.
pub(super) fn backward<T: Number>(
    threads: Threads,
    [gate, up, gradient]: [&[T]; 3],
    [of_gate, of_up]: [&mut [T]; 2],
) {
    let parts = of_gate.chunks_mut(PART).zip(of_up.chunks_mut(PART));
    threads.for_each(parts, |i, (of_gate, of_up)| {
        let at = i * PART..i * PART + of_gate.len();
        let inputs = gate[at.clone()].iter().zip(&up[at.clone()]);
        let outputs = of_gate.iter_mut().zip(of_up).zip(&gradient[at]);
        wide(
            #[inline(always)]
            || {
                for ((gate, up), ((of_gate, of_up), gradient)) in inputs.zip(outputs) {
                    let (gate, up, gradient) = (gate.to_f32(), up.to_f32(), gradient.to_f32());
                    let sigmoid = sigmoid(gate);
                    let slope = sigmoid * (1.0 + gate * (1.0 - sigmoid));
                    *of_gate = T::nearest(gradient * up * slope);
                    *of_up = T::nearest(gradient * gate * sigmoid);
                }
            },
        );
    });
}

/// `1/(1 + e^−x)`.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let x = if x < -88.0 { -88.0 } else { x };
    1.0 / (1.0 + exp(-x))
}
