//! GELU against its definitions.

use afd_backend::ops::{Gelu, gelu};

use crate::reference::{check, check_halves, draw, generator};

/// The error function by its Taylor series, and by a continued fraction where that converges faster.
fn erf(x: f64) -> f64 {
    if x.abs() < 2.5 {
        let mut term = x;
        let mut sum = x;
        for n in 1..60 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let z = x.abs();
    let fraction = (1..60)
        .rev()
        .fold(z, |below, n| z + f64::from(n) / 2.0 / below);
    let tail = (-z * z).exp() / fraction / std::f64::consts::PI.sqrt();
    x.signum() * (1.0 - tail)
}

fn by_definition(x: &[f64], kind: Gelu) -> Vec<f64> {
    let one = |x: &f64| match kind {
        Gelu::Exact => x * (1.0 + erf(x / 2f64.sqrt())) / 2.0,
        Gelu::Tanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            x * (1.0 + inner.tanh()) / 2.0
        }
    };
    x.iter().map(one).collect()
}

#[test]
fn numbers_of_every_size() {
    // The last are more than a thread takes at a time, and a rest.
    for kind in [Gelu::Exact, Gelu::Tanh] {
        for (count, scale) in [(1, 2.0), (100, 6.0), (2500, 2.0)] {
            let inputs = [draw(&mut generator(count as u64), count, scale)];
            let what = format!("{kind:?} GELU of {count} numbers up to {scale}");
            check(
                &what,
                &inputs,
                |[x]| gelu(x, kind),
                |[x]| by_definition(x, kind),
            );
        }
    }
}

#[test]
fn far_from_zero_it_is_the_number_or_nothing() {
    for kind in [Gelu::Exact, Gelu::Tanh] {
        let inputs = [vec![-200.0, -30.0, -5.0, 0.0, 5.0, 30.0, 200.0]];
        let what = format!("{kind:?} GELU of extremes");
        check(
            &what,
            &inputs,
            |[x]| gelu(x, kind),
            |[x]| by_definition(x, kind),
        );
    }
}

#[test]
fn half_precision_is_close_to_the_definition() {
    for kind in [Gelu::Exact, Gelu::Tanh] {
        let inputs = [draw(&mut generator(5), 40, 4.0)];
        let what = format!("{kind:?} GELU");
        check_halves(
            &what,
            &inputs,
            |[x], _| gelu(x, kind),
            |[x]| by_definition(x, kind),
        );
    }
}
