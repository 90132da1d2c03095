//! Numbers of a normal distribution, many at a time and the same on every system.
//!
//! Box–Muller: of `u, v` uniform in [0, 1), `r = √(−2 ln(1 − u))` and `a = 2πv`, `r cos a` and `r sin a` are two of
//! them. Logarithm and sine are written out here, by the reductions and polynomials of fdlibm, because the compiler
//! then computes several at once, and because those of systems differ in their last bits.

use std::f64::consts::{FRAC_2_PI, TAU};

use afd_backend::host::wide;
use rand::RngCore;

/// Pairs that are made at a time.
const PAIRS: usize = 64;

/// Fills `out` with numbers of mean 0 and standard deviation `std`. A pair takes 16 bytes of `rng`; of the last of an
/// odd count only the first number is kept.
pub(crate) fn fill(rng: &mut impl RngCore, std: f64, out: &mut [f32]) {
    let mut bytes = [0; 16 * PAIRS];
    let mut drawn = [0.0; 2 * PAIRS];
    for block in out.chunks_mut(2 * PAIRS) {
        let bytes = &mut bytes[..16 * block.len().div_ceil(2)];
        rng.fill_bytes(bytes);
        wide(
            #[inline(always)]
            || pairs(bytes, std, &mut drawn),
        );
        block.copy_from_slice(&drawn[..block.len()]);
    }
}

/// A pair of each 16 bytes.
#[inline(always)]
fn pairs(bytes: &[u8], std: f64, out: &mut [f32]) {
    for (bytes, out) in bytes.as_chunks::<16>().0.iter().zip(out.as_chunks_mut().0) {
        let (bits, _) = bytes.as_chunks::<8>();
        let [u, v] = [bits[0], bits[1]].map(uniform);
        let radius = (-2.0 * ln(1.0 - u)).sqrt() * std;
        let (sin, cos) = sin_cos(TAU * v);
        *out = [(radius * cos) as f32, (radius * sin) as f32];
    }
}

/// In [0, 1), a multiple of 2⁻⁵³.
#[inline(always)]
fn uniform(bytes: [u8; 8]) -> f64 {
    (u64::from_le_bytes(bytes) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// The natural logarithm of a number in (0, 1], to a unit in the last place.
#[inline(always)]
fn ln(x: f64) -> f64 {
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    const ONE: u64 = 0x3ff0_0000_0000_0000;
    // ln 2 in two parts, so that the product of the first with the exponent is exact.
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // x = 2ᵏ (1 + f), with 1 + f between √½ and √2.
    let biased = (x.to_bits() + (ONE - SQRT_HALF)) >> 52;
    let f = f64::from_bits(x.to_bits() + ONE - (biased << 52)) - 1.0;
    // A whole number below 2⁵² as the low bits of 2⁵² more than it.
    let k = f64::from_bits(0x4330_0000_0000_0000 | biased) - (4_503_599_627_370_496.0 + 1023.0);
    let s = f / (2.0 + f);
    let z = s * s;
    let mut p = 1.479_819_860_511_658_6e-1;
    p = p * z + 1.531_383_769_920_937_3e-1;
    p = p * z + 1.818_357_216_161_805e-1;
    p = p * z + 2.222_219_843_214_978_4e-1;
    p = p * z + 2.857_142_874_366_239e-1;
    p = p * z + 3.999_999_999_940_942e-1;
    p = p * z + 6.666_666_666_666_735e-1;
    let half = 0.5 * f * f;
    k * LN2_HIGH - ((half - (s * (half + p * z) + k * LN2_LOW)) - f)
}

/// Sine and cosine of an angle between 0 and 2π, to 3·10⁻¹⁶.
#[inline(always)]
fn sin_cos(x: f64) -> (f64, f64) {
    // 1.5·2⁵²: adding it rounds to a whole number, which then stands in the low bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    // π/2 in two parts, so that the product of the first with a few is exact.
    const HIGH: f64 = 1.570_796_326_734_125_6;
    const LOW: f64 = 6.077_100_506_506_192e-11;
    let shifted = x * FRAC_2_PI + MAGIC;
    let (k, quadrant) = (shifted - MAGIC, shifted.to_bits());
    let r = (x - k * HIGH) - k * LOW;
    let z = r * r;
    let mut p = 1.589_690_995_211_55e-10;
    p = p * z - 2.505_076_025_340_686_3e-8;
    p = p * z + 2.755_731_370_707_006_8e-6;
    p = p * z - 1.984_126_982_985_795e-4;
    p = p * z + 8.333_333_333_322_49e-3;
    p = p * z - 1.666_666_666_666_663_2e-1;
    let sin = r + r * z * p;
    let mut q = -1.135_964_755_778_819_5e-11;
    q = q * z + 2.087_572_321_298_175e-9;
    q = q * z - 2.755_731_435_139_066_3e-7;
    q = q * z + 2.480_158_728_947_673e-5;
    q = q * z - 1.388_888_888_887_411e-3;
    q = q * z + 4.166_666_666_666_66e-2;
    let half = 0.5 * z;
    let near = 1.0 - half;
    let cos = near + (((1.0 - near) - half) + z * z * q);
    let [sin, cos] = match quadrant & 1 {
        0 => [sin, cos],
        _ => [cos, sin],
    };
    let sign = |quadrant: u64| (quadrant & 2) << 62;
    (
        f64::from_bits(sin.to_bits() ^ sign(quadrant)),
        f64::from_bits(cos.to_bits() ^ sign(quadrant + 1)),
    )
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// How far the other is from `right`, as a share of it, in units of ε.
    fn units(value: f64, right: f64) -> f64 {
        (value - right).abs() / (right.abs() * f64::EPSILON).max(f64::MIN_POSITIVE)
    }

    #[test]
    fn logarithms_are_those_of_the_system_but_for_the_last_bit() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let small = (1..=53).map(|k| 0.5f64.powi(k));
        let drawn = (0..100_000).map(|_| 1.0 - rng.random::<f64>());
        for x in small.chain(drawn).chain([1.0 - f64::EPSILON / 2.0]) {
            assert!(units(ln(x), x.ln()) <= 1.0, "{x}: {} {}", ln(x), x.ln());
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn sines_are_those_of_the_system_but_for_the_last_bits() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let quarters = (0..=8).map(|k| f64::from(k) * TAU / 8.0);
        let drawn = (0..100_000).map(|_| TAU * rng.random::<f64>());
        for x in quarters.chain(drawn) {
            let ((sin, cos), right) = (sin_cos(x), x.sin_cos());
            assert!((sin - right.0).abs() < 3e-16, "{x}: {sin} {}", right.0);
            assert!((cos - right.1).abs() < 3e-16, "{x}: {cos} {}", right.1);
            if right.0.abs().min(right.1.abs()) > 1e-6 {
                assert!(units(sin, right.0) <= 2.0, "{x}: {sin} {}", right.0);
                assert!(units(cos, right.1) <= 2.0, "{x}: {cos} {}", right.1);
            }
        }
    }

    #[test]
    fn pairs_are_those_of_the_definition_one_after_the_other() {
        for count in [0, 1, 2, 2 * PAIRS, 10 * PAIRS + 1] {
            let mut drawn = vec![0.0; count];
            fill(&mut ChaCha8Rng::seed_from_u64(3), 0.5, &mut drawn);
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            for pair in drawn.chunks(2) {
                let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * 0.5;
                let (sin, cos) = (TAU * rng.random::<f64>()).sin_cos();
                let expected = [(radius * cos) as f32, (radius * sin) as f32];
                assert_eq!(pair, &expected[..pair.len()]);
            }
        }
    }
}
