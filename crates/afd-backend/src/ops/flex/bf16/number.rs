//! Rounding to bf16, in a way that compilers make vectors of.

/// A number that is rounded to bf16.
pub(crate) trait Number: Copy + Sync {
    /// Its bits once it is bf16, to the nearest, ties to even.
    fn to_bf16(self) -> u16;
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
}

impl Number for burn::tensor::bf16 {
    #[inline(always)]
    fn to_bf16(self) -> u16 {
        self.to_bits()
    }
}
