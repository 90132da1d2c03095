//! The kernel on numbers in the host's memory: a token at a time, several at once.

use crate::host::{Number, Threads, for_rows, wide};

/// What to turn by: `half` angles of each token, of one sequence or of all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a, T> {
    pub(super) cos: &'a [T],
    pub(super) sin: &'a [T],
    pub(super) half: usize,
    /// By their negatives.
    pub(super) back: bool,
    pub(super) threads: Threads,
}

impl<T: Number> Turn<'_, T> {
    /// Writes the tokens of `x`, so many heads of a width each, turned into `out`.
    pub(super) fn heads(self, x: &[T], [heads, width]: [usize; 2], out: &mut [T]) {
        let half = self.half;
        let tokens = self.cos.len() / half.max(1);
        let sign = if self.back { -1.0 } else { 1.0 };
        for_rows(self.threads, out, heads * width, |i, out| {
            let x = &x[i * heads * width..(i + 1) * heads * width];
            // Angles are the same for every sequence, or each has its own.
            let at = i % tokens * half;
            let (cos, sin) = (&self.cos[at..at + half], &self.sin[at..at + half]);
            wide(
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_mut(width).zip(x.chunks(width)) {
                        let (turned, rest) = out.split_at_mut(2 * half);
                        let (first, second) = turned.split_at_mut(half);
                        for j in 0..half {
                            let (a, b) = (x[j].to_f32(), x[half + j].to_f32());
                            let (cos, sin) = (cos[j].to_f32(), sign * sin[j].to_f32());
                            first[j] = T::nearest(a * cos - b * sin);
                            second[j] = T::nearest(b * cos + a * sin);
                        }
                        rest.copy_from_slice(&x[2 * half..]);
                    }
                },
            );
        });
    }
}
