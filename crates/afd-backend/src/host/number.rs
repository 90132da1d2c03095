//! Numbers that kernels read as f32, and rounding to bf16 in a way that compilers make vectors of.

use burn::tensor::bf16;

/// A number of a tensor: f32, or bf16.
pub(crate) trait Number: Copy + Send + Sync {
    /// Its bits once it is bf16, to the nearest, ties to even.
    fn to_bf16(self) -> u16;

    /// Itself, in f32.
    fn to_f32(self) -> f32;

    /// The nearest to `x`, ties to even.
    fn nearest(x: f32) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    fn to_bf16(self) -> u16 {
        let bits = self.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // What is no number must not become infinity.
        let quiet = bits >> 16 | 0x40;
        (if self.is_nan() { quiet } else { rounded }) as u16
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn nearest(x: f32) -> Self {
        x
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn to_bf16(self) -> u16 {
        self.to_bits()
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn nearest(x: f32) -> Self {
        Self::from_bits(x.to_bf16())
    }
}
