//! Numbers that kernels read as f32, and rounding to bf16 in a way that compilers make vectors of.

use burn::tensor::bf16;

/// A number of a tensor: f32, or bf16.
pub(crate) trait Number: Copy + Send + Sync {
    /// Its bits once it is bf16, to the nearest, ties to even.
    fn to_bf16(self) -> u16;

    /// What bf16 keeps of it.
    #[cfg(feature = "flex")]
    #[inline(always)]
    fn rounded(self) -> f32 {
        f32::from_bits(u32::from(self.to_bf16()) << 16)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_and_ties_go_to_even() {
        let of = |x: f32| x.to_bf16();
        assert_eq!(of(1.0), 0x3f80);
        // Half way to the next number, and a little beyond; then from an odd one.
        assert_eq!(of(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(of(f32::from_bits(0x3f80_8001)), 0x3f81);
        assert_eq!(of(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(of(f32::MAX), 0x7f80);
        assert_eq!(of(f32::NEG_INFINITY), 0xff80);
        for bits in [0x7f80_0001, 0xffff_ffff] {
            let nan = u32::from(of(f32::from_bits(bits))) << 16;
            assert!(f32::from_bits(nan).is_nan());
        }
        for i in 0..1000 {
            let x = f32::from_bits(0x3f80_0000 + i * 7919);
            let exact = bf16::from_f32(x);
            assert_eq!(of(x), exact.to_bits(), "{x}");
            #[cfg(feature = "flex")]
            assert_eq!(x.rounded(), exact.to_f32());
            assert_eq!(exact.to_f32(), Number::to_f32(exact));
            assert_eq!(bf16::nearest(x), exact);
        }
    }
}
